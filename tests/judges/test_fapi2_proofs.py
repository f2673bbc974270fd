"""The plan of the conformance suite for FAPI 2.0, case by case: tokens that are bound to a key (DPoP)."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.judges.fapi import FapiVendor, digest, refused, soon
from tests.judges.shop import MANY, at_once
from tests.judges.stage import BOOKS, Judge, Town, new_key, with_key


@pytest.mark.meets(
    "fapi2-happy-flow",
    "rfc9700-20",
    "rfc9700-68",
    "oauch-DPoP/IsDPoPSupportedTest",
    "oauch-DocumentSupport/RFC9449SupportedTest",
)
def test_two_clients_go_all_the_way(client: FapiVendor, other: FapiVendor) -> None:
    for one in (client, other):
        found = one.tokens()
        assert found["token_type"] == "DPoP"
        answer = one.read(found["access_token"])
        assert sorted(row["item"]["title"] for row in answer.json()["items"]) == BOOKS


@pytest.mark.meets("fapi2-happy-flow", "rfc9700-68")
@pytest.mark.parametrize("program", ["oauth4webapi", "openid_client"])
def test_the_strict_profile_is_gone_through_by_strict_clients(
    strict: Town, from_npm: None, program: str
) -> None:
    given = {**with_key(strict), "bound": "ES256", "pushed": True}
    found = Judge(strict, program).hears("whole", **given)
    assert found["seen"] == BOOKS
    assert found["type"] == "dpop"
    assert found["rotated"] is False


@pytest.mark.meets(
    "fapi2-ensure-holder-of-key-required",
    "oauch-ApiEndpoint/AreBearerTokensDisabledTest",
    "oauch-DPoP/IsDPoPTokenRequiredTest",
)
def test_no_token_is_given_without_a_proof(client: FapiVendor) -> None:
    answer = client.redeem(client.code())
    assert answer.status_code == 400
    assert answer.json()["error"] in {"invalid_dpop_proof", "invalid_request", "invalid_grant"}


@pytest.mark.meets("oauch-DPoP/IsSignatureRequiredTest")
def test_no_token_is_given_for_an_unsigned_proof(client: FapiVendor) -> None:
    refused(client.redeem(client.code(), {"header": {"alg": "none"}}), "invalid_dpop_proof")


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param(
            lambda: {"nbf": soon(-5), "exp": soon(60)},
            id="nbf and exp",
            marks=pytest.mark.meets("fapi2-check-dpop-proof-nbf-exp"),
        ),
        pytest.param(
            lambda: {"iat": soon(-10)},
            id="ten seconds ago",
            marks=pytest.mark.meets("fapi2-ensure-dpopproof-with-iat-10seconds-before-succeeds"),
        ),
        pytest.param(
            lambda: {"iat": soon(9)},  # the server's second may have begun later
            id="ten seconds ahead",
            marks=pytest.mark.meets("fapi2-ensure-dpopproof-with-iat-10seconds-after-succeeds"),
        ),
    ],
)
def test_clocks_of_proofs_may_differ_a_little(client: FapiVendor, changes: Any) -> None:
    answer = client.redeem(client.code(changes()), changes())
    assert answer.status_code == 200, answer.text
    assert client.read(answer.json()["access_token"], changes()).status_code == 200


@pytest.mark.meets("fapi2-ensure-mismatched-dpop-jkt-fails")
def test_key_and_proof_at_the_push_must_agree(client: FapiVendor) -> None:
    answer = client.push({}, dpop_jkt=new_key().thumbprint())
    assert answer.status_code == 400
    assert answer.json()["error"] in {"invalid_dpop_proof", "invalid_request"}


@pytest.mark.meets(
    "fapi2-ensure-token-endpoint-fails-with-mismatched-dpop-proof-jkt",
    "fapi2-ensure-dpopproof-at-par-endpoint-binding-success",
)
def test_a_proof_at_the_push_binds_the_code(client: FapiVendor) -> None:
    refused(client.redeem(client.code({}), {"key": new_key()}), "invalid_grant")
    assert client.redeem(client.code({}), {}).status_code == 200


@pytest.mark.meets(
    "fapi2-ensure-token-endpoint-fails-with-mismatched-dpop-jkt",
    "fapi2-ensure-dpop-auth-code-binding-success",
)
def test_a_named_key_binds_the_code(client: FapiVendor) -> None:
    mine = client.proof_key.thumbprint()
    refused(client.redeem(client.code(dpop_jkt=mine), {"key": new_key()}), "invalid_grant")
    assert client.redeem(client.code(dpop_jkt=mine), {}).status_code == 200


@pytest.mark.meets("fapi2-refresh-token")
def test_a_refresh_needs_the_client_and_its_key(client: FapiVendor, other: FapiVendor) -> None:
    first = client.tokens()
    nothing = {"client_assertion": None, "client_assertion_type": None}
    refused(client.refresh(first["refresh_token"], {}, **nothing), "invalid_client", 401)
    refused(other.refresh(first["refresh_token"], {}), "invalid_grant")
    assert client.refresh(first["refresh_token"]).status_code == 400
    again = client.refresh(first["refresh_token"], {})
    assert again.status_code == 200, again.text
    assert again.json().get("refresh_token", first["refresh_token"]) == first["refresh_token"]  # no rotation
    assert client.read(again.json()["access_token"]).status_code == 200


@pytest.fixture(scope="module")
def held(client: FapiVendor) -> str:
    """An access token bound to the client's key, which the proofs below are made for."""
    token: str = client.tokens()["access_token"]
    assert client.read(token).status_code == 200  # and it has learnt the server's nonce
    return token


