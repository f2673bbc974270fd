"""No secret, title, name or search text in what the server writes, shows to machines or leaves behind.

The story is told once over real HTTP at the most talkative log level, with mistakes on every step; then every
canary is looked for in the log, the health and discovery documents, the temp folder, the command lines and
environments of all processes.
"""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from tests.conftest import CHEAP
from tests.hostile.conftest import CALLBACK, CHALLENGE, PURPOSE, VERIFIER, Shop
from tests.hostile.importers.files import NAME, history, line_with
from tests.hostile.serving import Browser, Served, free_port
from vrm.host import open_host
from vrm.logs import FORMATS
from vrm.settings import Settings

PASSPHRASE = "canary-of-the-passphrase four words"
WRONG = "canary-of-a-wrong-passphrase"
CUSTOMER = "canary.customer"
MACHINES = ["/healthz", "/readyz", "/openapi.json", "/docs", "/.well-known/oauth-authorization-server"]


@dataclass
class Told:
    """The server after the story, and every text that must be nowhere."""

    served: Served
    canaries: dict[str, str] = field(default_factory=dict)
    answers: str = ""  # of the addresses for machines
    numbers: str = ""  # for Prometheus

    def hunt(self, text: str, where: str) -> None:
        for name, canary in self.canaries.items():
            assert canary not in text, f"{name} in {where}"


@pytest.fixture(scope="module", params=FORMATS)
def told(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    folder = tmp_path_factory.mktemp("canaries")
    port = free_port()
    settings = Settings(data_dir=folder / "data", port=port)
    host = open_host(settings, limits=CHEAP)
    vault, code = host.vaults.create(CUSTOMER, PASSPHRASE)
    vault.confirm_recovery_code(code)
    vendor, secret = host.consent.vendors.add("Canary Books", (CALLBACK,), purpose=PURPOSE)
    temporary = folder / "tmp"
    temporary.mkdir()
    environ = {"VRM_DATA_DIR": str(settings.data_dir), "VRM_LOG_LEVEL": "info", "TMPDIR": str(temporary)}
    environ |= {"VRM_LOG_FORMAT": request.param, "VRM_METRICS": f"127.0.0.1:{(watch := free_port())}"}
    story = Told(Served(port, environ, folder))
    story.served.start()
    shop = Shop(vendor, secret or "", "", "")
    story.canaries = {
        "passphrase": PASSPHRASE,
        "wrong passphrase": WRONG,
        "name": CUSTOMER,
        "secret": shop.secret,
    }
    story.canaries |= {"recovery code": code, "server key": settings.server_key_path.read_text().split()[-1]}
    _tell(story, shop)
    host.engine.close()
    story.numbers = Served(watch, {}, folder).get("/metrics").text
    yield story
    story.served.stop()


def _tell(story: Told, shop: Shop) -> None:
    browser = Browser(story.served)
    browser.log_in(CUSTOMER, WRONG)
    assert browser.log_in(CUSTOMER, PASSPHRASE).status == 303
    story.canaries["session"] = browser.cookies["vrm"]
    story.canaries |= {
        "title": "canary-of-a-title",
        "search": "canary-of-a-search",
        "note": "canary-of-a-note",
    }
    browser.upload("/import", "canary-of-a-file.csv", b"canary-of-a-cell,b\n1,2\n")
    story.canaries |= {"file": "canary-of-a-file", "cell": "canary-of-a-cell"}
    browser.upload("/import", NAME, history(line_with(Product_Name="canary-of-a-title")))
    token = browser.token("/things")
    browser.post("/things", [("csrf_token", token), ("words", "canary-of-a-search")])
    fields = [
        ("csrf_token", token),
        ("record", "0" * 32),
        ("item.title", "x"),
        ("price.total", "canary-of-a-note"),
    ]
    assert browser.post("/things/new", fields).status == 400
    assert browser.post("/things/new", [("csrf_token", "0" * 64), *fields[1:]]).status == 403
    story.canaries["form token"] = token
    _share(story, browser, shop)
    story.answers = "".join(story.served.get(path).text for path in [*MACHINES, "/nowhere", "/metrics"])


def _share(story: Told, browser: Browser, shop: Shop) -> None:
    served = story.served
    question = {"response_type": "code", "client_id": shop.vendor.client_id, "redirect_uri": CALLBACK}
    question |= {"scope": "purchases.item:read", "state": "canary-of-a-state", "code_challenge": CHALLENGE}
    question |= {"code_challenge_method": "S256"}
    served.get("/oauth/authorize?" + urlencode({**question, "scope": "canary:of:a:scope"}))
    asked = urlsplit(served.get("/oauth/authorize?" + urlencode(question)).header("location")).path
    page = browser.get(asked).text
    digest = page.partition('name="digest" value="')[2].partition('"')[0]
    choices = [("csrf_token", browser.token("/things")), ("digest", digest), ("decision", "approve")]
    choices += [("days", "90"), ("unsorted", "share"), ("period", "")]
    answer = browser.post(asked, choices)
    if answer.status != 303:  # what was chosen differs from what was shown first: it is shown again
        digest = answer.text.partition('name="digest" value="')[2].partition('"')[0]
        answer = browser.post(asked, [("digest", digest), *(one for one in choices if one[0] != "digest")])
    sent = parse_qs(urlsplit(answer.header("location")).query)
    (code,) = sent["code"]
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": CALLBACK,
        "code_verifier": VERIFIER,
    }
    served.form(
        "/oauth/token", urlencode({**form, "code_verifier": "w" * 43}), ("Authorization", "Basic AAAA")
    )
    tokens = json.loads(served.form("/oauth/token", urlencode(form), shop.basic).body)
    story.canaries |= {
        "code": code,
        "access token": tokens["access_token"],
        "refresh": tokens["refresh_token"],
    }
    story.canaries |= {"handle": asked.rpartition("/")[2], "state": "canary-of-a-state", "verifier": VERIFIER}
    access = tokens["access_token"]
    assert "canary-of-a-title" in served.bearer("/api/v1/purchases", access).text
    served.bearer("/api/v1/purchases?cursor=canary-of-a-cursor", access)
    served.get(f"/api/v1/purchases?access_token={access}")
    served.form("/oauth/token", urlencode(form), shop.basic)  # the code again: the grant ends
    assert served.bearer("/api/v1/purchases", access).status == 401
    story.canaries |= {"cursor": "canary-of-a-cursor", "scope": "canary:of:a:scope"}
    _provoke(story)


