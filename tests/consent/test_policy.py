"""`decide`: each reason for which a row stays, and what of a row leaves."""

from __future__ import annotations

import json
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.attacks.actors import part
from vrm.consent.policy import (
    ASK,
    FOREVER,
    Agreement,
    Reserve,
    Rules,
    Verdict,
    decide,
    period_end,
    row_filter,
)
from vrm.consent.scopes import check_details
from vrm.errors import TamperedError

TODAY = date(2026, 11, 18)
BOOK: dict[str, dict[str, Any]] = {
    "item": {"title": "Kindred", "brand": "Butler", "category": "books", "asin": "A1"},
    "order": {"ordered": "2026-05-01", "seller": "books.example", "order_number": "7"},
    "price": {"total": "9.99"},
    "context": {"for": "self"},
}


def agreed(*parts: dict[str, Any]) -> Agreement:
    return Agreement("client", "Corner Books", tuple(check_details(list(parts), beside_scope=True)), 0, 1)


def say(document: dict[str, Any], *parts: dict[str, Any], day: date = TODAY, **reserve: Any) -> Verdict:
    return decide("purchases", "r1", document, agreed(*parts), Reserve(**reserve), day)


def changed(facet: str, **values: Any) -> dict[str, Any]:
    merged = {**BOOK.get(facet, {}), **values}
    return {**BOOK, facet: {name: value for name, value in merged.items() if value is not None}}


def test_a_shared_row_is_the_granted_facets_as_compact_json() -> None:
    found = say(BOOK, part("purchases.item", "purchases.price"))
    assert found.reason == ""
    assert found.scopes["purchases.price:read"] == b'{"total":"9.99"}'
    assert set(found.scopes) == {"purchases.item:read", "purchases.price:read"}
    assert set(found.ends.values()) == {FOREVER}


def test_parts_of_one_datatype_let_the_fields_of_all_leave() -> None:
    title, brand = part("purchases.item", fields=["title"]), part("purchases.item", fields=["brand"])
    for parts in ((title, brand), (brand, title)):
        assert say(BOOK, *parts).scopes == {"purchases.item:read": b'{"title":"Kindred","brand":"Butler"}'}
    whole = say(BOOK, part("purchases.item")).scopes
    assert say(BOOK, title, part("purchases.item")).scopes == whole
    assert say(BOOK, part("purchases.item"), title).scopes == whole
    ended = part("purchases.item", period="P1M")
    assert say(BOOK, title, ended).scopes == {"purchases.item:read": b'{"title":"Kindred"}'}


def test_what_one_part_asks_of_some_rows_leaves_of_those() -> None:
    title = part("purchases.item", fields=["title"])
    for category, fields in (("books", {"title", "brand"}), ("music", {"title"})):
        some = part("purchases.item", fields=["brand"], filter={"category": [category]})
        found = json.loads(say(BOOK, title, some).scopes["purchases.item:read"])
        assert set(found) == fields


def test_an_empty_facet_leaves_empty() -> None:
    assert say(BOOK, part("purchases.experience")).scopes == {"purchases.experience:read": b"{}"}


@pytest.mark.parametrize("word", ["gift", "household", "work", "other"])
def test_what_was_for_somebody_else_stays(word: str) -> None:
    document = changed("context", **{"for": word})
    assert say(document, part("purchases.item")) == Verdict(word)
    assert say(document, part("purchases.item"), for_whom=frozenset({"self", word})).scopes


def test_what_is_unsorted_stays_unless_she_says_otherwise() -> None:
    document = changed("context", **{"for": None})
    assert say(document, part("purchases.item")) == Verdict("unsorted")
    assert say(document, part("purchases.item"), unsorted=True).scopes
    assert say(changed("context", **{"for": "gift"}), part("purchases.item"), unsorted=True) == Verdict(
        "gift"
    )


def test_what_she_took_out_stays() -> None:
    assert say(BOOK, part("purchases.item"), exclude=frozenset({"r1"})) == Verdict("excluded")
    assert say(BOOK, part("purchases.item"), exclude=frozenset({"r2"})).scopes


