"""What strict judges look at and no story tells: how long secrets are, and what is all one."""

from __future__ import annotations

import base64

import pytest

from tests.api.actors import Customer, Shop, connect, handle_of
from vrm.consent.service import Consent

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
