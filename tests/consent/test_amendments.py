"""Replace and merge: what a changed grant is made of, what becomes of the one before, and whose it may be."""

from __future__ import annotations

import json

import pytest

from tests.attacks.actors import Customer, Vendor, part
from tests.conftest import PASSPHRASE, SettableClock
from vrm.consent.amendments import union
from vrm.consent.policy import Agreement
from vrm.consent.requests import Choices
from vrm.consent.scopes import check_details
from vrm.consent.service import Consent
from vrm.errors import (
    CodeError,
    GrantNotFoundError,
    RequestChangedError,
    RequestNotFoundError,
    TamperedError,
    TokenError,
    UnfitRequestError,
)
from vrm.vault.sqlite import SqliteEngine
from vrm.vault.vault import Vaults

ITEM, PRICE = part("purchases.item"), part("purchases.price")


def change(vendor: Vendor, customer: Customer, action: str, grant_id: str, *parts, **choices):
    """The tokens of a changed grant."""
    return vendor.redeem(customer.approve(vendor.ask(*parts, action=action, grant_id=grant_id), **choices))


@pytest.fixture
def live(books: list[str], vendor: Vendor, customer: Customer):
    """A grant of three books' titles."""
    return vendor.connect(customer, ITEM)


def test_replace_is_exactly_what_is_asked_now(live, vendor: Vendor, customer: Customer) -> None:
    new = change(vendor, customer, "replace", live.grant_id, PRICE)
    assert new.scope == "purchases.price:read"
    assert all(set(row) == {"id", "updated_at", "price"} for row in vendor.read(new.access_token))


def test_merge_is_both(live, vendor: Vendor, customer: Customer) -> None:
    new = change(vendor, customer, "merge", live.grant_id, PRICE)
    assert set(new.scope.split()) == {"purchases.price:read", "purchases.item:read"}
    assert all("item" in row and "price" in row for row in vendor.read(new.access_token))


@pytest.mark.parametrize("action", ["replace", "merge"])
def test_the_vendor_goes_on_knowing_it_by_one_name(
    live, vendor: Vendor, customer: Customer, action: str
) -> None:
    second = change(vendor, customer, action, live.grant_id, PRICE)
    third = change(vendor, customer, action, second.grant_id, ITEM)
    assert live.grant_id == second.grant_id == third.grant_id
    told = vendor.consent.reader.grant(vendor.consent.reader.authenticate(third.access_token))
    assert told["grant_id"] == live.grant_id
    shown = customer.consent.grants.listing(customer.vault)
    assert sorted(one.state for one in shown) == ["live", "replaced", "replaced"]
    assert {one.public_id for one in shown} == {live.grant_id}
    assert len({one.id for one in shown}) == 3


@pytest.mark.parametrize("action", ["replace", "merge"])
def test_every_token_of_before_ends_with_its_view(
    live, vendor: Vendor, customer: Customer, engine: SqliteEngine, action: str
) -> None:
    access = vendor.consent.reader.authenticate(live.access_token)
    change(vendor, customer, action, live.grant_id, PRICE)
    with pytest.raises(TokenError):
        vendor.read(live.access_token)
    with pytest.raises(TokenError):  # who had opened the token already
        vendor.consent.reader.page(access, "purchases")
    with pytest.raises(CodeError):
        vendor.refresh(live.refresh_token)
    assert engine.one("SELECT count(*) FROM views WHERE grant_id = ?", (live.grant_id,)) == (0,)


def test_a_refused_try_with_an_old_token_leaves_the_changed_grant_alone(
    live, vendor: Vendor, customer: Customer
) -> None:
    new = change(vendor, customer, "replace", live.grant_id, PRICE)
    for _ in range(2):
        with pytest.raises(CodeError):
            vendor.refresh(live.refresh_token)
    assert len(vendor.read(new.access_token)) == 3


