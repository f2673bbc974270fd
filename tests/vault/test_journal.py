"""The chain of changes: what is appended is walked, what is cut, swapped or edited is found."""

import pytest

from vrm.errors import TamperedError
from vrm.vault.journal import Journal, Noted, body_hash
from vrm.vault.sqlite import SqliteEngine
from vrm.vault.vault import Vault


@pytest.fixture
def journal(vault: Vault) -> Journal:
    return Journal(vault.engine, vault.keyring)


def notes(count: int, start: int = 0) -> list[Noted]:
    return [
        Noted("purchases", f"{number:032x}", 1, body_hash(b"body")) for number in range(start, start + count)
    ]


def append(engine: SqliteEngine, journal: Journal, changes: list[Noted]) -> None:
    with engine.write() as transaction:
        journal.append(transaction, changes)


def test_a_new_journal_is_empty_and_sound(journal: Journal) -> None:
    assert list(journal.walk()) == []
    assert journal.check_head()
    assert journal.position() == 0


def test_changes_come_back_in_their_order(engine: SqliteEngine, journal: Journal) -> None:
    append(engine, journal, notes(3))
    append(engine, journal, [Noted("profile", "p", 0, "")])
    assert list(journal.walk()) == [*notes(3), Noted("profile", "p", 0, "")]
    assert journal.position() == 2
    assert journal.check_head()


def test_many_changes_are_several_entries(engine: SqliteEngine, journal: Journal) -> None:
    append(engine, journal, notes(1201))
    assert journal.position() == 3
    assert list(journal.walk()) == notes(1201)


def test_entries_of_similar_changes_have_one_length(engine: SqliteEngine, journal: Journal) -> None:
    append(engine, journal, notes(1))
    append(engine, journal, [Noted("purchases", "f" * 32, 0, "")])
    append(engine, journal, [Noted("preferences", "f" * 32, 999, body_hash(b"x"))])
    assert len({len(row[0]) for row in engine.all("SELECT sealed FROM journal")}) == 1


def test_changes_between_two_positions_are_found(engine: SqliteEngine, journal: Journal) -> None:
    append(engine, journal, notes(501))
    append(engine, journal, notes(2, start=600))
    append(engine, journal, notes(1, start=700))
    assert journal.between(0, 2) == notes(501)
    assert journal.between(2, 3) == notes(2, start=600)
    assert journal.between(1, 99) == [*notes(1, start=500), *notes(2, start=600), *notes(1, start=700)]
    assert journal.between(3, 3) == journal.between(4, 9) == journal.between(3, 1) == []


def test_between_positions_harm_is_found_as_well(engine: SqliteEngine, journal: Journal) -> None:
    for start in range(3):
        append(engine, journal, notes(1, start=start))
    with engine.write() as transaction:
        transaction.execute("DELETE FROM journal WHERE seq = 2")
    with pytest.raises(TamperedError):
        journal.between(1, 3)


def test_what_was_noted_before_a_chain_began_anew_is_gone(engine: SqliteEngine, journal: Journal) -> None:
    append(engine, journal, notes(2))
    append(engine, journal, notes(1, start=5))
    with engine.write() as transaction:
        journal.renew(transaction, notes(3))
    assert journal.between(0, 2) == journal.between(1, 9) == []
    assert journal.between(2, 3) == notes(3)


def test_an_undone_change_leaves_no_trace(engine: SqliteEngine, journal: Journal) -> None:
    append(engine, journal, notes(1))

    def fail() -> None:
        with engine.write() as transaction:
            journal.append(transaction, notes(2, start=1))
            raise LookupError

    with pytest.raises(LookupError):
        fail()
    assert list(journal.walk()) == notes(1)
    assert journal.check_head()


@pytest.mark.parametrize("seq", range(1, 6))
@pytest.mark.parametrize(
    "harm",
    [
        "DELETE FROM journal WHERE seq = {seq}",
        "UPDATE journal SET sealed = substr(sealed, 1, length(sealed) - 1) WHERE seq = {seq}",
        "UPDATE journal SET sealed = zeroblob(300) WHERE seq = {seq}",
        "UPDATE journal SET seq = 99 WHERE seq = {seq}",
        "UPDATE journal SET sealed = (SELECT j.sealed FROM journal j WHERE j.seq = {seq} % 5 + 1)"
        " WHERE seq = {seq}",
    ],
)
def test_harm_at_any_entry_is_found(engine: SqliteEngine, journal: Journal, seq: int, harm: str) -> None:
    for number in range(5):
        append(engine, journal, notes(1, start=number))
    with engine.write() as transaction:
        transaction.execute(harm.format(seq=seq))
    with pytest.raises(TamperedError):
        list(journal.walk())
    if seq == 5:
        assert not journal.check_head()


def test_an_entry_added_by_somebody_is_found(engine: SqliteEngine, journal: Journal, vault: Vault) -> None:
    append(engine, journal, notes(1))
    with engine.write() as transaction:
        transaction.execute("INSERT INTO journal SELECT vault, 2, sealed FROM journal")
    assert not journal.check_head()
    with pytest.raises(TamperedError):
        list(journal.walk())


def test_without_its_head_nothing_is_appended(engine: SqliteEngine, journal: Journal) -> None:
    with engine.write() as transaction:
        transaction.execute("DELETE FROM journal_heads")
    assert not journal.check_head()
    with pytest.raises(TamperedError):
        append(engine, journal, notes(1))


def test_nothing_of_a_journal_is_readable_on_disk(engine: SqliteEngine, journal: Journal) -> None:
    append(engine, journal, notes(1, start=7))
    (row,) = engine.all("SELECT sealed FROM journal")
    assert b"purchases" not in row[0]
    assert notes(1, start=7)[0].record.encode() not in row[0]