def _provoke(story: Told) -> None:
    """A failure on our own side: the database is taken away under the running server."""
    database = Path(story.served.environ["VRM_DATA_DIR"]) / "vrm.db"
    hidden = database.read_bytes()
    database.write_bytes(b"\0" * len(hidden))
    for path in ("/api/v1/purchases", "/readyz", "/"):
        story.served.bearer(
            path, story.canaries["access token"], ("Cookie", f"vrm={story.canaries['session']}")
        )
    database.write_bytes(hidden)


@pytest.mark.meets("rfc9700-67")
def test_the_log_holds_no_secret(told: Told) -> None:
    assert "GET /api/v1/<collection>" in told.served.log, "the log was on"
    told.hunt(told.served.log, "the server's log")


def test_every_line_of_the_server_itself_is_in_the_form_that_was_chosen(told: Told) -> None:
    lines = [line for line in told.served.log.splitlines() if "vrm.access" in line]
    assert len(lines) > 20
    if told.served.environ["VRM_LOG_FORMAT"] == "json":
        assert all({"time", "rule", "status", "ms", "request"} <= json.loads(line).keys() for line in lines)
    else:
        assert all(
            re.fullmatch(r"INFO vrm.access \S+ .+ \d{3} [\d.]+ms request=[0-9a-f]{16}", line)
            for line in lines
        )


def test_the_numbers_tell_of_nobody(told: Told) -> None:
    assert "/api/v1/<collection>" in told.numbers, "the numbers were told"
    told.hunt(told.numbers, "the numbers for Prometheus")
    refused = re.search(r"^vrm_logins_refused_total (\d+)$", told.numbers, re.MULTILINE)
    assert refused is not None
    assert int(refused[1]) == 1


@pytest.mark.meets("rfc9700-67")
def test_what_machines_read_holds_no_secret(told: Told) -> None:
    told.hunt(told.answers, "an address for machines")


def test_no_process_shows_a_secret_in_its_command_line_or_environment(told: Told) -> None:
    assert len(told.served.pids()) > 1
    for pid in told.served.pids():
        for name in ("cmdline", "environ"):
            told.hunt(Path(f"/proc/{pid}/{name}").read_text("utf-8", "replace"), f"/proc/{pid}/{name}")


def test_no_process_may_write_a_core_dump(told: Told) -> None:
    for pid in told.served.pids():
        limits = Path(f"/proc/{pid}/limits").read_text()
        line = next(line for line in limits.splitlines() if line.startswith("Max core file size"))
        assert line.split()[4:6] == ["0", "0"], line


def test_nothing_is_left_in_the_temp_folder(told: Told) -> None:
    assert not list(Path(told.served.environ["TMPDIR"]).iterdir())


# ---- what `vrm serve` says when it starts -----------------------------------------------------------------


def started(folder: Path, port: int, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "vrm", "serve", "--port", str(port)],
        capture_output=True,
        text=True,
        timeout=20,
        env={**os.environ, "VRM_DATA_DIR": str(folder / "data"), **environ},
    )


def test_a_misspelt_setting_is_named_and_a_taken_port_is_not_called_served(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        said = started(
            tmp_path, taken.getsockname()[1], VRM_SIGNPU="open", VRM_XYZZY="1", VRM_TEST_STRICT="0"
        )
    assert said.returncode == 1
    warnings = [line for line in said.stderr.splitlines() if line.startswith("warning: ")]
    assert warnings == [
        "warning: VRM_SIGNPU is not a setting; did you mean VRM_SIGNUP?",
        "warning: VRM_XYZZY is not a setting",
    ]
    assert "cannot listen" in said.stderr
    assert " serves " not in said.stderr
