"""Transactions on SQLite: everything acknowledged is on the disk, everything deleted is gone.

Promises: a `write` block is one transaction, fsynced (`synchronous=FULL`) before it returns, wholly
rolled back on any exception; deleted bytes are overwritten (`secure_delete`) and `purge` empties the
write-ahead log of them. Refuses: data of a newer version. A further engine implements the same
`Engine` protocol with the same SQL ("?" marks parameters) and passes the contract tests in
tests/contract; nothing above this module names a database.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from vrm.errors import BusyError, DataNewerError, StorageError

Row = tuple[Any, ...]

_PRAGMAS = (
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=FULL",
    "PRAGMA secure_delete=ON",
    "PRAGMA temp_store=MEMORY",
    "PRAGMA trusted_schema=OFF",
    "PRAGMA foreign_keys=ON",
    "PRAGMA busy_timeout=10000",
    "PRAGMA cache_size=-8192",
)


@dataclass(frozen=True, slots=True)
class Schema:
    """The tables of one part of the project; `version` grows with every change of them."""

    name: str
    version: int
    statements: tuple[str, ...]


class Transaction(Protocol):
    """What runs inside `Engine.write` or `Engine.read`."""

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> Any: ...

    def executemany(self, sql: str, rows: Iterator[Sequence[Any]] | Sequence[Sequence[Any]]) -> Any: ...

    def on_commit(self, act: Callable[[], None]) -> None: ...

    def on_rollback(self, act: Callable[[], None]) -> None: ...


class Engine(Protocol):
    """One database. Blocks nest: an inner block joins the outer transaction of its thread."""

    def write(self) -> AbstractContextManager[Transaction]: ...

    def read(self) -> AbstractContextManager[Transaction]: ...

    def one(self, sql: str, parameters: Sequence[Any] = ()) -> Row | None: ...

    def all(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]: ...

    def exclusive(self, name: str) -> AbstractContextManager[bool]: ...

    def slot(self, name: str, count: int, wait: float) -> AbstractContextManager[None]: ...

    def install(self, schemas: Sequence[Schema]) -> None: ...

    def purge(self) -> bool: ...

    def integrity(self) -> list[str]: ...

    def close(self) -> None: ...


class _Connection:
    """One thread's connection and the transaction it is in."""

    def __init__(self, raw: sqlite3.Connection, lock: int) -> None:
        self.raw = raw
        self.lock = lock  # descriptor of the write lock file
        self.depth = 0
        self.writing = False
        self.committed: list[Callable[[], None]] = []
        self.rolled_back: list[Callable[[], None]] = []

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> sqlite3.Cursor:
        try:
            return self.raw.execute(sql, parameters)
        except sqlite3.IntegrityError:
            raise
        except (sqlite3.OperationalError, sqlite3.DatabaseError) as error:
            raise StorageError(hint=str(error)) from error

    def executemany(self, sql: str, rows: Iterator[Sequence[Any]] | Sequence[Sequence[Any]]) -> sqlite3.Cursor:
        try:
            return self.raw.executemany(sql, rows)
        except sqlite3.IntegrityError:
            raise
        except (sqlite3.OperationalError, sqlite3.DatabaseError) as error:
            raise StorageError(hint=str(error)) from error

    def on_commit(self, act: Callable[[], None]) -> None:
        """Run `act` once the outermost block is durable."""
        self.committed.append(act)

    def on_rollback(self, act: Callable[[], None]) -> None:
        """Run `act` if the outermost block is undone."""
        self.rolled_back.append(act)

    def finish(self, *, commit: bool) -> None:
        """End the outermost block; the callbacks of the way it ended run afterwards."""
        try:
            self.raw.execute("COMMIT" if commit else "ROLLBACK")
        except sqlite3.Error as error:
            if self.raw.in_transaction:
                self.raw.execute("ROLLBACK")
            if commit:
                commit = False
                raise StorageError(hint=str(error)) from error
        finally:
            acts = self.committed if commit else self.rolled_back
            self.committed, self.rolled_back = [], []
            for act in acts:
                act()


