"""Attacks by trying: credentials that are no good, from one address, for as long as it likes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from tests.api.actors import Customer, Shop, connect, problem
from tests.conftest import SettableClock
from tests.consent.test_counting import writes_counted
from vrm.app import create_app
from vrm.consent.counting import Permits, Rates
from vrm.consent.service import Consent
from vrm.host import _rates
from vrm.settings import Settings
from vrm.vault.engine import Engine

HERS, ANOTHER, LOCAL = "192.0.2.7", "198.51.100.4", "127.0.0.1"
MOST = 5
WRONG = {"Authorization": "Basic dnJtX2NsaWVudF9hOndyb25n"}
Try = Callable[[FlaskClient, str], TestResponse]


def by_vendor(path: str) -> Try:
    def attempt(client: FlaskClient, address: str) -> TestResponse:
        form = {"token": "vrm_at_x", "grant_type": "refresh_token", "refresh_token": "x"}
        return client.post(path, data=form, headers=WRONG, environ_base={"REMOTE_ADDR": address})

    return attempt


def by_token(path: str, scheme: str = "Bearer", method: str = "GET") -> Try:
    def attempt(client: FlaskClient, address: str) -> TestResponse:
        headers = {"Authorization": f"{scheme} vrm_at_nothing"}
        return client.open(path, method=method, headers=headers, environ_base={"REMOTE_ADDR": address})

    return attempt


TRIES = {
    "token": by_vendor("/oauth/token"),
    "pushed": by_vendor("/oauth/par"),
    "introspection": by_vendor("/oauth/introspect"),
    "revocation": by_vendor("/oauth/revoke"),
    "list": by_token("/api/v1/purchases"),
    "filtered": by_token("/api/v1/purchases?category=books"),
    "record": by_token("/api/v1/purchases/" + "0" * 32),
    "changes": by_token("/api/v1/purchases/changes"),
    "deposit": by_token("/api/v1/purchases", method="POST"),
    "proof": by_token("/api/v1/purchases", scheme="DPoP"),
    "grant": by_token("/oauth/grants/x"),
    "program": by_token("/api/v1/tools/connections"),
}


@pytest.fixture(autouse=True)
def few(consent: Consent, clock: SettableClock) -> None:
    """Few failures are enough."""
    permits = Permits(consent.counting, clock, Rates(failures=MOST))
    vars(consent.permits).update(vars(permits))


@pytest.mark.parametrize("attempt", TRIES.values(), ids=TRIES)
def test_who_fails_too_often_from_one_address_waits(
    client: FlaskClient, clock: SettableClock, attempt: Try
) -> None:
    seen = [attempt(client, HERS) for _ in range(MOST + 2)]
    assert [one.status_code for one in seen] == [401] * MOST + [429] * 2
    assert 0 < int(seen[-1].headers["Retry-After"]) <= 60
    assert "WWW-Authenticate" not in seen[-1].headers
    assert attempt(client, ANOTHER).status_code == 401
    clock.forward(60)
    assert attempt(client, HERS).status_code == 401


def test_all_ways_count_together_and_what_succeeds_is_answered(
    shop: Shop, customer: Customer, consent: Consent
) -> None:
    tokens = connect(shop, customer)
    for attempt in [*TRIES.values()][:MOST]:
        assert attempt(shop.client, HERS).status_code == 401
    for attempt in TRIES.values():
        assert attempt(shop.client, HERS).status_code == 429
    shop.client.environ_base["REMOTE_ADDR"] = HERS
    for _ in range(MOST + 1):
        assert shop.read("/purchases", tokens["access_token"]).status_code == 200
    assert shop.read("/purchases?category=books", tokens["access_token"]).status_code == 200
    assert shop.refresh(tokens["refresh_token"]).status_code == 200


def test_tokens_that_were_never_given_count_for_who_names_a_vendor(shop: Shop) -> None:
    shop.client.environ_base["REMOTE_ADDR"] = HERS
    seen = [shop.refresh("vrm_rt_nothing") for _ in range(MOST + 1)]
    assert [one.status_code for one in seen] == [400] * MOST + [429]
    assert seen[-1].get_json() == {"error": "temporarily_unavailable"}


def test_a_failure_past_the_limit_writes_nothing(
    client: FlaskClient, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(MOST + 1):
        TRIES["token"](client, HERS)
    with writes_counted(engine, monkeypatch) as seen:
        for attempt in TRIES.values():
            assert attempt(client, HERS).status_code == 429
    assert seen == []


def test_requests_without_a_credential_are_no_failures(client: FlaskClient) -> None:
    for path in ("/api/v1/purchases", "/api/v1/tools/connections"):
        for _ in range(MOST + 1):
            assert client.get(path, environ_base={"REMOTE_ADDR": HERS}).status_code == 401
    assert TRIES["list"](client, HERS).status_code == 401


def test_a_proxy_here_that_is_not_trusted_stands_for_nobody(client: FlaskClient) -> None:
    for _ in range(MOST + 1):
        assert TRIES["token"](client, LOCAL).status_code == 401


@pytest.mark.parametrize("path", ["/api/v1/purchases", "/oauth/grants/x"])
def test_the_address_is_what_a_trusted_proxy_tells(app: Flask, settings: Settings, path: str) -> None:
    trusting = replace(settings, trusted_proxies=1)
    client = create_app(trusting, host=replace(app.extensions["vrm"], settings=trusting)).test_client()

    def attempt(address: str) -> int:
        headers = {"Authorization": "Bearer vrm_at_nothing", "X-Forwarded-For": address}
        return client.get(path, headers=headers, environ_base={"REMOTE_ADDR": LOCAL}).status_code

    assert [attempt(HERS) for _ in range(MOST + 1)] == [401] * MOST + [429]
    assert attempt(ANOTHER) == 401
    assert attempt(f"{HERS}, {ANOTHER}") == 401  # what the proxy saw comes last


def test_the_limit_is_a_setting(settings: Settings) -> None:
    assert _rates(settings).failures == 600
    assert _rates(replace(settings, failures_per_minute=7)).failures == 7


def test_neighbours_in_one_ipv6_network_fail_together(client: FlaskClient) -> None:
    seen: list[Any] = [TRIES["token"](client, f"2001:db8::{number}") for number in range(1, MOST + 2)]
    assert [one.status_code for one in seen] == [401] * MOST + [429]
    problem(TRIES["list"](client, "2001:db8::ffff"), 429, "rate-limited")
