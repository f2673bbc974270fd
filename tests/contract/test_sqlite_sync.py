"""What threads commit together is written in a turn and synced after it, before anybody is told."""

import errno
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
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
    engine: SqliteEngine, other: SqliteEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        failing(patched)
        with pytest.raises(UncertainError):
            note(engine, 1)
    with other.read():  # somebody reads in the log, so it cannot be emptied
        assert notes(other) == [1]
        with pytest.raises(StorageError, match="the disk failed"):
            note(engine, 2)
    note(engine, 3)
    assert not engine._disk.failed
    assert notes(other) == [1, 3]