@pytest.mark.meets("fapi2-dpop-jti-first", "fapi2-dpop-good-after-all")
def test_a_token_bound_to_a_key_is_read_with_a_right_proof(client: FapiVendor, held: str) -> None:
    assert client.read(held).status_code == 200


def no_read(answer: httpx.Response, *errors: str) -> None:
    """401 with a challenge that says which of these it was."""
    assert answer.status_code == 401, answer.text
    challenge = answer.headers["WWW-Authenticate"]
    assert "DPoP" in challenge
    assert any(f'error="{error}"' in challenge for error in errors), challenge


BAD_PROOFS: list[Any] = [
    pytest.param(
        lambda client: {"header": {"typ": None}},
        id="no typ",
        marks=pytest.mark.meets("fapi2-dpop-no-typ"),
    ),
    pytest.param(
        lambda client: {"header": {"typ": "JWT"}},
        id="another typ",
        marks=pytest.mark.meets("fapi2-dpop-wrong-typ"),
    ),
    pytest.param(
        lambda client: {"header": {"alg": None}},
        id="no alg",
        marks=pytest.mark.meets("fapi2-dpop-no-alg"),
    ),
    pytest.param(
        lambda client: {"header": {"alg": "none"}},
        id="alg none",
        marks=pytest.mark.meets("fapi2-dpop-alg-none"),
    ),
    pytest.param(
        lambda client: {"header": {"jwk": None}},
        id="no jwk",
        marks=pytest.mark.meets("fapi2-dpop-no-jwk"),
    ),
    pytest.param(
        lambda client: {"header": {"jwk": client.proof_key.as_dict(private=True)}},
        id="private key",
        marks=pytest.mark.meets("fapi2-dpop-private-key"),
    ),
    pytest.param(
        lambda client: {"key": new_key("RS256"), "header": {"alg": "RS256"}},
        id="RS256",
        marks=pytest.mark.meets("fapi2-dpop-rs256"),
    ),
    pytest.param(
        lambda client: {"header": {"jwk": new_key().as_dict(private=False)}},
        id="another key in the header",
        marks=pytest.mark.meets("fapi2-dpop-bad-signature"),
    ),
    pytest.param(
        lambda client: {"jti": None},
        id="no jti",
        marks=pytest.mark.meets("fapi2-dpop-no-jti", "oauch-DPoP/HasRequiredClaimsTest"),
    ),
    pytest.param(
        lambda client: {"htm": None},
        id="no htm",
        marks=pytest.mark.meets("fapi2-dpop-no-htm", "oauch-DPoP/HasRequiredClaimsTest"),
    ),
    pytest.param(
        lambda client: {"htu": None},
        id="no htu",
        marks=pytest.mark.meets("fapi2-dpop-no-htu", "oauch-DPoP/HasRequiredClaimsTest"),
    ),
    pytest.param(
        lambda client: {"iat": None},
        id="no iat",
        marks=pytest.mark.meets("fapi2-dpop-no-iat", "oauch-DPoP/HasRequiredClaimsTest"),
    ),
    pytest.param(
        lambda client: {"ath": None},
        id="no ath",
        marks=pytest.mark.meets("fapi2-dpop-no-ath", "oauch-DPoP/HasRequiredClaimsTest"),
    ),
    pytest.param(
        lambda client: {"htm": "POST"},
        id="another method",
        marks=pytest.mark.meets("fapi2-dpop-wrong-htm"),
    ),
    pytest.param(
        lambda client: {"htu": client.town.issuer + "/api/v1/profile"},
        id="another address",
        marks=pytest.mark.meets("fapi2-dpop-wrong-htu"),
    ),
    pytest.param(
        lambda client: {"htu": "https://other.example/api/v1/purchases"},
        id="another host",
        marks=pytest.mark.meets("fapi2-dpop-wrong-htu"),
    ),
    pytest.param(
        lambda client: {"iat": soon(3600)},
        id="an hour ahead",
        marks=pytest.mark.meets("fapi2-dpop-iat-future"),
    ),
    pytest.param(
        lambda client: {"iat": soon(-3600)},
        id="an hour ago",
        marks=pytest.mark.meets("fapi2-dpop-iat-past"),
    ),
    pytest.param(
        lambda client: {"ath": digest("another")},
        id="ath of another token",
        marks=pytest.mark.meets("fapi2-dpop-wrong-ath"),
    ),
    pytest.param(
        lambda client: {"key": new_key()},
        id="another key",
        marks=pytest.mark.meets("fapi2-dpop-other-key"),
    ),
]


