"""A new root: every way in that is hers opens everything, the old root opens nothing new."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.beside import Beside, beside, only_sqlite
from tests.conftest import PASSPHRASE
from vrm.errors import SessionExpiredError, TamperedError, UnlockError, ValidationError
from vrm.vault import chains, crypto, keyslots, rotation
from vrm.vault.journal import Journal
from vrm.vault.keyring import Keyring
from vrm.vault.keyslots import RecoverySlot
from vrm.vault.sqlite import SqliteEngine
from vrm.vault.vault import Vault, Vaults

OTHER = "a passphrase for the time after"


def book(title: str) -> dict[str, Any]:
    return {"item": {"title": title}, "context": {"for": "self"}}


@pytest.fixture
def alice(vaults: Vaults) -> tuple[Vault, str]:
    """Her vault with a few records of each kind, and the recovery code."""
    vault, code = vaults.create("alice", PASSPHRASE)
    for number in range(5):
        vault.records("purchases").put(book(f"Book {number}"))
    vault.records("preferences").put({"statement": {"topic": "novels"}})
    return vault, code


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of two, so that a small vault takes several."""
    monkeypatch.setattr(rotation, "BATCH", 2)


def titles(vault: Vault) -> list[str]:
    return sorted(document["item"]["title"] for _, document in vault.records("purchases").scan())


BOOKS = [f"Book {number}" for number in range(5)]


@pytest.fixture
def raw(folder: Path, engine: SqliteEngine) -> Iterator[Beside]:
    """The database as a thief with a pen has it."""
    with beside(folder) as connection:
        yield connection


def test_after_a_rotation_every_way_in_opens_everything(alice: tuple[Vault, str], vaults: Vaults) -> None:
    vault, code = alice
    told = vault.rotate(PASSPHRASE)
    assert (told.generation, told.dropped) == (2, ())
    assert vault.go_on_rotating() is None
    assert titles(vault) == BOOKS
    assert vault.check() == []
    opened = vaults.unlock("alice", PASSPHRASE)
    assert titles(opened) == BOOKS
    assert opened.keyring.root() == vault.keyring.root()
    recovered = vaults.recover("alice", code, OTHER)
    assert titles(recovered) == BOOKS
    assert recovered.check() == []
    assert vaults.unlock("alice", OTHER).check() == []


@pytest.mark.usefixtures("small")
def test_at_every_batch_everything_opens_and_is_as_it_was_written(
    alice: tuple[Vault, str], vaults: Vaults
) -> None:
    vaults.at_unlock = 0
    vault, code = alice
    vault.rotate(PASSPHRASE)
    seen = []
    while (left := vault.rotating()) is not None:
        seen.append(left)
        for opened in (vault, vaults.unlock("alice", PASSPHRASE), vaults.recover("alice", code, PASSPHRASE)):
            assert titles(opened) == BOOKS
            assert opened.check() == []
        vault.go_on_rotating(1)
    assert len(seen) >= 4
    assert [one.done for one in seen] == sorted(one.done for one in seen)
    assert vault.check() == []


def test_the_new_passphrase_is_the_only_one(alice: tuple[Vault, str], vaults: Vaults) -> None:
    vault, _ = alice
    vault.rotate(PASSPHRASE, OTHER)
    with pytest.raises(UnlockError):
        vaults.unlock("alice", PASSPHRASE)
    assert titles(vaults.unlock("alice", OTHER)) == BOOKS


def test_a_wrong_passphrase_changes_nothing(alice: tuple[Vault, str], vaults: Vaults) -> None:
    vault, _ = alice
    with pytest.raises(UnlockError):
        vault.rotate(OTHER)
    with pytest.raises(ValidationError):
        vault.rotate(PASSPHRASE, "short")
    assert vault.keyring.generation == vaults.unlock("alice", PASSPHRASE).keyring.generation == 1


def test_a_rotation_that_is_undone_leaves_the_keys_as_they_were(
    alice: tuple[Vault, str], vaults: Vaults
) -> None:
    vault, _ = alice
    keyring = vault.keyring

    def fail(_: object) -> None:
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"):
        vault.rotate(PASSPHRASE, OTHER, beside=fail)
    assert vault.keyring is keyring
    assert vault.rotating() is None
    vault.records("purchases").put(book("written with the keys that are still good"))
    vault.renew_vouchers()
    assert vaults.unlock("alice", PASSPHRASE).check() == []
    with pytest.raises(UnlockError):
        vaults.unlock("alice", OTHER)


