"""The plan of the conformance suite for FAPI 2.0, case by case: who a client is, and what it pushes."""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest

from tests.judges.fapi import FapiVendor, refused, soon
from tests.judges.shop import MANY, at_once
from tests.judges.stage import CALLBACK, Town, answer_in, new_key


def turned_away(client: FapiVendor, address: str) -> str:
    """What the page says where nobody is redirected."""
    page = client.town.alice.browser.get(address, follow=False)
    assert page.status == 400, (page.status, page.text)
    return page.text


# ---- discovery and the whole way


@pytest.mark.meets("fapi2-discovery-end-point-verification", "oauch-ParEndpoint/IsParRequiredTest")
def test_the_metadata_says_what_the_profile_needs(strict: Town) -> None:
    found = httpx.get(strict.issuer + "/.well-known/oauth-authorization-server").json()
    assert found["issuer"] == strict.issuer
    assert found["response_types_supported"] == ["code"]
    assert found["require_pushed_authorization_requests"] is True
    assert found["pushed_authorization_request_endpoint"].startswith(strict.issuer)
    assert found["authorization_response_iss_parameter_supported"] is True
    assert found["code_challenge_methods_supported"] == ["S256"]
    assert found["token_endpoint_auth_methods_supported"] == ["private_key_jwt"]
    assert set(found["grant_types_supported"]) >= {"authorization_code", "refresh_token"}
    signing = found["token_endpoint_auth_signing_alg_values_supported"]
    assert {"PS256", "ES256", "EdDSA"} <= set(signing) <= {"PS256", "ES256", "EdDSA", "Ed25519"}


# ---- client authentication, at the push and at the token endpoint


WRONG: list[Any] = [
    pytest.param(
        lambda client: {"exp": soon(-300)},
        id="expired",
        marks=pytest.mark.meets(
            "fapi2-ensure-client-assertion-with-exp-is-5-minutes-in-past-fails",
            "oauch-Jwt/IsExpirationCheckedTest",
        ),
    ),
    pytest.param(lambda client: {"exp": None}, id="endless"),
    pytest.param(
        lambda client: {"iat": soon(-7200), "exp": soon(300)},
        id="issued long ago",
        marks=pytest.mark.meets("oauch-Jwt/IsIssuedAtCheckedTest"),
    ),
    pytest.param(
        lambda client: {"aud": "https://other.example"},
        id="wrong aud",
        marks=pytest.mark.meets("fapi2-ensure-client-assertion-with-wrong-aud-fails"),
    ),
    pytest.param(
        lambda client: {"aud": None},
        id="no aud",
        marks=pytest.mark.meets("oauch-Jwt/HasAudienceClaimTest"),
    ),
    pytest.param(
        lambda client: {"aud": [client.town.issuer, "https://other.example"]},
        id="several aud",
        marks=pytest.mark.meets("fapi2-par-test-array-as-audience-fails"),
    ),
    pytest.param(lambda client: {"aud": [client.town.issuer]}, id="aud in a list"),
    pytest.param(
        lambda client: {"aud": client.town.issuer + "/oauth/par"},
        id="aud of the push",
        marks=pytest.mark.meets("fapi2-par-test-par-endpoint-url-as-audience-fails"),
    ),
    pytest.param(
        lambda client: {"aud": client.town.issuer + "/oauth/token"},
        id="aud of the token endpoint",
        marks=pytest.mark.meets("fapi2-par-test-token-endpoint-url-as-audience-fails"),
    ),
    pytest.param(
        lambda client: {"sub": None},
        id="no sub",
        marks=pytest.mark.meets(
            "fapi2-ensure-client-assertion-with-no-sub-fails", "oauch-Jwt/HasSubjectClaimTest"
        ),
    ),
    pytest.param(
        lambda client: {"iss": None}, id="no iss", marks=pytest.mark.meets("oauch-Jwt/HasIssuerClaimTest")
    ),
    pytest.param(lambda client: {"jti": None}, id="no jti"),
    pytest.param(
        lambda client: {"nbf": soon(90), "iat": soon(90), "exp": soon(390)},
        id="not yet",
        marks=pytest.mark.meets(
            "fapi2-par-ensure-jwt-client-assertions-nbf-over-60-seconds-in-the-future-fails",
            "oauch-Jwt/IsNotBeforeCheckedTest",
        ),
    ),
    pytest.param(
        lambda client: {"key": new_key(), "header": {"kid": client.key.kid}},
        id="another key",
        marks=pytest.mark.meets("oauch-Jwt/IsSignatureCheckedTest"),
    ),
    pytest.param(
        lambda client: {"header": {"alg": "none"}},
        id="unsigned",
        marks=pytest.mark.meets("oauch-Jwt/IsSignatureRequiredTest"),
    ),
]


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_assertion_is_no_proof(client: FapiVendor, wrong: Any) -> None:
    for send in (client.push, lambda **fields: client.redeem("x", **fields)):
        answer = send(client_assertion=client.assertion(**wrong(client)))
        refused(answer, "invalid_client", 401)


