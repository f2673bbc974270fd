"""docs/vendors.md: its curl and its Python run, in order, against a served vault; she decides in between."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qsl, urlsplit
from urllib.request import HTTPRedirectHandler, build_opener

import pytest
from werkzeug.serving import WSGIRequestHandler, make_server

from tests.conftest import CHEAP
from tests.docs.pages import blocks, promised
from tests.web.actors import Customer
from tests.web.conftest import purchase
from vrm.app import create_app
from vrm.consent.notices import Notice
from vrm.host import Host, open_host
from vrm.settings import Settings
from vrm.vault.vault import Vault

PAGE = blocks("vendors.md")
ROOT = Path(__file__).parents[2]
CALLBACK = "https://cornerbooks.example/callback"
TOOLS = ("bash", "curl", "jq", "openssl")


class _Quiet(WSGIRequestHandler):
    def log(self, *_: object) -> None:
        """Nothing."""


class _Stay(HTTPRedirectHandler):
    """Shows a redirect instead of following it."""

    def redirect_request(self, *_: object, **__: object) -> None:
        return None

    def http_error_303(self, _req: Any, answer: Any, _code: int, _msg: str, _headers: Any) -> Any:
        return answer


@dataclass
class Shell:
    """One bash in which the commands of a page are typed one after the other."""

    folder: Path
    environ: dict[str, str]

    def type(self, command: str) -> str:
        """What the command prints; it must succeed. Earlier assignments and functions still hold."""
        keep = self.folder / ".shell"
        before = f"set -euo pipefail\nset -a\nif [ -e {keep} ]; then . {keep}; fi\n"
        script = f"{before}{command}\n(declare -px; declare -f) > {keep}\n"
        done = subprocess.run(
            ["bash", "-c", script], cwd=self.folder, env=self.environ, capture_output=True, text=True
        )
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        return done.stdout


@dataclass
class Stage:
    """A vault that is served, its customer, and the vendor's shell."""

    host: Host
    alice: Customer
    vault: Vault
    shell: Shell
    code: str = ""

    def decide(self, url: str, *tick: tuple[str, str]) -> str:
        """Where her browser goes back to: she opens the link and approves, with boxes ticked."""
        with build_opener(_Stay).open(url, timeout=30) as answer:
            path = urlsplit(answer.headers["Location"]).path
        page = self.alice.get(path)
        handle = path.rpartition("/")[2]
        return self.alice.submit(page.form(handle), ("decision", "approve"), tick=tick, follow=False).location

    def agree(self, link: str) -> None:
        """She approves what the link asks; the code is what comes back."""
        returned = dict(parse_qsl(urlsplit(self.decide(link)).query))
        assert returned["iss"] == self.host.settings.issuer
        self.code = returned["code"]

    def change(self, title: str, whom: str) -> None:
        """She sorts one of her purchases differently."""
        records = self.vault.records("purchases")
        ((record, document),) = [one for one in records.scan() if one[1]["item"]["title"] == title]
        records.put({**document, "context": {"for": whom}}, record)

    def come_back(self) -> None:
        """She logs out, and opens her vault again."""
        self.alice.submit(self.alice.get("/me").form("/logout"))
        self.alice.log_in()

    def stop(self) -> None:
        """She presses Stop for whoever can see something."""
        (link,) = [link for link in self.alice.get("/").links() if link.endswith("/stop")]
        self.alice.submit(self.alice.get(link).form("/stop"))


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    for tool in TOOLS:
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not here; sudo make system")
    server = make_server("127.0.0.1", 0, None, threaded=True, request_handler=_Quiet)  # type: ignore[arg-type]
    settings = Settings(data_dir=tmp_path / "data", public_url=f"http://127.0.0.1:{server.port}")
    host = open_host(settings, limits=CHEAP)
    server.app = create_app(settings, host=host)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield _set(host, Customer(server.app.test_client()), tmp_path)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
        host.engine.close()


def _set(host: Host, alice: Customer, folder: Path) -> Stage:
    alice.create()
    vault = host.vaults.resume(alice.client.get_cookie("vrm").value)  # type: ignore[union-attr]
    for title, whom, ordered in (
        ("Piranesi", "self", "2026-05-01"),
        ("The Hobbit", "self", "2026-01-02"),
        ("A Gift Indeed", "gift", "2026-05-01"),
    ):
        vault.records("purchases").put(purchase(title, whom, ordered))
    environ = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "HOME": str(folder)}
    environ |= {"VRM_DATA_DIR": str(folder / "data"), "PYTHONPATH": str(ROOT), "LANG": "C.UTF-8"}
    return Stage(host, alice, vault, Shell(folder, environ))


