"""`/oauth/introspect` (RFC 7662): who is told, what, and that all others hear one and the same."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from tests.api.actors import Customer, Shop, connect, refused
from tests.api.proving import Prover
from tests.conftest import SettableClock
from vrm.api.oauth.clients import OAuthClient, UnknownClientError, by_basic
from vrm.api.oauth.parameters import Parameters, StrictRequest
from vrm.consent import introspection
from vrm.consent.credentials import read_token, split, write_token
from vrm.consent.service import Consent
from vrm.vault.sqlite import SqliteEngine

HERE = "http://127.0.0.1:8600"
SHELF = "https://shelf.example/api"


def look(shop: Shop, token: str, **fields: str) -> dict[str, Any]:
    answer = shop.post("/oauth/introspect", token=token, **fields)
    assert answer.status_code == 200, answer.get_data(as_text=True)
    assert answer.headers["Cache-Control"] == "no-store"
    found: dict[str, Any] = answer.get_json()
    return found


@pytest.fixture
def shelf(client: FlaskClient, consent: Consent) -> Shop:
    """A resource server."""
    vendor, secret = consent.vendors.add("Shelf Service", resource_server=True, resource=SHELF)
    return Shop(client, vendor, secret)


@pytest.fixture
def abroad(shop: Shop, customer: Customer, shelf: Shop) -> dict[str, Any]:
    """A token set whose access token is for the resource server."""
    return connect(shop, customer, resource=SHELF)


def test_a_token_that_was_opened_shows_no_key(tokens: dict[str, Any], consent: Consent) -> None:
    raw = read_token("access", tokens["access_token"])
    lookup, wrapping = split("access", raw or b"", consent.introspection._server_key.pepper)
    row = consent.introspection._row("access", lookup)
    assert row is not None
    found = introspection._opened("access", lookup, wrapping, row)
    assert found is not None
    assert found.carried
    assert repr(found.carried[2]) not in repr(found)


def test_a_secret_that_comes_twice_at_one_moment_is_looked_for_once(shop: Shop, consent: Consent) -> None:
    shared: dict[object, Any] = {}
    asked: list[str] = []

    def query(client_id: str) -> OAuthClient:
        asked.append(client_id)
        return OAuthClient(consent.vendors.get(client_id), consent.vendors.check_secret)

    def proven(secret: str | None) -> OAuthClient | None:
        pair = base64.b64encode(f"{shop.vendor.client_id}:{secret}".encode()).decode()
        environ = {
            "REQUEST_METHOD": "POST",
            "PATH_INFO": "/oauth/token",
            "HTTP_AUTHORIZATION": f"Basic {pair}",
        }
        return by_basic(query, StrictRequest(environ, HERE, Parameters([])), lambda: shared)

    first = proven(shop.secret)
    assert first is not None
    assert proven(shop.secret) is first
    assert asked == [shop.vendor.client_id]
    for _ in range(2):
        with pytest.raises(UnknownClientError):
            proven("another")
    assert len(asked) == 3


def test_its_own_vendor_is_told_the_limits(shop: Shop, tokens: dict[str, Any], clock: SettableClock) -> None:
    told = look(shop, tokens["access_token"])
    assert told == {
        "active": True,
        "scope": "purchases.item:read",
        "client_id": shop.vendor.client_id,
        "token_type": "Bearer",
        "exp": clock.now() + 900,
        "iat": clock.now(),
        "iss": HERE,
        "aud": HERE,
        "sub": told["sub"],
        "authorization_details": tokens["authorization_details"],
        "grant_id": tokens["grant_id"],
    }


def test_a_refresh_token_is_for_the_authorization_server(
    shop: Shop, tokens: dict[str, Any], clock: SettableClock
) -> None:
    told = look(shop, tokens["refresh_token"], token_type_hint="access_token")
    assert told["active"] is True
    assert told["aud"] == HERE
    assert told["exp"] == clock.now() + 90 * 86_400
    assert not {"token_type", "iat"} & told.keys()


def test_sub_is_no_name_and_another_one_for_each_vendor(
    shop: Shop, other_shop: Shop, tokens: dict[str, Any], customer: Customer
) -> None:
    one = look(shop, tokens["access_token"])["sub"]
    assert one == look(shop, connect(shop, customer)["access_token"])["sub"]
    two = look(other_shop, connect(other_shop, customer)["access_token"])["sub"]
    assert one != two
    for sub in (one, two):
        assert len(sub) == 32
        assert "alice" not in sub
        assert customer.vault.id not in sub


def test_a_down_scoped_token_says_only_its_own(shop: Shop, customer: Customer) -> None:
    tokens = connect(shop, customer, scope="purchases.item:read purchases.price:read")
    less = shop.refresh(tokens["refresh_token"], scope="purchases.price:read").get_json()
    assert look(shop, less["access_token"])["scope"] == "purchases.price:read"


def test_looking_spends_nothing_and_leaves_no_trace(
    shop: Shop, tokens: dict[str, Any], customer: Customer, engine: SqliteEngine
) -> None:
    refreshed = shop.refresh(tokens["refresh_token"]).get_json()
    before = [
        engine.all(f"SELECT * FROM {table} ORDER BY 1") for table in ("tokens", "grants", "log_entries")
    ]
    for _ in range(3):
        look(shop, refreshed["access_token"])
        look(shop, refreshed["refresh_token"])
    after = [engine.all(f"SELECT * FROM {table} ORDER BY 1") for table in ("tokens", "grants", "log_entries")]
    assert before == after
    again = shop.refresh(tokens["refresh_token"])  # the lost answer can still be fetched
    assert again.get_json()["access_token"] == refreshed["access_token"]
    assert shop.read("/purchases", refreshed["access_token"]).status_code == 200


# --- everybody else


def test_every_other_asker_and_every_other_token_hears_the_same(
    shop: Shop,
    other_shop: Shop,
    shelf: Shop,
    tokens: dict[str, Any],
    customer: Customer,
    clock: SettableClock,
    client: FlaskClient,
) -> None:
    access, refresh = tokens["access_token"], tokens["refresh_token"]
    given_back = connect(shop, customer)
    shop.revoke(given_back["access_token"])
    revoked = connect(shop, customer)
    customer.consent.grants.revoke(customer.vault, revoked["grant_id"])
    spent = connect(shop, customer)
    shop.refresh(spent["refresh_token"])
    code = customer.approve(shop.ask().headers["Location"].rpartition("/")[2])
    asked = [
        (other_shop, access),
        (other_shop, refresh),
        (shelf, access),
        (shelf, refresh),
        (shop, given_back["access_token"]),
        (shop, revoked["access_token"]),
        (shop, revoked["refresh_token"]),
        (shop, spent["refresh_token"]),
        (shop, code),
        (shop, write_token("access", bytes(32))),
        (shop, write_token("refresh", bytes(32))),
        (shop, access[:-1]),
        (shop, access + "="),
        (shop, "vrm_at_"),
        (shop, "Grüße"),
    ]
    heard = {who.post("/oauth/introspect", token=token).get_data() for who, token in asked}
    clock.forward(900)
    heard.add(shop.post("/oauth/introspect", token=access).get_data())
    clock.forward(90 * 86_400)
    heard.add(shop.post("/oauth/introspect", token=refresh).get_data())
    assert heard == {b'{"active":false}'}


def test_what_was_altered_in_storage_is_not_active(
    shop: Shop, tokens: dict[str, Any], customer: Customer, engine: SqliteEngine
) -> None:
    other = connect(shop, customer)
    with engine.write() as transaction:
        transaction.execute(
            "UPDATE grants SET agreement = (SELECT agreement FROM grants WHERE grant_id = ?)"
            " WHERE grant_id = ?",
            (other["grant_id"], tokens["grant_id"]),
        )
    assert look(shop, tokens["access_token"]) == {"active": False}
    with engine.write() as transaction:
        transaction.execute("UPDATE tokens SET expires = expires + 1")
    assert look(shop, other["access_token"]) == {"active": False}


def test_a_grant_past_its_sealed_end_is_not_active(
    shop: Shop, customer: Customer, engine: SqliteEngine, clock: SettableClock
) -> None:
    code = customer.approve(shop.ask().headers["Location"].rpartition("/")[2], days=1)
    tokens = shop.redeem(code).get_json()
    clock.forward(86_399)
    last = shop.refresh(tokens["refresh_token"]).get_json()
    with engine.write() as transaction:
        transaction.execute("UPDATE grants SET expires = expires + 86400")
    assert look(shop, last["access_token"])["active"] is True
    clock.forward(1)
    assert look(shop, last["access_token"]) == {"active": False}


def test_the_sealed_end_counts_and_not_the_column_beside_it(
    shop: Shop, tokens: dict[str, Any], customer: Customer, engine: SqliteEngine, clock: SettableClock
) -> None:
    customer.consent.grants.narrow(customer.vault, tokens["grant_id"], days=1)
    with engine.write() as transaction:
        transaction.execute("UPDATE grants SET expires = expires + 86400")
    assert look(shop, tokens["refresh_token"])["active"] is True
    clock.forward(86_400)
    assert look(shop, tokens["refresh_token"]) == {"active": False}


def test_who_does_not_prove_itself_is_refused(
    shop: Shop, app_shop: Shop, tokens: dict[str, Any], client: FlaskClient
) -> None:
    token = tokens["access_token"]
    refused(app_shop.post("/oauth/introspect", token=token), 401, "invalid_client")
    refused(client.post("/oauth/introspect", data={"token": token}), 401, "invalid_client")
    named = {"token": token, "client_id": shop.vendor.client_id}
    refused(client.post("/oauth/introspect", data=named), 401, "invalid_client")
    pair = base64.b64encode(f"{shop.vendor.client_id}:wrong".encode()).decode()
    wrong = client.post(
        "/oauth/introspect", data={"token": token}, headers={"Authorization": f"Basic {pair}"}
    )
    refused(wrong, 401, "invalid_client")
    bearer = client.post(
        "/oauth/introspect", data={"token": token}, headers={"Authorization": f"Bearer {token}"}
    )
    refused(bearer, 401, "invalid_client")


def test_a_public_vendor_is_refused_its_own_token_too(app_shop: Shop, customer: Customer) -> None:
    tokens = connect(app_shop, customer)
    refused(app_shop.post("/oauth/introspect", token=tokens["access_token"]), 401, "invalid_client")


def test_a_request_without_a_token_is_malformed(shop: Shop) -> None:
    refused(shop.post("/oauth/introspect"), 400, "invalid_request")


def wrong_method(answer: TestResponse) -> None:
    refused(answer, 405, "invalid_request")
    assert "POST" in answer.headers["Allow"]


def test_a_token_in_the_address_is_refused(shop: Shop, client: FlaskClient, tokens: dict[str, Any]) -> None:
    wrong_method(client.get("/oauth/introspect?token=" + tokens["access_token"], headers=shop.basic))
    refused(
        client.post("/oauth/introspect?token=" + tokens["access_token"], data={}, headers=shop.basic),
        400,
        "invalid_request",
    )


# --- resource servers


def test_the_resource_server_of_a_token_is_told(
    shop: Shop, shelf: Shop, abroad: dict[str, Any], clock: SettableClock
) -> None:
    told = look(shelf, abroad["access_token"])
    mine = look(shop, abroad["access_token"])
    assert told["aud"] == mine["aud"] == SHELF
    assert told["client_id"] == shop.vendor.client_id
    assert told["scope"] == "purchases.item:read"
    assert told["authorization_details"] == abroad["authorization_details"]
    assert told["grant_id"] == abroad["grant_id"]
    assert (told["iat"], told["exp"]) == (clock.now(), clock.now() + 900)


def test_to_a_resource_server_she_has_another_name_for_every_vendor(
    shop: Shop, other_shop: Shop, shelf: Shop, abroad: dict[str, Any], customer: Customer
) -> None:
    theirs = connect(other_shop, customer, resource=SHELF)
    names = [
        look(shelf, abroad["access_token"])["sub"],
        look(shelf, theirs["access_token"])["sub"],
        look(shop, abroad["access_token"])["sub"],
    ]
    assert len(set(names)) == 3


def test_a_resource_server_is_told_the_key_that_a_token_is_bound_to(
    shop: Shop, shelf: Shop, customer: Customer, clock: SettableClock
) -> None:
    prover = Prover(clock)
    told = look(shelf, prover.connect(shop, customer, resource=SHELF)["access_token"])
    assert (told["token_type"], told["cnf"]) == ("DPoP", {"jkt": prover.jkt})


def test_another_resource_server_is_told_nothing(
    client: FlaskClient, consent: Consent, shelf: Shop, abroad: dict[str, Any]
) -> None:
    other = Shop(
        client, *consent.vendors.add("Other Shelf", resource_server=True, resource="https://other.example")
    )
    plain = Shop(client, *consent.vendors.add("No Shelf", resource_server=True))
    for asker in (other, plain):
        assert look(asker, abroad["access_token"]) == {"active": False}
    assert look(shelf, abroad["refresh_token"]) == {"active": False}


def test_a_blocked_resource_server_is_refused(consent: Consent, shelf: Shop, abroad: dict[str, Any]) -> None:
    consent.vendors.set_blocked(shelf.vendor.client_id, True)
    refused(shelf.post("/oauth/introspect", token=abroad["access_token"]), 401, "invalid_client")


def test_after_narrowing_a_resource_server_is_not_told_of_before(
    shop: Shop, shelf: Shop, customer: Customer
) -> None:
    both = connect(shop, customer, resource=SHELF, scope="purchases.item:read purchases.price:read")
    customer.consent.grants.narrow(customer.vault, both["grant_id"], drop=frozenset({"purchases.price:read"}))
    assert look(shelf, both["access_token"]) == {"active": False}
    less = shop.refresh(both["refresh_token"]).get_json()
    assert look(shelf, less["access_token"])["scope"] == "purchases.item:read"


def test_a_grant_of_many_words_fits_into_a_token(shop: Shop, shelf: Shop, customer: Customer) -> None:
    import json

    names = [f"category-{number:03}-{'x' * 40}" for number in range(50)]
    parts = [
        {
            "type": "vrm_access",
            "datatypes": ["purchases.item"],
            "purpose": "ProvideProductRecommendations",
            "filter": {"category": [f"{number}-{name}"[:60] for name in names]},
        }
        for number in range(4)
    ]
    asked = shop.client.post(
        "/oauth/authorize",
        data=shop.question(scope=None, authorization_details=json.dumps(parts), resource=SHELF),
    )
    tokens = shop.redeem(customer.approve(asked.headers["Location"].rpartition("/")[2])).get_json()
    assert look(shelf, tokens["access_token"])["authorization_details"] == tokens["authorization_details"]
