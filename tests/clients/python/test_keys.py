"""A vendor with keys: it proves itself by one, and binds its tokens to another."""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from hashlib import sha256

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey

from tests.clients.conftest import REDIRECT_URI, Call, Said
from vrm_client import Asked, Part, ProtocolError, SigningKey, Vendor, client_metadata

PART = Part(["purchases.item"], "ProvideProductRecommendations")
NOW = 1_790_000_000


@pytest.fixture(scope="module")
def key():
    return SigningKey.generate()


@pytest.fixture(scope="module")
def proof_key():
    return SigningKey.generate()


@pytest.fixture
def dpop(scripted, proof_key):
    """A vendor whose tokens are bound; the vault answers in kind."""
    scripted.says("/oauth/token", lambda _: Said(scripted.mint(token_type="DPoP")))
    return vendor_of(scripted, client_secret="s", proof_key=proof_key)


def vendor_of(scripted, **how):
    return Vendor(scripted.url, client_id="vrm_client_1", redirect_uri=REDIRECT_URI, clock=lambda: NOW, **how)


def connected(scripted, vendor):
    asked = vendor.ask([PART])
    return vendor.finish(asked, f"{REDIRECT_URI}?code=c&state={asked.state}&iss={scripted.url}")


def opened(token: str, key: SigningKey) -> tuple[dict, dict]:
    read = jwt.decode(token, ECKey.import_key(key.public()), algorithms=["ES256"])
    return read.header, read.claims


def proof_of(call: Call, key: SigningKey) -> tuple[dict, dict]:
    header, claims = opened(call.headers["DPoP"], key)
    assert header["typ"] == "dpop+jwt"
    assert set(header["jwk"]) == {"kty", "crv", "x", "y"}
    assert claims["iat"] == NOW
    return header, claims


def test_a_key_proves_who_asks_for_tokens(scripted, key):
    connected(scripted, vendor_of(scripted, key=key))
    [call] = scripted.to("/oauth/token")
    assert "Authorization" not in call.headers
    assert call.form["client_id"] == "vrm_client_1"
    assert call.form["client_assertion_type"] == "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
    header, claims = opened(call.form["client_assertion"], key)
    assert header["kid"] == key.public()["kid"]
    assert claims.pop("jti")
    assert claims == {
        "iss": "vrm_client_1",
        "sub": "vrm_client_1",
        "aud": scripted.url,
        "iat": NOW,
        "exp": NOW + 60,
    }


def test_no_two_assertions_are_alike(scripted, key):
    connection = connected(scripted, vendor_of(scripted, key=key))
    connection.revoke()
    [first], [second] = scripted.to("/oauth/token"), scripted.to("/oauth/revoke")
    ids = {opened(call.form["client_assertion"], key)[1]["jti"] for call in (first, second)}
    assert len(ids) == 2


def test_a_vendor_has_one_way_to_prove_itself(scripted, key):
    with pytest.raises(ValueError, match="not by both"):
        vendor_of(scripted, client_secret="s", key=key)


def test_bound_tokens_are_asked_for_and_presented_with_proofs(scripted, dpop, proof_key, said):
    connection = connected(scripted, dpop)
    [redeemed] = scripted.to("/oauth/token")
    claims = proof_of(redeemed, proof_key)[1]
    assert claims["htm"] == "POST"
    assert claims["htu"] == scripted.url + "/oauth/token"
    assert "ath" not in claims
    scripted.says("/api/v1/purchases", said({"items": [], "next": None}))
    assert list(connection.records("purchases")) == []
    [read] = scripted.to("/api/v1/purchases")
    assert read.headers["Authorization"] == "DPoP vrm_at_secret1"
    claims = proof_of(read, proof_key)[1]
    assert claims["htm"] == "GET"
    assert claims["htu"] == scripted.url + "/api/v1/purchases"  # without the query
    assert claims["ath"] == urlsafe_b64encode(sha256(b"vrm_at_secret1").digest()).rstrip(b"=").decode()


def test_the_question_names_the_key_to_which_the_code_is_bound(scripted, dpop, proof_key):
    assert f"dpop_jkt={proof_key.thumbprint}" in dpop.ask([PART]).url


def test_a_nonce_is_given_when_it_is_asked_for_and_kept_for_the_next_time(scripted, dpop, proof_key, said):
    nonces = iter(["n1", "n2"])

    def token(call: Call) -> Said:
        claims = proof_of(call, proof_key)[1]
        if claims.get("nonce") not in ("n1", "n2"):
            return Said({"error": "use_dpop_nonce"}, 400, {"DPoP-Nonce": next(nonces)})
        return Said(scripted.mint(token_type="DPoP"))

    scripted.says("/oauth/token", token)

    def grant(call: Call) -> Said:
        if proof_of(call, proof_key)[1].get("nonce") != "n2":
            challenge = {"DPoP-Nonce": next(nonces), "WWW-Authenticate": 'DPoP error="use_dpop_nonce"'}
            return Said({"type": "/problems/use-dpop-nonce"}, 401, challenge)
        return Said({"scope": ""})

    scripted.says("/api/v1/grant", grant)
    connection = connected(scripted, dpop)
    assert len(scripted.to("/oauth/token")) == 2
    connection.grant()
    connection.grant()
    assert len(scripted.to("/api/v1/grant")) == 3
    assert len(scripted.to("/oauth/token")) == 2  # a nonce is no reason to renew tokens


