"""`resource` (RFC 8707): for whom a token is, who may be named, and what a token for another server opens."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from tests.api.actors import Customer, Shop, connect, handle_of, problem, refused, sent_back
from vrm.consent.credentials import read_token
from vrm.consent.service import Consent
from vrm.thief.credential import open_with
from vrm.thief.keys import Database
from vrm.vault.serverkey import ServerKey
from vrm.vault.sqlite import SqliteEngine

HERE = "http://127.0.0.1:8600"
SHELF = "https://shelf.example/api"


@pytest.fixture
def shelf(client: FlaskClient, consent: Consent) -> Shop:
    vendor, secret = consent.vendors.add("Shelf Service", resource_server=True, resource=SHELF)
    return Shop(client, vendor, secret)


def ask(shop: Shop, *resources: str) -> TestResponse:
    """The browser's request, naming these resources."""
    pairs = [*shop.question().items(), *(("resource", one) for one in resources)]
    return shop.client.get("/oauth/authorize?" + urlencode(pairs))


def approved(shop: Shop, customer: Customer, *resources: str) -> str:
    return customer.approve(handle_of(ask(shop, *resources)))


def audience(shop: Shop, tokens: dict[str, Any]) -> str:
    found = shop.post("/oauth/introspect", token=tokens["access_token"]).get_json()
    return str(found["aud"])


@pytest.mark.parametrize("spelled", [HERE, HERE + "/"])
def test_the_vault_is_its_public_address_with_or_without_a_slash(
    shop: Shop, customer: Customer, spelled: str
) -> None:
    tokens = shop.redeem(approved(shop, customer, spelled), resource=spelled).get_json()
    assert audience(shop, tokens) == HERE
    assert shop.read("/purchases", tokens["access_token"]).status_code == 200


@pytest.mark.parametrize(
    "other",
    [
        HERE + "//",
        HERE + "/api/v1",
        HERE + "?a=1",
        "http://localhost:8600",
        "HTTP://127.0.0.1:8600",
        "https://shelf.example",
        SHELF + "/",
        "https://nobody.example",
        "shelf",
        SHELF + "#a",
    ],
)
def test_any_other_address_is_no_target(shop: Shop, shelf: Shop, customer: Customer, other: str) -> None:
    sent_back(ask(shop, other), "invalid_target")
    sent_back(ask(shop, HERE, other), "invalid_target")
    code = approved(shop, customer)
    refused(shop.redeem(code, resource=other), 400, "invalid_target")
    assert shop.redeem(code).status_code == 200  # nothing was spent


@pytest.mark.meets("rfc9700-24", "rfc9700-66")
def test_a_token_for_another_server_carries_no_key_and_opens_nothing(
    shop: Shop, shelf: Shop, customer: Customer, folder: Path, server_key: ServerKey
) -> None:
    tokens = shop.redeem(approved(shop, customer, SHELF)).get_json()
    assert tokens["access_token"].startswith("vrm_at_")
    assert audience(shop, tokens) == SHELF
    for path in ("/purchases", "/grant", "/purchases/changes", "/purchases/" + "0" * 32):
        answer = shop.read(path, tokens["access_token"])
        problem(answer, 401, "token-invalid")
        assert 'error="invalid_token"' in answer.headers["WWW-Authenticate"]
    database = Database(folder / "vrm.db")
    try:
        loot = open_with(database, server_key.pepper, tokens["access_token"])
    finally:
        database.close()
    assert not loot.documents
    assert not loot.agreement
    assert not loot.scopes
    assert read_token("access", tokens["access_token"])


@pytest.mark.meets("rfc9700-23", "rfc9700-79")
def test_each_token_is_for_one_of_those_granted(shop: Shop, shelf: Shop, customer: Customer) -> None:
    code = approved(shop, customer, SHELF, HERE, SHELF)
    refused(shop.redeem(code, resource="https://nobody.example"), 400, "invalid_target")
    first = shop.redeem(code).get_json()
    assert audience(shop, first) == HERE
    second = shop.refresh(first["refresh_token"], resource=SHELF).get_json()
    assert audience(shop, second) == SHELF
    third = shop.refresh(second["refresh_token"], resource=HERE + "/").get_json()
    assert audience(shop, third) == HERE