@pytest.mark.meets("fapi2-dpop-negative-tests")
@pytest.mark.parametrize("wrong", BAD_PROOFS)
def test_a_wrong_proof_reads_nothing(client: FapiVendor, held: str, wrong: Any) -> None:
    no_read(client.read(held, wrong(client)), "invalid_dpop_proof", "invalid_token")


GOOD_PROOFS: list[Any] = [
    pytest.param(
        lambda url: {"htu": url + "?limit=5#part"},
        id="query and fragment in htu",
        marks=pytest.mark.meets("fapi2-dpop-htu-with-query"),
    ),
    pytest.param(
        lambda url: {"htu": url.replace("http:", "HTTP:")},
        id="htu in capitals",
        marks=pytest.mark.meets("fapi2-dpop-htu-case"),
    ),
    pytest.param(
        lambda url: {"header": {"more": "x"}, "more": ["y"], "sub": "z"},
        id="unknown claims",
        marks=pytest.mark.meets("fapi2-dpop-extra-claims"),
    ),
]


@pytest.mark.parametrize("changes", GOOD_PROOFS)
def test_what_makes_no_difference_in_a_proof(client: FapiVendor, held: str, changes: Any) -> None:
    url = client.town.issuer + "/api/v1/purchases"
    assert client.read(held, changes(url)).status_code == 200


@pytest.mark.meets("fapi2-dpop-htu-without-query")
def test_a_proof_leaves_the_query_out(client: FapiVendor, held: str) -> None:
    assert client.read(held, path="/api/v1/purchases?limit=5").status_code == 200


@pytest.mark.meets("fapi2-dpop-upper-case-header")
def test_the_name_of_the_header_may_be_in_capitals(client: FapiVendor, held: str) -> None:
    made = client.proof("GET", client.town.issuer + "/api/v1/purchases", held)
    assert client.get(held, [("DPOP", made)]).status_code == 200


@pytest.mark.meets("fapi2-dpop-two-proofs")
def test_two_proofs_are_none(client: FapiVendor, held: str) -> None:
    made = [("DPoP", client.proof("GET", client.town.issuer + "/api/v1/purchases", held)) for _ in range(2)]
    no_read(client.get(held, made), "invalid_dpop_proof")


@pytest.mark.meets("fapi2-dpop-malformed")
@pytest.mark.parametrize("made", ["x", "a.b.c", "e30.e30.", ""])
def test_what_is_no_token_proves_nothing(client: FapiVendor, held: str, made: str) -> None:
    no_read(client.get(held, [("DPoP", made)]), "invalid_dpop_proof", "invalid_token")


@pytest.mark.meets("fapi2-dpop-jti-replay")
def test_a_proof_counts_once_among_all_processes(client: FapiVendor, held: str) -> None:
    made = client.proof("GET", client.town.issuer + "/api/v1/purchases", held)
    assert client.get(held, [("DPoP", made)]).status_code == 200
    for _ in range(4):
        no_read(client.get(held, [("DPoP", made)]), "invalid_dpop_proof")


@pytest.mark.meets("fapi2-dpop-no-proof", "oauch-DPoP/IsDPoPTokenRequiredTest", "rfc9700-65")
def test_a_bound_token_alone_reads_nothing(client: FapiVendor, held: str) -> None:
    no_read(client.get(held, []), "invalid_dpop_proof", "invalid_token")


@pytest.mark.meets("fapi2-dpop-as-bearer")
def test_a_bound_token_is_no_bearer_token(client: FapiVendor, held: str) -> None:
    no_read(client.get(held, [], scheme="Bearer"), "invalid_token")
    made = client.proof("GET", client.town.issuer + "/api/v1/purchases", held)
    no_read(client.get(held, [("DPoP", made)], scheme="Bearer"), "invalid_token")


@pytest.mark.meets("fapi2-dpop-jti-replay")
def test_of_sixteen_replays_at_once_one_reads(client: FapiVendor, held: str) -> None:
    made = client.proof("GET", client.town.issuer + "/api/v1/purchases", held)
    answers = at_once(lambda _: client.get(held, [("DPoP", made)]).status_code)
    assert sorted(answers) == [200] + [401] * (MANY - 1)
