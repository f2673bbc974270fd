"""Answers that a vendor polls for: sealed to its ticket, told to nobody else, given once."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import pytest
from werkzeug.test import TestResponse

from tests.api.actors import Customer, Shop, handle_of, refused
from tests.api.oauth.test_par import bring, push, pushed
from tests.api.proving import Prover
from tests.conftest import SettableClock
from vrm.api.oauth.clients import TICKET
from vrm.consent import polling
from vrm.consent.credentials import challenge_of, read_token, write_token
from vrm.consent.requests import Choices
from vrm.consent.service import Consent
from vrm.errors import CodeError, RequestNotFoundError, TamperedError, ValidationError
from vrm.vault import crypto
from vrm.vault.crypto import Purpose
from vrm.vault.sqlite import SqliteEngine

GRANT_TYPE = "urn:vrm:oauth:grant-type:ticket"


def poll(shop: Shop, ticket: str, /, **changes: str | None) -> TestResponse:
    usual: dict[str, str | None] = {
        "grant_type": GRANT_TYPE,
        "ticket": ticket,
        "code_verifier": shop.verifier,
    }
    return shop.post("/oauth/token", **{**usual, **changes})


def link_of(asked: dict[str, Any]) -> str:
    path = urlsplit(asked["link"]).path
    assert path.startswith("/requests/")
    return path.removeprefix("/requests/")


def approve(customer: Customer, asked: dict[str, Any], number: str | None = None, **choices: Any) -> Any:
    """What the customer does who opened the link and typed the number."""
    link, chosen = link_of(asked), Choices(**choices)
    requests = customer.consent.requests
    requests.look(link)
    digest = requests.preview(customer.vault, link, chosen).digest
    typed = str(asked["number"]) if number is None else number
    return requests.approve(customer.vault, link, chosen, digest, typed)


def prices(shop: Shop) -> str:
    """`authorization_details` for the prices alone."""
    part = {"type": "vrm_access", "datatypes": ["purchases.price"], "purpose": shop.vendor.purpose}
    return json.dumps([part])


@pytest.fixture
def asked(shop: Shop) -> dict[str, Any]:
    """A request for whose answer the shop polls."""
    return pushed(shop, answer_mode="poll")


def test_a_vendor_that_polls_gets_a_ticket_a_link_and_a_number(asked: dict[str, Any], shop: Shop) -> None:
    assert set(asked) == {
        *("request_uri", "expires_in", "ticket", "interval", "link", "link_expires_in", "number")
    }
    assert (asked["interval"], asked["expires_in"], asked["link_expires_in"]) == (5, 90, 600)
    assert 1000 <= asked["number"] <= 9999
    assert str(asked["number"]) not in link_of(asked)
    assert asked["ticket"].startswith("vrm_tk_")
    assert set(pushed(shop, answer_mode="redirect")) == {"request_uri", "expires_in"}


def test_she_answers_by_the_link_and_the_vendor_fetches_tokens(
    asked: dict[str, Any], shop: Shop, customer: Customer, clock: SettableClock
) -> None:
    refused(poll(shop, asked["ticket"]), 400, "authorization_pending")
    decided = approve(customer, asked)
    assert (decided.code, decided.by_poll) == (None, True)
    answer = poll(shop, asked["ticket"])
    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == "no-store"
    found = answer.get_json()
    assert found["grant_id"] == decided.grant_id
    assert shop.read("/purchases", found["access_token"]).status_code == 200
    assert shop.refresh(found["refresh_token"]).status_code == 200
    connected = [entry.event for entry in customer.consent.log.read(customer.vault, 10)]
    assert "connected" in connected


def test_less_scope_may_be_asked_for_with_the_ticket_and_more_spends_nothing(
    shop: Shop, customer: Customer
) -> None:
    asked = pushed(shop, answer_mode="poll", scope="purchases.item:read purchases.price:read")
    approve(customer, asked)
    refused(poll(shop, asked["ticket"], scope="purchases.item:read profile:read"), 400, "invalid_scope")
    less = poll(shop, asked["ticket"], scope="purchases.item:read").get_json()
    assert less["scope"] == "purchases.item:read"
    assert "price" not in shop.read("/purchases", less["access_token"]).get_json()["items"][0]


def test_tokens_are_given_once(asked: dict[str, Any], shop: Shop, customer: Customer) -> None:
    """A second poll ends nothing: the ticket passed through no browser, so it is no sign of a theft."""
    approve(customer, asked)
    found = poll(shop, asked["ticket"]).get_json()
    refused(poll(shop, asked["ticket"]), 400, "invalid_grant")
    assert shop.read("/purchases", found["access_token"]).status_code == 200


def test_who_polls_too_fast_is_slowed_down_more_each_time(
    asked: dict[str, Any], shop: Shop, clock: SettableClock
) -> None:
    refused(poll(shop, asked["ticket"]), 400, "authorization_pending")
    for waited in (0, 9, 14):
        clock.forward(waited)
        refused(poll(shop, asked["ticket"]), 400, "slow_down")
    clock.forward(20)
    refused(poll(shop, asked["ticket"]), 400, "authorization_pending")
    for _ in range(30):
        refused(poll(shop, asked["ticket"]), 400, "slow_down")
    clock.forward(60)
    refused(poll(shop, asked["ticket"]), 400, "authorization_pending")  # never slower than a minute


def test_a_fast_vendor_is_still_given_its_answer(
    asked: dict[str, Any], shop: Shop, customer: Customer
) -> None:
    poll(shop, asked["ticket"])
    refused(poll(shop, asked["ticket"]), 400, "slow_down")
    approve(customer, asked)
    assert poll(shop, asked["ticket"]).status_code == 200


def test_a_declined_request_is_said_to_be_so(asked: dict[str, Any], shop: Shop, customer: Customer) -> None:
    decided = customer.consent.requests.decline(customer.vault, link_of(asked))
    assert decided.by_poll
    refused(poll(shop, asked["ticket"]), 400, "access_denied")
    refused(poll(shop, asked["ticket"]), 400, "access_denied")


def test_declined_where_the_browser_came_it_is_said_to_the_poll_too(
    asked: dict[str, Any], shop: Shop, customer: Customer
) -> None:
    handle = handle_of(bring(shop, asked["request_uri"]))
    assert not customer.consent.requests.decline(customer.vault, handle).by_poll
    refused(poll(shop, asked["ticket"]), 400, "access_denied")


def test_approved_where_the_browser_came_the_code_goes_there_and_nowhere_else(
    asked: dict[str, Any], shop: Shop, customer: Customer, engine: SqliteEngine
) -> None:
    """Otherwise who began it elsewhere would get, by polling, what she shared in her own browser."""
    code = customer.approve(handle_of(bring(shop, asked["request_uri"])))
    answer = poll(shop, asked["ticket"])
    refused(answer, 400, "invalid_grant")
    assert "browser" in answer.get_json()["error_description"]
    assert engine.one("SELECT count(*) FROM tokens WHERE kind = 'ticket'") == (0,)
    assert shop.redeem(code).status_code == 200


def test_link_and_handle_are_one_request(asked: dict[str, Any], shop: Shop, customer: Customer) -> None:
    handle = handle_of(bring(shop, asked["request_uri"]))
    approve(customer, asked)
    with pytest.raises(RequestNotFoundError):
        customer.approve(handle)
    assert bring(shop, asked["request_uri"]).status_code == 400
    assert poll(shop, asked["ticket"]).status_code == 200


@pytest.mark.parametrize("number", ["", "0", "12345", "12 34 5", "١٢٣٤", "abcd"])
def test_without_its_number_nothing_is_approved_by_a_link(
    asked: dict[str, Any], customer: Customer, shop: Shop, number: str
) -> None:
    """A link can come from anybody: only the vendor's page, before who asked, has the number."""
    with pytest.raises(ValidationError) as caught:
        approve(customer, asked, number)
    assert set(caught.value.fields) == {"number"}
    assert customer.consent.grants.listing(customer.vault) == []
    refused(poll(shop, asked["ticket"]), 400, "authorization_pending")