def test_a_nonce_asked_for_without_end_is_not_followed_without_end(scripted, dpop, said):
    scripted.says("/oauth/token", said({"error": "use_dpop_nonce"}, 400, {"DPoP-Nonce": "again"}))
    with pytest.raises(Exception, match="use_dpop_nonce"):
        connected(scripted, dpop)
    assert len(scripted.to("/oauth/token")) == 2


@pytest.mark.parametrize("kind", ["Bearer", "N_A", None])
def test_a_token_that_is_not_bound_is_refused_where_a_bound_one_was_asked_for(scripted, dpop, kind):
    scripted.says("/oauth/token", lambda _: Said(scripted.mint(token_type=kind)))
    with pytest.raises(ProtocolError, match="another type than DPoP"):
        connected(scripted, dpop)


def test_a_bound_token_is_refused_where_none_was_asked_for(scripted):
    scripted.says("/oauth/token", lambda _: Said(scripted.mint(token_type="DPoP")))
    with pytest.raises(ProtocolError, match="another type than Bearer"):
        connected(scripted, vendor_of(scripted, client_secret="s"))


def test_the_question_is_pushed_where_the_vault_takes_it(scripted, key):
    scripted.metadata["pushed_authorization_request_endpoint"] = scripted.url + "/oauth/par"
    scripted.says("/oauth/par", Said({"request_uri": "urn:x:1", "expires_in": 90}, 201))
    asked = vendor_of(scripted, key=key).ask([PART])
    assert asked.url == f"{scripted.url}/oauth/authorize?client_id=vrm_client_1&request_uri=urn%3Ax%3A1"
    [call] = scripted.to("/oauth/par")
    assert call.form["state"] == asked.state
    assert json.loads(call.form["authorization_details"]) == [PART.to_json()]
    assert opened(call.form["client_assertion"], key)[1]["aud"] == scripted.url


@pytest.mark.parametrize(
    "answer", [Said({}, 201), Said({"request_uri": 7}, 201), Said({"request_uri": "u"}, 200)]
)
def test_a_pushed_question_without_its_number_is_not_asked(scripted, answer):
    scripted.metadata["pushed_authorization_request_endpoint"] = scripted.url + "/oauth/par"
    scripted.says("/oauth/par", answer)
    with pytest.raises(ProtocolError):
        vendor_of(scripted, client_secret="s").ask([PART])


def test_a_grant_is_replaced_or_added_to(scripted):
    vendor = vendor_of(scripted, client_secret="s")
    assert "grant_id=g1&grant_management_action=replace" in vendor.ask([PART], instead_of="g1").url
    assert "grant_id=g1&grant_management_action=merge" in vendor.ask([PART], in_addition_to="g1").url
    with pytest.raises(ValueError, match="not both"):
        vendor.ask([PART], instead_of="g1", in_addition_to="g1")


def test_a_connection_knows_its_grant_and_keeps_it(scripted, proof_key):
    scripted.says("/oauth/token", lambda _: Said(scripted.mint(grant_id="g1")))
    vendor = vendor_of(scripted, client_secret="s")
    connection = connected(scripted, vendor)
    assert connection.grant_id == "g1"
    assert vendor.resume(json.loads(json.dumps(connection.saved()))).grant_id == "g1"


def test_a_key_is_stored_and_shows_nowhere(key):
    stored = json.loads(json.dumps(key.to_json()))
    again = SigningKey.from_json(stored)
    assert again.thumbprint == key.thumbprint
    assert stored["d"] not in repr(again) + str(again) + json.dumps(again.public())
    assert again.public()["alg"] == "ES256"


@pytest.mark.parametrize("change", [{"d": None}, {"crv": "P-384"}, {"kty": "OKP"}])
def test_what_is_no_private_key_on_p_256_is_refused(key, change):
    stored = {name: value for name, value in {**key.to_json(), **change}.items() if value}
    with pytest.raises(ValueError, match="not a private key"):
        SigningKey.from_json(stored)


def test_the_metadata_document_says_what_the_vendor_is(key):
    url = "https://cornerbooks.example/client.json"
    document = client_metadata(
        url,
        name="Corner Books",
        redirect_uris=[REDIRECT_URI],
        key=key,
        client_uri="https://cornerbooks.example",
    )
    assert document["client_id"] == url
    assert document["token_endpoint_auth_method"] == "private_key_jwt"
    assert document["client_uri"] == "https://cornerbooks.example"
    [published] = document["jwks"]["keys"]
    assert "d" not in published
    public = client_metadata(url, name="Corner Books", redirect_uris=[REDIRECT_URI])
    assert public["token_endpoint_auth_method"] == "none"
    assert "jwks" not in public


def test_a_proof_names_the_address_without_what_may_be_secret_in_it(proof_key):
    proof = proof_key.proof("GET", "https://vault.example/api/v1/grant?x=1#y", NOW)
    claims = json.loads(urlsafe_b64decode(proof.split(".")[1] + "=="))
    assert claims["htu"] == "https://vault.example/api/v1/grant"


def test_asked_questions_survive_a_session(scripted):
    asked = vendor_of(scripted, client_secret="s").ask([PART])
    assert Asked.from_json(json.loads(json.dumps(asked.to_json()))) == asked
