"""PostgreSQL keeps the contract, and what is its own: a server that goes away, conflicts, refused text."""

import socket
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests import postgres
from tests.contract.engine import NOTES, EngineContract
from tests.contract.test_sqlite import in_a_child
from vrm.errors import SettingsError, StorageConflictError, StorageError, UncertainError, ValidationError
from vrm.vault.engine import Ask, MisfitError, Row, Step, Transaction, Work
from vrm.vault.pglink import Link
from vrm.vault.postgres import Attempt, PostgresEngine

server = postgres.server


@pytest.fixture(autouse=True)
def database(server: str, tmp_path: Path) -> Iterator[None]:
    postgres.make(tmp_path)
    yield
    postgres.drop(tmp_path)


class TestPostgresEngine(EngineContract):
    opener = staticmethod(postgres.opened)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[PostgresEngine]:
    opened = postgres.opened(tmp_path)
    opened.install([NOTES])
    yield opened
    opened.close()


@pytest.fixture
def other(tmp_path: Path, engine: PostgresEngine) -> Iterator[PostgresEngine]:
    opened = postgres.opened(tmp_path)
    yield opened
    opened.close()


def add(engine: PostgresEngine, number: int, text: str = "x", of: str = "") -> None:
    with engine.write(of) as transaction:
        transaction.execute("INSERT INTO notes VALUES (?, ?)", (number, text))


def cut(engine: PostgresEngine) -> None:
    """End this thread's session at the server, as a restart does."""
    ((pid,),) = engine.all("SELECT pg_backend_pid()")
    with postgres.admin() as admin:
        admin.execute("SELECT pg_terminate_backend(%s, 10000)", (pid,))


# ---- what the server is asked for ------------------------------------------------------------------


def test_durability_is_switched_on_whatever_the_server_says(tmp_path: Path) -> None:
    for given, used in (("off", "on"), ("local", "on"), ("remote_apply", "remote_apply")):
        with postgres.admin() as admin:
            admin.execute(f"ALTER DATABASE {postgres.name_of(tmp_path)} SET synchronous_commit = {given}")
        engine = postgres.opened(tmp_path)
        assert engine.one("SELECT current_setting('synchronous_commit')") == (used,)
        assert engine.one("SELECT current_setting('statement_timeout')") == ("0",)
        engine.close()


def test_a_database_that_is_not_in_utf8_is_refused(tmp_path: Path) -> None:
    name = postgres.name_of(tmp_path)
    with postgres.admin() as admin:
        admin.execute(f"DROP DATABASE {name}")
        admin.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'")
    with pytest.raises(StorageError, match="UTF-8"):
        postgres.opened(tmp_path).one("SELECT 1")


def test_statements_beyond_the_most_are_prepared_anew(engine: PostgresEngine) -> None:
    for turn in range(1200):
        assert engine.one(f"SELECT {turn % 1100}, CAST(? AS TEXT)", ("x",)) == (turn % 1100, "x")
    assert engine.one("SELECT count(*) FROM pg_prepared_statements")[0] <= 1000  # type: ignore[index]


def test_what_an_index_lost_is_told(engine: PostgresEngine) -> None:
    with engine.write() as transaction:
        transaction.execute("CREATE INDEX by_text ON notes (text)")
    with postgres.admin(engine.one("SELECT current_database()")[0]) as admin:
        admin.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'by_text'::regclass")
    assert engine.integrity() == ["index by_text is not valid"]


# ---- values ----------------------------------------------------------------------------------------


class Colour(StrEnum):
    RED = "red"


def test_values_come_back_as_they_were(engine: PostgresEngine) -> None:
    with engine.write() as transaction:
        transaction.execute("CREATE TABLE kinds (whole INTEGER, text TEXT, bytes BLOB)")
        rows = [(2**63 - 1, "ü\n'\"\\%s ? $1", bytes(range(256))), (-(2**63), "", b""), (None, None, None)]
        transaction.executemany("INSERT INTO kinds VALUES (?, ?, ?)", rows)
        transaction.execute("INSERT INTO kinds VALUES (?, ?, ?)", (True, Colour.RED, bytearray(b"b")))
        transaction.execute("INSERT INTO kinds VALUES (?, 'a ? b', ?)", (False, memoryview(b"m")))
    assert engine.all("SELECT whole, text, bytes FROM kinds") == [*rows, (1, "red", b"b"), (0, "a ? b", b"m")]
    assert engine.one("SELECT sum(whole), avg(whole) FROM kinds WHERE whole IN (0, 1)") == (1, 0.5)
    assert engine.one("SELECT ?", (0.25,)) == (0.25,)
    assert list(engine.read().__enter__().execute("SELECT 1")) == [(1,)]
    engine.close()


def test_text_compares_byte_by_byte(engine: PostgresEngine) -> None:
    with engine.write() as transaction:
        transaction.executemany("INSERT INTO notes VALUES (?, ?)", list(enumerate("aZbÄ_B-")))
    assert "".join(row[0] for row in engine.all("SELECT text FROM notes ORDER BY text")) == "-BZ_abÄ"


