"""The steps that lift older data mean the same on PostgreSQL: the same tables, indexes, rows; or nothing."""

from __future__ import annotations

import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from tests import postgres
from tests.releases.conftest import Release
from tests.test_cli_copying import rows
from vrm.host import SCHEMAS
from vrm.vault import across
from vrm.vault.engine import Engine
from vrm.vault.sqlite import SqliteEngine

server = postgres.server


@pytest.fixture
def older(server: str, release: Release) -> Iterator[Engine]:
    """The data of a release, as if it had been on PostgreSQL."""
    postgres.make(release.folder)
    there, here = postgres.opened(release.folder), SqliteEngine(release.database)
    with closing(sqlite3.connect(release.database)) as raw:
        made = raw.execute(
            "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY type DESC"
        ).fetchall()
    with there.write() as written, here.read() as read:
        for (statement,) in made:
            written.execute(statement)
        across.copy_rows(read, written, here.tables())
    here.close()
    yield there
    there.close()
    postgres.drop(release.folder)


def indexes(folder: Path) -> set[str]:
    with psycopg.connect(postgres.libpq(postgres.address(folder))) as asked:
        found = asked.execute(
            "SELECT indexdef FROM pg_indexes WHERE schemaname = current_schema()"
        ).fetchall()
    return {definition for (definition,) in found}


def test_data_of_a_release_becomes_what_it_becomes_in_a_file(older: Engine, release: Release) -> None:
    assert older.install(SCHEMAS) is None
    host = release.open()  # the file, lifted
    assert older.tables() == host.engine.tables()
    theirs, ours = rows(older), rows(host.engine)
    host.engine.close()
    assert {table for table in ours if theirs[table] != ours[table]} == set()


def test_lifted_tables_are_like_new_ones(older: Engine, release: Release, tmp_path: Path) -> None:
    older.install(SCHEMAS)
    postgres.make(tmp_path)
    fresh = postgres.opened(tmp_path)
    fresh.install(SCHEMAS)
    assert fresh.tables() == older.tables()
    assert indexes(tmp_path) == indexes(release.folder)
    fresh.close()
    postgres.drop(tmp_path)


LIFT = """
import sys
from dataclasses import replace
from pathlib import Path
from vrm.host import SCHEMAS
from vrm.vault.postgres import PostgresEngine
steps = {3: ("ALTER TABLE vaults ADD COLUMN later INTEGER", "SELECT pg_sleep(60)")}
later = [replace(one, version=3, steps=dict(one.steps) | steps) for one in SCHEMAS[:1]]
PostgresEngine(sys.argv[1], Path(sys.argv[2])).install([*later, *SCHEMAS[1:]])
"""
ASLEEP = "wait_event = 'PgSleep'"


def test_killed_in_the_middle_everything_is_as_it_was(older: Engine, release: Release) -> None:
    before = older.tables(), rows(older)
    url = postgres.address(release.folder)
    lifting = subprocess.Popen([sys.executable, "-c", LIFT, url, str(release.folder)])
    while not older.one(f"SELECT 1 FROM pg_stat_activity WHERE {ASLEEP}"):
        assert lifting.poll() is None
        time.sleep(0.05)
    lifting.send_signal(signal.SIGKILL)
    lifting.wait()
    with psycopg.connect(postgres.libpq(url), autocommit=True) as host:  # which the server notices in the end
        host.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {ASLEEP}")
    assert (older.tables(), rows(older)) == before
    older.install(SCHEMAS)


def test_every_step_is_of_the_common_sql() -> None:
    """So that a step is tried on both engines by being written."""
    own = re.compile(r"(?<!WITHOUT )\bROWID\b|\bPRAGMA\b|\bOR REPLACE\b|sqlite_|\bSERIAL\b|::")
    for schema in SCHEMAS:
        for statement in (*schema.statements, *(one for steps in schema.steps.values() for one in steps)):
            assert not own.search(statement), statement
