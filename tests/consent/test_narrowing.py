"""Access tokens for less: every object asked is within a granted one, or nothing is given."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.attacks.actors import Customer, Vendor, part
from vrm.consent import narrowing
from vrm.consent.scopes import check_details, scopes_of
from vrm.consent.service import Consent
from vrm.errors import DetailsError, InsufficientScopeError, ScopeError


def clean(*datatypes: str, **rest: Any) -> dict[str, Any]:
    """A part as it is granted."""
    return check_details([part(*datatypes, **rest)], beside_scope=True)[0]


BOOKS = clean("purchases.item", "purchases.order", "purchases.price", period="P2Y", terms="SD-BASE")
NAME = clean("profile.name", "profile.contact")
INBOX = clean("inbox", actions=["write"])


def by_details(granted: list[dict[str, Any]], *asked: dict[str, Any]) -> str:
    return narrowing.by_details(granted, check_details(list(asked), beside_scope=True))


@pytest.mark.parametrize(
    ("asked", "scopes"),
    [
        ([BOOKS, NAME, INBOX], {*scopes_of(BOOKS), *scopes_of(NAME), "inbox:write"}),
        ([part("purchases.item")], {"purchases.item:read"}),
        ([part("purchases.item", period="P2Y", terms="SD-BASE")], {"purchases.item:read"}),
        ([part("purchases.item", necessity="optional")], {"purchases.item:read"}),
        ([part("purchases.order"), part("profile.name")], {"purchases.order:read", "profile.name:read"}),
        ([INBOX], {"inbox:write"}),
    ],
)
def test_whole_parts_and_fewer_datatypes_are_within(asked: list[dict[str, Any]], scopes: set[str]) -> None:
    assert set(by_details([BOOKS, NAME, INBOX], *asked).split()) == scopes


@pytest.mark.parametrize(
    "asked",
    [
        part("purchases.context"),
        part("purchases.item", "purchases.context"),
        part("purchases.item", purpose="CustomerCare"),
        part("purchases.item", period="P1Y"),
        part("purchases.item", period="P3Y"),
        part("purchases.item", terms="SD-BASE-A"),
        part("purchases.item", retention="P1D"),
        part("purchases.item", filter={"category": ["books"]}),
        part("purchases.item", fields=["title"]),
        part("purchases.item", response_channel="none"),
        part("purchases", actions=["write"]),
        part("answers.corrections"),
    ],
)
def test_anything_else_is_more(asked: dict[str, Any]) -> None:
    """A shorter period, too: the rows of the longer one open with the same key."""
    with pytest.raises(DetailsError, match="more was asked for"):
        by_details([BOOKS, NAME], part("profile.name"), asked)


def test_fields_go_with_their_datatypes() -> None:
    granted = clean("purchases.item", "purchases.order", fields=["title", "ordered"])
    assert by_details([granted], part("purchases.item")) == "purchases.item:read"
    assert by_details([granted], part("purchases.item", fields=["title"])) == "purchases.item:read"
    [less] = narrowing.cut([granted], ["purchases.item:read"])
    assert (less["datatypes"], less["fields"]) == (["purchases.item"], ["title"])
    with pytest.raises(DetailsError):
        by_details([granted], part("purchases.item", fields=["title", "brand"]))


def test_what_was_granted_twice_is_named_twice_or_not_at_all() -> None:
    """One key opens the rows of both: a token for one alone would carry more than was asked."""
    old = clean("purchases.item", filter={"category": ["books"]})
    new = clean("purchases.item", "purchases.price", period="P1Y")
    with pytest.raises(DetailsError, match="in other parts, too"):
        by_details([old, new], part("purchases.item", filter={"category": ["books"]}))
    both = by_details([old, new], old, part("purchases.item", period="P1Y"))
    assert both == "purchases.item:read"
    assert by_details([old, new], part("purchases.price")) == "purchases.price:read"


def test_the_parts_that_are_told_are_cut_to_the_token() -> None:
    told = narrowing.cut([BOOKS, NAME, INBOX], ["purchases.order:read", "inbox:write"])
    assert [one["datatypes"] for one in told] == [["purchases.order"], ["inbox"]]
    assert told[0]["period"] == "P2Y"
    assert narrowing.cut([BOOKS], scopes_of(BOOKS)) == [BOOKS]


NAMES = ["purchases.item", "purchases.order", "purchases.price", "profile.name", "profile.contact"]


@given(st.lists(st.sampled_from(NAMES), min_size=1, unique=True))
def test_narrowing_never_widens(names: list[str]) -> None:
    granted = [clean("purchases.item", "purchases.price"), clean("profile.name")]
    allowed = {scope for one in granted for scope in scopes_of(one)}
    asked = [part(name) for name in names]
    if {f"{name}:read" for name in names} <= allowed:
        assert set(by_details(granted, *asked).split()) == {f"{name}:read" for name in names}
    else:
        with pytest.raises(DetailsError):
            by_details(granted, *asked)


def test_a_scope_parameter_narrows_as_well() -> None:
    granted = ("purchases.item:read", "purchases.price:read")
    assert narrowing.by_scope(granted, None) == narrowing.by_scope(granted, " ") == granted
    assert narrowing.by_scope(granted, "purchases.price:read") == granted[1:]
    with pytest.raises(ScopeError):
        narrowing.by_scope(granted, "profile.name:read")


def test_a_narrower_token_carries_no_other_key(
    customer: Customer, vendor: Vendor, consent: Consent, books: list[str]
) -> None:
    given = vendor.connect(customer, part("purchases.item", "purchases.price"))
    wanted = check_details([part("purchases.item")], beside_scope=True)
    less = consent.tokens.refresh(given.refresh_token, vendor.registered, details=wanted)
    assert less.scope == "purchases.item:read"
    assert [one["datatypes"] for one in less.authorization_details] == [["purchases.item"]]
    assert {key for item in vendor.read(less.access_token) for key in item} <= {"id", "updated_at", "item"}
    with pytest.raises(InsufficientScopeError):
        vendor.read(less.access_token, "profile")
    wider = consent.tokens.refresh(less.refresh_token, vendor.registered)
    assert wider.scope == given.scope  # the grant is as it was
