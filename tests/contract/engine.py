"""What every engine must keep. A further engine subclasses `EngineContract` and gives it an `opener`.

An opener is picklable and called with a folder; each call in one folder opens the same database.
"""

import multiprocessing
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from vrm.errors import BusyError, DataNewerError, StorageError
from vrm.vault.engine import Engine, MisfitError, Schema, Step, Transaction, Work, one_step

Opener = Callable[[Path], Engine]
NOTES = Schema(
    "notes",
    1,
    ("CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT NOT NULL)", "CREATE TABLE others (id INTEGER)"),
)
SPAWN = multiprocessing.get_context("spawn")


def write_many(opener: Opener, folder: Path, first: int, threads: int, each: int) -> None:
    """Insert `threads` × `each` notes from as many threads; runs in a process of its own."""
    engine = opener(folder)

    def run(start: int) -> None:
        for number in range(start, start + each):
            with engine.write() as transaction:
                transaction.execute("INSERT INTO notes VALUES (?, ?)", (number, f"note {number}"))
            engine.one("SELECT count(*) FROM notes")

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(run, range(first, first + threads * each, each)))
    engine.close()


def count_up(opener: Opener, folder: Path, times: int) -> None:
    """Read a number and write it back plus one, `times` times."""
    engine = opener(folder)
    for _ in range(times):
        with engine.write() as transaction:
            row = transaction.execute("SELECT text FROM notes WHERE id = 0").fetchone()
            transaction.execute("UPDATE notes SET text = ? WHERE id = 0", (str(int(row[0]) + 1),))
    engine.close()


def hold(opener: Opener, folder: Path, name: str, told: Any, until: Any) -> None:
    """Hold what `exclusive` gives until told to go on, or killed."""
    engine = opener(folder)
    with engine.exclusive(name) as mine:
        told.put(mine)
        until.wait()
    engine.close()


def soon_exclusive(engine: Engine, name: str) -> bool:
    """Whether it can be had within seconds: a server on another machine hears of a death a moment later."""
    for _ in range(200):
        with engine.exclusive(name) as mine:
            if mine:
                return True
        time.sleep(0.05)
    return False