def test_the_number_may_be_typed_with_spaces(asked: dict[str, Any], customer: Customer) -> None:
    digits = str(asked["number"])
    assert approve(customer, asked, f" {digits[:2]} {digits[2:]} ").grant_id


def test_the_link_is_to_be_opened_within_ten_minutes_and_then_waits_as_others_do(
    asked: dict[str, Any], customer: Customer, shop: Shop, clock: SettableClock
) -> None:
    requests = customer.consent.requests
    clock.forward(599)
    assert requests.open(link_of(asked)).expires == clock.now() + 1  # looking without a vault changes nothing
    assert requests.look(link_of(asked)).expires == clock.now() + 3600
    clock.forward(60)
    assert requests.look(link_of(asked)).expires == clock.now() + 3540  # it does not start anew
    assert bring(shop, asked["request_uri"]).status_code == 400
    refused(poll(shop, asked["ticket"]), 400, "authorization_pending")
    approve(customer, asked)
    assert poll(shop, asked["ticket"]).status_code == 200


def test_a_link_that_nobody_opened_in_time_is_over(
    asked: dict[str, Any], customer: Customer, shop: Shop, clock: SettableClock, consent: Consent
) -> None:
    clock.forward(600)
    with pytest.raises(RequestNotFoundError):
        consent.requests.look(link_of(asked))
    refused(poll(shop, asked["ticket"]), 400, "expired_token")
    assert consent.sweep()
    refused(poll(shop, asked["ticket"]), 400, "expired_token")
    clock.forward(polling.FORGET)
    assert consent.sweep()
    refused(poll(shop, asked["ticket"]), 400, "invalid_grant")


