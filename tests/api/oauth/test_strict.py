"""What strict judges look at and no story tells: how long secrets are, and what is all one."""

from __future__ import annotations

import base64
from dataclasses import replace

import pytest

from tests.api.actors import Customer, Shop, connect, handle_of, no_redirect, sent_back
from tests.conftest import SettableClock
from vrm import jose
from vrm.consent import asking
from vrm.consent.service import Consent
from vrm.consent.vendors import DOCUMENT, HOST, REGISTERED
from vrm.errors import ProofError
from vrm.vault.sqlite import SqliteEngine

BYTES = 32  # of chance in each credential; 160 bits would do


def chance(text: str, prefix: str) -> bytes:
    """What stands behind the prefix of a credential."""
    body = text.removeprefix(prefix)
    assert body != text
    return base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))


@pytest.mark.meets(
    "oauch-Tokens/AccessTokenEntropyMinReqTest",
    "oauch-Tokens/AccessTokenEntropySugReqTest",
    "oauch-Tokens/AuthorizationCodeEntropyMinReqTest",
    "oauch-Tokens/AuthorizationCodeEntropySugReqTest",
    "oauch-Tokens/RefreshTokenEntropyMinReqTest",
    "oauch-Tokens/RefreshTokenEntropySugReqTest",
    "oauch-TokenEndpoint/ClientSecretEntropyMinReqTest",
    "oauch-TokenEndpoint/ClientSecretEntropySugReqTest",
)
def test_every_credential_is_made_of_32_random_bytes(
    shop: Shop, customer: Customer, consent: Consent
) -> None:
    drawn: dict[str, set[bytes]] = {"vrm_ac_": set(), "vrm_at_": set(), "vrm_rt_": set(), "vrm_cs_": set()}
    for _ in range(3):
        code = customer.approve(handle_of(shop.ask()))
        given = shop.redeem(code).get_json()
        _, secret = consent.vendors.add("Books", ["https://b.example/cb"])
        for text in (code, given["access_token"], given["refresh_token"], str(secret)):
            drawn[text[:7]].add(chance(text, text[:7]))
    for kind, values in drawn.items():
        assert all(len(value) >= BYTES for value in values), kind
        for place in range(BYTES):
            assert len({value[place : place + 4] for value in values}) == len(values) == 3


@pytest.mark.meets("fapi2-ensure-other-scope-order-succeeds")
def test_the_order_of_scopes_is_all_one(shop: Shop, customer: Customer) -> None:
    scopes = ["purchases.item:read", "purchases.order:read", "purchases.price:read"]
    one = connect(shop, customer, scope=" ".join(scopes))
    other = connect(shop, customer, scope=" ".join(reversed(scopes)))
    assert set(one["scope"].split()) == set(other["scope"].split()) == set(scopes)


@pytest.mark.meets("oauch-AuthEndpoint/HasFragmentTest")
def test_no_address_in_the_metadata_has_a_fragment(shop: Shop) -> None:
    found = shop.client.get("/.well-known/oauth-authorization-server").get_json()
    named = {name: value for name, value in found.items() if name.endswith(("_endpoint", "_uri"))}
    assert "authorization_endpoint" in named
    assert not [name for name, value in named.items() if "#" in value or "?" in value]


def of_origin(origin: str, shop: Shop, consent: Consent, engine: SqliteEngine) -> Shop:
    """The same vendor, as if it had come another way."""
    shop.vendor = replace(shop.vendor, origin=origin, claimed="Corner Books", name="books.example")
    hashed = consent.vendors.hash_secret(shop.vendor.client_id, str(shop.secret))
    with engine.write() as transaction:
        consent.vendors.put(transaction, shop.vendor, hashed)
    return shop


@pytest.mark.meets(
    "rfc9700-71",
    "rfc9700-72",
    "rfc9700-73",
    "oauch-AuthEndpoint/AutomaticRedirectInvalidResponseTypeTest",
    "oauch-AuthEndpoint/AutomaticRedirectInvalidScopeTest",
)
@pytest.mark.parametrize("origin", [REGISTERED, DOCUMENT])
def test_a_wrong_request_leads_nobody_to_an_address_that_only_a_stranger_vouches_for(
    origin: str,
    shop: Shop,
    customer: Customer,
    consent: Consent,
    engine: SqliteEngine,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stranger = of_origin(origin, shop, consent, engine)
    no_redirect(stranger.ask(scope="nonsense"))
    no_redirect(stranger.ask(response_type="token"))
    no_redirect(stranger.ask(code_challenge=None))
    assert customer.approve(handle_of(stranger.ask()))  # what is right still waits for her
    monkeypatch.setattr(asking, "WAITING_OF_ONE", 0)
    no_redirect(stranger.ask())


def test_the_host_vouches_for_those_that_it_registered(
    shop: Shop, consent: Consent, engine: SqliteEngine
) -> None:
    sent_back(of_origin(HOST, shop, consent, engine).ask(scope="nonsense"), "invalid_scope")


@pytest.mark.meets("rfc9700-30", "rfc9700-85")
def test_nobody_chooses_an_id_that_passes_for_a_customer(
    shop: Shop, customer: Customer, consent: Consent
) -> None:
    """The host's and the server's ids are drawn, a document's is an address; a customer's is neither."""
    drawn = {consent.vendors.add("alice", ["https://b.example/cb"])[0].client_id for _ in range(3)}
    assert len(drawn) == 3
    assert all(client_id.startswith("vrm_client_") for client_id in drawn)
    token = connect(shop, customer)["access_token"]
    told = shop.post("/oauth/introspect", token=token).get_json()
    assert told["active"] is True
    assert told["sub"] != told["client_id"]
    assert not told["sub"].startswith(("vrm_client_", "http"))


@pytest.mark.meets("fapi2-dpop-htu-default-port", "fapi2-dpop-htu-case")
@pytest.mark.parametrize(
    "told", ["https://vault.example:443", "HTTPS://Vault.Example", "https://vault.example"]
)
def test_a_proof_may_name_the_port_that_its_scheme_has_anyway(
    consent: Consent, clock: SettableClock, told: str
) -> None:
    key = jose.private_key(b"k" * 32)
    public = {name: value for name, value in key.items() if name != "d"}
    claims = {"htm": "GET", "htu": told + "/api/v1/grant", "iat": clock.now(), "jti": "once"}
    proof = jose.sign(claims, key, {"typ": "dpop+jwt", "jwk": public})
    found = consent.proofs.check(proof, "GET", "https://vault.example/api/v1/grant")
    assert found.jkt == jose.thumbprint(public)
    with pytest.raises(ProofError):
        consent.proofs.check(proof, "GET", "https://vault.example:8443/api/v1/grant")