class EngineContract:
    opener: Opener

    @pytest.fixture
    def engine(self, tmp_path: Path) -> Iterator[Engine]:
        opened = type(self).opener(tmp_path)
        opened.install([NOTES])
        yield opened
        opened.close()

    @pytest.fixture
    def other(self, tmp_path: Path, engine: Engine) -> Iterator[Engine]:
        """A second engine on the same database, as another process has it."""
        opened = type(self).opener(tmp_path)
        yield opened
        opened.close()

    # ---- blocks -----------------------------------------------------------------------------------

    def test_a_block_is_stored_whole(self, engine: Engine, other: Engine) -> None:
        with engine.write() as transaction:
            transaction.execute("INSERT INTO notes VALUES (1, 'one')")
            transaction.executemany("INSERT INTO notes VALUES (?, ?)", [(2, "two"), (3, "three")])
            assert other.one("SELECT count(*) FROM notes") == (0,)
        assert other.all("SELECT id, text FROM notes ORDER BY id") == [(1, "one"), (2, "two"), (3, "three")]

    @pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, GeneratorExit, StorageError])
    def test_any_exception_undoes_the_whole_block(self, engine: Engine, error: type[BaseException]) -> None:
        def fail() -> None:
            with engine.write() as transaction:
                transaction.execute("INSERT INTO notes VALUES (1, 'one')")
                raise error

        with pytest.raises(error):
            fail()
        assert engine.all("SELECT * FROM notes") == []
        with engine.write() as transaction:
            transaction.execute("INSERT INTO notes VALUES (1, 'again')")
        assert engine.one("SELECT text FROM notes") == ("again",)

    def test_a_work_is_sent_what_its_steps_returned_once_that_is_durable(
        self, engine: Engine, other: Engine
    ) -> None:
        def work() -> Work[str]:
            one = yield Step(self._insert(1), "a")
            seen = other.one("SELECT count(*) FROM notes")
            two = yield Step(self._insert(2), "b")
            return f"{one} {seen} {two}"

        assert engine.perform(work()) == "1 (1,) 2"
        assert other.all("SELECT id FROM notes ORDER BY id") == [(1,), (2,)]

    def test_what_a_step_raises_is_thrown_into_its_work_which_may_go_on(self, engine: Engine) -> None:
        def fail(transaction: Transaction) -> None:
            self._insert(1)(transaction)
            raise ValueError("half done")

        def work() -> Work[str]:
            try:
                yield Step(fail)
            except ValueError as error:
                yield Step(self._insert(2))
                return str(error)
            return "never"

        assert engine.perform(work()) == "half done"
        assert engine.all("SELECT id FROM notes") == [(2,)]

        def passes() -> Work[None]:
            yield Step(fail)

        with pytest.raises(ValueError, match="half done"):
            engine.perform(passes())
        assert engine.all("SELECT id FROM notes") == [(2,)]

    def test_a_work_may_end_without_a_step_or_fail_between_two(self, engine: Engine) -> None:
        def idle() -> Work[int]:
            return 7
            yield

        def fails() -> Work[None]:
            yield Step(self._insert(1))
            raise KeyError("later")

        assert engine.perform(idle()) == 7
        with pytest.raises(KeyError, match="later"):
            engine.perform(fails())
        assert engine.all("SELECT id FROM notes") == [(1,)]  # what was durable stays

    def test_a_work_inside_a_block_joins_it(self, engine: Engine) -> None:
        with pytest.raises(ZeroDivisionError), engine.write():  # noqa: PT012
            assert engine.perform(one_step(self._insert(1))) == 1
            raise ZeroDivisionError
        assert engine.all("SELECT id FROM notes") == []

    def test_a_work_within_a_work_is_done_at_once(self, engine: Engine) -> None:
        def work() -> Work[int]:
            first = engine.together(self._insert(1))
            second: int = yield Step(self._insert(2))
            return first + second + engine.perform(one_step(self._insert(3)))

        assert engine.perform(work()) == 6
        assert engine.all("SELECT id FROM notes ORDER BY id") == [(1,), (2,), (3,)]

    def test_works_that_are_alike_are_each_done_once(self, engine: Engine, other: Engine) -> None:
        def work(number: int) -> Work[int]:
            engine.shared().setdefault("opened", number)
            first: int = yield Step(self._insert(number), "a")
            return first + (yield Step(self._insert(100 + number), "a"))

        with ThreadPoolExecutor(8) as pool:
            done = list(pool.map(lambda number: engine.perform(work(number), "token"), range(40)))
        assert done == [100 + 2 * number for number in range(40)]
        assert other.one("SELECT count(*) FROM notes") == (80,)
        assert engine.shared() == {}

    def test_an_answer_that_nobody_reads_keeps_nobody_from_writing(
        self, engine: Engine, other: Engine
    ) -> None:
        with engine.write("a") as transaction:
            transaction.executemany("INSERT INTO notes VALUES (?, ?)", [(1, "one"), (2, "two")])
        held: list[Any] = []

        def act(_: Transaction, found: Any) -> None:
            held.append(found)
            raise BusyError

        def work() -> Work[None]:
            yield Step(act, "a", lambda: [("SELECT id, text FROM notes", ())])

        with pytest.raises(BusyError):
            engine.perform(work())
        with other.write("a") as transaction:
            transaction.execute("INSERT INTO notes VALUES (3, 'three')")
        engine.together(lambda begun: begun.execute("INSERT INTO notes VALUES (4, 'four')"), "a")
        assert other.one("SELECT count(*) FROM notes") == (4,)

    def test_a_step_is_given_the_answers_to_what_it_asks(self, engine: Engine) -> None:
        def act(_: Transaction, *answers: Any) -> list[Any]:
            return [answers[0].rowcount, answers[1].fetchall(), answers[2].fetchone()]

        def work() -> Work[list[Any]]:
            given: list[Any] = yield Step(act, "a", lambda: asks)
            return given

        asks = (
            ("UPDATE notes SET text = ? WHERE id = ?", ("changed", 1)),
            ("SELECT id, text FROM notes ORDER BY id", ()),
            ("SELECT id FROM notes WHERE id = ?", (3,)),
        )
        with engine.write() as transaction:
            transaction.executemany("INSERT INTO notes VALUES (?, 'x')", [(1,), (2,)])
        for like in (None, "token"):
            assert engine.perform(work(), like) == [1, [(1, "changed"), (2, "x")], None]
        with engine.write():
            assert engine.perform(work(), "token") == [1, [(1, "changed"), (2, "x")], None]

    def test_what_a_step_asked_is_undone_where_its_act_raises(self, engine: Engine) -> None:
        def act(_: Transaction, inserted: Any) -> None:
            raise ValueError(inserted.rowcount)

        def work() -> Work[None]:
            yield Step(act, "a", lambda: (("INSERT INTO notes VALUES (?, 'x')", (1,)),))

        for like in (None, "token"):
            with pytest.raises(ValueError, match="1"):
                engine.perform(work(), like)
        assert engine.all("SELECT id FROM notes") == []

    def test_what_is_sent_is_seen_by_what_follows_and_stored_with_the_block(
        self, engine: Engine, other: Engine
    ) -> None:
        insert = "INSERT INTO notes VALUES (?, ?)"
        with engine.write(of="a") as transaction:
            for number in range(300):
                transaction.send(insert, (number, "sent"))
            with engine.write(of="b"):
                assert engine.in_transaction()
            assert engine.one("SELECT count(*) FROM notes") == (300,)
            transaction.send(insert, (300, "sent"))
            transaction.executemany(insert, [(301, "x"), (302, "x")])
            transaction.send("UPDATE notes SET text = ? WHERE id = ?", ("last", 302))
            transaction.send("DELETE FROM notes WHERE id = ?", (301,))
            answers = transaction.ask([("SELECT text FROM notes WHERE id = ?", (at,)) for at in (301, 302)])
            assert [answer.fetchone() for answer in answers] == [None, ("last",)]
            transaction.send(insert, (303, "sent"))
            assert other.one("SELECT count(*) FROM notes") == (0,)
        assert other.one("SELECT count(*), max(id) FROM notes") == (303, 303)

    def test_what_is_sent_and_refused_undoes_the_block(self, engine: Engine) -> None:
        def twice(last: str) -> None:
            with engine.write(of="a") as transaction:
                transaction.execute("INSERT INTO notes VALUES (1, 'x')")
                transaction.send("INSERT INTO notes VALUES (?, 'x')", (1,))
                transaction.execute(last)

        for last in ("SELECT 1", "INSERT INTO notes VALUES (2, 'x')"):
            with pytest.raises((MisfitError, StorageError)):
                twice(last)
            assert engine.all("SELECT id FROM notes") == []

        def last_of_all() -> None:
            with engine.write(of="a") as transaction:
                transaction.execute("INSERT INTO notes VALUES (1, 'x')")
                transaction.send("INSERT INTO notes VALUES (?, 'x')", (1,))

        with pytest.raises((MisfitError, StorageError)):
            last_of_all()
        assert engine.all("SELECT id FROM notes") == []

    @staticmethod
    def _insert(number: int) -> Callable[[Transaction], int]:
        def act(transaction: Transaction) -> int:
            transaction.execute("INSERT INTO notes VALUES (?, 'x')", (number,))
            return number

        return act

    def test_a_block_sees_its_own_changes(self, engine: Engine) -> None:
        with engine.write() as transaction:
            transaction.execute("INSERT INTO notes VALUES (1, 'one')")
            assert engine.one("SELECT text FROM notes WHERE id = ?", (1,)) == ("one",)
            assert engine.all("SELECT id FROM notes") == [(1,)]

    def test_many_rows_come_a_few_at_a_time_and_all_of_them(self, engine: Engine, other: Engine) -> None:
        rows = [(number, str(number)) for number in range(1000)]
        with engine.write() as transaction:
            transaction.executemany("INSERT INTO notes VALUES (?, ?)", rows)
        with engine.read() as transaction:
            each = transaction.each("SELECT id, text FROM notes WHERE id >= ? ORDER BY id", (10,))
            first = next(each)
            with other.write() as elsewhere:
                elsewhere.execute("DELETE FROM notes")
            assert [first, *each] == rows[10:]
            assert list(transaction.each("SELECT id FROM notes WHERE id < 0")) == []

    def test_tables_are_named_with_their_columns(self, engine: Engine) -> None:
        assert engine.tables() == {
            "notes": ("id", "text"),
            "others": ("id",),
            "schemas": ("name", "version"),
        }

    def test_an_inner_block_joins_the_outer_one(self, engine: Engine, other: Engine) -> None:
        with engine.write() as outer:
            outer.execute("INSERT INTO notes VALUES (1, 'outer')")
            with engine.write() as inner:
                inner.execute("INSERT INTO notes VALUES (2, 'inner')")
            assert other.one("SELECT count(*) FROM notes") == (0,)
        assert other.one("SELECT count(*) FROM notes") == (2,)

    def test_the_failure_of_the_outer_block_undoes_the_inner_one(self, engine: Engine) -> None:
        def fail() -> None:
            with engine.write():
                with engine.write() as inner:
                    inner.execute("INSERT INTO notes VALUES (1, 'inner')")
                raise ValueError("late")

        with pytest.raises(ValueError, match="late"):
            fail()
        assert engine.all("SELECT * FROM notes") == []

    def test_an_outer_block_cannot_commit_what_an_inner_one_left_half_done(self, engine: Engine) -> None:
        def careless() -> None:
            with engine.write() as outer:
                outer.execute("INSERT INTO notes VALUES (1, 'outer')")
                try:
                    with engine.write() as inner:
                        inner.execute("INSERT INTO notes VALUES (2, 'half')")
                        raise ValueError("half done")
                except ValueError:
                    pass

        with pytest.raises(RuntimeError, match="inner block failed"):
            careless()
        assert engine.all("SELECT * FROM notes") == []
        with engine.write() as transaction:
            transaction.execute("INSERT INTO notes VALUES (3, 'good')")
        assert engine.all("SELECT id FROM notes") == [(3,)]

    def test_a_read_block_sees_one_state(self, engine: Engine, other: Engine) -> None:
        with engine.read():
            before = engine.one("SELECT count(*) FROM notes")
            with other.write() as transaction:
                transaction.execute("INSERT INTO notes VALUES (1, 'meanwhile')")
            assert engine.one("SELECT count(*) FROM notes") == before == (0,)
        assert engine.one("SELECT count(*) FROM notes") == (1,)

    def test_read_blocks_nest_and_may_stand_in_a_write_block(self, engine: Engine) -> None:
        with engine.read(), engine.read():
            assert engine.one("SELECT count(*) FROM notes") == (0,)
        with engine.write() as transaction:
            with engine.read():
                assert engine.one("SELECT count(*) FROM notes") == (0,)
            transaction.execute("INSERT INTO notes VALUES (1, 'still writing')")
        assert engine.one("SELECT count(*) FROM notes") == (1,)

    def test_a_write_block_inside_a_read_block_is_our_own_mistake(self, engine: Engine) -> None:
        with engine.read(), pytest.raises(RuntimeError, match="inside a read block"), engine.write():
            pass
        with engine.write() as transaction:
            transaction.execute("INSERT INTO notes VALUES (1, 'after')")

    def test_nothing_found_is_none_or_empty(self, engine: Engine) -> None:
        assert engine.one("SELECT * FROM notes") is None
        assert engine.all("SELECT * FROM notes") == []

    # ---- callbacks --------------------------------------------------------------------------------

    def test_callbacks_run_after_the_way_the_outermost_block_ended(
        self, engine: Engine, other: Engine
    ) -> None:
        seen: list[Any] = []
        with engine.write() as outer:
            outer.execute("INSERT INTO notes VALUES (1, 'one')")
            with engine.write() as inner:
                inner.on_commit(lambda: seen.append(other.one("SELECT count(*) FROM notes")))
                inner.on_rollback(lambda: seen.append("undone"))
            assert seen == []
        assert seen == [(1,)]

    def test_rollback_callbacks_run_once_and_only_for_their_block(self, engine: Engine) -> None:
        seen: list[str] = []

        def fail() -> None:
            with engine.write() as transaction:
                transaction.on_commit(lambda: seen.append("kept"))
                transaction.on_rollback(lambda: seen.append("undone"))
                raise ValueError("no")

        with pytest.raises(ValueError, match="no"):
            fail()
        with engine.write():
            pass
        assert seen == ["undone"]

    # ---- one at a time ----------------------------------------------------------------------------

    def test_only_one_is_exclusive(self, engine: Engine, other: Engine) -> None:
        with engine.exclusive("import") as mine:
            with other.exclusive("import") as also, other.exclusive("another") as elsewhere:
                assert (mine, also, elsewhere) == (True, False, True)
            with engine.exclusive("import") as again:
                assert not again
        with other.exclusive("import") as mine:
            assert mine

    @pytest.mark.parametrize("of", ["0f" * 16, "../../x", "with\nlines", "ü"])
    def test_only_one_is_exclusive_of_one_thing_whatever_it_is_called(
        self, engine: Engine, other: Engine, of: str
    ) -> None:
        with (
            engine.exclusive("import", of=of) as mine,
            other.exclusive("import", of=of) as also,
            other.exclusive("import", of="another") as elsewhere,
        ):
            assert (mine, also, elsewhere) == (True, False, True)
        with other.exclusive("import", of=of) as mine:
            assert mine

    def test_never_two_are_exclusive_while_many_come_and_go(self, engine: Engine) -> None:
        inside: list[int] = []
        most: list[int] = []

        def come_and_go(_: int) -> None:
            for _ in range(40):
                with engine.exclusive("import", of="one") as mine:
                    if mine:
                        inside.append(1)
                        most.append(len(inside))
                        inside.pop()

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(come_and_go, range(8)))
        assert set(most) == {1}

    def test_what_a_killed_process_held_is_free_again(self, tmp_path: Path, engine: Engine) -> None:
        told, until = SPAWN.Queue(), SPAWN.Event()
        holder = SPAWN.Process(target=hold, args=(type(self).opener, tmp_path, "import", told, until))
        holder.start()
        assert told.get(timeout=60)
        with engine.exclusive("import") as mine:
            assert not mine
        holder.kill()
        holder.join()
        assert soon_exclusive(engine, "import")

    def test_slots_bound_how_many_run_at_once(self, engine: Engine, other: Engine) -> None:
        with engine.slot("argon2", 2, 0), other.slot("argon2", 2, 0):
            with pytest.raises(BusyError), engine.slot("argon2", 2, 0.02):
                pass
            with engine.slot("another", 1, 0):
                pass
        with engine.slot("argon2", 2, 0):
            pass

    def test_who_waits_for_a_slot_gets_it_when_it_is_free(self, engine: Engine, other: Engine) -> None:
        inside, leave, order = threading.Event(), threading.Event(), []

        def first() -> None:
            with engine.slot("argon2", 1, 0):
                inside.set()
                leave.wait()
                order.append("first")

        def second() -> None:
            with other.slot("argon2", 1, 60):
                order.append("second")

        threads = [threading.Thread(target=first), threading.Thread(target=second)]
        threads[0].start()
        inside.wait()
        threads[1].start()
        leave.set()
        for thread in threads:
            thread.join()
        assert order == ["first", "second"]

    def test_an_exception_gives_the_slot_back(self, engine: Engine) -> None:
        with pytest.raises(ValueError, match="inside"), engine.slot("argon2", 1, 0):
            raise ValueError("inside")
        with engine.slot("argon2", 1, 0):
            pass

    # ---- schemas ----------------------------------------------------------------------------------

    def test_older_data_is_lifted_step_by_step(self, engine: Engine, other: Engine) -> None:
        first = Schema("kept", 1, ("CREATE TABLE kept (id INTEGER)",))
        engine.install([first])
        with engine.write() as transaction:
            transaction.execute("INSERT INTO kept VALUES (1)")
        steps = {
            2: ("ALTER TABLE kept ADD COLUMN name TEXT NOT NULL DEFAULT 'none'",),
            3: ("UPDATE kept SET name = 'third'", "CREATE TABLE more (id INTEGER)"),
        }
        newest = ("CREATE TABLE kept (id INTEGER, name TEXT NOT NULL DEFAULT 'none')",)
        other.install([Schema("kept", 3, newest, steps)])
        other.install([Schema("kept", 3, newest, steps)])
        assert other.all("SELECT id, name FROM kept") == [(1, "third")]
        assert other.all("SELECT id FROM more") == []

    def test_a_step_that_fails_leaves_the_older_data_whole(self, engine: Engine, other: Engine) -> None:
        engine.install([Schema("kept", 1, ("CREATE TABLE kept (id INTEGER)",))])
        steps = {2: ("ALTER TABLE kept ADD COLUMN name TEXT", "INSERT INTO missing VALUES (1)")}
        with pytest.raises(StorageError):
            other.install([Schema("kept", 2, (), steps)])
        other.install([Schema("kept", 2, (), {2: ("ALTER TABLE kept ADD COLUMN name TEXT",)})])
        assert engine.all("SELECT name FROM kept") == []

    def test_it_says_how_much_room_it_takes(self, engine: Engine) -> None:
        before = engine.size()
        with engine.write() as transaction:
            transaction.executemany(
                "INSERT INTO notes VALUES (?, ?)", [(one, "x" * 500) for one in range(2000)]
            )
        assert before + 500_000 < engine.size() < before + 50_000_000

    def test_installing_twice_changes_nothing(self, engine: Engine, other: Engine) -> None:
        with engine.write() as transaction:
            transaction.execute("INSERT INTO notes VALUES (1, 'kept')")
        other.install([NOTES])
        assert engine.one("SELECT text FROM notes") == ("kept",)

    def test_newer_data_are_refused_and_untouched(self, engine: Engine, other: Engine) -> None:
        engine.install([Schema("later", 3, ("CREATE TABLE later (id INTEGER)",))])
        fresh = Schema("fresh", 1, ("CREATE TABLE fresh (id INTEGER)",))
        with pytest.raises(DataNewerError) as caught:
            other.install([fresh, Schema("later", 2, ())])
        assert "later: data 3, this version 2" in caught.value.hint
        with pytest.raises(StorageError):
            other.one("SELECT * FROM fresh")
        assert engine.all("SELECT name, version FROM schemas ORDER BY name") == [("later", 3), ("notes", 1)]

    # ---- many writers -----------------------------------------------------------------------------

    def test_sixteen_threads_in_each_of_four_processes_write_without_an_error(
        self, tmp_path: Path, engine: Engine
    ) -> None:
        threads, each = 16, 10
        writers = [
            SPAWN.Process(
                target=write_many, args=(type(self).opener, tmp_path, at * threads * each, threads, each)
            )
            for at in range(4)
        ]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()
        assert [writer.exitcode for writer in writers] == [0] * 4
        found = engine.all("SELECT id, text FROM notes ORDER BY id")
        assert found == [(number, f"note {number}") for number in range(4 * threads * each)]

    def test_no_count_is_lost_between_reading_and_writing(self, tmp_path: Path, engine: Engine) -> None:
        with engine.write() as transaction:
            transaction.execute("INSERT INTO notes VALUES (0, '0')")
        writers = [SPAWN.Process(target=count_up, args=(type(self).opener, tmp_path, 50)) for _ in range(2)]
        for writer in writers:
            writer.start()
        count_up(type(self).opener, tmp_path, 50)
        for writer in writers:
            writer.join()
        assert engine.one("SELECT text FROM notes WHERE id = 0") == ("150",)

    # ---- deleting ---------------------------------------------------------------------------------

    def test_a_purge_inside_a_block_comes_after_it(self, engine: Engine) -> None:
        with engine.write() as transaction:
            transaction.execute("INSERT INTO notes VALUES (1, 'one')")
            assert not engine.purge()
        assert engine.purge()

    # ---- refusals ---------------------------------------------------------------------------------

    def test_what_is_no_sql_is_a_storage_error(self, engine: Engine) -> None:
        with pytest.raises(StorageError) as caught:
            engine.one("SELECT id FROM nowhere")
        assert "nowhere" in caught.value.hint
        with pytest.raises(StorageError), engine.write() as transaction:
            transaction.executemany("INSERT INTO nowhere VALUES (?)", [(1,)])

    def test_a_sound_database_says_so(self, engine: Engine) -> None:
        assert engine.integrity() == []


