"""PostgreSQL, etcd and Patroni as real processes on loopback, in a folder that goes away with them.

Everything runs under an account without rights (PostgreSQL refuses root), listens on 127.0.0.1 alone and is
ended, with all that it started, when the stage is struck. What Debian's packages put on the machine is left
untouched.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from bench import machine
from bench.servers import ROOT, free_port

HERE = "127.0.0.1"
TEMPLATE = ROOT / "deploy" / "patroni" / "member.yml"
WANTED = {
    "initdb": "postgresql",
    "etcd": "etcd-server",
    "patroni": "patroni",
}
_PATIENCE = 90.0  # seconds until something has started


def missing(*tools: str) -> list[str]:
    """Debian's packages that a trial wants and this machine has not."""
    return [
        WANTED[tool] for tool in tools if not (_postgres(tool) if tool == "initdb" else shutil.which(tool))
    ]


def _postgres(tool: str) -> Path | None:
    """A program of the newest PostgreSQL that is here; Debian keeps most of them off the path."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{tool}"), key=lambda path: int(path.parts[4]))
    elsewhere = shutil.which(tool)
    return found[-1] if found else Path(elsewhere).resolve() if elsewhere else None


def program(tool: str) -> str:
    """Its path, or an error that names the package."""
    found = _postgres(tool)
    if found is None:
        raise RuntimeError(f"no {tool} here: apt-get install postgresql")
    return str(found)


def until(what: str, there: Callable[[], object], patience: float = _PATIENCE) -> float:
    """Wait for something; returns the seconds that it took."""
    begun = time.monotonic()
    while time.monotonic() < begun + patience:
        if there():
            return time.monotonic() - begun
        time.sleep(0.1)
    raise RuntimeError(f"after {patience:.0f} s still not so: {what}")


class Stage:
    """A folder, an account without rights, and the processes that were started there."""

    def __init__(self) -> None:
        self.folder = Path(
            tempfile.mkdtemp(prefix="vrm-cluster-", dir="/var/tmp")
        )  # on the disk, never in memory
        self._started: list[subprocess.Popen[bytes]] = []
        self._account: dict[str, Any] = {}
        if os.geteuid() == 0:
            names = {one.pw_name: one for one in pwd.getpwall()}
            one = names.get("postgres", names["nobody"])
            self._account = {"user": one.pw_uid, "group": one.pw_gid, "extra_groups": []}
            os.chown(self.folder, one.pw_uid, one.pw_gid)

    def place(self, name: str) -> Path:
        """A new folder of that account."""
        path = self.folder / name
        path.mkdir(mode=0o700)
        self.give(path)
        return path

    def give(self, path: Path) -> None:
        """A file or folder to the account that everything runs under."""
        if self._account:
            os.chown(path, self._account["user"], self._account["group"])

    def run(self, *command: str, environ: dict[str, str] | None = None) -> str:
        """A program to its end; raises with what it wrote if it fails."""
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self._environ(environ),
            capture_output=True,
            text=True,
            check=False,
            **self._account,
        )
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}:\n{done.stdout}{done.stderr}")
        return str(done.stdout)

    def start(self, name: str, *command: str) -> subprocess.Popen[bytes]:
        """A program that stays; its words go to a log of its name."""
        with (self.folder / f"{name}.log").open("ab") as log:
            running = subprocess.Popen(
                command, cwd=self.folder, env=self._environ(None), stdout=log, stderr=log,
                start_new_session=True, **self._account,
            )  # fmt: skip
        self._started.append(running)
        return running

    def _environ(self, more: dict[str, str] | None) -> dict[str, str]:
        return {
            "PATH": os.environ.get("PATH", ""),
            "LANG": "C.UTF-8",
            "HOME": str(self.folder),
            **(more or {}),
        }

    def kill(self, *roots: int) -> None:
        """These processes and all below them, at once and without a word: what a power cut is to them."""
        doomed = [pid for root in roots if Path(f"/proc/{root}").exists() for pid in _tree(root)]
        for pid in doomed:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for running in self._started:
            if running.pid in doomed:
                running.wait()

    def postmaster(self, folder: Path) -> int:
        """The first process of the PostgreSQL that has its files there; 0 if none runs."""
        try:
            pid = int((folder / "postmaster.pid").read_text().split()[0])
            return pid if Path(f"/proc/{pid}/cwd").resolve() == folder.resolve() else 0
        except (OSError, ValueError, IndexError):
            return 0

    def strike(self) -> None:
        """End everything and take the folder away."""
        for running in reversed(self._started):
            if running.poll() is None:
                self.kill(running.pid)
        for place in self.folder.glob("**/postmaster.pid"):
            self.kill(*filter(None, [self.postmaster(place.parent)]))
        shutil.rmtree(self.folder, ignore_errors=True)


def _tree(root: int) -> list[int]:
    try:
        return machine.tree(root)
    except OSError:  # one of them ended while we looked
        return [root]


@contextlib.contextmanager
def set_up() -> Iterator[Stage]:
    """A stage that is struck whatever happens."""
    stage = Stage()
    try:
        yield stage
    finally:
        stage.strike()


class Instance:
    """One PostgreSQL by itself."""

    def __init__(self, stage: Stage, name: str, **parameters: str) -> None:
        self.stage, self.port = stage, free_port()
        self.password = secrets.token_urlsafe(16)
        self.home = stage.place(name)
        self.files = self.home / "files"
        self._name = name
        self._parameters = {"unix_socket_directories": str(self.home), "listen_addresses": HERE} | parameters
        phrase = self.home / "password"
        phrase.write_text(self.password)
        stage.give(phrase)
        stage.run(
            program("initdb"), "--pgdata", str(self.files), "--username", "postgres", "--pwfile", str(phrase),
            "--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C.UTF-8", "--data-checksums",
        )  # fmt: skip
        self.begin()

    def begin(self) -> None:
        """Start it, and wait until it answers."""
        given = [f"--{name}={value}" for name, value in (self._parameters | {"port": str(self.port)}).items()]
        self.stage.start(self._name, program("postgres"), "-D", str(self.files), *given)
        ready = ["pg_isready", "--quiet", "--host", HERE, "--port", str(self.port)]
        until(f"{self._name} answers", lambda: not subprocess.run(ready, check=False).returncode)

    def end(self) -> None:
        """Stop it as an operator does."""
        self.stage.run(program("pg_ctl"), "stop", "--mode", "fast", "--pgdata", str(self.files))

    def kill(self) -> None:
        """With -9, all its processes in one moment."""
        self.stage.kill(self.stage.postmaster(self.files))

    def cpu(self) -> float:
        """Seconds of CPU of all its processes that still run."""
        pid = self.stage.postmaster(self.files)
        return machine.cpu_seconds(_tree(pid)) if pid else 0.0

    def url(self, database: str = "postgres") -> str:
        """Where programs connect to."""
        return f"postgresql://postgres:{self.password}@{HERE}:{self.port}/{database}"


class Etcd:
    """Three etcd members: losing one of them loses nobody's word about who leads."""

    def __init__(self, stage: Stage, members: int = 3) -> None:
        self.ports = [(free_port(), free_port()) for _ in range(members)]
        ring = ",".join(f"etcd{at}=http://{HERE}:{peer}" for at, (_, peer) in enumerate(self.ports))
        for at, (client, peer) in enumerate(self.ports):
            files = stage.place(f"etcd{at}")
            stage.start(
                f"etcd{at}", "etcd", "--name", f"etcd{at}", "--data-dir", str(files / "files"),
                "--listen-client-urls", f"http://{HERE}:{client}",
                "--advertise-client-urls", f"http://{HERE}:{client}",
                "--listen-peer-urls", f"http://{HERE}:{peer}",
                "--initial-advertise-peer-urls", f"http://{HERE}:{peer}",
                "--initial-cluster", ring, "--initial-cluster-state", "new",
                "--heartbeat-interval", "500", "--election-timeout", "5000",
            )  # fmt: skip
        until("etcd is healthy", lambda: all(_healthy(client) for client, _ in self.ports))

    def hosts(self) -> str:
        """As Patroni wants them."""
        return ",".join(f"{HERE}:{client}" for client, _ in self.ports)


