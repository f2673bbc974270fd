"""A plain reading is answered before Flask: with the same bytes, the same refusals, the same log entries."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.api.actors import Customer, Shop, connect, problem
from tests.api.proving import Prover
from tests.beside import beside, only_sqlite
from tests.conftest import SettableClock
from vrm.api.direct import Direct
from vrm.consent.counting import Permits
from vrm.consent.proofs import NONCE_STRETCH
from vrm.consent.service import Consent
from vrm.observed import SERIES
from vrm.vault.sqlite import SqliteEngine


def direct_of(app: Flask) -> Direct:
    """The middleware, somewhere in the chain."""
    part: Any = app.wsgi_app
    while not isinstance(part, Direct):
        part = part._app
    return part


@pytest.fixture
def behind(app: Flask) -> FlaskClient:
    """A client to whom Flask answers all."""
    direct = direct_of(app)
    plain = Flask("behind")
    plain.wsgi_app = direct._app  # type: ignore[method-assign, assignment]
    return plain.test_client()


@pytest.fixture
def seen(app: Flask, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The addresses of the requests that reached Flask."""
    direct = direct_of(app)
    inner = direct._app
    found: list[str] = []

    def look(environ: dict[str, Any], start_response: Any) -> Any:
        found.append(environ["PATH_INFO"])
        return inner(environ, start_response)

    monkeypatch.setattr(direct, "_app", look)
    return found


def told(answer: Any) -> tuple[int, bytes, dict[str, str]]:
    return answer.status_code, answer.data, dict(answer.headers)


def ids(shop: Shop, token: str) -> list[str]:
    return [item["id"] for item in shop.read("/purchases", token).get_json()["items"]]


QUERIES = [
    "",
    "?limit=2",
    "?limit=500",
    "?limit=501",
    "?limit=0",
    "?limit=",
    "?limit=02",
    "?limit=two",
    "?limit=2&limit=3",
    "?limit=2&cursor=abc",
    "?cursor=abc",
    "?cursor=",
    "?&limit=2",
    "?cursor=abc&limit=2",
    "?updated_since=2026-01-01T00:00:00Z",
    "?updated_since=2026-01-01T00:00:00%2B01:00",
    "?updated_since=yesterday",
    "?category=books",
    "?category=books&limit=1",
    "?category=books&limit=501",
    "?category=books&category=music",
    "?category=books%20and",
    "?category=a+b",
    "?category=",
    "?category",
    "?category=a=b",
    "?seller=books.example&ordered_from=2026-01-01&ordered_to=2025-01-01",
    "?ordered_from=2026-01-01&ordered_to=2027-01-01&cursor=abc=",
    "?ordered_from=2026-13-01",
    "?category=books&nothing=1",
    "?nothing=1",
    "?access_token=abc",
]


@pytest.mark.parametrize("query", QUERIES)
def test_a_page_is_answered_like_by_flask(
    shop: Shop, behind: FlaskClient, tokens: dict[str, Any], query: str
) -> None:
    path = "/api/v1/purchases" + query
    headers = {"Authorization": f"Bearer {tokens['access_token']}"}
    first, second = shop.client.get(path, headers=headers), behind.get(path, headers=headers)
    if "next" in (first.get_json() or {}) and first.get_json()["next"]:  # a cursor is sealed anew each time
        assert first.get_json()["items"] == second.get_json()["items"]
        assert set(first.headers.keys()) == set(second.headers.keys())
    else:
        assert told(first) == told(second)


def test_cursors_lead_on_through_both(shop: Shop, behind: FlaskClient, tokens: dict[str, Any]) -> None:
    headers = {"Authorization": f"Bearer {tokens['access_token']}"}
    found, path = [], "/api/v1/purchases?limit=2"
    for client in (shop.client, behind, shop.client):
        page = client.get(path, headers=headers).get_json()
        found += [item["id"] for item in page["items"]]
        path = f"/api/v1/purchases?limit=2&cursor={page['next']}"
    assert found == ids(shop, tokens["access_token"])


@pytest.mark.parametrize(
    "path",
    ["/{one}", "/{one}?", "/{one}?a=1", "/" + "0" * 32, "/abc", "/{one}/", "/{one}/x", "/changes", "/"],
)
@pytest.mark.parametrize("collection", ["purchases", "profile", "grant", "nothing"])
def test_a_record_is_answered_like_by_flask(
    shop: Shop, behind: FlaskClient, tokens: dict[str, Any], collection: str, path: str
) -> None:
    one = ids(shop, tokens["access_token"])[0]
    address = f"/api/v1/{collection}" + path.format(one=one)
    headers = {"Authorization": f"Bearer {tokens['access_token']}"}
    first, second = shop.client.get(address, headers=headers), behind.get(address, headers=headers)
    assert first.status_code == second.status_code
    assert set(first.headers.keys()) == set(second.headers.keys())
    if path != "/changes":  # its cursor is sealed anew each time
        assert told(first) == told(second)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer vrm_at_nothing"},
        {"Authorization": "Bearer {token}, Bearer {token}"},
        {"Authorization": "bearer {token}"},
        {"Authorization": "DPoP {token}"},
        {"Authorization": "DPoP {token}", "DPoP": "nothing"},
        {"Authorization": "Basic {token}"},
        {"Authorization": "Bearer {token}", "If-None-Match": "*"},
        {"Authorization": "Bearer {token}", "Host": "evil.example"},
        {"Authorization": "Bearer {token}", "Host": ""},
        {"Authorization": "Bearer {token}", "Transfer-Encoding": "chunked"},
        {"Authorization": "Bearer {token}", "Content-Length": "3"},
        {"Authorization": "Bearer {token}", "Content-Length": "0"},
    ],
    ids=str,
)
@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "DELETE", "PROPFIND"])
def test_whatever_is_not_plain_is_answered_like_by_flask(
    shop: Shop, behind: FlaskClient, tokens: dict[str, Any], method: str, headers: dict[str, str]
) -> None:
    sent = {name: value.format(token=tokens["access_token"]) for name, value in headers.items()}
    answers = [
        client.open("/api/v1/purchases", method=method, headers=sent) for client in (shop.client, behind)
    ]
    assert told(answers[0]) == told(answers[1])