def test_without_the_vault_among_them_the_first_is_meant(
    shop: Shop, shelf: Shop, client: FlaskClient, consent: Consent, customer: Customer
) -> None:
    consent.vendors.add("Other Shelf", resource_server=True, resource="https://other.example")
    tokens = shop.redeem(approved(shop, customer, "https://other.example", SHELF)).get_json()
    assert audience(shop, tokens) == "https://other.example"
    refused(shop.refresh(tokens["refresh_token"], resource=HERE), 400, "invalid_target")
    assert audience(shop, shop.refresh(tokens["refresh_token"], resource=SHELF).get_json()) == SHELF


def test_several_resources_in_one_token_request_are_refused(
    shop: Shop, shelf: Shop, customer: Customer
) -> None:
    tokens = shop.redeem(approved(shop, customer, HERE, SHELF)).get_json()
    body = [
        ("grant_type", "refresh_token"),
        ("refresh_token", tokens["refresh_token"]),
        ("resource", HERE),
        ("resource", SHELF),
    ]
    answer = shop.client.post(
        "/oauth/token",
        data=urlencode(body),
        content_type="application/x-www-form-urlencoded",
        headers=shop.basic,
    )
    refused(answer, 400, "invalid_target")


def test_a_grant_without_resources_gives_tokens_for_here_only(
    shop: Shop, shelf: Shop, tokens: dict[str, Any]
) -> None:
    refused(shop.refresh(tokens["refresh_token"], resource=SHELF), 400, "invalid_target")
    assert audience(shop, shop.refresh(tokens["refresh_token"], resource=HERE).get_json()) == HERE


def test_a_lost_answer_for_one_place_is_none_for_another(shop: Shop, shelf: Shop, customer: Customer) -> None:
    tokens = shop.redeem(approved(shop, customer, HERE, SHELF)).get_json()
    first = shop.refresh(tokens["refresh_token"], resource=SHELF).get_json()
    refused(shop.refresh(tokens["refresh_token"], resource=HERE), 400, "invalid_target")
    again = shop.refresh(tokens["refresh_token"], resource=SHELF).get_json()
    assert again == first | {"expires_in": again["expires_in"]}


def test_a_blocked_resource_server_is_no_target_any_more(
    shop: Shop, shelf: Shop, customer: Customer, consent: Consent
) -> None:
    tokens = shop.redeem(approved(shop, customer, HERE, SHELF)).get_json()
    consent.vendors.set_blocked(shelf.vendor.client_id, True)
    refused(shop.refresh(tokens["refresh_token"], resource=SHELF), 400, "invalid_target")
    sent_back(ask(shop, SHELF), "invalid_target")


def test_a_token_for_another_server_is_given_back_and_ends_with_its_grant(
    shop: Shop, shelf: Shop, customer: Customer, engine: SqliteEngine
) -> None:
    one = shop.redeem(approved(shop, customer, SHELF)).get_json()
    assert shop.revoke(one["access_token"]).status_code == 200
    assert shelf.post("/oauth/introspect", token=one["access_token"]).get_json() == {"active": False}
    two = shop.redeem(approved(shop, customer, SHELF)).get_json()
    customer.consent.grants.revoke(customer.vault, two["grant_id"])
    assert shelf.post("/oauth/introspect", token=two["access_token"]).get_json() == {"active": False}
    kept = "SELECT count(*) FROM tokens WHERE kind = 'elsewhere' AND wrapped IS NOT NULL"
    assert engine.one(kept) == (0,)


def test_management_stays_here(shop: Shop, shelf: Shop, customer: Customer) -> None:
    tokens = connect(shop, customer, resource=SHELF, scope="purchases.item:read grant_management_query")
    told = shelf.post("/oauth/introspect", token=tokens["access_token"]).get_json()
    assert told["scope"] == tokens["scope"] == "purchases.item:read"
    refused(shop.refresh(tokens["refresh_token"], scope="grant_management_query"), 400, "invalid_scope")