@pytest.mark.meets("oauch-Jwt/IsJwtReplayDetectedTest")
def test_an_assertion_counts_once(client: FapiVendor) -> None:
    made = client.assertion()
    assert client.push(client_assertion=made).status_code == 201
    refused(client.push(client_assertion=made), "invalid_client", 401)
    refused(client.refresh("x", client_assertion=made), "invalid_client", 401)


@pytest.mark.meets(
    "fapi2-ensure-client-assertion-in-token-endpoint",
    "oauch-ParEndpoint/IsParAuthenticationRequiredTest",
    "rfc9700-27",
)
def test_without_an_assertion_nobody_is_known(client: FapiVendor) -> None:
    nothing = {"client_assertion": None, "client_assertion_type": None}
    refused(client.push(**nothing), "invalid_client", 401)
    refused(client.redeem("x", **nothing), "invalid_client", 401)
    refused(client.refresh("x", **nothing), "invalid_client", 401)


@pytest.mark.meets("fapi2-ensure-client-id-in-token-endpoint")
def test_another_clients_id_beside_an_assertion_is_refused(client: FapiVendor, other: FapiVendor) -> None:
    for answer in (
        client.push(client_id=other.vendor.client_id),
        client.redeem("x", client_id=other.vendor.client_id),
    ):
        assert answer.status_code in {400, 401}
        assert answer.json()["error"] in {"invalid_client", "invalid_request"}


@pytest.mark.meets("fapi2-par-ensure-jwt-client-assertions-nbf-8-seconds-in-the-future-is-accepted")
def test_clocks_may_differ_a_little(client: FapiVendor) -> None:
    made = client.assertion(nbf=soon(8), iat=soon(8), exp=soon(308))
    assert client.push(client_assertion=made).status_code == 201


@pytest.mark.meets(
    "rfc9700-28",
    "oauch-Jwt/SupportsJwtClientAuthenticationTest",
    "oauch-DocumentSupport/RFC7523SupportedTest",
    "oauch-TokenEndpoint/IsAsymmetricClientAuthenticationUsedTest",
)
@pytest.mark.parametrize("algorithm", ["ES256", "PS256", "Ed25519"])
def test_every_kind_of_key_proves_who_it_is(strict: Town, algorithm: str) -> None:
    assert FapiVendor.register(strict, algorithm).push().status_code == 201


@pytest.mark.meets("fapi2-ensure-signed-client-assertion-with-RS256-fails")
def test_the_older_signature_by_the_same_key_does_not_count(strict: Town) -> None:
    client = FapiVendor.register(strict, "PS256")
    refused(client.push(client_assertion=client.assertion(header={"alg": "RS256"})), "invalid_client", 401)


# ---- pushed requests


@pytest.mark.meets(
    "oauch-ParEndpoint/RequestUriEntropyMinReqTest", "oauch-ParEndpoint/RequestUriEntropySugReqTest"
)
def test_a_reference_cannot_be_guessed_and_says_how_long_it_is_good(client: FapiVendor) -> None:
    answers = [client.push().json() for _ in range(3)]
    texts = {answer["request_uri"].removeprefix("urn:ietf:params:oauth:request_uri:") for answer in answers}
    assert len(texts) == 3
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{43,}", text) for text in texts)  # 32 random bytes
    assert {answer["expires_in"] for answer in answers} == {90}


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        pytest.param(
            {"code_challenge": None, "code_challenge_method": None},
            "invalid_request",
            id="no challenge",
            marks=pytest.mark.meets("fapi2-par-ensure-pkce-required"),
        ),
        pytest.param(
            {"code_challenge_method": "plain"},
            "invalid_request",
            id="plain challenge",
            marks=pytest.mark.meets("fapi2-par-plain-pkce-rejected"),
        ),
        pytest.param(
            {"request_uri": "urn:ietf:params:oauth:request_uri:x"},
            "invalid_request",
            id="request_uri",
            marks=pytest.mark.meets("fapi2-par-authorization-request-containing-request_uri-form-param"),
        ),
        pytest.param(
            {"redirect_uri": None},
            "invalid_request",
            id="no redirect address",
            marks=pytest.mark.meets(
                "fapi2-ensure-request-object-without-redirect-uri-fails",
                "fapi2-ensure-redirect-uri-in-authorization-request",
            ),
        ),
        pytest.param(
            {"redirect_uri": CALLBACK + "/other"},
            "invalid_request",
            id="unregistered redirect address",
            marks=pytest.mark.meets(
                "fapi2-ensure-registered-redirect-uri", "fapi2-plain-fapi-tolerate-unregistered-redirect-uri"
            ),
        ),
        pytest.param({"response_type": "code id_token"}, "unsupported_response_type", id="code id_token"),
        pytest.param({"response_type": "token"}, "unsupported_response_type", id="token"),
        pytest.param({"scope": "openid"}, "invalid_scope", id="openid"),
    ],
)
def test_what_may_not_be_pushed(client: FapiVendor, changes: dict[str, Any], error: str) -> None:
    refused(client.push(**changes), error)


