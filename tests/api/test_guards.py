"""What a vendor request may look like, piece by piece."""

from __future__ import annotations

import pytest
from flask import Request
from werkzeug.datastructures import MultiDict
from werkzeug.test import EnvironBuilder

from vrm.api import guards
from vrm.consent.selection import PageQuery
from vrm.errors import ParameterError

URL = "https://vault.example"


def request(path: str = "/api/v1/grant", **rest: object) -> Request:
    return Request(
        EnvironBuilder(path=path.partition("?")[0], query_string=path.partition("?")[2], **rest).get_environ()
    )  # type: ignore[arg-type]


def authorized(value: str) -> Request:
    return request(headers={"Authorization": value})


def test_a_reading_with_a_body_is_refused() -> None:
    with pytest.raises(ParameterError):
        guards.no_body(request(data=b"access_token=abc"))
    with pytest.raises(ParameterError):
        guards.no_body(request(headers={"Transfer-Encoding": "chunked"}))
    guards.no_body(request())


def test_defaults_of_a_page() -> None:
    assert guards.page_query(MultiDict()) == PageQuery(100, None, None)


def test_a_page_is_read() -> None:
    args = MultiDict({"limit": "500", "cursor": "abc-_=", "updated_since": "2026-11-21T00:00:00Z"})
    assert guards.page_query(args) == PageQuery(500, "abc-_=", 1795219200)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01t00:00:01z", 1),
        ("1970-01-01T01:00:00+01:00", 0),
        ("1970-01-01T00:00:01.999Z", 1),
        ("1969-12-31T23:59:59.5Z", -1),
    ],
)
def test_moments_are_whole_seconds(text: str, seconds: int) -> None:
    assert guards.page_query(MultiDict({"updated_since": text})).updated_since == seconds


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("limit", "0"),
        ("limit", "501"),
        ("limit", "-1"),
        ("limit", "1e2"),
        ("limit", ""),
        ("limit", "١٠"),
        ("limit", "0000000001"),
        ("cursor", ""),
        ("cursor", "a b"),
        ("cursor", "a" * 1025),
        ("updated_since", "yesterday"),
        ("updated_since", "2026-11-21"),
        ("updated_since", "2026-11-21T00:00:00"),
        ("updated_since", "2026-02-30T00:00:00Z"),
        ("updated_since", "2026-11-21T25:00:00Z"),
        ("updated_since", "0000-01-01T00:00:00Z"),
    ],
)
def test_a_wrong_value_is_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(ParameterError) as refusal:
        guards.page_query(MultiDict({name: value}))
    assert list(refusal.value.fields) == [name]


def test_a_parameter_given_twice_is_refused() -> None:
    with pytest.raises(ParameterError) as refusal:
        guards.page_query(MultiDict([("limit", "1"), ("limit", "1")]))
    assert refusal.value.fields == {"limit": ["given more than once"]}


@pytest.mark.parametrize("name", ["category", "seller", "for", "offset", "Limit", "", "access_token"])
def test_every_unknown_parameter_is_refused_with_the_same_words(name: str) -> None:
    with pytest.raises(ParameterError) as refusal:
        guards.page_query(MultiDict({name: "1", "limit": "999"}))
    assert str(refusal.value) == "a parameter is not known here, or not open to this token"
    assert refusal.value.fields == {}