@pytest.mark.usefixtures("small")
def test_progress_is_told_after_each_batch_and_reaches_its_end(alice: tuple[Vault, str]) -> None:
    vault, _ = alice
    vault.rotate(PASSPHRASE)
    told: list[rotation.Progress] = []
    assert vault.go_on_rotating(tell=told.append) is None
    assert [one.done for one in told[:3]] == [2, 4, 6]
    assert {one.total for one in told} == {6}


@pytest.mark.usefixtures("small")
def test_a_note_that_is_taken_away_in_the_middle_ends_the_run_and_is_found(
    alice: tuple[Vault, str], vaults: Vaults, raw: Beside
) -> None:
    """With it goes the only way to the old root: what was not sealed anew yet is lost, and that shows."""
    vault, _ = alice
    vault.rotate(PASSPHRASE)
    told: list[rotation.Progress] = []

    def steal(now: rotation.Progress) -> None:
        told.append(now)
        raw.execute("DELETE FROM rotations")

    assert vault.go_on_rotating(tell=steal) is None
    assert len(told) == 1
    opened = vaults.unlock("alice", PASSPHRASE)
    assert opened.check() == ["the journal's chain is broken"]
    with pytest.raises(TamperedError):
        titles(opened)


def test_sessions_end_with_their_root(alice: tuple[Vault, str], vaults: Vaults, raw: Beside) -> None:
    vault, _ = alice
    secret = vault.open_session()
    [row] = raw.execute("SELECT * FROM sessions").fetchall()
    assert vault.rotate(PASSPHRASE).sessions == 1
    with pytest.raises(SessionExpiredError):
        vaults.resume(secret)
    raw.execute(f"INSERT INTO sessions VALUES ({', '.join('?' * len(row))})", row)
    with pytest.raises(SessionExpiredError):
        vaults.resume(secret)
    assert titles(vaults.resume(vault.open_session())) == BOOKS


def test_who_holds_the_old_root_opens_nothing_of_the_new_disk(
    alice: tuple[Vault, str], engine: SqliteEngine
) -> None:
    vault, _ = alice
    stolen = Keyring(vault.id, vault.keyring.root())
    vault.rotate(PASSPHRASE, OTHER)
    fresh = vault.records("purchases").put(book("after"))
    thief = Vault(vault._vaults, stolen, "alice")
    assert engine.one("SELECT 1 FROM rotations")  # while it lasts as after it
    with pytest.raises((TamperedError, SessionExpiredError)):
        thief.records("purchases").get(fresh)
    vault.go_on_rotating()
    blobs = [
        blob
        for table in ("records", "journal", "journal_heads", "vaults", "keyslots", "heirlooms")
        for row in engine.all(f"SELECT * FROM {table}")
        for blob in row
        if isinstance(blob, bytes)
    ]
    assert blobs
    root = stolen.root().reveal()
    assert not any(root in blob for blob in blobs)
    for collection in ("purchases", "preferences"):
        for record in vault.records(collection).ids():
            with pytest.raises((TamperedError, SessionExpiredError)):
                thief.records(collection).get(record)


def test_no_byte_of_the_old_wraps_stays(alice: tuple[Vault, str], folder: Path, engine: SqliteEngine) -> None:
    vault, code = alice
    vault.open_session()
    old = [
        row[0] for row in engine.all("SELECT wrapped FROM keyslots UNION ALL SELECT wrapped FROM sessions")
    ]
    old += [row[0] for row in engine.all("SELECT body FROM records UNION ALL SELECT sealed FROM journal")]
    vault.rotate(PASSPHRASE)
    [previous] = engine.all("SELECT previous FROM rotations")
    vault.go_on_rotating()
    kept = [row[0] for row in engine.all("SELECT wrapped FROM keyslots")]
    stored = b"".join(path.read_bytes() for path in sorted(folder.iterdir()))
    assert [blob for blob in [*old, *previous] if blob not in kept and blob[-16:] in stored] == []
    vault._vaults.recover("alice", code, OTHER)  # until then its slot holds what the code opened before
    stored = b"".join(path.read_bytes() for path in sorted(folder.iterdir()))
    assert [blob for blob in [*old, *previous] if blob[-16:] in stored] == []


