"""What threads commit together is written in a turn and synced after it, before anybody is told."""

import errno
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest

from tests.contract.engine import NOTES
from vrm.errors import StorageError, UncertainError
from vrm.vault import sqlitelink
from vrm.vault.engine import Transaction
from vrm.vault.sqlite import SqliteEngine


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[SqliteEngine]:
    opened = SqliteEngine(tmp_path / "vrm.db")
    opened.install([NOTES])
    yield opened
    opened.close()


@pytest.fixture
def other(engine: SqliteEngine, tmp_path: Path) -> Iterator[SqliteEngine]:
    """As another process has it."""
    opened = SqliteEngine(tmp_path / "vrm.db")
    yield opened
    opened.close()


def note(engine: SqliteEngine, number: int, told: list[str] | None = None) -> None:
    heard = [] if told is None else told

    def put(transaction: Transaction) -> None:
        transaction.on_commit(lambda: heard.append("committed"))
        transaction.on_rollback(lambda: heard.append("undone"))
        transaction.execute("INSERT INTO notes (id, text) VALUES (?, 'x')", (number,))

    engine.together(put)


def notes(engine: SqliteEngine) -> list[int]:
    return [number for (number,) in engine.all("SELECT id FROM notes ORDER BY id")]


@contextmanager
def syncing(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> Iterator[Future[Any]]:
    """While the disk takes its time over what another thread does."""
    began, go_on, sync = threading.Event(), threading.Event(), sqlitelink._sync

    def slow(descriptor: int) -> None:
        began.set()
        assert go_on.wait(60)
        sync(descriptor)

    with ThreadPoolExecutor(1) as pool, monkeypatch.context() as patched:
        patched.setattr(sqlitelink, "_sync", slow)
        done = pool.submit(act)
        assert began.wait(60)
        patched.undo()
        try:
            yield done
        finally:
            go_on.set()


def failing(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(sqlitelink, "_sync", fails)


def test_others_write_while_it_is_synced(
    engine: SqliteEngine, other: SqliteEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    with syncing(monkeypatch, lambda: note(engine, 1)):
        note(other, 2)
        with other.write() as transaction:
            transaction.execute("INSERT INTO notes (id, text) VALUES (3, 'x')")
        assert notes(other) == [1, 2, 3]


def test_nobody_is_told_before_it_is_synced(engine: SqliteEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    with syncing(monkeypatch, lambda: note(engine, 1, told)) as done:
        assert not done.done()
        assert told == []
    assert told == ["committed"]


def test_it_is_the_log_that_is_synced_whoever_else_opens_and_closes_the_file(
    engine: SqliteEngine, tmp_path: Path
) -> None:
    note(engine, 1)
    for number in range(2, 5):
        other = SqliteEngine(tmp_path / "vrm.db")
        note(other, number)
        other.close()
        assert engine.purge()
    assert engine._works is not None
    assert os.path.samestat(os.fstat(engine._works.log), (tmp_path / "vrm.db-wal").stat())


def test_what_reads_alone_is_not_synced(engine: SqliteEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    note(engine, 1)
    failing(monkeypatch)
    with engine._at_work(), engine.read():
        assert notes(engine) == [1]


def test_where_the_sync_fails_nobody_is_told_of_success(
    engine: SqliteEngine, other: SqliteEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    with monkeypatch.context() as patched:
        failing(patched)
        with pytest.raises(UncertainError) as caught:
            note(engine, 1, told)
    assert isinstance(caught.value.__cause__, OSError)
    assert told == ["undone"]
    note(other, 2)  # the turn was given back


def test_nothing_is_built_on_what_may_be_lost(
    engine: SqliteEngine, other: SqliteEngine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    note(engine, 0)
    with other.read():  # somebody reads in the log, so it cannot be emptied
        assert notes(other) == [0]
        with monkeypatch.context() as patched:
            failing(patched)
            with pytest.raises(UncertainError):
                note(engine, 1)
        late = SqliteEngine(tmp_path / "vrm.db")  # whom the system tells nothing of what was before
        for one in (engine, late):
            with pytest.raises(StorageError, match="the disk failed"):
                note(one, 2)
        late.close()
    note(engine, 3)
    assert not engine._disk.failed
    assert notes(other) == [0, 1, 3]


def test_what_cannot_be_synced_is_moved_into_the_file_and_told_as_stored(
    engine: SqliteEngine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    told, tries, sync = list[str](), list[int](), sqlitelink._sync

    def fails_once(descriptor: int) -> None:
        tries.append(descriptor)
        if len(tries) == 1:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        sync(descriptor)

    monkeypatch.setattr(sqlitelink, "_sync", fails_once)
    note(engine, 1, told)
    assert told == ["committed"]
    assert (tmp_path / "vrm.db-wal").stat().st_size == 0
    assert not engine._disk.failed


def test_where_no_file_can_be_made_the_failure_is_remembered(
    tmp_path: Path,
) -> None:
    disk = sqlitelink.Disk(tmp_path / "nowhere" / "vrm.db")
    disk.fail()
    assert disk.failed
    disk.heal()
    assert not disk.failed


class Ends:
    """A connection whose transactions come to an end in their own way."""

    def __init__(self, real: Any, end: Callable[[Any], Any]) -> None:
        self._real = real
        self._end = end

    def execute(self, sql: str, *given: Any) -> Any:
        return self._end(self._real) if sql == "COMMIT" else self._real.execute(sql, *given)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


@pytest.mark.parametrize("moment", ["before the end", "after it"])
def test_an_end_that_breaks_off_outside_of_sqlite_leaves_nothing_open(
    engine: SqliteEngine, other: SqliteEngine, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    note(engine, 0)
    assert engine._works is not None
    told = list[str]()

    def short_of_memory(real: Any) -> None:
        if moment == "after it":
            real.execute("COMMIT")
        raise MemoryError

    monkeypatch.setattr(engine._works, "raw", Ends(engine._works.raw, short_of_memory))
    with pytest.raises(UncertainError if moment == "after it" else StorageError) as caught:
        note(engine, 1, told)
    monkeypatch.undo()
    assert isinstance(caught.value.__cause__, MemoryError)
    assert told == ["undone"]
    note(engine, 2)
    note(other, 3)
    assert notes(other) == ([0, 1, 2, 3] if moment == "after it" else [0, 2, 3])


@pytest.mark.parametrize("read", [False, True])
def test_a_commit_whose_own_sync_failed_is_undone_once_the_log_is_gone_and_uncertain_before(
    engine: SqliteEngine, other: SqliteEngine, monkeypatch: pytest.MonkeyPatch, *, read: bool
) -> None:
    note(engine, 0)
    assert engine._works is not None

    def fails(_: Any) -> None:
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC
        raise error

    with other.read() if read else nullcontext():
        if read:  # somebody reads in the log, so it cannot be emptied
            assert notes(other) == [0]
        monkeypatch.setattr(engine._works, "raw", Ends(engine._works.raw, fails))
        with pytest.raises(StorageError) as caught:
            note(engine, 1)
        monkeypatch.undo()
        assert isinstance(caught.value, UncertainError) is read
        assert engine._disk.failed is read
    note(engine, 2)
    assert notes(other) == [0, 2]


def test_a_callback_that_fails_keeps_no_other_from_being_run(engine: SqliteEngine) -> None:
    told: list[str] = []

    def put(transaction: Transaction) -> None:
        transaction.on_commit(lambda: 1 / 0)
        transaction.on_commit(lambda: told.append("the other"))

    with pytest.raises(ZeroDivisionError):
        engine.together(put)
    assert told == ["the other"]
