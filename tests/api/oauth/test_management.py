"""Grant Management for OAuth 2.0 over HTTP: look it up, give it back, ask to change it; and who may not."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.api.actors import Customer, Shop, connect, handle_of, query_of, refused, sent_back
from tests.api.proving import Prover
from tests.conftest import SettableClock
from vrm.clock import rfc3339
from vrm.consent.service import Consent
from vrm.errors import GrantInactiveError
from vrm.vault.sqlite import SqliteEngine

HERE = "http://127.0.0.1:8600"
BOTH = "purchases.item:read grant_management_query grant_management_revoke"


def get(shop: Shop, tokens: dict[str, Any], grant_id: str | None = None):
    path = f"/oauth/grants/{grant_id or tokens['grant_id']}"
    return shop.client.get(path, headers={"Authorization": f"Bearer {tokens['access_token']}"})


def give_back(shop: Shop, tokens: dict[str, Any], grant_id: str | None = None):
    path = f"/oauth/grants/{grant_id or tokens['grant_id']}"
    return shop.client.delete(path, headers={"Authorization": f"Bearer {tokens['access_token']}"})


@pytest.fixture
def managed(shop: Shop, customer: Customer) -> dict[str, Any]:
    """A grant whose tokens may manage it."""
    return connect(shop, customer, scope=BOTH)


def test_a_vendor_looks_up_what_was_agreed(
    shop: Shop, managed: dict[str, Any], customer: Customer, clock: SettableClock
) -> None:
    assert set(managed["scope"].split()) == set(BOTH.split())
    began = clock.now()
    clock.forward(60)
    answer = get(shop, managed)
    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.get_json() == {
        "scopes": [
            {"scope": "purchases.item:read", "resource": [HERE]},
            {"scope": "grant_management_query grant_management_revoke", "resource": [HERE]},
        ],
        "claims": [],
        "authorization_details": managed["authorization_details"],
        "created_at": rfc3339(began),
        "last_updated_at": rfc3339(began),
        "expires_at": rfc3339(began + 90 * 86_400),
        "updated_by": "client",
    }


def test_who_changed_it_last_is_told_and_of_what_only_she_knows_nothing(
    shop: Shop, managed: dict[str, Any], customer: Customer, clock: SettableClock, purchases: list[str]
) -> None:
    clock.forward(60)
    customer.consent.grants.narrow(customer.vault, managed["grant_id"], exclude=frozenset(purchases[:2]))
    told = get(shop, managed).get_json()
    assert (told["last_updated_at"], told["updated_by"]) == (told["created_at"], "client")
    customer.consent.grants.narrow(customer.vault, managed["grant_id"], days=9)
    told = get(shop, managed).get_json()
    assert (told["last_updated_at"], told["updated_by"]) == (rfc3339(clock.now()), "authorization_server")


def test_management_scopes_open_no_row(shop: Shop, customer: Customer, managed: dict[str, Any]) -> None:
    less = shop.refresh(managed["refresh_token"], scope="grant_management_query").get_json()
    assert less["scope"] == "grant_management_query"
    assert get(shop, less).status_code == 200
    assert shop.read("/purchases", less["access_token"]).status_code == 403
    grant = shop.read("/grant", managed["access_token"]).get_json()
    assert set(grant["scope"].split()) == set(BOTH.split())


def test_a_vendor_gives_its_grant_back_and_she_sees_it(
    shop: Shop, managed: dict[str, Any], customer: Customer
) -> None:
    answer = give_back(shop, managed)
    assert (answer.status_code, answer.get_data()) == (204, b"")
    assert "Content-Type" not in answer.headers
    assert shop.read("/purchases", managed["access_token"]).status_code == 401
    refused(shop.refresh(managed["refresh_token"]), 400, "invalid_grant")
    assert customer.consent.grants.get(customer.vault, managed["grant_id"]).state == "revoked"
    [first] = customer.consent.log.read(customer.vault, 50)[-1:]
    events = [entry.event for entry in customer.consent.log.read(customer.vault, 50)]
    assert "given-back" in events
    assert first.event == "granted"
    refused(give_back(shop, managed), 401, "invalid_token")


# --- who may not


def test_without_a_good_token_nothing_is_said(
    shop: Shop, managed: dict[str, Any], client: FlaskClient
) -> None:
    path = f"/oauth/grants/{managed['grant_id']}"
    none = client.get(path)
    assert (none.status_code, none.get_json()) == (401, {})
    assert 'error="' not in none.headers["WWW-Authenticate"]
    bad = client.get(path, headers={"Authorization": "Bearer vrm_at_x"})
    refused(bad, 401, "invalid_token")
    assert 'error="invalid_token"' in bad.headers["WWW-Authenticate"]
    refused(client.get(path, headers=shop.basic), 401, "invalid_token")
    token = managed["access_token"]
    refused(client.get(f"{path}?access_token={token}"), 400, "invalid_request")
    headers = {"Authorization": f"Bearer {token}"}
    refused(client.get(path, headers=headers, data="x"), 400, "invalid_request")
    for send in (client.get, client.delete):
        refused(send(f"{path}?x=1", headers=headers), 400, "invalid_request")
    assert client.get(path, headers=headers).status_code == 200


@pytest.mark.parametrize(
    ("scope", "method"), [("grant_management_query", "DELETE"), ("grant_management_revoke", "GET")]
)
def test_each_act_has_its_own_scope(shop: Shop, customer: Customer, scope: str, method: str) -> None:
    tokens = connect(shop, customer, scope=f"purchases.item:read {scope}")
    answer = give_back(shop, tokens) if method == "DELETE" else get(shop, tokens)
    refused(answer, 403, "insufficient_scope")
    other = ({"grant_management_query", "grant_management_revoke"} - {scope}).pop()
    assert f'scope="{other}"' in answer.headers["WWW-Authenticate"]
    assert customer.consent.log.read(customer.vault, 1)[0].event == "refused"
    assert shop.read("/purchases", tokens["access_token"]).status_code == 200


def test_another_grant_is_not_its_own_and_an_unknown_one_is_unknown(
    shop: Shop, other_shop: Shop, managed: dict[str, Any], customer: Customer
) -> None:
    theirs = connect(other_shop, customer, scope=BOTH)
    mine_too = connect(shop, customer, scope=BOTH)
    for other in (theirs, mine_too):
        refused(get(shop, managed, other["grant_id"]), 403, "access_denied")
        refused(give_back(shop, managed, other["grant_id"]), 403, "access_denied")
        assert shop.read("/purchases", other["access_token"]).status_code == 200
    for unknown in ("x" * 22, "%00", "a'b", customer.vault.id):
        refused(get(shop, managed, unknown), 404, "invalid_grant_id")
        refused(give_back(shop, managed, unknown), 404, "invalid_grant_id")


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
def test_other_methods_are_refused(shop: Shop, managed: dict[str, Any], method: str) -> None:
    answer = shop.client.open(
        f"/oauth/grants/{managed['grant_id']}",
        method=method,
        headers={"Authorization": f"Bearer {managed['access_token']}"},
    )
    refused(answer, 405, "invalid_request")
    assert {"GET", "DELETE"} <= set(answer.headers["Allow"].split(", "))


def test_there_is_no_list_of_grants(shop: Shop, managed: dict[str, Any]) -> None:
    headers = {"Authorization": f"Bearer {managed['access_token']}"}
    for path in ("/oauth/grants", "/oauth/grants/"):
        assert shop.client.get(path, headers=headers).status_code == 404


def test_a_public_vendor_manages_nothing(app_shop: Shop, tokens: dict[str, Any]) -> None:
    uri = app_shop.redirect_uri
    sent_back(app_shop.ask(scope=BOTH), "invalid_scope", uri)
    change = {"grant_management_action": "replace", "grant_id": tokens["grant_id"]}
    sent_back(app_shop.ask(**change), "unauthorized_client", uri)
    assert app_shop.ask(grant_management_action="create").status_code == 303


def test_management_alone_is_nothing_to_agree_to(shop: Shop) -> None:
    sent_back(shop.ask(scope="grant_management_query"), "invalid_scope")


def test_management_beside_details(shop: Shop, customer: Customer) -> None:
    details = (
        '[{"type":"vrm_access","datatypes":["purchases.price"],"purpose":"ProvideProductRecommendations"}]'
    )
    tokens = connect(shop, customer, scope="grant_management_query", authorization_details=details)
    assert tokens["scope"] == "purchases.price:read grant_management_query"


def test_of_two_at_once_one_gave_it_back(
    shop: Shop, managed: dict[str, Any], customer: Customer, consent: Consent, monkeypatch: pytest.MonkeyPatch
) -> None:
    access = consent.reader.authenticate(managed["access_token"])
    told = consent.managing.look(access, managed["grant_id"], "grant_management_revoke")
    assert give_back(shop, managed).status_code == 204
    monkeypatch.setattr(consent.managing, "_own", lambda *_: told)  # who had looked just before
    with pytest.raises(GrantInactiveError):
        consent.managing.give_back(access, managed["grant_id"], "grant_management_revoke")


def test_a_bound_token_gives_its_grant_back_by_its_key_once(
    shop: Shop, customer: Customer, clock: SettableClock
) -> None:
    prover = Prover(clock)
    first, second = (prover.connect(shop, customer, scope=BOTH) for _ in range(2))
    path = f"/oauth/grants/{first['grant_id']}"
    refused(give_back(shop, first), 401, "invalid_token")
    looked = prover.headers("GET", path, first["access_token"])
    refused(shop.client.delete(path, headers=looked), 401, "invalid_dpop_proof")
    theirs = prover.headers("DELETE", path, second["access_token"])
    refused(shop.client.delete(path, headers=theirs), 403, "access_denied")
    headers = prover.headers("DELETE", path, first["access_token"])
    assert shop.client.delete(path, headers=headers).status_code == 204
    assert customer.consent.grants.get(customer.vault, first["grant_id"]).state == "revoked"


# --- asking to change it


@pytest.mark.parametrize("action", ["replace", "merge", "update"])
def test_a_vendor_asks_to_change_its_grant(
    shop: Shop, managed: dict[str, Any], customer: Customer, clock: SettableClock, action: str
) -> None:
    clock.forward(60)
    asked = shop.ask(
        grant_management_action=action,
        grant_id=managed["grant_id"],
        scope="purchases.price:read grant_management_query",
    )
    answer = shop.redeem(customer.approve(handle_of(asked))).get_json()
    assert answer["grant_id"] == managed["grant_id"]
    replaced = {"purchases.price:read", "grant_management_query"}
    assert set(answer["scope"].split()) == (replaced if action == "replace" else replaced | set(BOTH.split()))
    told = get(shop, answer).get_json()
    assert told["last_updated_at"] == rfc3339(clock.now())
    assert told["created_at"] == rfc3339(clock.now() - 60)
    refused(get(shop, managed), 401, "invalid_token")


def test_places_are_merged_too(
    shop: Shop, managed: dict[str, Any], customer: Customer, consent: Consent
) -> None:
    shelf = "https://shelf.example"
    consent.vendors.add("Shelf Service", resource_server=True, resource=shelf)
    change = {"grant_management_action": "merge", "grant_id": managed["grant_id"]}
    more = connect(shop, customer, scope="purchases.item:read", resource=shelf, **change)
    told = get(shop, more).get_json()
    assert told["scopes"][0]["resource"] == [HERE, shelf]
    same = connect(shop, customer, scope="purchases.item:read", resource=HERE, **change)
    assert get(shop, same).get_json()["scopes"][0]["resource"] == [HERE, shelf]
    plain = connect(shop, customer, scope=BOTH, **{**change, "grant_management_action": "replace"})
    assert get(shop, plain).get_json()["scopes"][0]["resource"] == [HERE]


@pytest.mark.parametrize(
    ("asked", "error"),
    [
        ({"grant_id": "x" * 22}, "invalid_request"),
        ({"grant_management_action": "replace"}, "invalid_request"),
        ({"grant_management_action": "merge"}, "invalid_request"),
        ({"grant_management_action": "create", "grant_id": "x" * 22}, "invalid_request"),
        ({"grant_management_action": "query", "grant_id": "x" * 22}, "invalid_request"),
        ({"grant_management_action": "replace", "grant_id": "x" * 22}, "invalid_grant_id"),
        ({"grant_management_action": "merge", "grant_id": "no id"}, "invalid_grant_id"),
    ],
)
def test_what_names_no_grant_of_its_own_is_refused(shop: Shop, asked: dict[str, str], error: str) -> None:
    sent_back(shop.ask(**asked), error)


def test_an_unknown_a_foreign_and_an_ended_grant_look_alike(
    shop: Shop, other_shop: Shop, tokens: dict[str, Any], customer: Customer
) -> None:
    theirs = connect(other_shop, customer)
    ended = connect(shop, customer)
    customer.consent.grants.revoke(customer.vault, ended["grant_id"])
    heard = []
    for grant_id in ("x" * 22, theirs["grant_id"], ended["grant_id"]):
        answer = shop.ask(grant_management_action="replace", grant_id=grant_id)
        sent_back(answer, "invalid_grant_id")
        heard.append(query_of(answer))
    assert heard[0] == heard[1] == heard[2]


def test_a_request_by_a_grant_that_is_not_hers_can_only_be_declined(
    shop: Shop, tokens: dict[str, Any], engine: SqliteEngine
) -> None:
    answer = shop.ask(grant_management_action="replace", grant_id=tokens["grant_id"])
    assert answer.status_code == 303  # whose vault it is, the vendor does not learn here
