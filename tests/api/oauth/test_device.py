"""The customer's own programs come in by RFC 8628; nobody else does, and nothing else by it."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from tests.api.actors import Customer, Shop, connect, problem, refused, sent_back
from tests.conftest import PASSPHRASE, SettableClock
from vrm.api import openapi
from vrm.api.oauth.device import OF_ONE
from vrm.app import create_app
from vrm.consent.service import Consent
from vrm.device import DEVICE, TOOL
from vrm.host import Host
from vrm.settings import Settings
from vrm.vault import pairing, tools
from vrm.vault.sqlite import SqliteEngine
from vrm.vault.vault import Vault, Vaults

JWT = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
ASK = "/oauth/device_authorization"


@dataclass
class Program:
    """A program of the customer's own."""

    client: FlaskClient
    device_code: str = ""

    def ask(self, **changes: str) -> TestResponse:
        return self.client.post(ASK, data={"client_id": TOOL, **changes})

    def poll(self, **changes: str) -> TestResponse:
        usual = {"grant_type": DEVICE, "client_id": TOOL, "device_code": self.device_code}
        return self.client.post("/oauth/token", data={**usual, **changes})

    def call(self, method: str, path: str, token: str, **rest: Any) -> TestResponse:
        headers = {"Authorization": f"Bearer {token}"}
        return self.client.open("/api/v1/tools" + path, method=method, headers=headers, **rest)


@pytest.fixture
def program(client: FlaskClient) -> Program:
    return Program(client)


@pytest.fixture
def user_code(program: Program) -> str:
    told = program.ask().get_json()
    program.device_code = told["device_code"]
    return str(told["user_code"])


@pytest.fixture
def token(program: Program, user_code: str, vaults: Vaults, vault: Vault) -> str:
    vaults.pairings.approve(vault, user_code, PASSPHRASE)
    return str(program.poll().get_json()["access_token"])


@pytest.mark.meets("oauch-DocumentSupport/RFC8628SupportedTest")
def test_a_program_is_told_its_codes_and_where_to_type_one(program: Program) -> None:
    answer = program.ask(scope="vault:manage")
    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == "no-store"
    told = answer.get_json()
    page = "http://127.0.0.1:8600/device"
    assert told["verification_uri"] == page
    assert told["verification_uri_complete"] == f"{page}?user_code={told['user_code']}"
    assert told["device_code"].startswith("vrm_dc_")
    assert (told["expires_in"], told["interval"]) == (600, 5)


def test_the_metadata_names_it(client: FlaskClient) -> None:
    told = client.get("/.well-known/oauth-authorization-server").get_json()
    assert told["device_authorization_endpoint"].endswith(ASK)
    assert DEVICE in told["grant_types_supported"]
    assert "vault:manage" not in told["scopes_supported"]  # vendors read these


def test_an_approved_program_gets_its_token_once(
    program: Program, user_code: str, vaults: Vaults, vault: Vault
) -> None:
    refused(program.poll(), 400, "authorization_pending")
    vaults.pairings.approve(vault, user_code, PASSPHRASE)
    answer = program.poll()
    assert answer.status_code == 200
    told = answer.get_json()
    assert told.pop("access_token").startswith("vrm_tt_")
    assert told == {"token_type": "Bearer", "expires_in": tools.LIFE, "scope": "vault:manage"}
    refused(program.poll(), 400, "invalid_grant")


def test_who_polls_too_soon_hears_slow_down(program: Program, user_code: str) -> None:
    assert user_code
    program.poll()
    refused(program.poll(), 400, "slow_down")


def test_a_declined_program_hears_access_denied(
    program: Program, user_code: str, vaults: Vaults, vault: Vault
) -> None:
    vaults.pairings.decline(vault, user_code)
    refused(program.poll(), 400, "access_denied")


def test_a_late_program_hears_expired_token(program: Program, user_code: str, clock: SettableClock) -> None:
    assert user_code
    clock.forward(pairing.LIFE)
    refused(program.poll(), 400, "expired_token")


