"""SQLite keeps the contract, and what is its own: files, locks, forks, a full disk, damaged pages."""

import os
import resource
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import coverage
import pytest

from tests.contract.engine import NOTES, ErasingContract
from tests.descriptors import held_below
from vrm.errors import StorageError
from vrm.vault import sqlite
from vrm.vault.engine import Engine, MisfitError, Transaction, Work, one_step
from vrm.vault.sqlite import SqliteEngine
from vrm.vault.sqlitelink import Connection


def open_sqlite(folder: Path) -> SqliteEngine:
    return SqliteEngine(folder / "vrm.db")


class TestSqliteEngine(ErasingContract):
    opener = staticmethod(open_sqlite)


@pytest.fixture
def engine(tmp_path: Path) -> SqliteEngine:
    opened = open_sqlite(tmp_path)
    opened.install([NOTES])
    yield opened
    opened.close()


def test_durability_and_deletion_are_switched_on(engine: SqliteEngine) -> None:
    said = {
        name: engine.one(f"PRAGMA {name}")
        for name in ("journal_mode", "synchronous", "secure_delete", "temp_store", "trusted_schema")
    }
    assert said == {
        "journal_mode": ("wal",),
        "synchronous": (2,),  # FULL
        "secure_delete": (1,),
        "temp_store": (2,),  # MEMORY
        "trusted_schema": (0,),
    }


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """The write-ahead log is moved into the file after some rows."""
    monkeypatch.setattr(sqlite, "_MUCH", 20)


def note(engine: SqliteEngine, number: int, text: str = "", *, together: bool = False) -> None:
    def put(transaction: Transaction) -> None:
        sql = "INSERT INTO notes (id, text) VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET text = excluded.text"
        transaction.execute(sql, (number, text))

    if together:
        engine.together(put)
        return
    with engine.write() as transaction:
        put(transaction)


@pytest.mark.parametrize("together", [False, True])
def test_much_that_was_written_is_moved_into_the_file(
    engine: SqliteEngine, tmp_path: Path, soon: None, together: bool
) -> None:
    note(engine, 1000, "canary", together=together)
    assert b"canary" not in (tmp_path / "vrm.db").read_bytes()
    for number in range(19):
        note(engine, number, together=together)
    assert b"canary" in (tmp_path / "vrm.db").read_bytes()


@pytest.mark.parametrize("together", [False, True])
def test_while_it_is_moved_others_write(
    engine: SqliteEngine, monkeypatch: pytest.MonkeyPatch, soon: None, together: bool
) -> None:
    moving, go_on, execute = threading.Event(), threading.Event(), Connection.execute

    def slow(self: Connection, sql: str, parameters: Sequence[Any] = ()) -> sqlite3.Cursor:
        if "wal_checkpoint" in sql and not moving.is_set():
            moving.set()
            assert go_on.wait(60)
        return execute(self, sql, parameters)

    monkeypatch.setattr(Connection, "execute", slow)

    def write() -> None:
        for number in range(25):
            note(engine, number, together=together)

    mover = threading.Thread(target=write)
    mover.start()
    assert moving.wait(60)
    for number in range(50):  # much, too: one moves it at a time
        note(engine, 100 + number, together=together)
    go_on.set()
    mover.join()
    assert engine.all("SELECT count(*) FROM notes") == [(75,)]


def test_a_log_that_cannot_be_moved_is_moved_later(
    engine: SqliteEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, soon: None
) -> None:
    execute, tries = Connection.execute, list[str]()

    def fails_once(self: Connection, sql: str, parameters: Sequence[Any] = ()) -> sqlite3.Cursor:
        if "wal_checkpoint" in sql:
            tries.append(sql)
            if len(tries) == 1:
                raise StorageError(hint="the disk is full")
        return execute(self, sql, parameters)

    monkeypatch.setattr(Connection, "execute", fails_once)
    note(engine, 1000, "canary")
    for number in range(25):
        note(engine, number)
    assert len(tries) == 1
    assert b"canary" not in (tmp_path / "vrm.db").read_bytes()
    for number in range(15):
        note(engine, 100 + number)
    assert len(tries) == 3
    assert b"canary" in (tmp_path / "vrm.db").read_bytes()


