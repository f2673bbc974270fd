"""RFC 9207: the answer says who speaks, and nobody else can say it."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlsplit

import pytest

from vrm.api.oauth.issuer import answer_address

ISSUER = "https://vault.example"


def test_the_issuer_comes_last_and_the_vendors_own_parameters_stay() -> None:
    address = answer_address(
        "https://shop.example/cb?shop=1&lang=", [("error", "x"), ("state", "a&b")], ISSUER
    )
    assert urlsplit(address)[:3] == ("https", "shop.example", "/cb")
    assert parse_qsl(urlsplit(address).query, keep_blank_values=True) == [
        ("shop", "1"),
        ("lang", ""),
        ("error", "x"),
        ("state", "a&b"),
        ("iss", ISSUER),
    ]


@pytest.mark.meets("oauch-AuthEndpoint/CodePollutionTest", "rfc9700-5")
def test_parameters_that_only_we_may_set_are_not_taken_from_the_address() -> None:
    planted = "https://shop.example/cb?iss=https://evil.example&code=planted&state=planted"
    found = parse_qsl(urlsplit(answer_address(planted, [("error", "x")], ISSUER)).query)
    assert found == [("error", "x"), ("iss", ISSUER)]


def test_a_state_with_line_breaks_starts_no_header() -> None:
    address = answer_address("https://shop.example/cb", [("state", "a\r\nSet-Cookie: x=1")], ISSUER)
    assert "\r" not in address
    assert "\n" not in address