def test_the_recovery_code_opens_after_two_rotations_that_it_did_not_attend(
    alice: tuple[Vault, str], vaults: Vaults, engine: SqliteEngine
) -> None:
    vault, code = alice
    for generation in (2, 3):
        assert vault.rotate(PASSPHRASE).generation == generation
        vault.go_on_rotating()
    recovered = vaults.recover("alice", code, OTHER)
    assert titles(recovered) == BOOKS
    assert recovered.check() == []
    assert engine.all("SELECT DISTINCT generation, length(handed) FROM keyslots") == [(3, 0)]
    recovered.rotate(OTHER)
    recovered.go_on_rotating()
    assert titles(vaults.recover("alice", code, PASSPHRASE)) == BOOKS


def test_a_rotation_during_another_finishes_that_one_first(alice: tuple[Vault, str], vaults: Vaults) -> None:
    vault, code = alice
    vault.rotate(PASSPHRASE)
    assert vault.rotating()
    assert vault.rotate(PASSPHRASE).generation == 3
    assert titles(vaults.recover("alice", code, OTHER)) == BOOKS


def test_a_vault_opened_before_writes_nothing_more(alice: tuple[Vault, str], vaults: Vaults) -> None:
    vault, _ = alice
    earlier = vaults.unlock("alice", PASSPHRASE)
    record = earlier.records("purchases").ids()[0]
    vault.rotate(PASSPHRASE)
    for act in (
        lambda: earlier.records("purchases").put(book("too late")),
        lambda: earlier.records("purchases").remove(record),
        lambda: earlier.replace_passphrase(OTHER),
        lambda: earlier.new_recovery_code(PASSPHRASE),
        lambda: earlier.rotate(PASSPHRASE),
    ):
        with pytest.raises(SessionExpiredError):
            act()
    vault.go_on_rotating()
    with pytest.raises(SessionExpiredError):
        earlier.records("purchases").get(record)
    assert vaults.unlock("alice", PASSPHRASE).check() == []
    assert titles(vault) == BOOKS


def test_an_import_that_began_before_ends_without_a_trace(
    alice: tuple[Vault, str], engine: SqliteEngine
) -> None:
    vault, _ = alice
    records = vault.records("purchases")
    document = records.check(book("imported"))
    with records.staging() as staging:
        staging.add([(b"1" * 16, document)])
        vault.rotate(PASSPHRASE)
        assert engine.one("SELECT count(*) FROM records WHERE import > 0") == (0,)
        for act in (
            lambda: staging.add([(b"2" * 16, document)]),
            lambda: staging.replace([("0" * 32, 1, document)]),
            lambda: staging.publish(lambda _, newer: newer),
        ):
            with pytest.raises(SessionExpiredError):
                act()
    vault.go_on_rotating()
    assert titles(vault) == BOOKS
    assert vault.check() == []


@pytest.mark.usefixtures("small")
def test_edits_and_imports_go_on_while_keys_are_renewed(alice: tuple[Vault, str]) -> None:
    vault, _ = alice
    vault.rotate(PASSPHRASE)
    records = vault.records("purchases")
    edited, removed, *_ = records.ids()
    document = records.check(book("imported"))
    with records.staging() as staging:
        staging.add([(b"1" * 16, document)])
        vault.go_on_rotating(1)
        records.put(book("edited"), edited)
        records.remove(removed)
        staging.replace([(edited, records.read(edited)[1], records.check(book("imported, too")))])
        vault.go_on_rotating(2)
        staging.publish(lambda current, newer: newer)
    assert vault.check() == []
    assert vault.go_on_rotating() is None
    assert len(titles(vault)) == 5
    assert {"imported", "imported, too"} <= set(titles(vault))
    assert vault.check() == []


