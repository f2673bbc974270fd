"""The outbox: each event until it is answered, one at a time to each vendor, whoever sends."""

from __future__ import annotations

from typing import Any

import pytest

from tests.attacks.actors import Customer, Vendor
from tests.beside import only_sqlite
from tests.conftest import SettableClock
from vrm.consent import events, outbox
from vrm.consent.grants import DAY
from vrm.consent.outbox import Outbox, Sending, Turn
from vrm.consent.service import Consent
from vrm.vault.sqlite import SqliteEngine

HERE = "https://books.example/events"


@pytest.fixture
def vendor(consent: Consent) -> Vendor:
    return Vendor.register(consent, events_uri=HERE)


@pytest.fixture
def grants(customer: Customer, vendor: Vendor, books: list[str]) -> list[str]:
    return [vendor.connect(customer, days=30).grant_id for _ in range(3)]


@pytest.fixture
def out(customer: Customer, consent: Consent, grants: list[str]) -> Outbox:
    """With the ends of three grants to tell."""
    for grant_id in grants:
        consent.grants.revoke(customer.vault, grant_id)
    consent.outbox.address()
    return consent.outbox


def taken(out: Outbox) -> Turn:
    turn = out.take()
    assert turn is not None
    return turn


def following(out: Outbox, turn: Turn) -> Sending:
    sending = out.next(turn)
    assert sending is not None
    return sending


def alter(engine: SqliteEngine, sql: str, *values: Any) -> None:
    with engine.write() as transaction:
        transaction.execute(sql, values)


def states(out: Outbox, grant_id: str) -> list[str]:
    return [one.state for one in out.told(grant_id)]


def test_events_of_one_vendor_go_out_in_the_order_in_which_they_happened(
    out: Outbox, grants: list[str]
) -> None:
    turn = taken(out)
    for grant_id in grants:
        sending = following(out, turn)
        assert sending.notice.grant_id == grant_id
        out.acknowledged(turn, sending)
    assert out.next(turn) is None
    assert out.take() is None


def test_only_one_worker_at_a_time_sends_to_a_vendor(out: Outbox) -> None:
    turn = taken(out)
    assert out.take() is None
    out.release(turn)
    assert out.take() is not None


def test_two_vendors_are_served_at_once(
    customer: Customer, consent: Consent, out: Outbox, clock: SettableClock
) -> None:
    other = Vendor.register(consent, "Other Books", events_uri=HERE)
    consent.grants.revoke(customer.vault, other.connect(customer).grant_id)
    out.address()
    assert taken(out).queue != taken(out).queue


def test_a_worker_that_died_keeps_nobody_waiting_for_longer_than_its_lease(
    out: Outbox, grants: list[str], clock: SettableClock
) -> None:
    dead = taken(out)
    first = following(out, dead)
    clock.forward(outbox.LEASE - 1)
    assert out.take() is None
    clock.forward(1)
    turn = taken(out)
    again = following(out, turn)
    assert again.notice == first.notice  # the same jti, so that the vendor knows it
    assert out.next(dead) is None  # it was not dead after all, and stops
    out.failed(dead, first, "late")  # nor does it end the turn of who came after
    assert out.take() is None
    out.acknowledged(dead, first)  # but what the vendor has taken, it has taken
    assert states(out, grants[0]) == ["acknowledged"]
    out.failed(turn, again, "late")
    assert states(out, grants[0]) == ["acknowledged"]


def test_a_vendor_that_fails_is_left_alone_for_longer_each_time(
    out: Outbox, grants: list[str], clock: SettableClock
) -> None:
    waits = []
    for _ in range(4):
        turn = taken(out)
        sending = following(out, turn)
        assert sending.notice.grant_id == grants[0]  # those behind it wait
        out.failed(turn, sending, "http-500")
        wait = 0
        while out.take() is None:
            clock.forward(10)
            wait += 10
        clock.forward(outbox.LEASE)  # what was just taken is free again
        waits.append(wait)
    assert all(2**n * 60 * 0.75 <= wait <= 2**n * 60 * 1.25 + 10 for n, wait in enumerate(waits))


