"""Pushed requests (RFC 9126): the vendor proves itself first; the reference is good once, for it, briefly."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from tests.api.actors import CALLBACK, Customer, Shop, handle_of, query_of, refused
from tests.conftest import SettableClock
from vrm.consent import asking
from vrm.consent.service import Consent
from vrm.errors import BusyError, RequestNotFoundError
from vrm.vault.sqlite import SqliteEngine

URN = "urn:ietf:params:oauth:request_uri:"


def push(shop: Shop, **changes: str | None) -> TestResponse:
    return shop.post("/oauth/par", **shop.question(**changes))


def pushed(shop: Shop, **changes: str | None) -> dict[str, Any]:
    answer = push(shop, **changes)
    assert answer.status_code == 201, answer.get_data(as_text=True)
    found: dict[str, Any] = answer.get_json()
    return found


def bring(shop: Shop, request_uri: str, **rest: str) -> TestResponse:
    query = {"client_id": shop.vendor.client_id, "request_uri": request_uri, **rest}
    return shop.client.get("/oauth/authorize", query_string=query)


def over(answer: TestResponse) -> None:
    """A plain page, the same whatever the reason, and nowhere to go."""
    assert answer.status_code == 400, answer.headers
    assert "Location" not in answer.headers
    assert answer.mimetype == "text/html"
    assert "It was answered already, or took too long" in answer.get_data(as_text=True)


def test_a_request_is_pushed_brought_and_answered(shop: Shop, customer: Customer, consent: Consent) -> None:
    answer = push(shop, dpop_jkt="t" * 43, resource="http://127.0.0.1:8600")
    assert answer.status_code == 201
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.content_type == "application/json"
    found = answer.get_json()
    assert set(found) == {"request_uri", "expires_in"}
    assert found["expires_in"] == 90
    assert found["request_uri"].startswith(URN)
    assert len(found["request_uri"]) > len(URN) + 43  # 256 bits
    handle = handle_of(bring(shop, found["request_uri"]))
    stored = consent.requests.open(handle)
    assert (stored.state, stored.redirect_uri) == ("st4te", CALLBACK)
    assert stored.extras["jkt"] == "t" * 43
    assert not stored.by_link
    assert handle not in found["request_uri"]


def test_an_answered_request_gives_tokens_once(shop: Shop, customer: Customer) -> None:
    uri = pushed(shop)["request_uri"]
    code = customer.approve(handle_of(bring(shop, uri)))
    assert shop.redeem(code).status_code == 200
    over(bring(shop, uri))


def test_a_declined_request_is_over(shop: Shop, customer: Customer, consent: Consent) -> None:
    uri = pushed(shop)["request_uri"]
    decided = consent.requests.decline(customer.vault, handle_of(bring(shop, uri)))
    assert (decided.redirect_uri, decided.code, decided.by_poll) == (CALLBACK, None, False)
    over(bring(shop, uri))


@pytest.mark.meets("fapi2-par-ensure-reused-request-uri-prior-to-auth-completion-succeeds")
def test_a_reload_works_until_the_decision(shop: Shop, customer: Customer, clock: SettableClock) -> None:
    uri = pushed(shop)["request_uri"]
    first = handle_of(bring(shop, uri))
    clock.forward(89)
    assert handle_of(bring(shop, uri)) == first
    customer.approve(first)
    over(bring(shop, uri))


@pytest.mark.meets("fapi2-par-attempt-to-use-expired-request_uri", "oauch-ParEndpoint/RequestUriTimeoutTest")
def test_the_ninety_seconds_are_for_bringing_the_browser(
    shop: Shop, customer: Customer, consent: Consent, clock: SettableClock
) -> None:
    uri = pushed(shop)["request_uri"]
    handle = handle_of(bring(shop, uri))
    assert consent.requests.open(handle).expires == clock.now() + 3600
    clock.forward(90)
    over(bring(shop, uri))  # the reference has ended, the request waits
    clock.forward(3600 - 91)
    customer.approve(handle)


def test_what_nobody_brought_in_time_is_over(shop: Shop, clock: SettableClock, consent: Consent) -> None:
    uri = pushed(shop)["request_uri"]
    clock.forward(90)
    over(bring(shop, uri))
    assert consent.sweep()
    over(bring(shop, uri))


def test_a_vendor_cannot_make_the_handle_of_a_request_that_nobody_brought(
    shop: Shop, consent: Consent
) -> None:
    """The reference holds the handle's bytes: they open nothing before the browser came with them."""
    raw = asking.read_token("reference", pushed(shop)["request_uri"].removeprefix(URN))
    assert raw is not None
    for kind in ("request", "link"):
        with pytest.raises(RequestNotFoundError):
            consent.requests.open(asking.write_token(kind, raw))


