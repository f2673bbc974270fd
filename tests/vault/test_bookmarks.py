"""One record is judged from where the bookmark stands; no bookmark makes an old state pass for the newest."""

import pytest

from vrm.vault import bookmarks
from vrm.vault.bookmarks import Bookmark
from vrm.vault.journal import Journal
from vrm.vault.records import Records
from vrm.vault.sqlite import SqliteEngine
from vrm.vault.vault import Vault


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bookmarks after three changes, in parts of two, drawn anew above what chance brings together."""
    for name, value in (("_FAR", 3), ("_FEW", 2), ("_MANY", 16)):
        monkeypatch.setattr(bookmarks, name, value)


@pytest.fixture
def records(vault: Vault) -> Records:
    return vault.records("purchases")


def put(records: Records, title: str, record: str | None = None) -> str:
    return records.put({"item": {"title": title}}, record)


def fill(records: Records, count: int) -> list[str]:
    return [put(records, f"Book {number}") for number in range(count)]


def marks(engine: SqliteEngine) -> dict[int, bytes]:
    return dict(engine.all("SELECT part, sealed FROM journal_marks"))


def followed(vault: Vault, record: str) -> int:
    """How many changes are read again to judge a record."""
    bookmark = Bookmark(vault.engine, vault.keyring)
    bookmark.state("purchases", record)
    assert bookmark._seen
    return len(bookmark._seen.noted)


def parts(vault: Vault, record: str) -> int:
    """Into how many parts records fall; which of them hold any is chance."""
    bookmark = Bookmark(vault.engine, vault.keyring)
    bookmark.state("purchases", record)
    assert bookmark._seen
    assert bookmark._seen.mark
    return len(bookmark._seen.mark.written)


def test_what_is_stored_is_the_newest_before_and_after_a_bookmark(
    vault: Vault, records: Records, engine: SqliteEngine
) -> None:
    held = fill(records, 3)
    assert all(map(records.is_newest, held))
    assert marks(engine) == {}, "so little is rather read again"
    held += fill(records, 20)
    assert all(map(records.is_newest, held))
    assert followed(vault, held[0]) == 0
    assert parts(vault, held[0]) == 23 // 2 + 1
    assert len(marks(engine)) > 1, "those of them that hold any, and the head"


def test_only_parts_of_what_changed_are_written_anew(records: Records, engine: SqliteEngine) -> None:
    held = fill(records, 20)
    assert records.is_newest(held[0])
    before = marks(engine)
    for number in range(4):
        put(records, f"edited {number}", held[0])
    assert records.is_newest(held[0])
    assert sum(before[part] != sealed for part, sealed in marks(engine).items()) == 2, "its part and the head"


def test_more_records_are_more_parts(vault: Vault, records: Records) -> None:
    held = fill(records, 4)
    assert records.is_newest(held[0])
    few = parts(vault, held[0])
    held += fill(records, 60)
    assert all(map(records.is_newest, held))
    assert parts(vault, held[0]) > 5 * few


def test_a_removed_record_leaves_no_trace_in_its_part(records: Records, engine: SqliteEngine) -> None:
    held = fill(records, 6)
    assert records.is_newest(held[0])
    for record in held:
        records.remove(record)
    assert all(map(records.is_newest, held))
    assert len(set(map(len, marks(engine).values()))) == 1, "as long as an empty one"


@pytest.mark.parametrize("rounds", [0, 1, 8])
def test_an_old_state_put_back_is_found_however_old_the_bookmark_is(
    records: Records, engine: SqliteEngine, rounds: int
) -> None:
    """The thief also puts back the bookmark that stood beside it."""
    held = fill(records, 10)
    assert records.is_newest(held[0])
    row = engine.one("SELECT revision, body FROM records WHERE record = ?", (held[0],))
    old = engine.all("SELECT * FROM journal_marks")
    assert row
    put(records, "as it is now", held[0])
    for number in range(rounds):
        put(records, f"{number}", held[1])
    assert records.is_newest(held[0])
    for back in ([], old):
        with engine.write() as transaction:
            transaction.execute("UPDATE records SET revision = ?, body = ? WHERE record = ?", (*row, held[0]))
            for one in back:
                transaction.execute(
                    "INSERT INTO journal_marks VALUES (?, ?, ?)"
                    " ON CONFLICT (vault, part) DO UPDATE SET sealed = excluded.sealed",
                    one,
                )
        assert not records.is_newest(held[0])
        assert records.is_newest(held[2])


@pytest.mark.parametrize(
    "harm",
    [
        "DELETE FROM journal_marks",
        "DELETE FROM journal_marks WHERE part = -1",
        "DELETE FROM journal_marks WHERE part >= 0",
        "UPDATE journal_marks SET sealed = zeroblob(300)",
        "UPDATE journal_marks SET sealed = zeroblob(300) WHERE part >= 0",
        "UPDATE journal_marks SET sealed = 'text'",
        "UPDATE journal_marks SET sealed = (SELECT m.sealed FROM journal_marks m ORDER BY part LIMIT 1)",
    ],
)
def test_a_harmed_bookmark_costs_time_only(
    vault: Vault, records: Records, engine: SqliteEngine, harm: str
) -> None:
    held = fill(records, 10)
    assert records.is_newest(held[0])
    with engine.write() as transaction:
        transaction.execute(harm)
    held += fill(records, 5)
    assert all(map(records.is_newest, held))
    assert followed(vault, held[0]) == 0, "and is written anew"


def test_a_part_that_is_missed_only_when_it_is_written_is_written_anew(
    vault: Vault, records: Records, engine: SqliteEngine
) -> None:
    held = fill(records, 10)
    assert records.is_newest(held[0])
    bookmark = Bookmark(vault.engine, vault.keyring)
    bookmark.state("purchases", held[0])
    mark = bookmark._seen and bookmark._seen.mark
    assert mark
    gone = mark.part_of("purchases", held[0])
    other = next(record for record in held if mark.part_of("purchases", record) != gone)
    with engine.write() as transaction:
        transaction.execute("DELETE FROM journal_marks WHERE part = ?", (gone,))
    for number in range(4):
        put(records, f"edited {number}", held[0])
    assert records.is_newest(other)
    assert gone in marks(engine)
    assert all(map(records.is_newest, held))


def test_a_chain_cut_behind_the_bookmark_is_found(records: Records, engine: SqliteEngine) -> None:
    held = fill(records, 10)
    assert records.is_newest(held[0])
    with engine.write() as transaction:
        transaction.execute("DELETE FROM journal WHERE seq = (SELECT max(seq) FROM journal)")
    assert records.is_newest(held[0]), "the bookmark knows the end that the head names"
    put(records, "one more")
    with engine.write() as transaction:
        transaction.execute("DELETE FROM journal WHERE seq = (SELECT max(seq) FROM journal)")
    assert not records.is_newest(held[0])


def test_a_new_root_begins_anew(vault: Vault, records: Records, engine: SqliteEngine) -> None:
    held = fill(records, 10)
    assert records.is_newest(held[0])
    journal = Journal(vault.engine, vault.keyring)
    mark = marks(engine)
    with engine.write() as transaction:
        newest = list(journal.walk())
        journal.renew(transaction, newest)
    assert marks(engine) == {}
    with engine.write() as transaction:  # one that was kept back
        for part, sealed in mark.items():
            transaction.execute("INSERT INTO journal_marks VALUES (?, ?, ?)", (vault.id, part, sealed))
    assert all(map(records.is_newest, held))


def test_of_two_who_keep_up_at_once_one_writes(vault: Vault, records: Records, engine: SqliteEngine) -> None:
    held = fill(records, 10)
    one, two = (Bookmark(vault.engine, vault.keyring) for _ in range(2))
    assert one.state("purchases", held[0]) == two.state("purchases", held[0])
    one.keep_up()
    written = marks(engine)
    two.keep_up()
    assert marks(engine) == written
    Bookmark(vault.engine, vault.keyring).keep_up()
    assert marks(engine) == written, "nothing was asked, so nothing is kept"


def test_nothing_is_remembered_within_a_block(records: Records, engine: SqliteEngine) -> None:
    held = fill(records, 10)
    with engine.write():
        assert records.is_newest(held[0])
    assert marks(engine) == {}


def test_nothing_of_a_bookmark_is_readable_on_disk(records: Records, engine: SqliteEngine) -> None:
    held = fill(records, 10)
    assert records.is_newest(held[0])
    assert not any(held[0].encode() in sealed or b"purchases" in sealed for sealed in marks(engine).values())