def test_an_answer_ends_the_waiting(out: Outbox, clock: SettableClock) -> None:
    turn = taken(out)
    out.failed(turn, following(out, turn), "http-500")
    clock.forward(100)
    turn = taken(out)
    out.acknowledged(turn, following(out, turn))
    out.failed(turn, following(out, turn), "http-500")
    clock.forward(75)
    assert out.take() is not None


@pytest.mark.parametrize("failures", [1, 2, 9, 10, 1000])
def test_pauses_double_from_a_minute_to_six_hours_and_differ(failures: int) -> None:
    expected = min(60 * 2 ** (failures - 1), 6 * 3600)
    pauses = {outbox.pause(failures) for _ in range(50)}
    assert len(pauses) > 5
    assert all(0.75 * expected - 1 <= one <= 1.25 * expected for one in pauses)


def test_a_refusal_is_kept_and_the_next_goes_out(
    out: Outbox, grants: list[str], clock: SettableClock
) -> None:
    turn = taken(out)
    out.refused(turn, following(out, turn), "invalid_audience")
    assert following(out, turn).notice.grant_id == grants[1]
    [told] = out.told(grants[0])
    assert (told.state, told.begun, told.answered) == ("refused", clock.now(), clock.now())


def test_after_three_days_an_event_is_given_up_and_that_is_shown(
    customer: Customer,
    consent: Consent,
    out: Outbox,
    grants: list[str],
    vendor: Vendor,
    engine: SqliteEngine,
    clock: SettableClock,
) -> None:
    later = vendor.connect(customer, days=30).grant_id
    turn = taken(out)
    out.failed(turn, following(out, turn), "http-500")
    clock.forward(DAY)
    consent.grants.revoke(customer.vault, later)
    out.address()
    clock.forward(2 * DAY)
    alter(engine, "UPDATE event_queues SET failures = ?", outbox.ENOUGH)
    turn = taken(out)
    assert following(out, turn).notice.grant_id == later
    assert [states(out, grant_id) for grant_id in grants] == [["given-up"]] * 3
    assert out.waiting() == 1


def test_a_clock_that_jumps_gives_nothing_up(out: Outbox, grants: list[str], clock: SettableClock) -> None:
    turn = taken(out)
    out.failed(turn, following(out, turn), "http-500")
    clock.forward(400 * DAY)
    turn = taken(out)
    assert following(out, turn).notice.grant_id == grants[0]
    assert [states(out, grant_id) for grant_id in grants] == [["waiting"]] * 3


def test_what_waited_for_a_worker_for_weeks_is_told_as_of_now(
    out: Outbox, engine: SqliteEngine, clock: SettableClock
) -> None:
    happened = clock.now()
    clock.forward(50 * DAY)
    out.sweep()
    turn = taken(out)
    first = following(out, turn).notice
    assert (first.at, first.issued) == (happened, clock.now())
    out.release(turn)
    clock.forward(100)
    assert following(out, taken(out)).notice == first  # the same bytes at each try


def test_an_answer_is_never_taken_for_that_of_another_event(
    customer: Customer, vendor: Vendor, consent: Consent, books: list[str], clock: SettableClock
) -> None:
    grant_id = vendor.connect(customer, days=30).grant_id
    customer.change(books[0], "item", title="Another")
    clock.forward(events.SETTLE)
    consent.outbox.address()
    turn = taken(consent.outbox)
    change = following(consent.outbox, turn)
    consent.grants.revoke(customer.vault, grant_id)  # meanwhile: it takes the change's place in the table
    consent.outbox.acknowledged(turn, change)
    consent.outbox.failed(turn, change, "late")
    assert [(one.kind, one.state) for one in consent.outbox.told(grant_id)] == [
        ("consent-revoked", "waiting")
    ]