@pytest.mark.meets(
    "fapi2-par-attempt-to-use-request_uri-for-different-client",
    "oauch-ParEndpoint/IsClientBoundToUriTest",
)
def test_another_vendors_reference_is_over(shop: Shop, other_shop: Shop) -> None:
    uri = pushed(shop)["request_uri"]
    over(bring(other_shop, uri))
    handle_of(bring(shop, uri))


@pytest.mark.parametrize(
    "reference", ["", "x", "vrm_rr_" + "A" * 48, "vrm_rq_" + "A" * 48, "ü", "vrm_rr_" + "A" * 5000]
)
def test_an_unknown_reference_is_over(shop: Shop, reference: str) -> None:
    over(bring(shop, URN + reference))


def test_a_handle_is_no_reference(shop: Shop) -> None:
    handle = handle_of(shop.ask())
    over(bring(shop, URN + handle))
    raw = asking.read_token("request", handle)
    assert raw is not None
    over(bring(shop, URN + asking.write_token("reference", raw)))  # it was not pushed


def test_the_reference_of_a_vendor_that_is_unknown_or_blocked_is_over(shop: Shop, consent: Consent) -> None:
    uri = pushed(shop)["request_uri"]
    query = {"client_id": "vrm_client_nobody", "request_uri": uri}
    over(shop.client.get("/oauth/authorize", query_string=query))
    consent.sweeping.block(shop.vendor.client_id)
    over(bring(shop, uri))


def test_a_reference_needs_its_vendors_name(shop: Shop) -> None:
    uri = pushed(shop)["request_uri"]
    answer = shop.client.get("/oauth/authorize", query_string={"request_uri": uri})
    assert answer.status_code == 400
    assert "missing &#39;client_id&#39;" in answer.get_data(as_text=True)


@pytest.mark.meets("fapi2-ensure-different-state-inside-and-outside-request-object")
def test_what_stands_beside_a_reference_does_not_count(shop: Shop, consent: Consent) -> None:
    """RFC 9101 section 5: only what was pushed, so nothing can be added in the browser."""
    uri = pushed(shop, state=None)["request_uri"]
    beside = {"state": "other", "redirect_uri": "https://evil.example/cb", "scope": "profile:read"}
    stored = consent.requests.open(handle_of(bring(shop, uri, **beside)))
    assert (stored.state, stored.redirect_uri) == ("", CALLBACK)
    assert [part["datatypes"] for part in stored.parts] == [["purchases.item"]]


@pytest.mark.parametrize("name", ["client_id", "request_uri"])
def test_a_reference_given_twice_is_refused(shop: Shop, name: str) -> None:
    uri = pushed(shop)["request_uri"]
    twice = [("client_id", shop.vendor.client_id), ("request_uri", uri)]
    twice.append((name, dict(twice)[name]))
    answer = shop.client.get("/oauth/authorize", query_string=twice)  # type: ignore[arg-type]
    assert answer.status_code == 400
    assert "Location" not in answer.headers


def test_a_request_object_beside_a_reference_is_refused(shop: Shop) -> None:
    answer = bring(shop, pushed(shop)["request_uri"], request="e30.e30.")
    assert answer.status_code == 400
    assert "Location" not in answer.headers


