"""Deposits: what is taken in, told of it and refused; what becomes of it stands in test_filing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.attacks.actors import Customer, Vendor, part, writing
from tests.conftest import SettableClock
from tests.postgres import stored
from vrm.consent.access import Access
from vrm.consent.deposits import ONCE_LIFE, Deposits, Quota
from vrm.consent.grants import DAY
from vrm.consent.service import Consent
from vrm.consent.tokens import TokenSet
from vrm.consent.writers import taken, validated
from vrm.errors import (
    ConditionError,
    GrantInactiveError,
    InsufficientScopeError,
    KeyReusedError,
    NotInViewError,
    ParameterError,
    QuotaError,
    StorageError,
    ValidationError,
)
from vrm.vault.engine import Engine
from vrm.vault.mailbox import Mailbox
from vrm.vault.sqlite import SqliteEngine
from vrm.vault.vault import Vaults

RECEIPT = {
    "item": {"title": "Kindred", "asin": "0807083690", "category": "books"},
    "order": {"order_number": "R-1", "ordered": "2026-11-01", "status": "ordered"},
    "price": {"total": "12.99", "currency": "EUR"},
}
MESSAGE = {"message": {"subject": "Your order", "text": "It is on its way.", "order_number": "R-1"}}


@pytest.fixture
def tokens(customer: Customer, vendor: Vendor) -> TokenSet:
    return vendor.connect(customer, writing(), writing("inbox"))


@pytest.fixture
def access(consent: Consent, tokens: TokenSet) -> Access:
    return consent.reader.authenticate(tokens.access_token)


def size(engine: SqliteEngine, vault: str) -> int:
    return Mailbox(engine).size(vault)[0]


def test_a_deposit_is_pending_until_it_is_filed(
    vendor: Vendor, tokens: TokenSet, customer: Customer, clock: SettableClock
) -> None:
    state, _ = vendor.leave(tokens.access_token, RECEIPT)
    assert state.told() == {"id": state.item.hex(), "status": "pending", "updated_at": "2026-11-18T11:06:40Z"}
    assert vendor.state(tokens.access_token, state.item) == state
    clock.forward(60)
    customer.consent.at_unlock(customer.vault)
    filed = vendor.state(tokens.access_token, state.item)
    assert (filed.status, filed.updated) == ("filed", clock.now())


def test_a_deposit_stands_in_her_log(vendor: Vendor, tokens: TokenSet, customer: Customer) -> None:
    vendor.leave(tokens.access_token, RECEIPT)
    entry = customer.consent.log.read(customer.vault)[0]
    assert (entry.event, entry.stream, entry.scopes, entry.count) == (
        "deposited",
        "purchases",
        ("purchases:write",),
        1,
    )
    assert entry.vendor_name == "Corner Books"


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"item": {"title": "A"}, "context": {"for": "self"}}, "context.for"),
        ({"item": {"title": "A"}, "context": {"use_for_taste": True}}, "context.use_for_taste"),
        ({"item": {"title": "A"}, "notes": {"text": "mine"}}, "notes.text"),
        ({"item": {"title": "A"}, "notes": {"arrived": 7}}, "notes.arrived"),
        ({"item": {"title": "A"}, "notes": {"left_by": "x"}}, "notes.left_by"),
        ({"item": {"title": "A"}, "experience": {"rating": 5}}, "experience.rating"),
        ({"item": {"title": "A", "category_basis": "said"}}, "item.category_basis"),
        ({"item": {"title": "A"}, "order": {"learned_from": "her"}}, "order.learned_from"),
        ({"item": {"title": "A"}, "order": {"line": 1}}, "order.line"),
        ({"item": {"title": "A"}, "price": {"total": "much"}}, "price.total"),
        ({"item": {"title": "A"}, "price": {"total": "9.90", "currency": "€"}}, "price.currency"),
        ({"item": {"title": "A", "isbn": "9780140449137"}}, "item.isbn"),
        ({"item": {"title": "A", "gtin": "9780140449137"}}, "item.gtin"),
        ({"item": {"title": "A", "colour": "red"}}, "item.colour"),
        ({"item": {"title": "A"}, "wishes": {}}, "wishes"),
        ({"order": {"order_number": "R-1"}}, "item.title"),
        ({}, "item.title"),
    ],
)
def test_only_what_is_the_sellers_to_say_is_taken(
    vendor: Vendor, tokens: TokenSet, engine: SqliteEngine, customer: Customer, wrong: Any, field: str
) -> None:
    with pytest.raises(ValidationError) as refused:
        vendor.leave(tokens.access_token, wrong)
    assert list(refused.value.fields) == [field]
    assert size(engine, customer.vault.id) == 0


def test_what_waited_before_codes_were_judged_is_filed_as_it_came() -> None:
    waiting = {"item": {"title": "A"}, "price": {"total": "9.90", "currency": "€"}}
    with pytest.raises(ValidationError):
        taken("purchases", waiting)
    assert validated("purchases", waiting)["price"] == waiting["price"]


@pytest.mark.parametrize("body", [None, [], "text", 7, True])
def test_a_body_that_is_no_object_is_refused(vendor: Vendor, tokens: TokenSet, body: object) -> None:
    with pytest.raises(ValidationError):
        vendor.leave(tokens.access_token, body)


def test_messages_cannot_name_their_sender(vendor: Vendor, tokens: TokenSet) -> None:
    with pytest.raises(ValidationError) as refused:
        vendor.leave(
            tokens.access_token, {"message": {"subject": "Hi", "from": "Your bank"}}, collection="inbox"
        )
    assert list(refused.value.fields) == ["message.from"]


def test_the_same_key_and_body_are_one_deposit_and_one_answer(
    vendor: Vendor, tokens: TokenSet, engine: SqliteEngine, customer: Customer, clock: SettableClock
) -> None:
    first = vendor.leave(tokens.access_token, RECEIPT, "key-1")
    clock.forward(5)
    assert vendor.leave(tokens.access_token, dict(reversed(RECEIPT.items())), "key-1") == first
    customer.consent.at_unlock(customer.vault)
    assert vendor.leave(tokens.access_token, RECEIPT, "key-1") == first
    assert size(engine, customer.vault.id) == 0
    assert customer.vault.records("purchases").count() == 1


def test_the_same_key_for_another_body_is_refused(vendor: Vendor, tokens: TokenSet) -> None:
    vendor.leave(tokens.access_token, RECEIPT, "key-1")
    with pytest.raises(KeyReusedError):
        vendor.leave(tokens.access_token, {"item": {"title": "Emma"}}, "key-1")
    vendor.leave(tokens.access_token, MESSAGE, "key-1", "inbox")  # another scope, another key


def test_a_key_is_forgotten_after_thirty_days_and_never_stored(
    vendor: Vendor, customer: Customer, clock: SettableClock, engine: Engine, consent: Consent, folder: Path
) -> None:
    tokens = vendor.connect(customer, writing(), days=60)
    vendor.leave(tokens.access_token, RECEIPT, "a-key-in-plain-sight")
    assert b"a-key-in-plain-sight" not in stored(engine, folder)
    clock.forward(ONCE_LIFE)
    fresh = vendor.refresh(tokens.refresh_token)
    vendor.leave(fresh.access_token, {"item": {"title": "Emma"}}, "a-key-in-plain-sight")
    clock.forward(ONCE_LIFE)
    consent.deposits.sweep()
    assert engine.all("SELECT once FROM deposits WHERE once IS NOT NULL") == []


def test_a_write_scope_reads_nothing(vendor: Vendor, tokens: TokenSet, customer: Customer) -> None:
    customer.buy("Kindred")
    access = customer.consent.reader.authenticate(tokens.access_token)
    for collection in ("purchases", "inbox", "preferences"):
        with pytest.raises(InsufficientScopeError):
            customer.consent.reader.page(access, collection)
    with pytest.raises(InsufficientScopeError):
        customer.consent.reader.answer(access, "corrections")
    assert customer.events().count("refused") == 4


def test_a_reading_scope_leaves_nothing(vendor: Vendor, customer: Customer, engine: SqliteEngine) -> None:
    tokens = vendor.connect(customer, part("purchases.item"))
    with pytest.raises(InsufficientScopeError):
        vendor.leave(tokens.access_token, RECEIPT)
    with pytest.raises(InsufficientScopeError):
        vendor.leave(tokens.access_token, RECEIPT, collection="profile")
    with pytest.raises(NotInViewError):
        vendor.leave(tokens.access_token, RECEIPT, collection="nothing")
    assert size(engine, customer.vault.id) == 0
    assert customer.events()[0] == "refused"


def test_a_scope_that_was_taken_away_leaves_nothing_although_the_token_carries_its_key(
    vendor: Vendor, tokens: TokenSet, customer: Customer, engine: SqliteEngine
) -> None:
    customer.consent.grants.narrow(customer.vault, tokens.grant_id, drop=frozenset({"purchases:write"}))
    with pytest.raises(InsufficientScopeError):
        vendor.leave(tokens.access_token, RECEIPT)
    vendor.leave(tokens.access_token, MESSAGE, collection="inbox")
    assert size(engine, customer.vault.id) == 1
    assert vendor.refresh(tokens.refresh_token).scope == "inbox:write"


def test_a_deposit_follows_by_its_tag(
    vendor: Vendor, tokens: TokenSet, customer: Customer, access: Access, consent: Consent
) -> None:
    state, tag = vendor.leave(tokens.access_token, RECEIPT)
    newer = {"item": {"title": "Kindred, corrected"}}
    with pytest.raises(ConditionError):
        consent.deposits.replace(access, "purchases", state.item.hex(), newer, ['"other"'])
    after, changed = consent.deposits.replace(access, "purchases", state.item.hex(), newer, [tag])
    assert after.version == 2
    assert changed != tag
    with pytest.raises(ConditionError):
        consent.deposits.replace(access, "purchases", state.item.hex(), newer, [tag])
    with pytest.raises(ConditionError):
        consent.deposits.withdraw(access, "purchases", state.item.hex(), [tag])
    consent.at_unlock(customer.vault)
    [(_, document)] = customer.vault.records("purchases").scan()
    assert document["item"]["title"] == "Kindred, corrected"


def test_what_is_taken_back_while_pending_is_never_filed(
    vendor: Vendor,
    tokens: TokenSet,
    customer: Customer,
    access: Access,
    consent: Consent,
    engine: SqliteEngine,
) -> None:
    state, tag = vendor.leave(tokens.access_token, RECEIPT, "key-1")
    gone = consent.deposits.withdraw(access, "purchases", state.item.hex(), [tag])
    assert gone.told()["status"] == "withdrawn"
    assert size(engine, customer.vault.id) == 0
    with pytest.raises(NotInViewError):
        vendor.state(tokens.access_token, state.item)
    assert vendor.leave(tokens.access_token, RECEIPT, "key-1") == (state, tag)  # the first answer, again
    consent.at_unlock(customer.vault)
    assert customer.vault.records("purchases").count() == 0


@pytest.mark.parametrize("item", ["", "0" * 32, "x" * 32, "00", "0" * 31 + "\n"])
def test_unknown_deposits_are_not_there(access: Access, consent: Consent, item: str) -> None:
    with pytest.raises(NotInViewError):
        consent.deposits.one(access, "purchases", item)
    with pytest.raises(NotInViewError):
        consent.deposits.replace(access, "purchases", item, RECEIPT, ["*"])
    with pytest.raises(NotInViewError):
        consent.deposits.withdraw(access, "purchases", item, ["*"])


def test_deposits_are_listed_page_by_page_per_collection(
    vendor: Vendor, tokens: TokenSet, access: Access, consent: Consent
) -> None:
    left = [vendor.leave(tokens.access_token, {"item": {"title": f"Book {n}"}})[0].item for n in range(5)]
    vendor.leave(tokens.access_token, MESSAGE, collection="inbox")
    first, cursor = consent.deposits.page(access, "purchases", limit=3, cursor=None)
    second, end = consent.deposits.page(access, "purchases", limit=3, cursor=cursor)
    assert [state.item for state in [*first, *second]] == left
    assert cursor
    assert end is None
    with pytest.raises(ParameterError):
        consent.deposits.page(access, "inbox", limit=3, cursor=cursor)
    with pytest.raises(ParameterError):
        consent.deposits.page(access, "purchases", limit=3, cursor="AAAA")


def test_nothing_is_left_after_the_end(
    vendor: Vendor, tokens: TokenSet, access: Access, customer: Customer, engine: SqliteEngine
) -> None:
    vendor.leave(tokens.access_token, RECEIPT)
    customer.consent.grants.revoke(customer.vault, tokens.grant_id)
    with pytest.raises(GrantInactiveError):  # the token was opened before: the race
        customer.consent.deposits.submit(access, "purchases", {"item": {"title": "Late"}}, "late")
    with pytest.raises(GrantInactiveError):
        customer.consent.deposits.page(access, "purchases", limit=1, cursor=None)
    assert size(engine, customer.vault.id) == 1
    assert engine.all("SELECT 1 FROM deposits") == []
    assert customer.events()[0] == "refused"


def test_nothing_is_left_by_a_grant_that_ends_in_the_middle(
    vendor: Vendor, customer: Customer, consent: Consent, clock: SettableClock, engine: SqliteEngine
) -> None:
    """The clock goes on while a deposit is made: at each of its looks the grant may be over."""
    tokens = vendor.connect(customer, writing(), days=1)
    access, over = consent.reader.authenticate(tokens.access_token), clock.now() + DAY
    assert consent.deposits.submit(access, "purchases", RECEIPT, "before")
    for seconds in range(12):
        clock.at, clock.pace = over - seconds, 1
        refused = False
        try:
            consent.deposits.submit(access, "purchases", {"item": {"title": f"{seconds}"}}, f"{seconds}")
        except GrantInactiveError:
            refused = True
        clock.pace = 0
        if not refused:
            break
        assert size(engine, customer.vault.id) == 1
    assert 2 < seconds < 11, "one second earlier it was good"
    assert engine.all("SELECT seq FROM deposits ORDER BY seq") == [(1,), (2,)]


@pytest.mark.parametrize(
    "quota",
    [
        Quota(grant_items=3),
        Quota(vault_items=3),
        Quota(grant_bytes=3000),
        Quota(vault_bytes=3000),
        Quota(followed=3),
    ],
)
def test_quotas_bound_what_waits(
    engine: SqliteEngine,
    vaults: Vaults,
    consent: Consent,
    clock: SettableClock,
    customer: Customer,
    access: Access,
    quota: Quota,
) -> None:
    deposits = Deposits(engine, vaults, consent.tokens, consent.log, clock, quota)
    for number in range(3):
        deposits.submit(access, "purchases", RECEIPT, f"key-{number}")
    for number in range(3, 6):
        with pytest.raises(QuotaError):
            deposits.submit(access, "purchases", RECEIPT, f"key-{number}")
    assert size(engine, customer.vault.id) == 3
    assert [entry.reason for entry in consent.log.read(customer.vault)][:3] == ["too much"] * 3
    if quota.followed > 3:
        consent.at_unlock(customer.vault)
        deposits.submit(access, "purchases", RECEIPT, "key-6")


def test_a_vault_of_an_older_version_takes_nothing_before_its_next_unlock(
    vendor: Vendor, tokens: TokenSet, engine: SqliteEngine, customer: Customer, vaults: Vaults
) -> None:
    with engine.write() as transaction:
        transaction.execute("UPDATE vaults SET mailbox_public = x'', mailbox_mac = x''")
        transaction.execute("DELETE FROM mailbox_marks")
    with pytest.raises(StorageError):
        vendor.leave(tokens.access_token, RECEIPT)
    customer.vault.renew_vouchers()
    vendor.leave(tokens.access_token, RECEIPT)
    assert customer.consent.at_unlock(customer.vault) == []
    assert customer.vault.records("purchases").count() == 1
