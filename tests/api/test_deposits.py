"""Writing over HTTP: what a vendor sends, what it is answered, and what is refused before it is stored."""

from __future__ import annotations

import json
from typing import Any

import pytest
from werkzeug.test import TestResponse

from tests.api.actors import Customer, Shop, connect, problem
from vrm.consent.service import Consent
from vrm.vault.sqlite import SqliteEngine

RECEIPT = {"item": {"title": "Kindred"}, "order": {"order_number": "R-1"}}
WRITING = "purchases:write inbox:write"


@pytest.fixture
def token(shop: Shop, customer: Customer) -> str:
    return str(connect(shop, customer, scope=WRITING)["access_token"])


def send(
    shop: Shop, method: str, path: str, token: str, body: Any = None, **headers: str | None
) -> TestResponse:
    given = {"Authorization": f"Bearer {token}", **{name.replace("_", "-"): v for name, v in headers.items()}}
    data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    if data is not None:
        given.setdefault("Content-Type", "application/json")
    return shop.client.open(
        "/api/v1" + path,
        method=method,
        data=data,
        headers={name: value for name, value in given.items() if value is not None},
    )


def leave(
    shop: Shop, token: str, body: Any = RECEIPT, key: str | None = "key-1", path: str = "/purchases"
) -> TestResponse:
    return send(shop, "POST", path, token, body, Idempotency_Key=key)


def waiting(engine: SqliteEngine) -> int:
    return int((engine.one("SELECT count(*) FROM mailbox") or (0,))[0])


def test_a_deposit_is_accepted_followed_and_filed(
    shop: Shop, token: str, customer: Customer, consent: Consent
) -> None:
    answer = leave(shop, token)
    assert answer.status_code == 202, answer.get_data(as_text=True)
    told = answer.get_json()
    assert set(told) == {"id", "status", "updated_at"}
    assert told["status"] == "pending"
    assert answer.headers["Location"] == f"/api/v1/purchases/{told['id']}"
    assert answer.headers["Cache-Control"] == "no-store"
    read = shop.read(f"/purchases/{told['id']}", token)
    assert (read.status_code, read.get_json(), read.headers["ETag"]) == (200, told, answer.headers["ETag"])
    assert shop.read("/purchases", token).get_json() == {"items": [told], "next": None}
    consent.at_unlock(customer.vault)
    assert shop.read(f"/purchases/{told['id']}", token).get_json()["status"] == "filed"
    assert shop.read("/inbox", token).get_json() == {"items": [], "next": None}


def test_a_state_that_did_not_change_is_304(shop: Shop, token: str) -> None:
    answer = leave(shop, token)
    path, tag = answer.headers["Location"].removeprefix("/api/v1"), answer.headers["ETag"]
    assert shop.read(path, token, headers={"If-None-Match": tag}).status_code == 304
    assert shop.read(path, token, headers={"If-None-Match": tag, "If-Match": "*"}).status_code == 304
    problem(shop.read(path, token, headers={"If-Match": '"another"'}), 412, "precondition-failed")


def test_the_same_key_gets_the_same_answer(shop: Shop, token: str, engine: SqliteEngine) -> None:
    first, second = leave(shop, token), leave(shop, token)
    assert (first.get_json(), first.headers["ETag"]) == (second.get_json(), second.headers["ETag"])
    assert waiting(engine) == 1
    problem(leave(shop, token, {"item": {"title": "Other"}}), 409, "idempotency-key-reused")