def test_what_is_undone_does_not_count(engine: SqliteEngine) -> None:
    before = engine._unmoved

    def fail() -> None:
        with engine.write() as transaction:
            transaction.executemany("INSERT INTO notes VALUES (?, '')", [(number,) for number in range(50)])
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert engine._unmoved == before


def test_whoever_leads_works_moves_nothing_before_they_are_done(
    engine: SqliteEngine, monkeypatch: pytest.MonkeyPatch, soon: None
) -> None:
    execute, seen = Connection.execute, list[bool]()

    def listen(self: Connection, sql: str, parameters: Sequence[Any] = ()) -> sqlite3.Cursor:
        if "wal_checkpoint" in sql:
            seen.append(self is engine._works)
        return execute(self, sql, parameters)

    monkeypatch.setattr(Connection, "execute", listen)

    def work() -> Work[None]:
        for number in range(30):
            note(engine, number, together=True)
        assert seen == []
        yield from one_step(lambda transaction: None)

    engine.perform(work())
    assert seen == [False, False]


@pytest.mark.parametrize("together", [False, True])
def test_under_steady_load_the_log_does_not_grow(
    engine: SqliteEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, together: bool
) -> None:
    monkeypatch.setattr(sqlite, "_MUCH", 50)
    sizes = []

    def write(first: int) -> None:
        for number in range(1200):
            note(engine, first + number % 40, "x" * 4000, together=together)

    threads = [threading.Thread(target=write, args=(first,)) for first in range(0, 400, 100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        while thread.is_alive():
            sizes.append((tmp_path / "vrm.db-wal").stat().st_size)
            thread.join(0.02)
    written = 4 * 1200 * 8192
    assert max(sizes) < written / 4, "a part of all that went through it"
    assert engine.integrity() == []


def test_every_file_is_private_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        engine = SqliteEngine(tmp_path / "new" / "vrm.db")
        engine.install([NOTES])
        with engine.exclusive("import"):
            pass
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "new").iterdir()}
        engine.close()
    finally:
        os.umask(before)
    assert len(modes) >= 4
    assert set(modes.values()) == {0o600}
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700


def test_an_empty_file_that_others_may_read_is_private_before_it_is_filled(tmp_path: Path) -> None:
    path = tmp_path / "vrm.db"
    path.touch()
    path.chmod(0o644)
    engine = SqliteEngine(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    engine.install([NOTES])
    engine.close()
    path.chmod(0o640)  # of a host that wants it so, and is told of it by vrm doctor
    SqliteEngine(path).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_a_folder_that_cannot_be_made_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(StorageError):
        SqliteEngine(tmp_path / "file" / "vrm.db")
    with pytest.raises(StorageError):
        SqliteEngine(tmp_path)


def test_a_connection_that_cannot_be_made_holds_nothing(tmp_path: Path) -> None:
    engine = open_sqlite(tmp_path)
    lock = tmp_path / "vrm.db.write.lock"
    lock.unlink()
    lock.mkdir()
    for act in (lambda: engine.one("SELECT 1"), lambda: note(engine, 1, together=True)):
        with pytest.raises(StorageError):
            act()
        assert [name for name in held_below(tmp_path / "vrm.db") if "lock" not in name] == []
    engine.close()


def test_what_is_no_database_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "vrm.db").write_bytes(b"not a database, but long enough to be read as one" * 100)
    engine = open_sqlite(tmp_path)
    with pytest.raises(StorageError):
        engine.install([NOTES])
    engine.close()