def test_a_code_of_before_that_was_not_redeemed_is_void(books, vendor: Vendor, customer: Customer) -> None:
    code = customer.approve(vendor.ask(ITEM))
    [grant] = customer.consent.grants.listing(customer.vault)
    change(vendor, customer, "replace", grant.id, PRICE)
    with pytest.raises(CodeError):
        vendor.redeem(code)


def test_the_history_of_both_stays_and_stands_together(live, vendor: Vendor, customer: Customer) -> None:
    vendor.read(live.access_token)
    change(vendor, customer, "merge", live.grant_id, PRICE)
    new, old = sorted(
        customer.consent.grants.listing(customer.vault), key=lambda one: one.state
    )  # live, replaced
    told = [entry.event for entry in customer.consent.grants.history(customer.vault, new.id)]
    assert sorted(told) == ["amended", "connected", "connected", "granted", "granted", "read"]
    assert old.agreement.scopes == ("purchases.item:read",)
    before = [entry.event for entry in customer.consent.grants.history(customer.vault, old.id)]
    assert {"read", "amended"} <= set(before)
    assert customer.consent.problems(customer.vault) == []


def test_it_says_when_it_began_and_who_changed_it(
    live, vendor: Vendor, customer: Customer, clock: SettableClock
) -> None:
    [first] = customer.consent.grants.listing(customer.vault)
    for _ in range(2):
        clock.forward(60)
        change(vendor, customer, "replace", live.grant_id, PRICE)
    [new] = [one for one in customer.consent.grants.listing(customer.vault) if one.state == "live"]
    assert new.agreement.begun == first.created
    assert (new.agreement.updated, new.agreement.updated_by) == (clock.now(), "client")
    clock.forward(60)
    customer.consent.grants.narrow(customer.vault, new.id, days=10)
    narrowed = customer.consent.grants.get(customer.vault, new.id).agreement
    assert (narrowed.updated, narrowed.updated_by) == (clock.now(), "authorization_server")


def test_what_she_takes_out_by_herself_shows_in_no_time(
    live, books: list[str], customer: Customer, clock: SettableClock
) -> None:
    clock.forward(60)
    customer.consent.grants.narrow(customer.vault, live.grant_id, exclude=frozenset(books[:1]))
    assert customer.consent.grants.get(customer.vault, live.grant_id).agreement.updated == 0


def test_an_extra_that_is_not_ticked_adds_nothing(live, vendor: Vendor, customer: Customer) -> None:
    new = change(vendor, customer, "merge", live.grant_id, part("purchases.price", necessity="optional"))
    assert new.scope == "purchases.item:read"


def test_a_merge_takes_an_earlier_optional_part_only_as_she_ticks_it(
    books, vendor: Vendor, customer: Customer
) -> None:
    asked = [ITEM, part("purchases.price", necessity="optional")]
    live = vendor.connect(customer, *asked, optional=frozenset({"1"}))
    without = change(vendor, customer, "merge", live.grant_id, ITEM)
    assert without.scope == "purchases.item:read"


# --- whose it may be


def test_another_vendors_grant_is_not_changed(live, customer: Customer, consent: Consent) -> None:
    other = Vendor.register(consent, "Other Books")
    assert not consent.amendments.is_of(live.grant_id, other.registered.client_id)
    request = other.ask(PRICE, action="replace", grant_id=live.grant_id)
    with pytest.raises(GrantNotFoundError):
        customer.preview(request)
    with pytest.raises(GrantNotFoundError):
        consent.requests.approve(customer.vault, request.handle, Choices(), "")
    assert consent.grants.get(customer.vault, live.grant_id).state == "live"


def test_another_customers_grant_is_not_changed(
    live, vendor: Vendor, vaults: Vaults, consent: Consent
) -> None:
    bob = Customer(vaults.create("bob", PASSPHRASE)[0], consent)
    bob.buy("Emma")
    assert consent.amendments.is_of(live.grant_id, vendor.registered.client_id)
    request = vendor.ask(PRICE, action="merge", grant_id=live.grant_id)
    with pytest.raises(GrantNotFoundError):
        bob.preview(request)
    assert consent.requests.decline(bob.vault, request.handle).code is None