@pytest.mark.meets("fapi2-par-attempt-invalid-http-method")
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_pushing_takes_post_only(strict: Town, method: str) -> None:
    answer = httpx.request(method, strict.issuer + "/oauth/par")
    assert answer.status_code == 405


@pytest.mark.meets(
    "fapi2-ensure-unsigned-authorization-request-without-using-par-fails",
    "oauch-ParEndpoint/IsParRequiredTest",
)
def test_what_was_not_pushed_is_refused(client: FapiVendor) -> None:
    question = {"client_id": client.vendor.client_id, **client.question()}
    address = str(httpx.URL(client.town.issuer + "/oauth/authorize", params=question))
    answer = client.town.alice.browser.get(address, follow=False)
    if answer.status == 303:
        assert answer_in(str(answer.headers["Location"]))["error"] == "invalid_request"
    else:
        assert answer.status == 400


@pytest.mark.meets(
    "fapi2-par-attempt-to-use-request_uri-for-different-client", "oauch-ParEndpoint/IsClientBoundToUriTest"
)
def test_a_pushed_request_is_of_no_use_to_another_client(client: FapiVendor, other: FapiVendor) -> None:
    turned_away(client, other.address(client.pushed()))


@pytest.mark.meets("fapi2-par-ensure-reused-request-uri-prior-to-auth-completion-succeeds")
def test_looking_does_not_spend_a_pushed_request(client: FapiVendor) -> None:
    reference = client.pushed()
    stranger = httpx.get(client.address(reference), follow_redirects=True)  # no session: nothing to decide
    assert stranger.status_code == 200
    assert client.town.alice.look(client.address(reference)).status == 200
    assert client.approved(reference)["code"]


@pytest.mark.meets("fapi2-par-attempt-reuse-request_uri")
def test_a_decided_request_is_gone(client: FapiVendor) -> None:
    reference = client.pushed()
    client.approved(reference)
    turned_away(client, client.address(reference))


@pytest.mark.meets(
    "fapi2-par-without-duplicate-parameters",
    "fapi2-ensure-different-state-inside-and-outside-request-object",
    "fapi2-state-only-outside-request-object-not-used",
)
def test_only_what_was_pushed_counts(client: FapiVendor) -> None:
    assert client.approved(client.pushed())["state"] == "st4te"
    beside = client.approved(
        client.pushed(), state="other", scope="profile:read", redirect_uri="https://evil.example"
    )
    assert beside["state"] == "st4te"
    assert "state" not in client.approved(client.pushed(state=None), state="other")


@pytest.mark.meets("fapi2-ensure-authorization-request-without-state-success")
def test_no_state_is_sent_and_none_comes_back(client: FapiVendor) -> None:
    found = client.approved(client.pushed(state=None))
    assert set(found) == {"code", "iss"}
    assert found["iss"] == client.town.issuer


@pytest.mark.meets("fapi2-user-rejects-authentication")
def test_declining_says_access_denied(client: FapiVendor) -> None:
    found = answer_in(client.town.alice.decide(client.address(client.pushed()), "decline"))
    assert (found["error"], found["state"]) == ("access_denied", "st4te")


def test_of_sixteen_replays_of_an_assertion_one_counts(client: FapiVendor) -> None:
    made = client.assertion()
    answers = at_once(lambda _: client.push(client_assertion=made).status_code)
    assert sorted(answers) == [201] + [401] * (MANY - 1)