def test_what_was_not_asked_for_stays() -> None:
    asked = part("purchases.item", filter={"category": ["toys", "music"]})
    assert say(BOOK, asked) == Verdict("filter")
    assert say(changed("item", category=None), asked) == Verdict("filter")
    assert say(changed("item", category="music"), asked).scopes


def test_what_is_outside_the_period_stays() -> None:
    asked = part("purchases.item", period="P6M")
    assert say(BOOK, asked, day=date(2026, 11, 1)).scopes
    assert say(BOOK, asked, day=date(2026, 11, 2)) == Verdict("period")
    assert say(BOOK, asked, day=date(2026, 6, 1)).ends == {
        "purchases.item:read": date(2026, 11, 1).toordinal()
    }


def test_what_has_no_date_is_outside_every_period() -> None:
    assert say(changed("order", ordered=None), part("purchases.item", period="P99Y")) == Verdict("period")
    assert say(changed("order", ordered=None), part("purchases.item")).scopes


def test_only_named_fields_leave() -> None:
    found = say(BOOK, part("purchases.item", "purchases.order", fields=["title", "ordered"]))
    assert found.scopes == {
        "purchases.item:read": b'{"title":"Kindred"}',
        "purchases.order:read": b'{"ordered":"2026-05-01"}',
    }


def test_each_scope_ends_with_its_own_part() -> None:
    """A price asked for two years must not carry a title that was asked for one."""
    parts = (
        part("purchases.item", period="P1M"),
        part("purchases.price", period="P2Y"),
        part("purchases.order"),
    )
    early, late = say(BOOK, *parts, day=date(2026, 5, 20)), say(BOOK, *parts, day=date(2026, 7, 1))
    assert set(early.scopes) == {"purchases.item:read", "purchases.price:read", "purchases.order:read"}
    assert early.ends["purchases.item:read"] == date(2026, 6, 1).toordinal()
    assert early.ends["purchases.price:read"] == date(2028, 5, 1).toordinal()
    assert early.ends["purchases.order:read"] == FOREVER
    assert set(late.scopes) == {"purchases.price:read", "purchases.order:read"}


@pytest.mark.parametrize("turn", [1, -1])
def test_of_two_parts_for_one_scope_the_longer_lasting_counts(turn: int) -> None:
    parts = [
        part("purchases.item", period="P1M", fields=["brand"]),
        part("purchases.item", period="P2Y", fields=["title"]),
    ]
    found = say(BOOK, *parts[::turn], day=date(2026, 5, 20))
    assert found.scopes == {"purchases.item:read": b'{"title":"Kindred"}'}
    assert say(BOOK, *parts[::turn], day=date(2026, 7, 1)).scopes == found.scopes
    forever = [*parts, part("purchases.item", fields=["asin"])]
    assert say(BOOK, *forever[::turn], day=date(2026, 5, 20)).scopes == {
        "purchases.item:read": b'{"asin":"A1"}'
    }


def test_a_verdict_holds_until_the_day_it_names() -> None:
    parts = [
        part("purchases.item", period="P3M"),
        part("purchases.item", "purchases.price", period="P6M", fields=["title", "total"]),
    ]
    first = say(BOOK, *parts, day=date(2026, 5, 2))
    for day in range(date(2026, 5, 2).toordinal(), date(2027, 1, 1).toordinal()):
        now = say(BOOK, *parts, day=date.fromordinal(day))
        assert now.scopes == {scope: text for scope, text in first.scopes.items() if first.ends[scope] >= day}


def test_other_collections_know_no_for_whom() -> None:
    agreement = agreed(part("preferences.statement"))
    found = decide(
        "preferences", "r1", {"statement": {"topic": "tea"}}, agreement, Reserve(frozenset()), TODAY
    )
    assert json.loads(found.scopes["preferences.statement:read"]) == {"topic": "tea"}