def test_what_a_vendor_confirmed_stands_in_her_log(
    customer: Customer, vendor: Vendor, consent: Consent, books: list[str], clock: SettableClock
) -> None:
    grant_id = vendor.connect(customer, days=30).grant_id
    consent.grants.narrow(customer.vault, grant_id, days=10)
    consent.grants.narrow(customer.vault, grant_id, exclude=frozenset({books[0]}))
    consent.outbox.address()
    turn = taken(consent.outbox)
    consent.outbox.acknowledged(turn, following(consent.outbox, turn))
    assert consent.outbox.next(turn) is None
    consent.grants.revoke(customer.vault, grant_id, erase=True)
    consent.outbox.address()
    turn = taken(consent.outbox)
    consent.outbox.acknowledged(turn, first := following(consent.outbox, turn))
    consent.outbox.acknowledged(turn, first)
    consent.outbox.acknowledged(turn, following(consent.outbox, turn))
    assert customer.events()[:4] == ["erase-confirmed", "end-confirmed", "erase-asked", "revoked"]
    [entry] = [one for one in consent.log.read(customer.vault, 9) if one.event == "end-confirmed"]
    assert (entry.grant_id, entry.vendor_name) == (grant_id, "Corner Books")


def test_a_log_that_takes_no_entry_keeps_no_answer_out(
    out: Outbox, grants: list[str], engine: SqliteEngine
) -> None:
    alter(engine, "UPDATE vaults SET log_public = x'00', log_mac = x'00'")
    alter(engine, "DELETE FROM log_segments")
    out._log.here.forget()
    turn = taken(out)
    out.acknowledged(turn, following(out, turn))
    assert states(out, grants[0]) == ["acknowledged"]


def test_what_is_settled_keeps_neither_routing_nor_queue(out: Outbox, engine: SqliteEngine) -> None:
    turn = taken(out)
    out.acknowledged(turn, following(out, turn))
    out.refused(turn, following(out, turn), "no")
    kept = "SELECT count(*) FROM events WHERE state <> 'waiting' AND (queue IS NOT NULL OR routing <> x'')"
    assert engine.one(kept) == (0,)


def test_a_vendor_without_an_address_has_no_events(
    customer: Customer, consent: Consent, books: list[str], engine: SqliteEngine
) -> None:
    silent = Vendor.register(consent, "Silent Books")
    consent.grants.revoke(customer.vault, silent.connect(customer).grant_id)
    assert consent.outbox.address() == 1
    assert consent.outbox.address() == 0
    assert engine.one("SELECT count(*) FROM events") == (0,)


def test_an_address_taken_away_meanwhile_is_not_called(
    vendor: Vendor, consent: Consent, out: Outbox, engine: SqliteEngine
) -> None:
    alter(engine, "DELETE FROM vendors")
    turn = taken(out)
    assert out.next(turn) is None
    assert engine.one("SELECT count(*) FROM events") == (0,)


@only_sqlite
@pytest.mark.parametrize("column", ["routing", "grant_id"])
def test_an_event_whose_grant_is_not_its_own_goes_nowhere(
    out: Outbox, engine: SqliteEngine, grants: list[str], column: str
) -> None:
    value = "x'00'" if column == "routing" else "(SELECT grant_id FROM events WHERE place = 3)"
    alter(engine, f"UPDATE events SET {column} = {value}, queue = NULL WHERE place = 1")
    out.address()
    turn = taken(out)
    assert following(out, turn).grant_id == grants[1]


@pytest.mark.parametrize("kind", ["consent-revoked", "consent-expired", "erase-requested", "birthday"])
def test_what_somebody_wrote_into_the_table_ends_no_living_grant(
    customer: Customer, vendor: Vendor, out: Outbox, engine: SqliteEngine, kind: str
) -> None:
    living = vendor.connect(customer, days=30).grant_id
    alter(
        engine,
        "INSERT INTO events (jti, grant_id, kind, at, due, routing, state, tries, answer)"
        " SELECT 'planted', grant_id, ?, 1, 1, routing, 'waiting', 0, '' FROM grants WHERE grant_id = ?",
        kind,
        living,
    )
    alter(engine, "UPDATE events SET at = ?, due = 1", customer.consent.outbox._clock.now())
    out.address()
    turn = taken(out)
    sent = []
    while sending := out.next(turn):
        sent.append(sending.notice.jti)
        out.acknowledged(turn, sending)
    assert len(sent) == 3
    assert "planted" not in sent


