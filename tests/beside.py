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
from vrm.vault.pglink import Link

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
