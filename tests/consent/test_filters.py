"""Filters: which are open, by which codes rows of a value stand out, and which of them fit."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.attacks.actors import part
from vrm.consent.filters import EVERYTHING, FILTERED, PARAMETERS, Wanted, open_to, posted
from vrm.consent.policy import Agreement
from vrm.consent.postings import _also, _between
from vrm.consent.scopes import check_details

CATEGORY, SELLER, ORDERED = FILTERED
ITEM, ORDER = "purchases.item:read", "purchases.order:read"


def agreement(*parts: dict[str, object]) -> Agreement:
    checked = check_details(list(parts), beside_scope=True)
    return Agreement("vendor", "Corner Books", tuple(checked), 0, 1)


days = st.dates() | st.dates(date(1990, 1, 1), date(2060, 1, 1))


@given(days, days | st.none(), days | st.none())
def test_every_day_of_a_range_has_one_of_its_codes(day: date, first: date | None, last: date | None) -> None:
    wanted = Wanted(ordered_from=first and first.isoformat(), ordered_to=last and last.isoformat())
    least, most = wanted.codes(ORDERED)
    if (not first or first <= day) and (not last or day <= last):
        assert least <= ORDERED.code(day.isoformat()) <= most


@given(st.dates(date(1900, 1, 1), date(2079, 6, 4)))
def test_usual_days_have_codes_of_their_own(day: date) -> None:
    assert ORDERED.code((day + timedelta(days=1)).isoformat()) == ORDERED.code(day.isoformat()) + 1


@given(days, st.text(min_size=1))
def test_a_value_has_always_the_same_code_and_it_is_not_that_of_an_absent_one(day: date, text: str) -> None:
    text = text.encode("utf-8", "replace").decode()
    for field, value in ((CATEGORY, text), (SELLER, text), (ORDERED, day.isoformat())):
        assert field.code(value) == field.code(value) > field.code("") == 0
        assert field.code(value) < 1 << 16


codes = st.integers(0, 0xFFFF)


@given(st.lists(codes, max_size=60), codes, codes)
def test_codes_that_lie_between_are_found_all_at_once(column: list[int], first: int, last: int) -> None:
    packed = b"".join(code.to_bytes(2, "big") for code in column)
    fitting = [place for place, code in enumerate(column) if first <= code <= last]
    assert list(_between(packed, first, last)) == fitting
    assert list(_also(iter(range(len(column))), packed, first, last)) == fitting
    for code in column:
        assert list(_between(packed, code, code)) == [at for at, one in enumerate(column) if one == code]


@pytest.mark.parametrize(
    ("asked", "fitting", "others"),
    [
        (Wanted(category="books"), '{"title":"x","category":"books"}', '{"category":"books and toys"}'),
        (Wanted(category='a "b"'), r'{"category":"a \"b\""}', r'{"title":"\"category\":\"a \\"b\\"}'),
        (Wanted(category="bücher"), '{"category":"bücher"}', '{"category":"buecher"}'),
        (Wanted(ordered_from="2026-01-02"), '{"ordered":"2026-01-02"}', '{"ordered":"2026-01-01"}'),
        (Wanted(ordered_to="2026-01-02"), '{"ordered":"2026-01-02"}', '{"ordered":"2026-01-03"}'),
        (Wanted(ordered_to="2026-01-02"), '{"seller":"x","ordered":"0001-01-01","line":1}', '{"seller":"x"}'),
        (Wanted(seller="x", ordered_from="2026-01-01"), '{"seller":"x","ordered":"9999-12-31"}', "{}"),
    ],
)
def test_a_row_fits_by_the_bytes_that_leave(asked: Wanted, fitting: str, others: str) -> None:
    fits = asked.judge()
    assert fits({ITEM: fitting.encode(), ORDER: fitting.encode()})
    assert not fits({ITEM: others.encode(), ORDER: others.encode()})
    assert not fits({})


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
    assert not Wanted(category="")
