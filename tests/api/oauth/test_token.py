"""`/oauth/token`: a code becomes one token set for whom it was meant, and nothing else becomes one."""

from __future__ import annotations

import errno
import logging
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.api.actors import CALLBACK, Customer, Shop, connect, handle_of, refused
from vrm.api.oauth.parameters import FORM, MAX_REQUEST
from vrm.api.oauth.profile import PROFILES
from vrm.api.oauth.server import OAuthServer
from vrm.consent.service import Consent
from vrm.settings import Settings
from vrm.vault import sqlitelink
from vrm.vault.sqlite import SqliteEngine


@pytest.fixture
def code(shop: Shop, customer: Customer) -> str:
    return customer.approve(handle_of(shop.ask()))


# what is given


def test_a_code_becomes_a_token_set(shop: Shop, code: str, settings: Settings) -> None:
    answer = shop.redeem(code)
    assert answer.status_code == 200
    found = answer.get_json()
    assert found["token_type"] == "Bearer"
    assert 0 < found["expires_in"] <= settings.access_life
    assert found["scope"] == "purchases.item:read"
    assert [part["datatypes"] for part in found["authorization_details"]] == [["purchases.item"]]
    assert found["access_token"].startswith("vrm_at_")
    assert found["refresh_token"].startswith("vrm_rt_")
    assert found["grant_id"]


@pytest.mark.meets("oauch-TokenEndpoint/HasCacheControlHeaderTest", "oauch-TokenEndpoint/HasPragmaHeaderTest")
def test_no_cache_keeps_a_token(shop: Shop, code: str) -> None:
    answer = shop.redeem(code)
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Pragma"] == "no-cache"
    assert answer.content_type == "application/json"
    assert "Set-Cookie" not in answer.headers


def test_a_public_vendor_names_itself(app_shop: Shop, customer: Customer) -> None:
    assert connect(app_shop, customer)["access_token"]


def test_a_public_vendor_on_another_port_redeems_with_that_port(app_shop: Shop, customer: Customer) -> None:
    uri = "http://127.0.0.1:51004/cb"
    code = customer.approve(handle_of(app_shop.ask(redirect_uri=uri)))
    refused(app_shop.redeem(code), 400, "invalid_grant")
    code = customer.approve(handle_of(app_shop.ask(redirect_uri=uri)))
    assert app_shop.redeem(code, redirect_uri=uri).status_code == 200


@pytest.mark.meets("oauch-TokenEndpoint/UnrecognizedParameterAllowedTest")
def test_unknown_parameters_are_ignored(shop: Shop, code: str) -> None:
    assert shop.redeem(code, anything="x", acr_values="1").status_code == 200


def test_the_client_id_may_stand_in_the_form_as_well(shop: Shop, code: str) -> None:
    assert shop.redeem(code, client_id=shop.vendor.client_id).status_code == 200


# codes


@pytest.mark.meets(
    "rfc9700-42",
    "fapi2-attempt-reuse-authorization-code-after-one-second",
    "oauch-TokenEndpoint/MultipleCodeExchangesTest",
)
def test_a_code_is_good_once(shop: Shop, code: str) -> None:
    shop.redeem(code)
    refused(shop.redeem(code), 400, "invalid_grant")


@pytest.mark.meets(
    "rfc9700-43",
    "fapi2-attempt-reuse-authorization-code-after-one-second",
    "oauch-TokenEndpoint/RefreshTokenValidAfterMultiExchangeTest",
    "oauch-TokenEndpoint/TokenValidAfterMultiExchangeTest",
)
def test_a_code_used_twice_ends_the_tokens_it_gave(shop: Shop, code: str) -> None:
    given = shop.redeem(code).get_json()
    shop.redeem(code)
    assert shop.read("/purchases", given["access_token"]).status_code == 401
    refused(shop.refresh(given["refresh_token"]), 400, "invalid_grant")


@pytest.mark.meets(
    "fapi2-ensure-token-endpoint-fails-with-expired-auth-code",
    "oauch-TokenEndpoint/AuthorizationCodeTimeoutTest",
)
def test_a_code_ends_after_a_minute(shop: Shop, code: str, clock: Any) -> None:
    clock.forward(61)
    refused(shop.redeem(code), 400, "invalid_grant")


