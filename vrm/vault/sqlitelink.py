"""One connection to a SQLite file and the transaction it is in: every refusal in our own errors.

Promises: a transaction that wrote is on the disk before `finish` returns, and one that was refused is not
there, now or after a restart. Where a sync failed, all that stands is brought to the disk another way; where
that fails, too, what was done is told as uncertain, and no process builds on it before it succeeds.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from vrm import meters
from vrm.errors import StorageError, UncertainError
from vrm.vault.engine import Ask, MisfitError, Result, Row
from vrm.vault.refusals import refused

BUSY = 10_000  # milliseconds to wait for a lock that another program holds on the database
_EMPTY_BUSY = 500  # milliseconds to wait for readers before the write-ahead log is left as it is
_FEW = 256  # rows fetched at once where all would be too many
_sync = getattr(os, "fdatasync", os.fsync)  # macOS has but one of them
_MISFITS = (sqlite3.IntegrityError, sqlite3.ProgrammingError)  # rows that do not fit: no fault of the storage


class Disk:
    """What is known of the disk, by all connections of all processes.

    After a sync that failed the system takes for written what it only tried to write. It tells who had the
    file open then, once, and nobody who opens it later: so a file beside the database says it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._log, self._mark = (f"{path}{end}" for end in ("-wal", ".unsynced"))
        self._unmarked = False  # that file could not be made, either

    @property
    def failed(self) -> bool:
        """Whether what was committed may not be there."""
        return self._unmarked or os.access(self._mark, os.F_OK)

    def fail(self) -> None:
        """A sync did."""
        try:
            os.close(os.open(self._mark, os.O_WRONLY | os.O_CREAT, 0o600))
        except OSError:
            self._unmarked = True

    def heal(self) -> None:
        """All that was committed is there."""
        self._unmarked = False
        with suppress(FileNotFoundError):
            Path(self._mark).unlink()

    def sync_log(self) -> None:
        """Sync the write-ahead log as it is now; OSError."""
        descriptor = os.open(self._log, os.O_RDONLY)
        try:
            _sync(descriptor)
        finally:
            os.close(descriptor)