def test_an_answer_that_nobody_fetched_in_time_is_gone(
    asked: dict[str, Any], customer: Customer, shop: Shop, clock: SettableClock, consent: Consent
) -> None:
    approve(customer, asked)
    clock.forward(polling.PICK_UP)
    refused(poll(shop, asked["ticket"]), 400, "expired_token")
    consent.sweep()
    refused(poll(shop, asked["ticket"]), 400, "expired_token")


def test_a_look_at_a_handle_changes_nothing(shop: Shop, consent: Consent) -> None:
    handle = handle_of(shop.ask())
    assert consent.requests.look(handle) == consent.requests.open(handle)


Wrong = Callable[[Shop, Shop], tuple[Shop, dict[str, str | None]]]
WRONG: dict[str, Wrong] = {
    "another vendor": lambda shop, other: (replace(other, verifier=shop.verifier), {}),
    "another verifier": lambda shop, other: (shop, {"code_verifier": "v" * 43}),
    "an unknown ticket": lambda shop, other: (shop, {"ticket": "vrm_tk_" + "A" * 48}),
    "a ticket of another kind": lambda shop, other: (shop, {"ticket": "vrm_rl_" + "A" * 48}),
    "a made-up ticket": lambda shop, other: (shop, {"ticket": write_token("ticket", bytes(32))}),
}


@pytest.mark.parametrize("decided", [False, True])
@pytest.mark.parametrize("case", WRONG)
def test_nothing_is_told_to_anybody_else(
    asked: dict[str, Any], shop: Shop, other_shop: Shop, customer: Customer, case: str, decided: bool
) -> None:
    if decided:
        approve(customer, asked)
    who, changes = WRONG[case](shop, other_shop)
    refused(poll(who, asked["ticket"], **changes), 400, "invalid_grant")
    usual = poll(shop, asked["ticket"])
    assert usual.status_code == (200 if decided else 400)
    assert decided or usual.get_json()["error"] == "authorization_pending"  # nor slowed down by them


def test_who_does_not_prove_itself_polls_for_nothing(asked: dict[str, Any], shop: Shop) -> None:
    refused(poll(replace(shop, secret="vrm_cs_wrong"), asked["ticket"]), 401, "invalid_client")
    refused(poll(replace(shop, secret=None), asked["ticket"]), 401, "invalid_client")
    for name in ("ticket", "code_verifier"):
        refused(poll(shop, asked["ticket"], **{name: None}), 400, "invalid_request")


def test_nobody_polls_in_the_name_of_a_public_vendor(app_shop: Shop) -> None:
    refused(push(app_shop, answer_mode="poll"), 400, "unauthorized_client")
    refused(push(app_shop, answer_mode="poll", dpop_jkt="t" * 43), 400, "unauthorized_client")
    assert pushed(app_shop, dpop_jkt="t" * 43)["request_uri"]


def test_an_answer_for_a_key_is_given_to_that_key_only(
    shop: Shop, customer: Customer, clock: SettableClock
) -> None:
    prover, thief = Prover(clock), Prover(clock)
    asked = pushed(shop, answer_mode="poll", dpop_jkt=prover.jkt)
    approve(customer, asked)
    fields = {"grant_type": TICKET, "ticket": asked["ticket"], "code_verifier": shop.verifier}
    refused(thief.post(shop, **fields), 400, "invalid_grant")
    refused(shop.post("/oauth/token", **fields), 400, "invalid_grant")
    given = prover.post(shop, **fields).get_json()
    assert given["token_type"] == "DPoP"
    assert prover.read(shop, "/purchases", given["access_token"]).status_code == 200


def test_the_answer_is_sealed_so_that_only_ticket_and_verifier_open_it(
    asked: dict[str, Any], shop: Shop, customer: Customer, consent: Consent, engine: SqliteEngine
) -> None:
    """Whoever has the tables, the server key and the ticket still needs what only the vendor knows."""
    approve(customer, asked)
    [[lookup, sealed, expires, grant_id]] = engine.all(
        "SELECT lookup, wrapped, expires, grant_id FROM tokens WHERE kind = 'ticket'"
    )
    raw = read_token("ticket", asked["ticket"])
    assert raw is not None
    key = consent.polls._split(raw)[1]
    private = polling._private(key)
    for challenge in ("", "c" * 43, challenge_of("v" * 43)):
        with pytest.raises(TamperedError):
            crypto.open_sealed(private, sealed, Purpose.TICKET_ANSWER, lookup, grant_id, expires, challenge)
    place = (lookup, grant_id, expires, shop.challenge)
    assert crypto.open_sealed(private, sealed, Purpose.TICKET_ANSWER, *place)


