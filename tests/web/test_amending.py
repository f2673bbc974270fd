"""The consent page where a grant is to be changed: what is marked, what stands chosen, whose it must be."""

from __future__ import annotations

import pytest

from tests.web.actors import Customer, Page
from tests.web.conftest import Ask, part, purchase
from tests.web.test_requests import APPROVE, DECLINE, LOOK, answer, decide
from vrm.consent.grants import GrantView
from vrm.consent.service import Consent
from vrm.consent.vendors import Vendor
from vrm.vault.vault import Vault

ITEM, PRICE = part("purchases.item"), part("purchases.price")


@pytest.fixture
def books(opened: Vault) -> list[str]:
    records = opened.records("purchases")
    kept = [records.put(purchase(title, "self")) for title in ("Kindred", "Emma", "Beloved")]
    return [*kept, records.put(purchase("Railways", "gift"))]


@pytest.fixture
def live(alice: Customer, books: list[str], ask: Ask, consent: Consent, opened: Vault) -> GrantView:
    """A grant for which she took one book out, let a gift in, and set a year."""
    handle = ask(part("purchases.item", period="P5Y"), part("purchases.price", necessity="optional"))
    chosen = [("exclude", books[0]), ("for_whom", "gift"), ("period", "P1Y"), ("days", "30")]
    page = alice.submit(alice.get(f"/requests/{handle}").form(handle), LOOK, tick=chosen)
    alice.submit(page.form(handle), APPROVE, follow=False)
    (grant,) = consent.grants.listing(opened)
    assert grant.rows == 3
    return grant


def asked(
    alice: Customer, ask: Ask, live: GrantView, action: str, *parts: dict[str, object]
) -> tuple[Page, str]:
    handle = ask(*parts, action=action, grant_id=live.id)
    return alice.get(f"/requests/{handle}"), handle


def test_what_is_new_and_what_goes_is_named(alice: Customer, ask: Ask, live: GrantView) -> None:
    page, _ = asked(alice, ask, live, "replace", PRICE, part("inbox", actions=["write"]))
    assert "ask to change what you agreed to" in page.text
    assert "take the place of what they have today" in page.text
    for text in ("No longer", "May newly put in", "3 that they do not see like this today"):
        assert text in page.text, text
    page, _ = asked(alice, ask, live, "merge", PRICE)
    assert "They keep what they have today and would get more" in page.text
    assert "No longer" not in page.text


def test_what_goes_is_counted(alice: Customer, ask: Ask, live: GrantView, opened: Vault) -> None:
    page, _ = asked(alice, ask, live, "replace", part("preferences.statement"))
    assert "3 that they see today" in page.text
    page, _ = asked(alice, ask, live, "replace", ITEM)
    assert "that they do not see" not in page.text
    assert "that they see today" not in page.text


def test_what_may_be_put_in_no_longer_is_named(
    alice: Customer, books: list[str], ask: Ask, consent: Consent, opened: Vault
) -> None:
    decide(alice, ask(ITEM, part("inbox", actions=["write"])))
    (grant,) = consent.grants.listing(opened)
    page, _ = asked(alice, ask, grant, "replace", part("purchases.item", purpose="RequestedServiceProvision"))
    assert "May no longer put in" in page.text


def test_what_she_chose_before_stands_chosen(
    alice: Customer, ask: Ask, live: GrantView, books: list[str]
) -> None:
    for action in ("replace", "merge"):
        page, handle = asked(alice, ask, live, action, part("purchases.item", period="P2Y"), PRICE)
        form = page.form(handle)
        assert form.values("for_whom") == ["self", "gift"]
        assert form.values("exclude") == [books[0]]
        assert form.value("period") == "P1Y"
        assert form.value("days") == "30"