def _healthy(port: int) -> bool:
    status, said = ask(port, "/health")
    return status == 200 and said.get("health") == "true"


def ask(port: int, path: str) -> tuple[int, dict[str, Any]]:
    """A GET to etcd or Patroni: status and JSON; (0, {}) where nobody answers."""
    connection = http.client.HTTPConnection(HERE, port, timeout=5)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read() or b"{}")
    except (OSError, ValueError, http.client.HTTPException):
        return 0, {}
    finally:
        connection.close()


class Member:
    """One PostgreSQL under Patroni, from the template that an operator fills."""

    def __init__(self, stage: Stage, name: str, etcd: str, passwords: dict[str, str]) -> None:
        self.stage, self.name = stage, name
        self.port, self.rest = free_port(), free_port()
        self.home = stage.place(name)
        filled = TEMPLATE.read_text()
        for word, value in {
            "SUPERUSER_PASSWORD": passwords["postgres"], "REPLICATION_PASSWORD": passwords["replicator"],
            "REWIND_PASSWORD": passwords["rewinder"], "REST_PORT": str(self.rest), "ETCD_HOSTS": etcd,
            "BIN_DIR": str(Path(program("initdb")).parent), "ADDRESS": HERE, "NETWORK": f"{HERE}/32",
            "FOLDER": str(self.home), "PORT": str(self.port), "NAME": name,
        }.items():  # fmt: skip
            filled = filled.replace(word, value)
        self._settings = self.home / "patroni.yml"
        self._settings.touch(mode=0o600)
        self._settings.write_text(filled)
        stage.give(self._settings)
        self.begin()

    def begin(self) -> None:
        """Start Patroni, which starts PostgreSQL."""
        self._patroni = self.stage.start(self.name, "patroni", str(self._settings))

    def leads(self) -> bool:
        """Whether it is the primary, by its own word."""
        return ask(self.rest, "/primary")[0] == 200

    def crash(self) -> None:
        """PostgreSQL dies; Patroni lives and sees it."""
        self.stage.kill(self.stage.postmaster(self.home / "data"))

    def vanish(self) -> None:
        """PostgreSQL and Patroni die in one moment, as they do with their machine."""
        self.stage.kill(self._patroni.pid, self.stage.postmaster(self.home / "data"))


