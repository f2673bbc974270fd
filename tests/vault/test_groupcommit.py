"""Acts of several threads in one transaction: who gets what, and what is on the disk."""

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from vrm.errors import StorageError, UncertainError
from vrm.vault import groupcommit
from vrm.vault.engine import MisfitError, Schema, Step, Transaction, Work
from vrm.vault.sqlite import SqliteEngine

NOTES = Schema("notes", 1, ("CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT NOT NULL)",))


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[SqliteEngine]:
    engine = SqliteEngine(tmp_path / "data" / "vrm.db")
    engine.install([NOTES])
    yield engine
    engine.close()


@contextmanager
def led(engine: SqliteEngine, pool: ThreadPoolExecutor) -> Iterator[Future[None]]:
    """Somebody is at work while this lasts, and does then what came meanwhile."""
    begun, go_on = threading.Event(), threading.Event()

    def slow() -> Work[None]:
        begun.set()
        go_on.wait(10)
        return
        yield

    future = pool.submit(engine.perform, slow())
    begun.wait(10)
    try:
        yield future
    finally:
        go_on.set()


def insert(number: int) -> Callable[[Transaction], int]:
    def act(transaction: Transaction) -> int:
        transaction.execute("INSERT INTO notes VALUES (?, ?)", (number, f"note {number}"))
        return id(transaction)

    return act


def wait_for(engine: SqliteEngine, count: int) -> None:
    """Until so many works wait."""
    end = time.monotonic() + 10
    while len(engine._group._waiting) < count:
        assert time.monotonic() < end
        time.sleep(0.005)


def gather(
    engine: SqliteEngine, acts: list[Callable[[Transaction], Any]], pool: ThreadPoolExecutor
) -> list[Future[Any]]:
    """All acts at once, in the order given, and before them who led; done when this returns."""
    with led(engine, pool) as leader:
        futures = [leader]
        for number, act in enumerate(acts):
            futures.append(pool.submit(engine.together, act))
            wait_for(engine, number + 1)
    for future in futures:
        future.exception(10)
    return futures


def ids(engine: SqliteEngine) -> list[int]:
    return [row[0] for row in engine.all("SELECT id FROM notes ORDER BY id")]


def test_acts_that_wait_at_the_same_time_share_a_transaction(engine: SqliteEngine) -> None:
    with ThreadPoolExecutor(9) as pool:
        _, *done = gather(engine, [insert(number) for number in range(8)], pool)
    assert len({future.result() for future in done}) == 1
    assert ids(engine) == list(range(8))


@pytest.mark.parametrize("heavy", [False, True])
def test_who_comes_while_another_process_writes_begins_with_the_others_if_that_is_soon_done(
    engine: SqliteEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, heavy: bool
) -> None:
    """Then they share what they open, and a transaction; else nobody else waits while they begin."""
    monkeypatch.setattr(groupcommit, "_LIGHT", 0 if heavy else 10)
    other, written = SqliteEngine(tmp_path / "data" / "vrm.db"), list[int]()
    do = engine._group._do

    def writing(*given: Any) -> Any:
        written.append(1)
        return do(*given)

    def look(number: int) -> Work[dict[object, Any]]:
        seen = engine.shared()
        yield Step(insert(number))
        return seen

    engine.perform(look(0))  # by which the next leader knows what beginning costs
    monkeypatch.setattr(engine._group, "_do", writing)
    with ThreadPoolExecutor(3) as pool:
        with other.write():
            first = pool.submit(engine.perform, look(1))
            while not engine._group._leader or len(engine._group._waiting) != (0 if heavy else 1):
                time.sleep(0.005)
            others = [pool.submit(engine.perform, look(number)) for number in (2, 3)]
            wait_for(engine, 2 if heavy else 3)
        seen = [future.result(10) for future in (first, *others)]
    other.close()
    assert len({id(one) for one in seen}) == len(written) == (2 if heavy else 1)
    assert ids(engine) == [0, 1, 2, 3]


def test_every_act_of_many_threads_is_done_once_and_durable_for_other_connections(
    engine: SqliteEngine,
) -> None:
    def run(first: int) -> None:
        for number in range(first, first + 25):
            engine.together(insert(number))
            assert engine.one("SELECT 1 FROM notes WHERE id = ?", (number,))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(run, range(0, 200, 25)))
    assert ids(engine) == list(range(200))


