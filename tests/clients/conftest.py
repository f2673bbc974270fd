"""A scripted vault: a real HTTP server that says what a test tells it to, careless or hostile if need be."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from urllib.parse import parse_qs, urlsplit

import pytest

from vrm_client import Asked, Connection, Transport, Vendor

REDIRECT_URI = "https://cornerbooks.example/callback"


@dataclass
class Call:
    """One request as it arrived."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    form: dict[str, str]


@dataclass
class Said:
    """One answer; a `dict` or `list` body is sent as JSON."""

    body: object = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


Script = Callable[[Call], Said]


class Server(ThreadingHTTPServer):
    """Takes it calmly when a client hangs up."""

    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class ScriptedVault:
    """Answers by path; every call is kept for the test to look at."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.scripts: dict[str, Script] = {}
        self.raw: dict[str, Callable[[BaseHTTPRequestHandler], None]] = {}
        self._lock = Lock()
        self._server = Server(("127.0.0.1", 0), self._class())
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        self.resource: dict[str, object] = {"resource": self.url, "authorization_servers": [self.url]}
        self.metadata: dict[str, object] = {
            "issuer": self.url,
            "authorization_endpoint": self.url + "/oauth/authorize",
            "token_endpoint": self.url + "/oauth/token",
            "revocation_endpoint": self.url + "/oauth/revoke",
            "code_challenge_methods_supported": ["S256"],
            "authorization_response_iss_parameter_supported": True,
        }
        self.minted = 0
        self.says("/.well-known/oauth-protected-resource", lambda _: Said(self.resource))
        self.says("/.well-known/oauth-authorization-server", lambda _: Said(self.metadata))
        self.says("/oauth/token", lambda _: Said(self.mint()))
        self.says("/oauth/revoke", Said({}))
        self.says("/api/v1/grant", Said({"scope": "purchases.item:read"}))

    def says(self, path: str, answer: Said | Script) -> None:
        """What to answer at a path from now on."""
        self.scripts[path] = answer if callable(answer) else lambda _: answer

    def mint(self, **changes: object) -> dict[str, object]:
        """A token response, numbered."""
        with self._lock:
            self.minted += 1
            number = self.minted
        return {
            "access_token": f"vrm_at_secret{number}",
            "token_type": "Bearer",
            "expires_in": 900,
            "refresh_token": f"vrm_rt_secret{number}",
            "scope": "purchases.item:read",
            **changes,
        }

    def to(self, path: str) -> list[Call]:
        """The calls that arrived at a path."""
        return [call for call in self.calls if call.path == path]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _class(vault) -> type[BaseHTTPRequestHandler]:  # noqa: N805
        class Answering(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1  # one packet for each answer

            def do_GET(self) -> None:
                self._answer({})

            def do_POST(self) -> None:
                content = self.rfile.read(int(self.headers["Content-Length"])).decode()
                self._answer({name: values[0] for name, values in parse_qs(content).items()})

            def _answer(self, form: dict[str, str]) -> None:
                parts = urlsplit(self.path)
                query = {name: values[0] for name, values in parse_qs(parts.query).items()}
                call = Call(self.command, parts.path, query, dict(self.headers.items()), form)
                vault.calls.append(call)
                if parts.path in vault.raw:
                    self.close_connection = True
                    vault.raw[parts.path](self)
                    return
                script = vault.scripts.get(parts.path, lambda _: Said({"title": "no"}, 404))
                self._send(script(call))

            def _send(self, said: Said) -> None:
                body = said.body if isinstance(said.body, bytes) else json.dumps(said.body).encode()
                self.send_response(said.status)
                for name, value in {"Content-Type": "application/json", **said.headers}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Quiet."""

        return Answering


class Clock:
    """Unix time that a test moves."""

    def __init__(self) -> None:
        self.now = 1_790_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def scripted() -> Iterator[ScriptedVault]:
    vault = ScriptedVault()
    yield vault
    vault.close()


@pytest.fixture
def said() -> type[Said]:
    return Said


@pytest.fixture
def unix() -> Clock:
    return Clock()


@pytest.fixture
def vendor(scripted: ScriptedVault, unix: Clock) -> Vendor:
    return Vendor(
        scripted.url,
        client_id="corner:books",
        client_secret="s3cret / with+signs",
        redirect_uri=REDIRECT_URI,
        transport=Transport(timeout=5),
        clock=unix,
    )


@pytest.fixture
def asked(vendor: Vendor) -> Asked:
    return vendor.ask(scope="purchases.item:read")


@pytest.fixture
def connect(vendor: Vendor, scripted: ScriptedVault) -> Callable[..., Connection]:
    """Ask and finish; keyword arguments go to `finish`."""

    def go(**more: object) -> Connection:
        question = vendor.ask(scope="purchases.item:read")
        url = f"{REDIRECT_URI}?code=c0de&state={question.state}&iss={scripted.url}"
        return vendor.finish(question, url, **more)  # type: ignore[arg-type]

    return go