def test_the_journal_is_written_anew_and_counts_on(alice: tuple[Vault, str], engine: SqliteEngine) -> None:
    vault, _ = alice
    journal = Journal
    before = journal(engine, vault.keyring).position()
    vault.rotate(PASSPHRASE)
    vault.go_on_rotating()
    assert journal(engine, vault.keyring).position() > before
    assert engine.one("SELECT count(*) FROM journal") == (1,)
    vault.records("purchases").put(book("later"))
    assert vault.check() == []
    engine_row = engine.one("SELECT min(seq) FROM journal")
    with engine.write() as transaction:
        transaction.execute("DELETE FROM journal WHERE seq = ?", engine_row or ())
    assert vault.check() == ["the journal's chain is broken"]


def test_ids_and_fingerprints_stay(alice: tuple[Vault, str], vaults: Vaults) -> None:
    vault, _ = alice
    known = vault.keyring.pairwise("vendor", "purchases", "r"), vault.keyring.fingerprint("line")
    for _ in range(2):
        vault.rotate(PASSPHRASE)
        vault.go_on_rotating()
        ring = vaults.unlock("alice", PASSPHRASE).keyring
        assert (ring.pairwise("vendor", "purchases", "r"), ring.fingerprint("line")) == known


# --- who writes to the database


def test_a_planted_slot_gets_no_new_root(alice: tuple[Vault, str], raw: Beside) -> None:
    vault, _ = alice
    planted = RecoverySlot.wrap(vault.id, keyslots.new_code(), crypto.random_key(), 1)
    raw.execute(
        "INSERT INTO keyslots VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            *(planted.vault, planted.slot, planted.kind, planted.params, planted.check, planted.public),
            *(vault.vouch(planted.slot, planted.public), planted.wrapped, 1, 0, b""),  # with the server key
        ),
    )
    told = vault.rotate(PASSPHRASE)
    assert [one.slot for one in told.dropped] == [planted.slot]
    assert raw.execute("SELECT 1 FROM keyslots WHERE slot = ?", (planted.slot,)).fetchall() == []
    assert vault.problems() == []


@pytest.mark.parametrize("column", ["public", "public_mac"])
def test_a_swapped_public_key_gets_no_new_root(
    alice: tuple[Vault, str], vaults: Vaults, raw: Beside, column: str
) -> None:
    vault, code = alice
    raw.execute(
        f"UPDATE keyslots SET {column} = ? WHERE kind = 'recovery'", (crypto.public_of(crypto.random_key()),)
    )
    told = vault.rotate(PASSPHRASE)
    assert [one.kind for one in told.dropped] == ["recovery"]
    with pytest.raises(UnlockError):
        vaults.recover("alice", code, OTHER)
    assert vault.problems() == []
    fresh = vault.new_recovery_code(PASSPHRASE)
    assert titles(vaults.recover("alice", fresh, OTHER)) == BOOKS


def test_nobody_else_hands_over_a_root(alice: tuple[Vault, str], vaults: Vaults, raw: Beside) -> None:
    """With a root of his own and a roster to it, a stranger would read what she writes from then on."""
    vault, code = alice
    vault.rotate(PASSPHRASE)
    vault.go_on_rotating()
    [slot] = [slot for slot in vault.stored_slots() if slot.kind == "recovery"]
    root = crypto.random_key()
    forged = keyslots.hand_over(slot, root, 2, crypto.random_key())
    raw.execute("UPDATE keyslots SET handed = ? WHERE kind = 'recovery'", (forged.handed,))
    assert vault.problems() == [f"keyslot {slot.slot} was planted or altered"]
    roster = Keyring(vault.id, root, 2).cipher(crypto.Purpose.ROSTER)
    text = json.dumps([{slot.slot: forged.mark()}, []]).encode()
    raw.execute("UPDATE vaults SET roster = ?", (roster.seal(text),))
    with pytest.raises(TamperedError):
        vaults.recover("alice", code, OTHER)


def test_an_old_slot_put_back_opens_nothing(alice: tuple[Vault, str], vaults: Vaults, raw: Beside) -> None:
    vault, code = alice
    old = raw.execute("SELECT * FROM keyslots").fetchall()
    vault.rotate(PASSPHRASE, OTHER)
    vault.go_on_rotating()
    raw.execute("DELETE FROM keyslots")
    for row in old:
        raw.execute(f"INSERT INTO keyslots VALUES ({', '.join('?' * len(row))})", row)
    with pytest.raises(TamperedError):
        vaults.unlock("alice", PASSPHRASE)
    with pytest.raises(TamperedError):
        vaults.recover("alice", code, OTHER)


