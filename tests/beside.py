"""Somebody who may write to the database and has no credential, on whichever engine the tests run.

`beside(folder)` gives `execute(sql, parameters)` outside of any transaction of ours. What SQLite takes in any
column and PostgreSQL in none is not to be tried there: `@only_sqlite`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests import postgres
from vrm.consent.service import SCHEMA as CONSENT_SCHEMA
from vrm.vault import across
from vrm.vault.layout import SCHEMA
from vrm.vault.pglink import Link
from vrm.vault.sqlite import SqliteEngine

ON_POSTGRESQL = postgres.ENGINE == "postgresql"
only_sqlite = pytest.mark.skipif(ON_POSTGRESQL, reason="of a file, or of what PostgreSQL lets nobody write")
Beside = Any  # sqlite3.Connection or Link: both have execute() and close()
# As SQLite has it, for the tests' own statements.
ZEROBLOB = (
    "CREATE FUNCTION zeroblob(BIGINT) RETURNS BYTEA LANGUAGE SQL IMMUTABLE AS"
    " 'SELECT decode(repeat(''00'', CAST($1 AS INT)), ''hex'')'"
)


@contextmanager
def beside(folder: Path) -> Iterator[Beside]:
    """A connection of his own to the database of a folder."""
    if ON_POSTGRESQL:
        opened: Any = Link(postgres.libpq(postgres.address(folder)))
    else:
        opened = sqlite3.connect(folder / "vrm.db", isolation_level=None)
    with closing(opened):
        yield opened


def dumped(folder: Path, file: Path) -> None:
    """All rows of a folder's PostgreSQL in a file, as who stole its disk could put them together."""
    there, here = postgres.opened(folder), SqliteEngine(file)
    here.install([SCHEMA, CONSENT_SCHEMA])
    columns = {table: names for table, names in here.tables().items() if table != "schemas"}
    with there.read() as rows, here.write() as written:
        across.copy_rows(rows, written, columns)
    there.close()
    here.close()