@pytest.mark.parametrize("code", ["nonsense", "vrm_dc_" + "A" * 48])
def test_a_code_that_is_none_is_told_nothing(program: Program, code: str) -> None:
    refused(program.poll(device_code=code), 400, "invalid_grant")


def test_a_user_code_is_no_device_code(program: Program, user_code: str) -> None:
    refused(program.poll(device_code=user_code), 400, "invalid_grant")


def test_a_missing_device_code_is_named(program: Program) -> None:
    refused(program.poll(device_code=""), 400, "invalid_request")


@pytest.mark.parametrize("scope", ["purchases:read", "vault:manage purchases:read", "Vault:Manage"])
def test_a_program_asks_for_nothing_but_its_scope(program: Program, scope: str) -> None:
    refused(program.ask(scope=scope), 400, "invalid_scope")


def test_one_network_asks_only_so_often(program: Program) -> None:
    for _ in range(OF_ONE):
        assert program.ask().status_code == 200
    answer = program.ask()
    refused(answer, 429, "temporarily_unavailable")
    assert answer.headers["Retry-After"]


@pytest.mark.meets("oauch-DeviceAuthEndpoint/SameParameterTwiceDisallowedTest")
def test_a_repeated_parameter_is_refused(client: FlaskClient) -> None:
    body = f"client_id={TOOL}&client_id={TOOL}"
    form = "application/x-www-form-urlencoded"
    refused(client.post(ASK, data=body, content_type=form), 400, "invalid_request")


# ---- who is not the built-in program ----------------------------------------------------------------


def test_no_vendor_asks_or_polls_in_this_way(
    shop: Shop, app_shop: Shop, program: Program, user_code: str
) -> None:
    assert user_code
    for vendor in (shop, app_shop):
        refused(vendor.post(ASK, scope="vault:manage"), 400, "unauthorized_client")
        answer = vendor.post("/oauth/token", grant_type=DEVICE, device_code=program.device_code)
        refused(answer, 400, "unauthorized_client")
    refused(program.poll(), 400, "authorization_pending")


@pytest.mark.parametrize(
    "sent",
    [
        {"scope": "vault:manage"},
        {"client_id": "nobody"},
        {"client_id": TOOL, "client_secret": "guessed"},
        {"client_id": TOOL, "client_assertion": "a.b.c", "client_assertion_type": JWT},
    ],
)
def test_nobody_else_is_a_program(client: FlaskClient, sent: dict[str, str]) -> None:
    refused(client.post(ASK, data=sent), 401, "invalid_client")
    assert client.post("/oauth/token", data={"grant_type": DEVICE, **sent}).status_code == 401


def test_a_program_that_sends_a_secret_is_none(client: FlaskClient) -> None:
    headers = {"Authorization": "Basic dnJtLXRvb2w6c2VjcmV0"}
    refused(client.post(ASK, data={"client_id": TOOL}, headers=headers), 401, "invalid_client")


@pytest.mark.parametrize("grant_type", ["authorization_code", "refresh_token"])
def test_the_built_in_program_is_no_vendor(client: FlaskClient, grant_type: str) -> None:
    sent = {"client_id": TOOL, "grant_type": grant_type, "code": "x", "refresh_token": "x"}
    refused(client.post("/oauth/token", data=sent), 401, "invalid_client")
    for path in ("/oauth/par", "/oauth/revoke", "/oauth/introspect"):
        refused(client.post(path, data={"client_id": TOOL, "token": "x"}), 401, "invalid_client")


def test_vendors_cannot_ask_for_the_programs_scope(shop: Shop) -> None:
    sent_back(shop.ask(scope="vault:manage"), "invalid_scope")
    sent_back(shop.ask(scope="purchases.item:read vault:manage"), "invalid_scope")
    refused(shop.post("/oauth/par", **shop.question(scope="vault:manage")), 400, "invalid_scope")


# ---- what the token is good for ---------------------------------------------------------------------


def test_a_program_knows_whose_vault_it_is_in(program: Program, token: str) -> None:
    told = program.call("GET", "/self", token).get_json()
    assert told == {"username": "alice", "expires": "2026-11-18T23:06:40Z"}