@pytest.mark.parametrize("text", ["nul\0", "half \ud800"])
def test_text_that_cannot_be_stored_is_refused_and_never_cut_off(engine: PostgresEngine, text: str) -> None:
    add(engine, 1, "nul")
    with pytest.raises(ValidationError):
        engine.one("SELECT id FROM notes WHERE text = ?", (text,))
    with pytest.raises(ValidationError):
        add(engine, 2, text)
    assert engine.all("SELECT id FROM notes") == [(1,)]


def store(engine: PostgresEngine, row: tuple[Any, ...], *, many: bool) -> None:
    with engine.write() as transaction:
        if many:
            transaction.executemany("INSERT INTO notes VALUES (?, ?)", [(3, "fits"), row])
        else:
            transaction.execute("INSERT INTO notes VALUES (?, ?)", row)


@pytest.mark.parametrize(
    ("number", "text"),
    [(1, "twice"), (2**63, "beyond"), ("one", "no number"), (object(), "no value"), (2, None)],
)
def test_what_does_not_fit_is_no_fault_of_the_storage_and_says_no_value(
    engine: PostgresEngine, number: Any, text: Any
) -> None:
    add(engine, 1)
    for many in (False, True):
        with pytest.raises(MisfitError) as caught:
            store(engine, (number, text), many=many)
        assert text is None or text not in str(caught.value)
    assert engine.all("SELECT id FROM notes") == [(1,)]


def test_wrong_numbers_of_values_are_our_own_mistake(engine: PostgresEngine) -> None:
    for values in ((), ("one", "two")):
        with pytest.raises(MisfitError):
            engine.all("SELECT CAST(? AS TEXT), 'one? or two?'", values)


def test_a_swallowed_refusal_commits_nothing(engine: PostgresEngine) -> None:
    def careless() -> None:
        with engine.write() as transaction:
            transaction.execute("INSERT INTO notes VALUES (1, 'one')")
            with suppress(MisfitError):
                transaction.execute("INSERT INTO notes VALUES (1, 'one')")

    with pytest.raises(StorageError):
        careless()

    def more_careless() -> None:
        with engine.write() as transaction:
            with suppress(StorageError):
                transaction.execute("SELECT 1 FROM nowhere")
            transaction.execute("INSERT INTO notes VALUES (1, 'one')")

    with pytest.raises(StorageError) as caught:
        more_careless()
    assert "undone" in caught.value.hint
    assert engine.all("SELECT id FROM notes") == []


def test_a_constraint_that_is_looked_at_last_undoes_the_block(engine: PostgresEngine) -> None:
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


# ---- side by side ----------------------------------------------------------------------------------


def together_in_threads(*acts: Callable[[], object]) -> list[object]:
    with ThreadPoolExecutor(len(acts)) as pool:
        return [each.result(60) for each in [pool.submit(act) for act in acts]]


def test_writes_of_different_vaults_do_not_wait_for_each_other(engine: PostgresEngine) -> None:
    both = threading.Barrier(2, timeout=30)

    def write(number: int) -> None:
        with engine.write(of=f"vault {number}") as transaction:
            transaction.execute("INSERT INTO notes VALUES (?, 'x')", (number,))
            both.wait()

    together_in_threads(lambda: write(1), lambda: write(2))
    assert engine.all("SELECT id FROM notes ORDER BY id") == [(1,), (2,)]


@pytest.mark.parametrize(("first", "second"), [("a", "a"), ("", "a"), ("a", "")])
def test_writes_of_one_vault_and_of_everything_come_one_after_the_other(
    engine: PostgresEngine, first: str, second: str
) -> None:
    inside, order = threading.Event(), []

    def begin() -> None:
        with engine.write(of=first):
            inside.set()
            time.sleep(0.2)
            order.append("first")

    def follow() -> None:
        inside.wait(30)
        with engine.write(of=second):
            order.append("second")

    together_in_threads(begin, follow)
    assert order == ["first", "second"]


def test_an_inner_block_has_what_it_needs_to_itself_too(
    engine: PostgresEngine, other: PostgresEngine
) -> None:
    held = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"
    with engine.write(of="a"):
        assert other.one(held) == (2,)
        with engine.write(of="a"):
            assert other.one(held) == (2,)
        with engine.write(of="b"), engine.write(of="b"):
            assert other.one(held) == (3,)
        with engine.write(), engine.write(of="c"):
            assert other.one(held) == (4,)
    with engine.write(), engine.write(of="a"):
        assert other.one(held) == (1,)
    assert other.one(held) == (0,)


def test_who_waits_too_long_is_told_and_nothing_was_begun(
    engine: PostgresEngine, other: PostgresEngine
) -> None:
    other.all("SELECT set_config('lock_timeout', '100ms', false)")
    with engine.write():
        with pytest.raises(StorageError, match="keeps the database to itself"), other.write():
            pass
        assert not other.in_transaction()
    add(other, 1)
    assert engine.all("SELECT id FROM notes") == [(1,)]


