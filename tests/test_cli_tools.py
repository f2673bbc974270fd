"""`vrm login` and what it opens: the real command against a real server, and against servers that lie."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.conftest import CHEAP, PASSPHRASE
from tests.faults.household import ENVIRON, ROOT, Server, free_port
from tests.outside import Page, Site, site
from vrm.cli import main, remote
from vrm.cli.remote import Kept, checked_address
from vrm.device import DEVICE, TOOL
from vrm.errors import OutboundError, PairingError, SettingsError, ValidationError
from vrm.host import Host, open_host
from vrm.settings import Settings
from vrm.vault.vault import Vault

HISTORY = (
    "Website,Order ID,Order Date,Product Name,Unit Price,Total Owed,Currency,Quantity,ASIN\n"
    "Amazon.com,111-1,2026-03-01T00:00:00Z,Piranesi,9.99,9.99,EUR,1,B000000001\n"
)


class Served:
    """A server of two processes, and Alice at her own machine."""

    def __init__(self, folder: Path) -> None:
        self.host: Host = open_host(Settings(data_dir=folder), limits=CHEAP)
        self.vault: Vault = self.host.vaults.create("alice", PASSPHRASE)[0]
        self.server = Server(folder, free_port())
        self.url = self.server.url


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    made = Served(tmp_path_factory.mktemp("served") / "data")
    yield made
    made.server.kill()
    made.host.engine.close()


@pytest.fixture(autouse=True)
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path / "config"


def start(*arguments: str) -> subprocess.Popen[str]:
    environ = {**ENVIRON, "XDG_CONFIG_HOME": os.environ["XDG_CONFIG_HOME"]}
    return subprocess.Popen(
        [sys.executable, "-m", "vrm", *arguments],
        cwd=ROOT,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def code_in(process: subprocess.Popen[str]) -> str:
    """The code that the command shows."""
    assert process.stderr
    for line in process.stderr:
        if found := re.fullmatch(r" +([B-Z]{4}-[B-Z]{4})\n", line):
            return found[1]
    raise AssertionError("no code was shown")


def test_from_login_to_logout(
    served: Served, config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    process = start("login", served.url, "--json")
    served.host.vaults.pairings.approve(served.vault, code_in(process), PASSPHRASE)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    told = json.loads(out)
    assert (told["url"], told["username"]) == (served.url, "alice")
    assert told.keys() == {"url", "username", "expires"}
    (path,) = (config / "vrm" / "vaults").iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    token = json.loads(path.read_text())["token"]
    assert token not in out + err

    export = tmp_path / 'Retail.OrderHistory "1" \u00fc.csv'
    export.write_text(HISTORY)
    assert main(["import", "--at", served.url, "--json", str(export)]) == 0
    (report,) = json.loads(capsys.readouterr().out)["files"]
    assert (report["imported"], report["rejected"]) == (1, [])
    assert report["file"] == "Retail.OrderHistory _1_ \u00fc.csv"

    assert main(["connections", "list", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"items": []}
    assert main(["connections", "stop", "../self", "--at", served.url]) == 1
    assert "that is no connection" in capsys.readouterr().err
    assert main(["connections", "stop", "nothing", "--at", served.url]) == 1
    assert "error: There is no such grant" in capsys.readouterr().err

    assert main(["logout", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"left": [served.url], "unreached": []}
    assert not path.exists()
    with pytest.raises(OutboundError, match="does not know this program"):
        remote.Remote(served.url).about(token)
    assert main(["logout"]) == 0
    assert "Connected to no vault." in capsys.readouterr().out


def test_of_many_polls_at_two_processes_one_gets_the_credential(served: Served) -> None:
    with httpx.Client(base_url=served.url) as http:
        told = http.post("/oauth/device_authorization", data={"client_id": TOOL}).json()
    served.host.vaults.pairings.approve(served.vault, told["user_code"], PASSPHRASE)
    sent = {"grant_type": DEVICE, "client_id": TOOL, "device_code": told["device_code"]}

    def poll(_: int) -> tuple[int, str]:
        with httpx.Client(base_url=served.url, timeout=30) as http:
            answer = http.post("/oauth/token", data=sent)
        return answer.status_code, answer.json().get("error", "")

    with ThreadPoolExecutor(16) as threads:
        found = sorted(threads.map(poll, range(16)))
    assert found == [(200, "")] + [(400, "invalid_grant")] * 15


def test_of_approving_and_declining_at_once_one_counts(served: Served) -> None:
    pairings = served.host.vaults.pairings
    for _ in range(3):
        begun = pairings.begin("")

        def answer(decide: Callable[[], None]) -> bool:
            try:
                decide()
            except PairingError:
                return False
            return True

        decisions: list[Callable[[], None]] = [
            lambda: pairings.approve(served.vault, begun.user_code, PASSPHRASE),  # noqa: B023
            lambda: pairings.decline(served.vault, begun.user_code),  # noqa: B023
        ]
        with ThreadPoolExecutor(2) as threads:
            assert sorted(threads.map(answer, decisions)) == [False, True]


# ---- a vault that is none, or lies --------------------------------------------------------------------


@pytest.fixture
def liar() -> Iterator[Site]:
    """A server that claims to be a vault."""
    with site() as found:
        found.put(
            "/.well-known/oauth-authorization-server",
            {
                "issuer": found.url,
                "device_authorization_endpoint": found.url + "/oauth/device_authorization",
                "token_endpoint": found.url + "/oauth/token",
            },
        )
        asked = {
            "device_code": "d",
            "user_code": "BCDF-GHJK",
            "verification_uri": found.url + "/device",
            "expires_in": 600,
            "interval": 1,
        }
        found.put("/oauth/device_authorization", asked)
        yield found


def complaint(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(arguments) == 1
    return capsys.readouterr().err


def test_a_vault_under_another_name_is_refused(liar: Site, capsys: pytest.CaptureFixture[str]) -> None:
    liar.put("/.well-known/oauth-authorization-server", {"issuer": "https://vault.example"})
    assert "calls itself something else" in complaint(capsys, "login", liar.url)


def test_endpoints_elsewhere_are_refused(liar: Site, capsys: pytest.CaptureFixture[str]) -> None:
    there = "https://thief.example/oauth/device_authorization"
    told = {"issuer": liar.url, "device_authorization_endpoint": there, "token_endpoint": there}
    liar.put("/.well-known/oauth-authorization-server", told)
    assert "lets no programs in" in complaint(capsys, "login", liar.url)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirect_is_followed(liar: Site, capsys: pytest.CaptureFixture[str], status: int) -> None:
    liar.pages["/.well-known/oauth-authorization-server"] = Page(
        b"", status, {"Location": liar.url + "/else"}
    )
    assert "not followed" in complaint(capsys, "login", liar.url)
    assert [one.path for one in liar.seen] == ["/.well-known/oauth-authorization-server"]


def test_a_page_elsewhere_is_not_shown(liar: Site, capsys: pytest.CaptureFixture[str]) -> None:
    asked = json.loads(liar.pages["/oauth/device_authorization"].body)
    liar.put("/oauth/device_authorization", {**asked, "verification_uri": "https://thief.example/device"})
    told = complaint(capsys, "login", liar.url)
    assert "somewhere else" in told
    assert "thief" not in told


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({"error": "access_denied"}, "said no"),
        ({"error": "expired_token"}, "in time"),
        ({"error": "\x1b[2Jinvalid_grant"}, "let this program not in"),
        (["no object"], "answered with 400"),
    ],
)
def test_how_it_ended_is_told_in_words(
    liar: Site, capsys: pytest.CaptureFixture[str], answer: object, words: str
) -> None:
    liar.pages["/oauth/token"] = Page(json.dumps(answer).encode(), 400)
    told = complaint(capsys, "login", liar.url)
    assert words in told
    assert "\x1b" not in told
    assert remote.all_kept() == []


def test_what_the_vault_sends_does_not_steer_the_terminal(
    liar: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = json.loads(liar.pages["/oauth/device_authorization"].body)
    liar.put("/oauth/device_authorization", {**asked, "user_code": "\x1b]0;x\x07BCDF"})
    liar.pages["/oauth/token"] = Page(b'{"error":"access_denied"}', 400)
    assert "\x1b" not in complaint(capsys, "login", liar.url)


@pytest.mark.parametrize("body", [b"[]", b"{", b"{}", b"[" * 100_000, b'{"user_code":"x"}'])
def test_an_answer_that_is_none_is_refused(
    liar: Site, capsys: pytest.CaptureFixture[str], body: bytes
) -> None:
    liar.pages["/oauth/device_authorization"] = Page(body)
    assert "error: " in complaint(capsys, "login", liar.url)


def test_a_vault_that_is_away_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert "cannot be reached" in complaint(capsys, "login", f"http://127.0.0.1:{free_port()}")


@pytest.mark.parametrize(
    "url",
    [
        *(
            "",
            "vault.example",
            "http://vault.example",
            "ftp://vault.example",
            "https://",
            "https://a@b.example",
        ),
        *(
            "https://vault.example/x",
            "https://vault.example?x",
            "https://vault.example:x",
            "http://127.0.0.1.evil",
        ),
        *("https://vault.example\r\nX: y", "https://b\u00fccher.example", "https://a b.example"),
    ],
)
def test_what_is_no_address_of_a_vault_is_refused(url: str) -> None:
    with pytest.raises(ValidationError):
        checked_address(url)


def test_people_read_what_was_done(liar: Site, capsys: pytest.CaptureFixture[str]) -> None:
    liar.put("/oauth/token", {"access_token": "vrm_tt_x"})
    liar.put("/api/v1/tools/self", {"username": "alice", "expires": "2026-11-22T12:00:00Z"})
    one = {"id": "4f1c", "state": "live", "vendor": "Corner Books", "reads": ["purchases.item"]}
    liar.put("/api/v1/tools/connections", {"items": [one]})
    liar.pages["/api/v1/tools/connections/4f1c"] = Page(b"", 204)
    assert main(["login", liar.url]) == 0
    told = capsys.readouterr()
    assert "BCDF-GHJK" in told.err
    assert f"Connected to the vault of alice at {liar.url}" in told.out
    assert main(["connections", "list"]) == 0
    assert "4f1c  live     Corner Books: purchases.item" in capsys.readouterr().out
    assert main(["connections", "stop", "4f1c"]) == 0
    assert "Stopped" in capsys.readouterr().out
    assert liar.seen[-1].headers["authorization"] == "Bearer vrm_tt_x"
    del liar.pages["/api/v1/tools/connections"]
    liar.pages["/api/v1/tools/connections"] = Page(b"{}", 401)
    assert f"hint: vrm login {liar.url}" in complaint(capsys, "connections", "list")


# ---- what is kept ----------------------------------------------------------------------------------------


def kept(number: int = 1) -> Kept:
    return Kept(f"https://vault{number}.example", "alice", "2026-11-22T12:00:00Z", "vrm_tt_secret")


def test_a_credential_that_others_can_read_is_not_used(config: Path) -> None:
    remote.keep(kept())
    (path,) = (config / "vrm" / "vaults").iterdir()
    path.chmod(0o640)
    with pytest.raises(SettingsError, match="others"):
        remote.kept()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"url": 1}'])
def test_a_credential_that_was_damaged_is_named(config: Path, text: str) -> None:
    remote.keep(kept())
    (path,) = (config / "vrm" / "vaults").iterdir()
    path.write_text(text)
    with pytest.raises(SettingsError, match="cannot be read"):
        remote.kept()


def test_which_vault_must_be_said_where_there_are_several() -> None:
    with pytest.raises(SettingsError, match="no vault"):
        remote.kept()
    remote.keep(kept(1))
    remote.keep(kept(2))
    with pytest.raises(SettingsError, match="several"):
        remote.kept()
    assert remote.kept("https://vault2.example/").url == "https://vault2.example"
    with pytest.raises(SettingsError, match="not logged in"):
        remote.kept("https://vault3.example")


def test_a_credential_is_in_no_repr() -> None:
    assert "secret" not in repr(kept())


def test_logging_out_of_a_vault_that_is_away_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    remote.keep(Kept(f"http://127.0.0.1:{free_port()}", "alice", "", "vrm_tt_x"))
    assert main(["logout"]) == 1
    assert "disconnect it there" in capsys.readouterr().out
    assert remote.all_kept() == []
