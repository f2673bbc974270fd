"""Real servers in real processes: `vrm serve`, and the bare routes beside it."""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from bench import machine

ROOT = Path(__file__).parents[1]
WORKERS = 2
_LIMITS = {  # as in the world
    f"VRM_{name}_PER_MINUTE": "10000000" for name in ("READINGS", "TOKENS", "INTROSPECTIONS", "LOGINS")
}
_PATIENCE = 30.0  # seconds to start


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


UNHURRIED = {  # the limits stay on, so that their cost is measured
    f"VRM_{name}_PER_MINUTE": "10000000" for name in ("READINGS", "TOKENS", "INTROSPECTIONS", "LOGINS")
}


class Server:
    """A server with its workers, from start to end; `beside` tells the CPU seconds of a database server."""

    def __init__(
        self,
        name: str,
        command: list[str],
        port: int,
        folder: Path,
        *,
        workers: int = WORKERS,
        environ: Mapping[str, str] | None = None,
        beside: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self.name, self.port, self.beside = name, port, beside
        self.url = f"http://127.0.0.1:{port}"
        kept = {name: value for name, value in os.environ.items() if not name.startswith("VRM_")}
        self._log = folder / f"{name}.log"
        with self._log.open("wb") as log:
            begun = time.monotonic()
            self._running = subprocess.Popen(
                [sys.executable, *command],
                cwd=folder,  # a vrm.toml in the checkout has no say
                env=kept | {"PYTHONPATH": str(ROOT)} | dict(environ or {}),
                stdout=log,
                stderr=log,
            )
        self._await(workers)
        self.started = self._answered - begun  # seconds from nothing to the first answer

    def _await(self, children: int) -> None:
        self._answered = 0.0
        end = time.monotonic() + _PATIENCE
        while time.monotonic() < end:
            if self._running.poll() is not None:
                raise RuntimeError(f"{self.name} ended at once:\n{self._log.read_text()}")
            try:
                self.ask("GET", "/")
            except OSError:
                time.sleep(0.005)
                continue
            self._answered = self._answered or time.monotonic()
            if len(self.processes()) > children:
                return
            time.sleep(0.005)
        raise RuntimeError(f"{self.name} does not answer:\n{self._log.read_text()}")

    @property
    def pid(self) -> int:
        """The first process."""
        return self._running.pid

    def processes(self) -> list[int]:
        """The server's first process and all its workers."""
        return machine.tree(self._running.pid)

    def await_connections(self, count: int) -> bool:
        """Wait until so many are open; False where they do not come."""
        here = f"0100007F:{self.port:04X}"
        end = time.monotonic() + _PATIENCE
        while time.monotonic() < end:
            lines = [line.split()[1:4] for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
            if sum(local == here and state == "01" for local, _, state in lines) >= count:
                return True
            time.sleep(0.05)
        return False

    def await_calm(self) -> None:
        """Wait until its processes have nothing left to do, or for as long as is bearable."""
        end = time.monotonic() + _PATIENCE
        while time.monotonic() < end:
            before = machine.cpu_seconds(self.processes())
            time.sleep(0.5)
            if machine.cpu_seconds(self.processes()) - before <= 0.02:
                return

    def ask(
        self, method: str, path: str, headers: Mapping[str, str] | None = None, body: str = ""
    ) -> tuple[int, Mapping[str, str], str]:
        """One request: status, headers (names in small letters), body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request(method, path, body or None, dict(headers or {}))
            answer = connection.getresponse()
            return (
                answer.status,
                {name.lower(): value for name, value in answer.getheaders()},
                answer.read().decode(),
            )
        finally:
            connection.close()

    def complaints(self) -> str:
        """What the server wrote to its log."""
        return self._log.read_text()

    def stop(self) -> None:
        """End it and its workers, and wait until they have ended."""
        self._running.terminate()
        try:
            self._running.wait(timeout=15)
        except subprocess.TimeoutExpired:
            self._running.kill()
            self._running.wait()


def vrm(
    folder: Path,
    port: int,
    *,
    name: str = "vrm",
    workers: int = WORKERS,
    data: str = "vault",
    environ: Mapping[str, str] | None = None,
    beside: Callable[[], float] = lambda: 0.0,
) -> Server:
    """`vrm serve` as an operator starts it, with limits that one vendor alone does not reach."""
    command = ["-m", "vrm", "serve", "--data-dir", str(folder / data), "--port", str(port)]
    return Server(
        name,
        [*command, "--workers", str(workers)],
        port,
        folder,
        workers=workers,
        environ={**UNHURRIED, **(environ or {})},
        beside=beside,
    )


def bare(folder: Path, answers: Path, name: str = "bare") -> Server:
    """The bare routes."""
    port = free_port()
    return Server(name, ["-m", "bench.baseline", str(port), str(WORKERS), str(answers)], port, folder)