def test_what_one_act_raises_is_its_own(engine: SqliteEngine) -> None:
    def refuse(_: Transaction) -> None:
        raise ValueError("not this one")

    with ThreadPoolExecutor(4) as pool:
        _, first, second, third = gather(engine, [insert(1), refuse, insert(3)], pool)
    assert isinstance(second.exception(), ValueError)
    assert first.result() == third.result()
    assert ids(engine) == [1, 3]


def test_what_one_cannot_ask_keeps_the_others_from_no_answer(engine: SqliteEngine) -> None:
    def putting(number: int) -> Work[int]:
        ask = ("INSERT INTO notes VALUES (?, 'x')", (number,))
        result: int = yield Step(lambda _, answer: answer.rowcount, asks=lambda: [ask])
        return result

    with ThreadPoolExecutor(4) as pool:
        with led(engine, pool):
            futures = []
            for count, number in enumerate((1, 1, 2), 1):
                futures.append(pool.submit(engine.perform, putting(number)))
                wait_for(engine, count)
        first, again, last = futures
        assert isinstance(again.exception(10), MisfitError)
        assert (first.result(10), last.result(10)) == (1, 1)
    assert ids(engine) == [1, 2]


def test_what_an_act_wrote_before_it_raised_is_undone_and_the_others_stay(engine: SqliteEngine) -> None:
    def half(transaction: Transaction) -> None:
        insert(2)(transaction)
        raise ValueError("half done")

    with ThreadPoolExecutor(4) as pool:
        _, first, second, third = gather(engine, [insert(1), half, insert(3)], pool)
    assert isinstance(second.exception(), ValueError)
    assert (first.exception(), third.exception()) == (None, None)
    assert ids(engine) == [1, 3]


def test_a_failing_act_alone_leaves_nothing(engine: SqliteEngine) -> None:
    def half(transaction: Transaction) -> None:
        insert(2)(transaction)
        raise ValueError("half done")

    with pytest.raises(ValueError, match="half done"):
        engine.together(half)
    assert ids(engine) == []
    engine.together(insert(1))
    assert ids(engine) == [1]


def test_nobody_is_told_of_success_where_the_leader_was_interrupted(engine: SqliteEngine) -> None:
    def interrupt(_: Transaction) -> None:
        raise KeyboardInterrupt

    with ThreadPoolExecutor(5) as pool:
        leader, *others = gather(engine, [insert(1), insert(2), interrupt, insert(3)], pool)
    assert isinstance(leader.exception(), KeyboardInterrupt)  # what reached its thread
    assert [type(other.exception()) for other in others] == [
        UncertainError
    ] * 4  # nobody knows how far it came
    assert ids(engine) == []
    engine.together(insert(4))
    assert ids(engine) == [4]


@pytest.mark.parametrize("woken", [False, True])
def test_who_is_interrupted_while_it_waits_leaves_the_turn_to_others(
    engine: SqliteEngine, monkeypatch: pytest.MonkeyPatch, woken: bool
) -> None:
    class Interrupted(groupcommit._Task[Any]):
        """The task of a thread that hears of Ctrl-C, before or as it is its turn to lead."""

        def __init__(self, work: Work[Any]) -> None:
            super().__init__(work)
            self.asleep, self.wait = self.wait, self.interrupted

        def interrupted(self) -> bool:
            if woken:
                self.asleep()
            raise KeyboardInterrupt

    begun, go_on = threading.Event(), threading.Event()

    def slow(_: Transaction) -> None:
        begun.set()
        go_on.wait(10)

    with ThreadPoolExecutor(3) as pool:
        leader = pool.submit(engine.together, slow)
        assert begun.wait(10)  # so nobody else joins it
        with monkeypatch.context() as patched:
            patched.setattr(groupcommit, "_Task", Interrupted)
            gone = pool.submit(engine.together, insert(1))
            if woken:
                wait_for(engine, 1)
            else:
                assert isinstance(gone.exception(10), KeyboardInterrupt)
        go_on.set()
        leader.result(10)
        assert isinstance(gone.exception(10), KeyboardInterrupt)
        pool.submit(engine.together, insert(2)).result(10)
    assert ids(engine) == [2]


def test_who_cannot_begin_is_told_and_the_next_one_leads(engine: SqliteEngine, tmp_path: Path) -> None:
    engine.together(insert(0))
    assert engine._works
    engine._works.raw.execute("PRAGMA busy_timeout=1")
    blocker = SqliteEngine(tmp_path / "data" / "vrm.db")
    raw = blocker._connection().raw
    raw.execute("BEGIN IMMEDIATE")  # a program that knows nothing of our lock
    with pytest.raises(StorageError):
        engine.together(insert(1))
    raw.execute("ROLLBACK")
    blocker.close()
    engine.together(insert(2))
    assert ids(engine) == [0, 2]