def test_a_database_that_vanished_with_its_folder_is_a_storage_error(tmp_path: Path) -> None:
    engine = SqliteEngine(tmp_path / "new" / "vrm.db")
    for path in (tmp_path / "new").iterdir():
        path.unlink()
    (tmp_path / "new").rmdir()
    with pytest.raises(StorageError):
        engine.one("SELECT 1")


def test_a_database_locked_by_another_program_is_a_storage_error(
    tmp_path: Path, engine: SqliteEngine
) -> None:
    engine.one("PRAGMA busy_timeout=20")
    stranger = sqlite3.connect(tmp_path / "vrm.db", isolation_level=None)
    stranger.execute("BEGIN IMMEDIATE")
    with pytest.raises(StorageError), engine.write():
        pass
    stranger.execute("ROLLBACK")
    stranger.close()
    with engine.write() as transaction:
        transaction.execute("INSERT INTO notes VALUES (1, 'later')")


def test_a_damaged_page_is_a_storage_error_and_named_by_integrity(tmp_path: Path) -> None:
    engine = open_sqlite(tmp_path)
    engine.install([NOTES])
    with engine.write() as transaction:
        transaction.executemany("INSERT INTO notes VALUES (?, ?)", [(at, "x" * 500) for at in range(500)])
    engine.purge()
    engine.close()
    with (tmp_path / "vrm.db").open("r+b") as file:
        file.seek(4096 * 10)
        file.write(b"\xff" * 4096 * 20)
    engine = open_sqlite(tmp_path)
    with pytest.raises(StorageError):
        engine.all("SELECT * FROM notes")
    engine.close()


# ---- a full disk ----------------------------------------------------------------------------------


def limit_pages(engine: Engine, spare: int) -> None:
    row = engine.one("PRAGMA page_count")
    engine.one(f"PRAGMA max_page_count={(row or (0,))[0] + spare}")


def test_a_full_database_is_a_storage_error_and_nothing_is_half_done(engine: SqliteEngine) -> None:
    with engine.write() as transaction:
        transaction.execute("INSERT INTO notes VALUES (0, 'kept')")
    limit_pages(engine, 3)
    rows = [(number, "x" * 3000) for number in range(1, 100)]
    with pytest.raises(StorageError) as caught, engine.write() as transaction:
        transaction.executemany("INSERT INTO notes VALUES (?, ?)", rows)
    assert "full" in caught.value.hint
    assert engine.all("SELECT id FROM notes") == [(0,)]
    engine.one("PRAGMA max_page_count=100000")
    with engine.write() as transaction:
        transaction.execute("INSERT INTO notes VALUES (1, 'room again')")
    assert engine.all("SELECT id FROM notes") == [(0,), (1,)]


def test_what_follows_a_swallowed_full_disk_is_not_stored_either(engine: SqliteEngine) -> None:
    limit_pages(engine, 3)

    def careless() -> None:
        with engine.write() as transaction:
            for number in range(100):
                try:
                    transaction.execute("INSERT INTO notes VALUES (?, ?)", (number, "x" * 3000))
                except StorageError:
                    transaction.execute("INSERT INTO others VALUES (1)")

    with pytest.raises(StorageError):
        careless()
    assert engine.all("SELECT * FROM notes") == []
    assert engine.all("SELECT * FROM others") == []


FULL = """
import resource, signal, sys
from pathlib import Path
from vrm.errors import StorageError
from vrm.vault.sqlite import SqliteEngine
engine = SqliteEngine(Path(sys.argv[1]))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, resource.RLIM_INFINITY))
stored, refused = 0, 0
for number in range(200):
    try:
        with engine.write() as transaction:
            transaction.execute("INSERT INTO notes VALUES (?, ?)", (number, "x" * 5000))
            transaction.execute("INSERT INTO others VALUES (?)", (number,))
        stored += 1
    except StorageError:
        refused += 1
print(stored, refused)
"""


