"""What a row that leaves says of itself in a line: no number stands there without its name."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask

from vrm.web import wording

LINES: list[tuple[dict[str, Any], str]] = [
    (
        {"price": {"unit_price": "6.50", "quantity": 2, "total": "12.99", "currency": "EUR"}},
        "price of one: 6.50 EUR · how many: 2 · total: 12.99 EUR",
    ),
    ({"price": {"total": "12.99"}}, "total: 12.99"),
    ({"price": {"quantity": 1, "currency": "EUR"}}, "how many: 1 · EUR"),
    (
        {"experience": {"rating": 4, "outcome": "passed-on", "again": False}},
        "stars (1 to 5): 4 · passed on · would buy again: no",
    ),
    (
        {"item": {"title": "Emma", "category": "books", "brand": "Austen", "isbn": "014143958", "asin": "B"}},
        "Books · Austen · ISBN: 014143958 · seller's item number: B",
    ),
    (
        {"order": {"ordered": "2026-05-01", "delivered": "2026-05-03", "order_number": "11-2", "line": 3}},
        "delivered on: May 3, 2026 · order number: 11-2",
    ),
    (
        {"sizes": {"tops": "M", "bottoms": "34/32", "shoes": "42", "notes": "wide feet"}},
        "tops: M · trousers and skirts: 34/32 · shoes: 42 · wide feet",
    ),
    ({"diet": {"kinds": ["halal"], "allergies": ["nuts", "milk"]}}, "I eat: halal · allergies: nuts, milk"),
    ({"demographics": {"birth_year": 1980}}, "year of birth: 1980"),
    (
        {"corrections": {"order": "11-2", "item": "B01", "use_for_taste": False}},
        "order number: 11-2 · seller's item number: B01 · says something about my taste: no",
    ),
    ({"order": {"of another catalog": "x", "seller": ""}, "no facet": "y"}, "x"),
]


@pytest.mark.parametrize(("document", "line"), LINES)
def test_a_row_in_a_line_names_every_number(app: Flask, document: dict[str, Any], line: str) -> None:
    with app.test_request_context("/"):
        assert wording.rest_text(document) == line


@pytest.mark.parametrize(
    ("text", "first", "rest"),
    [
        ("a" * 160, "a" * 160, ""),
        ("a" * 161, "a" * 160, "a"),
        ("a" * 100 + " · " + "b c" * 50, "a" * 100, "b c" * 50),
        ("a" * 10 + " · " + "b" * 100 + " " + "c" * 100, "a" * 10 + " · " + "b" * 100, "c" * 100),
    ],
)
def test_a_long_row_is_parted_between_facts_or_words_and_nothing_is_lost(
    text: str, first: str, rest: str
) -> None:
    assert wording.parted(text) == (first, rest)