@pytest.mark.meets(
    "fapi2-ensure-authorization-code-is-bound-to-client",
    "oauch-TokenEndpoint/IsCodeBoundToClientTest",
)
def test_a_code_of_another_vendor_is_refused(other_shop: Shop, shop: Shop, code: str) -> None:
    other_shop.verifier = shop.verifier
    refused(other_shop.redeem(code), 400, "invalid_grant")


@pytest.mark.meets("oauch-TokenEndpoint/RedirectUriCheckedTest")
@pytest.mark.parametrize("uri", [CALLBACK + "/", "https://evil.example/cb", CALLBACK.upper()])
def test_a_code_with_another_redirect_address_is_refused(shop: Shop, code: str, uri: str) -> None:
    refused(shop.redeem(code, redirect_uri=uri), 400, "invalid_grant")


@pytest.mark.meets("rfc9700-14", "fapi2-incorrect-pkce-code-verifier-rejected")
def test_a_wrong_verifier_is_refused(shop: Shop, code: str) -> None:
    refused(shop.redeem(code, code_verifier="a" * 43), 400, "invalid_grant")


@pytest.mark.meets("oauch-Pkce/IsPkcePlainDowngradeDetectedTest")
def test_the_challenge_is_no_verifier(shop: Shop, code: str) -> None:
    refused(shop.redeem(code, code_verifier=shop.challenge), 400, "invalid_grant")


@pytest.mark.meets(
    "rfc9700-14",
    "rfc9700-62",
    "fapi2-ensure-pkce-code-verifier-required",
    "oauch-Pkce/IsPkceTokenDowngradeDetectedTest",
    "oauch-Pkce/ShortVerifierTest",
)
@pytest.mark.parametrize(
    "verifier", [None, "", "a" * 42, "a" * 129, "a" * 42 + "!", "é" * 43, "a" * 43 + "\n"]
)
def test_a_missing_or_malformed_verifier_is_refused(shop: Shop, code: str, verifier: str | None) -> None:
    refused(shop.redeem(code, code_verifier=verifier), 400, "invalid_request")


def test_a_malformed_request_does_not_spend_the_code(shop: Shop, code: str) -> None:
    shop.redeem(code, code_verifier=None)
    shop.redeem(code, redirect_uri=None)
    assert shop.redeem(code).status_code == 200


@pytest.mark.parametrize("name", ["code", "redirect_uri", "grant_type"])
def test_a_missing_parameter_is_refused(shop: Shop, code: str, name: str) -> None:
    refused(shop.redeem(code, **{name: None}), 400, "invalid_request")


@pytest.mark.parametrize("text", ["nonsense", "vrm_ac_", "vrm_ac_" + "A" * 60, "é", "\x00", "a" * 4000])
def test_what_is_no_code_is_refused(shop: Shop, customer: Customer, text: str) -> None:
    refused(shop.redeem(text), 400, "invalid_grant")


def test_a_code_is_no_access_token_and_no_refresh_token(shop: Shop, code: str) -> None:
    assert shop.read("/purchases", code).status_code == 401
    refused(shop.refresh(code), 400, "invalid_grant")


@pytest.mark.parametrize(
    "scope", [" ", "\t", " purchases.item:read", "purchases.item:read  ", "purchases.item:read\tprofile:read"]
)
def test_a_scope_that_is_no_list_of_tokens_refreshes_nothing(
    shop: Shop, tokens: dict[str, Any], scope: str
) -> None:
    refused(shop.refresh(tokens["refresh_token"], scope=scope), 400, "invalid_scope")
    assert shop.refresh(tokens["refresh_token"], scope=tokens["scope"]).status_code == 200


def test_a_declined_request_gives_no_code(shop: Shop, customer: Customer) -> None:
    handle = handle_of(shop.ask())
    assert customer.consent.requests.decline(customer.vault, handle).code is None


# grant types


@pytest.mark.meets("rfc9700-26")
@pytest.mark.parametrize(
    "grant_type",
    [
        "password",
        "client_credentials",
        "implicit",
        "urn:ietf:params:oauth:grant-type:jwt-bearer",
        'x"\\é',
    ],
)
def test_other_grant_types_do_not_exist(shop: Shop, code: str, grant_type: str) -> None:
    refused(
        shop.redeem(code, grant_type=grant_type, username="alice", password="x"),
        400,
        "unsupported_grant_type",
    )


# who asks