def test_what_she_took_out_of_another_grant_stays_out_unless_they_see_it_today(
    alice: Customer, ask: Ask, live: GrantView, books: list[str], consent: Consent, opened: Vault
) -> None:
    consent.grants.narrow(opened, live.id, exclude=frozenset({books[1]}))
    decide(alice, ask(part("preferences.statement")))
    (other,) = [grant for grant in consent.grants.listing(opened) if grant.id != live.id]
    page, handle = asked(alice, ask, other, "merge", ITEM)
    assert set(page.form(handle).values("exclude")) == {books[0], books[1]}
    hers = {"tick": [("for_whom", "self")], "untick": [("exclude", books[1])]}
    page = alice.submit(page.form(handle), LOOK, **hers)
    alice.submit(page.form(handle), APPROVE, follow=False)
    handle = ask(PRICE, action="merge", grant_id=other.id)
    page = alice.get(f"/requests/{handle}")
    assert page.form(handle).values("exclude") == [books[0]], "the other one she has put in again"


def test_an_extra_that_she_had_taken_stands_ticked_and_a_new_one_does_not(
    alice: Customer, books: list[str], ask: Ask, consent: Consent, opened: Vault
) -> None:
    extras = [
        ITEM,
        part("purchases.price", necessity="optional"),
        part("purchases.order", necessity="optional"),
    ]
    handle = ask(*extras[:2])
    decide(alice, handle, tick=[("optional", "1")])
    (grant,) = consent.grants.listing(opened)
    page, handle = asked(alice, ask, grant, "replace", *extras)
    assert page.form(handle).values("optional") == ["1"]


WIDER = {
    "more fields": {"fields": ["title", "brand"]},
    "all fields": {},
    "another purpose": {"fields": ["title"], "purpose": "RequestedServiceProvision"},
    "no end": {"fields": ["title"], "period": None},
    "more of it": {"datatypes": ["purchases.item", "purchases.order"]},
}


@pytest.mark.parametrize("action", ["replace", "merge"])
@pytest.mark.parametrize("changes", WIDER.values(), ids=WIDER)
def test_an_extra_that_asks_for_more_than_she_had_taken_does_not_stand_ticked(
    alice: Customer,
    books: list[str],
    ask: Ask,
    consent: Consent,
    opened: Vault,
    action: str,
    changes: dict[str, object],
) -> None:
    extra = {"necessity": "optional", "period": "P90D"}
    handle = ask(PRICE, part("purchases.item", fields=["title"], **extra))
    decide(alice, handle, tick=[("optional", "1")])
    (grant,) = consent.grants.listing(opened)
    said = {**part("purchases.item", **extra), **changes}
    wider = {name: value for name, value in said.items() if value is not None}
    page, handle = asked(alice, ask, grant, action, PRICE, wider)
    assert page.form(handle).values("optional") == ([] if action == "replace" else ["2"])
    decide(alice, handle)
    [new] = [one for one in consent.grants.listing(opened) if one.state == "live"]
    kept = [one for one in new.agreement.parts if "purchases.item" in one["datatypes"]]
    assert [one["fields"] for one in kept] == ([] if action == "replace" else [["title"]])


@pytest.mark.parametrize("action", ["replace", "merge"])
def test_an_extra_that_asks_for_less_than_she_had_taken_stands_ticked(
    alice: Customer, books: list[str], ask: Ask, consent: Consent, opened: Vault, action: str
) -> None:
    handle = ask(PRICE, part("purchases.item", "purchases.order", necessity="optional"))
    decide(alice, handle, tick=[("optional", "1")])
    (grant,) = consent.grants.listing(opened)
    less = part("purchases.item", fields=["title"], period="P1Y", necessity="optional")
    page, handle = asked(alice, ask, grant, action, PRICE, less)
    assert page.form(handle).values("optional") == (["1"] if action == "replace" else ["1", "2"])


def test_an_extra_says_which_facts_it_asks_for(alice: Customer, books: list[str], ask: Ask) -> None:
    extra = part("purchases.item", fields=["title"], necessity="optional")
    page = alice.get(f"/requests/{ask(PRICE, extra)}")
    assert "Purchases: what it is (title)" in " ".join(page.text.split())