class Cluster:
    """Three members that follow each other."""

    def __init__(self, stage: Stage) -> None:
        self.passwords = {name: secrets.token_urlsafe(16) for name in ("postgres", "replicator", "rewinder")}
        self.etcd = Etcd(stage)
        self.members = [Member(stage, f"member{at}", self.etcd.hosts(), self.passwords) for at in range(3)]
        self.settle()

    def primary(self) -> Member:
        """Who leads now."""
        return next(member for member in self.members if member.leads())

    def whole(self) -> bool:
        """Whether one leads, and two follow of whom one is waited for at each commit."""
        parts = ask(self.members[0].rest, "/cluster")[1].get("members", [])
        roles = sorted(part["role"] for part in parts if part["state"] in {"running", "streaming"})
        caught_up = all(part.get("lag", 0) == 0 for part in parts)
        return roles == ["leader", "replica", "sync_standby"] and caught_up

    def settle(self) -> float:
        """Wait until it is whole; returns the seconds that it took."""
        return until("one leads and two follow", self.whole)

    def url_of(self, member: Member, database: str = "postgres") -> str:
        """That one, whether it leads or follows."""
        return f"postgresql://postgres:{self.passwords['postgres']}@{HERE}:{member.port}/{database}"

    def url(self, database: str = "postgres") -> str:
        """All three; whoever connects is led to the one that takes writes. No proxy stands between."""
        places = ",".join(f"{HERE}:{member.port}" for member in self.members)
        wishes = "target_session_attrs=read-write&connect_timeout=3"
        return f"postgresql://postgres:{self.passwords['postgres']}@{places}/{database}?{wishes}"
