"""Refresh tokens: rotated, bound to their vendor, never wider than the grant, dead with it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.api.actors import Customer, Shop, connect, refused
from vrm.consent.service import Consent

GRACE = 20  # seconds, VRM_REFRESH_GRACE's default


@pytest.mark.meets("rfc9700-21", "oauch-TokenEndpoint/UsesTokenRotationTest")
def test_a_refresh_gives_a_new_pair(shop: Shop, tokens: dict[str, Any]) -> None:
    answer = shop.refresh(tokens["refresh_token"])
    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == "no-store"
    found = answer.get_json()
    assert found["access_token"] != tokens["access_token"]
    assert found["refresh_token"] != tokens["refresh_token"]
    assert found["grant_id"] == tokens["grant_id"]
    assert shop.read("/purchases", found["access_token"]).status_code == 200


@pytest.mark.meets(
    "oauch-TokenEndpoint/RefreshTokenRevokedAfterUseTest",
    "oauch-TokenEndpoint/InvalidatedRefreshTokenTest",
)
def test_an_old_refresh_token_ends_everything(shop: Shop, tokens: dict[str, Any], clock: Any) -> None:
    newer = shop.refresh(tokens["refresh_token"]).get_json()
    clock.forward(GRACE + 1)
    refused(shop.refresh(tokens["refresh_token"]), 400, "invalid_grant")
    refused(shop.refresh(newer["refresh_token"]), 400, "invalid_grant")
    assert shop.read("/purchases", newer["access_token"]).status_code == 401


@pytest.mark.meets("rfc9700-21", "rfc9700-80")
def test_an_old_refresh_token_of_a_public_vendor_ends_everything(
    app_shop: Shop, customer: Customer, clock: Any
) -> None:
    first = connect(app_shop, customer)
    newer = app_shop.refresh(first["refresh_token"]).get_json()
    clock.forward(GRACE + 1)
    refused(app_shop.refresh(first["refresh_token"]), 400, "invalid_grant")
    refused(app_shop.refresh(newer["refresh_token"]), 400, "invalid_grant")


def test_less_scope_may_be_asked_for(shop: Shop, customer: Customer) -> None:
    given = connect(shop, customer, scope="purchases.item:read purchases.price:read")
    less = shop.refresh(given["refresh_token"], scope="purchases.item:read").get_json()
    assert less["scope"] == "purchases.item:read"
    assert "price" not in shop.read("/purchases", less["access_token"]).get_json()["items"][0]


@pytest.mark.parametrize("by", ["scope", "authorization_details"])
def test_a_lost_answer_is_none_for_less(shop: Shop, customer: Customer, by: str) -> None:
    given = connect(shop, customer, scope="purchases.item:read purchases.price:read")
    first = shop.refresh(given["refresh_token"]).get_json()
    prices = [{"type": "vrm_access", "datatypes": ["purchases.price"], "purpose": shop.vendor.purpose}]
    less = {"scope": "purchases.price:read", "authorization_details": json.dumps(prices)}
    refused(shop.refresh(given["refresh_token"], **{by: less[by]}), 400, f"invalid_{by}")
    again = shop.refresh(given["refresh_token"]).get_json()
    assert again == first | {"expires_in": again["expires_in"]}


@pytest.mark.meets("rfc9700-79")
@pytest.mark.parametrize(
    "scope", ["purchases.price:read", "purchases.item:read profile:read", "nonsense", "purchases:write"]
)
def test_more_scope_than_granted_is_refused(shop: Shop, tokens: dict[str, Any], scope: str) -> None:
    refused(shop.refresh(tokens["refresh_token"], scope=scope), 400, "invalid_scope")


def test_a_refused_scope_does_not_spend_the_token(shop: Shop, tokens: dict[str, Any]) -> None:
    shop.refresh(tokens["refresh_token"], scope="profile:read")
    assert shop.refresh(tokens["refresh_token"]).status_code == 200


@pytest.mark.meets("oauch-TokenEndpoint/IsRefreshBoundToClientTest")
def test_another_vendors_refresh_token_is_refused(other_shop: Shop, tokens: dict[str, Any]) -> None:
    refused(other_shop.refresh(tokens["refresh_token"]), 400, "invalid_grant")


@pytest.mark.meets("oauch-TokenEndpoint/IsRefreshAuthenticationRequiredTest")
def test_a_refresh_needs_the_secret(shop: Shop, tokens: dict[str, Any]) -> None:
    refused(Shop(shop.client, shop.vendor, None).refresh(tokens["refresh_token"]), 401, "invalid_client")
    refused(Shop(shop.client, shop.vendor, "wrong").refresh(tokens["refresh_token"]), 401, "invalid_client")


def test_an_access_token_refreshes_nothing(shop: Shop, tokens: dict[str, Any]) -> None:
    refused(shop.refresh(tokens["access_token"]), 400, "invalid_grant")


@pytest.mark.meets("rfc9700-81")
@pytest.mark.parametrize("text", ["nonsense", "vrm_rt_", "vrm_rt_" + "A" * 60, "é", "a" * 4000])
def test_what_is_no_refresh_token_is_refused(shop: Shop, customer: Customer, text: str) -> None:
    refused(shop.refresh(text), 400, "invalid_grant")


def test_a_missing_refresh_token_is_refused(shop: Shop) -> None:
    refused(shop.post("/oauth/token", grant_type="refresh_token"), 400, "invalid_request")


def test_a_revoked_grant_refreshes_nothing(
    shop: Shop, customer: Customer, tokens: dict[str, Any], consent: Consent
) -> None:
    consent.grants.revoke(customer.vault, tokens["grant_id"])
    refused(shop.refresh(tokens["refresh_token"]), 400, "invalid_grant")


def test_an_expired_grant_refreshes_nothing(shop: Shop, tokens: dict[str, Any], clock: Any) -> None:
    clock.forward(91 * 86_400)
    refused(shop.refresh(tokens["refresh_token"]), 400, "invalid_grant")