HISTORY = (
    "Website,Order ID,Order Date,Product Name,Unit Price,Total Owed,Currency,Quantity,ASIN\n"
    "Amazon.com,111-1,2026-03-01T00:00:00Z,Piranesi,9.99,9.99,EUR,1,B000000001\n"
)


def test_a_program_brings_a_history_in(program: Program, token: str, vault: Vault) -> None:
    files = {"files": (io.BytesIO(HISTORY.encode()), "Retail.OrderHistory.1.csv")}
    answer = program.call("POST", "/imports", token, data=files)
    assert answer.status_code == 200, answer.get_data(as_text=True)
    (report,) = answer.get_json()["files"]
    assert (report["file"], report["imported"]) == ("Retail.OrderHistory.1.csv", 1)
    assert [one["item"]["title"] for _, one in vault.records("purchases").scan()] == ["Piranesi"]


def test_a_file_that_is_no_history_is_refused_whole(program: Program, token: str) -> None:
    files = {"files": (io.BytesIO(b"one,two\n1,2\n"), "strange.csv")}
    problem(program.call("POST", "/imports", token, data=files), 422, "unknown-format")


def test_an_import_without_files_is_refused(program: Program, token: str) -> None:
    problem(program.call("POST", "/imports", token, data={"files": ""}), 422, "invalid")


def test_an_import_may_be_as_large_as_on_the_page(
    program: Program, token: str, app: Flask, settings: Settings
) -> None:
    assert settings.max_upload > app.config["MAX_CONTENT_LENGTH"]
    head, line = HISTORY.splitlines()
    head, long = f"{head},Gift Message\n", "x" * 4000
    lines = "".join(f"{line.replace('111-1', f'111-{number}')},{long}\n" for number in range(300))
    boundary = "B" * 20
    body = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="files"; filename="Retail.OrderHistory.1.csv"'
        f"\r\nContent-Type: text/csv\r\n\r\n{head}{lines}\r\n--{boundary}--\r\n"
    ).encode()
    assert len(body) > app.config["MAX_CONTENT_LENGTH"]
    kind = f"multipart/form-data; boundary={boundary}"
    answer = program.call("POST", "/imports", token, data=body, content_type=kind)
    assert answer.status_code == 200, answer.get_data(as_text=True)
    answer = program.call("POST", "/imports", "vrm_tt_x", data=body, content_type=kind)
    problem(answer, 401, "token-invalid")


def test_an_import_beyond_that_is_refused(
    settings: Settings,
    engine: SqliteEngine,
    vaults: Vaults,
    consent: Consent,
    clock: SettableClock,
    token: str,
) -> None:
    small = replace(settings, max_upload=1024)
    made = create_app(small, host=Host(small, engine, vaults, consent, clock)).test_client()
    files = {"files": (io.BytesIO(b"x" * 1024), "Retail.OrderHistory.1.csv")}
    problem(Program(made).call("POST", "/imports", token, data=files), 413, "body-too-large")


def test_a_program_lists_and_stops_connections(
    program: Program, token: str, shop: Shop, customer: Customer
) -> None:
    given = connect(shop, customer)
    (one,) = program.call("GET", "/connections", token).get_json()["items"]
    assert (one["vendor"], one["state"], one["reads"]) == ("Corner Books", "live", ["purchases.item"])
    assert one["last_read"] is None
    assert shop.read("/purchases", given["access_token"]).status_code == 200
    assert program.call("DELETE", f"/connections/{one['id']}", token).status_code == 204
    assert shop.read("/purchases", given["access_token"]).status_code == 401
    (one,) = program.call("GET", "/connections", token).get_json()["items"]
    assert one["state"] == "revoked"
    assert one["last_read"]


def test_a_connection_that_is_not_there_cannot_be_stopped(program: Program, token: str) -> None:
    problem(program.call("DELETE", "/connections/nothing", token), 404, "grant-not-found")


def test_a_program_gives_its_credential_back(program: Program, token: str) -> None:
    assert program.call("DELETE", "/self", token).status_code == 204
    problem(program.call("GET", "/self", token), 401, "token-invalid")