def test_an_answer_moved_to_another_ticket_opens_nothing(
    shop: Shop, customer: Customer, engine: SqliteEngine
) -> None:
    first, second = pushed(shop, answer_mode="poll"), pushed(shop, answer_mode="poll")
    approve(customer, first)
    approve(customer, second)
    rows = engine.all("SELECT lookup, wrapped FROM tokens WHERE kind = 'ticket' ORDER BY lookup")
    with engine.write() as transaction:
        for (lookup, _), (_, wrapped) in zip(rows, reversed(rows), strict=True):
            transaction.execute("UPDATE tokens SET wrapped = ? WHERE lookup = ?", (wrapped, lookup))
    for asked in (first, second):
        refused(poll(shop, asked["ticket"]), 400, "invalid_grant")


def test_a_ticket_whose_row_was_altered_is_none(
    asked: dict[str, Any], shop: Shop, engine: SqliteEngine
) -> None:
    with engine.write() as transaction:
        transaction.execute("UPDATE polls SET sealed = zeroblob(60)")
    refused(poll(shop, asked["ticket"]), 400, "invalid_grant")


def test_saying_that_it_was_answered_gives_nothing(
    asked: dict[str, Any], shop: Shop, engine: SqliteEngine
) -> None:
    with engine.write() as transaction:
        transaction.execute("UPDATE polls SET state = 'answered'")
    refused(poll(shop, asked["ticket"]), 400, "invalid_grant")


def test_a_grant_that_ended_before_it_was_fetched_gives_nothing(
    asked: dict[str, Any], shop: Shop, customer: Customer, consent: Consent
) -> None:
    decided = approve(customer, asked)
    consent.grants.revoke(customer.vault, decided.grant_id)
    refused(poll(shop, asked["ticket"]), 400, "invalid_grant")


def test_less_may_be_fetched(shop: Shop, customer: Customer) -> None:
    asked = pushed(shop, answer_mode="poll", scope="purchases.item:read purchases.price:read")
    approve(customer, asked)
    found = poll(shop, asked["ticket"], authorization_details=prices(shop)).get_json()
    assert found["scope"] == "purchases.price:read"


def test_of_many_polls_at_once_one_gets_tokens(
    asked: dict[str, Any], shop: Shop, customer: Customer, consent: Consent
) -> None:
    approve(customer, asked)

    def fetch(_: int) -> bool:
        try:
            return consent.polls.poll(asked["ticket"], shop.vendor, shop.verifier).tokens is not None
        except CodeError:
            return False

    with ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(fetch, range(16))) == 1


def test_of_many_decisions_at_once_one_counts(
    asked: dict[str, Any], shop: Shop, customer: Customer, consent: Consent
) -> None:
    """By link and by handle, approving and declining."""
    handle, link = handle_of(bring(shop, asked["request_uri"])), link_of(asked)
    requests = consent.requests
    digests = {name: requests.preview(customer.vault, name, Choices()).digest for name in (handle, link)}

    def decide(number: int) -> bool:
        name = handle if number % 2 else link
        try:
            if number % 4 < 2:
                typed = str(asked["number"])
                requests.approve(customer.vault, name, Choices(), digests[name], typed)
            else:
                requests.decline(customer.vault, name)
        except RequestNotFoundError:
            return False
        return True

    with ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(decide, range(16))) == 1
    assert len(consent.grants.listing(customer.vault)) <= 1


def test_of_many_browsers_at_once_all_come_to_one_request(shop: Shop, consent: Consent) -> None:
    reference = pushed(shop)["request_uri"].rpartition(":")[2]
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda _: consent.requests.bring(reference, shop.vendor.client_id), range(16)))
    assert len({(one.handle, one.expires) for one in found}) == 1


def test_the_details_that_are_asked_for_are_read_strictly(
    asked: dict[str, Any], shop: Shop, customer: Customer
) -> None:
    approve(customer, asked)
    refused(poll(shop, asked["ticket"], authorization_details="{}"), 400, "invalid_authorization_details")
    more = prices(shop)
    refused(poll(shop, asked["ticket"], authorization_details=more), 400, "invalid_authorization_details")
    both = poll(shop, asked["ticket"], authorization_details=more, scope="purchases.price:read")
    refused(both, 400, "invalid_request")
    assert poll(shop, asked["ticket"]).status_code == 200  # nothing was spent by asking for too much