@pytest.mark.meets("rfc9700-27")
@pytest.mark.parametrize("secret", ["wrong", "", "vrm_cs_", "é"])
def test_a_wrong_secret_is_refused_with_a_challenge(shop: Shop, code: str, secret: str) -> None:
    shop.secret = secret
    answer = shop.redeem(code)
    refused(answer, 401, "invalid_client")
    assert answer.headers["WWW-Authenticate"] == 'Basic realm="vrm", charset="UTF-8"'


def test_a_secret_in_the_form_is_refused(shop: Shop, code: str) -> None:
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": CALLBACK,
        "code_verifier": shop.verifier,
        "client_id": shop.vendor.client_id,
        "client_secret": shop.secret,
    }
    refused(shop.client.post("/oauth/token", data=form), 401, "invalid_client")


@pytest.mark.parametrize("name", ["client_secret", "client_assertion", "client_assertion_type"])
def test_two_ways_of_authentication_at_once_are_refused(shop: Shop, code: str, name: str) -> None:
    refused(shop.redeem(code, **{name: shop.secret}), 400, "invalid_request")


def test_two_client_ids_are_refused(shop: Shop, other_shop: Shop, code: str) -> None:
    refused(shop.redeem(code, client_id=other_shop.vendor.client_id), 400, "invalid_request")


@pytest.mark.meets("rfc9700-27", "oauch-TokenEndpoint/IsClientAuthenticationRequiredTest")
def test_a_confidential_vendor_cannot_go_without_its_secret(shop: Shop, code: str) -> None:
    confidential = Shop(shop.client, shop.vendor, None, verifier=shop.verifier)
    refused(confidential.redeem(code), 401, "invalid_client")


@pytest.mark.meets("oauch-TokenEndpoint/IsClientIdRequiredTest")
def test_a_request_of_nobody_is_refused(shop: Shop, code: str) -> None:
    nobody = Shop(shop.client, shop.vendor, None, verifier=shop.verifier)
    refused(nobody.redeem(code, client_id=None), 401, "invalid_client")


def test_a_public_vendor_that_sends_a_secret_is_refused(app_shop: Shop, customer: Customer) -> None:
    code = customer.approve(handle_of(app_shop.ask()))
    refused(app_shop.redeem(code, client_secret="x"), 401, "invalid_client")
    app_shop.secret = "x"
    refused(app_shop.redeem(code), 401, "invalid_client")


def test_unknown_blocked_and_wrong_look_alike(shop: Shop, code: str, consent: Consent) -> None:
    unknown = Shop(shop.client, shop.vendor, "wrong").redeem(code)
    consent.vendors.set_blocked(shop.vendor.client_id, True)
    blocked = shop.redeem(code)
    shop.vendor = type(shop.vendor)("nobody", "", (), False, False, (), "", False, 0)
    nobody = shop.redeem(code)
    refused(blocked, 401, "invalid_client")
    assert unknown.data == blocked.data == nobody.data
    assert dict(unknown.headers) == dict(blocked.headers) == dict(nobody.headers)


@pytest.mark.parametrize(
    "header", ["Basic", "Basic !!!", "Basic " + "A" * 3000, "Bearer abc", "Basic /////w==", "Digest x", "x"]
)
def test_a_malformed_authorization_header_is_a_401(shop: Shop, code: str, header: str) -> None:
    answer = shop.client.post(
        "/oauth/token",
        data=shop.form(grant_type="authorization_code", code=code, client_id=shop.vendor.client_id),
        headers={"Authorization": header},
    )
    refused(answer, 401, "invalid_client")


# the shape of the request


@pytest.mark.meets("oauch-TokenEndpoint/IsAuthInUriAllowedTest")
@pytest.mark.parametrize("query", ["grant_type=authorization_code", "client_id=x", "a", "code=x"])
def test_parameters_in_the_address_are_refused(shop: Shop, code: str, query: str) -> None:
    form = shop.form(
        grant_type="authorization_code", code=code, redirect_uri=CALLBACK, code_verifier=shop.verifier
    )
    answer = shop.client.post("/oauth/token?" + query, data=form, headers=shop.basic)
    refused(answer, 400, "invalid_request")


@pytest.mark.meets("oauch-TokenEndpoint/SameParameterTwiceDisallowedTest")
@pytest.mark.parametrize(
    "name", ["code", "grant_type", "redirect_uri", "code_verifier", "client_id", "anything"]
)
def test_a_repeated_parameter_is_refused(shop: Shop, code: str, name: str) -> None:
    form: dict[str, Any] = dict(
        shop.form(
            grant_type="authorization_code", code=code, redirect_uri=CALLBACK, code_verifier=shop.verifier
        )
    )
    form[name] = [form.get(name, "x"), form.get(name, "x")]
    refused(shop.client.post("/oauth/token", data=form, headers=shop.basic), 400, "invalid_request")