def test_what_has_ended_is_not_changed(
    live, vendor: Vendor, customer: Customer, clock: SettableClock
) -> None:
    ask = {"action": "replace", "grant_id": live.grant_id}
    late = vendor.ask(PRICE, **ask)
    customer.consent.grants.revoke(customer.vault, live.grant_id)
    assert not customer.consent.amendments.is_of(live.grant_id, vendor.registered.client_id)
    assert not customer.consent.amendments.exists(live.grant_id)
    with pytest.raises(GrantNotFoundError):
        customer.preview(late)
    again = vendor.connect(customer, days=1)
    clock.forward(86_400)
    with pytest.raises(GrantNotFoundError):
        customer.preview(vendor.ask(PRICE, action="replace", grant_id=again.grant_id))


def test_the_own_id_of_a_changed_grant_is_no_name(live, vendor: Vendor, customer: Customer) -> None:
    change(vendor, customer, "replace", live.grant_id, PRICE)
    [new] = [one for one in customer.consent.grants.listing(customer.vault) if one.state == "live"]
    assert not customer.consent.amendments.is_of(new.id, vendor.registered.client_id)
    assert customer.consent.amendments.is_of(live.grant_id, vendor.registered.client_id)
    with pytest.raises(GrantNotFoundError):
        customer.preview(vendor.ask(PRICE, action="replace", grant_id=new.id))


def test_a_name_written_into_another_row_changes_nothing_else(
    live, vendor: Vendor, customer: Customer, engine: SqliteEngine
) -> None:
    second = vendor.connect(customer, PRICE)
    with engine.write() as transaction:
        transaction.execute("UPDATE grants SET public_id = 'stolen' WHERE grant_id = ?", (second.grant_id,))
    with pytest.raises(GrantNotFoundError):
        customer.preview(vendor.ask(PRICE, action="replace", grant_id="stolen"))


# --- between the look and the decision


def test_a_grant_narrowed_since_the_look_is_looked_at_again(live, vendor: Vendor, customer: Customer) -> None:
    request = vendor.ask(PRICE, action="merge", grant_id=live.grant_id)
    digest = customer.preview(request).digest
    customer.consent.grants.narrow(customer.vault, live.grant_id, days=10)
    with pytest.raises(RequestChangedError):
        customer.consent.requests.approve(customer.vault, request.handle, Choices(), digest)


def test_a_grant_narrowed_in_the_very_moment_is_looked_at_again(
    live, vendor: Vendor, customer: Customer
) -> None:
    request = customer.consent.requests.asked(
        customer.vault, vendor.ask(PRICE, action="merge", grant_id=live.grant_id).handle
    )
    customer.consent.grants.narrow(customer.vault, live.grant_id, days=10)
    with pytest.raises(RequestChangedError):
        customer.consent.amendments.same(customer.vault, request)


def test_of_two_changes_of_one_grant_the_second_is_looked_at_again(
    live, vendor: Vendor, customer: Customer
) -> None:
    first = vendor.ask(PRICE, action="replace", grant_id=live.grant_id)
    second = vendor.ask(PRICE, action="replace", grant_id=live.grant_id)
    digest = customer.preview(second).digest
    vendor.redeem(customer.approve(first))
    with pytest.raises(RequestChangedError):
        customer.consent.requests.approve(customer.vault, second.handle, Choices(), digest)


def test_a_change_ends_nothing_where_the_approval_fails(live, vendor: Vendor, customer: Customer) -> None:
    request = vendor.ask(PRICE, action="replace", grant_id=live.grant_id)
    digest = customer.preview(request).digest
    customer.consent.requests.decline(customer.vault, request.handle)
    with pytest.raises(RequestNotFoundError):
        customer.consent.requests.approve(customer.vault, request.handle, Choices(), digest)
    assert len(vendor.read(live.access_token)) == 3


