"""Sixteen at once against two worker processes of a served vault: exactly one wins."""

from __future__ import annotations

from collections import Counter

import httpx
import pytest

from tests.judges.shop import MANY, Shop, at_once
from tests.judges.stage import Town, answer_in, confidential


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


def test_of_sixteen_polls_for_one_answer_one_gets_tokens(shop: Shop, town: Town) -> None:
    asked = shop.post("/oauth/par", **shop.question, answer_mode="poll").json()
    page = town.alice.look(asked["link"])
    said = [("number", str(asked["number"])), ("decision", "approve")]
    assert town.alice.browser.submit(page, page.form(field="decision"), said).status == 200
    grant = "urn:vrm:oauth:grant-type:ticket"
    fields = {"grant_type": grant, "ticket": asked["ticket"], "code_verifier": shop.verifier}
    answers = at_once(lambda _: shop.post("/oauth/token", **fields))
    assert outcomes(answers) == {"200": 1, "invalid_grant": MANY - 1}


def test_of_sixteen_polls_of_a_program_one_is_let_in(town: Town) -> None:
    asked = httpx.post(town.issuer + "/oauth/device_authorization", data={"client_id": "vrm-tool"}).json()
    town.alice.let_in(asked["verification_uri_complete"])
    grant = "urn:ietf:params:oauth:grant-type:device_code"
    form = {"client_id": "vrm-tool", "grant_type": grant, "device_code": asked["device_code"]}
    answers = at_once(lambda _: httpx.post(town.issuer + "/oauth/token", data=form, timeout=60))
    assert outcomes(answers) == {"200": 1, "invalid_grant": MANY - 1}