def test_a_json_body_is_refused(shop: Shop, code: str) -> None:
    body = {"grant_type": "authorization_code", "code": code}
    refused(shop.client.post("/oauth/token", json=body, headers=shop.basic), 400, "invalid_request")


def test_a_multipart_body_is_refused(shop: Shop, code: str) -> None:
    answer = shop.client.post(
        "/oauth/token", data={"code": code}, content_type="multipart/form-data", headers=shop.basic
    )
    refused(answer, 400, "invalid_request")


def test_an_oversized_body_is_refused(shop: Shop) -> None:
    told = refused(shop.redeem("x" * 20_000), 413, "invalid_request")
    assert told["error_description"] == "the body is larger than what is taken here"


@pytest.mark.parametrize(("over", "status"), [(0, 200), (1, 413)])
def test_the_largest_body_is_read_and_one_byte_more_is_not(
    shop: Shop, code: str, over: int, status: int
) -> None:
    form = shop.form(
        grant_type="authorization_code", code=code, redirect_uri=CALLBACK, code_verifier=shop.verifier
    )
    body = urlencode({**form, "more": ""})
    body += "x" * (MAX_REQUEST + over - len(body))
    answer = shop.client.post("/oauth/token", data=body, content_type=FORM, headers=shop.basic)
    assert answer.status_code == status


# what is not the vendor's fault


def test_a_disk_that_takes_no_more_spends_nothing_and_says_when_to_come_again(
    shop: Shop, code: str, engine: SqliteEngine
) -> None:
    engine.one("PRAGMA query_only = ON")
    answer = shop.redeem(code)
    refused(answer, 503, "temporarily_unavailable")
    assert int(answer.headers["Retry-After"]) > 0
    engine.one("PRAGMA query_only = OFF")
    assert shop.redeem(code).status_code == 200


def test_what_nobody_knows_the_end_of_names_no_time_to_come_again(
    shop: Shop, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: int) -> None:
        raise OSError(errno.EIO, "no disk")

    monkeypatch.setattr(sqlitelink, "_sync", fail)
    answer = shop.redeem(code)
    refused(answer, 500, "server_error")
    assert answer.get_json() == {"error": "server_error"}
    assert "Retry-After" not in answer.headers


def test_a_fault_of_the_vault_spends_nothing_and_tells_nothing(
    shop: Shop, code: str, consent: Consent, engine: SqliteEngine
) -> None:
    """Somebody swapped the key of her log; this process has just started, and would seal to it."""
    consent.log.here.forget()
    [(public,)] = engine.all("SELECT log_public FROM vaults")
    with engine.write() as transaction:
        transaction.execute("UPDATE vaults SET log_public = zeroblob(32)")
    answer = shop.redeem(code)
    refused(answer, 503, "temporarily_unavailable")
    assert answer.get_json() == {"error": "temporarily_unavailable"}
    with engine.write() as transaction:
        transaction.execute("UPDATE vaults SET log_public = ?", (public,))
    assert shop.redeem(code).status_code == 200


def test_what_authlib_would_make_tokens_with_is_walled_up(consent: Consent, settings: Settings) -> None:
    """A grant of its own, registered by mistake, would store tokens that carry no keys and obey no grant."""
    server = OAuthServer(consent, settings.issuer, PROFILES["baseline"])
    for act in (lambda: server.generate_token("password", None), lambda: server.save_token({}, None)):
        with pytest.raises(RuntimeError, match="only"):
            act()


def chunked(shop: Shop, **fields: str | None) -> Any:
    """As a server hands over a chunked body: its end is known, its length is not."""
    body = urlencode(shop.form(**fields)).encode()
    return shop.client.post(
        "/oauth/token",
        input_stream=BytesIO(body),
        content_type="application/x-www-form-urlencoded",
        headers={**shop.basic, "Transfer-Encoding": "chunked"},
        environ_overrides={"wsgi.input_terminated": True},
    )


