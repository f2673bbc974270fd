"""A vault as it is really served: `vrm serve` in processes of its own, met over plain sockets.

No client library stands between a test and the server: those refuse to send what an attacker sends.
"""

from __future__ import annotations

import os
import re
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

ROOT = Path(__file__).parents[2]
PATIENCE = 20.0  # seconds until a server must have started, answered or ended


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def core_dumps_allowed() -> Iterator[None]:
    """What is started in here may write them, as on many machines; the server must forbid them itself."""
    before = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (before[1], before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_CORE, before)


@dataclass(frozen=True)
class Answer:
    """What came back; status 0 where the connection was closed without a word."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes
    raw: bytes

    def header(self, name: str) -> str:
        return next((value for known, value in self.headers if known == name.lower()), "")

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", "replace")


def parse(raw: bytes) -> Answer:
    head, _, body = raw.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    words = first.split(" ", 2)
    if len(words) < 2 or not words[1].isdecimal():
        return Answer(0, [], b"", raw)
    pairs = [line.partition(":") for line in lines]
    headers = [(name.lower(), value.strip()) for name, _, value in pairs]
    if ("transfer-encoding", "chunked") in headers:
        body = _unchunked(body)
    return Answer(int(words[1]), headers, body, raw)


def _unchunked(body: bytes) -> bytes:
    whole = b""
    while body:
        size, _, body = body.partition(b"\r\n")
        count = int(size or b"0", 16)
        whole, body = whole + body[:count], body[count + 2 :]
    return whole


@dataclass
class Served:
    """One running `vrm serve`; `log` is all that it wrote to its outputs."""

    port: int
    environ: Mapping[str, str]
    folder: Path
    process: subprocess.Popen[bytes] = field(init=False)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        return (self.folder / "server.log").read_text("utf-8", "replace")

    def start(self) -> Served:
        with (self.folder / "server.log").open("ab") as log, core_dumps_allowed():
            self.process = subprocess.Popen(
                [sys.executable, "-m", "vrm", "serve", "--port", str(self.port)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **self.environ},
                cwd=self.folder,
                start_new_session=True,
            )
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            with suppress(OSError):
                if self.get("/readyz").status == 200:
                    return self
            assert self.process.poll() is None, self.log
            time.sleep(0.05)
        raise AssertionError(f"not ready in time: {self.log}")

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def pids(self) -> list[int]:
        """The server and every process that it started."""
        found, ahead = [], [self.process.pid]
        while ahead:
            pid = ahead.pop()
            found.append(pid)
            for task in Path(f"/proc/{pid}/task").glob("*/children"):
                with suppress(OSError):
                    ahead += [int(child) for child in task.read_text().split()]
        return found

    def send(self, raw: bytes | Iterable[bytes], patience: float = PATIENCE) -> Answer:
        """Bytes as they are, on a connection of their own, and what comes back until it is closed."""
        with socket.create_connection(("127.0.0.1", self.port), patience) as connection:
            connection.settimeout(patience)
            with suppress(OSError):  # the server may have heard enough and hung up
                for piece in [raw] if isinstance(raw, bytes) else raw:
                    connection.sendall(piece)
            return parse(_all(connection))

    def request(
        self,
        method: str,
        target: str,
        headers: Iterable[tuple[str, str]] = (),
        body: bytes = b"",
        host: str | None = None,
    ) -> Answer:
        """One request, spelled out; only Host, Connection and Content-Length are put in."""
        given = {name.lower() for name, _ in headers}
        lines = [f"{method} {target} HTTP/1.1"]
        if "host" not in given:
            lines.append(f"Host: {host or f'127.0.0.1:{self.port}'}")
        lines += [f"{name}: {value}" for name, value in headers]
        if body and not given & {"content-length", "transfer-encoding"}:
            lines.append(f"Content-Length: {len(body)}")
        lines.append("Connection: close")
        return self.send("\r\n".join([*lines, "", ""]).encode("latin-1", "replace") + body)

    def get(self, target: str, **headers: str) -> Answer:
        return self.request("GET", target, list(headers.items()))

    def bearer(self, target: str, token: str, *headers: tuple[str, str], method: str = "GET") -> Answer:
        return self.request(method, target, [("Authorization", f"Bearer {token}"), *headers])

    def form(self, target: str, text: str | bytes, *headers: tuple[str, str]) -> Answer:
        body = text.encode() if isinstance(text, str) else text
        kind = ("Content-Type", "application/x-www-form-urlencoded")
        return self.request("POST", target, [kind, *headers], body)


@dataclass
class Browser:
    """Cookies and forms over a served vault, and nothing more."""

    served: Served
    cookies: dict[str, str] = field(default_factory=dict)

    def get(self, path: str) -> Answer:
        return self._kept(self.served.request("GET", path, self._headers()))

    def post(self, path: str, fields: Iterable[tuple[str, str]]) -> Answer:
        kind = ("Content-Type", "application/x-www-form-urlencoded")
        body = urlencode(list(fields)).encode()
        return self._kept(self.served.request("POST", path, [kind, *self._headers()], body))

    def upload(self, path: str, name: str, content: bytes) -> Answer:
        parts = [
            b'--cut\r\nContent-Disposition: form-data; name="csrf_token"\r\n\r\n' + self.token(path).encode(),
            b'\r\n--cut\r\nContent-Disposition: form-data; name="files"; filename="' + name.encode() + b'"',
            b"\r\nContent-Type: application/octet-stream\r\n\r\n" + content + b"\r\n--cut--\r\n",
        ]
        kind = ("Content-Type", "multipart/form-data; boundary=cut")
        return self._kept(self.served.request("POST", path, [kind, *self._headers()], b"".join(parts)))

    def token(self, path: str) -> str:
        found = re.search(r'name="csrf_token" value="([0-9a-f]+)"', self.get(path).text)
        assert found, path
        return found.group(1)

    def log_in(self, name: str, passphrase: str) -> Answer:
        fields = [("csrf_token", self.token("/login")), ("username", name), ("passphrase", passphrase)]
        return self.post("/login", fields)

    def _headers(self) -> list[tuple[str, str]]:
        sent = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        return [("Cookie", sent)] if sent else []

    def _kept(self, answer: Answer) -> Answer:
        for name, value in answer.headers:
            if name == "set-cookie":
                pair, _, rest = value.partition(";")
                known, _, text = pair.partition("=")
                if "Max-Age=0" in rest:
                    self.cookies.pop(known, None)
                else:
                    self.cookies[known] = text
        return answer


def _all(connection: socket.socket) -> bytes:
    got = b""
    with suppress(ConnectionResetError, TimeoutError):
        while chunk := connection.recv(65_536):
            got += chunk
    return got


def memory_peak(pid: int) -> int:
    """The most memory that a process ever held, in bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    line: Any = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024
