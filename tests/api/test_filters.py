"""Filters of a list over HTTP: what is open to a token, and how everything else is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.api.actors import Customer, Shop, connect, problem
from tests.api.conftest import BOOKS

ALL = "purchases.item:read purchases.order:read"
OTHER = {
    "category": "toys",
    "seller": "toys.example",
    "ordered_from": "2026-09-01",
    "ordered_to": "2026-05-31",
}


def more(customer: Customer, title: str, record: str | None = None, **order: str) -> str:
    """Something that is no book."""
    document = {
        "item": {"title": title, "category": "toys"},
        "order": {"seller": "toys.example", "ordered": "2026-09-01", **order},
        "context": {"for": "self"},
    }
    return customer.vault.records("purchases").put(document, record)


def titles(shop: Shop, token: dict[str, Any], query: str) -> list[str]:
    answer = shop.read("/purchases?" + query, token["access_token"])
    assert answer.status_code == 200, answer.get_data(as_text=True)
    return sorted(row["item"]["title"] for row in answer.get_json()["items"])


@pytest.fixture
def token(shop: Shop, customer: Customer) -> dict[str, Any]:
    more(customer, "Blocks")
    more(customer, "Kite", ordered="2026-10-31")
    return connect(shop, customer, scope=ALL)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("category=toys", ["Blocks", "Kite"]),
        ("category=books", sorted(BOOKS)),
        ("category=garden", []),
        ("category=Toys", []),
        ("category=%20toys%20", ["Blocks", "Kite"]),
        ("seller=toys.example", ["Blocks", "Kite"]),
        ("ordered_from=2026-09-01", ["Blocks", "Kite"]),
        ("ordered_from=2026-09-02", ["Kite"]),
        ("ordered_to=2026-06-01", sorted(BOOKS)),
        ("ordered_to=2026-05-31", []),
        ("ordered_from=2026-09-01&ordered_to=2026-09-01", ["Blocks"]),
        ("category=toys&seller=books.example", []),
        ("category=toys&ordered_to=2026-09-30&seller=toys.example", ["Blocks"]),
    ],
)
def test_a_filter_gives_what_it_says(
    shop: Shop, token: dict[str, Any], query: str, expected: list[str]
) -> None:
    assert titles(shop, token, query) == expected


def test_filters_go_together_with_limit_cursor_and_updated_since(
    shop: Shop, customer: Customer, token: dict[str, Any], clock: Any, purchases: list[str]
) -> None:
    found, cursor = [], ""
    while cursor is not None:
        path = "/purchases?category=books&limit=2" + (f"&cursor={cursor}" if cursor else "")
        page = shop.read(path, token["access_token"]).get_json()
        found += [row["item"]["title"] for row in page["items"]]
        cursor = page["next"]
        assert len(page["items"]) == 2 or cursor is None
    assert sorted(found) == sorted(BOOKS)
    clock.forward(60)
    more(customer, "Dice", purchases[0])
    assert titles(shop, token, "category=toys&updated_since=2026-11-18T11:07:00Z") == ["Dice"]
    assert titles(shop, token, "category=books&updated_since=2026-11-18T11:07:00Z") == []


# --- what is not open looks like what does not exist


def test_a_filter_on_a_facet_that_is_not_granted_is_an_unknown_parameter(
    shop: Shop, customer: Customer
) -> None:
    token = connect(shop, customer, scope="purchases.price:read")["access_token"]
    unknown = shop.read("/purchases?anything=1", token)
    for name in OTHER:
        for value in ("books", "2026-09-01", "", "%00", "x" * 5000):
            answer = shop.read(f"/purchases?{name}={value}", token)
            problem(answer, 400, "invalid-parameter")
            assert answer.data == unknown.data
            assert answer.headers.to_wsgi_list() == unknown.headers.to_wsgi_list()


def test_a_token_without_the_order_scope_cannot_filter_by_seller_or_date(
    shop: Shop, token: dict[str, Any]
) -> None:
    narrow = shop.refresh(token["refresh_token"], scope="purchases.item:read").get_json()["access_token"]
    unknown = shop.read("/purchases?anything=1", narrow).data
    for name in ("seller", "ordered_from", "ordered_to"):
        assert shop.read(f"/purchases?{name}={OTHER[name]}", narrow).data == unknown
        assert shop.read(f"/purchases?category=books&{name}={OTHER[name]}", narrow).data == unknown
        assert shop.read(f"/purchases?{name}=a&{name}=b", narrow).data == unknown
    assert len(shop.read("/purchases?category=toys", narrow).get_json()["items"]) == 2


def test_a_filter_on_a_field_that_was_cut_is_an_unknown_parameter(shop: Shop, customer: Customer) -> None:
    details = [
        {
            "type": "vrm_access",
            "datatypes": ["purchases.item", "purchases.order"],
            "purpose": "ProvideProductRecommendations",
            "fields": ["title", "seller"],
        }
    ]
    token = connect(shop, customer, scope=None, authorization_details=json.dumps(details))["access_token"]
    unknown = shop.read("/purchases?anything=1", token).data
    for name in ("category", "ordered_from", "ordered_to"):
        assert shop.read(f"/purchases?{name}={OTHER[name]}", token).data == unknown
    assert len(shop.read("/purchases?seller=books.example", token).get_json()["items"]) == len(BOOKS)


@pytest.mark.parametrize("path", ["/profile", "/preferences", "/nothing", "/purchases/changes", "/grant"])
def test_filters_exist_for_lists_of_purchases_only(shop: Shop, token: dict[str, Any], path: str) -> None:
    answer = shop.read(path + "?category=books", token["access_token"])
    problem(answer, 400, "invalid-parameter")
    assert answer.data == shop.read(path + "?anything=1", token["access_token"]).data


def test_what_was_narrowed_away_is_no_longer_a_filter(
    shop: Shop, customer: Customer, token: dict[str, Any]
) -> None:
    customer.consent.grants.narrow(
        customer.vault, token["grant_id"], drop=frozenset({"purchases.order:read"})
    )
    access = token["access_token"]
    unknown = shop.read("/purchases?anything=1", access).data
    assert shop.read("/purchases?seller=toys.example", access).data == unknown
    assert len(shop.read("/purchases?category=toys", access).get_json()["items"]) == 2


# --- values


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("category=", "category"),
        ("category=%20", "category"),
        ("category=a%00b", "category"),
        ("category=a%E2%80%AEb", "category"),
        ("category=" + "x" * 61, "category"),
        ("category=" + "x" * 1_000_000, "category"),
        ("category=books&category=books", "category"),
        ("category=books&category=toys", "category"),
        ("seller=", "seller"),
        ("seller=" + "x" * 121, "seller"),
        ("ordered_from=", "ordered_from"),
        ("ordered_from=yesterday", "ordered_from"),
        ("ordered_from=2026-02-30", "ordered_from"),
        ("ordered_from=2026-1-1", "ordered_from"),
        ("ordered_from=20260101", "ordered_from"),
        ("ordered_from=2026-01-01T00:00:00Z", "ordered_from"),
        ("ordered_from=2026-W01-1", "ordered_from"),
        ("ordered_to=0000-01-01", "ordered_to"),
        ("ordered_to=%EF%BC%92026-01-01", "ordered_to"),
        ("ordered_from=2026-02-01&ordered_to=2026-01-31", "ordered_to"),
        ("cursor=AAAA&category=books", "cursor"),
    ],
)
def test_a_malformed_value_is_refused_by_name(
    shop: Shop, token: dict[str, Any], query: str, name: str
) -> None:
    found = problem(shop.read("/purchases?" + query, token["access_token"]), 400, "invalid-parameter")
    assert list(found["errors"]) == [name]
    assert len(json.dumps(found)) < 500


@pytest.mark.parametrize(
    "query",
    [
        "category=books&limit=2",
        "category=toys&limit=1",
        "category=toys&seller=toys.example&limit=1",
        "category=toys&ordered_from=2026-01-01&limit=1",
        "limit=2",
    ],
)
def test_a_cursor_of_another_filter_is_refused(shop: Shop, token: dict[str, Any], query: str) -> None:
    cursor = shop.read("/purchases?" + query, token["access_token"]).get_json()["next"]
    own, _, _ = query.partition("limit")
    for other in ("", "category=books&", "category=toys&", "seller=toys.example&", "ordered_to=2026-12-31&"):
        answer = shop.read(f"/purchases?{other}cursor={cursor}", token["access_token"])
        if other == own:
            assert answer.status_code == 200
        else:
            problem(answer, 400, "invalid-parameter")
    if own:
        feed = shop.read(f"/purchases/changes?cursor={cursor}", token["access_token"])
        problem(feed, 400, "invalid-parameter")


def test_a_filtered_cursor_of_another_vendor_or_grant_is_refused(
    shop: Shop, other_shop: Shop, customer: Customer, token: dict[str, Any]
) -> None:
    cursor = shop.read("/purchases?category=toys&limit=1", token["access_token"]).get_json()["next"]
    for vendor in (shop, other_shop):
        second = connect(vendor, customer, scope=ALL)["access_token"]
        answer = vendor.read(f"/purchases?category=toys&limit=1&cursor={cursor}", second)
        problem(answer, 400, "invalid-parameter")


# --- the log


def test_a_filtered_reading_is_one_entry_that_says_how_many_and_not_of_what(
    shop: Shop, customer: Customer, token: dict[str, Any], folder: Any
) -> None:
    def readings() -> list[Any]:
        return [one for one in customer.consent.log.read(customer.vault, 100) if one.event == "read"]

    before = len(readings())
    assert titles(shop, token, "category=toys&ordered_from=2026-10-01") == ["Kite"]
    newest, *older = readings()
    assert len(older) == before
    assert newest.count == 1
    assert "toys" not in repr(newest)
    assert "2026-10" not in repr(newest)
    assert not any(b"toys" in path.read_bytes() for path in folder.iterdir() if path.is_file())
