"""What vendors' servers ask for is answered before Flask: with the same headers, the same refusals, once."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.api.actors import CALLBACK, FORM, Customer, Shop, connect, refused
from tests.api.oauth.test_assertion import KEY, Signing, public
from tests.conftest import SettableClock
from vrm.api.guards import SECURITY_HEADERS
from vrm.api.oauth.calls import Calls
from vrm.consent.service import Consent
from vrm.observed import series_of
from vrm.vault import compact


@pytest.fixture
def seen(app: Flask, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The addresses of the requests that reached Flask."""
    part: Any = app.wsgi_app
    while not isinstance(part, Calls):
        part = part._app
    inner, found = part._app, list[str]()

    def look(environ: dict[str, Any], start_response: Any) -> Any:
        found.append(environ["PATH_INFO"])
        return inner(environ, start_response)

    monkeypatch.setattr(part, "_app", look)
    return found


@pytest.fixture
def tokens(shop: Shop, customer: Customer) -> dict[str, Any]:
    return connect(shop, customer)


def counts(app: Flask) -> dict[str, int]:
    """How many requests each rule has answered."""
    return {f"{one.method} {one.rule}": sum(one.total().classes) for one in series_of(app)}


def test_tokens_and_questions_about_them_need_nothing_of_flask(
    app: Flask, shop: Shop, tokens: dict[str, Any], seen: list[str]
) -> None:
    before = counts(app)
    fresh = shop.refresh(tokens["refresh_token"]).get_json()
    asked = shop.post("/oauth/introspect", token=fresh["access_token"])
    assert asked.get_json()["active"] is True
    for name, value in SECURITY_HEADERS.items():
        assert asked.headers[name] == value
    assert int(asked.headers["Content-Length"]) == len(asked.data)
    assert shop.revoke(fresh["refresh_token"]).get_json() == {}
    assert seen == []
    counted = {rule for (rule, count) in counts(app).items() if count > before[rule]}
    assert counted == {"POST /oauth/token", "POST /oauth/introspect", "POST /oauth/revoke"}


def test_what_is_refused_is_tried_once(
    customer: Customer, client: FlaskClient, consent: Consent, clock: SettableClock, seen: list[str]
) -> None:
    """An assertion counts once: a second try of the same request would be answered with another refusal."""
    vendor, _ = consent.vendors.add("Signing Books", (CALLBACK,), jwks=compact.dumps(public(KEY)).decode())
    signer = Signing(client, vendor, None)
    signer.clock = clock
    given = connect(signer, customer)
    seen.clear()
    refused(signer.refresh(given["refresh_token"], scope="profile:read"), 400, "invalid_scope")
    assert seen == ["/oauth/token"]
    refused(signer.refresh("vrm_rt_x"), 400, "invalid_grant")
    wrong = Shop(client, vendor, "wrong").refresh(given["refresh_token"])
    refused(wrong, 401, "invalid_client")
    assert wrong.headers["WWW-Authenticate"].startswith("Basic ")


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"method": "GET"}, 405),
        ({"query_string": "token=x"}, 400),
        ({"content_type": "application/json"}, 400),
        ({"data": b"token=" + b"x" * 17_000}, 413),
        ({"headers": {"Host": "elsewhere.example"}}, 400),
        ({"environ_overrides": {"CONTENT_LENGTH": "+7"}}, 400),
    ],
)
def test_what_is_no_form_to_us_is_refused_by_flask(
    client: FlaskClient, seen: list[str], change: dict[str, Any], status: int
) -> None:
    usual: dict[str, Any] = {"method": "POST", "data": b"token=x", "content_type": FORM}
    answer = client.open("/oauth/introspect", **{**usual, **change})
    assert answer.status_code == status
    assert seen == ["/oauth/introspect"]
    assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("path", ["//oauth/token", "///oauth/revoke", "//oauth/introspect", "/oauth//token"])
def test_doubled_slashes_are_no_address_of_ours(shop: Shop, tokens: dict[str, Any], path: str) -> None:
    form = shop.form(grant_type="refresh_token", refresh_token=tokens["refresh_token"], token="x")
    answer = shop.client.open(
        "/", method="POST", data=form, headers=shop.basic, environ_overrides={"PATH_INFO": path}
    )
    refused(answer, 404, "invalid_request")
    assert shop.refresh(tokens["refresh_token"]).status_code == 200


def test_a_good_call_under_another_host_name_is_not_answered(shop: Shop, tokens: dict[str, Any]) -> None:
    headers = {**shop.basic, "Host": "elsewhere.example"}
    form = shop.form(token=tokens["access_token"])
    assert shop.client.post("/oauth/introspect", data=form, headers=shop.basic).status_code == 200
    told = refused(shop.client.post("/oauth/introspect", data=form, headers=headers), 400, "invalid_request")
    assert told["error_description"] == "this vault is not reached under that host name"


@pytest.mark.parametrize("body", [b"\xff\xfe=1", b"", b"&&==&", b"%ff=%00&token"])
def test_a_form_that_is_no_text_has_no_parameters(client: FlaskClient, body: bytes) -> None:
    refused(client.post("/oauth/token", data=body, content_type=FORM), 400, "invalid_request")


def test_our_own_mistake_is_a_server_error_that_tells_nothing(
    app: Flask, shop: Shop, tokens: dict[str, Any], consent: Consent, monkeypatch: pytest.MonkeyPatch
) -> None:
    app.testing = False
    monkeypatch.delattr(type(consent.introspection), "look")
    answer = shop.post("/oauth/introspect", token=tokens["access_token"])
    refused(answer, 500, "server_error")
    assert answer.headers["Cache-Control"] == "no-store"
    assert b"look" not in answer.data