def test_it_is_said_anew_and_taken_back_with_its_tag(
    shop: Shop, token: str, customer: Customer, consent: Consent
) -> None:
    answer = leave(shop, token)
    path, tag = answer.headers["Location"].removeprefix("/api/v1"), answer.headers["ETag"]
    newer = {"item": {"title": "Kindred, corrected"}}
    problem(send(shop, "PUT", path, token, newer), 428, "precondition-required")
    problem(send(shop, "DELETE", path, token), 428, "precondition-required")
    told = problem(send(shop, "DELETE", path, token, {}), 400, "invalid-parameter")
    assert told["detail"] == "this request carries no body"
    problem(send(shop, "PUT", path, token, newer, If_Match='"stale"'), 412, "precondition-failed")
    problem(send(shop, "PUT", path, token, newer, If_Match=f"W/{tag}"), 412, "precondition-failed")
    changed = send(shop, "PUT", path, token, newer, If_Match=f'"stale", {tag}')
    assert changed.status_code == 202
    assert changed.headers["ETag"] != tag
    problem(send(shop, "DELETE", path, token, If_Match=tag), 412, "precondition-failed")
    gone = send(shop, "DELETE", path, token, If_Match="*")
    assert (gone.status_code, gone.get_json()["status"]) == (202, "withdrawn")
    problem(shop.read(path, token), 404, "not-in-view")
    consent.at_unlock(customer.vault)
    titles = [document["item"]["title"] for _, document in customer.vault.records("purchases").scan()]
    assert "Kindred, corrected" not in titles


def test_what_is_taken_back_after_filing_is_not_there_any_more_though_she_has_not_seen_it(
    shop: Shop, token: str, customer: Customer, consent: Consent
) -> None:
    path = leave(shop, token).headers["Location"].removeprefix("/api/v1")
    consent.at_unlock(customer.vault)
    tag = shop.read(path, token).headers["ETag"]
    assert send(shop, "DELETE", path, token, If_Match=tag).get_json()["status"] == "withdrawn"
    problem(shop.read(path, token), 404, "not-in-view")
    assert shop.read("/purchases", token).get_json()["items"] == []
    problem(send(shop, "DELETE", path, token, If_Match="*"), 404, "not-in-view")
    problem(send(shop, "PUT", path, token, {"item": {"title": "Again"}}, If_Match="*"), 404, "not-in-view")
    consent.at_unlock(customer.vault)
    statuses = [document["order"].get("status") for _, document in customer.vault.records("purchases").scan()]
    assert "cancelled" in statuses


@pytest.mark.parametrize("key", [None, "", "x" * 256, "a b", "ü", "a,b", ","])
def test_a_deposit_needs_a_key(shop: Shop, token: str, engine: SqliteEngine, key: str | None) -> None:
    found = problem(leave(shop, token, key=key), 400, "invalid-parameter")
    assert "Idempotency-Key" in found["errors"]
    assert waiting(engine) == 0


def test_two_keys_are_not_one(shop: Shop, token: str, engine: SqliteEngine) -> None:
    headers = [("Authorization", f"Bearer {token}"), ("Idempotency-Key", "a"), ("Idempotency-Key", "b")]
    answer = shop.client.post("/api/v1/purchases", json=RECEIPT, headers=headers)
    told = problem(answer, 400, "invalid-parameter")
    assert told["errors"]["Idempotency-Key"] == [
        "must be one key of 1 to 255 visible ASCII characters without a comma, new for each deposit"
    ]
    assert waiting(engine) == 0


@pytest.mark.parametrize(
    "body",
    [
        b" ",
        b"{",
        b"\xff",
        b'{"item": {"title": NaN}}',
        b"[" * 60_000,
        b'{"item": {}, "item": {"title": "A"}}',
    ],
)
def test_a_body_that_is_no_strict_json_is_refused(
    shop: Shop, token: str, engine: SqliteEngine, body: bytes
) -> None:
    told = problem(leave(shop, token, body), 400, "invalid-parameter")
    assert told["detail"] == "the body is not valid JSON with unique names"
    assert waiting(engine) == 0


def test_what_is_not_theirs_to_say_is_named(shop: Shop, token: str, engine: SqliteEngine) -> None:
    found = problem(leave(shop, token, {**RECEIPT, "context": {"for": "self"}}), 422, "invalid")
    assert found["errors"] == {"context.for": ["is not the sender's to say"]}
    for body in ({"\ud800": 1}, {"item": {"\ud800": "x"}}):
        assert "?" in str(problem(leave(shop, token, json.dumps(body).encode()), 422, "invalid")["errors"])
    for body in ([], "x", 7, None, {"item": {"title": "x" * 1001}}, {"item": []}, {"item": {"title": None}}):
        problem(leave(shop, token, json.dumps(body).encode()), 422, "invalid")
    assert waiting(engine) == 0


