"""PostgreSQL: what is acknowledged is on the server's disk; writes of different vaults run side by side.

Promises: a `write` block is one transaction, durable (`synchronous_commit`, whatever the server's default)
before it returns, wholly rolled back on any exception. `write()` is alone, `write(of)` alone with that vault:
code that was written for SQLite's one writer keeps its meaning. Works that are alike are done by one thread,
others each by its own; steps of one vault that meet are one transaction. What the server undoes for another's
sake, `together` tries again; a block raises StorageConflictError. A lost server is found again by the next
block. Refuses what every engine refuses. Deleted rows can be read by nobody who asks the server; their bytes
stay in its files until they are vacuumed and written over: that is its affair, and `purge` promises nothing.
"""

from __future__ import annotations

import os
import random
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from vrm.errors import StorageConflictError, StorageError, UncertainError
from vrm.vault import crypto, filelocks
from vrm.vault.dialect import first_only
from vrm.vault.engine import Row, Schema, T, Transaction, Work, by_table, due, lift, one_by_one, one_step
from vrm.vault.groupcommit import GroupCommit
from vrm.vault.occupied import in_use
from vrm.vault.pglink import Link, understood
from vrm.vault.wholefile import make_folder

_PAUSES = (0.0, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4)  # seconds at most before each further try
_READ = b"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
_inherited: list[object] = []  # links of a parent process: never used here and never closed


def _key(*parts: str) -> int:
    """The number of an advisory lock: 64 bits of a digest."""
    return int.from_bytes(crypto.digest("\0".join(parts).encode())[:8], "big", signed=True)


_EVERYTHING = _key("write")


def _locks(of: str) -> str:
    """What keeps others out until the transaction's end: of one vault, or of everything."""
    if not of:
        return f"SELECT pg_advisory_xact_lock({_EVERYTHING})"
    return f"SELECT pg_advisory_xact_lock_shared({_EVERYTHING}), pg_advisory_xact_lock({_key('write', of)})"


@dataclass(slots=True)
class Attempt:
    """What one thread wrote since it was asked."""

    undone: bool = False  # some of it, for another transaction's sake
    stored: bool = False  # some of it, or perhaps some of it


def _noted(work: Work[T], attempt: Attempt) -> Work[T]:
    """The same work; what becomes of its writing is noted for its own thread, whichever does it."""
    try:
        step = next(work)
        while True:
            try:
                given = yield step
            except Exception as error:  # noqa: BLE001 - the work says what it means
                attempt.undone |= isinstance(error, StorageConflictError)
                attempt.stored |= isinstance(error, UncertainError)
                step = work.throw(error)
            else:
                attempt.stored = True
                step = work.send(given)
    except StopIteration as end:
        result: T = end.value
        return result


_Groups: TypeAlias = weakref.WeakValueDictionary[tuple[int, object], GroupCommit]


