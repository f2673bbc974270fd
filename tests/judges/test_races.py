"""Sixteen at once against two worker processes of a served vault: exactly one wins."""

from __future__ import annotations

import base64
import hashlib
import secrets
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import urlencode

import httpx
import pytest

from tests.judges.stage import CALLBACK, SCOPE, Town, answer_in, confidential

MANY = 16
T = TypeVar("T")


def at_once(act: Callable[[int], T], count: int = MANY) -> list[T]:
    """What `count` threads that start together get."""
    barrier = threading.Barrier(count)

    def run(number: int) -> T:
        barrier.wait(timeout=30)
        return act(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))


@dataclass
class Shop:
    """A vendor's program, as small as it can be."""

    town: Town
    given: dict[str, Any]
    verifier: str = field(default_factory=lambda: secrets.token_urlsafe(32))

    @property
    def question(self) -> dict[str, str]:
        digest = hashlib.sha256(self.verifier.encode()).digest()
        return {
            "response_type": "code",
            "client_id": self.given["client_id"],
            "redirect_uri": CALLBACK,
            "scope": SCOPE,
            "state": "st4te",
            "code_challenge": base64.urlsafe_b64encode(digest).rstrip(b"=").decode(),
            "code_challenge_method": "S256",
        }

    def address(self, **parameters: str) -> str:
        return f"{self.town.issuer}/oauth/authorize?{urlencode(parameters or self.question)}"

    def post(self, path: str, **fields: str) -> httpx.Response:
        pair = (self.given["client_id"], self.given["client_secret"])
        return httpx.post(self.town.issuer + path, data=fields, auth=pair, timeout=60)

    def push(self) -> str:
        answer = self.post("/oauth/par", **self.question)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["request_uri"])

    def code(self) -> str:
        return answer_in(self.town.alice.decide(self.address()))["code"]

    def redeem(self, code: str) -> httpx.Response:
        fields = {"grant_type": "authorization_code", "code": code, "redirect_uri": CALLBACK}
        return self.post("/oauth/token", **fields, code_verifier=self.verifier)

    def refresh(self, token: str) -> httpx.Response:
        return self.post("/oauth/token", grant_type="refresh_token", refresh_token=token)

    def read(self, token: str) -> int:
        headers = {"Authorization": f"Bearer {token}"}
        return httpx.get(self.town.issuer + "/api/v1/purchases", headers=headers, timeout=60).status_code


@pytest.fixture
def shop(town: Town) -> Shop:
    return Shop(town, confidential(town))


def outcomes(answers: list[httpx.Response]) -> Counter[str]:
    return Counter(str(answer.json().get("error", answer.status_code)) for answer in answers)


@pytest.mark.meets("oauch-Concurrency/MultiFastACExchangeTest", "rfc9700-42")
def test_of_sixteen_redemptions_one_wins(shop: Shop) -> None:
    code = shop.code()
    answers = at_once(lambda _: shop.redeem(code))
    assert outcomes(answers) == {"200": 1, "invalid_grant": MANY - 1}


@pytest.mark.meets("oauch-Concurrency/MultiFastRefreshTest")
def test_sixteen_refreshes_are_one(shop: Shop) -> None:
    first = shop.redeem(shop.code()).json()
    answers = at_once(lambda _: shop.refresh(first["refresh_token"]))
    assert outcomes(answers) == {"200": MANY}
    assert len({answer.json()["refresh_token"] for answer in answers}) == 1


@pytest.mark.meets("oauch-Concurrency/ConcurrentTokensRevokedTest")
def test_what_was_had_in_a_race_ends_with_the_vendor(shop: Shop, town: Town) -> None:
    first = shop.redeem(shop.code()).json()
    answers = at_once(lambda _: shop.refresh(first["refresh_token"]))
    had = {first["access_token"], *(answer.json()["access_token"] for answer in answers)}
    assert 200 in {shop.read(token) for token in had}
    town.host.consent.sweeping.block(shop.given["client_id"])
    assert {shop.read(token) for token in had} == {401}
    assert shop.refresh(answers[0].json()["refresh_token"]).json()["error"] == "invalid_client"


@pytest.mark.meets("fapi2-par-attempt-reuse-request_uri", "oauch-ParEndpoint/IsRequestUriRevokedTest")
def test_of_sixteen_decisions_on_one_pushed_request_one_gives_a_code(shop: Shop, town: Town) -> None:
    address = shop.address(client_id=shop.given["client_id"], request_uri=shop.push())
    page = town.alice.look(address)
    form = page.form(field="decision")

    def approve(_: int) -> str:
        answer = town.alice.browser.submit(page, form, [("decision", "approve")], follow=False)
        return answer_in(answer.headers.get("Location") or "").get("code", f"no code: {answer.status}")

    codes = [found for found in at_once(approve) if not found.startswith("no code")]
    assert len(codes) == 1
    assert shop.redeem(codes[0]).status_code == 200
    assert town.alice.browser.get(address, follow=False).status == 400