def test_a_disk_that_takes_no_more_bytes_refuses_whole_blocks(tmp_path: Path, engine: SqliteEngine) -> None:
    stored, refused = map(int, run(FULL, tmp_path / "vrm.db").split())
    assert stored
    assert refused
    assert stored + refused == 200
    assert engine.one("SELECT count(*) FROM notes") == engine.one("SELECT count(*) FROM others") == (stored,)
    assert engine.integrity() == []
    with engine.write() as transaction:
        transaction.execute("INSERT INTO notes VALUES (1000, 'room again')")


def test_a_purge_on_a_full_disk_is_tried_again_and_no_error(tmp_path: Path, engine: SqliteEngine) -> None:
    engine.purge()
    with engine.write() as transaction:
        transaction.executemany("INSERT INTO notes VALUES (?, ?)", [(at, "x" * 3000) for at in range(50)])
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, before[1]))  # the database cannot grow
    try:
        assert not engine.purge()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert engine.purge()
    assert engine.one("SELECT count(*) FROM notes") == (50,)


def test_a_commit_that_fails_is_undone_and_said(engine: SqliteEngine) -> None:
    undone: list[str] = []
    with engine.write() as transaction:
        transaction.execute(
            "CREATE TABLE bound (id INTEGER REFERENCES notes (id) DEFERRABLE INITIALLY DEFERRED)"
        )

    def break_a_bond() -> None:
        with engine.write() as transaction:
            transaction.on_rollback(lambda: undone.append("undone"))
            transaction.execute("INSERT INTO bound VALUES (99)")

    with pytest.raises(StorageError):
        break_a_bond()
    assert undone == ["undone"]
    assert engine.all("SELECT * FROM bound") == []
    with engine.write() as transaction:
        transaction.execute("INSERT INTO notes VALUES (1, 'after')")


def test_mistakes_of_our_own_are_no_storage_errors(engine: SqliteEngine) -> None:
    def twice() -> None:
        with engine.write() as transaction:
            transaction.executemany("INSERT INTO notes VALUES (?, 'x')", [(1,), (1,)])

    with pytest.raises(MisfitError):
        twice()
    with pytest.raises(MisfitError):
        engine.all("SELECT ?", (1, 2))
    assert engine.all("SELECT * FROM notes") == []


# ---- threads and forks ----------------------------------------------------------------------------


def test_threads_that_end_give_their_connections_back(engine: SqliteEngine) -> None:
    def look() -> None:
        engine.one("SELECT count(*) FROM notes")

    engine.one("SELECT 1")
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(20):
        thread = threading.Thread(target=look)
        thread.start()
        thread.join()
    assert len(list(Path("/proc/self/fd").iterdir())) <= before + 3


FORK = """
import os, sys
from pathlib import Path
from vrm.vault.sqlite import SqliteEngine
engine = SqliteEngine(Path(sys.argv[1]))

def add(number):
    with engine.write() as transaction:
        transaction.execute("INSERT INTO notes VALUES (?, 'x')", (number,))

add(0)
children = []
for at in range(4):
    child = os.fork()
    if not child:
        for number in range(10 + at * 50, 60 + at * 50):
            add(number)
        engine.close()
        os._exit(0)
    children.append(child)
for number in range(500, 550):
    add(number)
ended = [os.waitpid(child, 0)[1] for child in children]
print(ended, len(engine.all("SELECT * FROM notes")), engine.integrity())
engine.close()
"""
FORK_INSIDE = """
import os, sys
from pathlib import Path
from vrm.vault.sqlite import SqliteEngine
engine = SqliteEngine(Path(sys.argv[1]))
with engine.write() as transaction:
    child = os.fork()
    if not child:
        try:
            engine.one("SELECT 1")
        except RuntimeError as error:
            print(error, flush=True)
            os._exit(0)
        os._exit(1)
    transaction.execute("INSERT INTO notes VALUES (1, 'of the parent')")
    print(os.waitpid(child, 0)[1], flush=True)
engine.close()
"""


