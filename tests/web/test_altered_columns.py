"""Whoever writes to the database cannot lock her out: any column, set to what it never holds, is a problem.

Every column of every table is set, one at a time, to text, an empty value, NULL or random bytes, in a vault
with a live grant, a log, letters and receipts, filed and waiting. The log-in and the pages that it leads to
still answer.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.attacks.actors import Customer as Actor
from tests.attacks.actors import Vendor, part, writing
from tests.conftest import CHEAP, PASSPHRASE, SettableClock
from tests.web.actors import Customer
from vrm.app import create_app
from vrm.consent.service import SCHEMA as CONSENT_SCHEMA
from vrm.consent.service import Consent
from vrm.host import Host
from vrm.settings import Settings
from vrm.vault import serverkey
from vrm.vault.layout import SCHEMA
from vrm.vault.sqlite import SqliteEngine
from vrm.vault.vault import Vaults

LONG = bool(os.environ.get("VRM_TEST_LONG"))
WRITTEN = {"text": "x", "nothing": b"", "null": None, "random": os.urandom(40), "number": -1}
LOOKED_AT = ("body", "revision", "last_used", "segment", "seq", "agreement")  # with every fourth
PAGES = ("/", "/companies", "/log", "/inbox", "/things")
LETTER = {"message": {"subject": "Your order", "text": "It is on its way."}}


def host(folder: Path) -> Host:
    engine, clock = SqliteEngine(folder / "vrm.db"), SettableClock()
    engine.install([SCHEMA, CONSENT_SCHEMA])
    vaults = Vaults(engine, serverkey.load(folder / "server.key"), clock=clock, limits=CHEAP)
    settings = Settings(data_dir=folder, public_url="http://localhost:8600")
    return Host(settings, engine, vaults, Consent(engine, vaults, clock), clock)


def tell(at: Host) -> None:
    """Something in every table: records, grants, a log, letters and receipts, filed and waiting."""
    vault, _ = at.vaults.create("alice", PASSPHRASE)
    code = at.vaults.unlock("alice", PASSPHRASE).new_recovery_code(PASSPHRASE)
    vault.confirm_recovery_code(code)
    alice, vendor = Actor(vault, at.consent), Vendor.register(at.consent, "Corner Books")
    alice.buy("Emma")
    alice.buy("Kindred", None)
    reads = vendor.connect(alice, part("purchases.item", "purchases.order"))
    writes = vendor.connect(alice, writing(), writing("inbox"))
    vendor.titles(reads.access_token)
    for filed in (True, False):
        vendor.leave(writes.access_token, {"item": {"title": f"Piranesi {filed}"}})
        vendor.leave(writes.access_token, LETTER, collection="inbox")
        at.consent.at_unlock(vault) if filed else vendor.ask()


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pristine")
    made = host(folder)
    tell(made)
    made.engine.purge()
    made.engine.close()
    return folder


def columns(folder: Path) -> Iterator[tuple[str, str]]:
    with closing(sqlite3.connect(folder / "vrm.db")) as raw:
        tables = [row[0] for row in raw.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in tables:
            filled = raw.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
            if filled and not table.startswith(("sqlite_", "schema")):
                yield from ((table, row[1]) for row in raw.execute(f"PRAGMA table_info({table})"))


def altered(folder: Path, table: str, column: str, value: object) -> bool:
    """Whether the database let it be written."""
    raw = sqlite3.connect(folder / "vrm.db")
    try:
        with raw:
            raw.execute(f"UPDATE OR IGNORE {table} SET {column} = ?", (value,))
    except sqlite3.IntegrityError:
        return False
    finally:
        raw.close()
    return True


def answers(folder: Path) -> dict[str, int]:
    """Page → status, after a log-in."""
    at = host(folder)
    app = create_app(at.settings, host=at)
    alice = Customer(app.test_client())
    try:
        found = {"/login": alice.log_in(passphrase=PASSPHRASE).status}
        return found | {page: alice.get(page).status for page in PAGES}
    finally:
        at.engine.close()


def test_no_column_set_to_what_it_never_holds_keeps_her_out(pristine: Path, tmp_path: Path) -> None:
    failed = []
    for number, (table, column) in enumerate(columns(pristine)):
        for turn, (kind, value) in enumerate(WRITTEN.items()):
            if not LONG and (turn != number % len(WRITTEN) or (number % 4 and column not in LOOKED_AT)):
                continue
            folder = tmp_path / f"{number}-{turn}"
            shutil.copytree(pristine, folder)
            if not altered(folder, table, column, value):
                continue
            bad = {page: status for page, status in answers(folder).items() if status in (500, 502)}
            failed += [(table, column, kind, bad)] if bad else []
            shutil.rmtree(folder)
    assert failed == []
