"""Filters: which are open, where rows of a value stand, and blocks of days that are a range."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.attacks.actors import part
from vrm.consent.filters import BLOCKS, EVERYTHING, FILTERED, PARAMETERS, Wanted, cover, open_to, posted
from vrm.consent.policy import Agreement
from vrm.consent.scopes import check_details

CATEGORY, SELLER, ORDERED = FILTERED
ITEM, ORDER = "purchases.item:read", "purchases.order:read"
usual = st.dates(date(1990, 1, 1), date(2060, 1, 1))
spans = st.integers(0, 200) | st.integers(0, 20_000)


def agreement(*parts: dict[str, object]) -> Agreement:
    checked = check_details(list(parts), beside_scope=True)
    return Agreement("vendor", "Corner Books", tuple(checked), 0, 1)


def ends(first: date | None, days: int, *, open_end: bool) -> tuple[str | None, str | None]:
    last = None if open_end or first is None else min(first.toordinal() + days, date.max.toordinal())
    return first and first.isoformat(), last and date.fromordinal(last).isoformat()


@given(usual | st.dates() | st.none(), spans, st.booleans(), st.data())
def test_every_day_of_a_range_stands_in_exactly_one_of_its_blocks(
    first: date | None, days: int, open_end: bool, data: st.DataObject
) -> None:
    begin, end = ends(first, days, open_end=open_end)
    low, high = date.fromisoformat(begin or "0001-01-01"), date.fromisoformat(end or "9999-12-31")
    blocks = cover(begin, end)
    for day in (low, high, data.draw(st.dates(low, high))):
        assert sum(term in blocks for term in ORDERED.terms(day.isoformat())) == 1


@given(usual | st.dates() | st.none(), spans, st.booleans())
def test_the_blocks_of_a_range_are_few_and_none_comes_twice(
    first: date | None, days: int, open_end: bool
) -> None:
    blocks = cover(*ends(first, days, open_end=open_end))
    assert len(set(blocks)) == len(blocks) <= 52  # 38 of the widest, 7 at each end


@given(st.dates(date(1996, 1, 1), date(2030, 1, 1)), st.integers(1, 6000))
def test_the_blocks_of_a_range_are_not_much_wider_than_it(first: date, days: int) -> None:
    last = first + timedelta(days=days - 1)
    assert sum(int(size) for _, size, _ in cover(first.isoformat(), last.isoformat())) <= days * 1.07


@pytest.mark.parametrize(("first", "last"), [("2026-02-01", "2026-01-31"), ("9999-12-31", "0001-01-01")])
def test_a_range_without_a_day_has_no_blocks(first: str, last: str) -> None:
    assert cover(first, last) == []


@given(st.dates(), st.text(min_size=1))
def test_every_row_stands_under_as_many_terms_whatever_is_filled_in(day: date, text: str) -> None:
    for field, value in ((CATEGORY, text), (SELLER, text), (ORDERED, day.isoformat())):
        filled, absent = set(field.terms(value)), set(field.terms(""))
        assert len(filled) == len(absent) == len(field.blocks)
        assert not filled & absent
    assert ORDERED.blocks == BLOCKS


@pytest.mark.parametrize(
    ("parts", "scopes", "expected"),
    [
        ([part("purchases.item")], {ITEM}, {"category"}),
        ([part("purchases.item")], {ITEM, ORDER}, {"category"}),
        ([part("purchases.item", "purchases.order")], {ITEM, ORDER}, set(PARAMETERS)),
        ([part("purchases.item", "purchases.order")], {ORDER}, PARAMETERS - {"category"}),
        ([part("purchases.item", "purchases.order")], set(), set()),
        ([part("purchases.item", fields=["title"])], {ITEM}, set()),
        ([part("purchases.order", fields=["ordered"])], {ORDER}, {"ordered_from", "ordered_to"}),
        ([part("purchases.item", fields=["title"]), part("purchases.item")], {ITEM}, {"category"}),
        ([part("preferences.statement")], {"preferences.statement:read"}, set()),
        ([part("answers.corrections")], {"answers.corrections:read"}, set()),
    ],
)
def test_a_filter_is_open_where_its_field_leaves_under_a_scope_of_the_token(
    parts: list[dict[str, object]], scopes: set[str], expected: set[str]
) -> None:
    assert open_to("purchases", agreement(*parts), scopes) == expected


def test_other_streams_are_not_posted() -> None:
    given = agreement(part("purchases.item"), part("preferences.statement"), part("answers.corrections"))
    assert [field.name for field in posted("purchases", given)] == ["category"]
    assert posted("preferences", given) == posted("answers.corrections", given) == ()


def test_cursors_of_different_filters_are_bound_to_different_bytes() -> None:
    asked = [
        EVERYTHING,
        Wanted(category="a"),
        Wanted(seller="a"),
        Wanted(category="a", seller="a"),
        Wanted(category="aseller"),
        Wanted(ordered_from="2026-01-01"),
        Wanted(ordered_to="2026-01-01"),
    ]
    assert len({one.bound() for one in asked}) == len(asked)
    assert [bool(one) for one in asked] == [False] + [True] * 6
