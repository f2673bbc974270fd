"""Real servers in real processes: `vrm serve`, and the bare routes beside it."""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from bench import machine

ROOT = Path(__file__).parents[1]
WORKERS = 2
_PATIENCE = 30.0  # seconds to start


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """A server with its workers, from start to end."""

    def __init__(self, name: str, command: list[str], port: int, folder: Path) -> None:
        self.name, self.port = name, port
        self.url = f"http://127.0.0.1:{port}"
        kept = {name: value for name, value in os.environ.items() if not name.startswith("VRM_")}
        self._log = folder / f"{name}.log"
        with self._log.open("wb") as log:
            self._running = subprocess.Popen(
                [sys.executable, *command],
                cwd=folder,  # a vrm.toml in the checkout has no say
                env=kept | {"PYTHONPATH": str(ROOT)},
                stdout=log,
                stderr=log,
            )
        self._await(children=WORKERS)

    def _await(self, children: int) -> None:
        end = time.monotonic() + _PATIENCE
        while time.monotonic() < end:
            if self._running.poll() is not None:
                raise RuntimeError(f"{self.name} ended at once:\n{self._log.read_text()}")
            try:
                self.ask("GET", "/")
            except OSError:
                time.sleep(0.05)
                continue
            if len(self.processes()) > children:
                return
        raise RuntimeError(f"{self.name} does not answer:\n{self._log.read_text()}")

    def processes(self) -> list[int]:
        """The server's first process and all its workers."""
        return machine.tree(self._running.pid)

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


def vrm(folder: Path, port: int) -> Server:
    """`vrm serve` as an operator starts it."""
    command = ["-m", "vrm", "serve", "--data-dir", str(folder / "vault"), "--port", str(port)]
    return Server("vrm", [*command, "--workers", str(WORKERS)], port, folder)


def bare(folder: Path, answers: Path) -> Server:
    """The bare routes."""
    port = free_port()
    return Server("bare", ["-m", "bench.baseline", str(port), str(WORKERS), str(answers)], port, folder)