@pytest.mark.parametrize("how", ["ask", "executemany", "send"])
def test_who_waits_for_an_answer_keeps_no_other_thread_from_going_on(
    engine: PostgresEngine, how: str
) -> None:
    add(engine, 1)
    sql, values = "UPDATE notes SET text = ? WHERE id = 1", ("waited",)
    waits = threading.Event()

    def wait() -> None:
        with engine.write(of="b") as transaction:
            waits.set()
            if how == "ask":
                assert [answer.rowcount for answer in transaction.ask([(sql, values)])] == [1]
            elif how == "send":
                transaction.send(sql, values)
            else:
                transaction.executemany(sql, [values])

    with ThreadPoolExecutor(1) as pool:
        with engine.write(of="a") as transaction:
            transaction.execute(sql, ("first",))
            waiting = pool.submit(wait)
            waits.wait(30)
            time.sleep(0.1)
        waiting.result(30)
    assert engine.all("SELECT text FROM notes") == [("waited",)]


def test_more_than_fits_on_the_way_is_sent_and_heard_all_the_same(engine: PostgresEngine) -> None:
    text = "x" * 40_000
    with engine.write() as transaction:
        transaction.executemany("INSERT INTO notes VALUES (?, ?)", [(number, text) for number in range(200)])
        answers = transaction.ask([("SELECT text, ? FROM notes", (text,))] * 20)
        assert {len(answer.fetchall()) for answer in answers} == {200}


# ---- conflicts -------------------------------------------------------------------------------------


def conflicting(engine: PostgresEngine, times: int, table: str = "notes") -> None:
    """Let the next `times` insertions end as a distributed database ends what would not be serial."""
    with engine.write() as transaction:
        transaction.execute("CREATE SEQUENCE tries")
        transaction.execute(
            "CREATE FUNCTION conflict() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN IF nextval(''tries'') <= "
            f"{times} THEN RAISE EXCEPTION ''injected'' USING ERRCODE = ''40001''; END IF; RETURN NEW; END'"
        )
        transaction.execute(
            f"CREATE TRIGGER conflict BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION conflict()"
        )


def test_an_act_is_tried_again_where_the_server_undid_it(engine: PostgresEngine) -> None:
    conflicting(engine, 3)
    seen: list[str] = []

    def act(transaction: Transaction) -> str:
        transaction.on_rollback(lambda: seen.append("undone"))
        transaction.on_commit(lambda: seen.append("stored"))
        transaction.execute("INSERT INTO notes VALUES (1, 'x')")
        return "done"

    assert engine.together(act) == "done"
    assert seen == ["undone"] * 3 + ["stored"]
    assert engine.all("SELECT id FROM notes") == [(1,)]


def test_an_act_that_never_ends_well_says_so(engine: PostgresEngine) -> None:
    conflicting(engine, 10_000)
    with pytest.raises(StorageConflictError):
        engine.together(lambda transaction: transaction.execute("INSERT INTO notes VALUES (1, 'x')"), of="a")
    assert engine.all("SELECT id FROM notes") == []


def test_a_block_says_that_it_was_undone_even_where_that_was_swallowed(engine: PostgresEngine) -> None:
    conflicting(engine, 2)
    attempt = engine.attempt()
    with pytest.raises(StorageConflictError):
        add(engine, 1)
    assert (attempt.undone, attempt.stored) == (True, False)

    def careless() -> None:
        with engine.write() as transaction, suppress(StorageError):
            transaction.execute("INSERT INTO notes VALUES (1, 'x')")

    with pytest.raises(StorageConflictError):
        careless()
    add(engine, 1)
    assert attempt.stored


def test_an_act_within_a_block_is_left_to_the_block(engine: PostgresEngine) -> None:
    conflicting(engine, 1)
    tries: list[int] = []

    def act(transaction: Transaction) -> None:
        tries.append(1)
        transaction.execute("INSERT INTO notes VALUES (1, 'x')")

    with pytest.raises(StorageConflictError), engine.write():
        engine.together(act)
    assert tries == [1]


def test_two_who_wait_for_each_other_are_a_conflict_and_not_stuck(engine: PostgresEngine) -> None:
    add(engine, 1)
    add(engine, 2)
    both = threading.Barrier(2, timeout=30)

    def cross(first: int, second: int) -> str:
        sql = "UPDATE notes SET text = text WHERE id = ?"
        try:
            with engine.write(of=str(first)) as transaction:
                transaction.execute(sql, (first,))
                both.wait()
                transaction.execute(sql, (second,))
        except StorageConflictError:
            return "conflict"
        return "stored"

    assert sorted(map(str, together_in_threads(lambda: cross(1, 2), lambda: cross(2, 1)))) == [
        "conflict",
        "stored",
    ]


# ---- a server that goes away -----------------------------------------------------------------------


def test_a_connection_lost_while_idle_is_replaced_and_nobody_notices(engine: PostgresEngine) -> None:
    cut(engine)
    assert engine.one("SELECT 1") == (1,)
    cut(engine)
    add(engine, 1)
    cut(engine)
    with engine.read():
        assert engine.all("SELECT id FROM notes") == [(1,)]
    cut(engine)
    with engine.exclusive("import") as mine:
        assert mine