class SqliteEngine:
    """SQLite in one file, a connection per thread, writers of all processes queued by `flock`.

    SQLite's own busy handler sleeps between tries, which gives writers long tails; a lock file hands
    the turn over at once. Files are created 0600.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in (path, self._lock_path("write")):
            os.close(os.open(name, os.O_RDWR | os.O_CREAT, 0o600))
        self._local = threading.local()
        self._open: list[_Connection] = []
        self._guard = threading.Lock()

    def _lock_path(self, name: str) -> Path:
        return self._path.with_name(f"{self._path.name}.{name}.lock")

    def _connection(self) -> _Connection:
        found: _Connection | None = getattr(self._local, "connection", None)
        if found is None:
            try:
                raw = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
                for pragma in _PRAGMAS:
                    raw.execute(pragma).close()
            except sqlite3.Error as error:
                raise StorageError(hint=str(error)) from error
            found = _Connection(raw, os.open(self._lock_path("write"), os.O_RDWR))
            self._local.connection = found
            with self._guard:
                self._open.append(found)
        return found

    @contextmanager
    def write(self) -> Iterator[Transaction]:
        """One durable transaction; a block inside a block joins it."""
        connection = self._connection()
        if connection.depth:
            if not connection.writing:
                raise RuntimeError("a write block inside a read block")
            yield connection
            return
        fcntl.flock(connection.lock, fcntl.LOCK_EX)
        try:
            connection.execute("BEGIN IMMEDIATE")
            yield from self._block(connection, writing=True)
        finally:
            fcntl.flock(connection.lock, fcntl.LOCK_UN)

    @contextmanager
    def read(self) -> Iterator[Transaction]:
        """Several reads that see one state."""
        connection = self._connection()
        if connection.depth:
            yield connection
            return
        connection.execute("BEGIN")
        yield from self._block(connection, writing=False)

    @staticmethod
    def _block(connection: _Connection, *, writing: bool) -> Iterator[Transaction]:
        connection.depth, connection.writing = 1, writing
        try:
            yield connection
        except BaseException:
            connection.depth, connection.writing = 0, False
            connection.finish(commit=False)
            raise
        connection.depth, connection.writing = 0, False
        connection.finish(commit=True)

    def one(self, sql: str, parameters: Sequence[Any] = ()) -> Row | None:
        """The first row or None, inside this thread's transaction if there is one."""
        row: Row | None = self._connection().execute(sql, parameters).fetchone()
        return row

    def all(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        """All rows, inside this thread's transaction if there is one."""
        return self._connection().execute(sql, parameters).fetchall()

    @contextmanager
    def exclusive(self, name: str) -> Iterator[bool]:
        """Try to be the only one, across processes, that does `name`; yields whether we are.

        The lock ends with the process, so what a killed process held is free again.
        """
        descriptor = os.open(self._lock_path(name), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True
        finally:
            os.close(descriptor)

    @contextmanager
    def slot(self, name: str, count: int, wait: float) -> Iterator[None]:
        """One of `count` places for costly work on this machine; BusyError after `wait` seconds."""
        step = 0.01
        tries = max(1, int(wait / step))
        pause = threading.Event()
        for turn in range(tries * count):
            with self.exclusive(f"{name}.{turn % count}") as mine:
                if mine:
                    yield
                    return
            if turn % count == count - 1:
                pause.wait(step)
        raise BusyError()

    def install(self, schemas: Sequence[Schema]) -> None:
        """Create what is missing; DataNewerError where the data knows more than this version does."""
        with self.write() as transaction:
            transaction.execute(
                "CREATE TABLE IF NOT EXISTS schemas (name TEXT PRIMARY KEY, version INTEGER NOT NULL)"
            )
            present = dict(transaction.execute("SELECT name, version FROM schemas").fetchall())
            for schema in schemas:
                found = present.get(schema.name, 0)
                if found > schema.version:
                    raise DataNewerError(hint=f"{schema.name}: data {found}, this version {schema.version}")
                if found < schema.version:
                    for statement in schema.statements:
                        transaction.execute(statement)
                    transaction.execute(
                        "INSERT INTO schemas VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET version = ?",
                        (schema.name, schema.version, schema.version),
                    )

    def purge(self) -> bool:
        """Empty the write-ahead log of deleted bytes; False while a reader still holds it open."""
        row = self.one("PRAGMA wal_checkpoint(TRUNCATE)")
        return row is not None and row[0] == 0

    def integrity(self) -> list[str]:
        """What the database says of its own structure; empty if all is well."""
        return [row[0] for row in self.all("PRAGMA integrity_check(20)") if row[0] != "ok"]

    def close(self) -> None:
        """Close the connections of every thread; the engine is not used afterwards."""
        with self._guard:
            for connection in self._open:
                connection.raw.close()
                os.close(connection.lock)
            self._open.clear()
        self._local = threading.local()
