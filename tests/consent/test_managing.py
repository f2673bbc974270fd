"""Looking a grant up and giving it back, below HTTP; and tokens for places that were not granted."""

from __future__ import annotations

import pytest

from tests.attacks.actors import Customer, Vendor, part
from tests.conftest import SettableClock
from vrm.consent import endings
from vrm.consent.credentials import made_and_bound
from vrm.consent.service import Consent
from vrm.errors import (
    CodeError,
    GrantInactiveError,
    GrantNotFoundError,
    InsufficientScopeError,
    NotItsGrantError,
    TargetError,
)
from vrm.vault.envelope import pack
from vrm.vault.sqlite import SqliteEngine

QUERY, REVOKE = "grant_management_query", "grant_management_revoke"
SHELF = "https://shelf.example"


def connect(vendor: Vendor, customer: Customer, **extras: list[str]):
    return vendor.redeem(customer.approve(vendor.ask(part("purchases.item"), **extras)))


def test_a_token_looks_up_its_own_grant_only(vendor: Vendor, customer: Customer, consent: Consent) -> None:
    mine, other = (connect(vendor, customer, manage=[QUERY, REVOKE]) for _ in range(2))
    access = consent.reader.authenticate(mine.access_token)
    assert consent.managing.look(access, mine.grant_id, QUERY).grant_id == mine.grant_id
    with pytest.raises(NotItsGrantError):
        consent.managing.look(access, other.grant_id, QUERY)
    with pytest.raises(NotItsGrantError):
        consent.managing.give_back(access, other.grant_id, REVOKE)
    with pytest.raises(GrantNotFoundError):
        consent.managing.look(access, "x" * 22, QUERY)


def test_looking_up_is_a_first_use_of_a_new_token(
    vendor: Vendor, customer: Customer, consent: Consent
) -> None:
    tokens = connect(vendor, customer, manage=[QUERY])
    fresh = vendor.refresh(tokens.refresh_token)
    consent.managing.look(consent.reader.authenticate(fresh.access_token), tokens.grant_id, QUERY)
    with pytest.raises(CodeError):
        vendor.refresh(tokens.refresh_token)
    assert customer.events()[0] == "token-reused"


def test_without_the_scope_nothing_is_looked_up(vendor: Vendor, customer: Customer, consent: Consent) -> None:
    tokens = connect(vendor, customer, manage=[QUERY])
    access = consent.reader.authenticate(tokens.access_token)
    with pytest.raises(InsufficientScopeError):
        consent.managing.give_back(access, tokens.grant_id, REVOKE)
    assert customer.events()[0] == "refused"


def test_what_ended_meanwhile_is_not_given_back_again(
    vendor: Vendor, customer: Customer, consent: Consent, engine: SqliteEngine, clock: SettableClock
) -> None:
    tokens = connect(vendor, customer, manage=[REVOKE])
    access = consent.reader.authenticate(tokens.access_token)
    with engine.write() as transaction:
        endings.end(transaction, tokens.grant_id, "revoked", clock.now())
    with pytest.raises(GrantInactiveError):
        consent.managing.give_back(access, tokens.grant_id, REVOKE)
    assert "given-back" not in customer.events()


def test_no_token_is_made_for_a_place_that_was_not_granted(
    vendor: Vendor, customer: Customer, consent: Consent
) -> None:
    tokens = connect(vendor, customer)
    with pytest.raises(TargetError):
        consent.tokens.refresh(tokens.refresh_token, vendor.registered, resource=SHELF)
    abroad = connect(vendor, customer, resource=[SHELF])
    assert abroad.audience == SHELF
    with pytest.raises(TargetError):
        consent.tokens.refresh(abroad.refresh_token, vendor.registered, resource="")
    assert consent.tokens.refresh(abroad.refresh_token, vendor.registered).audience == SHELF


def test_a_token_of_0_1_0_does_not_say_when_it_was_made() -> None:
    key = bytes(32)
    assert made_and_bound("access", [b"vault", b"client", key, b"purchases.item:read", key]) == (None, "")
    assert made_and_bound("refresh", [key, b"client"]) == (None, "")
    told = [b"vault", b"client", key, pack(7), b"purchases.item:read", key]
    assert made_and_bound("access", told) == (7, "")