def test_a_connection_lost_in_a_block_undoes_it_and_the_next_one_works(engine: PostgresEngine) -> None:
    undone: list[str] = []

    def lose(count: int) -> None:
        with engine.write() as transaction:
            transaction.on_rollback(lambda: undone.append("undone"))
            transaction.executemany("INSERT INTO notes VALUES (?, 'x')", [(1,)])
            cut(engine)
            if count == 1:
                transaction.execute("INSERT INTO notes VALUES (2, 'x')")
            transaction.executemany("INSERT INTO notes VALUES (?, 'x')", [(at,) for at in range(2, count)])

    for count in (1, 2000):
        with pytest.raises(StorageError, match="went away") as caught:
            lose(count)
        assert not isinstance(caught.value, UncertainError)
        assert undone.pop() == "undone"
        assert engine.all("SELECT id FROM notes") == []


def test_a_connection_lost_and_known_to_be_lost_before_the_end_is_a_plain_refusal(
    engine: PostgresEngine,
) -> None:
    def careless() -> None:
        with engine.write() as transaction:
            transaction.execute("INSERT INTO notes VALUES (1, 'x')")
            cut(engine)
            with suppress(StorageError):
                transaction.execute("SELECT 1")

    with pytest.raises(StorageError) as caught:
        careless()
    assert not isinstance(caught.value, UncertainError)
    assert engine.all("SELECT id FROM notes") == []


def test_what_was_read_before_the_connection_was_lost_is_good(engine: PostgresEngine) -> None:
    add(engine, 1)
    with engine.read():
        assert engine.all("SELECT id FROM notes") == [(1,)]
        cut(engine)
    assert engine.all("SELECT id FROM notes") == [(1,)]


def test_who_lost_an_exclusive_place_goes_on_with_nothing(
    engine: PostgresEngine, other: PostgresEngine
) -> None:
    with engine.exclusive("import") as mine:
        assert mine
        cut(engine)
        with pytest.raises(StorageError):
            add(engine, 1)
        with pytest.raises(StorageError):
            add(engine, 1)
        with other.exclusive("import") as theirs:
            assert theirs
    add(engine, 1)


def test_an_exclusive_place_is_given_back_after_a_failed_transaction(
    engine: PostgresEngine, other: PostgresEngine
) -> None:
    with pytest.raises(StorageError), engine.write() as transaction, engine.exclusive("import"):
        transaction.execute("SELECT 1 FROM nowhere")
    with other.exclusive("import") as mine:
        assert mine


def test_a_server_that_only_reads_is_left_for_another(engine: PostgresEngine) -> None:
    ((before,),) = engine.all("SELECT pg_backend_pid()")

    def write() -> None:
        with engine.write() as transaction:
            transaction.execute("SET TRANSACTION READ ONLY")
            transaction.execute("INSERT INTO notes VALUES (1, 'x')")

    with pytest.raises(StorageError, match="only be read"):
        write()
    add(engine, 1)
    assert engine.all("SELECT pg_backend_pid()") != [(before,)]


def test_a_database_that_is_not_there_is_a_storage_error_without_the_password(tmp_path: Path) -> None:
    for url in ("vrm:hunter2@127.0.0.1:1/vrm", f"vrm:hunter2@/nowhere?host={server_folder(tmp_path)}"):
        engine = PostgresEngine(f"postgresql+psycopg://{url}", tmp_path)
        with pytest.raises(StorageError, match="cannot be reached") as caught:
            engine.one("SELECT 1")
        assert "hunter2" not in "".join([*traceback.format_exception(caught.value), caught.value.hint])
    strange = "postgresql+psycopg://vrm:hunter2%zz@127.0.0.1/vrm"
    with pytest.raises(SettingsError) as refused:
        PostgresEngine(strange, tmp_path)
    assert "hunter2" not in "".join([*traceback.format_exception(refused.value), refused.value.hint])


def server_folder(folder: Path) -> str:
    return parse_qs(urlsplit(postgres.address(folder)).query).get("host", ["127.0.0.1"])[0]


