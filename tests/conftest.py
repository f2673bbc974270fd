"""Fixtures that use the real interfaces: a settable clock, real files, real keys at the smallest cost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests import compiled, postgres
from tests.beside import ZEROBLOB
from vrm.consent.service import SCHEMA as CONSENT_SCHEMA
from vrm.consent.service import Consent
from vrm.vault import serverkey
from vrm.vault.crypto import KdfLimits
from vrm.vault.engine import Engine
from vrm.vault.keyring import Keyring
from vrm.vault.layout import SCHEMA
from vrm.vault.serverkey import ServerKey
from vrm.vault.sqlite import SqliteEngine
from vrm.vault.vault import Vault, Vaults

PASSPHRASE = "correct horse battery staple"
CHEAP = KdfLimits(memory=19 * 1024, passes=1, lanes=1)


class SettableClock:
    """A clock that stands still until it is moved, or goes on by `pace` seconds at each look."""

    def __init__(self, at: int = 1_795_000_000) -> None:
        self.at = at
        self.pace = 0

    def now(self) -> int:
        self.at += self.pace
        return self.at

    def forward(self, seconds: int) -> None:
        self.at += seconds


@pytest.fixture
def clock() -> SettableClock:
    return SettableClock()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture(scope="session", autouse=True)
def compiled_once() -> Iterator[None]:
    """Routes and templates, for all the apps of a run."""
    with compiled.once():
        yield


Opened = Callable[[Path], AbstractContextManager[Engine]]


def _on_sqlite(made: Path) -> Opened:
    """Copies of a file with every table and no row."""
    first = SqliteEngine(made / "vrm.db")
    first.install([SCHEMA, CONSENT_SCHEMA])
    first.close()  # whatever its log holds goes into the file
    installed = (made / "vrm.db").read_bytes()

    @contextmanager
    def open_copy(folder: Path) -> Iterator[Engine]:
        opened = SqliteEngine(folder / "vrm.db")
        (folder / "vrm.db").write_bytes(installed)
        yield opened
        opened.close()

    return open_copy


def _on_postgresql(made: Path) -> tuple[Opened, postgres.Spares]:
    """Databases after one with every table and no row."""
    postgres.make(made)
    first = postgres.opened(made)
    first.install([SCHEMA, CONSENT_SCHEMA])
    first.all(ZEROBLOB)
    first.close()  # nobody may be in it while it is copied
    spares = postgres.Spares(made)

    @contextmanager
    def open_copy(folder: Path) -> Iterator[Engine]:
        spares.take(folder)
        opened = postgres.opened(folder)
        yield opened
        opened.close()
        spares.give_back(folder)

    return open_copy, spares


@pytest.fixture(scope="session")
def opening(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Opened]:
    """Opens a database of its own for a folder, on the engine that VRM_TEST_ENGINE names (sqlite)."""
    made = tmp_path_factory.mktemp("installed")
    if postgres.ENGINE != "postgresql":
        yield _on_sqlite(made)
        return
    with postgres.running():
        open_copy, spares = _on_postgresql(made)
        yield open_copy
        spares.drop()


@pytest.fixture
def engine(folder: Path, opening: Opened) -> Iterator[Engine]:
    with opening(folder) as opened:
        opened.install([SCHEMA, CONSENT_SCHEMA])
        yield opened


@dataclass(frozen=True)
class Newborn:
    """Alice's vault as `Vaults.create` left it on a server of its own, to be entered where it is wanted."""

    made: Vault
    rows: dict[str, list[tuple[Any, ...]]]  # of each table
    server_key: bytes

    def fits(self, vaults: Vaults) -> bool:
        """Whether it could have been made there and now."""
        own = self.made._vaults
        return (own.server_key.pepper, own.clock.now()) == (vaults.server_key.pepper, vaults.clock.now())

    def enter(self, vaults: Vaults) -> Vault:
        """The same rows, and the vault as it is given to who made it."""
        with vaults.engine.write() as transaction:
            for table, rows in self.rows.items():
                places = ", ".join("?" * len(rows[0]))
                transaction.executemany(f"INSERT INTO {table} VALUES ({places})", rows)
        keyring = Keyring(self.made.id, self.made.keyring.root())
        return Vault(vaults, keyring, self.made.username, self.made._way)


@pytest.fixture(scope="session")
def newborn(tmp_path_factory: pytest.TempPathFactory) -> Newborn:
    """Made once for all tests: each making takes a stretched passphrase."""
    folder = tmp_path_factory.mktemp("newborn")
    engine = SqliteEngine(folder / "vrm.db")
    engine.install([SCHEMA, CONSENT_SCHEMA])
    key = serverkey.load(folder / "server.key")
    vault, _ = Vaults(engine, key, clock=SettableClock(), limits=CHEAP).create("alice", PASSPHRASE)
    rows = {table: engine.all(f"SELECT * FROM {table}") for table in engine.tables() if table != "schemas"}
    engine.close()
    filled = {table: found for table, found in rows.items() if found}
    return Newborn(vault, filled, (folder / "server.key").read_bytes())


@pytest.fixture
def server_key(folder: Path, engine: Engine, newborn: Newborn) -> ServerKey:
    path = folder / "server.key"
    path.touch(0o600)
    path.write_bytes(newborn.server_key)
    return serverkey.load(path)


@pytest.fixture
def vaults(engine: Engine, server_key: ServerKey, clock: SettableClock) -> Vaults:
    return Vaults(engine, server_key, clock=clock, limits=CHEAP)


@pytest.fixture
def vault(vaults: Vaults, newborn: Newborn) -> Vault:
    return newborn.enter(vaults) if newborn.fits(vaults) else vaults.create("alice", PASSPHRASE)[0]


@pytest.fixture
def consent(engine: Engine, vaults: Vaults, clock: SettableClock) -> Consent:
    return Consent(engine, vaults, clock)
