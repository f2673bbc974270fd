"""The log: what was done to it is found, whoever did it; each process and thread writes its own chain."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import cast

import pytest

from tests.attacks.actors import Customer, Vendor
from tests.conftest import SettableClock
from tests.postgres import IN_ORDER
from vrm.consent import disclosures, segments
from vrm.consent.disclosures import EVENTS, Disclosures
from vrm.consent.service import Consent
from vrm.errors import StorageError, TamperedError
from vrm.vault import crypto
from vrm.vault.crypto import Cipher, Key, Purpose
from vrm.vault.engine import Transaction
from vrm.vault.sqlite import SqliteEngine


@pytest.fixture
def read(customer: Customer, vendor: Vendor, books: list[str], consent: Consent) -> str:
    """A grant, some readings, and an unlock that sealed the heads of the log."""
    tokens = vendor.connect(customer)
    for _ in range(3):
        vendor.read(tokens.access_token)
    assert consent.at_unlock(customer.vault) == []
    return tokens.access_token


def run(engine: SqliteEngine, sql: str, *parameters: object) -> None:
    with engine.write() as transaction:
        transaction.execute(sql, parameters)


def in_new_segment(consent: Consent) -> None:
    """As a process that starts anew."""
    consent.log.here.forget()


def test_a_reading_is_told_with_who_what_and_how_much(
    customer: Customer, vendor: Vendor, read: str, clock: SettableClock
) -> None:
    newest = customer.consent.log.read(customer.vault, 1)[0]
    assert (newest.event, newest.count, newest.stream) == ("read", 3, "purchases")
    assert newest.scopes == ("purchases.item:read",)
    assert newest.client_id == vendor.registered.client_id
    assert newest.vendor_name == "Corner Books"
    assert newest.at == clock.now()
    assert customer.events() == ["read", "read", "read", "connected", "granted"]


def test_older_entries_come_page_by_page(customer: Customer, read: str, clock: SettableClock) -> None:
    log = customer.consent.log
    first = log.read(customer.vault, 2)
    rest = log.read(customer.vault, 10, (clock.now(), 2))
    assert len(first) + len(rest) == log.count(customer.vault) == 5
    assert log.read(customer.vault, 10, (clock.now() - 1, 0)) == []


SPOILT = "CAST(x'00' || substr(sealed, 2) AS BLOB)"
CUT = "CAST(substr(sealed, 1, length(sealed) - 1) || x'00' AS BLOB)"
ALTERATIONS = {
    "edited": f"UPDATE log_entries SET sealed = {SPOILT} WHERE seq = 2",
    "its time edited": "UPDATE log_entries SET at = at - 1 WHERE seq = 2",
    "its last byte edited": f"UPDATE log_entries SET sealed = {CUT} WHERE seq = 5",
    "dropped": "DELETE FROM log_entries WHERE seq = 2",
    "the first dropped": "DELETE FROM log_entries WHERE seq = 1",
    "the tail cut": "DELETE FROM log_entries WHERE seq >= 4",
    "the last cut": "DELETE FROM log_entries WHERE seq = 5",
    "all cut": "DELETE FROM log_entries",
    "renumbered": "UPDATE log_entries SET seq = seq + 10",
    "the segment cut": "DELETE FROM log_segments",
    "the segment's key altered": "UPDATE log_segments SET sealed_key = zeroblob(81)",
    "the segment's key exchanged": "UPDATE log_segments SET sealed_key = CAST(x'01' || zeroblob(80) AS BLOB)",
    "the heads altered": "UPDATE log_heads SET sealed = x'00'",
    "the heads taken away": "DELETE FROM log_heads",
}


@pytest.mark.parametrize("how", ALTERATIONS)
def test_an_altered_log_is_found(how: str, customer: Customer, read: str, engine: SqliteEngine) -> None:
    assert customer.consent.log.problems(customer.vault) == []
    run(engine, ALTERATIONS[how])
    assert customer.consent.log.problems(customer.vault) != []
    assert customer.consent.at_unlock(customer.vault) != []
    assert customer.consent.at_unlock(customer.vault) != [], "an unlock must not bless what it found"


def test_a_chain_rewritten_by_who_holds_its_key_is_found_by_what_she_saw_of_it(
    customer: Customer, read: str, engine: SqliteEngine
) -> None:
    """The process that writes a segment has its key, and could write it anew from the start."""
    vault, log = customer.vault, customer.consent.log
    [(segment, sealed_key)] = engine.all("SELECT segment, sealed_key FROM log_segments")
    private = vault.keyring.log_private()
    key = Key(crypto.open_sealed(private, sealed_key, Purpose.LOG_SEGMENT, vault.id, segment))
    cipher, link = Cipher(key, Purpose.LOG_ENTRY, vault.id, segment), bytes(32)
    for seq, at in engine.all("SELECT seq, at FROM log_entries ORDER BY seq"):
        sealed = cipher.seal(b'{"event": "read", "count": 0}', seq, link, at)
        run(engine, "UPDATE log_entries SET sealed = ? WHERE seq = ?", sealed, seq)
        link = crypto.digest(sealed)
    assert {entry.count for entry in log.read(vault)} == {0}, (
        "each entry opens and follows from the one before"
    )
    assert log.problems(vault) == [f"the log was altered or cut (segment {segment.hex()[:8]})"]


def test_swapped_entries_are_found(customer: Customer, read: str, engine: SqliteEngine) -> None:
    run(engine, "UPDATE log_entries SET seq = 100 WHERE seq = 2")
    run(engine, "UPDATE log_entries SET seq = 2 WHERE seq = 3")
    run(engine, "UPDATE log_entries SET seq = 3 WHERE seq = 100")
    assert len(customer.consent.log.problems(customer.vault)) == 1


def test_a_log_taken_away_whole_is_found(customer: Customer, read: str, engine: SqliteEngine) -> None:
    for table in ("log_entries", "log_segments", "log_heads"):
        run(engine, f"DELETE FROM {table}")
    assert customer.consent.log.problems(customer.vault) != []


def test_a_log_taken_away_after_all_grants_ended_is_found(
    customer: Customer, read: str, engine: SqliteEngine
) -> None:
    [shown] = customer.consent.grants.listing(customer.vault)
    customer.consent.grants.revoke(customer.vault, shown.id)
    for table in ("log_entries", "log_segments", "log_heads"):
        run(engine, f"DELETE FROM {table}")
    assert customer.consent.log.problems(customer.vault) != []


def test_entries_moved_to_another_segment_are_found(
    customer: Customer, read: str, engine: SqliteEngine, vendor: Vendor
) -> None:
    in_new_segment(customer.consent)
    vendor.read(read)
    first, second = (row[0] for row in engine.all("SELECT DISTINCT segment FROM log_entries"))
    run(engine, "UPDATE log_entries SET segment = ?, seq = seq + 5 WHERE segment = ?", first, second)
    assert customer.consent.log.problems(customer.vault) != []


def test_a_segment_cut_after_the_unlock_is_found_by_the_next_heads_only(
    customer: Customer, vendor: Vendor, read: str, engine: SqliteEngine
) -> None:
    """The limit, said openly: a whole segment since the last unlock can be cut unseen; older ones not."""
    in_new_segment(customer.consent)
    vendor.read(read)
    newest = engine.all(f"SELECT segment FROM log_entries ORDER BY {IN_ORDER} DESC LIMIT 1")[0][0]
    assert customer.consent.at_unlock(customer.vault) == []
    for table in ("log_entries", "log_segments"):
        run(engine, f"DELETE FROM {table} WHERE segment = ?", newest)
    assert customer.consent.log.problems(customer.vault) == [
        f"a part of the log is missing (segment {newest.hex()[:8]})"
    ]


def test_what_does_not_open_is_not_shown(customer: Customer, read: str, engine: SqliteEngine) -> None:
    run(engine, f"UPDATE log_entries SET sealed = {SPOILT} WHERE seq = 3")
    assert len(customer.consent.log.read(customer.vault)) == 3
    run(engine, "UPDATE log_heads SET sealed = x'00'")
    assert len(customer.consent.log.read(customer.vault)) == 3


def test_a_log_outlives_its_server_key(customer: Customer, read: str, engine: SqliteEngine) -> None:
    """Segments that were seen at an unlock need no voucher; newer ones are named."""
    run(engine, "UPDATE log_segments SET mac = zeroblob(32)")
    assert len(customer.consent.log.read(customer.vault)) == 5
    assert customer.consent.log.problems(customer.vault) == []


def test_a_rolled_back_entry_leaves_no_gap(
    customer: Customer, vendor: Vendor, read: str, engine: SqliteEngine
) -> None:
    log, before = customer.consent.log, customer.consent.log.count(customer.vault)

    def fail() -> None:
        with engine.write() as transaction:
            log.note(transaction, customer.vault.id, "read")
            log.note(transaction, customer.vault.id, "read")
            raise StorageError

    with pytest.raises(StorageError):
        fail()
    vendor.read(read)
    assert log.count(customer.vault) == before + 1
    assert log.problems(customer.vault) == []


def test_the_first_entry_of_a_segment_rolled_back_leaves_no_segment(
    customer: Customer, vendor: Vendor, read: str, engine: SqliteEngine
) -> None:
    in_new_segment(customer.consent)

    def fail() -> None:
        with engine.write() as transaction:
            customer.consent.log.note(transaction, customer.vault.id, "read")
            raise StorageError

    with pytest.raises(StorageError):
        fail()
    vendor.read(read)
    assert len(customer.consent.log.read(customer.vault)) == 6
    assert customer.consent.log.problems(customer.vault) == []


def test_every_thread_writes_its_own_chain(customer: Customer, vendor: Vendor, read: str) -> None:
    threads = [threading.Thread(target=lambda: [vendor.read(read) for _ in range(5)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert customer.consent.log.count(customer.vault) == 25
    assert len(customer.consent.log.read(customer.vault)) == 25
    assert customer.consent.log.problems(customer.vault) == []


def test_a_forked_process_does_not_continue_its_parents_chain(
    customer: Customer, vendor: Vendor, read: str, engine: SqliteEngine
) -> None:
    child = os.fork()
    if child == 0:
        status = 1
        try:
            vendor.read(read)
            status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    vendor.read(read)
    assert len(engine.all("SELECT DISTINCT segment FROM log_entries")) == 2
    assert len(customer.consent.log.read(customer.vault)) == 7
    assert customer.consent.log.problems(customer.vault) == []


def test_long_chains_and_many_vaults_start_new_segments(
    customer: Customer, vendor: Vendor, read: str, engine: SqliteEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disclosures, "_LONGEST_SEGMENT", 6)
    monkeypatch.setattr(segments, "MOST", 1)
    bob = customer.vault._vaults.create("bob", "another good passphrase")[0]
    for _ in range(3):
        vendor.read(read)
        with engine.write() as transaction:
            customer.consent.log.note(transaction, bob.id, "declined")
    assert len(engine.all("SELECT 1 FROM log_segments")) >= 4
    assert customer.consent.log.problems(customer.vault) == []
    assert len(customer.consent.log.read(bob)) == 3


def test_threads_of_one_process_go_on_with_one_chain_and_those_side_by_side_begin_their_own(
    customer: Customer, vendor: Vendor, read: str, engine: SqliteEngine
) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: vendor.read(read), range(24)))
    begun = len(engine.all("SELECT 1 FROM log_segments"))
    assert begun == 1 if isinstance(engine, SqliteEngine) else begun <= 5  # who waits may not see it put back
    here = customer.consent.log.here
    here.forget()
    vendor.read(read)  # one chain rests, of however many there were
    with engine.write() as transaction:
        assert here.taken(transaction, customer.vault.id)
        with ThreadPoolExecutor(1) as pool:  # as with an engine that lets vaults write side by side
            assert pool.submit(here.taken, cast(Transaction, Callbacks()), customer.vault.id).result() is None
    assert customer.consent.log.problems(customer.vault) == []


def test_a_process_with_another_number_goes_on_with_no_chain_of_its_parents(
    customer: Customer, vendor: Vendor, read: str, engine: SqliteEngine
) -> None:
    vendor.read(read)
    customer.consent.log.here._process = 0
    vendor.read(read)
    assert len(engine.all("SELECT DISTINCT segment FROM log_entries")) == 2
    assert customer.consent.log.problems(customer.vault) == []


def test_what_was_undone_ends_its_chain(
    customer: Customer, vendor: Vendor, read: str, engine: SqliteEngine
) -> None:
    vendor.read(read)
    with pytest.raises(ZeroDivisionError), engine.write() as transaction:  # noqa: PT012
        customer.consent.log.note(transaction, customer.vault.id, "declined")
        raise ZeroDivisionError
    vendor.read(read)
    assert len(engine.all("SELECT DISTINCT segment FROM log_entries")) == 2
    assert customer.consent.log.problems(customer.vault) == []


class Callbacks:
    """A transaction of which only the end matters."""

    def on_commit(self, act: object) -> None:
        """Never ends."""

    on_rollback = on_commit


def test_an_event_that_is_not_in_the_table_is_misuse(customer: Customer, engine: SqliteEngine) -> None:
    with pytest.raises(ValueError, match="looked"), engine.write() as transaction:
        customer.consent.log.note(transaction, customer.vault.id, "looked")
    assert len(set(EVENTS)) == len(EVENTS)


def test_nothing_is_written_for_an_unknown_vault(consent: Consent, engine: SqliteEngine) -> None:
    with pytest.raises(TamperedError), engine.write() as transaction:
        consent.log.note(transaction, "nobody", "read")


@pytest.mark.parametrize("act", [Disclosures.read, Disclosures.problems])
def test_another_customer_reads_nothing(
    act: Callable[..., list[object]], customer: Customer, read: str, consent: Consent
) -> None:
    mallory = customer.vault._vaults.create("mallory", "another good passphrase")[0]
    assert act(consent.log, mallory) == []


def test_the_name_of_an_altered_grant_is_left_open(
    customer: Customer, read: str, engine: SqliteEngine
) -> None:
    run(engine, "UPDATE grants SET agreement = x'00'")
    assert customer.consent.log.read(customer.vault, 1)[0].vendor_name == ""
