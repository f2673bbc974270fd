"""Servers of strangers, on loopback: what this host calls in the tests, over real sockets."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_network
from typing import Any

from vrm.outbound import Outbound

LOOPBACK = (ip_network("127.0.0.0/8"), ip_network("::1/128"))


@dataclass
class Page:
    """What stands at a path."""

    body: bytes
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Seen:
    """A request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Site:
    """A server whose pages a test puts there, and which tells what was asked of it."""

    url: str
    pages: dict[str, Page] = field(default_factory=dict)
    seen: list[Seen] = field(default_factory=list)
    at_call: Callable[[], object] = lambda: None

    def put(self, path: str, document: Any, **headers: str) -> str:
        """Publish JSON; returns its address."""
        told = {"Content-Type": "application/json", **{k.replace("_", "-"): v for k, v in headers.items()}}
        self.pages[path] = Page(json.dumps(document).encode(), headers=told)
        return self.url + path


@contextmanager
def site(certificate: tuple[str, str] | None = None, host: str = "127.0.0.1") -> Iterator[Site]:
    """A site on a free port, with TLS if there is a certificate."""
    found: list[Site] = []

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            one = found[0]
            sent = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            one.seen.append(Seen(self.command, self.path, headers, sent))
            one.at_call()
            page = one.pages.get(self.path, Page(b"{}", 404))
            self.send_response(page.status)
            for name, value in {"Content-Length": str(len(page.body)), **page.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            with suppress(OSError):
                self.wfile.write(page.body)

        do_GET = do_POST = do_DELETE = answer  # noqa: N815 - the library's names

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer((host, 0), Handler)
    server.daemon_threads = True
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    found.append(Site(f"http{'s' if certificate else ''}://{host}:{server.server_port}"))
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield found[0]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def scripted(script: Callable[[socket.socket], object]) -> Iterator[str]:
    """A server that does with each connection what a test says; yields its address."""
    listening = socket.create_server(("127.0.0.1", 0))
    ended = threading.Event()

    def serve() -> None:
        while not ended.is_set():
            with suppress(OSError):
                connected, _ = listening.accept()
                threading.Thread(target=talk, args=(connected,), daemon=True).start()

    def talk(connected: socket.socket) -> None:
        with connected, suppress(OSError):
            script(connected)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        ended.set()
        with suppress(OSError):
            listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join()


def way_out(**rest: Any) -> Outbound:
    """Calls that may go to this machine."""
    return Outbound(LOOPBACK, **{"timeout": 2.0, **rest})
