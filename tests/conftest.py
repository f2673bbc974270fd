"""Fixtures that use the real interfaces: a settable clock, real files, real keys at the smallest cost."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from vrm.consent.service import SCHEMA as CONSENT_SCHEMA
from vrm.consent.service import Consent
from vrm.vault import serverkey
from vrm.vault.crypto import KdfLimits
from vrm.vault.engine import SqliteEngine
from vrm.vault.layout import SCHEMA
from vrm.vault.serverkey import ServerKey
from vrm.vault.vault import Vault, Vaults

PASSPHRASE = "correct horse battery staple"
CHEAP = KdfLimits(memory=19 * 1024, passes=1, lanes=1)


class SettableClock:
    """A clock that stands still until it is moved."""

    def __init__(self, at: int = 1_795_000_000) -> None:
        self.at = at

    def now(self) -> int:
        return self.at

    def forward(self, seconds: int) -> None:
        self.at += seconds


@pytest.fixture
def clock() -> SettableClock:
    return SettableClock()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def engine(folder: Path) -> Iterator[SqliteEngine]:
    opened = SqliteEngine(folder / "vrm.db")
    opened.install([SCHEMA, CONSENT_SCHEMA])
    yield opened
    opened.close()


@pytest.fixture
def server_key(folder: Path, engine: SqliteEngine) -> ServerKey:
    return serverkey.load(folder / "server.key")


@pytest.fixture
def vaults(engine: SqliteEngine, server_key: ServerKey, clock: SettableClock) -> Vaults:
    return Vaults(engine, server_key, clock=clock, limits=CHEAP)


@pytest.fixture
def vault(vaults: Vaults) -> Vault:
    return vaults.create("alice", PASSPHRASE)[0]


@pytest.fixture
def consent(engine: SqliteEngine, vaults: Vaults, clock: SettableClock) -> Consent:
    return Consent(engine, vaults, clock)
