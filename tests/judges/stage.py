"""A vault as it is really served, its customer at her pages, and clients written by others that ask for it.

Nothing of ours stands between a client and the server: `vrm serve` with two worker processes answers over
HTTP. The customer has cookies, forms and nothing else: she logs in, looks at what is asked, and decides.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from joserfc.jwk import ECKey, Key, OKPKey, RSAKey

from scripts.demo_browser import Browser, Page
from tests.conftest import CHEAP, PASSPHRASE
from tests.hostile.serving import Served, free_port
from vrm.consent.vendors import Vendor
from vrm.host import Host, open_host
from vrm.settings import Settings

HERE = Path(__file__).parent
PURPOSE = "ProvideProductRecommendations"
CALLBACK = "https://books.example/cb"
LOOPBACK = "http://127.0.0.1/cb"
SCOPE = "purchases.item:read purchases.price:read"
BOOKS = ["A Room of One's Own", "Beloved", "Kindred", "Middlemarch", "The Left Hand of Darkness"]
GIFT = "Model Railway Almanac"
PATIENCE = 60  # seconds for one case of a judge


def new_key(algorithm: str = "ES256") -> Key:
    """A key pair for signatures of this kind, with a name."""
    if algorithm in {"PS256", "RS256"}:
        return RSAKey.generate_key(2048, auto_kid=True)
    if algorithm == "Ed25519":
        return OKPKey.generate_key("Ed25519", auto_kid=True)
    return ECKey.generate_key("P-256", auto_kid=True)


def document(title: str, number: int) -> dict[str, Any]:
    """A purchase of hers; the gift is for somebody else and leaves to nobody."""
    return {
        "item": {"title": title, "category": "books"},
        "order": {"seller": "books.example", "order_number": f"A-{number}", "ordered": "2026-06-01"},
        "price": {"total": f"{10 + number}.50", "currency": "EUR"},
        "context": {"for": "gift" if title == GIFT else "self"},
    }


@dataclass
class Customer:
    """Alice at her browser: every answer of hers goes through the pages."""

    issuer: str
    browser: Browser = field(default_factory=Browser)

    def log_in(self) -> None:
        """The form of the log-in page."""
        page = self.browser.get(self.issuer + "/login")
        said = [("username", "alice"), ("passphrase", PASSPHRASE)]
        entered = self.browser.submit(page, page.form(field="passphrase"), said)
        assert entered.status == 200, entered.status
        assert not entered.url.endswith("/login")

    def decide(self, address: str, decision: str = "approve", **ticked: str) -> str:
        """Where her browser is sent after she opened an authorization address and decided."""
        page = self.browser.get(address)
        assert page.status == 200, (page.status, page.text)
        choices = [*ticked.items(), ("decision", decision)]
        answer = self.browser.submit(page, page.form(field="decision"), choices, follow=False)
        assert answer.status == 303, (answer.status, answer.text)
        return str(answer.headers["Location"])

    def turned_away(self, address: str) -> str:
        """Where her browser is sent when the vault refuses the request before she sees anything."""
        answer = self.browser.get(address, follow=False)
        assert answer.status == 303, (answer.status, answer.text)
        return str(answer.headers["Location"])

    def let_in(self, address: str) -> str:
        """The page after she typed a program's code and her passphrase, and let the program in."""
        page = self.browser.get(address)
        asked = self.browser.submit(page, page.form(field="user_code"))
        said = [("passphrase", PASSPHRASE), ("decision", "approve")]
        answered = self.browser.submit(asked, asked.form(field="passphrase"), said)
        assert answered.status == 200, (answered.status, answered.text)
        return answered.url

    def look(self, address: str) -> Page:
        """What she sees where nothing can be decided."""
        return self.browser.get(address)


@dataclass
class Town:
    """A running server, its data opened beside it, and the customer."""

    served: Served
    host: Host
    alice: Customer

    @property
    def issuer(self) -> str:
        return self.served.url

    def vendor(self, redirect_uri: str = CALLBACK, **more: Any) -> tuple[Vendor, str | None]:
        """A vendor that the host registered, and its secret."""
        added: tuple[Vendor, str | None] = self.host.consent.vendors.add(
            "Corner Books", (redirect_uri,), purpose=PURPOSE, **more
        )
        return added

    def close(self) -> None:
        self.served.stop()
        self.host.engine.close()


