"""What a vendor may do in a minute: past it, 429 and when to come again, on every way to an answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from werkzeug.test import TestResponse

from tests.api.actors import Customer, Shop, connect, problem, refused
from tests.conftest import SettableClock
from vrm.consent.counting import Rates
from vrm.consent.service import Consent
from vrm.vault.engine import Engine
from vrm.vault.vault import Vaults

MOST = 3
Read = Callable[[], TestResponse]


@pytest.fixture
def consent(engine: Engine, vaults: Vaults, clock: SettableClock) -> Consent:
    rates = Rates(readings=MOST, tokens=MOST, introspections=MOST)
    return Consent(engine, vaults, clock, rates=rates)


@pytest.fixture
def read(shop: Shop, tokens: dict[str, Any]) -> Callable[[dict[str, str]], TestResponse]:
    def send(more: dict[str, str]) -> TestResponse:
        headers = {"Authorization": f"Bearer {tokens['access_token']}", **more}
        return shop.client.get("/api/v1/purchases", headers=headers, base_url="http://127.0.0.1:8600")

    return send


@pytest.mark.parametrize("more", [{}, {"If-None-Match": '"x"'}], ids=["direct", "by Flask"])
def test_readings_past_the_limit_are_refused_until_the_minute_is_over(
    read: Callable[[dict[str, str]], TestResponse], clock: SettableClock, more: dict[str, str]
) -> None:
    assert [read(more).status_code for _ in range(MOST)] == [200] * MOST
    answer = read(more)
    problem(answer, 429, "rate-limited")
    wait = int(answer.headers["Retry-After"])
    assert 0 < wait <= 60
    clock.forward(wait)
    assert read(more).status_code == 200


def test_what_is_refused_for_its_number_is_no_reading(
    read: Callable[[dict[str, str]], TestResponse], engine: Engine
) -> None:
    for _ in range(2 * MOST):
        read({})
    assert engine.one("SELECT sum(reads) FROM grants") == (MOST,)


def test_tokens_past_the_limit_are_refused_and_the_refresh_token_stays_good(
    shop: Shop, tokens: dict[str, Any], clock: SettableClock
) -> None:
    for _ in range(MOST - 1):  # the code was the first
        tokens = shop.post(
            "/oauth/token", grant_type="refresh_token", refresh_token=tokens["refresh_token"]
        ).get_json()
    sent = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]}
    answer = shop.post("/oauth/token", **sent)
    refused(answer, 429, "temporarily_unavailable")
    clock.forward(int(answer.headers["Retry-After"]))
    assert shop.post("/oauth/token", **sent).status_code == 200


def test_questions_about_tokens_past_the_limit_are_refused(shop: Shop, tokens: dict[str, Any]) -> None:
    for _ in range(MOST):
        assert shop.post("/oauth/introspect", token=tokens["access_token"]).status_code == 200
    answer = shop.post("/oauth/introspect", token=tokens["access_token"])
    refused(answer, 429, "temporarily_unavailable")
    assert "Retry-After" in answer.headers


def test_another_vendor_is_not_held_up(shop: Shop, other_shop: Shop, customer: Customer) -> None:
    first, second = connect(shop, customer), connect(other_shop, customer)
    for _ in range(2 * MOST):
        last = shop.read("/grant", first["access_token"])
    assert last.status_code == 429
    assert other_shop.read("/grant", second["access_token"]).status_code == 200