def run(script: str, *given: object) -> str:
    command = [sys.executable, "-W", "error", "-c", script, *map(str, given)]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=120, check=True).stdout


def test_a_forked_child_opens_connections_of_its_own(tmp_path: Path, engine: SqliteEngine) -> None:
    assert run(FORK, tmp_path / "vrm.db") == "[0, 0, 0, 0] 251 []\n"


def test_a_child_forked_in_the_middle_of_a_transaction_is_refused(
    tmp_path: Path, engine: SqliteEngine
) -> None:
    told = run(FORK_INSIDE, tmp_path / "vrm.db").splitlines()
    assert told == ["forked while the engine was in use: open one in each process", "0"]
    assert engine.all("SELECT text FROM notes") == [("of the parent",)]


def in_a_child(act: Callable[[], object]) -> str:
    """What a forked copy of this very process says of it, with its threads gone and its files open."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            said = repr(act())
        except BaseException as error:  # noqa: BLE001 - the parent judges it
            said = f"{type(error).__name__}: {error}"
        os.write(writer, said.encode())
        measuring = coverage.Coverage.current()
        if measuring is not None:
            measuring.save()
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, encoding="utf-8") as told:
        said = told.read()
    assert os.waitpid(child, 0)[1] == 0
    return said


def test_a_child_of_an_idle_process_reads_and_writes(engine: SqliteEngine) -> None:
    engine.one("SELECT 1")

    def add() -> None:
        with engine.write() as transaction:
            transaction.execute("INSERT INTO notes VALUES (1, 'of the child')")

    assert in_a_child(add) == "None"
    assert engine.all("SELECT text FROM notes") == [("of the child",)]


def test_a_child_that_inherits_a_connection_in_use_is_refused_and_spoils_nothing(
    engine: SqliteEngine,
) -> None:
    refusal = "RuntimeError: forked while the engine was in use: open one in each process"
    with engine.write() as transaction:
        assert in_a_child(lambda: engine.one("SELECT 1")) == refusal
        transaction.execute("INSERT INTO notes VALUES (1, 'of the parent')")
    ready, leave = threading.Event(), threading.Event()

    def look() -> None:
        engine.one("SELECT 1")
        ready.set()
        leave.wait(10)

    other = threading.Thread(target=look)
    other.start()
    assert ready.wait(10)
    assert in_a_child(lambda: engine.one("SELECT 1")) == refusal  # the connection of another thread
    leave.set()
    other.join()
    assert engine.all("SELECT text FROM notes") == [("of the parent",)]
    assert engine.integrity() == []


def test_a_killed_writer_leaves_no_lock_and_nothing_half_done(tmp_path: Path, engine: SqliteEngine) -> None:
    script = (
        "import os, signal, sys\nfrom pathlib import Path\nfrom vrm.vault.sqlite import SqliteEngine\n"
        "engine = SqliteEngine(Path(sys.argv[1]))\n"
        "with engine.write() as transaction:\n"
        "    transaction.execute(\"INSERT INTO notes VALUES (1, 'half')\")\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    ended = subprocess.run([sys.executable, "-c", script, tmp_path / "vrm.db"])
    assert ended.returncode == -signal.SIGKILL
    with engine.write() as transaction:
        transaction.execute("INSERT INTO notes VALUES (2, 'after')")
    assert engine.all("SELECT id FROM notes") == [(2,)]


def test_closing_ends_the_connections_of_every_thread(tmp_path: Path) -> None:
    engine = open_sqlite(tmp_path)
    engine.install([NOTES])
    ready, leave = threading.Event(), threading.Event()

    def look() -> None:
        engine.one("SELECT 1")
        ready.set()
        leave.wait()

    thread = threading.Thread(target=look)
    thread.start()
    ready.wait()
    engine.close()
    held = held_below(tmp_path)
    leave.set()
    thread.join()
    assert held == []