class Connection:
    """A connection and the transaction it is in; one thread at a time has it."""

    def __init__(self, raw: sqlite3.Connection, lock: int, disk: Disk, log: int = -1) -> None:
        self.raw = raw
        self._end = weakref.finalize(self, _given_back, raw, [one for one in (lock, log) if one >= 0])
        self._end.atexit = False  # the process's end gives back all there is; a forked one's must not
        self.lock = lock  # descriptor of the write lock file
        self.log = log  # descriptor of the write-ahead log that we sync after each turn; -1: each COMMIT does
        self._disk = disk
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
            self._note(error)
            raise refused(error, disk=self._disk.path) from error

    def _note(self, error: sqlite3.Error) -> None:
        if error.sqlite_errorcode == sqlite3.SQLITE_IOERR_FSYNC:
            self._disk.fail()

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
            raise refused(error, disk=self._disk.path) from error

    def each(self, sql: str, parameters: Sequence[Any] = ()) -> Iterator[Row]:
        """Every row, a few at a time, however many there are; to be used up within the block."""
        cursor = self.execute(sql, parameters)
        while True:
            try:
                rows: list[Row] = cursor.fetchmany(_FEW)
            except sqlite3.Error as error:
                raise refused(error, disk=self._disk.path) from error
            if not rows:
                return
            yield from rows

    def _require_transaction(self) -> None:
        # A full disk makes SQLite roll back by itself; what followed would be committed row by row.
        if self.writing and not self.raw.in_transaction:
            raise StorageError(hint="the transaction was undone")

    def take_turn(self) -> None:
        """Wait until no other connection writes; counted where one does."""
        try:
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            meters.STORAGE_WAITS.add()
            fcntl.flock(self.lock, fcntl.LOCK_EX)
        self.has_turn = True

    def leave_turn(self) -> None:
        """Let the next one write, where it was our turn."""
        if self.has_turn:
            self.has_turn = False
            fcntl.flock(self.lock, fcntl.LOCK_UN)

    def begin(self) -> None:
        """Begin a transaction that writes, in our turn; StorageError where it would rest on what is lost."""
        if self._disk.failed and not self._healed():
            raise StorageError("the disk failed; nothing was changed", hint="try again")
        self.execute("BEGIN IMMEDIATE")

    def _healed(self) -> bool:
        """Whether all that stands is on the disk after a sync that failed, and nothing that was undone.

        In our turn. What the system could not write it still has in memory, from where all of the log is
        moved into the file. A COMMIT whose sync failed is undone, but stands in the log for whoever opens it
        next: it goes with the log, whose new length is synced.
        """
        try:
            if not self.emptied():
                return False
            self._disk.sync_log()
        except (OSError, StorageError):
            return False
        self._disk.heal()
        return True

    def emptied(self) -> bool:
        """Move all of the write-ahead log into the file, in our turn; False where somebody reads in it."""
        try:
            self.execute(f"PRAGMA busy_timeout={_EMPTY_BUSY}").close()
            row = self.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        finally:
            self.execute(f"PRAGMA busy_timeout={BUSY}").close()
        return row is not None and row[0] == 0

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
        """End the outermost block; the callbacks of the way it ended run afterwards.

        UncertainError where nobody knows whether what was committed survives a restart, or a loss of power.
        """
        syncs = commit and self.writing and self.log >= 0
        self.depth, self.writing, self.doomed = 0, False, False
        refusal: StorageError | None = None
        try:
            self.raw.execute("COMMIT" if commit else "ROLLBACK")
        except sqlite3.Error as error:
            undone = self._undone(error)
            refusal, commit = undone if commit else None, False
        except Exception as error:  # noqa: BLE001 - no memory, say
            undone = self._broken_off(error)
            refusal, commit = undone if commit else None, False
        else:
            if syncs:
                refusal = self._synced()
        self._tell(committed=commit and refusal is None)
        if refusal is not None:
            raise refusal from refusal.__cause__

    def _tell(self, *, committed: bool) -> None:
        """Run the callbacks of one end; none keeps the others from it."""
        acts = self.committed if committed else self.rolled_back
        self.committed, self.rolled_back = [], []
        with ExitStack() as each:
            for act in reversed(acts):
                each.callback(act)

    def _undone(self, error: sqlite3.Error) -> StorageError:
        """What is said of an end that failed, once nothing is left of the transaction."""
        with suppress(sqlite3.Error):  # most failures have undone it already
            self.raw.execute("ROLLBACK")
        self._note(error)
        if self._disk.failed and not self._healed():
            return _because(error, UncertainError())
        return _because(error, refused(error, disk=self._disk.path))

    def _broken_off(self, error: Exception) -> StorageError:
        """The same of an end that failed outside of SQLite: it may have been before it or after."""
        stands = not self.raw.in_transaction
        with suppress(sqlite3.Error):
            self.raw.execute("ROLLBACK")
        return _because(error, UncertainError() if stands else StorageError(hint=type(error).__name__))

    def _synced(self) -> StorageError | None:
        """Sync what we committed, while others write; what is said where it cannot be brought to the disk."""
        self.leave_turn()
        try:
            _sync(self.log)
        except Exception as error:  # noqa: BLE001 - whatever it is, it was committed
            self._disk.fail()
            self.take_turn()
            try:
                return None if self._healed() else _because(error, UncertainError())
            finally:
                self.leave_turn()
        return None

    def close(self) -> None:
        """Give back what the connection holds; so does the end of its thread."""
        self.lock = self.log = -1
        self._end()


def _because(error: Exception, refusal: StorageError) -> StorageError:
    refusal.__cause__ = error
    return refusal


def _given_back(raw: sqlite3.Connection, descriptors: list[int]) -> None:
    raw.close()
    for descriptor in descriptors:
        os.close(descriptor)


def all_of(cursor: sqlite3.Cursor) -> list[Row]:
    """The rows that are left; a damaged page shows only while they are fetched."""
    try:
        return cursor.fetchall()
    except sqlite3.Error as error:
        raise refused(error) from error