def test_a_grant_that_has_ended_is_nobodys_successor(
    live, vendor: Vendor, customer: Customer, engine: SqliteEngine
) -> None:
    consent, vault = customer.consent, customer.vault
    consent.grants.revoke(vault, live.grant_id)
    shown = consent.grants.get(vault, live.grant_id)
    with pytest.raises(GrantNotFoundError), engine.write() as transaction:
        consent.grants.make(
            transaction, vault, vendor.registered, shown.agreement, shown.reserve, {}, live.grant_id
        )


# --- the union, by itself


def checked(*parts: dict[str, object]):
    return tuple(check_details(list(parts), beside_scope=True))


def test_a_union_says_nothing_twice() -> None:
    [both] = union(checked(ITEM), checked(ITEM))
    assert both["datatypes"] == ["purchases.item"]
    wide = part("purchases.item", "purchases.price", period="P2Y")
    assert union(checked(wide), checked(part("purchases.item", period="P1Y"))) == checked(wide)
    assert len(union(checked(wide), checked(part("purchases.item", period="P5Y")))) == 2
    assert len(union(checked(wide), checked(ITEM))) == 2
    assert len(union(checked(part("purchases.item", "purchases.price")), checked(wide))) == 1
    elsewhere = part("purchases.item", purpose="RequestedServiceProvision")
    assert len(union(checked(ITEM), checked(elsewhere))) == 2


def test_a_union_has_the_fields_of_both() -> None:
    title, brand = part("purchases.item", fields=["title"]), part("purchases.item", fields=["brand", "title"])
    [both] = union(checked(title), checked(brand))
    assert both["fields"] == ["title", "brand"]
    [whole] = union(checked(title), checked(ITEM))
    assert "fields" not in whole


def test_in_a_union_an_extra_with_more_fields_stays_by_itself() -> None:
    title, both = (
        part("purchases.item", fields=fields, necessity="optional")
        for fields in (["title"], ["brand", "title"])
    )
    assert [one["fields"] for one in union(checked(both), checked(title))] == [["brand", "title"], ["title"]]
    assert [one["fields"] for one in union(checked(title), checked(both))] == [["title", "brand"]]


def test_in_a_union_an_extra_that_reaches_further_stays_by_itself() -> None:
    year, ever = (
        part("purchases.item", necessity="optional", **limits) for limits in ({"period": "P1Y"}, {})
    )
    assert len(union(checked(ever), checked(year))) == 2
    assert len(union(checked(year), checked(year))) == 1


def test_a_union_of_too_much_is_refused() -> None:
    many = [checked(part("purchases.item", filter={"category": [f"c{number}"]}))[0] for number in range(41)]
    assert len(union(tuple(many[:20]), tuple(many[20:40]))) == 40
    with pytest.raises(UnfitRequestError):
        union(tuple(many[:20]), tuple(many[20:]))


def test_a_union_whose_rows_would_lose_fields_one_day_is_refused() -> None:
    year, title = part("purchases.item", period="P1Y"), part("purchases.item", fields=["title"])
    with pytest.raises(UnfitRequestError):
        union(checked(title), checked(year))
    assert len(union(checked({**title, "period": "P1Y"}), checked(year))) == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("manage", [1]),
        ("resources", [None]),
        ("manage", 1),
        ("updated", "now"),
        ("updated_by", 7),
        ("public_id", 1),
    ],
)
def test_an_agreement_that_somebody_sealed_anew_is_read_strictly(name: str, value: object) -> None:
    good = json.loads(Agreement("client", "Corner Books", checked(ITEM), 1, 2).encode())
    assert Agreement.decode(json.dumps(good).encode()).granted == ("purchases.item:read",)
    with pytest.raises(TamperedError):
        Agreement.decode(json.dumps({**good, name: value}).encode())