def test_a_change_of_a_grant_that_has_ended_is_not_told(
    out: Outbox, grants: list[str], engine: SqliteEngine
) -> None:
    alter(engine, "UPDATE events SET kind = 'data-changed' WHERE place = 1")
    assert following(out, taken(out)).grant_id == grants[1]


def test_leases_and_pauses_from_before_the_clock_was_put_back_hold_nobody_up(
    out: Outbox, engine: SqliteEngine, clock: SettableClock
) -> None:
    turn = taken(out)
    clock.forward(-2 * outbox.LEASE)
    turn = taken(out)
    alter(engine, "UPDATE event_queues SET failures = 20")
    out.failed(turn, following(out, turn), "http-500")
    clock.forward(-10 * DAY)
    assert out.take() is not None


def test_another_takes_the_queue_between_looking_and_taking(
    out: Outbox, engine: SqliteEngine, clock: SettableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = engine.all

    def too_late(sql: str, values: Any = ()) -> Any:
        found = looked(sql, values)
        if "DISTINCT" in sql:
            alter(engine, "UPDATE event_queues SET holder = x'01', lease = ?", clock.now() + 10)
        return found

    monkeypatch.setattr(engine, "all", too_late)
    assert out.take() is None


def test_the_sweep_forgets_queues_that_are_empty(out: Outbox, engine: SqliteEngine) -> None:
    turn = taken(out)
    while sending := out.next(turn):
        out.sweep()
        assert engine.one("SELECT count(*) FROM event_queues") == (1,)
        out.acknowledged(turn, sending)
    out.sweep()
    assert engine.one("SELECT count(*) FROM event_queues") == (0,)


@only_sqlite
def test_a_row_of_another_kind_of_value_stops_no_other(
    out: Outbox, engine: SqliteEngine, grants: list[str]
) -> None:
    alter(engine, "UPDATE events SET jti = x'00ff' WHERE place = 1")
    assert following(out, taken(out)).grant_id == grants[1]


def test_a_grant_that_took_anothers_place_is_told_by_the_name_that_its_vendor_knows(
    out: Outbox, grants: list[str], engine: SqliteEngine
) -> None:
    alter(engine, "UPDATE grants SET public_id = 'first' WHERE grant_id = ?", grants[0])
    sending = following(out, taken(out))
    assert (sending.grant_id, sending.notice.grant_id) == (grants[0], "first")


def test_a_grant_whose_place_was_taken_is_told_as_amended(
    customer: Customer, vendor: Vendor, consent: Consent, books: list[str], clock: SettableClock
) -> None:
    from vrm.consent import endings

    grant_id = vendor.connect(customer, days=30).grant_id
    with consent.outbox._engine.write() as transaction:
        assert endings.end(transaction, grant_id, "replaced", clock.now())
    consent.outbox.address()
    assert following(consent.outbox, taken(consent.outbox)).notice.kind == events.AMENDED


@only_sqlite
def test_an_event_of_no_grant_goes_and_keeps_nobody_busy(
    out: Outbox, engine: SqliteEngine, grants: list[str]
) -> None:
    alter(engine, "UPDATE events SET grant_id = 'nobody', due = 'soon', at = 'then' WHERE place < 3")
    turn = taken(out)
    sending = following(out, turn)
    assert sending.grant_id == grants[2]
    out.acknowledged(turn, sending)
    assert out.next(turn) is None
    assert out.take() is None
    assert engine.one("SELECT count(*) FROM events") == (1,)
