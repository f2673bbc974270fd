"""One connection to a SQLite file and the transaction it is in: every refusal in our own errors."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any

from vrm.errors import StorageError
from vrm.vault.engine import Ask, MisfitError, Result, Row
from vrm.vault.refusals import refused

_FEW = 256  # rows fetched at once where all would be too many
_MISFITS = (sqlite3.IntegrityError, sqlite3.ProgrammingError)  # rows that do not fit: no fault of the storage


class Connection:
    """One thread's connection and the transaction it is in."""

    def __init__(self, raw: sqlite3.Connection, lock: int) -> None:
        self.raw = raw
        self.lock = lock  # descriptor of the write lock file
        self.has_turn = False  # to write
        self.depth = 0
        self.writing = False
        self.doomed = False  # an inner block failed: the outer one must not commit
        self.committed: list[Callable[[], object]] = []
        self.rolled_back: list[Callable[[], object]] = []

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> sqlite3.Cursor:
        """Run one statement; StorageError where the storage refuses."""
        self._require_transaction()
        try:
            return self.raw.execute(sql, parameters)
        except _MISFITS as error:
            raise MisfitError(str(error)) from error
        except sqlite3.Error as error:
            raise refused(error) from error

    def send(self, sql: str, parameters: Sequence[Any] = ()) -> None:
        """Run one statement whose answer nobody waits for."""
        self.execute(sql, parameters)

    def ask(self, statements: Iterable[Ask]) -> Iterator[Result]:
        """Run each statement when its answer is looked at, to its end.

        What is begun and not read to its end would hold this connection at an old state of the file.
        """
        for sql, parameters in statements:
            cursor = self.execute(sql, parameters)
            yield Result(all_of(cursor), cursor.rowcount)

    def executemany(
        self, sql: str, rows: Iterator[Sequence[Any]] | Sequence[Sequence[Any]]
    ) -> sqlite3.Cursor:
        """Run one statement for every row; StorageError where the storage refuses."""
        self._require_transaction()
        try:
            return self.raw.executemany(sql, rows)
        except _MISFITS as error:
            raise MisfitError(str(error)) from error
        except sqlite3.Error as error:
            raise refused(error) from error

    def each(self, sql: str, parameters: Sequence[Any] = ()) -> Iterator[Row]:
        """Every row, a few at a time, however many there are; to be used up within the block."""
        cursor = self.execute(sql, parameters)
        while True:
            try:
                rows: list[Row] = cursor.fetchmany(_FEW)
            except sqlite3.Error as error:
                raise refused(error) from error
            if not rows:
                return
            yield from rows

    def _require_transaction(self) -> None:
        # A full disk makes SQLite roll back by itself; what followed would be committed row by row.
        if self.writing and not self.raw.in_transaction:
            raise StorageError(hint="the transaction was undone")

    @property
    def changes(self) -> int:
        """How many rows were written since the connection was made."""
        return self.raw.total_changes

    def on_commit(self, act: Callable[[], object]) -> None:
        """Run `act` once the outermost block is durable."""
        self.committed.append(act)

    def on_rollback(self, act: Callable[[], object]) -> None:
        """Run `act` if the outermost block is undone."""
        self.rolled_back.append(act)

    def finish(self, *, commit: bool) -> None:
        """End the outermost block; the callbacks of the way it ended run afterwards."""
        self.depth, self.writing, self.doomed = 0, False, False
        undone = None
        try:
            self.raw.execute("COMMIT" if commit else "ROLLBACK")
        except sqlite3.Error as error:
            undone = error if commit else None
            commit = False
            if self.raw.in_transaction:
                with suppress(sqlite3.Error):
                    self.raw.execute("ROLLBACK")
        acts = self.committed if commit else self.rolled_back
        self.committed, self.rolled_back = [], []
        for act in acts:
            act()
        if undone is not None:
            raise refused(undone) from undone

    def close(self) -> None:
        """Give back what the connection holds."""
        if self.lock >= 0:
            os.close(self.lock)
            self.lock = -1
            self.raw.close()

    def __del__(self) -> None:  # its thread has ended
        self.close()


def all_of(cursor: sqlite3.Cursor) -> list[Row]:
    """The rows that are left; a damaged page shows only while they are fetched."""
    try:
        return cursor.fetchall()
    except sqlite3.Error as error:
        raise refused(error) from error