def test_an_agreement_and_a_reserve_come_back_from_their_bytes() -> None:
    agreement = agreed(part("purchases.item", period="P1Y"))
    assert Agreement.decode(agreement.encode()) == agreement
    reserve = Reserve(frozenset({"gift"}), True, frozenset({"r1"}), frozenset({"Bücher.example"}))
    assert Reserve.decode(reserve.encode()) == reserve


SOUND = json.loads(agreed(part("purchases.item")).encode())


@pytest.mark.parametrize(
    "changes",
    [
        {"vendor": 7},
        {"vendor_name": None},
        {"created": "0"},
        {"expires": 1.5},
        {"parts": 7},
        {"parts": ["purchases.item"]},
        {"parts": [{**SOUND["parts"][0], "datatypes": ["purchases.secret"]}]},
        {"parts": [{**SOUND["parts"][0], "purpose": "Nothing"}]},
        {"more": 1},
    ],
)
def test_what_is_no_agreement_is_refused_whoever_sealed_it(changes: dict[str, Any]) -> None:
    assert Agreement.decode(json.dumps(SOUND).encode()).expires == 1
    with pytest.raises(TamperedError):
        Agreement.decode(json.dumps({**SOUND, **changes}).encode())


@pytest.mark.parametrize(
    "blob", [b"", b"{}", b"[]", b"[" * 100_000, b"\xff", b'{"for_whom": 7, "unsorted": false}', b"null"]
)
@pytest.mark.parametrize("kind", [Agreement, Reserve])
def test_other_bytes_are_neither_an_agreement_nor_a_reserve(kind: Any, blob: bytes) -> None:
    with pytest.raises(TamperedError):
        kind.decode(blob)


# --- corrections


def correct(document: dict[str, Any], **reserve: Any) -> Verdict:
    chosen = Reserve(**{"sellers": frozenset({"books.example"}), **reserve})
    return decide("answers.corrections", "r1", document, agreed(part("answers.corrections")), chosen, TODAY)


def test_a_correction_names_order_and_item_and_no_reason() -> None:
    found = correct(changed("context", **{"for": "gift"}, use_for_taste=False, motive="for Noor"))
    assert json.loads(found.scopes["answers.corrections:read"]) == {
        "order": "7",
        "item": "A1",
        "use_for_taste": False,
    }


@pytest.mark.parametrize(("name", "number"), [("isbn", "978"), ("gtin", "400"), ("title", "Kindred")])
def test_a_correction_names_an_item_by_what_there_is(name: str, number: str) -> None:
    document = {**changed("context", use_for_taste=False), "item": {name: number}}
    assert json.loads(correct(document).scopes["answers.corrections:read"])["item"] == number


def test_no_correction_leaves_for_another_shops_order() -> None:
    document = changed("context", use_for_taste=False)
    assert correct(document, sellers=frozenset({"toys.example"})) == Verdict("filter")
    assert correct(document, sellers=frozenset()) == Verdict("filter")


@pytest.mark.parametrize("use", [True, None])
def test_no_correction_leaves_without_her_word(use: bool | None) -> None:
    assert correct(changed("context", use_for_taste=use)) == Verdict("no-correction")


def test_no_correction_leaves_without_order_or_item() -> None:
    assert correct({**changed("context", use_for_taste=False), "item": {}}) == Verdict("filter")
    document = {**changed("context", use_for_taste=False), "order": {"seller": "books.example"}}
    assert correct(document) == Verdict("filter")


def test_what_she_took_out_is_not_corrected_either() -> None:
    assert correct(changed("context", use_for_taste=False), exclude=frozenset({"r1"})) == Verdict("excluded")


# --- periods


