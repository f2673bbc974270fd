"""oauth4webapi, the strictest client there is for JavaScript: it checks every answer to the letter."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.judges.stage import (
    BOOKS,
    CALLBACK,
    Judge,
    Town,
    confidential,
    new_key,
    public,
    published,
    with_key,
)

Judges = Callable[[str], Judge]


@pytest.fixture
def hears(judge: Judges) -> Callable[..., Any]:
    return judge("oauth4webapi").hears


def gone_all_the_way(found: Any) -> None:
    assert found["seen"] == BOOKS
    assert set(found["scope"].split()) == {"purchases.item:read", "purchases.price:read"}
    assert found["challenge"]["error"] == "invalid_token"
    assert found["grant"]


@pytest.mark.meets(
    "rfc9700-7",
    "rfc9700-74",
    "rfc9700-75",
    "rfc9700-13",
    "oauch-DocumentSupport/RFC6749SupportedTest",
    "oauch-DocumentSupport/RFC6750SupportedTest",
    "oauch-DocumentSupport/RFC7636SupportedTest",
    "oauch-Pkce/HashedPkceDisabledTest",
    "oauch-Pkce/IsPkceImplementedTest",
    "oauch-TokenEndpoint/IsBasicAuthenticationSupportedTest",
)
def test_a_confidential_client_goes_all_the_way(town: Town, hears: Callable[..., Any]) -> None:
    found = hears("whole", **confidential(town))
    gone_all_the_way(found)
    assert found["type"] == "bearer"


def test_a_public_client_goes_all_the_way(town: Town, hears: Callable[..., Any]) -> None:
    gone_all_the_way(hears("whole", **public(town)))


@pytest.mark.meets("oauch-ParEndpoint/IsParSupportedTest", "oauch-DocumentSupport/RFC9126SupportedTest")
@pytest.mark.parametrize("kind", [confidential, public])
def test_a_pushed_request_goes_all_the_way(town: Town, hears: Callable[..., Any], kind: Any) -> None:
    gone_all_the_way(hears("whole", **kind(town), pushed=True))


@pytest.mark.meets(
    "rfc9700-20", "oauch-DPoP/IsDPoPSupportedTest", "oauch-DocumentSupport/RFC9449SupportedTest"
)
@pytest.mark.parametrize("pushed", [False, True])
@pytest.mark.parametrize("kind", [confidential, public])
def test_tokens_bound_to_a_key_go_all_the_way(
    town: Town, hears: Callable[..., Any], kind: Any, *, pushed: bool
) -> None:
    found = hears("whole", **kind(town), bound="Ed25519" if pushed else "ES256", pushed=pushed)
    gone_all_the_way(found)
    assert found["type"] == "dpop"
    assert found["challenge"]["scheme"] == "dpop"
    assert found["nonces"] >= 1  # it was asked for the nonce of the server


@pytest.mark.meets("rfc9700-28", "oauch-DocumentSupport/RFC7523SupportedTest")
@pytest.mark.parametrize("algorithm", ["ES256", "PS256", "Ed25519"])
def test_a_client_with_a_key_of_its_own_goes_all_the_way(
    town: Town, hears: Callable[..., Any], algorithm: str
) -> None:
    gone_all_the_way(hears("whole", **with_key(town, algorithm), pushed=algorithm == "ES256"))


@pytest.mark.meets("rfc9700-30", "rfc9700-85")
@pytest.mark.parametrize("method", ["client_secret_basic", "none"])
def test_a_client_that_registers_itself_goes_all_the_way_and_leaves(
    town: Town, hears: Callable[..., Any], method: str
) -> None:
    metadata = {"token_endpoint_auth_method": method, "client_id": "alice"}
    found = hears("registration", redirect_uri=CALLBACK, name="Corner Books", metadata=metadata)
    gone_all_the_way(found)
    assert found["made"]["client_id"] != "alice"
    assert ("client_secret" in found["made"]) == (method != "none")


def test_a_document_is_a_client_that_nobody_registered(town: Town, hears: Callable[..., Any]) -> None:
    with published({"client_name": "Corner Books", "token_endpoint_auth_method": "none"}) as given:
        gone_all_the_way(hears("whole", **given))


def test_a_document_with_a_key_proves_who_it_is(town: Town, hears: Callable[..., Any]) -> None:
    key = new_key()
    document = {
        "token_endpoint_auth_method": "private_key_jwt",
        "jwks": {"keys": [key.as_dict(private=False)]},
    }
    private = {"algorithm": "ES256", "key": {**key.as_dict(private=True), "kid": key.kid}}
    with published(document) as given:
        gone_all_the_way(hears("whole", **given, **private, pushed=True))


@pytest.mark.meets(
    "oauch-DocumentSupport/RFC8628SupportedTest",
    "oauch-DeviceAuthEndpoint/UnrecognizedParameterAllowedTest",
    "oauch-Tokens/DeviceCodeEntropyTest",
)
def test_a_program_of_the_customers_own_comes_in_by_its_code(town: Town, hears: Callable[..., Any]) -> None:
    found = hears("device", client_id="vrm-tool")
    assert (found["token_type"], found["scope"]) == ("bearer", "vault:manage")
    assert len(found["code"].removeprefix("vrm_dc_")) >= 43  # 32 random bytes in base64


def test_what_was_granted_is_told_in_the_shape_of_what_was_asked(
    town: Town, hears: Callable[..., Any]
) -> None:
    part = {
        "type": "vrm_access",
        "datatypes": ["purchases.item", "purchases.price"],
        "actions": ["read"],
        "fields": ["title", "total"],
        "purpose": "ProvideProductRecommendations",
    }
    for pushed in (False, True):
        found = hears("details", **confidential(town), details=[part], pushed=pushed)
        assert [granted["datatypes"] for granted in found["granted"]] == [part["datatypes"]]
        assert sorted(row["item"]["title"] for row in found["rows"]) == BOOKS
        assert {name for row in found["rows"] for facet in ("item", "price") for name in row[facet]} == {
            "title",
            "total",
        }


def test_introspection_tells_the_tokens_own_client_only(town: Town, hears: Callable[..., Any]) -> None:
    found = hears("introspection", **confidential(town), other=confidential(town))
    assert found["active"] is True
    assert found["iss"] == found["aud"] == town.issuer
    assert set(found["scope"].split()) == {"purchases.item:read", "purchases.price:read"}
    assert "username" not in found
    assert "alice" not in str(found)


@pytest.mark.meets("rfc9700-17", "rfc9700-29")
def test_both_discovery_documents_are_taken(town: Town, hears: Callable[..., Any]) -> None:
    found = hears("discovery")
    assert found["as"]["issuer"] == found["resource"]["resource"] == town.issuer
    assert found["as"]["code_challenge_methods_supported"] == ["S256"]
    assert found["as"]["authorization_response_iss_parameter_supported"] is True


def test_a_refusal_leads_to_the_authorization_server(town: Town, hears: Callable[..., Any]) -> None:
    found = hears("challenge_leads_to_the_vault", **confidential(town))
    assert found == {"error": "invalid_token", "servers": [town.issuer]}


def test_an_answer_with_another_issuer_or_state_is_thrown_away(town: Town, hears: Callable[..., Any]) -> None:
    hears("issuer_of_another_is_refused", **confidential(town))


def test_declining_is_an_answer(town: Town, hears: Callable[..., Any]) -> None:
    assert hears("declining", **confidential(town)) == "access_denied"


def test_bad_questions_come_back_as_errors(town: Town, hears: Callable[..., Any]) -> None:
    assert hears("bad_questions", **confidential(town)) == {
        "no_challenge": "invalid_request",
        "plain_challenge": "invalid_request",
        "no_method": "invalid_request",
        "token": "unsupported_response_type",
        "id_token": "unsupported_response_type",
        "form_post": "invalid_request",
        "openid": "invalid_scope",
        "request_object": "request_not_supported",
    }


def test_bad_redemptions_are_refused(town: Town, hears: Callable[..., Any]) -> None:
    hears("bad_redemptions", **confidential(town), other=confidential(town))


def test_a_code_is_good_once_and_its_second_use_ends_what_it_gave(
    town: Town, hears: Callable[..., Any]
) -> None:
    hears("code_twice", **confidential(town))


def test_a_refresh_token_that_is_given_back_ends_the_grant_an_access_token_only_itself(
    town: Town, hears: Callable[..., Any]
) -> None:
    hears("giving_back", **confidential(town))


def test_another_vendors_tokens_can_be_neither_refreshed_nor_revoked(
    town: Town, hears: Callable[..., Any]
) -> None:
    hears("token_of_another", **confidential(town), other=confidential(town))
