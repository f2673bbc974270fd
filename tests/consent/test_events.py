"""What vendors are told: in the transaction of what it tells, ids only, also while the vault is locked."""

from __future__ import annotations

import pytest

from tests.attacks.actors import Customer, Vendor, part
from tests.conftest import PASSPHRASE, SettableClock
from vrm.consent import endings, events
from vrm.consent.grants import DAY
from vrm.consent.outbox import Sending
from vrm.consent.service import Consent
from vrm.consent.tokens import TokenSet
from vrm.vault import removal
from vrm.vault.sqlite import SqliteEngine
from vrm.vault.vault import Vaults

HERE = "https://books.example/events"


@pytest.fixture
def vendor(consent: Consent) -> Vendor:
    return Vendor.register(consent, events_uri=HERE)


@pytest.fixture
def tokens(customer: Customer, vendor: Vendor, books: list[str]) -> TokenSet:
    return vendor.connect(customer, days=30)


def noted(engine: SqliteEngine) -> list[str]:
    return [row[0] for row in engine.all("SELECT kind FROM events WHERE state = 'waiting' ORDER BY place")]


def due(consent: Consent) -> list[Sending]:
    """What would be sent now, in order; nothing is answered."""
    consent.outbox.address()
    found = []
    while turn := consent.outbox.take():
        while sending := consent.outbox.next(turn):
            found.append(sending)
            consent.outbox.acknowledged(turn, sending)
    return found


def kinds(consent: Consent) -> list[str]:
    return [sending.notice.kind for sending in due(consent)]


def test_an_approval_alone_tells_nothing(tokens: TokenSet, consent: Consent) -> None:
    assert kinds(consent) == []


def test_stopping_is_told_with_ids_and_a_time_only(
    customer: Customer, vendor: Vendor, tokens: TokenSet, consent: Consent, clock: SettableClock
) -> None:
    consent.grants.revoke(customer.vault, tokens.grant_id)
    [sending] = due(consent)
    assert sending.uri == HERE
    told = sending.notice
    assert (told.kind, told.grant_id, told.at) == ("consent-revoked", tokens.grant_id, clock.now())
    assert told.client_id == vendor.registered.client_id
    assert len(told.subject) == 32
    assert customer.vault.id not in told.subject


def test_a_transaction_that_is_undone_tells_nothing(
    tokens: TokenSet, consent: Consent, engine: SqliteEngine, clock: SettableClock
) -> None:
    with pytest.raises(ZeroDivisionError), engine.write() as transaction:  # noqa: PT012 - all is undone
        assert endings.end(transaction, tokens.grant_id, "revoked", clock.now())
        assert noted(engine) == ["consent-revoked"]
        raise ZeroDivisionError
    assert noted(engine) == []
    assert kinds(consent) == []


def test_stopping_twice_is_told_once(customer: Customer, tokens: TokenSet, consent: Consent) -> None:
    for _ in range(2):
        consent.grants.revoke(customer.vault, tokens.grant_id)
    assert kinds(consent) == ["consent-revoked"]


def test_her_wish_to_erase_follows_the_end_and_is_noted_once(
    customer: Customer, tokens: TokenSet, consent: Consent
) -> None:
    for _ in range(2):
        consent.grants.revoke(customer.vault, tokens.grant_id, erase=True)
    consent.grants.ask_to_erase(customer.vault, tokens.grant_id)
    assert kinds(consent) == ["consent-revoked", "erase-requested"]
    assert customer.events().count("erase-asked") == 1


def test_erasing_can_be_asked_for_after_the_end_but_not_before(
    customer: Customer, tokens: TokenSet, consent: Consent, clock: SettableClock
) -> None:
    consent.grants.ask_to_erase(customer.vault, tokens.grant_id)
    assert kinds(consent) == []
    clock.forward(30 * DAY)
    consent.sweeping.run()
    clock.forward(3601)  # until a clock that went ahead by so much is believed
    consent.sweeping.run()
    consent.grants.ask_to_erase(customer.vault, tokens.grant_id)
    assert kinds(consent) == ["consent-expired", "erase-requested"]


