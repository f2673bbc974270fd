"""The consent form's pure rules: choices, periods, differences, the address of the answer."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.datastructures import MultiDict

from tests.web.conftest import part
from vrm.consent.asking import StoredRequest
from vrm.consent.requests import Preview, PreviewRow
from vrm.consent.vendors import Vendor
from vrm.web import consenting, headers

VENDOR = Vendor(
    "c", "Corner Books", ("https://x.example/cb",), False, False, ("books.example",), "", False, 0
)
STORED = StoredRequest("h", b"", 1, VENDOR, (), "https://x.example/cb", "", "", 0, 0)


def read(*pairs: tuple[str, str]) -> Any:
    return consenting.read_choices(MultiDict(pairs), STORED)


def test_a_purpose_or_terms_that_are_known_no_more_keep_no_page_from_being_shown() -> None:
    promised = consenting.promised([{"purpose": "Teleportation", "terms": "SD-OLD"}])
    assert [purpose.label for purpose in promised.purposes] == ["Teleportation"]
    assert promised.terms == []


def test_a_form_without_answers_leaves_the_first_choices() -> None:
    assert read(("decision", "approve")) == consenting.first_choices(STORED)
    assert consenting.first_choices(STORED).for_whom == {"self"}
    assert consenting.first_choices(STORED).optional == frozenset()
    assert consenting.first_choices(STORED).sellers == ("books.example",), "the host's word"


def test_unticking_everybody_shares_with_nobody_in_mind() -> None:
    assert read(("days", "90")).for_whom == frozenset()


@given(
    st.lists(st.tuples(st.sampled_from(["days", "period", "for_whom", "unsorted", "optional"]), st.text()))
)
def test_whatever_is_posted_is_read_as_valid_choices(pairs: list[tuple[str, str]]) -> None:
    choices = read(*pairs)
    assert 1 <= choices.days <= 365
    assert choices.period in {"", *consenting.PERIODS}
    assert choices.for_whom <= {"self", "gift", "household", "work", "other"}


@pytest.mark.parametrize(
    ("asked", "offered"),
    [
        (None, ["P1Y", "P2Y", "P5Y", ""]),
        ("P2Y", ["P1Y", ""]),
        ("P6M", [""]),
        ("P10Y", ["P1Y", "P2Y", "P5Y", ""]),
    ],
)
def test_only_shorter_periods_than_asked_are_offered(asked: str | None, offered: list[str]) -> None:
    rest = {"period": asked} if asked else {}
    assert consenting.periods([part("purchases.item", **rest)]) == offered


def test_the_longest_period_is_what_they_may_see() -> None:
    parts = [part("purchases.item", period="P18M"), part("purchases.price", period="P1Y")]
    assert consenting.longest_period(parts) == "P18M"
    assert consenting.longest_period([*parts, part("purchases.order")]) == ""
    assert consenting.longest_period([part("profile.sizes")]) == ""


def test_delicate_is_what_is_sensitive_or_about_others() -> None:
    parts = [part("purchases.item", "purchases.context"), part("profile.sizes"), part("answers.corrections")]
    assert consenting.delicate(parts) == ["purchases.context"]
    assert consenting.delicate([part("purchases.recipient")]) == ["purchases.recipient"]


def test_of_each_datatype_the_fields_of_all_parts_that_read_it_can_leave() -> None:
    title, brand = part("purchases.item", fields=["title"]), part("purchases.item", fields=["brand"])
    price, put_in = part("purchases.price"), part("inbox", actions=["write"])
    assert consenting.fields_leaving([title, price, brand, put_in]) == {
        "purchases.item": {"title", "brand"},
        "purchases.price": None,
    }
    whole = part("purchases.item")
    assert consenting.fields_leaving([title, whole]) == {"purchases.item": None}
    assert consenting.fields_leaving([whole, title]) == {"purchases.item": None}


def test_parts_under_the_same_limits_stand_together() -> None:
    books = {"filter": {"category": ["books"]}}
    parts = [
        part("purchases.item", period="P1Y"),
        part("purchases.price", period="P1Y", **books),
        part("purchases.order", "purchases.item", period="P1Y"),
        part("purchases", actions=["write"]),
        part("profile.sizes"),
    ]
    assert consenting.limits(parts) == [
        (["purchases.item", "purchases.order"], "P1Y", []),
        (["purchases.price"], "P1Y", ["books"]),
    ]


def preview(*ids: str) -> Preview:
    rows = [PreviewRow(record, f"title {record}", "", {}, "purchases") for record in ids]
    return Preview(VENDOR, rows, {}, [], [], {}, 0, "")


def test_changes_name_what_is_new_and_count_what_left() -> None:
    seen = consenting.seen_text(preview("a", "b", "c"))
    assert consenting.changes(seen, preview("b", "d")) == (["title d"], 2)
    assert consenting.changes(seen, preview("a", "b", "c")) == ([], 0)


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("https://x.example/cb", "https://x.example/cb?code=a+b&iss=i"),
        ("https://x.example/cb?a=1", "https://x.example/cb?a=1&code=a+b&iss=i"),
        ("https://x.example", "https://x.example?code=a+b&iss=i"),
        ("http://127.0.0.1:8601/cb?q=%C3%A9", "http://127.0.0.1:8601/cb?q=%C3%A9&code=a+b&iss=i"),
    ],
)
def test_the_answer_is_appended_to_whatever_query_there_is(uri: str, expected: str) -> None:
    assert consenting.answer_address(uri, {"code": "a b", "state": "", "iss": "i"}) == expected


@pytest.mark.parametrize(
    ("uri", "source"),
    [
        ("https://x.example/cb?a=1", "https://x.example"),
        ("http://127.0.0.1:8601/cb", "http://127.0.0.1:8601"),
        ("http://[::1]:8601/cb", "http:"),
        ("https://x.example; script-src *", "https:"),
        ("https://evil'none'/", "https:"),
        ("com.example.app:/cb", "com.example.app:"),
        ("no-scheme", ""),
    ],
)
def test_a_redirect_uri_cannot_write_into_the_policy(uri: str, source: str) -> None:
    assert headers.form_target(uri) == source
    assert ";" not in headers.form_target(uri)