def test_a_change_is_approved_on_the_page(
    alice: Customer, ask: Ask, live: GrantView, consent: Consent, opened: Vault
) -> None:
    _, handle = asked(alice, ask, live, "merge", PRICE)
    assert "code" in answer(decide(alice, handle))
    new, old = sorted(consent.grants.listing(opened), key=lambda one: one.state)
    assert (new.state, old.state) == ("live", "replaced")
    assert new.rows == 3
    page = alice.get(f"/companies/{new.id}")
    assert "You agreed to a changed version of it" in page.text
    assert "changed since" in alice.get(f"/companies/{old.id}").text


def test_what_was_narrowed_meanwhile_is_shown_again(
    alice: Customer, ask: Ask, live: GrantView, consent: Consent, opened: Vault
) -> None:
    page, handle = asked(alice, ask, live, "merge", PRICE)
    consent.grants.narrow(opened, live.id, days=9)
    again = alice.submit(page.form(handle), APPROVE, follow=False)
    assert again.status == 409
    assert consent.grants.get(opened, live.id).state == "live"


# --- not hers


def can_only_be_declined(alice: Customer, page: Page, handle: str) -> None:
    assert page.status == 200
    assert page.form(handle).buttons == [("decision", "decline")]
    refused = alice.submit(page.form(handle), APPROVE, follow=False)
    assert refused.status == 409
    assert answer(alice.submit(page.form(handle), DECLINE, follow=False))["error"] == "access_denied"


@pytest.mark.parametrize("action", ["replace", "merge"])
def test_what_is_not_in_this_vault_can_only_be_declined(
    alice: Customer, ask: Ask, live: GrantView, action: str
) -> None:
    handle = ask(PRICE, action=action, grant_id="x" * 22)
    page = alice.get(f"/requests/{handle}")
    assert "not in this vault, or it has ended" in page.text
    can_only_be_declined(alice, page, handle)


def test_what_cannot_be_added_can_only_be_declined(
    alice: Customer, ask: Ask, live: GrantView, consent: Consent, opened: Vault
) -> None:
    page, handle = asked(alice, ask, live, "merge", part("purchases.item", fields=["title"]))
    assert "the two do not fit together" in page.text
    can_only_be_declined(alice, page, handle)
    assert consent.grants.get(opened, live.id).state == "live"


def test_what_ended_while_she_looked_can_only_be_declined(
    alice: Customer, ask: Ask, live: GrantView, consent: Consent, opened: Vault
) -> None:
    page, handle = asked(alice, ask, live, "replace", PRICE)
    consent.grants.revoke(opened, live.id)
    refused = alice.submit(page.form(handle), APPROVE, follow=False)
    assert refused.status == 409
    assert "not in this vault, or it has ended" in refused.text
    assert len(consent.grants.listing(opened)) == 1


# --- what goes along


def test_where_it_may_be_shown_and_what_may_be_managed_is_named(
    alice: Customer, books: list[str], ask: Ask, consent: Consent, opened: Vault
) -> None:
    shelf = "https://shelf.example/api"
    consent.vendors.add("Shelf Service", resource_server=True, resource=shelf)
    handle = ask(ITEM, resource=["", shelf, "https://gone.example"], manage=["grant_management_query"])
    page = alice.get(f"/requests/{handle}")
    for text in ("Look up what you agreed to", "Shelf Service", shelf, "https://gone.example"):
        assert text in page.text
    decide(alice, handle)
    (grant,) = consent.grants.listing(opened)
    page = alice.get(f"/companies/{grant.id}")
    assert "Look up what you agreed to" in page.text
    assert shelf in page.text


def test_a_request_without_any_says_nothing_of_it(
    alice: Customer, books: list[str], ask: Ask, vendor: Vendor
) -> None:
    page = alice.get(f"/requests/{ask(ITEM)}")
    assert "What goes along" not in page.text
    assert "ask to change" not in page.text