def test_an_old_state_put_back_before_is_found_afterwards(alice: tuple[Vault, str], raw: Beside) -> None:
    vault, _ = alice
    records = vault.records("purchases")
    record = records.ids()[0]
    [old] = raw.execute("SELECT revision, body FROM records WHERE record = ?", (record,)).fetchall()
    records.put(book("newer"), record)
    raw.execute("UPDATE records SET revision = ?, body = ? WHERE record = ?", (*old, record))
    gone, flipped = records.ids()[1:3]
    raw.execute("DELETE FROM records WHERE record = ?", (gone,))
    [(body,)] = raw.execute("SELECT body FROM records WHERE record = ?", (flipped,)).fetchall()
    raw.execute("UPDATE records SET body = ? WHERE record = ?", (body[:-1] + b"!", flipped))
    before = sorted(vault.check())
    assert len(before) == 3
    vault.rotate(PASSPHRASE)
    assert sorted(vault.check()) == before
    assert vault.go_on_rotating() is None
    assert sorted(vault.check()) == before


def test_a_broken_journal_stops_no_rotation_and_stays_broken(alice: tuple[Vault, str], raw: Beside) -> None:
    vault, _ = alice
    raw.execute("DELETE FROM journal WHERE seq = 2")
    assert vault.check() == ["the journal's chain is broken"]
    vault.rotate(PASSPHRASE)
    assert vault.go_on_rotating() is None
    assert vault.check() == ["the journal's chain is broken"]
    assert titles(vault) == BOOKS
    raw.execute("DELETE FROM journal_heads")
    vault.rotate(PASSPHRASE)
    assert vault.go_on_rotating() is None
    assert titles(vault) == BOOKS
    assert "the journal was cut or altered" in vault.problems()


def test_an_altered_roster_leaves_her_passphrase_as_the_only_way_in(
    alice: tuple[Vault, str], vaults: Vaults, raw: Beside
) -> None:
    vault, code = alice
    raw.execute("UPDATE vaults SET roster = x'01'")
    assert {one.kind for one in vault.rotate(PASSPHRASE).dropped} == {"passphrase", "recovery"}
    assert vault.go_on_rotating() is None
    assert vaults.unlock("alice", PASSPHRASE).check() == []
    with pytest.raises(UnlockError):
        vaults.recover("alice", code, OTHER)


@pytest.mark.parametrize(
    ("sql", "problem"),
    [
        ("UPDATE rotations SET previous = x'01'", "earlier root"),
        ("UPDATE heirlooms SET sealed = x'01'", "outlive"),
        ("DELETE FROM heirlooms", "outlive"),
    ],
)
def test_what_a_rotation_left_is_watched(
    alice: tuple[Vault, str],
    vaults: Vaults,
    raw: Beside,
    sql: str,
    problem: str,
) -> None:
    vaults.at_unlock = 0
    alice[0].rotate(PASSPHRASE)
    raw.execute(sql)
    opened = vaults.unlock("alice", PASSPHRASE)
    assert any(problem in found for found in opened.problems())


def test_a_forged_journal_of_the_old_root_is_found(
    alice: tuple[Vault, str], raw: Beside, engine: SqliteEngine
) -> None:
    """Who holds the old root and can write cannot pass off an old state while keys are renewed."""
    vault, _ = alice
    stolen = Keyring(vault.id, vault.keyring.root())
    vault.rotate(PASSPHRASE)
    [(seq,)] = raw.execute("SELECT seq FROM journal ORDER BY seq DESC LIMIT 1").fetchall()
    [(link,)] = raw.execute("SELECT sealed FROM journal WHERE seq = ?", (seq - 1,)).fetchall()
    forged = stolen.cipher(crypto.Purpose.JOURNAL).seal(b"[]", seq, crypto.digest(link))
    raw.execute("UPDATE journal SET sealed = ? WHERE seq = ?", (forged, seq))
    assert "the journal was cut or altered" in vault.problems()
    head = stolen.cipher(crypto.Purpose.JOURNAL_HEAD).seal(
        b'[%d, "%s"]' % (seq, crypto.digest(forged).hex().encode())
    )
    raw.execute("UPDATE journal_heads SET sealed = ?", (head,))
    assert "the journal was cut or altered" in vault.problems()