class Cutting:
    """A way to the server that loses a COMMIT, or its answer."""

    def __init__(self, to: str, lose: str) -> None:
        self._to, self._lose = to, lose
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self.armed = False
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            server.connect(self._to)
            threading.Thread(target=self._ask, args=(client, server), daemon=True).start()
            threading.Thread(target=self._answer, args=(client, server), daemon=True).start()

    def _ask(self, client: socket.socket, server: socket.socket) -> None:
        while said := client.recv(65536):
            if self.armed and b"COMMIT\0" in said:
                if self._lose == "commit":
                    break
                self.silent = True
            server.sendall(said)
        client.close()
        server.close()

    silent = False

    def _answer(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while said := server.recv(65536):
                if self.silent:
                    break
                client.sendall(said)
        with suppress(OSError):
            client.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._listening.close()


def cutting(folder: Path, lose: str) -> tuple[Cutting, PostgresEngine]:
    """Such a way, and an engine that goes it."""
    at = f"{server_folder(folder)}/.s.PGSQL.5432"
    if not Path(at).exists():
        pytest.skip("the server given has no socket here")
    way = Cutting(at, lose)
    url = f"postgresql+psycopg://vrm@127.0.0.1:{way.port}/{postgres.name_of(folder)}"
    return way, PostgresEngine(url, folder)


@pytest.mark.parametrize(("lose", "stored"), [("commit", []), ("answer", [(1,)])])
def test_a_commit_whose_end_nobody_heard_is_never_called_stored_nor_undone(
    tmp_path: Path, engine: PostgresEngine, lose: str, stored: list[Row]
) -> None:
    way, cautious = cutting(tmp_path, lose)
    ended: list[str] = []
    attempt = cautious.attempt()

    def write() -> None:
        with cautious.write() as transaction:
            transaction.on_commit(lambda: ended.append("stored"))
            transaction.on_rollback(lambda: ended.append("undone"))
            transaction.execute("INSERT INTO notes VALUES (1, 'x')")
            way.armed = True

    with pytest.raises(UncertainError):
        write()
    assert ended == ["undone"]
    assert (attempt.undone, attempt.stored) == (False, True)
    way.armed = way.silent = False
    assert cautious.all("SELECT id FROM notes") == engine.all("SELECT id FROM notes") == stored
    cautious.close()
    way.close()


_LAST = "AFTER INSERT ON notes DEFERRABLE INITIALLY DEFERRED"


def at_commit(engine: PostgresEngine, does: str, when: str = _LAST) -> None:
    """Let the server do something at the COMMIT of whoever inserts."""
    with engine.write() as transaction:
        transaction.execute(
            "CREATE FUNCTION at_commit() RETURNS trigger LANGUAGE plpgsql AS"
            f" 'BEGIN RAISE {does}; RETURN NEW; END'"
        )
        transaction.execute(
            f"CREATE {'CONSTRAINT ' * (when == _LAST)}TRIGGER at_commit {when}"
            " FOR EACH ROW EXECUTE FUNCTION at_commit()"
        )


@pytest.mark.parametrize(("lose", "stored"), [("commit", []), ("answer", [(1,), (2,)])])
def test_so_is_one_that_takes_along_what_was_not_sent_yet(
    tmp_path: Path, engine: PostgresEngine, lose: str, stored: list[Row]
) -> None:
    way, cautious = cutting(tmp_path, lose)

    def write() -> None:
        with cautious.write() as transaction:
            transaction.execute("INSERT INTO notes VALUES (1, 'x')")
            transaction.send("INSERT INTO notes VALUES (?, 'x')", (2,))
            way.armed = True

    with pytest.raises(UncertainError):
        write()
    assert engine.all("SELECT id FROM notes ORDER BY id") == stored
    cautious.close()
    way.close()


def send_last(engine: PostgresEngine, number: int) -> None:
    """A block whose last statement goes with the COMMIT."""
    with engine.write() as transaction:
        transaction.send("INSERT INTO notes VALUES (?, 'x')", (number,))


def test_a_conflict_that_shows_at_the_commit_only_is_one(engine: PostgresEngine) -> None:
    conflicting(engine, 1)
    with pytest.raises(StorageConflictError):
        send_last(engine, 1)
    send_last(engine, 1)
    assert engine.all("SELECT id FROM notes") == [(1,)]


def test_a_warning_of_a_statement_is_not_taken_for_one_of_the_commit(engine: PostgresEngine) -> None:
    at_commit(engine, "WARNING ''of a statement''", "AFTER INSERT ON notes")
    send_last(engine, 1)
    with engine.write() as transaction:
        transaction.execute("DROP TRIGGER at_commit ON notes")
        transaction.execute("DROP FUNCTION at_commit")
    at_commit(engine, "WARNING ''of the end''")
    with pytest.raises(UncertainError):
        send_last(engine, 2)


def test_a_server_that_only_reads_has_stored_nothing_for_certain(engine: PostgresEngine) -> None:
    def write() -> None:
        with engine.write() as transaction:
            transaction.execute("SET TRANSACTION READ ONLY")
            transaction.send("INSERT INTO notes VALUES (?, 'x')", (1,))

    with pytest.raises(StorageError, match="only be read"):
        write()
    send_last(engine, 2)
    assert engine.all("SELECT id FROM notes") == [(2,)]


def test_who_is_interrupted_while_it_hears_hears_nothing_more_on_that_connection(
    engine: PostgresEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    link = engine._link()
    with monkeypatch.context() as patched:
        patched.setattr(link, "_answers", interrupted)
        with pytest.raises(KeyboardInterrupt), engine.write() as transaction:
            transaction.executemany("INSERT INTO notes VALUES (?, 'x')", [(1,)])
    assert link.lost
    assert engine.all("SELECT id FROM notes") == []


def test_a_conflict_at_the_commit_is_one(engine: PostgresEngine) -> None:
    at_commit(engine, "EXCEPTION ''injected'' USING ERRCODE = ''40001''")
    with pytest.raises(StorageConflictError):
        add(engine, 1)
    assert engine.all("SELECT id FROM notes") == []


def test_a_commit_with_a_warning_is_not_called_stored(engine: PostgresEngine) -> None:
    """So it is told that somebody ended the wait for the standby."""
    at_commit(engine, "WARNING ''canceling wait for synchronous replication''")
    with pytest.raises(UncertainError):
        add(engine, 1)
    assert engine.all("SELECT id FROM notes") == [(1,)]


def test_a_connection_that_was_closed_under_a_block_undoes_it(engine: PostgresEngine) -> None:
    def close_under(many: bool) -> None:
        with engine.write() as transaction:
            transaction.executemany("INSERT INTO notes VALUES (?, 'x')", [(1,)])
            engine._link().close()
            if many:
                transaction.executemany("INSERT INTO notes VALUES (?, 'x')", [(2,)])
            transaction.execute("SELECT 1")

    for many in (False, True):
        with pytest.raises(StorageError, match="went away"):
            close_under(many)
    assert engine.all("SELECT id FROM notes") == []


# ---- forks -----------------------------------------------------------------------------------------


def test_a_forked_child_opens_a_connection_of_its_own(engine: PostgresEngine) -> None:
    add(engine, 1)
    assert in_a_child(lambda: add(engine, 2)) == "None"
    add(engine, 3)
    assert engine.all("SELECT id FROM notes ORDER BY id") == [(1,), (2,), (3,)]


def test_a_child_forked_in_the_middle_of_a_transaction_is_refused(engine: PostgresEngine) -> None:
    with engine.write() as transaction:
        said = in_a_child(lambda: engine.one("SELECT 1"))
        transaction.execute("INSERT INTO notes VALUES (1, 'of the parent')")
    assert said == "RuntimeError: forked while the engine was in use: open one in each process"
    assert engine.all("SELECT id FROM notes") == [(1,)]


def test_threads_that_end_give_their_connections_back(engine: PostgresEngine) -> None:
    ours = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
    for _ in range(10):
        together_in_threads(lambda: engine.one("SELECT 1"))
    until = time.monotonic() + 10
    while engine.one(ours) != (1,):
        assert time.monotonic() < until
        time.sleep(0.05)


# ---- what threads bring of one vault ---------------------------------------------------------------


@contextmanager
def led(engine: PostgresEngine, of: str, pool: ThreadPoolExecutor) -> Iterator[Future[None]]:
    """Somebody is at that vault while this lasts; what comes meanwhile shares the next transaction."""
    begun, go_on = threading.Event(), threading.Event()

    def slow(_: Transaction) -> None:
        begun.set()
        go_on.wait(30)

    future = pool.submit(engine.together, slow, of)
    begun.wait(30)
    try:
        yield future
    finally:
        go_on.set()


def gathered(engine: PostgresEngine, *acts: Callable[[Transaction], Any]) -> list[Future[Any]]:
    """What becomes of acts that wait for one vault at the same time, in the order given."""
    with ThreadPoolExecutor(len(acts) + 1) as pool:
        with led(engine, "a", pool):
            lane, futures = engine._lane("a"), []
            for number, act in enumerate(acts, 1):
                futures.append(pool.submit(engine.together, act, "a"))
                wait_until(lambda number=number: len(lane._waiting) == number)  # type: ignore[misc]
        for future in futures:
            future.exception(60)
    return futures


def wait_until(held: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not held():
        assert time.monotonic() < end
        time.sleep(0.005)


def number_of(at: int) -> Callable[[Transaction], int]:
    """An act that writes a note and tells in which transaction."""

    def act(transaction: Transaction) -> int:
        transaction.execute("INSERT INTO notes VALUES (?, 'x')", (at,))
        transaction.executemany("INSERT INTO notes VALUES (?, 'y')", [(100 + at,)])
        (found,) = transaction.execute(
            "SELECT CAST(CAST(pg_current_xact_id() AS TEXT) AS INTEGER)"
        ).fetchone()
        return int(found)

    return act


def test_acts_of_one_vault_that_wait_at_the_same_time_share_a_transaction(engine: PostgresEngine) -> None:
    done = gathered(engine, number_of(1), number_of(2), number_of(3))
    assert len({future.result() for future in done}) == 1
    assert engine.all("SELECT id FROM notes WHERE text = 'x' ORDER BY id") == [(1,), (2,), (3,)]
    assert not engine._lanes  # nobody is at it any more


def test_what_the_server_refuses_of_one_act_takes_no_other_with_it(engine: PostgresEngine) -> None:
    def misfit(transaction: Transaction) -> None:
        transaction.execute("INSERT INTO notes VALUES (1, NULL)")

    def none(_: Transaction) -> None:
        raise ValueError("not this one")

    first, second, third, fourth = gathered(engine, number_of(1), misfit, none, number_of(4))
    assert isinstance(second.exception(), MisfitError)
    assert isinstance(third.exception(), ValueError)
    assert first.exception() is fourth.exception() is None
    assert engine.all("SELECT id FROM notes WHERE text = 'x' ORDER BY id") == [(1,), (4,)]


def test_acts_that_shared_a_conflict_are_each_tried_again(engine: PostgresEngine) -> None:
    conflicting(engine, 2)
    done = gathered(engine, number_of(1), number_of(2))
    assert [future.exception() for future in done] == [None, None]
    assert engine.all("SELECT id FROM notes WHERE text = 'x' ORDER BY id") == [(1,), (2,)]


def test_whoever_did_it_each_thread_knows_what_became_of_its_own_writing(engine: PostgresEngine) -> None:
    attempts: dict[int, Attempt] = {}

    def told(at: int, act: Callable[[Transaction], Any]) -> None:
        attempts[at] = engine.attempt()
        engine.together(act, "a")

    def none(_: Transaction) -> None:
        raise ValueError("not this one")

    with ThreadPoolExecutor(4) as pool, led(engine, "a", pool):
        lane = engine._lane("a")
        for at, act in enumerate((number_of(1), number_of(2), none), 1):
            pool.submit(told, at, act)
            wait_until(lambda at=at: len(lane._waiting) == at)  # type: ignore[misc]
    assert attempts[2].stored
    assert not attempts[3].stored
    assert not attempts[3].undone


@pytest.mark.parametrize(("lose", "stored"), [("commit", []), ("answer", [(1,), (2,)])])
def test_a_shared_commit_whose_end_nobody_heard_is_done_again_for_none(
    tmp_path: Path, engine: PostgresEngine, lose: str, stored: list[Row]
) -> None:
    way, cautious = cutting(tmp_path, lose)
    runs: list[int] = []

    def act(number: int) -> Callable[[Transaction], None]:
        def insert(transaction: Transaction) -> None:
            runs.append(number)
            transaction.execute("INSERT INTO notes VALUES (?, 'x')", (number,))
            way.armed = number == 2

        return insert

    done = gathered(cautious, act(1), act(2))
    assert [type(future.exception()) for future in done] == [UncertainError, UncertainError]
    assert runs == [1, 2]
    assert engine.all("SELECT id FROM notes ORDER BY id") == stored
    cautious.close()
    way.close()


# ---- works that are alike --------------------------------------------------------------------------


class Alike:
    """Works of one token that wait while somebody leads it, and what becomes of them."""

    def __init__(self, engine: PostgresEngine, like: str = "token") -> None:
        self._engine, self._like = engine, like
        self.group: Any = engine._alike(like)
        self._begun, self._go_on = threading.Event(), threading.Event()

    def _led(self) -> Work[None]:
        self._begun.set()
        self._go_on.wait(30)
        return
        yield

    def submit(self, pool: ThreadPoolExecutor, work: Work[Any]) -> Future[Any]:
        """Let it wait, and return once it does."""
        before = len(self.group._waiting)
        future = pool.submit(self._engine.perform, work, self._like)
        wait_until(lambda: len(self.group._waiting) == before + 1)
        return future

    def done(self, *works: Work[Any]) -> list[Future[Any]]:
        """All of them at one moment, in the order given."""
        with ThreadPoolExecutor(len(works) + 1) as pool:
            pool.submit(self._engine.perform, self._led(), self._like)
            self._begun.wait(30)
            futures = [self.submit(pool, work) for work in works]
            self._go_on.set()
            for future in futures:
                future.exception(60)
        return futures


def noting(at: int, of: str = "a") -> Work[int]:
    """A work that writes notes and tells in which transaction."""
    found: int = yield Step(number_of(at), of)
    return found


def test_works_that_are_alike_share_what_they_open_and_their_transaction(engine: PostgresEngine) -> None:
    alike, seen = Alike(engine), list[dict[object, Any]]()
    late: list[Future[int]] = []

    def opening(at: int) -> Work[int]:
        seen.append(engine.shared())
        seen[-1][at] = "opened"
        if at == 3:
            late.append(alike.submit(pool, opening(4)))
        return (yield from noting(at))

    with ThreadPoolExecutor(1) as pool:
        done = alike.done(opening(1), opening(2), opening(3)) + late
    assert len({future.result() for future in done}) == 1
    assert seen[0] is seen[1] is seen[2]
    assert seen[0].keys() == {1, 2, 3}
    assert seen[3].keys() == {4}  # it came later than what the others found
    assert engine.shared() == {}
    alike.group = None
    assert not engine._groups  # and nothing keeps what they were like


def test_works_that_are_not_alike_share_nothing_and_run_side_by_side(engine: PostgresEngine) -> None:
    both = threading.Barrier(2, timeout=30)
    seen: list[dict[object, Any]] = []

    def work(number: int) -> Work[int]:
        seen.append(engine.shared())
        both.wait()  # both begin

        def act(transaction: Transaction) -> int:
            transaction.execute("INSERT INTO notes VALUES (?, 'x')", (number,))
            both.wait()  # and both write, each in its vault
            return number

        found: int = yield Step(act, f"vault {number}")
        return found

    did = together_in_threads(*(lambda at=at: engine.perform(work(at), f"token {at}") for at in (1, 2)))
    assert did == [1, 2]
    assert seen[0] is not seen[1]
    assert engine.all("SELECT id FROM notes ORDER BY id") == [(1,), (2,)]


def test_what_two_tokens_bring_of_one_vault_shares_a_transaction(engine: PostgresEngine) -> None:
    with ThreadPoolExecutor(3) as pool:
        with led(engine, "a", pool):
            lane = engine._lane("a")
            futures = []
            for at in (1, 2):
                futures.append(pool.submit(engine.perform, noting(at), f"token {at}"))
                wait_until(lambda at=at: len(lane._waiting) == at)  # type: ignore[misc]
        assert len({future.result(30) for future in futures}) == 1


def test_a_conflict_that_alike_works_share_is_tried_again_for_each(engine: PostgresEngine) -> None:
    conflicting(engine, 3)
    done = Alike(engine).done(noting(1), noting(2), noting(3))
    assert len({future.result() for future in done}) == 3  # each in a transaction of its own, after all
    assert engine.all("SELECT id FROM notes WHERE text = 'x' ORDER BY id") == [(1,), (2,), (3,)]


def test_a_conflict_that_never_ends_is_told_to_whose_work_it_is(engine: PostgresEngine) -> None:
    conflicting(engine, 10_000)
    attempt = engine.attempt()
    with pytest.raises(StorageConflictError):
        engine.perform(noting(1), "token")
    assert (attempt.undone, attempt.stored) == (True, False)


def test_each_thread_knows_what_became_of_the_writing_of_its_own_work(engine: PostgresEngine) -> None:
    attempts: dict[int, Attempt] = {}

    def raises(_: Transaction) -> None:
        raise ValueError("not this one")

    def second_fails(at: int) -> Work[None]:
        yield Step(number_of(at), "a")
        yield Step(raises, "a")

    def fails() -> Work[None]:
        yield Step(raises, "a")

    def told(at: int, work: Work[Any]) -> None:
        attempts[at] = engine.attempt()
        engine.perform(work, "token")

    together = Alike(engine)
    with ThreadPoolExecutor(4) as pool:
        pool.submit(engine.perform, together._led(), "token")
        together._begun.wait(30)
        for at, work in ((1, noting(1)), (2, second_fails(2)), (3, fails())):
            pool.submit(told, at, work)
            wait_until(lambda at=at: len(together.group._waiting) == at)  # type: ignore[misc]
        together._go_on.set()
    assert [attempts[at].stored for at in (2, 3)] == [True, False]
    assert not any(attempts[at].undone for at in (1, 2, 3))


@pytest.mark.parametrize(("lose", "stored"), [("commit", []), ("answer", [(1,), (2,)])])
def test_alike_works_whose_end_nobody_heard_are_done_again_for_none(
    tmp_path: Path, engine: PostgresEngine, lose: str, stored: list[Row]
) -> None:
    way, cautious = cutting(tmp_path, lose)
    runs: list[int] = []

    def act(transaction: Transaction, number: int) -> None:
        runs.append(number)
        transaction.send("INSERT INTO notes VALUES (?, 'x')", (number,))
        way.armed = number == 2

    def work(number: int) -> Work[None]:
        yield Step(partial(act, number=number), "a")

    done = Alike(cautious).done(work(1), work(2))
    assert [type(future.exception()) for future in done] == [UncertainError, UncertainError]
    assert runs == [1, 2]
    assert engine.all("SELECT id FROM notes ORDER BY id") == stored
    cautious.close()
    way.close()


def test_what_one_alike_work_raises_or_the_server_refuses_takes_no_other_with_it(
    engine: PostgresEngine,
) -> None:
    insert = "INSERT INTO notes VALUES (?, 'x')"

    def asking(number: int) -> Work[int]:
        found: int = yield Step(lambda _, done: done.rowcount, "a", lambda: ((insert, (number,)),))
        return found

    def misfit() -> Work[None]:
        yield Step(lambda _, done: done, "a", lambda: ((insert, ("one",)),))

    def raises(_: Transaction, inserted: Any) -> None:
        raise ValueError(inserted.rowcount)

    def undone() -> Work[None]:
        yield Step(raises, "a", lambda: ((insert, (3,)),))

    first, second, third, fourth = Alike(engine).done(asking(1), misfit(), undone(), asking(4))
    assert (first.result(), fourth.result()) == (1, 1)
    assert isinstance(second.exception(), MisfitError)
    assert isinstance(third.exception(), ValueError)
    assert engine.all("SELECT id FROM notes ORDER BY id") == [(1,), (4,)]


def test_what_follows_each_other_and_asks_is_asked_at_once_and_in_order(
    engine: PostgresEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(engine, 1, "0")
    many: list[int] = []
    ask = Link.ask

    def told(link: Link, statements: Sequence[Ask]) -> Iterator[Any]:
        many.append(len(statements))
        return ask(link, statements)

    def asking() -> Work[str]:
        found: str = yield Step(
            lambda _, __, rows: rows.fetchone()[0],
            "a",
            lambda: (
                ("UPDATE notes SET text = CAST(CAST(text AS BIGINT) + 1 AS TEXT) WHERE id = ?", (1,)),
                ("SELECT text FROM notes WHERE id = ?", (1,)),
            ),
        )
        return found

    def setting() -> Work[str]:
        yield Step(lambda one: one.send("UPDATE notes SET text = ? WHERE id = 1", ("50",)), "a")
        return "set"

    monkeypatch.setattr(Link, "ask", told)
    done = Alike(engine).done(asking(), asking(), setting(), asking())
    assert [future.result() for future in done] == ["1", "2", "set", "51"]
    assert [count for count in many if count] == [4, 2]


def test_works_that_are_alike_but_of_several_vaults_are_each_done_in_its_own(
    engine: PostgresEngine,
) -> None:
    done = Alike(engine).done(noting(1, "a"), noting(2, "b"))
    assert len({future.result() for future in done}) == 2
