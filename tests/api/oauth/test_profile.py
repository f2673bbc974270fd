"""VRM_PROFILE=fapi2 (FAPI 2.0 Security Profile Final): what concerns a request, refused one by one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.api.actors import CALLBACK, Customer, Shop, handle_of, no_redirect, query_of, refused
from tests.api.oauth.test_assertion import KEY, Signing, public
from tests.api.oauth.test_par import bring, push, pushed
from tests.conftest import SettableClock
from vrm.api.oauth.profile import PROFILES
from vrm.app import create_app
from vrm.clock import Clock
from vrm.consent.service import Consent
from vrm.errors import SettingsError
from vrm.host import Host
from vrm.settings import PROFILES as NAMES
from vrm.settings import Settings, load
from vrm.vault.sqlite import SqliteEngine
from vrm.vault.vault import Vaults

METADATA = "/.well-known/oauth-authorization-server"
STRICT = "https://vault.example"
Make = Callable[[str], Flask]


class Strict(Signing):
    """A vendor as the profile wants it."""

    def claims(self, **changes: Any) -> dict[str, Any]:
        return super().claims(**{"aud": STRICT, **changes})


class There(FlaskClient):
    """Calls the strict vault under its own name."""

    def open(self, *args: Any, **rest: Any) -> Any:
        return super().open(*args, **{"base_url": STRICT, **rest})


@pytest.fixture
def make(folder: Path, engine: SqliteEngine, vaults: Vaults, consent: Consent, clock: Clock) -> Make:
    """An application under the strict profile, at some address."""

    def under(public_url: str) -> Flask:
        settings = Settings(data_dir=folder, public_url=public_url, profile="fapi2")
        app = create_app(settings, host=Host(settings, engine, vaults, consent, clock))
        app.test_client_class = There
        return app

    return under


@pytest.fixture
def strict(make: Make, shop: Shop) -> Shop:
    """The confidential shop with a secret, at a vault of the strict profile."""
    return Shop(make(STRICT).test_client(), shop.vendor, shop.secret)


def test_every_profile_that_can_be_set_has_its_rules() -> None:
    assert set(PROFILES) == set(NAMES)
    assert Settings().profile == "baseline"
    with pytest.raises(SettingsError, match="VRM_PROFILE"):
        load({}, {"VRM_PROFILE": "fapi1"}, None)


def test_the_metadata_says_what_is_required(strict: Shop, client: FlaskClient) -> None:
    found = strict.client.get(METADATA).get_json()
    assert found["require_pushed_authorization_requests"] is True
    assert found["token_endpoint_auth_methods_supported"] == ["private_key_jwt"]
    assert found["revocation_endpoint_auth_methods_supported"] == ["private_key_jwt"]
    assert found["code_challenge_methods_supported"] == ["S256"]
    assert found["authorization_response_iss_parameter_supported"] is True
    assert found["pushed_authorization_request_endpoint"] == "https://vault.example/oauth/par"
    usual = client.get(METADATA).get_json()
    assert usual["require_pushed_authorization_requests"] is False
    assert "client_secret_basic" in usual["token_endpoint_auth_methods_supported"]


@pytest.mark.meets("fapi2-ensure-unsigned-authorization-request-without-using-par-fails")
def test_a_request_through_the_browser_is_refused(strict: Shop) -> None:
    answer = strict.ask()
    assert answer.headers["Location"].startswith(CALLBACK)
    found = query_of(answer)
    assert (found["error"], found["state"], found["iss"]) == (
        "invalid_request",
        "st4te",
        STRICT,
    )
    assert "pushed" in found["error_description"]


def test_not_even_a_refusal_goes_to_an_address_that_is_not_the_vendors(strict: Shop) -> None:
    no_redirect(strict.ask(redirect_uri="https://evil.example/cb"))


def test_a_secret_proves_nothing_here(strict: Shop) -> None:
    refused(push(strict), 401, "invalid_client")
    refused(strict.redeem("vrm_ac_x"), 401, "invalid_client")
    refused(strict.revoke("vrm_at_x"), 401, "invalid_client")


def test_a_public_vendor_has_no_place_here(make: Make, app_shop: Shop) -> None:
    app = Shop(make(STRICT).test_client(), app_shop.vendor, None)
    refused(push(app, redirect_uri="http://127.0.0.1/cb"), 401, "invalid_client")
    refused(app.refresh("vrm_rt_x"), 401, "invalid_client")


@pytest.mark.parametrize(
    ("redirect_uri", "public_url", "fits"),
    [
        ("https://books.example/cb", STRICT, True),
        ("http://127.0.0.1/cb", STRICT, False),
        ("http://localhost/cb", STRICT, False),
        ("http://127.0.0.1/cb", "http://127.0.0.1:8600", True),  # a vault to try things with
    ],
)
def test_no_answer_goes_over_plain_http(redirect_uri: str, public_url: str, fits: bool) -> None:
    assert PROFILES["fapi2"].may_answer_to(redirect_uri, public_url) is fits
    assert PROFILES["baseline"].may_answer_to(redirect_uri, public_url)


@pytest.fixture
def signer(make: Make, consent: Consent, clock: SettableClock) -> Strict:
    addresses = (CALLBACK, "http://127.0.0.1:9/cb")
    vendor, _ = consent.vendors.add(
        "Corner Books", addresses, jwks=json.dumps(public(KEY)), purpose="CustomerCare"
    )
    made = Strict(make(STRICT).test_client(), vendor, None)
    made.clock = clock
    return made


def test_who_signs_may_push(signer: Strict, customer: Customer) -> None:
    customer.approve(handle_of(bring(signer, pushed(signer)["request_uri"])))


@pytest.mark.parametrize(
    "changes",
    [
        {"redirect_uri": "http://127.0.0.1:9/cb"},
        {"code_challenge": None},
        {"code_challenge_method": None},
        {"code_challenge_method": "plain"},
        {"redirect_uri": None},
    ],
)
def test_what_the_profile_forbids_is_refused_at_the_push(signer: Strict, changes: dict[str, Any]) -> None:
    refused(push(signer, **changes), 400, "invalid_request")