def typed(stage: Stage, section: str, turn: int = 0) -> str:
    """Type one console block of a section; returns the output of its last command."""
    shown = [block for block in PAGE if block.section == section and block.kind == "console"]
    issuer, printed = stage.host.settings.issuer, ""
    for command, promise in shown[turn].commands():
        real = command.replace("http://127.0.0.1:8600", issuer).replace("vrm_ac_…", stage.code)
        printed = stage.shell.type(real)
        if promise:
            told = printed.strip().replace(issuer, "http://127.0.0.1:8600")
            assert promised("\n".join(promise)).fullmatch(told), (command, printed)
    return printed


def test_everything_typed_on_the_page_works(stage: Stage) -> None:
    typed(stage, "Be known")
    typed(stage, "Discover")
    stage.agree(typed(stage, "Ask").strip())
    typed(stage, "Exchange")
    typed(stage, "Read")
    typed(stage, "Read", 1)
    typed(stage, "Filter")
    typed(stage, "Stay in step")
    stage.change("The Hobbit", "gift")
    typed(stage, "Stay in step", 1)
    typed(stage, "Refresh")
    stage.agree(typed(stage, "Ask for something else").strip())
    typed(stage, "Ask for something else", 1)
    typed(stage, "What a token is")
    stage.agree(typed(stage, "Put something in").strip())
    typed(stage, "Put something in", 1)
    stage.come_back()
    typed(stage, "Put something in", 2)
    typed(stage, "When it is refused")
    typed(stage, "Give it back")
    shown = [block for block in PAGE if block.kind == "console"]
    assert len(shown) == 19  # and every one of them was typed
    assert not [block for block in shown if block.why_not]


def test_the_question_on_the_page_can_be_asked(stage: Stage) -> None:
    from urllib.parse import urlencode

    from vrm.consent.scopes import check_details

    (block,) = [block for block in PAGE if block.kind == "json" and '"vrm_access"' in block.text]
    parts = check_details(json.loads(block.text))
    assert [part["necessity"] for part in parts] == ["required", "optional"]
    assert len(urlencode({"authorization_details": block.text})) < 4000


def test_the_document_on_the_page_makes_a_vendor() -> None:
    from vrm.consent import claims, documents

    (block,) = [block for block in PAGE if block.kind == "json" and block.section == "Be known"]
    document = json.loads(block.text)
    told = claims.read(document, documents.METHODS, "none", document["client_id"])
    assert told.redirect_uris == (CALLBACK,)
    assert (told.name, told.auth_method) == ("Corner Books", "private_key_jwt")
    assert told.jwks_uri
    assert told.events_uri


def test_every_line_of_python_on_the_page_works(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    typed(stage, "Be known")
    monkeypatch.chdir(stage.shell.folder)
    monkeypatch.setenv("VAULT", stage.host.settings.issuer)
    monkeypatch.setenv("BACK", CALLBACK)
    first, second, third, fourth, told = [block.text for block in PAGE if block.kind == "python"]
    kept: list[object] = []
    request = SimpleNamespace(url="")

    def redirect(url: str) -> None:
        request.url = stage.decide(url, ("optional", "1"))

    names = {"session": {}, "redirect": redirect, "request": request, "keep": kept.append}

    def run(text: str) -> str:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(text, "vendors.md", "exec"), names)
        return printed.getvalue()

    assert run(first) == ""
    scope, *rows = run(second).splitlines()
    assert scope == "purchases.item:read purchases.order:read purchases.price:read"
    assert sorted(rows) == ["Piranesi 12.99", "The Hobbit 12.99"]  # their order is that of this vendor's feed
    assert kept
    assert run(third) == "Synced(changed=2, gone=0, ended=False) 2\n"
    stage.change("Piranesi", "gift")
    assert run(third) == "Synced(changed=0, gone=1, ended=False) 1\n"
    stage.stop()
    ended = run(fourth)
    assert re.match(r"Synced\(changed=0, gone=0, ended=True\) 0 False\nover: \S+\n$", ended)
    names["done"] = set()
    assert run(told) == ""
    hear = names["vrm_events"]
    client_id = json.loads((stage.shell.folder / "vendor.json").read_text())["client_id"]
    for kind in ("consent-revoked", "data-changed", "test", "consent-revoked"):
        notice = Notice(f"event-{kind}", kind, stage.host.clock.now(), client_id, "some-grant", "some-name")
        body = stage.host.consent.signer.sign(notice, stage.host.settings.issuer)
        assert hear(body) == (202, b"")  # type: ignore[operator]
    assert len(names["done"]) == 3  # type: ignore[arg-type]
    assert hear(body[:-4])[0] == 400  # type: ignore[operator]


def test_what_the_table_of_refusals_names_exists() -> None:
    from vrm import errors

    text = (ROOT / "docs" / "vendors.md").read_text(encoding="utf-8")
    slugs = {one.slug for one in vars(errors).values() if isinstance(one, type) and hasattr(one, "slug")}
    named = set(re.findall(r"\d{3} `([a-z-]+)`", text))
    assert named
    assert named <= slugs