# --- at once


def test_of_two_rotations_at_once_one_is_made(alice: tuple[Vault, str], vaults: Vaults) -> None:
    opened = [vaults.unlock("alice", PASSPHRASE) for _ in range(4)]

    def rotate(vault: Vault) -> int:
        try:
            return vault.rotate(PASSPHRASE).generation
        except SessionExpiredError:
            return 0

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(rotate, opened)) == [0, 0, 0, 2]
    assert vaults.unlock("alice", PASSPHRASE).check() == []


@pytest.mark.usefixtures("small")
def test_many_hands_at_one_rotation_finish_it_once(alice: tuple[Vault, str], vaults: Vaults) -> None:
    vault, _ = alice
    vault.rotate(PASSPHRASE)
    opened = [Vault(vaults, vault.keyring, "alice") for _ in range(4)]

    def work(at: int) -> None:
        for turn in range(10):
            opened[at].records("purchases").put(book(f"{at}-{turn}"))
            opened[at].go_on_rotating(1)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert vault.go_on_rotating() is None
    assert vault.records("purchases").count() == 45
    assert vaults.unlock("alice", PASSPHRASE).check() == []


def test_the_plain_chains_fit_after_a_rotation(alice: tuple[Vault, str], engine: SqliteEngine) -> None:
    vault, _ = alice
    vault.rotate(PASSPHRASE)
    assert chains.problems(engine) == []
    vault.go_on_rotating()
    vault.records("purchases").put(book("later"))
    vault.records("purchases").put(book("still later"))
    assert chains.problems(engine) == []
    with engine.write() as transaction:
        transaction.execute("DELETE FROM journal WHERE seq = (SELECT max(seq) - 1 FROM journal)")
    assert len(chains.problems(engine)) == 1


# --- the note of how far it is


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE rotations SET part = 'mailbox', after = 'items:x/y'",
        "UPDATE rotations SET part = 'records', after = '999999999'",
        "UPDATE rotations SET part = 'mailbox', after = '7'",
        pytest.param("UPDATE rotations SET part = 'nobody', after = x'ff'", marks=only_sqlite),
        pytest.param("UPDATE rotations SET done = 'x', total = x'ff'", marks=only_sqlite),
        "UPDATE rotations SET part = 'nobody', after = '\\xff'",
    ],
)
def test_an_altered_note_of_how_far_it_is_costs_no_record(
    alice: tuple[Vault, str], vaults: Vaults, raw: Beside, sql: str
) -> None:
    alice[0].rotate(PASSPHRASE)
    raw.execute(sql)
    opened = vaults.unlock("alice", PASSPHRASE)
    assert opened.rotating() is None
    assert opened.check() == []
    assert titles(opened) == BOOKS


@pytest.mark.parametrize("column", ["parts", "after"])
def test_an_altered_note_of_how_far_it_is_keeps_nobody_out_and_is_named(
    alice: tuple[Vault, str], vaults: Vaults, raw: Beside, column: str
) -> None:
    vaults.at_unlock = 0
    alice[0].rotate(PASSPHRASE)
    raw.execute(f"UPDATE rotations SET {column} = '[{{'")
    opened = vaults.unlock("alice", PASSPHRASE)
    assert titles(opened) == BOOKS
    assert any("how far" in problem for problem in opened.problems())


@only_sqlite
@pytest.mark.parametrize("size", [1, 2, 500])
def test_planted_rows_lead_past_no_record(
    alice: tuple[Vault, str],
    vaults: Vaults,
    raw: Beside,
    monkeypatch: pytest.MonkeyPatch,
    size: int,
) -> None:
    monkeypatch.setattr(rotation, "BATCH", size)
    vault = alice[0]
    for collection, record in (("x'6161'", "x'00'"), ("'a/b'", "'c'"), ("'z'", "x'ffff'"), ("''", "'/'")):
        raw.execute(f"INSERT INTO records VALUES (?, {collection}, {record}, 1, 0, NULL, x'00')", (vault.id,))
    vault.rotate(PASSPHRASE)
    assert vault.go_on_rotating() is None
    assert titles(vaults.unlock("alice", PASSPHRASE)) == BOOKS