@pytest.mark.parametrize(
    ("ordered", "period", "last"),
    [
        ("2024-02-29", "P1Y", "2025-02-28"),
        ("2024-02-29", "P4Y", "2028-02-29"),
        ("2025-02-28", "P1Y", "2026-02-28"),
        ("2026-01-31", "P1M", "2026-02-28"),
        ("2026-10-31", "P4M", "2027-02-28"),
        ("2026-12-15", "P1M", "2027-01-15"),
        ("2026-01-01", "P1D", "2026-01-02"),
        ("2026-01-01", "P2W", "2026-01-15"),
        ("2026-01-01", "P9999Y", "9999-12-31"),
        ("9999-12-31", "P9999D", "9999-12-31"),
    ],
)
def test_a_period_ends_on_the_day(ordered: str, period: str, last: str) -> None:
    assert period_end(date.fromisoformat(ordered), period) == date.fromisoformat(last)


def test_what_is_no_period_is_misuse() -> None:
    with pytest.raises(ValueError, match="not a period"):
        period_end(TODAY, "2Y")


@given(st.dates(date(1990, 1, 1), date(2100, 1, 1)), st.sampled_from("DWMY"), st.integers(1, 500))
def test_a_longer_period_never_ends_sooner(day: date, unit: str, count: int) -> None:
    assert day < period_end(day, f"P{count}{unit}") <= period_end(day, f"P{count + 1}{unit}")


reserves = st.builds(
    Reserve,
    for_whom=st.frozensets(st.sampled_from(["self", "gift", "work"])),
    unsorted=st.booleans(),
    exclude=st.frozensets(st.sampled_from(["r1", "r2"])),
)


@given(reserves, reserves, st.sampled_from(["self", "gift", "work", None]))
def test_narrowing_never_widens(one: Reserve, other: Reserve, word: str | None) -> None:
    """Whatever the narrower of two reserves shares, the wider shares in the same bytes."""
    narrower = Reserve(
        one.for_whom & other.for_whom, one.unsorted and other.unsorted, one.exclude | other.exclude
    )
    document = changed("context", **{"for": word})
    agreement = agreed(part("purchases.item"))
    shared = decide("purchases", "r1", document, agreement, narrower, TODAY).scopes
    for wider in (one, other):
        assert shared.items() <= decide("purchases", "r1", document, agreement, wider, TODAY).scopes.items()


@given(
    document=st.fixed_dictionaries(
        {},
        optional={
            "item": st.sampled_from([{}, BOOK["item"], {"category": "toys"}]),
            "order": st.sampled_from([{}, BOOK["order"], {"ordered": "2020-02-29"}]),
            "price": st.just(BOOK["price"]),
            "context": st.sampled_from([{}, {"for": "self"}, {"for": "gift"}, {"use_for_taste": False}]),
            "notes": st.sampled_from([{}, {"left_by": "Corner Books"}, {"arrived": 5}]),
        },
    ),
    asked=st.sampled_from(
        [
            part("purchases.price"),
            part("purchases.price", period="P1Y"),
            part("purchases.price", filter={"category": ["books"]}),
            part("answers.corrections"),
        ]
    ),
    reserve=st.builds(
        Reserve, unsorted=st.booleans(), sellers=st.just(frozenset({"books.example"})), fresh=st.just(ASK)
    ),
)
def test_facets_that_are_not_looked_at_change_nothing(
    document: dict[str, dict[str, Any]], asked: dict[str, Any], reserve: Reserve
) -> None:
    rules = Rules(agreed(asked), reserve, TODAY)
    seen = {facet: values for facet, values in document.items() if facet in rules.facets("purchases")}
    (stream,) = agreed(asked).streams
    assert rules.decide(stream, "r1", seen) == rules.decide(stream, "r1", document)


def test_few_facets_are_looked_at() -> None:
    assert Rules(agreed(part("purchases.price")), Reserve(), TODAY).facets("purchases") == {
        "context",
        "notes",
        "price",
    }


def test_a_part_without_a_filter_asks_for_every_row() -> None:
    asking: list[dict[str, Any]] = [{}, {"filter": {}}]
    for one in asking:
        assert row_filter(one)({"item": {"category": "books"}})
    assert not row_filter({"filter": {"category": ["music"]}})({"item": {"category": "books"}})