def test_a_vendor_that_is_blocked_is_told_without_any_way_in(
    vendor: Vendor, tokens: TokenSet, consent: Consent
) -> None:
    assert consent.sweeping.block(vendor.registered.client_id) == 1
    assert kinds(consent) == ["consent-revoked"]


def test_what_expires_is_told_without_any_way_in(
    tokens: TokenSet, consent: Consent, clock: SettableClock
) -> None:
    for seconds in (0, 31 * DAY, 3601):  # a clock that goes ahead by so much is believed after an hour
        clock.forward(seconds)
        consent.sweep()
    assert kinds(consent) == ["consent-expired"]


def test_what_a_copy_brought_back_is_told_as_ended(
    customer: Customer, tokens: TokenSet, consent: Consent, engine: SqliteEngine
) -> None:
    with engine.write() as transaction:
        transaction.execute(endings.PAUSE)
    consent.sweeping.end_paused(customer.vault)
    assert kinds(consent) == ["consent-revoked"]


def test_a_vendor_is_not_told_of_what_it_did_itself(
    vendor: Vendor, tokens: TokenSet, consent: Consent
) -> None:
    consent.tokens.revoke(tokens.refresh_token, vendor.registered)
    assert consent.grants._engine.one("SELECT state FROM grants") == ("revoked",)
    assert kinds(consent) == []


def test_told_limits_that_became_less_are_told(
    customer: Customer, vendor: Vendor, books: list[str], consent: Consent
) -> None:
    tokens = vendor.connect(customer, part("purchases.item", "purchases.price"), days=30)
    for less in ({"drop": frozenset({"purchases.price:read"})}, {"days": 10}, {"period": "P1Y"}):
        consent.grants.narrow(customer.vault, tokens.grant_id, **less)
        assert kinds(consent) == ["consent-amended"], less


def test_what_she_takes_out_is_told_as_a_change_like_any_other(
    customer: Customer, tokens: TokenSet, consent: Consent, books: list[str], clock: SettableClock
) -> None:
    consent.grants.narrow(customer.vault, tokens.grant_id, exclude=frozenset({books[0]}))
    assert kinds(consent) == []
    clock.forward(events.SETTLE)
    assert kinds(consent) == ["data-changed"]


def test_the_last_scope_taken_away_is_an_end(customer: Customer, tokens: TokenSet, consent: Consent) -> None:
    consent.grants.narrow(customer.vault, tokens.grant_id, drop=frozenset({"purchases.item:read"}))
    assert kinds(consent) == ["consent-revoked"]


def test_many_changes_are_one_event_and_two_are_a_quarter_of_an_hour_apart(
    customer: Customer, tokens: TokenSet, consent: Consent, books: list[str], clock: SettableClock
) -> None:
    for book in books:
        customer.change(book, "item", title="Another")
    assert kinds(consent) == []
    clock.forward(events.SETTLE)
    assert kinds(consent) == ["data-changed"]
    customer.change(books[0], "item", title="A third")
    clock.forward(events.APART - 1)
    assert kinds(consent) == []
    clock.forward(1)
    assert kinds(consent) == ["data-changed"]
    assert [one.kind for one in consent.outbox.told(tokens.grant_id)] == ["data-changed"]


def test_a_change_that_this_vendor_does_not_see_is_not_told(
    customer: Customer, tokens: TokenSet, consent: Consent, books: list[str], clock: SettableClock
) -> None:
    customer.buy("A gift", for_whom="gift")
    customer.change(books[0], "price", total="1.00")
    clock.forward(DAY)
    assert kinds(consent) == []


