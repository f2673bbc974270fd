"""All rows of one database into another, whatever engine keeps either: `vrm copy`, and backups of PostgreSQL.

Promises: the destination gets every row of one state of the source and nothing else, counted and compared row
by row before it is kept, in one transaction: killed at any moment, there is all of it or nothing. Refuses a
destination that is not empty, and to copy away what somebody works with.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from vrm.errors import ConflictError, StorageError, ValidationError
from vrm.vault import crypto
from vrm.vault.engine import Engine, MisfitError, Row, Schema, Transaction


class Writer(Protocol):
    """What rows are written to."""

    def executemany(self, sql: str, rows: Sequence[Sequence[Any]], /) -> Any: ...


Progress = Callable[[str, int, int], None]
Columns = Mapping[str, tuple[str, ...]]  # table → its columns
_BATCH = 500  # rows written at once
_EVERY = 5_000  # rows between two reports of progress
_RANGE = 1 << 256
_EMPTY = "name a new file, or an empty database"
_PERHAPS = (
    "; if a copy was broken off, there is all of it or nothing: with that as VRM_DATABASE_URL, vrm check"
)


@dataclass(slots=True)
class Tally:
    """How many rows, and a digest of all of them in whatever order."""

    rows: int = 0
    digest: int = 0

    def add(self, row: Row) -> None:
        """Count one in."""
        self.rows += 1
        self.digest = (self.digest + int.from_bytes(crypto.digest(repr(row).encode()))) % _RANGE


def move(
    source: Engine, target: Engine, schemas: Sequence[Schema], progress: Progress | None = None
) -> dict[str, int]:
    """Fill the empty `target` with what is in `source`, whose tables have the newest shape; table → rows.

    Raises ConflictError while somebody else works with the source, or where there is something in the target.
    """
    with source.alone() as read, target.write() as written:
        if present := target.tables():
            raise ConflictError(
                "the destination is not empty", hint=_EMPTY + _PERHAPS * ("schemas" in present)
            )
        target.install(schemas)
        columns = {table: names for table, names in target.tables().items() if table != "schemas"}
        tallies = copy_rows(read, written, columns, progress)
        for table, names in columns.items():
            if tallied(written, table, names) != tallies[table]:
                raise StorageError(f"{table} did not arrive as it was; nothing was kept", hint="try again")
        target.count_on()
    return {table: tally.rows for table, tally in tallies.items()}


def copy_rows(
    source: Transaction, target: Writer, columns: Columns, progress: Progress | None = None
) -> dict[str, Tally]:
    """Every row of these tables, read and written as it goes; table → what was read."""
    total = sum(source.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in columns)
    tallies: dict[str, Tally] = {}
    for table, names in columns.items():
        tallies[table] = Tally()
        done = sum(tally.rows for tally in tallies.values())
        rows = _told(source.each(_select(table, names)), done, total, progress)
        marks = ", ".join("?" * len(names))
        sql = f"INSERT INTO {table} ({', '.join(names)}) VALUES ({marks})"
        for batch in _batches(rows):
            _write(target, table, sql, batch)
            for row in batch:
                tallies[table].add(row)
    return tallies


def tallied(transaction: Transaction, table: str, names: Collection[str]) -> Tally:
    """What is in a table."""
    tally = Tally()
    for row in transaction.each(_select(table, names)):
        tally.add(row)
    return tally


def _select(table: str, names: Collection[str]) -> str:
    return f"SELECT {', '.join(names)} FROM {table}"


def _write(target: Writer, table: str, sql: str, batch: Sequence[Row]) -> None:
    try:
        target.executemany(sql, batch)
    except (MisfitError, ValidationError) as error:
        raise StorageError(
            f"a row of {table} is none that vrm wrote; nothing was kept",
            hint=f"vrm check says more ({error})",
        ) from error


def _batches(rows: Iterator[Row]) -> Iterator[list[Row]]:
    batch: list[Row] = []
    for row in rows:
        batch.append(tuple(row))
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _told(rows: Iterator[Row], done: int, total: int, progress: Progress | None) -> Iterator[Row]:
    for number, row in enumerate(rows, done):
        if progress is not None and number % _EVERY == 0:
            progress("copying", number, total)
        yield row
