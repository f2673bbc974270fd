"""Grants: narrowed in place, never widened; ended at once, for good, by whoever may."""

from __future__ import annotations

from typing import Any

import pytest

from tests.attacks.actors import Customer, Vendor, part
from tests.conftest import PASSPHRASE, SettableClock
from vrm.consent.grants import DAY
from vrm.consent.periods import longer
from vrm.consent.service import Consent
from vrm.errors import (
    CodeError,
    GrantInactiveError,
    GrantNotFoundError,
    TokenError,
    ValidationError,
    VendorNotFoundError,
)
from vrm.vault.sqlite import SqliteEngine
from vrm.vault.vault import Vaults


def narrow(customer: Customer, grant_id: str, **less: Any) -> Any:
    return customer.consent.grants.narrow(customer.vault, grant_id, **less)


def test_a_grant_is_shown_with_what_was_agreed(
    customer: Customer, vendor: Vendor, books: list[str], clock: SettableClock
) -> None:
    tokens = vendor.connect(customer, part("purchases.item", "purchases.price"), days=10)
    vendor.read(tokens.access_token)
    [shown] = customer.consent.grants.listing(customer.vault)
    assert (shown.state, shown.vendor_name, shown.purpose) == (
        "live",
        "Corner Books",
        "ProvideProductRecommendations",
    )
    assert (shown.rows, shown.reads, shown.last_read) == (3, 1, clock.now())
    assert shown.facets == ["purchases.item", "purchases.price"]
    assert shown.expires == clock.now() + 10 * DAY
    assert customer.consent.grants.get(customer.vault, tokens.grant_id) == shown


def test_rows_taken_out_are_gone_at_the_next_reading(
    customer: Customer, vendor: Vendor, books: list[str]
) -> None:
    tokens = vendor.connect(customer)
    shown = narrow(customer, tokens.grant_id, exclude=frozenset({books[0]}))
    assert (shown.rows, shown.reserve.exclude) == (2, {books[0]})
    assert vendor.titles(tokens.access_token) == ["Beloved", "Emma"]
    narrow(customer, tokens.grant_id, exclude=frozenset({books[1]}))
    assert vendor.titles(tokens.access_token) == ["Emma"]
    assert customer.events()[1] == "narrowed"


def test_scopes_dropped_are_gone_from_rows_and_tokens(
    customer: Customer, vendor: Vendor, books: list[str]
) -> None:
    tokens = vendor.connect(
        customer, part("purchases.item", "purchases.price"), part("preferences.statement")
    )
    customer.put({"statement": {"topic": "tea"}}, "preferences")
    drop = frozenset({"purchases.price:read", "preferences.statement:read"})
    narrow(customer, tokens.grant_id, drop=drop)
    assert {name for row in vendor.read(tokens.access_token) for name in row} == {"id", "updated_at", "item"}
    assert vendor.read(tokens.access_token, "preferences") == []
    assert vendor.refresh(tokens.refresh_token).scope == "purchases.item:read"


def test_a_row_of_which_nothing_is_left_is_gone(customer: Customer, vendor: Vendor, books: list[str]) -> None:
    tokens = vendor.connect(customer, part("purchases.price"), part("preferences.statement"))
    narrow(customer, tokens.grant_id, drop=frozenset({"purchases.price:read"}))
    assert vendor.read(tokens.access_token) == []


def test_dropping_every_scope_ends_the_grant(customer: Customer, vendor: Vendor, books: list[str]) -> None:
    tokens = vendor.connect(customer)
    shown = narrow(customer, tokens.grant_id, drop=frozenset({"purchases.item:read"}))
    assert (shown.state, shown.rows) == ("revoked", 0)
    with pytest.raises(TokenError):
        vendor.read(tokens.access_token)


def test_a_nearer_end_holds_for_grant_and_tokens(
    customer: Customer, vendor: Vendor, books: list[str], clock: SettableClock
) -> None:
    tokens = vendor.connect(customer)
    narrow(customer, tokens.grant_id, days=1)
    clock.forward(DAY - 30)
    fresh = vendor.refresh(tokens.refresh_token)
    assert fresh.expires_in == 30
    clock.forward(30)
    with pytest.raises(TokenError):
        vendor.read(fresh.access_token)
    with pytest.raises(CodeError):
        vendor.refresh(fresh.refresh_token)
    assert customer.consent.grants.get(customer.vault, tokens.grant_id).state == "expired"