def test_a_change_after_an_event_went_out_is_told_again_though_that_one_waits_for_its_answer(
    customer: Customer, tokens: TokenSet, consent: Consent, books: list[str], clock: SettableClock
) -> None:
    customer.change(books[0], "item", title="Another")
    clock.forward(events.SETTLE)
    consent.outbox.address()
    turn = consent.outbox.take()
    assert turn is not None
    first = consent.outbox.next(turn)
    assert first is not None
    customer.change(books[0], "item", title="A third")  # the vendor may have looked before
    consent.outbox.failed(turn, first, "lost")
    clock.forward(events.APART)
    found = due(consent)
    assert len(found) == 2
    again, later = found
    assert again.notice == first.notice
    assert later.notice.kind == "data-changed"
    assert later.notice.jti != first.notice.jti


def test_a_clock_put_back_does_not_silence_changes_for_longer_than_the_pause(
    customer: Customer, tokens: TokenSet, consent: Consent, books: list[str], clock: SettableClock
) -> None:
    customer.change(books[0], "item", title="Another")
    clock.forward(events.SETTLE)
    assert kinds(consent) == ["data-changed"]
    clock.forward(-DAY)
    customer.change(books[0], "item", title="A third")
    clock.forward(events.APART)
    assert kinds(consent) == ["data-changed"]


def test_an_end_takes_the_place_of_what_was_not_told_yet(
    customer: Customer, tokens: TokenSet, consent: Consent, books: list[str], clock: SettableClock
) -> None:
    customer.change(books[0], "item", title="Another")
    consent.grants.narrow(customer.vault, tokens.grant_id, days=10)
    consent.grants.revoke(customer.vault, tokens.grant_id)
    clock.forward(DAY)
    assert kinds(consent) == ["consent-revoked"]


def test_an_event_of_no_known_kind_is_a_mistake_of_ours(
    tokens: TokenSet, engine: SqliteEngine, clock: SettableClock
) -> None:
    with pytest.raises(ValueError, match="birthday"), engine.write() as transaction:
        events.note(transaction, tokens.grant_id, "birthday", clock.now())


def test_an_altered_grant_that_she_stops_is_told_all_the_same(
    customer: Customer, tokens: TokenSet, consent: Consent, engine: SqliteEngine
) -> None:
    with engine.write() as transaction:
        transaction.execute("UPDATE grants SET reserve = x'00'")
    consent.grants.revoke(customer.vault, tokens.grant_id, erase=True)
    assert kinds(consent) == ["consent-revoked", "erase-requested"]


def test_an_altered_grant_is_ended_without_asking_for_more_where_she_did_not(
    customer: Customer, tokens: TokenSet, consent: Consent, engine: SqliteEngine
) -> None:
    with engine.write() as transaction:
        transaction.execute("UPDATE grants SET reserve = x'00'")
    consent.grants.revoke(customer.vault, tokens.grant_id)
    assert kinds(consent) == ["consent-revoked"]


def test_no_event_goes_into_a_backup(engine: SqliteEngine, consent: Consent) -> None:
    from vrm.consent.service import SCHEMA

    assert {"events", "event_queues"} <= set(SCHEMA.left_out)


def test_nothing_of_a_deleted_vault_waits(
    customer: Customer, tokens: TokenSet, consent: Consent, engine: SqliteEngine
) -> None:
    consent.grants.revoke(customer.vault, tokens.grant_id)
    removal.delete(engine, customer.vault.id)
    assert noted(engine) == []


def test_two_vendors_and_two_customers_have_no_subject_in_common(
    customer: Customer, vendor: Vendor, books: list[str], consent: Consent, vaults: Vaults
) -> None:
    other = Vendor.register(consent, "Other Books", events_uri=HERE)
    second = Customer(vaults.create("bob", PASSPHRASE)[0], consent)
    second.buy("Dune")
    grants = [(one, who.connect(one).grant_id) for one in (customer, second) for who in (vendor, other)]
    again = vendor.connect(customer).grant_id
    for one, grant_id in [*grants, (customer, again)]:
        consent.grants.revoke(one.vault, grant_id)
    subjects = {sending.notice.grant_id: sending.notice.subject for sending in due(consent)}
    assert len(set(subjects.values())) == 4
    assert subjects[again] == subjects[grants[0][1]]
