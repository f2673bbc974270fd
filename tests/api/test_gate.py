"""Which credential a vendor request shows, and what a refusal asks for instead."""

from __future__ import annotations

import pytest
from flask import Request
from werkzeug.test import EnvironBuilder

from vrm.api import gate
from vrm.api.gate import Gate
from vrm.consent.service import Consent
from vrm.errors import InsufficientScopeError, NonceError, ParameterError, ProofError, TokenError, VrmError

URL = "https://vault.example"
ABOUT = f'resource_metadata="{URL}/.well-known/oauth-protected-resource"'
ALGS = 'algs="ES256 PS256 EdDSA Ed25519"'


def request(path: str = "/api/v1/grant", **rest: object) -> Request:
    return Request(
        EnvironBuilder(path=path.partition("?")[0], query_string=path.partition("?")[2], **rest).get_environ()
    )  # type: ignore[arg-type]


def authorized(value: str) -> Request:
    return request(headers={"Authorization": value})


@pytest.mark.meets("fapi2-access-token-type-header-case-sensitivity")
@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_the_token_of_the_header_is_read(scheme: str) -> None:
    assert gate.presented(authorized(f"{scheme} vrm_at_abc-_~+/.1=")) == ("bearer", "vrm_at_abc-_~+/.1=")


@pytest.mark.meets("fapi2-dpop-upper-case-header")
@pytest.mark.parametrize("scheme", ["DPoP", "dpop", "DPOP"])
def test_a_bound_token_has_a_scheme_of_its_own(scheme: str) -> None:
    assert gate.presented(authorized(f"{scheme} vrm_at_abc")) == ("dpop", "vrm_at_abc")


@pytest.mark.parametrize(
    "value",
    [
        "",
        "Bearer",
        "Bearer ",
        "Basic dXNlcjpwYXNz",
        "Bearer a, Bearer b",
        "Bearer a,Bearer b",
        "Bearer a b",
        "Bearer \u00e9",
        "Bearer a\tb",
        "DPoP",
        "DPoP a, DPoP b",
        "Bearer " + "a" * 513,
    ],
)
def test_a_header_that_is_not_exactly_one_token_gives_none(value: str) -> None:
    assert gate.presented(authorized(value)) is None


def test_a_token_in_the_address_is_refused_even_beside_a_good_header() -> None:
    sent = request("/api/v1/grant?access_token=abc", headers={"Authorization": "Bearer abc"})
    with pytest.raises(ParameterError):
        gate.presented(sent)


def challenges(
    consent: Consent, value: str, error: VrmError, scope: str = "", *, constrained: bool = False
) -> list[str]:
    consent.constrained = constrained
    made = Gate(consent, URL)
    told = made.challenges(authorized(value) if value else request(), error, scope)
    assert {name for name, _ in told} - {"DPoP-Nonce"} == {"WWW-Authenticate"}
    return [text for name, text in told if name == "WWW-Authenticate"]


def test_a_challenge_without_credentials_names_no_error(consent: Consent) -> None:
    assert challenges(consent, "", TokenError()) == [
        f'Bearer realm="vrm", {ABOUT}',
        f'DPoP realm="vrm", {ALGS}, {ABOUT}',
    ]


@pytest.mark.parametrize(
    ("error", "scope", "told"),
    [
        (TokenError(), "", 'error="invalid_token"'),
        (InsufficientScopeError(), "profile:read", 'error="insufficient_scope", scope="profile:read"'),
        (ParameterError(), "", 'error="invalid_request"'),
        (ProofError(), "", 'error="invalid_dpop_proof"'),
        (NonceError("n"), "", 'error="use_dpop_nonce"'),
    ],
)
def test_the_scheme_that_was_used_is_told_what_was_wrong(
    consent: Consent, error: VrmError, scope: str, told: str
) -> None:
    plain = [f'Bearer realm="vrm", {ABOUT}', f'DPoP realm="vrm", {ALGS}, {ABOUT}']
    bearer, dpop = f'Bearer realm="vrm", {told}, {ABOUT}', f'DPoP realm="vrm", {told}, {ALGS}, {ABOUT}'
    assert challenges(consent, "Bearer abc", error, scope) == [bearer, plain[1]]
    assert challenges(consent, "dpop abc", error, scope) == [dpop, plain[0]]


def test_where_only_bound_tokens_count_nothing_else_is_offered(consent: Consent) -> None:
    for value in ("Bearer abc", "DPoP abc"):
        [told] = challenges(consent, value, TokenError(), constrained=True)
        assert told == f'DPoP realm="vrm", error="invalid_token", {ALGS}, {ABOUT}'