def test_a_shorter_period_takes_rows_out(customer: Customer, vendor: Vendor) -> None:
    for day in ("2026-10-01", "2025-12-01"):
        customer.buy(day, order={"ordered": day})
    tokens = vendor.connect(customer, part("purchases.item"), part("preferences.statement"))
    narrow(customer, tokens.grant_id, period="P3M")
    assert vendor.titles(tokens.access_token) == ["2026-10-01"]
    agreement = customer.consent.grants.get(customer.vault, tokens.grant_id).agreement
    assert [one.get("period") for one in agreement.parts] == ["P3M", None]


def test_fewer_kinds_of_purchases_take_rows_out(customer: Customer, vendor: Vendor, books: list[str]) -> None:
    customer.buy("Almanac", "gift")
    tokens = vendor.connect(customer, for_whom=frozenset({"self", "gift"}))
    assert len(vendor.read(tokens.access_token)) == 4
    narrow(customer, tokens.grant_id, for_whom=frozenset({"gift"}))
    assert vendor.titles(tokens.access_token) == ["Almanac"]


@pytest.mark.parametrize(
    ("wider", "name"),
    [
        ({"days": 91}, "days"),
        ({"days": 0}, "days"),
        ({"days": -1}, "days"),
        ({"period": "P3Y"}, "period"),
        ({"period": "P25M"}, "period"),
        ({"period": "soon"}, "period"),
        ({"for_whom": frozenset({"self", "gift"})}, "for_whom"),
    ],
)
def test_widening_is_refused_and_changes_nothing(
    wider: dict[str, Any], name: str, customer: Customer, vendor: Vendor, books: list[str]
) -> None:
    tokens = vendor.connect(customer, part("purchases.item", period="P2Y"))
    before = customer.consent.grants.get(customer.vault, tokens.grant_id)
    with pytest.raises(ValidationError) as caught:
        narrow(customer, tokens.grant_id, **wider)
    assert set(caught.value.fields) == {name}
    assert customer.consent.grants.get(customer.vault, tokens.grant_id) == before


def test_what_is_not_shared_any_more_does_not_come_back_with_a_change(
    customer: Customer, vendor: Vendor, books: list[str]
) -> None:
    tokens = vendor.connect(customer)
    narrow(customer, tokens.grant_id, exclude=frozenset({books[0]}))
    customer.change(books[0], "item", title="Kindred, second edition")
    assert vendor.titles(tokens.access_token) == ["Beloved", "Emma"]


def test_what_was_taken_out_stays_out_with_the_next_narrowing(
    customer: Customer, vendor: Vendor, books: list[str]
) -> None:
    tokens = vendor.connect(customer)
    narrow(customer, tokens.grant_id, exclude=frozenset({books[0]}))
    shown = narrow(customer, tokens.grant_id, exclude=frozenset({books[1]}))
    assert shown.reserve.exclude >= {books[0], books[1]}
    customer.change(books[0], "item", title="Kindred, second edition")
    assert vendor.titles(tokens.access_token) == ["Emma"]


