"""`/oauth/revoke`: a vendor gives its own tokens back, and learns nothing about anybody else's."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.api.actors import Shop, refused


def done(answer: Any) -> None:
    assert answer.status_code == 200
    assert answer.get_json() == {}
    assert answer.content_type == "application/json"
    assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.meets(
    "oauch-Revocation/CanAccessTokensBeRevokedTest",
    "oauch-DocumentSupport/RFC7009SupportedTest",
)
def test_a_revoked_access_token_reads_nothing(shop: Shop, tokens: dict[str, Any]) -> None:
    done(shop.revoke(tokens["access_token"]))
    assert shop.read("/purchases", tokens["access_token"]).status_code == 401


@pytest.mark.meets(
    "oauch-Revocation/CanRefreshTokensBeRevokedTest",
    "oauch-Revocation/RefreshRevokesAccessTest",
)
def test_a_revoked_refresh_token_ends_its_access_token_too(shop: Shop, tokens: dict[str, Any]) -> None:
    done(shop.revoke(tokens["refresh_token"]))
    refused(shop.refresh(tokens["refresh_token"]), 400, "invalid_grant")
    assert shop.read("/purchases", tokens["access_token"]).status_code == 401


@pytest.mark.parametrize("hint", ["access_token", "refresh_token", "something_else"])
def test_a_hint_right_or_wrong_changes_nothing(shop: Shop, tokens: dict[str, Any], hint: str) -> None:
    done(shop.revoke(tokens["access_token"], token_type_hint=hint))
    assert shop.read("/purchases", tokens["access_token"]).status_code == 401


@pytest.mark.meets("oauch-Revocation/IsBoundToClientTest")
def test_another_vendors_token_stays_live_and_looks_unknown(
    shop: Shop, other_shop: Shop, tokens: dict[str, Any]
) -> None:
    foreign = other_shop.revoke(tokens["access_token"])
    unknown = other_shop.revoke("vrm_at_" + "A" * 60)
    done(foreign)
    assert foreign.data == unknown.data
    assert dict(foreign.headers) == dict(unknown.headers)
    done(other_shop.revoke(tokens["refresh_token"]))
    assert shop.read("/purchases", tokens["access_token"]).status_code == 200
    assert shop.refresh(tokens["refresh_token"]).status_code == 200


@pytest.mark.parametrize("text", ["nonsense", "é", "\x00", "a" * 4000])
def test_an_unknown_token_is_no_error(shop: Shop, text: str) -> None:
    done(shop.revoke(text))


def test_revoking_twice_is_no_error(shop: Shop, tokens: dict[str, Any]) -> None:
    done(shop.revoke(tokens["access_token"]))
    done(shop.revoke(tokens["access_token"]))


@pytest.mark.meets("oauch-Revocation/IsClientAuthRequiredTest", "rfc9700-27")
def test_revoking_needs_the_secret(shop: Shop, tokens: dict[str, Any]) -> None:
    refused(Shop(shop.client, shop.vendor, None).revoke(tokens["access_token"]), 401, "invalid_client")
    refused(Shop(shop.client, shop.vendor, "wrong").revoke(tokens["access_token"]), 401, "invalid_client")
    assert shop.read("/purchases", tokens["access_token"]).status_code == 200


def test_a_missing_token_is_refused(shop: Shop) -> None:
    refused(shop.post("/oauth/revoke"), 400, "invalid_request")


def test_a_token_in_the_address_is_refused(shop: Shop, tokens: dict[str, Any]) -> None:
    answer = shop.client.post("/oauth/revoke?token=" + tokens["access_token"], headers=shop.basic)
    refused(answer, 400, "invalid_request")


def test_a_repeated_token_is_refused(shop: Shop, tokens: dict[str, Any]) -> None:
    form = {"token": [tokens["access_token"], "x"]}
    refused(shop.client.post("/oauth/revoke", data=form, headers=shop.basic), 400, "invalid_request")


def test_other_methods_are_refused(client: FlaskClient) -> None:
    refused(client.get("/oauth/revoke"), 405, "invalid_request")
