"""Registration: closed unless the host opened it, strict, bounded, and owned by who holds its token."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from tests.api.actors import CALLBACK, Customer, Shop, connect, handle_of, refused
from tests.api.oauth.test_assertion import KEY, Signing, public
from tests.api.oauth.test_par import push
from tests.conftest import SettableClock
from vrm.app import create_app
from vrm.consent import registrations
from vrm.consent.service import SCHEMA, Consent
from vrm.host import Host
from vrm.settings import Settings
from vrm.vault.sqlite import SqliteEngine
from vrm.vault.vault import Vaults

ISSUER = "http://127.0.0.1:8600"
DAY = 86_400


@pytest.fixture
def settings(folder: Path) -> Settings:
    return Settings(data_dir=folder, public_url=ISSUER, registration="open")


def register(client: FlaskClient, **told: Any) -> TestResponse:
    usual = {"redirect_uris": [CALLBACK], "client_name": "Your Bank"}
    return client.post("/oauth/register", json={**usual, **told})


def made(client: FlaskClient, **told: Any) -> dict[str, Any]:
    answer = register(client, **told)
    assert answer.status_code == 201, answer.get_data(as_text=True)
    found: dict[str, Any] = answer.get_json()
    return found


def path(one: dict[str, Any]) -> str:
    address: str = one["registration_client_uri"]
    assert address.startswith(f"{ISSUER}/oauth/register/")
    return address.removeprefix(ISSUER)


def by(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def own(one: dict[str, Any]) -> dict[str, str]:
    return by(one["registration_access_token"])


def kept(one: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """What a change sends: all that is registered, without what only the server sets."""
    ours = (
        "registration_access_token",
        "registration_client_uri",
        "client_secret_expires_at",
        "client_id_issued_at",
    )
    return {name: value for name, value in {**one, **changes}.items() if name not in ours}


def shop_of(client: FlaskClient, consent: Consent, one: dict[str, Any]) -> Shop:
    return Shop(client, consent.vendors.get(one["client_id"]), one.get("client_secret"))


# --- whether


def test_it_is_closed_unless_the_host_opened_it(
    folder: Path, engine: SqliteEngine, vaults: Vaults, consent: Consent, clock: SettableClock
) -> None:
    settings = Settings(data_dir=folder, public_url=ISSUER)
    client = create_app(settings, host=Host(settings, engine, vaults, consent, clock)).test_client()
    refused(register(client), 403, "access_denied")
    refused(client.get("/oauth/register/vrm_client_x", headers=by("x")), 403, "access_denied")
    found = client.get("/.well-known/oauth-authorization-server").get_json()
    assert "registration_endpoint" not in found
    assert consent.vendors.listing() == []


def test_where_it_is_open_the_metadata_says_so(client: FlaskClient) -> None:
    found = client.get("/.well-known/oauth-authorization-server").get_json()
    assert found["registration_endpoint"] == ISSUER + "/oauth/register"


# --- registering


def test_who_registered_reads_what_was_approved(
    client: FlaskClient, consent: Consent, customer: Customer
) -> None:
    one = made(client)
    assert one["token_endpoint_auth_method"] == "client_secret_basic"
    assert one["client_secret_expires_at"] == 0
    shop = shop_of(client, consent, one)
    tokens = connect(shop, customer)
    assert shop.read("/purchases", tokens["access_token"]).status_code == 200


def test_the_answer_says_what_is_registered_and_no_more(client: FlaskClient, clock: SettableClock) -> None:
    answer = register(
        client,
        token_endpoint_auth_method="private_key_jwt",
        jwks=public(KEY),
        dpop_bound_access_tokens=True,
        events_uri="https://books.example/events",
        logo_uri="https://books.example/logo.png",
        contacts=["a@books.example"],
        client_id="mine",
        sells_as=["amazon.com"],
    )
    assert answer.status_code == 201
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Pragma"] == "no-cache"
    found = answer.get_json()
    token, address, client_id = (
        found.pop(name) for name in ("registration_access_token", "registration_client_uri", "client_id")
    )
    assert client_id.startswith("vrm_client_")
    assert token.startswith("vrm_cr_")
    assert address == f"{ISSUER}/oauth/register/{client_id}"
    assert found == {
        "client_id_issued_at": clock.at,
        "client_name": "Your Bank",
        "redirect_uris": [CALLBACK],
        "token_endpoint_auth_method": "private_key_jwt",
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "dpop_bound_access_tokens": True,
        "events_uri": "https://books.example/events",
        "jwks": public(KEY),
    }


def test_customers_read_its_domain_and_the_name_only_as_a_claim(
    client: FlaskClient, consent: Consent
) -> None:
    vendor = consent.vendors.get(made(client)["client_id"])
    assert (vendor.shown_name, vendor.claimed, vendor.verified) == ("books.example", "Your Bank", False)
    assert vendor.sells_as == ()
    app = made(
        client, redirect_uris=["http://127.0.0.1/cb"], token_endpoint_auth_method="none", client_name=None
    )
    assert "client_secret" not in app
    assert "client_name" not in app
    assert consent.vendors.get(app["client_id"]).shown_name == "127.0.0.1"


@pytest.mark.parametrize("loopback", ["http://127.0.0.1/cb", "http://localhost:7/cb", "http://[::1]:7/cb"])
def test_nobody_goes_by_a_domain_and_has_the_answers_sent_to_a_program(
    client: FlaskClient, loopback: str
) -> None:
    for uris in ([loopback, CALLBACK], [CALLBACK, loopback]):
        refused(register(client, redirect_uris=uris), 400, "invalid_redirect_uri")


def test_a_domain_that_somebody_only_named_gets_the_answers_itself(
    client: FlaskClient, consent: Consent
) -> None:
    shop = shop_of(client, consent, made(client))
    assert push(shop).status_code == 201
    refused(push(shop, answer_mode="poll"), 400, "unauthorized_client")


def test_one_with_keys_signs(client: FlaskClient, consent: Consent, clock: SettableClock) -> None:
    one = made(client, jwks=public(KEY))
    signing = Signing(client, consent.vendors.get(one["client_id"]), None)
    signing.clock = clock
    assert signing.give_back().status_code == 200


@pytest.mark.parametrize(
    ("told", "error"),
    [
        ({"redirect_uris": []}, "invalid_redirect_uri"),
        ({"redirect_uris": ["http://books.example/cb"]}, "invalid_redirect_uri"),
        ({"redirect_uris": ["https://books.example/cb", "https://evil.example/cb"]}, "invalid_redirect_uri"),
        ({"redirect_uris": ["javascript:alert(1)"]}, "invalid_redirect_uri"),
        ({"redirect_uris": ["https://аmazon.com/cb"]}, "invalid_redirect_uri"),
        ({"client_name": "\u202e"}, "invalid_client_metadata"),
        ({"token_endpoint_auth_method": "client_secret_post"}, "invalid_client_metadata"),
        ({"token_endpoint_auth_method": "private_key_jwt"}, "invalid_client_metadata"),
        ({"jwks": {"keys": [KEY]}}, "invalid_client_metadata"),
        ({"grant_types": ["password"]}, "invalid_client_metadata"),
        ({"events_uri": "https://victim.example/"}, "invalid_client_metadata"),
        ({"software_statement": "a.b.c"}, "unapproved_software_statement"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused_and_not_stored(
    client: FlaskClient, consent: Consent, told: dict[str, Any], error: str
) -> None:
    refused(register(client, **told), 400, error)
    assert consent.vendors.listing() == []


@pytest.mark.parametrize(
    "body",
    [b"{", b"[]", b"null", b'{"a": 1, "a": 2}', b'{"a": NaN}', b"\xff", b"[" * 9000],
)
def test_a_body_that_is_no_object_is_refused(client: FlaskClient, body: bytes) -> None:
    answer = client.post("/oauth/register", data=body, content_type="application/json")
    refused(answer, 400, "invalid_client_metadata")


def test_other_types_sizes_places_and_methods_are_refused(client: FlaskClient) -> None:
    good = json.dumps({"redirect_uris": [CALLBACK]})
    form = client.post("/oauth/register", data={"redirect_uris": CALLBACK})
    assert (form.status_code, form.get_json()["error"]) == (415, "invalid_request")
    large = client.post("/oauth/register", json={"x": "y" * 17_000})
    assert large.status_code == 413
    beside = client.post("/oauth/register?x=1", data=good, content_type="application/json")
    refused(beside, 400, "invalid_client_metadata")
    assert client.get("/oauth/register").status_code == 405


# --- its own address


def test_its_token_shows_changes_and_ends_it(client: FlaskClient, consent: Consent) -> None:
    one = made(client)
    shown = client.get(path(one), headers=own(one))
    assert shown.status_code == 200
    assert {**shown.get_json(), "client_secret": one["client_secret"], "client_secret_expires_at": 0} == one
    changed = client.put(path(one), headers=own(one), json=kept(one, client_name="Corner Books"))
    assert changed.status_code == 200, changed.get_data(as_text=True)
    after = changed.get_json()
    assert after["client_name"] == "Corner Books"
    assert after["registration_access_token"] != one["registration_access_token"]
    refused(client.get(path(one), headers=own(one)), 401, "invalid_token")
    assert consent.vendors.check_secret(consent.vendors.get(one["client_id"]), one["client_secret"]), (
        "its secret stays"
    )
    assert client.delete(path(one), headers=own(after)).status_code == 204
    refused(client.get(path(one), headers=own(after)), 401, "invalid_token")
    assert consent.vendors.listing() == []


def test_its_end_ends_its_grants(client: FlaskClient, consent: Consent, customer: Customer) -> None:
    one = made(client)
    shop = shop_of(client, consent, one)
    tokens = connect(shop, customer)
    assert client.delete(path(one), headers=own(one)).status_code == 204
    assert shop.read("/purchases", tokens["access_token"]).status_code == 401
    refused(shop.refresh(tokens["refresh_token"]), 401, "invalid_client")
    assert shop.ask().status_code == 400


def test_a_change_of_the_method_changes_the_secret(client: FlaskClient, consent: Consent) -> None:
    one = made(client)
    signing = client.put(
        path(one), headers=own(one), json=kept(one, jwks=public(KEY), token_endpoint_auth_method=None)
    )
    told = signing.get_json()
    assert told["token_endpoint_auth_method"] == "private_key_jwt"
    assert "client_secret" not in told
    assert not consent.vendors.check_secret(consent.vendors.get(one["client_id"]), one["client_secret"])
    again = kept(told, jwks=None, token_endpoint_auth_method="client_secret_basic")
    fresh = client.put(path(one), headers=own(told), json=again).get_json()
    assert consent.vendors.check_secret(consent.vendors.get(one["client_id"]), fresh["client_secret"])
    assert fresh["client_secret"] != one["client_secret"]


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"client_id": "vrm_client_other"}, "invalid_client_metadata"),
        ({"client_id": None}, "invalid_client_metadata"),
        ({"client_secret": "vrm_cs_wrong"}, "invalid_client_metadata"),
        ({"client_secret": 7}, "invalid_client_metadata"),
        ({"redirect_uris": ["https://evil.example/cb"]}, "invalid_redirect_uri"),
        ({"redirect_uris": ["https://books.example:8443/cb"]}, "invalid_redirect_uri"),
        ({"redirect_uris": []}, "invalid_redirect_uri"),
        ({"software_statement": "a.b.c"}, "unapproved_software_statement"),
    ],
    ids=str,
)
def test_a_change_that_cannot_be_changes_nothing(
    client: FlaskClient, consent: Consent, changes: dict[str, Any], error: str
) -> None:
    one = made(client)
    before = consent.vendors.get(one["client_id"])
    refused(client.put(path(one), headers=own(one), json=kept(one, **changes)), 400, error)
    assert consent.vendors.get(one["client_id"]) == before
    assert client.get(path(one), headers=own(one)).status_code == 200, "nor its token"


@pytest.mark.parametrize(
    "name",
    [
        "registration_access_token",
        "registration_client_uri",
        "client_secret_expires_at",
        "client_id_issued_at",
    ],
)
def test_what_only_the_server_sets_is_not_sent(client: FlaskClient, name: str) -> None:
    one = made(client)
    sent = {**kept(one), name: one[name]}
    refused(client.put(path(one), headers=own(one), json=sent), 400, "invalid_client_metadata")


def test_no_other_token_opens_it(client: FlaskClient, consent: Consent, shop: Shop) -> None:
    one, other = made(client), made(client)
    for headers in (
        {},
        by("vrm_cr_wrong"),
        own(other),
        by(one["client_secret"]),
        {"Authorization": "Basic eDp5"},
    ):
        for method in (client.get, client.put, client.delete):
            answer = method(path(one), headers=headers)
            refused(answer, 401, "invalid_token")
            assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    in_address = f"{path(one)}?access_token={one['registration_access_token']}"
    refused(client.get(in_address), 401, "invalid_token")
    refused(client.get("/oauth/register/vrm_client_x", headers=own(one)), 401, "invalid_token")
    refused(client.get(f"/oauth/register/{shop.vendor.client_id}", headers=own(one)), 401, "invalid_token")
    assert client.get(path(one), headers=own(one)).status_code == 200


def test_a_blocked_one_manages_nothing(client: FlaskClient, consent: Consent) -> None:
    one = made(client)
    consent.sweeping.block(one["client_id"])
    refused(client.get(path(one), headers=own(one)), 401, "invalid_token")
    refused(client.put(path(one), headers=own(one), json=kept(one)), 401, "invalid_token")
    refused(client.delete(path(one), headers=own(one)), 401, "invalid_token")
    assert consent.vendors.get(one["client_id"]).blocked


def test_the_database_holds_neither_token_nor_secret(client: FlaskClient, engine: SqliteEngine) -> None:
    one = made(client)
    rows = engine.all("SELECT * FROM registrations") + engine.all("SELECT * FROM vendors")
    for secret in (one["registration_access_token"], one["client_secret"]):
        assert all(secret not in str(value) and secret.encode() != value for row in rows for value in row)


def test_of_eight_changes_at_once_by_one_token_one_wins(app: Flask, client: FlaskClient) -> None:
    one = made(client)

    def change(number: int) -> int:
        sent = kept(one, client_name=f"Name {number}")
        return app.test_client().put(path(one), headers=own(one), json=sent).status_code

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(change, range(8))) == [200] + [401] * 7


# --- how many


def test_one_address_registers_so_many_an_hour(app: Flask, clock: SettableClock) -> None:
    def from_there(address: str) -> TestResponse:
        told = {"redirect_uris": [CALLBACK]}
        there = {"REMOTE_ADDR": address}
        return app.test_client().post("/oauth/register", json=told, environ_overrides=there)

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: from_there("9.9.9.9").status_code, range(registrations.OF_ONE + 4)))
    assert sorted(found) == [201] * registrations.OF_ONE + [429] * 4
    late = from_there("9.9.9.9")
    assert (late.status_code, late.get_json()["error"]) == (429, "temporarily_unavailable")
    assert int(late.headers["Retry-After"]) <= 3600
    assert from_there("8.8.8.8").status_code == 201
    clock.forward(3600)
    assert from_there("9.9.9.9").status_code == 201


def test_all_together_are_bounded(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registrations, "UNUSED", 2)
    assert [register(client).status_code for _ in range(3)] == [201, 201, 503]
    monkeypatch.setattr(registrations, "UNUSED", 9)
    monkeypatch.setattr(registrations, "AN_HOUR", 4)
    assert [register(client).status_code for _ in range(2)] == [201, 429]


def test_one_that_nobody_used_in_a_week_is_forgotten(
    client: FlaskClient, consent: Consent, customer: Customer, clock: SettableClock
) -> None:
    used, unused = made(client), made(client)
    tokens = connect(shop_of(client, consent, used), customer)
    assert handle_of(shop_of(client, consent, unused).ask())
    clock.forward(7 * DAY)
    consent.sweep()
    assert len(consent.vendors.listing()) == 2
    clock.forward(1)
    consent.sweep()
    assert [one.client_id for one in consent.vendors.listing()] == [used["client_id"]]
    assert shop_of(client, consent, used).refresh(tokens["refresh_token"]).status_code == 200


def test_in_the_strict_profile_only_what_it_allows_is_registered(
    folder: Path, engine: SqliteEngine, vaults: Vaults, consent: Consent, clock: SettableClock
) -> None:
    settings = Settings(data_dir=folder, public_url=ISSUER, registration="open", profile="fapi2")
    client = create_app(settings, host=Host(settings, engine, vaults, consent, clock)).test_client()
    for method in ("client_secret_basic", "none"):
        refused(register(client, token_endpoint_auth_method=method), 400, "invalid_client_metadata")
    refused(register(client), 400, "invalid_client_metadata")
    signing = Signing(client, consent.vendors.get(made(client, jwks=public(KEY))["client_id"]), None)
    signing.clock = clock
    for audience in (ISSUER + "/oauth/token", ISSUER + "/oauth/par", [ISSUER]):
        refused(signing.give_back(**signing.proof(aud=audience)), 401, "invalid_client")
    assert signing.give_back().status_code == 200


def test_those_of_before_a_restore_are_forgotten(
    client: FlaskClient, consent: Consent, engine: SqliteEngine, shop: Shop
) -> None:
    one, blocked = made(client), made(client)
    consent.vendors.set_blocked(blocked["client_id"], True)
    assert "registrations" in SCHEMA.left_out
    with engine.write() as transaction:
        transaction.execute("DELETE FROM registrations")
    refused(client.get(path(one), headers=own(one)), 401, "invalid_token")
    consent.sweep()
    assert {each.client_id for each in consent.vendors.listing()} == {
        blocked["client_id"],
        shop.vendor.client_id,
    }
