"""The stage of the demo: real processes, addresses, people, and how a step says what happened."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import urlopen

from demo_browser import Browser

DATA = Path(__file__).resolve().parent.parent / ".demo"


class StoryError(Exception):
    """Something did not happen as the story says."""


def require(true: object, what: str) -> None:
    """Go on only if it is so."""
    if not true:
        raise StoryError(what)


def say(text: str) -> None:
    """One line of the story."""
    print(f"   {text}", flush=True)


def chapter(number: int, text: str) -> None:
    """A step's title."""
    print(f"\n{number}. {text}", flush=True)


@dataclass
class Stage:
    """Processes, addresses and people."""

    vault: str
    shop: str
    passphrase: str
    own_export: Path | None
    alice: Browser = field(default_factory=Browser)
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def folder(self) -> Path:
        """The vault's data directory."""
        return DATA / "vault"

    def command(self, *arguments: str) -> Any:
        """Run `vrm … --json` on the vault's data; the parsed answer."""
        done = subprocess.run(
            [sys.executable, "-m", "vrm", *arguments, "--json"],
            env=self.environment,
            capture_output=True,
            check=False,
        )
        require(done.returncode == 0, f"vrm {arguments[0]} failed: {done.stderr.decode()}")
        return json.loads(done.stdout)

    @property
    def environment(self) -> dict[str, str]:
        """What the vault's processes see: nothing of the caller's settings."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("VRM_")}
        ours = {"VRM_DATA_DIR": str(self.folder), "VRM_PUBLIC_URL": self.vault}
        return {**kept, **ours, "VRM_OUTBOUND_ALLOW": "127.0.0.1"}  # where the shop listens

    def held(self) -> dict[str, Any]:
        """What the shop keeps of her."""
        with urlopen(f"http://127.0.0.1:{urlsplit(self.shop).port}/internal/holds.json") as answer:
            held: dict[str, Any] = json.load(answer)["visitors"][-1]
        return held

    def start(self, name: str, arguments: list[str], probe: str) -> None:
        """Start a process and wait until it answers."""
        with (DATA / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, *arguments],
                env=self.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.processes.append(process)
        for _ in range(300):
            require(process.poll() is None, f"{name} ended: {(DATA / f'{name}.log').read_text()}")
            try:
                with urlopen(probe, timeout=5) as answer:
                    if answer.status == 200:
                        return
            except OSError:
                time.sleep(0.1)
        raise StoryError(f"{name} does not answer")

    def stop(self) -> None:
        """End every process."""
        for process in self.processes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
        for process in self.processes:
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)


def eventually(look: Callable[[], bool], complaint: str) -> None:
    """Wait for what another process does within seconds; StoryError if it does not."""
    for _ in range(200):
        if look():
            return
        time.sleep(0.1)
    raise StoryError(complaint)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def taken(ports: tuple[int, ...]) -> str:
    """What is said where somebody listens on one of them, here or on all addresses of this machine; or ""."""
    for port in ports:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                hint = "hint: stop what listens there, or take free ports: make demo ONCE=1"
                return f"error: port {port} is taken\n{hint}"
    return ""


def walk(node: Any) -> list[dict[str, Any]]:
    """Every object inside a JSON document."""
    inner = list(node.values()) if isinstance(node, dict) else node if isinstance(node, list) else []
    return ([node] if isinstance(node, dict) else []) + [found for one in inner for found in walk(one)]
