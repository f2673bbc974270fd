"""Reading over HTTP: the granted rows, and the same silence about everything else."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.api.actors import Customer, Shop, connect, problem
from tests.api.conftest import BOOKS, GIFT
from vrm.consent.scopes import WRITES
from vrm.consent.service import Consent
from vrm.settings import Settings
from vrm.vault.sqlite import SqliteEngine


def titles(answer: Any) -> set[str]:
    assert answer.status_code == 200, answer.get_data(as_text=True)
    return {item["item"]["title"] for item in answer.get_json()["items"]}


def reasons(customer: Customer) -> list[str]:
    """What her log says of refused attempts."""
    return [entry.reason for entry in customer.consent.log.read(customer.vault, 100) if entry.reason]


def events(customer: Customer) -> list[str]:
    return [entry.event for entry in customer.consent.log.read(customer.vault, 100)]


# what a token opens


@pytest.mark.meets(
    "rfc9700-25",
    "oauch-ApiEndpoint/SupportsAuthorizationHeaderTest",
    "oauch-Features/TestUriSupportedTest",
)
def test_a_list_holds_the_granted_rows_and_facets_only(shop: Shop, tokens: dict[str, Any]) -> None:
    answer = shop.read("/purchases", tokens["access_token"])
    assert titles(answer) == set(BOOKS)
    found = answer.get_json()
    assert found["next"] is None
    assert {frozenset(item) for item in found["items"]} == {frozenset({"id", "updated_at", "item"})}


def test_no_sign_of_the_gift_leaves(shop: Shop, tokens: dict[str, Any]) -> None:
    answer = shop.read("/purchases", tokens["access_token"])
    whole = answer.get_data(as_text=True) + str(dict(answer.headers))
    assert GIFT not in whole
    assert "gift" not in whole
    assert "context" not in whole


def test_pages_are_full_and_together_the_whole(shop: Shop, tokens: dict[str, Any]) -> None:
    seen: list[str] = []
    cursor: str | None = None
    sizes = []
    while True:
        path = "/purchases?limit=2" + (f"&cursor={cursor}" if cursor else "")
        found = shop.read(path, tokens["access_token"]).get_json()
        sizes.append(len(found["items"]))
        seen += [item["id"] for item in found["items"]]
        cursor = found["next"]
        if cursor is None:
            break
    assert sizes == [2, 2, 1]
    assert len(seen) == len(set(seen)) == len(BOOKS)


def test_one_record_is_what_the_list_showed(shop: Shop, tokens: dict[str, Any]) -> None:
    first = shop.read("/purchases", tokens["access_token"]).get_json()["items"][0]
    answer = shop.read(f"/purchases/{first['id']}", tokens["access_token"])
    assert answer.get_json() == first
    assert answer.headers["ETag"].startswith('"')
    assert answer.content_type == "application/json"


def test_the_vaults_own_ids_are_not_used(shop: Shop, tokens: dict[str, Any], purchases: list[str]) -> None:
    answer = shop.read("/purchases", tokens["access_token"])
    assert not set(purchases) & {item["id"] for item in answer.get_json()["items"]}
    for own in purchases:
        assert shop.read(f"/purchases/{own}", tokens["access_token"]).status_code == 404


def test_two_vendors_see_different_ids(
    shop: Shop, other_shop: Shop, customer: Customer, tokens: dict[str, Any]
) -> None:
    second = connect(other_shop, customer)
    mine = {item["id"] for item in shop.read("/purchases", tokens["access_token"]).get_json()["items"]}
    theirs = {
        item["id"] for item in other_shop.read("/purchases", second["access_token"]).get_json()["items"]
    }
    assert not mine & theirs


def test_the_told_limits_are_told_and_the_private_ones_are_not(
    shop: Shop, customer: Customer, purchases: list[str]
) -> None:
    from tests.api.actors import handle_of

    code = customer.approve(handle_of(shop.ask()), exclude=frozenset({purchases[0]}))
    given = shop.redeem(code).get_json()
    answer = shop.read("/grant", given["access_token"])
    text = answer.get_data(as_text=True)
    assert answer.get_json()["grant_id"] == given["grant_id"]
    assert "purchases.item" in text
    assert "ProvideProductRecommendations" in text
    assert purchases[0] not in text
    for private in ("exclude", "for_whom", "unsorted", "withheld", "gift"):
        assert private not in text


def test_answers_are_numbers_of_their_own_orders_without_a_reason(
    client: FlaskClient, consent: Consent, customer: Customer
) -> None:
    vendor, secret = consent.vendors.add(
        "Corner Books", ("https://books.example/cb",), sells_as=("books.example",), purpose="CustomerCare"
    )
    shop = Shop(client, vendor, secret)
    given = connect(shop, customer, scope="answers.corrections:read")
    answer = shop.read("/answers/corrections", given["access_token"])
    assert answer.status_code == 200
    assert [sorted(row) for row in answer.get_json()] == [["item", "order", "use_for_taste"]]
    assert answer.get_json()[0]["order"] == "A-5"
    assert answer.get_json()[0]["use_for_taste"] is False
    assert "gift" not in answer.get_data(as_text=True)


# conditional requests


def test_an_unchanged_record_is_not_sent_again_but_logged(
    shop: Shop, customer: Customer, tokens: dict[str, Any]
) -> None:
    path = "/purchases/" + shop.read("/purchases", tokens["access_token"]).get_json()["items"][0]["id"]
    etag = shop.read(path, tokens["access_token"]).headers["ETag"]
    before = len(events(customer))
    answer = shop.read(path, tokens["access_token"], headers={"If-None-Match": etag})
    assert answer.status_code == 304
    assert answer.data == b""
    assert answer.headers["ETag"] == etag
    assert "Content-Type" not in answer.headers
    assert len(events(customer)) == before + 1


@pytest.mark.parametrize(
    ("conditions", "status"),
    [
        ({"If-Match": "{}"}, 200),
        ({"If-Match": '"another", {}'}, 200),
        ({"If-Match": "*"}, 200),
        ({"If-Match": "*", "If-None-Match": '"another"'}, 200),
        ({"If-Match": "*", "If-None-Match": "{}"}, 304),
        ({"If-Match": "{}", "If-None-Match": "*"}, 304),
        ({"If-None-Match": "W/{}"}, 304),
        ({"If-None-Match": '"another", {}'}, 304),
        ({"If-Match": '"another"'}, 412),
        ({"If-Match": "W/{}"}, 412),
        ({"If-Match": '"another"', "If-None-Match": "{}"}, 412),
    ],
)
def test_conditions_are_judged_in_their_order(
    shop: Shop, tokens: dict[str, Any], conditions: dict[str, str], status: int
) -> None:
    path = "/purchases/" + shop.read("/purchases", tokens["access_token"]).get_json()["items"][0]["id"]
    etag = shop.read(path, tokens["access_token"]).headers["ETag"]
    headers = {name: value.format(etag) for name, value in conditions.items()}
    answer = shop.read(path, tokens["access_token"], headers=headers)
    if status == 412:
        problem(answer, 412, "precondition-failed")
    else:
        assert (answer.status_code, answer.headers["ETag"]) == (status, etag)
        assert bool(answer.data) == (status == 200)


def test_another_etag_gets_the_record(shop: Shop, tokens: dict[str, Any]) -> None:
    path = "/purchases/" + shop.read("/purchases", tokens["access_token"]).get_json()["items"][0]["id"]
    answer = shop.read(path, tokens["access_token"], headers={"If-None-Match": '"another"'})
    assert answer.status_code == 200
    assert answer.get_json()["item"]


def test_a_malformed_etag_gets_the_record(shop: Shop, tokens: dict[str, Any]) -> None:
    path = "/purchases/" + shop.read("/purchases", tokens["access_token"]).get_json()["items"][0]["id"]
    answer = shop.read(path, tokens["access_token"], headers={"If-None-Match": "abc, é"})
    assert answer.status_code == 200


@pytest.mark.parametrize("path", ["/api/v1/purchases", "/oauth/token", "/oauth/par", "/openapi.json"])
def test_what_has_no_body_says_no_type(client: FlaskClient, path: str) -> None:
    answer = client.options(path)
    assert answer.data == b""
    assert "Content-Type" not in answer.headers
    assert answer.headers["Allow"]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_head_answers_without_a_body(shop: Shop, tokens: dict[str, Any]) -> None:
    headers = {"Authorization": f"Bearer {tokens['access_token']}"}
    answer = shop.client.head("/api/v1/purchases", headers=headers)
    assert (answer.status_code, answer.content_type) == (200, "application/json")
    assert answer.data == b""
    assert shop.client.head("/api/v1/purchases").status_code == 401


def test_options_says_what_is_allowed_and_nothing_of_other_origins(client: FlaskClient) -> None:
    answer = client.options("/api/v1/purchases", headers={"Origin": "https://evil.example"})
    assert answer.status_code == 200
    assert set(answer.headers["Allow"].split(", ")) == {"GET", "HEAD", "OPTIONS", "POST"}
    assert answer.data == b""
    assert "Access-Control-Allow-Origin" not in answer.headers


def test_answers_are_kept_out_of_caches_and_frames(shop: Shop, tokens: dict[str, Any]) -> None:
    for path in ("/purchases", "/grant", "/nothing"):
        headers = shop.read(path, tokens["access_token"]).headers
        assert headers["Cache-Control"] == "no-store"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["X-Frame-Options"] == "DENY"
        assert "Set-Cookie" not in headers
        assert "Access-Control-Allow-Origin" not in headers


# who may not


PATHS = ["/grant", "/purchases", "/purchases/abc", "/preferences", "/answers/corrections", "/nothing"]


@pytest.mark.parametrize("path", PATHS)
def test_nothing_is_read_without_a_token(client: FlaskClient, settings: Settings, path: str) -> None:
    answer = client.get("/api/v1" + path)
    problem(answer, 401, "token-invalid")
    assert answer.headers["WWW-Authenticate"] == (
        f'Bearer realm="vrm", resource_metadata="{settings.issuer}/.well-known/oauth-protected-resource"'
    )


@pytest.mark.meets("oauch-Jwt/AcceptsNoneSignatureTest")
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("token", ["abc", "vrm_at_", "vrm_at_" + "A" * 60, "vrm_rt_" + "A" * 60, "a" * 5000])
def test_nothing_is_read_with_what_is_no_token(shop: Shop, path: str, token: str) -> None:
    answer = shop.read(path, token)
    problem(answer, 401, "token-invalid")
    assert 'error="invalid_token"' in answer.headers["WWW-Authenticate"]
    assert "resource_metadata=" in answer.headers["WWW-Authenticate"]


def test_a_refresh_token_reads_nothing(shop: Shop, tokens: dict[str, Any]) -> None:
    problem(shop.read("/purchases", tokens["refresh_token"]), 401, "token-invalid")


def test_a_changed_character_reads_nothing(shop: Shop, tokens: dict[str, Any]) -> None:
    token = tokens["access_token"]
    changed = token[:-1] + ("A" if token[-1] != "A" else "B")
    problem(shop.read("/purchases", changed), 401, "token-invalid")


@pytest.mark.parametrize("scheme", ["Basic", "MAC", "Token"])
def test_another_scheme_reads_nothing(shop: Shop, tokens: dict[str, Any], scheme: str) -> None:
    headers = {"Authorization": f"{scheme} {tokens['access_token']}"}
    problem(shop.client.get("/api/v1/purchases", headers=headers), 401, "token-invalid")


def test_two_tokens_at_once_read_nothing(shop: Shop, tokens: dict[str, Any]) -> None:
    value = f"Bearer {tokens['access_token']}, Bearer {tokens['access_token']}"
    answer = shop.client.get("/api/v1/purchases", headers={"Authorization": value})
    problem(answer, 401, "token-invalid")


@pytest.mark.meets(
    "oauch-ApiEndpoint/TokenAsQueryParameterDisabledTest",
    "oauch-Features/TokenAsQueryParameterTest",
)
def test_a_token_in_the_address_reads_nothing(shop: Shop, tokens: dict[str, Any]) -> None:
    answer = shop.client.get("/api/v1/purchases?access_token=" + tokens["access_token"])
    problem(answer, 400, "invalid-parameter")
    assert 'error="invalid_request"' in answer.headers["WWW-Authenticate"]
    beside = shop.read("/purchases?access_token=" + tokens["access_token"], tokens["access_token"])
    problem(beside, 400, "invalid-parameter")


def test_a_token_in_a_form_reads_nothing(shop: Shop, tokens: dict[str, Any]) -> None:
    form = {"access_token": tokens["access_token"]}
    problem(shop.client.get("/api/v1/purchases", data=form), 400, "invalid-parameter")
    problem(shop.client.post("/api/v1/purchases", data=form), 401, "token-invalid")


def test_an_expired_token_reads_nothing(shop: Shop, tokens: dict[str, Any], clock: Any) -> None:
    clock.forward(901)
    problem(shop.read("/purchases", tokens["access_token"]), 401, "token-invalid")


def test_a_revoked_grant_is_closed_at_the_very_next_request(
    shop: Shop, customer: Customer, tokens: dict[str, Any]
) -> None:
    assert shop.read("/purchases", tokens["access_token"]).status_code == 200
    customer.consent.grants.revoke(customer.vault, tokens["grant_id"])
    answer = shop.read("/purchases", tokens["access_token"])
    assert answer.status_code == 401
    assert not any(title in answer.get_data(as_text=True) for title in BOOKS)
    for path in PATHS:
        assert shop.read(path, tokens["access_token"]).status_code == 401


# what is not granted


@pytest.mark.meets("rfc9700-25")
@pytest.mark.parametrize(
    ("path", "scope"),
    [
        ("/preferences", "preferences:read"),
        ("/profile", "profile:read"),
        ("/preferences/abc", "preferences:read"),
        ("/answers/corrections", "answers.corrections:read"),
    ],
)
def test_another_collection_is_refused_and_she_sees_the_attempt(
    shop: Shop, customer: Customer, tokens: dict[str, Any], path: str, scope: str
) -> None:
    answer = shop.read(path, tokens["access_token"])
    problem(answer, 403, "insufficient-scope")
    challenge = answer.headers["WWW-Authenticate"]
    assert 'error="insufficient_scope"' in challenge
    assert f'scope="{scope}"' in challenge
    assert "not granted" in reasons(customer)


def test_absent_filtered_and_malformed_ids_are_one_404(
    shop: Shop, other_shop: Shop, customer: Customer, tokens: dict[str, Any], purchases: list[str]
) -> None:
    second = connect(other_shop, customer)
    foreign = other_shop.read("/purchases", second["access_token"]).get_json()["items"][0]["id"]
    answers = [
        shop.read(f"/purchases/{id}", tokens["access_token"])
        for id in ("0" * 32, purchases[-1], purchases[0], foreign, "x", "%00", "é", "a" * 500)
    ]
    for answer in answers:
        problem(answer, 404, "not-in-view")
    assert len({answer.data for answer in answers}) == 1
    assert len({str(sorted(answer.headers.items())) for answer in answers}) == 1


def test_a_row_taken_out_is_the_same_404(shop: Shop, customer: Customer, purchases: list[str]) -> None:
    given = connect(shop, customer)
    items = shop.read("/purchases", given["access_token"]).get_json()["items"]
    absent = shop.read("/purchases/" + "0" * 32, given["access_token"])
    customer.consent.grants.narrow(customer.vault, given["grant_id"], exclude=frozenset({purchases[0]}))
    left = shop.read("/purchases", given["access_token"]).get_json()["items"]
    (gone,) = {item["id"] for item in items} - {item["id"] for item in left}
    answer = shop.read(f"/purchases/{gone}", given["access_token"])
    assert answer.status_code == 404
    assert answer.data == absent.data


@pytest.mark.parametrize("path", ["/nothing", "/nothing/abc", "/answers/nothing", "/answers", "/changes"])
def test_what_is_not_built_does_not_exist(shop: Shop, tokens: dict[str, Any], path: str) -> None:
    problem(shop.read(path, tokens["access_token"]), 404, "not-in-view")


@pytest.mark.parametrize("path", ["/", "", "/purchases/", "/purchases/a/b", "//purchases"])
def test_other_addresses_are_problems_too(shop: Shop, tokens: dict[str, Any], path: str) -> None:
    problem(shop.read(path, tokens["access_token"]), 404, "no-such-path")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        *((method, "/answers/corrections") for method in ("post", "patch")),
        *((method, "/purchases") for method in ("put", "patch", "delete")),
        *((method, "/purchases/abc") for method in ("post", "patch")),
        ("patch", "/grant"),
    ],
)
def test_nothing_else_can_be_written(shop: Shop, tokens: dict[str, Any], method: str, path: str) -> None:
    headers = {"Authorization": f"Bearer {tokens['access_token']}"}
    answer = getattr(shop.client, method)("/api/v1" + path, headers=headers, json={})
    problem(answer, 405, "method-not-allowed")
    assert "GET" in answer.headers["Allow"]


@pytest.mark.parametrize("collection", ["purchases", "inbox", "profile", "grant"])
def test_who_may_only_read_writes_nothing(shop: Shop, tokens: dict[str, Any], collection: str) -> None:
    headers = {"Authorization": f"Bearer {tokens['access_token']}", "Idempotency-Key": "one"}
    answer = shop.client.post(f"/api/v1/{collection}", headers=headers, json={"item": {"title": "x"}})
    assert answer.status_code == (403 if collection in WRITES else 405)
    assert answer.content_type == "application/problem+json"


# parameters


@pytest.mark.parametrize(
    "name", ["seller", "ordered_from", "ordered_to", "for", "context", "gift", "offset", "x"]
)
def test_unknown_parameters_are_one_400_whatever_they_name(
    shop: Shop, tokens: dict[str, Any], name: str
) -> None:
    answer = shop.read(f"/purchases?{name}=books", tokens["access_token"])
    problem(answer, 400, "invalid-parameter")
    assert answer.data == shop.read("/purchases?anything=1", tokens["access_token"]).data


@pytest.mark.parametrize("path", ["/grant?limit=1", "/purchases/abc?limit=1", "/answers/corrections?x=1"])
def test_addresses_without_parameters_take_none(shop: Shop, tokens: dict[str, Any], path: str) -> None:
    problem(shop.read(path, tokens["access_token"]), 400, "invalid-parameter")


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("limit=0", "limit"),
        ("limit=501", "limit"),
        ("limit=1&limit=2", "limit"),
        ("updated_since=now", "updated_since"),
    ],
)
def test_a_wrong_parameter_names_field_and_reason(
    shop: Shop, tokens: dict[str, Any], query: str, name: str
) -> None:
    found = problem(shop.read("/purchases?" + query, tokens["access_token"]), 400, "invalid-parameter")
    assert list(found["errors"]) == [name]


@pytest.mark.parametrize("cursor", ["abc", "AAAA", "A" * 200, "a b", ""])
def test_a_cursor_that_is_not_ours_is_refused(shop: Shop, tokens: dict[str, Any], cursor: str) -> None:
    answer = shop.client.get(
        "/api/v1/purchases",
        query_string={"cursor": cursor},
        headers={"Authorization": f"Bearer {tokens['access_token']}"},
    )
    problem(answer, 400, "invalid-parameter")


def test_another_vendors_cursor_is_refused(
    shop: Shop, other_shop: Shop, customer: Customer, tokens: dict[str, Any]
) -> None:
    second = connect(other_shop, customer)
    cursor = other_shop.read("/purchases?limit=1", second["access_token"]).get_json()["next"]
    problem(shop.read(f"/purchases?cursor={cursor}", tokens["access_token"]), 400, "invalid-parameter")


def test_only_what_changed_since_is_listed(
    shop: Shop, customer: Customer, tokens: dict[str, Any], clock: Any
) -> None:
    from vrm.clock import rfc3339

    clock.forward(10)
    since = rfc3339(clock.now())
    assert titles(shop.read(f"/purchases?updated_since={since}", tokens["access_token"])) == set()
    new = customer.vault.records("purchases").put(
        {"item": {"title": "Orlando"}, "order": {"ordered": "2026-11-01"}, "context": {"for": "self"}}
    )
    customer.consent.arrivals.admit(customer.vault, tokens["grant_id"], frozenset({new}))
    assert titles(shop.read(f"/purchases?updated_since={since}", tokens["access_token"])) == {"Orlando"}


# the log is the condition


def test_every_reading_is_in_her_log(shop: Shop, customer: Customer, tokens: dict[str, Any]) -> None:
    before = len(events(customer))
    shop.read("/purchases", tokens["access_token"])
    shop.read("/grant", tokens["access_token"])
    assert len(events(customer)) >= before + 1


def test_nothing_leaves_when_the_log_cannot_be_written(
    shop: Shop, tokens: dict[str, Any], engine: SqliteEngine
) -> None:
    path = "/purchases/" + shop.read("/purchases", tokens["access_token"]).get_json()["items"][0]["id"]
    with engine.write() as transaction:
        transaction.execute("DROP TABLE log_entries")
    for known in ("/purchases", path):
        answer = shop.read(known, tokens["access_token"])
        assert not any(title in answer.get_data(as_text=True) for title in BOOKS)
        problem(answer, 503, "storage-unavailable")
        assert answer.headers["Retry-After"]
        assert "log_entries" not in answer.get_data(as_text=True)