def test_a_body_of_another_kind_or_too_large_is_refused(shop: Shop, token: str, engine: SqliteEngine) -> None:
    form = send(shop, "POST", "/purchases", token, b"a=b", Idempotency_Key="k", Content_Type="text/plain")
    told = problem(form, 415, "unsupported-media-type")
    assert told["detail"] == "the body is not of the media type that is taken here"
    large = {"message": {"text": "x" * 70_000}}
    told = problem(leave(shop, token, large, path="/inbox"), 413, "body-too-large")
    assert told["detail"] == "the body is larger than what is taken here"
    assert waiting(engine) == 0


def test_writing_needs_a_token_in_the_header_and_nothing_in_the_address(shop: Shop, token: str) -> None:
    problem(shop.client.post("/api/v1/purchases", json=RECEIPT), 401, "token-invalid")
    problem(
        shop.client.post(f"/api/v1/purchases?access_token={token}", json=RECEIPT), 400, "invalid-parameter"
    )
    problem(leave(shop, token, path="/purchases?limit=1"), 400, "invalid-parameter")
    problem(leave(shop, token[:-2] + "xx"), 401, "token-invalid")


def test_a_reading_token_is_told_which_scope_it_lacks(shop: Shop, customer: Customer) -> None:
    token = connect(shop, customer)["access_token"]
    refused = leave(shop, token)
    problem(refused, 403, "insufficient-scope")
    assert 'scope="purchases:write"' in refused.headers["WWW-Authenticate"]
    refused = shop.read("/inbox", token)
    assert 'scope="inbox:write"' in refused.headers["WWW-Authenticate"]
    for never in ("/profile", "/nothing"):
        problem(leave(shop, token, path=never), 405, "method-not-allowed")


def test_who_reads_and_writes_sees_records_in_lists_and_deposits_by_their_id(
    shop: Shop, customer: Customer
) -> None:
    token = connect(shop, customer, scope="purchases.item:read purchases:write")["access_token"]
    told = leave(shop, token).get_json()
    rows = shop.read("/purchases", token).get_json()["items"]
    assert told["id"] not in [row["id"] for row in rows]
    assert shop.read(f"/purchases/{told['id']}", token).get_json() == told
    assert "item" in shop.read(f"/purchases/{rows[0]['id']}", token).get_json()


def test_lists_of_deposits_have_pages(shop: Shop, token: str) -> None:
    left = [leave(shop, token, key=f"key-{number}").get_json()["id"] for number in range(3)]
    first = shop.read("/purchases?limit=2", token).get_json()
    second = shop.read(f"/purchases?limit=2&cursor={first['next']}", token).get_json()
    assert [row["id"] for row in first["items"] + second["items"]] == left
    assert second["next"] is None
    problem(shop.read("/purchases?updated_since=2026-01-01T00:00:00Z", token), 400, "invalid-parameter")
    problem(shop.read("/purchases?cursor=AAAA", token), 400, "invalid-parameter")


def test_the_told_limits_name_what_may_be_written(shop: Shop, token: str) -> None:
    told = shop.read("/grant", token).get_json()
    assert told["scope"] == WRITING
    assert [(part["datatypes"], part["actions"]) for part in told["authorization_details"]] == [
        (["purchases"], ["write"]),
        (["inbox"], ["write"]),
    ]


def test_a_full_mailbox_is_429_with_a_time(
    shop: Shop, token: str, consent: Consent, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vrm.consent.deposits import Quota

    monkeypatch.setattr(consent.deposits, "_quota", Quota(grant_items=1))
    assert leave(shop, token).status_code == 202
    refused = leave(shop, token, key="key-2")
    problem(refused, 429, "quota")
    assert refused.headers["Retry-After"] == "3600"
    assert leave(shop, token).status_code == 202  # the first key again: nothing new


def test_after_the_end_nothing_is_taken(shop: Shop, customer: Customer, engine: SqliteEngine) -> None:
    tokens = connect(shop, customer, scope=WRITING)
    customer.consent.grants.revoke(customer.vault, tokens["grant_id"])
    problem(leave(shop, tokens["access_token"]), 401, "token-invalid")
    assert waiting(engine) == 0