def open_town(folder: Path, **environ: str) -> Town:
    """A new host with Alice's vault, served by two processes; `environ` holds further settings."""
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    settings = Settings(data_dir=folder / "data", public_url=f"http://127.0.0.1:{port}")
    host = open_host(settings, limits=CHEAP)
    vault, code = host.vaults.create("alice", PASSPHRASE)
    vault.confirm_recovery_code(code)
    for number, title in enumerate([*BOOKS, GIFT]):
        vault.records("purchases").put(document(title, number))
    environ = {"VRM_DATA_DIR": str(settings.data_dir), "VRM_WORKERS": "2", **environ}
    served = Served(port, environ, folder)
    town = Town(served, host, Customer(served.url))
    try:
        served.start()
        town.alice.log_in()
    except BaseException:
        town.close()
        raise
    return town


@dataclass
class Judge:
    """A program of `clients/` in Node; it says where it sends the browser, and hears where that came back."""

    town: Town
    program: str

    def hears(self, case: str, **given: Any) -> Any:
        """What a case found; AssertionError with the client's own words where it failed."""
        told = {"case": case, "issuer": self.town.issuer, "scope": SCOPE, **given}
        command = ["node", HERE / "clients" / f"{self.program}.mjs"]
        with subprocess.Popen(command, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as node:
            assert node.stdin
            assert node.stdout
            try:
                self._say(node, told)
                for line in node.stdout:
                    heard = json.loads(line)
                    if "open" not in heard:
                        assert "failed" not in heard, heard["failed"]
                        return heard["found"]
                    self._say(node, {"came_back": self._browse(heard)})
            finally:
                node.kill()
        raise AssertionError(f"{case}: ended without a word")

    def _browse(self, heard: Mapping[str, str]) -> str:
        if heard["decision"] == "refused":
            return self.town.alice.turned_away(heard["open"])
        if heard["decision"] == "let in":
            return self.town.alice.let_in(heard["open"])
        return self.town.alice.decide(heard["open"], heard["decision"])

    @staticmethod
    def _say(node: subprocess.Popen[str], told: Mapping[str, Any]) -> None:
        assert node.stdin
        node.stdin.write(json.dumps(told) + "\n")
        node.stdin.flush()


def confidential(town: Town) -> dict[str, Any]:
    """A new vendor with a secret, as its program is told."""
    vendor, secret = town.vendor()
    return {"client_id": vendor.client_id, "client_secret": secret, "redirect_uri": CALLBACK}


def public(town: Town) -> dict[str, Any]:
    """A new program on somebody's machine, at whichever port was free."""
    vendor, _ = town.vendor(LOOPBACK, public=True)
    return {"client_id": vendor.client_id, "redirect_uri": "http://127.0.0.1:51004/cb"}


def with_key(town: Town, algorithm: str = "ES256") -> dict[str, Any]:
    """A new vendor that signs who it is; its program is told the private key."""
    key = new_key(algorithm)
    jwks = json.dumps({"keys": [key.as_dict(private=False)]})
    vendor, _ = town.vendor(jwks=jwks)
    told = {"client_id": vendor.client_id, "redirect_uri": CALLBACK, "algorithm": algorithm}
    return {**told, "key": {**key.as_dict(private=True), "kid": key.kid}}


@contextmanager
def published(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A vendor that is nothing but a document at an address of its own, as long as that is served."""

    class Publisher(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(told).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Publisher) as server:
        origin = f"http://127.0.0.1:{server.server_port}"
        told = {"client_id": origin + "/client.json", "redirect_uris": [origin + "/cb"], **document}
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield {"client_id": told["client_id"], "redirect_uri": origin + "/cb"}
        finally:
            server.shutdown()
            thread.join()


def answer_in(address: str) -> dict[str, str]:
    """The parameters that came back."""
    return dict(parse_qsl(urlsplit(address).query, keep_blank_values=True))
