"""SQLite in one file: everything acknowledged is on the disk, everything deleted is gone.

Promises: a `write` block is one transaction, synced before it returns (within its COMMIT by
`synchronous=FULL`; what threads commit together after it, while others write: docs/adr/0045), wholly rolled
back on any exception but UncertainError; deleted bytes are overwritten (`secure_delete`) and `purge`
empties the write-ahead log of them. Writers of all processes queue by `flock`. Refuses what every engine
refuses.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from vrm.errors import StorageError
from vrm.vault import crypto, filelocks, lifting
from vrm.vault.engine import (
    Row,
    Schema,
    T,
    Transaction,
    Work,
    by_table,
    carried_out,
    due,
    lift,
    one_step,
)
from vrm.vault.groupcommit import GroupCommit
from vrm.vault.occupied import Occupied
from vrm.vault.refusals import refused
from vrm.vault.sqlitelink import BUSY, Connection, Disk, all_of
from vrm.vault.wholefile import make_folder

_MUCH = 4000  # rows written since the write-ahead log was moved into the file
_MOVE = "PRAGMA wal_checkpoint(PASSIVE)"  # keeps nobody from writing

_PRAGMAS = (
    "PRAGMA page_size=8192",  # of new files: three records to a page; of 4 KB each would fill one, in part
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=FULL",
    "PRAGMA secure_delete=ON",
    "PRAGMA temp_store=MEMORY",
    "PRAGMA trusted_schema=OFF",
    "PRAGMA foreign_keys=ON",
    f"PRAGMA busy_timeout={BUSY}",
    "PRAGMA cache_size=-8192",
    "PRAGMA wal_autocheckpoint=8000",  # pages: only where many small programs write and no server does it
)

_SYNCED_BY_US = "PRAGMA synchronous=NORMAL"  # a COMMIT only writes; `Connection.finish` syncs after the turn

_engines: weakref.WeakSet[SqliteEngine] = weakref.WeakSet()
_inherited: list[object] = []  # of a parent process: never used here and never closed


class SqliteEngine:
    """SQLite in one file: a connection per thread, and one for what threads do together.

    Writers of all processes are queued by `flock`: SQLite's own busy handler sleeps between tries, which
    gives writers long tails, a lock file hands the turn over at once. Files are created 0600. SQLite must not
    be carried across a fork: idle connections of the forking thread and of what threads do together are
    closed before it, and a child that inherited any other gets RuntimeError.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        make_folder(path.parent)
        self._occupied = Occupied(path)
        self._disk = Disk(path)
        for name in (path, self._lock_path("write")):
            os.close(filelocks.touched(name))
        self._local = threading.local()
        self._open: weakref.WeakSet[Connection] = weakref.WeakSet()
        self._guard = threading.Lock()
        self._moving = threading.Lock()
        self._unmoved = 0  # rows of which the log may still hold what was written
        self._inherited = False
        self._carried: list[Connection] = []
        self._works: Connection | None = None  # of the group's leader
        self._group = self._grouped()
        _engines.add(self)

    def _grouped(self) -> GroupCommit:
        """Without keeping the engine: one that was forgotten gives back what it holds."""
        own = weakref.proxy(self)
        return GroupCommit(
            lambda act, _: own._done(act),  # noqa: SLF001
            lambda: own._at_work(),  # noqa: PLW0108, SLF001
            lambda: own._turn(),  # noqa: PLW0108, SLF001
            begins_alike=True,  # one file, one lock: whoever waits for it in vain waits for all
        )

    def _lock_path(self, name: str) -> Path:
        return self._path.with_name(f"{self._path.name}.{name}.lock")

    def _connection(self) -> Connection:
        found: Connection | None = getattr(self._local, "connection", None)
        if found is None:
            found = self._local.connection = self._opened()
        return found

    def _opened(self, *, works: bool = False) -> Connection:
        if self._inherited:
            raise RuntimeError("forked while the engine was in use: open one in each process")
        found = self._connect(works=works)
        with self._guard:
            self._open.add(found)
        return found

    @contextmanager
    def _at_work(self) -> Iterator[None]:
        """One connection does all works, whichever thread leads: what it has in memory serves them all."""
        own = getattr(self._local, "connection", None)
        if self._works is None:
            self._works = self._opened(works=True)
        self._local.connection = self._works
        try:
            yield
        finally:
            self._local.connection = own

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """The turn to write, which this thread's transactions have until it ends."""
        connection = self._connection()
        if connection.has_turn:
            yield
            return
        connection.take_turn()
        try:
            yield
        finally:
            connection.leave_turn()

    def _connect(self, *, works: bool) -> Connection:
        try:
            raw = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        except sqlite3.Error as error:
            raise refused(error, self._path) from error
        with ExitStack() as unless_done:
            unless_done.callback(raw.close)
            try:
                for pragma in (*_PRAGMAS, _SYNCED_BY_US) if works else _PRAGMAS:
                    raw.execute(pragma).close()
                log = self._log(raw) if works else -1
                if works:
                    unless_done.callback(os.close, log)
            except (OSError, sqlite3.Error) as error:
                raise refused(error, self._path) from error
            made = Connection(raw, filelocks.touched(self._lock_path("write")), self._disk, log)
            unless_done.pop_all()
        return made

    def _log(self, raw: sqlite3.Connection) -> int:
        """A descriptor of the write-ahead log that this connection writes; it has none of SQLite's locks.

        It is the same file as long as the connection lives: only who closes the last one takes it away.
        """
        raw.execute("SELECT count(*) FROM sqlite_schema").fetchone()  # from here on it is open
        return os.open(self._path.with_name(f"{self._path.name}-wal"), os.O_RDONLY)

    @contextmanager
    def write(self, of: str = "") -> Iterator[Connection]:  # noqa: ARG002 - one file has one writer
        """One durable transaction; a block inside a block joins it.

        RuntimeError inside a `read` block, and where the failure of an inner block was swallowed.
        """
        connection = self._connection()
        if connection.depth:
            if not connection.writing:
                raise RuntimeError("a write block inside a read block")
            try:
                yield connection
            except BaseException:
                connection.doomed = True
                raise
            return
        with self._turn():
            before = connection.changes
            connection.begin()
            yield from self._block(connection, writing=True)
            self._unmoved += connection.changes - before
        self._move_log()

    def perform(self, work: Work[T], like: object = None) -> T:  # noqa: ARG002 - all are done together
        """Do a work, with those of other threads that wait at the same time.

        See `groupcommit`; inside a block its steps join the block.
        """
        own: Connection | None = getattr(self._local, "connection", None)
        if own is not None and own.depth:
            return carried_out(work, lambda step: self._done(step.done))
        try:
            return self._group.run(work)
        finally:
            self._move_log()

    def _move_log(self) -> None:
        """Move what the write-ahead log holds into the file, where that is much and nobody is at it.

        SQLite does so within a COMMIT, with the turn to write, for as long as megabytes take to the disk.
        Here others write meanwhile; what they wrote is moved within a turn, so that the log begins anew and
        does not grow without end. Works that wait are not kept waiting: none leads who does this.
        """
        if self._unmoved < _MUCH or not self._moving.acquire(blocking=False):
            return
        try:
            connection = self._connection()
            if connection is not self._works:
                self._unmoved = 0
                with suppress(StorageError):  # it stays in the log until the next time
                    connection.execute(_MOVE).close()
                    with self._turn():
                        connection.execute(_MOVE).close()
        finally:
            self._moving.release()

    def _done(self, act: Callable[[Connection], T]) -> T:
        with self.write() as transaction:
            return act(transaction)

    def shared(self) -> dict[object, Any]:
        """What works that are done at the same time share; see `groupcommit`."""
        return self._group.shared()

    def together(self, act: Callable[[Transaction], T], of: str = "") -> T:
        """`perform` of one step."""
        return self.perform(one_step(act, of))

    @contextmanager
    def read(self) -> Iterator[Transaction]:
        """Several reads that see one state."""
        connection = self._connection()
        if connection.depth:
            yield connection
            return
        connection.execute("BEGIN")
        yield from self._block(connection, writing=False)

    @contextmanager
    def alone(self) -> Iterator[Transaction]:
        """Reads of one state, while nobody else has the data open; ConflictError where somebody has."""
        with self._occupied.alone(), self.read() as transaction:
            yield transaction

    @staticmethod
    def _block(connection: Connection, *, writing: bool) -> Iterator[Connection]:
        connection.depth, connection.writing = 1, writing
        try:
            yield connection
            if connection.doomed:
                raise RuntimeError("an inner block failed; its outer block cannot commit")
        except BaseException:
            connection.finish(commit=False)
            raise
        connection.finish(commit=True)

    def one(self, sql: str, parameters: Sequence[Any] = ()) -> Row | None:
        """The first row or None, inside this thread's transaction if there is one."""
        row: Row | None = self._connection().execute(sql, parameters).fetchone()
        return row

    def all(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        """All rows, inside this thread's transaction if there is one."""
        return all_of(self._connection().execute(sql, parameters))

    def in_transaction(self) -> bool:
        """Whether this thread is inside a block."""
        return self._connection().depth > 0

    @contextmanager
    def exclusive(self, name: str, of: str = "") -> Iterator[bool]:
        """Try to be the only one, across processes, that does `name` (`of` something); yields whether we are.

        The lock ends with the process, so what a killed process held is free again. Of what it is, no file
        tells: the name is a digest, whatever stands in `of`, and the file goes with the lock.
        """
        path = self._lock_path(f"{name}-{crypto.digest(of.encode()).hex()[:32]}" if of else name)
        descriptor = filelocks.locked(path)
        try:
            yield descriptor >= 0
        finally:
            if descriptor >= 0:
                if of:
                    path.unlink(missing_ok=True)
                    if of.isalnum():  # as versions before 0.2 named it
                        self._lock_path(f"{name}-{of}").unlink(missing_ok=True)
                os.close(descriptor)

    @contextmanager
    def slot(self, name: str, count: int, wait: float) -> Iterator[None]:
        """One of `count` places for costly work on this machine; BusyError after `wait` seconds."""
        with filelocks.one_of(lambda place: self.exclusive(f"{name}.{place}"), count, wait):
            yield

    def install(self, schemas: Sequence[Schema]) -> Path | None:
        """Create what is missing and lift older data, in one transaction; returns the copy of older data.

        Raises DataNewerError where the data knows more than this version does, and StorageError.
        """
        with self.write() as transaction:
            present = self._versions()
            behind = due(schemas, present)
            copy = lifting.keep(self._path) if any(schema.name in present for schema in behind) else None
            lift(transaction, behind, present)
        return copy

    def _versions(self) -> dict[str, int]:
        """Which tables the data has, and of which version."""
        if not self.one("SELECT 1 FROM sqlite_master WHERE name = 'schemas'"):
            self._connection().execute(
                "CREATE TABLE schemas (name TEXT PRIMARY KEY, version INTEGER NOT NULL)"
            )
        return dict(self.all("SELECT name, version FROM schemas"))

    def purge(self) -> bool:
        """Empty the write-ahead log of deleted bytes; False where they may linger, so that it is tried again.

        A reader or a full disk can be in the way; what was deleted stays deleted, so that is no error.
        Inside a block it waits for the block's end.
        """
        connection = self._connection()
        if connection.depth:
            connection.on_commit(self.purge)
            return False
        with self._turn():
            try:
                return connection.emptied()
            except StorageError:
                return False

    def integrity(self) -> list[str]:
        """What the database says of its own structure; empty if all is well."""
        return [row[0] for row in self.all("PRAGMA integrity_check(20)") if row[0] != "ok"]

    def tables(self) -> dict[str, tuple[str, ...]]:
        """Every table with its columns, as they are."""
        return by_table(
            self.all(
                "SELECT m.name, c.name FROM sqlite_schema m, pragma_table_info(m.name) c"
                " WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite%' ORDER BY m.name, c.cid"
            )
        )

    def size(self) -> int:
        """Bytes that it takes, with its write-ahead log."""
        files = (self._path, self._path.with_name(f"{self._path.name}-wal"))
        return sum(path.stat().st_size for path in files if path.exists())

    def count_on(self) -> None:
        """Nothing: SQLite counts on from the highest number that stands there."""

    def close(self) -> None:
        """Close the connections of every thread; the engine is not used afterwards."""
        with self._guard:
            for connection in list(self._open):
                connection.close()
            self._open.clear()
        self._local, self._works = threading.local(), None
        self._occupied.leave()

    def _close_idle(self) -> None:
        """Close this thread's connection and that of works, where they are in no use."""
        own: Connection | None = getattr(self._local, "connection", None)
        if own is not None and not own.depth:
            del self._local.connection
            own.close()
        with self._group.at_rest() as idle:
            if idle and self._works is not None:
                self._works.close()
                self._works = None

    def _before_fork(self) -> None:
        self._close_idle()
        with self._guard:  # else the child would close those of its parent's other threads, which end in it
            self._carried = [connection for connection in self._open if connection.lock >= 0]

    def _after_fork_in_parent(self) -> None:
        self._carried = []

    def _after_fork_in_child(self) -> None:
        _inherited.extend(self._carried)
        self._inherited, self._carried = bool(self._carried), []
        self._group, self._works = self._grouped(), None
        self._guard, self._moving = threading.Lock(), threading.Lock()
        self._open = weakref.WeakSet()
        self._local = threading.local()


def _of_each(act: Callable[[SqliteEngine], None]) -> Callable[[], None]:
    def acts() -> None:
        for engine in list(_engines):
            act(engine)

    return acts


close_idle = _of_each(SqliteEngine._close_idle)  # noqa: SLF001 - what comes next opens anew
os.register_at_fork(
    before=_of_each(SqliteEngine._before_fork),  # noqa: SLF001 - of one file
    after_in_parent=_of_each(SqliteEngine._after_fork_in_parent),  # noqa: SLF001
    after_in_child=_of_each(SqliteEngine._after_fork_in_child),  # noqa: SLF001
)