def test_who_waits_for_another_programs_lock_is_refused_with_the_others_at_once(
    engine: SqliteEngine, tmp_path: Path
) -> None:
    engine.together(insert(0))
    assert engine._works
    engine._works.raw.execute("PRAGMA busy_timeout=500")
    stranger = sqlite3.connect(tmp_path / "data" / "vrm.db", isolation_level=None)
    stranger.execute("BEGIN EXCLUSIVE")
    began = time.monotonic()
    with ThreadPoolExecutor(9) as pool:
        _, *refused = gather(engine, [insert(number) for number in range(1, 9)], pool)
    took = time.monotonic() - began
    assert [type(future.exception()) for future in refused] == [StorageError] * 8
    assert {str(future.exception()) for future in refused} == {
        "another program keeps the database to itself; nothing was changed"
    }
    assert took < 5 * 0.5, "they waited together, not one after the other"
    stranger.execute("ROLLBACK")
    stranger.close()
    assert ids(engine) == [0]
    engine.together(insert(9))
    assert ids(engine) == [0, 9]


def test_works_of_several_steps_share_each_of_their_transactions(engine: SqliteEngine) -> None:
    def twice(number: int) -> Work[tuple[int, int]]:
        first = yield Step(insert(number))
        second = yield Step(insert(100 + number))
        return first, second

    with ThreadPoolExecutor(4) as pool:
        with led(engine, pool):
            futures = [pool.submit(engine.perform, twice(number)) for number in range(3)]
            wait_for(engine, 3)
        done = {future.result(10) for future in futures}
    assert len(done) == 1
    assert ids(engine) == [0, 1, 2, 100, 101, 102]


def test_who_was_interrupted_before_it_led_leaves_the_lead_to_others(
    engine: SqliteEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(engine._group, "_gathered", interrupted)
        with pytest.raises(KeyboardInterrupt):
            engine.together(insert(1))
    assert not engine._group._waiting
    engine.together(insert(2))
    assert ids(engine) == [2]


def test_works_that_are_done_at_the_same_time_share_what_is_gone_when_they_are(engine: SqliteEngine) -> None:
    """Opened keys are among it: whoever comes later, or beside them, opens what it needs itself."""
    seen: list[dict[object, Any]] = []
    latecomer: list[Future[None]] = []

    def look(number: int) -> Work[None]:
        seen.append(engine.shared())
        seen[-1][number] = "opened"
        assert engine.shared() is seen[-1]
        if number == 1:
            latecomer.append(pool.submit(engine.perform, look(4)))
            wait_for(engine, 1)
        yield Step(insert(number))

    with ThreadPoolExecutor(5) as pool:
        with led(engine, pool):
            futures = []
            for number in range(3):
                futures.append(pool.submit(engine.perform, look(number)))
                wait_for(engine, number + 1)
            beside = engine.shared()
        for future in (*futures, *latecomer):
            future.result(10)
    assert seen[0] is seen[1] is seen[2]
    assert seen[0].keys() == {0, 1, 2}
    assert seen[3].keys() == {4}  # it came later than what the others found
    assert beside == engine.shared() == {}
    engine.perform(look(3))
    assert seen[4].keys() == {3}


def test_an_act_inside_a_block_joins_it(engine: SqliteEngine) -> None:
    with pytest.raises(ValueError, match="undo"), engine.write():  # noqa: PT012
        engine.together(insert(1))
        raise ValueError("undo")
    assert ids(engine) == []


def test_a_fork_between_two_works_carries_no_connection_of_theirs(engine: SqliteEngine) -> None:
    engine.together(insert(1))
    child = os.fork()
    if child == 0:
        engine.together(insert(2))
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    engine.together(insert(3))
    assert ids(engine) == [1, 2, 3]


def test_a_child_process_does_not_wait_for_its_parents_threads(engine: SqliteEngine) -> None:
    started, go_on = threading.Event(), threading.Event()

    def slow(_: Transaction) -> None:
        started.set()
        go_on.wait(10)

    with ThreadPoolExecutor(1) as pool:
        leading = pool.submit(engine.together, slow)
        started.wait(10)
        assert engine._group._led
        child = os.fork()
        if child == 0:
            os._exit(0 if not engine._group._led else 1)
        status = os.waitpid(child, 0)[1]
        go_on.set()
        leading.result(10)
    assert status == 0