class PostgresEngine:
    """One PostgreSQL database, a connection per thread and process.

    `url` is libpq's: several hosts may stand in it, and the one that can be written to is taken. `folder`
    holds the locks that are of this machine. A forked child opens connections of its own.
    """

    def __init__(self, url: str, folder: Path) -> None:
        self._conninfo = url.replace("postgresql+psycopg://", "postgresql://", 1)
        understood(self._conninfo)
        make_folder(folder)
        self._folder = folder
        self._local = threading.local()
        self._open: weakref.WeakSet[Link] = weakref.WeakSet()
        self._guard = threading.Lock()
        self._lanes: _Groups = weakref.WeakValueDictionary()  # by vault
        self._groups: _Groups = weakref.WeakValueDictionary()  # by what works are like

    def _link(self) -> Link:
        found: Link | None = getattr(self._local, "link", None)
        if found is not None and found.pid != os.getpid():
            self._inherit(found)
            found = None
        elif found is not None and found.lost and not found.depth:
            self._leave(found)
            found = None
        if found is None:
            found = self._local.link = Link(self._conninfo)
            self._open.add(found)
        return found

    @staticmethod
    def _inherit(link: Link) -> None:
        if link.depth:
            raise RuntimeError("forked while the engine was in use: open one in each process")
        _inherited.append(link)

    def _leave(self, link: Link) -> None:
        if link.held:  # whoever asks now may have them
            raise StorageError("the database went away; nothing was changed", hint="try again")
        self._open.discard(link)
        link.close()

    def _asked(self, ask: Callable[[Link], T]) -> T:
        """What the thread's connection answers; one lost while nothing was begun is replaced, once."""
        link = self._link()
        try:
            return ask(link)
        except StorageError as error:
            self._attempt().undone |= isinstance(error, StorageConflictError)
            if link.depth or link.held or not link.lost:
                raise
            return ask(self._link())

    # ---- blocks -----------------------------------------------------------------------------------

    @contextmanager
    def write(self, of: str = "") -> Iterator[Link]:
        """One durable transaction; a block inside a block joins it, and has what it needs to itself, too.

        RuntimeError inside a `read` block, and where the failure of an inner block was swallowed.
        """
        link = self._link()
        if link.depth:
            if not link.writing:
                raise RuntimeError("a write block inside a read block")
            try:
                if not link.of & {of, ""}:
                    link.simple(_locks(of).encode())
                    link.of.add(of)
                yield link
            except BaseException:
                link.doomed = True
                raise
            return
        yield from self._block(f"BEGIN; {_locks(of)}".encode(), of)

    def perform(self, work: Work[T], like: object = None) -> T:
        """Do a work, with what is like it and waits at the same time; others are done beside it.

        See `groupcommit`. A work like no other, and one within a block, is done by its own thread.
        """
        if like is None or self.in_transaction():
            return one_by_one(self, work)
        with self._attempted(writing=False):
            return self._alike(like).run(_noted(work, self._attempt()))

    def shared(self) -> dict[object, Any]:
        """What works that are alike and done at the same time share; see `groupcommit`."""
        group = self._groups.get((os.getpid(), getattr(self._local, "like", None)))
        return {} if group is None else group.shared()

    def together(self, act: Callable[[Transaction], T], of: str = "") -> T:
        """Run `act` in a durable transaction, and again where another one's sake undid it.

        What threads of this process bring at the same time, of one vault, is one transaction (`groupcommit`):
        they would wait for each other anyway, and for the server at every step. Inside a block it joins it.
        """
        if self.in_transaction():
            with self.write(of) as transaction:
                return act(transaction)
        for pause in _PAUSES:
            with suppress(StorageConflictError):
                return self._shared(act, of)
            time.sleep(random.uniform(0, pause))  # noqa: S311 - only that two do not meet again
        return self._shared(act, of)

    def _shared(self, act: Callable[[Transaction], T], of: str) -> T:
        with self._attempted():  # by this thread, whichever does it
            return self._lane(of).run(one_step(act, of))

    def _lane(self, of: str) -> GroupCommit:
        """What gathers the steps of one vault, for as long as somebody is at it."""
        return self._found(self._lanes, of, lambda: GroupCommit(self._done))

    def _done(self, act: Callable[[Link], T], of: Sequence[str]) -> T:
        with self.write(of[0]) as transaction:
            return act(transaction)

    def _alike(self, like: object) -> GroupCommit:
        """What gathers works that are alike, for as long as somebody is at one."""
        return self._found(self._groups, like, lambda: GroupCommit(self._do, partial(self._at_work, like)))

    def _do(self, act: Callable[[Any], T], of: Sequence[str]) -> T:
        """An act for several works at once; what ends in a conflict is tried again for each of them."""
        if len(of) == 1:
            return self.together(act, of[0])
        if len(set(of)) > 1:
            raise RuntimeError("works that are alike are of one vault")
        return self._shared(act, of[0])

    @contextmanager
    def _at_work(self, like: object) -> Iterator[None]:
        self._local.like, before = like, getattr(self._local, "like", None)
        try:
            yield
        finally:
            self._local.like = before

    def _found(self, groups: _Groups, key: object, made: Callable[[], GroupCommit]) -> GroupCommit:
        with self._guard:
            found = groups.get((os.getpid(), key))
            if found is None:
                found = groups[os.getpid(), key] = made()
            return found

    @contextmanager
    def read(self) -> Iterator[Transaction]:
        """Several reads that see one state."""
        link = self._link()
        if link.depth:
            yield link
            return
        yield from self._block(_READ)

    @contextmanager
    def alone(self) -> Iterator[Transaction]:
        """Reads of one state, while no other program of ours is connected; ConflictError where one is."""
        with self.write() as transaction:
            transaction.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
            if self.one(
                "SELECT 1 FROM pg_stat_activity"
                " WHERE datname = current_database() AND application_name = 'vrm'"
                " AND pid <> pg_backend_pid()"
            ):
                raise in_use()
            yield transaction

    def _block(self, begin: bytes, *of: str) -> Iterator[Link]:
        def begun(link: Link) -> Link:
            link.begin(begin, writing=bool(of))
            return link

        link = self._asked(begun)
        link.of.update(of)
        with self._attempted(writing=bool(of)):
            try:
                yield link
                if link.doomed:
                    raise RuntimeError("an inner block failed; its outer block cannot commit")
            except BaseException:
                link.finish(commit=False)
                raise
            link.finish(commit=True)

    @contextmanager
    def _attempted(self, *, writing: bool = True) -> Iterator[None]:
        """Note what became of this thread's writing."""
        attempt = self._attempt()
        try:
            yield
        except StorageConflictError:
            attempt.undone = True
            raise
        except UncertainError:
            attempt.stored = True
            raise
        attempt.stored |= writing

    def attempt(self) -> Attempt:
        """What becomes of this thread's writing from now on, for who would run it again."""
        self._local.attempt = Attempt()
        return self._attempt()

    def _attempt(self) -> Attempt:
        found: Attempt | None = getattr(self._local, "attempt", None)
        return found or self.attempt()

    def one(self, sql: str, parameters: Sequence[Any] = ()) -> Row | None:
        """The first row or None, inside this thread's transaction if there is one."""
        return self._asked(lambda link: link.execute(first_only(sql), parameters)).fetchone()

    def all(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        """All rows, inside this thread's transaction if there is one."""
        return self._asked(lambda link: link.execute(sql, parameters)).fetchall()

    def in_transaction(self) -> bool:
        """Whether this thread is inside a block."""
        link: Link | None = getattr(self._local, "link", None)
        return link is not None and link.depth > 0

    # ---- one at a time ----------------------------------------------------------------------------

    @contextmanager
    def exclusive(self, name: str, of: str = "") -> Iterator[bool]:
        """Try to be the only one, on all machines, that does `name` (`of` something); yields whether we are.

        The lock ends with its connection. Where that is lost, all further work of the block is refused.
        """
        key = _key("exclusive", name, of)
        link = self._link()
        mine = self._asked(lambda found: found.try_lock(key))
        link = self._link()
        try:
            yield mine
        finally:
            if mine:
                link.unlock(key)

    @contextmanager
    def slot(self, name: str, count: int, wait: float) -> Iterator[None]:
        """One of `count` places for costly work on this machine; BusyError after `wait` seconds.

        What they bound is this machine's memory and cores, so the locks are files of this machine.
        """
        with filelocks.one_of(
            lambda place: filelocks.held(self._folder / f"{name}.{place}.lock"), count, wait
        ):
            yield

    # ---- the whole database -----------------------------------------------------------------------

    def install(self, schemas: Sequence[Schema]) -> Path | None:
        """Create what is missing and lift older data, in one transaction, which other nodes wait for.

        Raises DataNewerError where the data knows more than this version does, and StorageError. There is
        no copy of older data: a backup is the server's affair, and the step before (docs/self-hosting.md).
        """
        with self.write() as transaction:
            transaction.execute(
                "CREATE TABLE IF NOT EXISTS schemas (name TEXT PRIMARY KEY, version INTEGER NOT NULL)"
            )
            present: dict[str, int] = dict(self.all("SELECT name, version FROM schemas"))
            lift(transaction, due(schemas, present), present)
        return None

    def purge(self) -> bool:
        """Nothing that waiting or trying again would better: True, but within a block, as everywhere."""
        return not self.in_transaction()

    def integrity(self) -> list[str]:
        """What the database says of its own structure; empty if all is well."""
        broken = self.all(
            "SELECT CAST(CAST(i.indexrelid AS regclass) AS TEXT)"
            " FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid"
            " WHERE c.relnamespace = CAST(current_schema() AS regnamespace) AND NOT i.indisvalid"
        )
        return [f"index {name} is not valid" for (name,) in broken]

    def tables(self) -> dict[str, tuple[str, ...]]:
        """Every table with its columns, as they are."""
        return by_table(
            self.all(
                "SELECT CAST(table_name AS TEXT), CAST(column_name AS TEXT) FROM information_schema.columns"
                " WHERE table_schema = current_schema() ORDER BY table_name, ordinal_position"
            )
        )

    def size(self) -> int:
        """Bytes that it takes on the server, without its logs."""
        row = self.one("SELECT pg_database_size(current_database())")
        return int(row[0]) if row else 0

    def count_on(self) -> None:
        """Numbers that the database gives go on behind those that stand there."""
        with self.write() as transaction:
            for table, column in self.all(
                "SELECT CAST(table_name AS TEXT), CAST(column_name AS TEXT) FROM information_schema.columns"
                " WHERE table_schema = current_schema() AND is_identity = 'YES'"
            ):
                transaction.execute(
                    f"SELECT setval(pg_get_serial_sequence('{table}', '{column}'),"
                    f" coalesce(max({column}), 0) + 1, false) FROM {table}"
                )

    def close(self) -> None:
        """Close the connections of every thread; the engine is not used afterwards."""
        for link in list(self._open):
            link.close()
        self._open = weakref.WeakSet()
        self._local = threading.local()
