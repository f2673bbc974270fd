"""Redirect addresses are compared as strings; credentials are read strictly."""

from __future__ import annotations

import base64

import pytest

from vrm.api.oauth.clients import redirect_matches
from vrm.api.oauth.parameters import basic_credentials
from vrm.consent.vendors import Vendor


def vendor(*redirect_uris: str, public: bool = False) -> Vendor:
    return Vendor(
        client_id="c",
        name="Corner Books",
        redirect_uris=redirect_uris,
        public=public,
        resource_server=False,
        sells_as=(),
        purpose="ProvideProductRecommendations",
        blocked=False,
        created=0,
    )


def test_the_registered_address_matches() -> None:
    assert redirect_matches(vendor("https://a.example/cb", "https://b.example/cb"), "https://b.example/cb")


@pytest.mark.meets(
    "rfc9700-1",
    "rfc9700-37",
    "oauch-AuthEndpoint/RedirectUriFullyMatchedTest",
    "oauch-AuthEndpoint/RedirectUriPathMatchedTest",
    "oauch-AuthEndpoint/RedirectUriConfusionTest",
)
@pytest.mark.parametrize(
    "asked",
    [
        "https://a.example/cb/",
        "https://a.example/cb?x=1",
        "https://a.example/cb#f",
        "https://a.example/",
        "https://a.example",
        "https://a.example/cb/../cb",
        "https://a.example//cb",
        "https://a.example/CB",
        "https://A.example/cb",
        "HTTPS://a.example/cb",
        "http://a.example/cb",
        "https://a.example:443/cb",
        "https://a.example.evil.example/cb",
        "https://a.example@evil.example/cb",
        "https://a.example%2f@evil.example/cb",
        "https://evil.example/https://a.example/cb",
        " https://a.example/cb",
        "https://a.example/cb\n",
        "https://a.example/%63b",
        "//a.example/cb",
        "",
    ],
)
@pytest.mark.parametrize("public", [False, True])
def test_any_other_spelling_is_refused(asked: str, *, public: bool) -> None:
    assert not redirect_matches(vendor("https://a.example/cb", public=public), asked)


@pytest.mark.meets("rfc9700-38")
@pytest.mark.parametrize(
    "asked",
    ["http://127.0.0.1:51004/cb", "http://127.0.0.1:9/cb", "http://127.0.0.1/cb"],
)
def test_a_native_program_may_use_another_loopback_port(asked: str) -> None:
    assert redirect_matches(vendor("http://127.0.0.1/cb", public=True), asked)
    assert redirect_matches(vendor("http://127.0.0.1:8000/cb", public=True), asked)


def test_a_native_program_may_use_another_port_on_ipv6_loopback() -> None:
    assert redirect_matches(vendor("http://[::1]/cb", public=True), "http://[::1]:51004/cb")


@pytest.mark.meets("rfc9700-1", "oauch-AuthEndpoint/RedirectUriConfusionTest")
@pytest.mark.parametrize(
    "asked",
    [
        "http://localhost:51004/cb",
        "https://127.0.0.1:51004/cb",
        "http://127.0.0.1:51004/other",
        "http://127.0.0.1:51004/cb?x=1",
        "http://127.0.0.1:51004/cb#f",
        "http://127.0.0.1:51004/cb#",
        "http://127.0.0.1:51004/cb?",
        "http://127.0.0.1:/cb",
        "http://127.0.0.1:080/cb",
        "http://127.0.0.1:99999/cb",
        "http://127.0.0.1:x/cb",
        "http://127.0.0.1:51004@evil.example/cb",
        "http://evil.example@127.0.0.1:51004/cb",
        "http://127.0.0.2:51004/cb",
        "http://127.1:51004/cb",
        "http://2130706433:51004/cb",
        "http://0177.0.0.1:51004/cb",
        "http://[::ffff:127.0.0.1]:51004/cb",
        "http://[::1]:51004/cb",
        "http://127.0.0.1:51004\\@evil.example/cb",
        "http://127.0.0.1:51004/c\nb",
        "http://127.0.0.1.evil.example:51004/cb",
        "http://[127.0.0.1/cb",
    ],
)
def test_nothing_but_the_port_may_differ_on_loopback(asked: str) -> None:
    assert not redirect_matches(vendor("http://127.0.0.1/cb", public=True), asked)


def test_a_confidential_vendor_gets_no_other_port() -> None:
    assert not redirect_matches(vendor("http://127.0.0.1:8601/cb"), "http://127.0.0.1:8602/cb")


def test_a_registered_localhost_name_gets_no_other_port() -> None:
    assert not redirect_matches(vendor("http://localhost:1/cb", public=True), "http://localhost:2/cb")


def basic(text: str) -> str:
    return "Basic " + base64.b64encode(text.encode()).decode()


def test_credentials_are_read_and_form_decoded() -> None:
    assert basic_credentials(basic("id:secret")) == ("id", "secret")
    assert basic_credentials(basic("i%3Ad:a+b%25")) == ("i:d", "a b%")


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Basic",
        "Basic ",
        "Bearer abc",
        "Basic !!!",
        "Basic aWQ6c2VjcmV0, Basic aWQ6c2VjcmV0",
        "Basic \u00e9",
        basic("id"),
        basic(":secret"),
        basic("id:"),
        "Basic " + base64.b64encode(b"\xff:\xfe").decode(),
    ],
)
def test_a_header_that_is_not_one_pair_gives_none(header: str) -> None:
    assert basic_credentials(header) is None