def test_many_records_are_narrowed_in_steps(
    customer: Customer, vendor: Vendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vrm.consent import grants

    monkeypatch.setattr(grants, "_BATCH", 2)
    records = [customer.buy(f"Book {number}") for number in range(5)]
    tokens = vendor.connect(customer)
    narrow(customer, tokens.grant_id, exclude=frozenset(records[:3]))
    assert vendor.titles(tokens.access_token) == ["Book 3", "Book 4"]


def test_an_ended_or_foreign_grant_is_not_narrowed(
    customer: Customer, vendor: Vendor, vaults: Vaults, books: list[str]
) -> None:
    tokens = vendor.connect(customer)
    bob = Customer(vaults.create("bob", PASSPHRASE)[0], customer.consent)
    for act in (
        lambda: narrow(bob, tokens.grant_id, days=1),
        lambda: bob.consent.grants.revoke(bob.vault, tokens.grant_id),
        lambda: bob.consent.grants.get(bob.vault, tokens.grant_id),
        lambda: narrow(customer, "unknown", days=1),
    ):
        with pytest.raises(GrantNotFoundError):
            act()
    customer.consent.grants.revoke(customer.vault, tokens.grant_id)
    with pytest.raises(GrantNotFoundError):
        narrow(customer, tokens.grant_id, days=1)


def test_an_altered_grant_ends_when_she_narrows_another(
    customer: Customer, vendor: Vendor, books: list[str], engine: SqliteEngine
) -> None:
    one, other = vendor.connect(customer), vendor.connect(customer)
    with engine.write() as transaction:
        transaction.execute("UPDATE grants SET wrapped = x'00' WHERE grant_id = ?", (one.grant_id,))
    narrow(customer, other.grant_id, exclude=frozenset({books[0]}))
    with pytest.raises(TokenError):
        vendor.read(one.access_token)
    assert len(vendor.read(other.access_token)) == 2
    assert [view.id for view in customer.consent.grants.listing(customer.vault)] == [other.grant_id]


def test_stopping_is_in_force_when_it_returns_and_twice_is_once(
    customer: Customer, vendor: Vendor, books: list[str]
) -> None:
    tokens = vendor.connect(customer)
    access = customer.consent.reader.authenticate(tokens.access_token)
    for _ in range(2):
        customer.consent.grants.revoke(customer.vault, tokens.grant_id)
    with pytest.raises(GrantInactiveError):
        customer.consent.reader.page(access, "purchases")
    with pytest.raises(GrantInactiveError):
        customer.consent.reader.one(access, "purchases", "0" * 32)
    with pytest.raises(GrantInactiveError):
        customer.consent.reader.grant(access)
    with pytest.raises(CodeError):
        vendor.refresh(tokens.refresh_token)
    assert customer.events().count("revoked") == 1
    assert customer.consent.problems(customer.vault) == []


def test_stopping_says_whether_it_did_and_what_ran_out_was_not_stopped(
    customer: Customer, vendor: Vendor, books: list[str], clock: SettableClock
) -> None:
    grants, (one, other) = customer.consent.grants, [vendor.connect(customer) for _ in range(2)]
    assert grants.revoke(customer.vault, one.grant_id)
    assert not grants.revoke(customer.vault, one.grant_id)
    clock.forward(366 * DAY)
    assert not grants.revoke(customer.vault, other.grant_id)
    assert grants.get(customer.vault, other.grant_id).state == "expired"
    assert [customer.events().count(event) for event in ("revoked", "expired")] == [1, 1]


def test_a_code_of_a_grant_that_was_stopped_is_worth_nothing(
    customer: Customer, vendor: Vendor, books: list[str]
) -> None:
    code = customer.approve(vendor.ask())
    [shown] = customer.consent.grants.listing(customer.vault)
    customer.consent.grants.revoke(customer.vault, shown.id)
    with pytest.raises(CodeError):
        vendor.redeem(code)


def test_blocking_ends_a_vendors_grants_in_every_vault(
    customer: Customer, vendor: Vendor, vaults: Vaults, consent: Consent, books: list[str]
) -> None:
    bob = Customer(vaults.create("bob", PASSPHRASE)[0], consent)
    tokens = [vendor.connect(customer), vendor.connect(bob)]
    kept = Vendor.register(consent, "Toy Shop").connect(customer)
    assert consent.sweeping.block(vendor.registered.client_id) == 2
    for token in tokens:
        with pytest.raises(TokenError):
            vendor.read(token.access_token)
    assert len(vendor.read(kept.access_token)) == 3
    assert customer.events()[0] == "read"
    for person in (customer, bob):
        assert person.events().count("blocked") == 1
    assert consent.sweeping.block(vendor.registered.client_id) == 0
    with pytest.raises(VendorNotFoundError):
        consent.sweeping.block("unknown")


def test_the_sweep_ends_what_is_over_and_tells_her(
    customer: Customer,
    vendor: Vendor,
    consent: Consent,
    books: list[str],
    clock: SettableClock,
    engine: SqliteEngine,
) -> None:
    tokens = vendor.connect(customer, days=2)
    vendor.ask()
    for _ in range(3):
        clock.forward(DAY)
        assert consent.sweep()
    assert customer.events()[0] == "expired"
    assert engine.all("SELECT state FROM grants") == [("expired",)]
    assert engine.one("SELECT count(*) FROM views") == (0,)
    assert engine.one("SELECT count(*) FROM requests") == (0,)
    assert engine.one("SELECT count(*) FROM tokens WHERE wrapped IS NOT NULL") == (0,)
    for _ in range(35):
        clock.forward(DAY)
        consent.sweep()
    assert engine.one("SELECT count(*) FROM tokens") == (0,)
    assert consent.grants.get(customer.vault, tokens.grant_id).state == "expired"
    assert consent.at_unlock(customer.vault) == []


def test_at_unlock_the_root_stops_vouching_for_what_ended_meanwhile(
    customer: Customer, vendor: Vendor, consent: Consent, books: list[str], engine: SqliteEngine
) -> None:
    tokens = vendor.connect(customer)
    consent.sweeping.block(vendor.registered.client_id)
    assert consent.at_unlock(customer.vault) == []
    with engine.write() as transaction:
        transaction.execute("UPDATE grants SET state = 'live'")
    assert consent.problems(customer.vault) == [f"grant {tokens.grant_id} was planted or altered"]


def test_what_left_its_period_leaves_the_disk_at_the_next_unlock(
    customer: Customer, vendor: Vendor, consent: Consent, clock: SettableClock, engine: SqliteEngine
) -> None:
    customer.buy("Old", order={"ordered": "2026-08-20"})
    customer.buy("New", order={"ordered": "2026-11-01"})
    tokens = vendor.connect(customer, part("purchases.item", period="P3M"), part("purchases.price"))
    clock.forward(10 * DAY)
    consent.at_unlock(customer.vault)
    fresh = vendor.refresh(tokens.refresh_token)
    rows = {row["id"]: set(row) - {"id", "updated_at"} for row in vendor.read(fresh.access_token)}
    assert sorted(map(sorted, rows.values())) == [["item", "price"], ["price"]]
    grant = consent.grants.open(customer.vault, tokens.grant_id)
    [contents] = consent.views.contents(grant).values()
    assert sorted(len(scopes) for scopes in contents.values()) == [1, 2]
    stored = engine.all("SELECT item, seq, sealed FROM views WHERE sealed IS NOT NULL")
    opened = [grant.ciphers().open(sealed, item, seq) for item, seq, sealed in stored]
    assert sorted(map(len, opened)) == [1, 2]  # not only withheld: it is no longer there
    assert consent.grants.differences(customer.vault) == []


def test_she_sees_what_leaves_now_and_what_was_read(
    customer: Customer, vendor: Vendor, books: list[str]
) -> None:
    tokens = vendor.connect(customer, part("purchases.item", fields=["title"]))
    leaving = list(customer.consent.grants.leaving(customer.vault, tokens.grant_id))
    assert {record: row for _, record, row in leaving} == {
        record: {"item": {"title": title}}
        for record, title in zip(books, ("Kindred", "Beloved", "Emma"), strict=True)
    }
    customer.change(books[0], "context", **{"for": "gift"})
    assert len(list(customer.consent.grants.leaving(customer.vault, tokens.grant_id))) == 2
    vendor.read(tokens.access_token)
    events = [entry.event for entry in customer.consent.grants.history(customer.vault, tokens.grant_id)]
    assert events == ["read", "connected", "granted"]


def test_looking_for_differences_changes_nothing(
    customer: Customer, vendor: Vendor, books: list[str], engine: SqliteEngine, clock: SettableClock
) -> None:
    old = customer.buy("Old", order={"ordered": "2026-08-20"})
    tokens = vendor.connect(customer, part("purchases.item", period="P3M"))
    other = vendor.connect(customer)
    clock.forward(10 * DAY)
    with engine.write() as transaction:
        transaction.execute("UPDATE views SET sealed = zeroblob(300) WHERE grant_id = ?", (other.grant_id,))
    before = engine.all("SELECT * FROM views"), engine.all("SELECT * FROM grants")
    assert customer.consent.grants.differences(customer.vault) == []
    assert (engine.all("SELECT * FROM views"), engine.all("SELECT * FROM grants")) == before
    leaving = [record for _, record, _ in customer.consent.grants.leaving(customer.vault, tokens.grant_id)]
    assert old not in leaving


def test_views_that_differ_from_the_policy_are_named(
    customer: Customer, vendor: Vendor, books: list[str], engine: SqliteEngine
) -> None:
    tokens = vendor.connect(customer)
    grants = customer.consent.grants
    assert grants.differences(customer.vault) == []
    with engine.write() as transaction:
        transaction.execute("DELETE FROM views WHERE seq = 1")
    assert grants.differences(customer.vault) == [f"grant {tokens.grant_id}: a row differs from the policy"]
    with engine.write() as transaction:
        transaction.execute("DELETE FROM records WHERE record = ?", (books[0],))
        transaction.execute("DELETE FROM records WHERE record = ?", (books[1],))
    assert f"grant {tokens.grant_id}: a row that no record explains" in grants.differences(customer.vault)


@pytest.mark.parametrize(
    ("one", "other", "is_longer"),
    [
        ("P1Y", "P12M", False),
        ("P13M", "P1Y", True),
        ("P52W", "P1Y", False),
        ("P366D", "P1Y", True),
        ("P1D", "P1D", False),
    ],
)
def test_periods_are_compared_by_how_far_they_reach(one: str, other: str, is_longer: bool) -> None:
    assert longer(one, other) is is_longer


def test_an_unreadable_roster_ends_every_grant_at_her_next_act(
    customer: Customer, vendor: Vendor, books: list[str], engine: SqliteEngine
) -> None:
    """What the root vouches for cannot be known: so nothing may stay readable."""
    tokens = vendor.connect(customer)
    with engine.write() as transaction:
        transaction.execute("UPDATE vaults SET roster = x'01'")
    found = customer.consent.problems(customer.vault)
    assert "the list of keyslots and grants was altered" in found
    assert f"grant {tokens.grant_id} was planted or altered" in found
    customer.change(books[0], "item", title="Kindred, second edition")
    with pytest.raises(TokenError):
        vendor.read(tokens.access_token)


def test_an_altered_grant_ends_when_she_narrows_it(
    customer: Customer, vendor: Vendor, books: list[str], engine: SqliteEngine
) -> None:
    """Its agreement still opens, but the root does not vouch for it any more: so nothing of it is kept."""
    tokens = vendor.connect(customer)
    with engine.write() as transaction:
        transaction.execute("UPDATE vaults SET roster = x'01'")
    assert narrow(customer, tokens.grant_id, exclude=frozenset({books[0]})).state == "revoked"
    with pytest.raises(TokenError):
        vendor.read(tokens.access_token)
    assert engine.one("SELECT count(*) FROM views WHERE sealed IS NOT NULL") == (0,)
    assert "narrowed" not in customer.events()


def test_altered_rows_of_a_view_leave_it_at_the_next_unlock(
    customer: Customer, vendor: Vendor, books: list[str], engine: SqliteEngine
) -> None:
    tokens = vendor.connect(customer)
    with engine.write() as transaction:
        transaction.execute("UPDATE views SET sealed = zeroblob(300) WHERE seq = 1")
    customer.consent.grants.retire(customer.vault)
    assert len(vendor.read(tokens.access_token)) == 2


def test_an_altered_route_is_swept_without_a_word(
    customer: Customer, vendor: Vendor, books: list[str], engine: SqliteEngine, clock: SettableClock
) -> None:
    vendor.connect(customer, days=1)
    with engine.write() as transaction:
        transaction.execute("UPDATE grants SET routing = x'00'")
    customer.consent.sweep()
    clock.forward(DAY)
    assert customer.consent.sweep()
    assert engine.all("SELECT state FROM grants") == [("expired",)]
    assert "expired" not in customer.events()


def test_a_jump_of_the_clock_is_waited_out(
    customer: Customer, vendor: Vendor, books: list[str], engine: SqliteEngine, clock: SettableClock
) -> None:
    vendor.connect(customer, days=1)
    customer.consent.sweep()
    clock.forward(2 * DAY)
    assert customer.consent.sweep()
    assert engine.all("SELECT state FROM grants") == [("live",)]
    clock.forward(3600)
    assert customer.consent.sweep()
    assert engine.all("SELECT state FROM grants") == [("expired",)]