def test_a_chunked_body_is_refused_whatever_its_size(shop: Shop, code: str) -> None:
    """The server under us ends a chunked body that broke off like one that is complete."""
    large = chunked(shop, grant_type="authorization_code", code="x" * 20_000)
    assert "Content-Length" in refused(large, 411, "invalid_request")["error_description"]
    answer = chunked(
        shop,
        grant_type="authorization_code",
        code=code,
        redirect_uri=CALLBACK,
        code_verifier=shop.verifier,
    )
    refused(answer, 411, "invalid_request")
    assert shop.redeem(code).status_code == 200, "what was refused was not spent"


@pytest.mark.meets("oauch-TokenEndpoint/IsGetSupportedTest")
@pytest.mark.parametrize("method", ["get", "put", "patch", "delete"])
def test_other_methods_are_refused(client: FlaskClient, method: str) -> None:
    answer = getattr(client, method)("/oauth/token")
    refused(answer, 405, "invalid_request")
    assert "POST" in answer.headers["Allow"]


def test_an_unknown_address_under_oauth_is_json(client: FlaskClient) -> None:
    refused(client.post("/oauth/nothing"), 404, "invalid_request")
    refused(client.post("/oauth//token"), 404, "invalid_request")


def test_details_at_the_token_endpoint_are_refused_rather_than_ignored(shop: Shop, code: str) -> None:
    refused(shop.redeem(code, authorization_details="[]"), 400, "invalid_authorization_details")


def test_less_scope_may_be_asked_for_with_the_code(shop: Shop, customer: Customer) -> None:
    code = customer.approve(handle_of(shop.ask(scope="purchases.item:read purchases.price:read")))
    less = shop.redeem(code, scope="purchases.item:read").get_json()
    assert less["scope"] == "purchases.item:read"
    assert [part["datatypes"] for part in less["authorization_details"]] == [["purchases.item"]]
    assert "price" not in shop.read("/purchases", less["access_token"]).get_json()["items"][0]
    whole = shop.refresh(less["refresh_token"]).get_json()
    assert whole["scope"] == "purchases.item:read purchases.price:read"


@pytest.mark.parametrize("scope", ["purchases.item:read profile:read", "purchases.price:read", "x", " "])
def test_more_scope_than_granted_is_refused_with_the_code_and_spends_nothing(
    shop: Shop, code: str, scope: str
) -> None:
    refused(shop.redeem(code, scope=scope), 400, "invalid_scope")
    assert shop.redeem(code).status_code == 200


def test_less_is_asked_for_in_one_way_with_the_code(shop: Shop, code: str) -> None:
    both = {"scope": "purchases.item:read", "authorization_details": "[]"}
    refused(shop.redeem(code, **both), 400, "invalid_request")
    assert shop.redeem(code).status_code == 200


class TestBehindAProxyThatEndsTls:
    """The public address is https; what reaches the application is plain http."""

    @pytest.fixture
    def settings(self, folder: Path) -> Settings:
        return Settings(data_dir=folder, public_url="https://vault.example")

    @pytest.fixture
    def client(self, app: Flask) -> FlaskClient:
        app.config["SERVER_NAME"] = "vault.example"  # the Host header of every request
        return app.test_client()

    def test_authorize_and_token_work(self, shop: Shop, customer: Customer) -> None:
        asked = shop.ask()
        assert asked.headers["Location"].startswith("https://vault.example/requests/")
        assert shop.redeem(customer.approve(handle_of(asked))).status_code == 200

    def test_a_refusal_is_no_failure(self, shop: Shop, customer: Customer) -> None:
        refused(shop.redeem("nonsense"), 400, "invalid_grant")


@pytest.mark.parametrize("path", ["/oauth/token", "/oauth/revoke", "/oauth/authorize"])
def test_another_host_name_is_refused(shop: Shop, path: str) -> None:
    answer = shop.client.post(path, data=shop.form(), headers={**shop.basic, "Host": "evil.example"})
    refused(answer, 400, "invalid_request")


@pytest.mark.meets("rfc9700-67")
def test_no_token_is_printed_even_at_debug(
    shop: Shop, customer: Customer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    logging.getLogger().debug("the capture is on")
    code = customer.approve(handle_of(shop.ask()))
    given = shop.redeem(code).get_json()
    again = shop.refresh(given["refresh_token"]).get_json()
    shop.revoke(again["access_token"])
    assert "the capture is on" in caplog.text
    for secret in (code, given["access_token"], given["refresh_token"], again["access_token"], shop.secret):
        assert str(secret) not in caplog.text