WAYS_IN: dict[str, Callable[[str], dict[str, str]]] = {
    "none": lambda token: {},
    "as DPoP": lambda token: {"Authorization": f"DPoP {token}"},
    "another": lambda token: {"Authorization": "Bearer vrm_tt_nonsense"},
    "cut": lambda token: {"Authorization": f"Bearer {token[:-1]}"},
}


@pytest.mark.parametrize("way", WAYS_IN)
def test_without_its_token_a_program_gets_nothing(client: FlaskClient, token: str, way: str) -> None:
    headers = WAYS_IN[way](token)
    for method, path in (("GET", "/self"), ("POST", "/imports"), ("GET", "/connections")):
        answer = client.open("/api/v1/tools" + path, method=method, headers=headers)
        problem(answer, 401, "token-invalid")
        told = answer.headers["WWW-Authenticate"]
        assert ("invalid_token" in told) is bool(headers)


def test_a_token_in_the_address_is_refused(client: FlaskClient, token: str) -> None:
    problem(client.get(f"/api/v1/tools/self?access_token={token}"), 400, "invalid-parameter")
    headers = {"Authorization": f"Bearer {token}"}
    problem(client.get("/api/v1/tools/self?x=1", headers=headers), 400, "invalid-parameter")


def test_tokens_of_vendors_and_of_programs_are_not_interchangeable(
    program: Program, token: str, shop: Shop, customer: Customer
) -> None:
    given = connect(shop, customer, scope="purchases.item:read purchases:write")
    for method, path in (
        ("GET", "/self"),
        ("GET", "/connections"),
        ("DELETE", "/self"),
        ("POST", "/imports"),
    ):
        for kind in ("access_token", "refresh_token"):
            problem(program.call(method, path, given[kind]), 401, "token-invalid")
    for path in ("/grant", "/purchases", "/purchases/changes", "/profile"):
        problem(shop.read(path, token), 401, "token-invalid")
    refused(shop.refresh(token), 400, "invalid_grant")
    told = shop.post("/oauth/introspect", token=token).get_json()
    assert told == {"active": False}
    assert shop.revoke(token).status_code == 200
    assert program.call("GET", "/self", token).status_code == 200


def test_a_program_whose_time_is_over_is_refused(program: Program, token: str, clock: SettableClock) -> None:
    clock.forward(tools.LIFE)
    problem(program.call("GET", "/self", token), 401, "token-invalid")


def test_a_program_whose_time_ends_in_the_middle_of_a_call_is_refused(
    program: Program, token: str, clock: SettableClock
) -> None:
    ends = clock.at + 12 * 3600
    answers = set()
    for looks in range(1, 12):  # the clock goes on by a second whenever somebody looks
        clock.at, clock.pace = ends - looks, 1
        answers.add(program.call("GET", "/self", token).status_code)
    assert answers == {200, 401}


def test_another_method_is_answered_as_programs_expect(program: Program, token: str) -> None:
    assert program.call("PUT", "/imports", token).content_type == "application/problem+json"


def test_under_the_strict_profile_no_program_comes_in(
    settings: Settings,
    engine: SqliteEngine,
    vaults: Vaults,
    consent: Consent,
    clock: SettableClock,
    vault: Vault,
) -> None:
    strict = replace(settings, profile="fapi2")
    made = create_app(strict, host=Host(strict, engine, vaults, consent, clock)).test_client()
    program = Program(made, "vrm_dc_x")
    assert program.ask().status_code == 404
    refused(program.poll(), 400, "unsupported_grant_type")
    told = made.get("/.well-known/oauth-authorization-server").get_json()
    assert "device_authorization_endpoint" not in told
    assert DEVICE not in told["grant_types_supported"]
    paths = openapi.document(strict)["paths"]
    assert not [path for path in paths if "/tools" in path or "device" in path]
    assert "device_code" not in str(paths["/oauth/token"])
    begun = vaults.pairings.begin("")
    vaults.pairings.approve(vault, begun.user_code, PASSPHRASE)
    assert program.call("GET", "/connections", "vrm_tt_x").status_code == 401
    assert made.get("/device").status_code == 404