def test_a_public_vendor_pushes_by_its_name(app_shop: Shop, customer: Customer) -> None:
    uri = pushed(app_shop)["request_uri"]
    assert app_shop.redeem(customer.approve(handle_of(bring(app_shop, uri)))).status_code == 200


REFUSED: dict[str, tuple[dict[str, str | None], str]] = {
    "a reference inside": ({"request_uri": URN + "x"}, "invalid_request"),
    "a request object": ({"request": "e30.e30."}, "request_not_supported"),
    "no client_id": ({"client_id": None}, "invalid_request"),
    "no redirect_uri": ({"redirect_uri": None}, "invalid_request"),
    "a redirect_uri that is not registered": ({"redirect_uri": "https://evil.example/"}, "invalid_request"),
    "no response_type": ({"response_type": None}, "invalid_request"),
    "another response_type": ({"response_type": "token"}, "unsupported_response_type"),
    "no challenge": ({"code_challenge": None}, "invalid_request"),
    "a plain challenge": ({"code_challenge_method": "plain"}, "invalid_request"),
    "an unknown scope": ({"scope": "everything"}, "invalid_scope"),
    "malformed details": ({"authorization_details": "[{}]"}, "invalid_authorization_details"),
    "a state too long": ({"state": "s" * 2001}, "invalid_request"),
    "a thumbprint that is none": ({"dpop_jkt": "short"}, "invalid_request"),
    "a resource that is none": ({"resource": "vault"}, "invalid_target"),
    "an unknown action": ({"grant_management_action": "delete"}, "invalid_request"),
    "another answer_mode": ({"answer_mode": "fax"}, "invalid_request"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_asked_is_refused_in_json(shop: Shop, case: str, engine: SqliteEngine) -> None:
    changes, error = REFUSED[case]
    answer = push(shop, **changes)
    refused(answer, 400, error)
    assert "Location" not in answer.headers
    assert "state" not in answer.get_json()
    assert engine.one("SELECT count(*) FROM requests") == (0,)


@pytest.mark.meets("oauch-ParEndpoint/IsParAuthenticationRequiredTest")
def test_a_vendor_that_does_not_prove_itself_is_refused_first(shop: Shop, other_shop: Shop) -> None:
    """Before its parameters are looked at: they are nonsense here."""
    bad = {"scope": "nonsense", "request_uri": "x"}
    wrong = Shop(shop.client, shop.vendor, "vrm_cs_wrong")
    refused(push(wrong, **bad), 401, "invalid_client")
    nameless = Shop(shop.client, shop.vendor, None)
    refused(push(nameless, **bad), 401, "invalid_client")
    refused(push(other_shop, client_id=shop.vendor.client_id), 400, "invalid_request")


def test_only_a_form_that_is_posted_is_read(shop: Shop, client: FlaskClient) -> None:
    question = shop.question()
    assert client.get("/oauth/par", query_string=question).status_code == 405
    in_address = client.post("/oauth/par", query_string=question, headers=shop.basic)
    refused(in_address, 400, "invalid_request")
    as_json = client.post("/oauth/par", json=question, headers=shop.basic)
    refused(as_json, 400, "invalid_request")
    twice = client.post(
        "/oauth/par", data={**question, "scope": ["purchases.item:read"] * 2}, headers=shop.basic
    )
    refused(twice, 400, "invalid_request")
    assert push(shop, state="s" * 17_000).status_code == 413


def test_pushed_requests_count_among_those_that_wait(
    shop: Shop, other_shop: Shop, app_shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "WAITING_OF_ONE", 2)
    pushed(shop)
    pushed(shop)
    refused(push(shop), 429, "temporarily_unavailable")
    pushed(other_shop)
    pushed(app_shop)  # anybody can push in a public vendor's name
    handle_of(app_shop.ask())
    refused(push(app_shop), 429, "temporarily_unavailable")


def test_what_anybody_may_send_keeps_no_vendor_from_pushing(
    shop: Shop, other_shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever knows a vendor's id can send browsers' requests in its name."""
    monkeypatch.setattr(asking, "WAITING_OF_ONE", 1)
    monkeypatch.setattr(asking, "KEPT_FREE", 2)
    monkeypatch.setattr(asking, "WAITING_OF_ALL", 3)
    handle_of(shop.ask())
    for vendor in (shop, other_shop):
        assert query_of(vendor.ask())["error"] == "temporarily_unavailable"
    pushed(shop)
    refused(push(shop), 429, "temporarily_unavailable")
    pushed(other_shop)


def test_who_registered_itself_has_no_room_of_its_own(
    shop: Shop, consent: Consent, monkeypatch: pytest.MonkeyPatch
) -> None:
    stranger = replace(shop.vendor, origin="registered")
    monkeypatch.setattr(asking, "WAITING_OF_ALL", asking.KEPT_FREE)
    with pytest.raises(BusyError):
        consent.requests.push(stranger, [], redirect_uri=CALLBACK, state="", code_challenge=shop.challenge)
    pushed(shop)


def test_a_pushed_request_is_stored_so_that_only_its_reference_opens_it(
    shop: Shop, engine: SqliteEngine
) -> None:
    uri = pushed(shop, answer_mode="poll")["request_uri"]
    rows = engine.all("SELECT * FROM requests") + engine.all("SELECT * FROM polls")
    stored = b"".join(
        value if isinstance(value, bytes) else str(value).encode() for row in rows for value in row
    )
    for word in (uri, "purchases", "st4te", shop.vendor.client_id, CALLBACK, shop.challenge):
        assert word.encode() not in stored


def test_a_vendor_with_a_request_object_by_reference_is_told_as_before(shop: Shop) -> None:
    answer = shop.ask(request_uri="https://books.example/request.jwt")
    assert query_of(answer)["error"] == "request_uri_not_supported"


def test_an_action_on_an_earlier_grant_is_read_strictly(shop: Shop) -> None:
    for changes in (
        {"grant_id": "g"},
        {"grant_management_action": "create", "grant_id": "g"},
        {"grant_management_action": "replace"},
        {"grant_management_action": "merge"},
    ):
        refused(push(shop, **changes), 400, "invalid_request")  # type: ignore[arg-type]
    for grant_id in ("g h", "g" * 101):
        wrong = push(shop, grant_management_action="update", grant_id=grant_id)
        refused(wrong, 400, "invalid_grant_id")
    pushed(shop, grant_management_action="create")


def test_resources_may_come_several_times_but_not_too_often(shop: Shop, client: FlaskClient) -> None:
    here = "http://127.0.0.1:8600"
    for many, status in (([here, here], 201), ([f"{here}/{number}" for number in range(11)], 400)):
        form = {**shop.question(), "resource": many}
        assert client.post("/oauth/par", data=form, headers=shop.basic).status_code == status
    for wrong in ("https://[::1", f"{here}#a", "vault", "urn:vault"):
        refused(push(shop, resource=wrong), 400, "invalid_target")


def test_the_details_of_a_pushed_request_name_this_vault_or_nothing(shop: Shop, consent: Consent) -> None:
    part = {
        "type": "vrm_access",
        "datatypes": ["purchases.item"],
        "purpose": "CustomerCare",
        "locations": ["http://127.0.0.1:8600/"],
    }
    uri = pushed(shop, scope=None, authorization_details=json.dumps([part]))["request_uri"]
    [stored] = consent.requests.open(handle_of(bring(shop, uri))).parts
    assert stored["locations"] == ["http://127.0.0.1:8600"]
    channel = json.dumps([{**part, "response_channel": "inbox"}])
    refused(push(shop, scope=None, authorization_details=channel), 400, "invalid_authorization_details")
    pushed(shop, scope="inbox:write", authorization_details=channel)
