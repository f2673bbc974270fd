"""What a vendor says of itself: read strictly, and nothing in it may look like somebody else."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vrm import jose
from vrm.consent import claims
from vrm.consent.counting import Counting, network
from vrm.errors import RateLimitedError, ValidationError

ALL = ("client_secret_basic", "private_key_jwt", "none")
HOME = "https://books.example/vrm.json"
PUBLIC = {name: value for name, value in jose.private_key(bytes(32)).items() if name != "d"}
SET = {"keys": [PUBLIC]}


def told(**changes: Any) -> dict[str, Any]:
    usual = {"client_name": "Corner Books", "redirect_uris": ["https://books.example/cb"]}
    return {name: value for name, value in {**usual, **changes}.items() if value is not ...}


def read(**changes: Any) -> claims.Claims:
    return claims.read(told(**changes), ALL, "none", HOME)


def test_everything_that_may_be_said() -> None:
    found = read(
        redirect_uris=["https://books.example/cb", "https://books.example:443/b", "http://127.0.0.1/cb"][::2],
        token_endpoint_auth_method="private_key_jwt",
        jwks_uri="https://keys.example/jwks",
        dpop_bound_access_tokens=True,
        events_uri="https://books.example/events",
        grant_types=["refresh_token", "authorization_code"],
        response_types=["code"],
        logo_uri="https://tracker.example/pixel",
        sells_as=["amazon.com"],
        purpose=7,
    )
    assert found == claims.Claims(
        "Corner Books",
        ("https://books.example/cb", "http://127.0.0.1/cb"),
        "private_key_jwt",
        "",
        "https://keys.example/jwks",
        True,
        "https://books.example/events",
    )


def test_what_is_not_said_is_the_least() -> None:
    least = claims.Claims("", ("https://books.example/cb",), "none", "", "", False, "")
    assert read(client_name=...) == least
    assert read(client_name=None, jwks=None, jwks_uri=None, token_endpoint_auth_method=None) == least


def test_who_brings_keys_proves_itself_by_them() -> None:
    assert read(jwks=SET).auth_method == "private_key_jwt"
    assert json.loads(read(jwks=SET).jwks) == SET
    none = read(jwks=SET, token_endpoint_auth_method="none")
    assert (none.auth_method, none.jwks) == ("none", "")


def test_without_a_home_all_addresses_have_one_origin_anyway() -> None:
    def alone(*uris: str) -> claims.Claims:
        return claims.read({"redirect_uris": [*uris]}, ALL, "none")

    assert alone("https://a.example/1", "https://a.example/2").redirect_uris
    assert alone("http://127.0.0.1/cb", "http://localhost:7/cb").redirect_uris
    for uris in (
        ("https://a.example/1", "https://b.example/2"),
        ("https://a.example/1", "https://a.example:8443/"),
        ("https://a.example/1", "http://127.0.0.1/cb"),
    ):
        with pytest.raises(ValidationError):
            alone(*uris)


@pytest.mark.parametrize(
    ("changes", "member"),
    [
        ({"redirect_uris": ...}, "redirect_uris"),
        ({"redirect_uris": []}, "redirect_uris"),
        ({"redirect_uris": "https://books.example/cb"}, "redirect_uris"),
        ({"redirect_uris": [7]}, "redirect_uris"),
        ({"redirect_uris": [f"https://books.example/{n}" for n in range(11)]}, "redirect_uris"),
        ({"redirect_uris": ["https://evil.example/cb"]}, "redirect_uris"),
        ({"redirect_uris": ["https://books.example/cb", "https://evil.example/cb"]}, "redirect_uris"),
        ({"redirect_uris": ["https://sub.books.example/cb"]}, "redirect_uris"),
        ({"redirect_uris": ["https://books.example:8443/cb"]}, "redirect_uris"),
        ({"redirect_uris": ["https://BOOKS.example/cb"]}, "redirect_uris"),
        ({"redirect_uris": ["https://books.example./cb"]}, "redirect_uris"),
        ({"redirect_uris": ["https://@books.example/cb"]}, "redirect_uris"),
        ({"redirect_uris": ["http://books.example/cb"]}, "redirect_uri"),
        ({"redirect_uris": ["https://books.example/cb#x"]}, "redirect_uri"),
        ({"redirect_uris": ["javascript:alert(1)"]}, "redirect_uri"),
        ({"redirect_uris": ["books.example:/cb"]}, "redirect_uri"),
        ({"client_name": 7}, "client_name"),
        ({"client_name": "x" * 81}, "client_name"),
        ({"client_name": "Corner\u202eBooks"}, "client_name"),
        ({"client_name": "\u2800"}, "client_name"),
        ({"token_endpoint_auth_method": "client_secret_post"}, "token_endpoint_auth_method"),
        ({"token_endpoint_auth_method": "tls_client_auth"}, "token_endpoint_auth_method"),
        ({"token_endpoint_auth_method": ["none"]}, "token_endpoint_auth_method"),
        ({"token_endpoint_auth_method": "private_key_jwt"}, "jwks"),
        ({"jwks": SET, "jwks_uri": "https://books.example/jwks"}, "jwks"),
        ({"jwks": "https://books.example/jwks"}, "jwks"),
        ({"jwks": {"keys": [{"kty": "oct", "k": "AAAA"}]}}, "jwks"),
        ({"jwks_uri": "http://books.example/jwks"}, "jwks_uri"),
        ({"jwks_uri": 7}, "jwks_uri"),
        ({"events_uri": "https://victim.example/flood"}, "events_uri"),
        ({"events_uri": "http://books.example/events"}, "events_uri"),
        ({"events_uri": []}, "events_uri"),
        ({"dpop_bound_access_tokens": "true"}, "dpop_bound_access_tokens"),
        ({"dpop_bound_access_tokens": 1}, "dpop_bound_access_tokens"),
        ({"grant_types": ["implicit"]}, "grant_types"),
        ({"grant_types": ["authorization_code", "client_credentials"]}, "grant_types"),
        ({"grant_types": ["refresh_token"]}, "grant_types"),
        ({"grant_types": "authorization_code"}, "grant_types"),
        ({"response_types": ["token"]}, "response_types"),
        ({"response_types": ["code", "token"]}, "response_types"),
        ({"response_types": []}, "response_types"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused_by_its_name(changes: dict[str, Any], member: str) -> None:
    with pytest.raises(ValidationError) as caught:
        read(**changes)
    assert set(caught.value.fields) == {member}


@pytest.mark.parametrize(
    "host",
    [
        *("bücher.example", "аmazon.com", "amazon。com", "BOOKS.example", "books.example.", ".books.example"),
        *("books..example", "-books.example", "books-.example", "books_.example", "books", "localhost"),
        *(
            "127.0.0.1",
            "2130706433",
            "0x7f.1",
            "127.0.0.0x1",
            "[::1]",
            "user@books.example",
            "@books.example",
        ),
        *(
            "books.example:443",
            "books.example:0",
            "books.example:",
            "books.example:08443",
            "books.example:999999",
        ),
        *("a" * 64 + ".example", "a." * 60 + "example", "books.1example"),
    ],
)
def test_a_host_that_is_not_what_it_looks_like_is_refused(host: str) -> None:
    with pytest.raises(ValidationError):
        claims.check_host(f"https://{host}/x", "client_id")


@pytest.mark.parametrize(
    "host",
    [
        "books.example",
        "xn--bcher-kva.example",
        "a.b-c.books.example:8443",
        "1books.example",
        "b.xn--p1ai",
        "a.example:4430",
    ],
)
def test_a_host_as_the_network_spells_it_is_taken(host: str) -> None:
    assert claims.check_host(f"https://{host}/x", "client_id") == f"https://{host}/x"


def test_keys_nested_too_deep_to_be_written_are_refused() -> None:
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(ValidationError) as caught:
        read(jwks={"keys": deep})
    assert set(caught.value.fields) == {"jwks"}


MEMBERS = ["redirect_uris", "client_name", "jwks", "jwks_uri", "events_uri", "grant_types", "response_types"]
MEMBERS += ["token_endpoint_auth_method", "dpop_bound_access_tokens"]
NEARLY = st.sampled_from(
    [
        "https://books.example/cb",
        "https://[",
        "https://books.example:x/",
        "http://127.0.0.1:99999",
        "//",
        "none",
        "",
    ]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | NEARLY,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=5) | st.just("keys"), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(MEMBERS), JSON), st.sampled_from(["", HOME]))
def test_whatever_is_said_is_read_or_refused(anything: dict[str, Any], home: str) -> None:
    with suppress(ValidationError):
        found = claims.read(anything, ALL, "none", home)
        assert len({claims.origin(uri) for uri in found.redirect_uris if not claims.on_loopback(uri)}) <= 1
        assert len(found.redirect_uris) in range(1, 11)


# --- counting


def test_of_many_no_more_than_allowed_pass_an_hour(engine: Any, server_key: Any, clock: Any) -> None:
    counting = Counting(engine, server_key, clock)
    for _ in range(3):
        counting.count("x", ("alice", 3), ("", 4))
    with pytest.raises(RateLimitedError) as caught:
        counting.count("x", ("alice", 3), ("", 4))
    assert 0 < caught.value.retry_after <= 3600
    counting.count("x", ("bob", 3), ("", 4))
    with pytest.raises(RateLimitedError):
        counting.count("x", ("carol", 3), ("", 4))
    counting.count("y", ("alice", 3))
    rows = engine.all("SELECT tag FROM counts")
    assert all(b"alice" not in bytes(row[0]) for row in rows)
    clock.forward(caught.value.retry_after)
    counting.sweep()
    counting.count("x", ("alice", 3), ("", 4))
    assert len(engine.all("SELECT tag FROM counts")) == 2


def test_whose_address_it_is() -> None:
    assert network("::ffff:9.9.9.9") == network("9.9.9.9") == "9.9.9.9"
    assert network("2001:db8::1") == network("2001:db8::2") != network("2001:db8:0:1::1")
    assert network("nonsense") == network("") == "unknown"