class ErasingContract(EngineContract):
    """What more an engine keeps whose files are ours: what was deleted is in none of them after a purge."""

    def stored_bytes(self, folder: Path) -> bytes:
        """Everything that the engine keeps on disk."""
        return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())

    def test_deleted_bytes_are_gone_after_a_purge(self, tmp_path: Path, engine: Engine) -> None:
        canary = "canary-" * 40
        with engine.write() as transaction:
            transaction.executemany(
                "INSERT INTO notes VALUES (?, ?)", [(number, f"{canary}{number}") for number in range(200)]
            )
        assert engine.purge()
        assert canary.encode() in self.stored_bytes(tmp_path)
        with engine.write() as transaction:
            transaction.execute("DELETE FROM notes")
        assert engine.purge()
        assert b"canary-" not in self.stored_bytes(tmp_path)

    def test_overwritten_bytes_are_gone_after_a_purge(self, tmp_path: Path, engine: Engine) -> None:
        with engine.write() as transaction:
            transaction.execute("INSERT INTO notes VALUES (1, ?)", ("canary-" * 9,))
        engine.purge()
        with engine.write() as transaction:
            transaction.execute("UPDATE notes SET text = 'short' WHERE id = 1")
        assert engine.purge()
        assert b"canary-" not in self.stored_bytes(tmp_path)

    def test_a_reader_postpones_the_purge_and_is_told(self, engine: Engine, other: Engine) -> None:
        with other.read():
            other.one("SELECT count(*) FROM notes")
            with engine.write() as transaction:
                transaction.execute("INSERT INTO notes VALUES (1, 'one')")
            assert not engine.purge()
        assert engine.purge()

    def test_what_a_block_deleted_is_gone_after_a_purge_within_it(
        self, tmp_path: Path, engine: Engine
    ) -> None:
        with engine.write() as transaction:
            transaction.execute("INSERT INTO notes VALUES (1, ?)", ("canary-" * 9,))
        engine.purge()
        with engine.write() as transaction:
            transaction.execute("DELETE FROM notes")
            assert not engine.purge()
        assert b"canary-" not in self.stored_bytes(tmp_path)