def test_plain_readings_do_not_reach_flask(shop: Shop, tokens: dict[str, Any], seen: list[str]) -> None:
    one = ids(shop, tokens["access_token"])[0]
    assert shop.read(f"/purchases/{one}", tokens["access_token"]).status_code == 200
    assert shop.read("/purchases?limit=3", tokens["access_token"]).status_code == 200
    assert shop.read("/purchases?category=books&limit=1", tokens["access_token"]).status_code == 200
    assert seen == []
    assert shop.read("/grant", tokens["access_token"]).status_code == 200
    assert seen == ["/api/v1/grant"]


def test_a_reading_has_its_own_entry_and_a_refusal_one(shop: Shop, customer: Customer) -> None:
    token = connect(shop, customer)["access_token"]
    one = ids(shop, token)[0]
    before = len(customer.consent.log.read(customer.vault, 100))
    shop.read(f"/purchases/{one}", token)
    shop.read("/profile", token)  # not granted
    shop.read("/purchases/" + "0" * 32, token)
    log = customer.consent.log.read(customer.vault, 100)
    assert [entry.event for entry in log[: len(log) - before]] == ["read", "refused", "read"]


def test_who_may_also_leave_something_is_answered_by_flask_and_counted_once(
    shop: Shop, customer: Customer, seen: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    token = connect(shop, customer, scope="purchases.item:read purchases:write")["access_token"]
    seen.clear()
    counted: list[str] = []
    monkeypatch.setattr(Permits, "reading", lambda _, client_id: counted.append(client_id))
    assert shop.read("/purchases", token).status_code == 200
    assert seen == ["/api/v1/purchases"]
    assert counted == [shop.vendor.client_id]


def test_a_bound_token_reads_directly_once_per_proof(
    shop: Shop, customer: Customer, clock: SettableClock, seen: list[str]
) -> None:
    prover = Prover(clock)
    token = prover.connect(shop, customer)["access_token"]
    seen.clear()
    headers = prover.headers("GET", "/api/v1/purchases", token)
    assert shop.client.get("/api/v1/purchases", headers=headers).status_code == 200
    assert seen == []
    problem(shop.client.get("/api/v1/purchases", headers=headers), 401, "dpop-proof-used")
    assert seen == ["/api/v1/purchases"]


def test_a_new_nonce_comes_with_answers_and_refusals(
    shop: Shop, customer: Customer, behind: FlaskClient, clock: SettableClock, consent: Consent
) -> None:
    prover = Prover(clock)
    token = prover.connect(shop, customer)["access_token"]
    prover.nonce = consent.proofs.nonce
    clock.forward(NONCE_STRETCH)
    for client in (shop.client, behind):
        for path, status in (("/api/v1/purchases", 200), ("/api/v1/purchases/" + "0" * 32, 404)):
            answer = client.get(path, headers=prover.headers("GET", path, token))
            assert (answer.status_code, answer.headers["DPoP-Nonce"]) == (status, consent.proofs.nonce)


def test_our_own_mistakes_are_answered_by_flask(
    app: Flask, shop: Shop, tokens: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise KeyError("ours")

    monkeypatch.setattr(direct_of(app)._gate, "opened", fail)
    app.testing = False
    answer = shop.read("/purchases", tokens["access_token"])
    assert (answer.status_code, answer.content_type) == (500, "application/problem+json")
    assert "ours" not in answer.get_data(as_text=True)


def test_the_rule_is_named_and_not_the_path(app: Flask, shop: Shop, tokens: dict[str, Any]) -> None:
    found: list[Any] = []
    direct = direct_of(app)
    name = direct._named

    def note(environ: dict[str, Any], method: str, rule: str) -> None:
        name(environ, method, rule)
        found.append(environ[SERIES])

    direct._named = note
    one = ids(shop, tokens["access_token"])[0]
    shop.read(f"/purchases/{one}", tokens["access_token"])
    assert [series.rule for series in found] == ["/api/v1/<collection>", "/api/v1/<collection>/<id>"]


@only_sqlite
def test_readings_that_find_the_database_taken_are_all_told_when_to_come_again(
    app: Flask, shop: Shop, customer: Customer, purchases: list[str], engine: SqliteEngine, folder: Path
) -> None:
    token = connect(shop, customer)["access_token"]
    assert shop.read("/purchases", token).status_code == 200
    assert engine._works
    engine._works.raw.execute("PRAGMA busy_timeout=500")
    headers = {"Authorization": f"Bearer {token}"}

    def read(_: int) -> Any:
        return app.test_client().get("/api/v1/purchases", headers=headers)

    with beside(folder) as stranger, ThreadPoolExecutor(9) as pool:
        stranger.execute("BEGIN IMMEDIATE")
        began = time.monotonic()
        answers = list(pool.map(read, range(9)))
        took = time.monotonic() - began
        stranger.execute("ROLLBACK")
    for answer in answers:
        problem(answer, 503, "storage-unavailable")
        assert int(answer.headers["Retry-After"]) > 0
    assert took < 6 * 0.5, "who waited together was told together"
    assert shop.read("/purchases", token).status_code == 200
