"""`/oauth/authorize`: what is stored, what goes back to the vendor, and what goes nowhere."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import pytest
from flask.testing import FlaskClient

from tests.api.actors import CALLBACK, Customer, Shop, handle_of, no_redirect, query_of, sent_back
from tests.conftest import SettableClock
from vrm.api.oauth import routes
from vrm.consent import asking
from vrm.consent.service import Consent
from vrm.settings import Settings
from vrm.vault.sqlite import SqliteEngine

PART: dict[str, Any] = {
    "type": "vrm_access",
    "datatypes": ["purchases.item"],
    "actions": ["read"],
    "purpose": "ProvideProductRecommendations",
    "necessity": "required",
}


def details(*parts: object) -> str:
    return json.dumps(list(parts))


# what is accepted


def test_a_good_request_waits_under_its_handle(shop: Shop, consent: Consent, settings: Settings) -> None:
    answer = shop.ask()
    assert answer.headers["Location"].startswith(settings.issuer + "/requests/")
    stored = consent.requests.open(handle_of(answer))
    assert stored.vendor.client_id == shop.vendor.client_id
    assert stored.redirect_uri == CALLBACK
    assert stored.state == "st4te"
    assert [part["datatypes"] for part in stored.parts] == [["purchases.item"]]


@pytest.mark.meets("oauch-AuthEndpoint/SupportsPostAuthorizationRequestsTest")
def test_a_request_may_come_by_post(shop: Shop, consent: Consent) -> None:
    answer = shop.client.post("/oauth/authorize", data=shop.question())
    assert consent.requests.open(handle_of(answer)).vendor.client_id == shop.vendor.client_id


@pytest.mark.meets("rfc9700-35", "oauch-AuthEndpoint/ReferrerPolicyEnforcedTest")
def test_the_answer_is_kept_out_of_caches_and_referrers(shop: Shop) -> None:
    answer = shop.ask()
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert "Access-Control-Allow-Origin" not in answer.headers


@pytest.mark.meets(
    "fapi2-ensure-authorization-request-without-nonce-success",
    "oauch-AuthEndpoint/UnrecognizedParameterAllowedTest",
)
def test_unknown_parameters_and_prompt_are_ignored(shop: Shop) -> None:
    handle_of(shop.ask(prompt="none", login_hint="alice", nonce="n", ui_locales="ar", anything="x"))


def test_an_empty_parameter_counts_as_absent(shop: Shop) -> None:
    handle_of(shop.ask(request="", request_uri="", response_mode="", authorization_details=""))


@pytest.mark.meets("fapi2-ensure-authorization-request-without-state-success")
def test_a_request_without_state_is_accepted(shop: Shop, consent: Consent) -> None:
    assert not consent.requests.open(handle_of(shop.ask(state=None))).state


def test_the_purpose_is_the_vendors_own_or_the_one_it_names(shop: Shop, consent: Consent) -> None:
    usual = consent.requests.open(handle_of(shop.ask()))
    named = consent.requests.open(handle_of(shop.ask(purpose="CustomerCare")))
    assert usual.parts[0]["purpose"] == "ProvideProductRecommendations"
    assert named.parts[0]["purpose"] == "CustomerCare"


def test_details_replace_the_scope(shop: Shop, consent: Consent) -> None:
    optional = {**PART, "datatypes": ["purchases.price"], "necessity": "optional"}
    answer = shop.ask(scope=None, authorization_details=details(PART, optional))
    stored = consent.requests.open(handle_of(answer))
    assert [part["necessity"] for part in stored.parts] == ["required", "optional"]


def test_details_and_scope_are_merged(shop: Shop, consent: Consent) -> None:
    extra = {**PART, "datatypes": ["purchases.price"], "necessity": "optional"}
    stored = consent.requests.open(handle_of(shop.ask(authorization_details=details(extra))))
    asked = {name for part in stored.parts for name in part["datatypes"]}
    assert asked == {"purchases.item", "purchases.price"}


@pytest.mark.meets("rfc9700-38")
def test_a_public_vendor_may_use_another_loopback_port(app_shop: Shop, consent: Consent) -> None:
    uri = "http://127.0.0.1:51004/cb"
    assert consent.requests.open(handle_of(app_shop.ask(redirect_uri=uri))).redirect_uri == uri


# what gets a page and no redirect


@pytest.mark.meets("rfc9700-70")
@pytest.mark.parametrize("client_id", [None, "", "nobody", "' OR 1=1 --", "\x00", "é"])
def test_an_unknown_vendor_is_not_redirected(shop: Shop, client_id: str | None) -> None:
    answer = shop.ask(client_id=client_id)
    no_redirect(answer)
    assert ".." not in answer.get_data(as_text=True), "the sentence ends once"


@pytest.mark.meets(
    "rfc9700-1",
    "rfc9700-2",
    "rfc9700-37",
    "rfc9700-70",
    "oauch-AuthEndpoint/InvalidRedirectTest",
    "oauch-AuthEndpoint/RedirectUriRequiredTest",
    "fapi2-ensure-redirect-uri-in-authorization-request",
)
@pytest.mark.parametrize(
    "uri",
    [
        None,
        "",
        "https://evil.example/cb",
        CALLBACK + "/",
        CALLBACK + "?a=b",
        "javascript:alert(1)",
        'x"é\\',
        "//cb",
    ],
)
def test_a_wrong_redirect_address_is_not_followed(shop: Shop, uri: str | None) -> None:
    answer = shop.ask(redirect_uri=uri)
    no_redirect(answer)
    assert "evil.example" not in answer.get_data(as_text=True)


@pytest.mark.meets("rfc9700-70")
def test_a_wrong_redirect_address_is_not_followed_for_other_faults_either(shop: Shop) -> None:
    no_redirect(shop.ask(redirect_uri="https://evil.example/cb", response_type="token"))
    no_redirect(shop.ask(redirect_uri="https://evil.example/cb", scope="nonsense"))
    no_redirect(shop.ask(redirect_uri="https://evil.example/cb", code_challenge=None))


@pytest.mark.parametrize("name", ["client_id", "redirect_uri"])
def test_a_repeated_vendor_or_address_is_not_redirected(shop: Shop, name: str) -> None:
    pairs = [*shop.question().items(), (name, shop.question()[name])]
    no_redirect(shop.client.get("/oauth/authorize?" + urlencode(pairs)))


def test_a_blocked_vendor_is_not_redirected(shop: Shop, consent: Consent) -> None:
    consent.vendors.set_blocked(shop.vendor.client_id, True)
    no_redirect(shop.ask())


@pytest.mark.meets("rfc9700-1")
def test_a_confidential_vendor_gets_no_other_port(shop: Shop, client: FlaskClient, consent: Consent) -> None:
    vendor, secret = consent.vendors.add("Local", ("http://127.0.0.1:8601/cb",), purpose="CustomerCare")
    local = Shop(client, vendor, secret, redirect_uri="http://127.0.0.1:8602/cb")
    no_redirect(local.ask())


def test_an_oversized_request_gets_a_page(shop: Shop) -> None:
    no_redirect(shop.ask(state="x" * 20_000))


def test_parameters_in_address_and_form_at_once_are_refused(shop: Shop) -> None:
    no_redirect(shop.client.post("/oauth/authorize?client_id=x", data=shop.question()))


def test_a_json_body_is_refused(shop: Shop) -> None:
    no_redirect(shop.client.post("/oauth/authorize", json=shop.question()))


@pytest.mark.meets(
    "rfc9700-87",
    "rfc9700-88",
    "rfc9700-90",
    "oauch-AuthEndpoint/HasContentSecurityPolicyTest",
    "oauch-AuthEndpoint/HasFrameOptionsTest",
)
def test_the_page_runs_nothing_and_escapes_what_was_sent(shop: Shop) -> None:
    answer = shop.ask(client_id="<script>alert(1)</script>")
    no_redirect(answer)
    assert "<script" not in answer.get_data(as_text=True)
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert "script-src" not in answer.headers["Content-Security-Policy"]
    assert answer.headers["X-Frame-Options"] == "DENY"


# what goes back to the vendor


@pytest.mark.meets(
    "fapi2-ensure-response-type-code-idtoken-fails",
    "fapi2-ensure-response-type-token-fails",
    "oauch-AuthEndpoint/IsResponseTypeCheckedTest",
)
@pytest.mark.parametrize("value", ["token", "code token", "id_token", "none", "Code", 'x"\\é\n', "x" * 500])
def test_response_types_other_than_code_are_refused(shop: Shop, value: str) -> None:
    sent_back(shop.ask(response_type=value), "unsupported_response_type")


def test_a_missing_response_type_is_refused(shop: Shop) -> None:
    sent_back(shop.ask(response_type=None), "invalid_request")


@pytest.mark.parametrize("value", ["fragment", "form_post", "query.jwt", "web_message"])
def test_response_modes_other_than_query_are_refused(shop: Shop, value: str) -> None:
    sent_back(shop.ask(response_mode=value), "invalid_request")


def test_request_objects_are_refused(shop: Shop) -> None:
    sent_back(shop.ask(request="eyJhbGciOiJub25lIn0.e30."), "request_not_supported")
    uri = "https://books.example/request.jwt"
    sent_back(shop.ask(request_uri=uri), "request_uri_not_supported")


@pytest.mark.meets(
    "rfc9700-15",
    "rfc9700-62",
    "rfc9700-64",
    "oauch-Pkce/IsPkceDowngradeDetectedTest",
    "oauch-Pkce/IsPkceRequiredTest",
)
def test_a_missing_challenge_is_refused_for_a_confidential_vendor_too(shop: Shop) -> None:
    sent_back(shop.ask(code_challenge=None, code_challenge_method=None), "invalid_request")
    sent_back(shop.ask(code_challenge=None), "invalid_request")


@pytest.mark.meets("rfc9700-15", "rfc9700-64", "oauch-Pkce/IsPkceRequiredTest")
def test_a_missing_challenge_is_refused_for_a_public_vendor(app_shop: Shop) -> None:
    answer = app_shop.ask(code_challenge=None, code_challenge_method=None)
    sent_back(answer, "invalid_request", app_shop.redirect_uri)


@pytest.mark.meets("oauch-Pkce/PlainPkceDisabledTest", "oauch-Features/PlainPkceTest")
@pytest.mark.parametrize("method", [None, "plain", "S512", "s256"])
def test_challenges_other_than_s256_are_refused(shop: Shop, method: str | None) -> None:
    sent_back(shop.ask(code_challenge_method=method), "invalid_request")


@pytest.mark.parametrize("challenge", ["short", "a" * 42, "a" * 44, "a" * 42 + "=", "a" * 42 + "~", "é" * 43])
def test_malformed_challenges_are_refused(shop: Shop, challenge: str) -> None:
    sent_back(shop.ask(code_challenge=challenge), "invalid_request")


@pytest.mark.parametrize(
    "scope",
    [
        "nonsense",
        "openid",
        "purchases.payment:read",
        "purchases.notes:read",
        "purchases.item:write",
        "profile:write",
        "inbox:read",
        "intents:read",
        "offers:write",
        "grant_management_query",
        "vault:manage",
        "answers.everything:read",
        "purchases.item:read nonsense",
        "purchases.item",
        "*",
        'a"b',
        "purchases.item:read\tprofile:read",
        "é",
    ],
)
def test_unknown_and_unbuilt_scopes_are_refused(shop: Shop, scope: str) -> None:
    sent_back(shop.ask(scope=scope), "invalid_scope")


def test_a_request_for_nothing_is_refused(shop: Shop) -> None:
    sent_back(shop.ask(scope=None), "invalid_scope")
    sent_back(shop.ask(scope=""), "invalid_scope")


@pytest.mark.parametrize(
    "text",
    [
        "x",
        "{}",
        "[]",
        "null",
        "[1]",
        "[[]]",
        '[{"type": "vrm_access"}]',
        details({**PART, "type": "payment_initiation"}),
        details({**PART, "datatypes": "purchases.item"}),
        details({**PART, "datatypes": []}),
        details({**PART, "datatypes": ["purchases.payment"]}),
        details({**PART, "datatypes": ["purchases.everything"]}),
        details({**PART, "datatypes": [1]}),
        details({**PART, "actions": ["write"]}),
        details({**PART, "actions": []}),
        details({**PART, "fields": ["no_such_field"]}),
        details({**PART, "filter": {"for": ["self"]}}),
        details({**PART, "filter": "books"}),
        details({**PART, "period": "two years"}),
        details({**PART, "period": 2}),
        details({**PART, "purpose": "SellEverything"}),
        details({**PART, "necessity": "nice-to-have"}),
        details({**PART, "surprise": True}),
        details(PART, {**PART, "surprise": True}),
        details({**{name: PART[name] for name in PART if name != "datatypes"}}),
        details({**{name: PART[name] for name in PART if name != "type"}}),
        details(PART).replace('"actions"', '"type": "vrm_access", "actions"'),
        "[" * 5000,
        details({**PART, "period": float("nan")}),
        details({**PART, "fields": ["title"]}, {**PART, "period": "P1Y"}),
    ],
)
def test_authorization_details_are_read_strictly(shop: Shop, text: str) -> None:
    sent_back(shop.ask(scope=None, authorization_details=text), "invalid_authorization_details")


def test_good_details_do_not_save_a_bad_scope(shop: Shop) -> None:
    sent_back(shop.ask(scope="nonsense", authorization_details=details(PART)), "invalid_scope")


def test_a_good_scope_does_not_save_bad_details(shop: Shop) -> None:
    sent_back(shop.ask(authorization_details="[{}]"), "invalid_authorization_details")


@pytest.mark.meets("oauch-AuthEndpoint/SameParameterTwiceDisallowedTest")
@pytest.mark.parametrize("name", ["scope", "code_challenge", "response_type", "anything"])
def test_a_repeated_parameter_is_refused(shop: Shop, name: str) -> None:
    pairs = [*shop.question().items(), (name, "x"), (name, "y")]
    sent_back(shop.client.get("/oauth/authorize?" + urlencode(pairs)), "invalid_request")


def test_a_repeated_state_is_refused(shop: Shop) -> None:
    pairs = [*shop.question(state=None).items(), ("state", "st4te"), ("state", "other")]
    assert query_of(shop.client.get("/oauth/authorize?" + urlencode(pairs)))["error"] == "invalid_request"


@pytest.mark.meets("fapi2-ensure-authorization-request-with-long-state")
def test_a_long_state_is_refused(shop: Shop) -> None:
    assert query_of(shop.ask(state="x" * 2001))["error"] == "invalid_request"


@pytest.mark.meets("rfc9700-5")
def test_a_refusal_names_the_issuer_exactly(shop: Shop, settings: Settings) -> None:
    assert query_of(shop.ask(scope="nonsense"))["iss"] == settings.issuer


def test_a_refusal_without_state_carries_none(shop: Shop) -> None:
    assert "state" not in query_of(shop.ask(scope="nonsense", state=None))


def test_the_issuer_does_not_follow_the_host_header(shop: Shop, settings: Settings) -> None:
    answer = shop.client.get(
        "/oauth/authorize", query_string=shop.question(), headers={"Host": "evil.example"}
    )
    assert "evil.example" not in answer.headers.get("Location", "")


def test_nothing_refused_is_stored(shop: Shop, count_requests: Any) -> None:
    before = count_requests()
    shop.ask(scope="nonsense")
    shop.ask(code_challenge=None)
    shop.ask(redirect_uri="https://evil.example/cb")
    shop.ask(authorization_details="[{}]")
    assert count_requests() == before
    shop.ask()
    assert count_requests() == before + 1


@pytest.mark.parametrize("method", ["put", "patch", "delete"])
def test_other_methods_are_refused(client: FlaskClient, method: str) -> None:
    answer = getattr(client, method)("/oauth/authorize")
    assert answer.status_code == 405
    assert {"GET", "POST"} <= set(answer.headers["Allow"].split(", "))


# how many wait


def test_one_vendors_requests_cannot_fill_the_disk(
    shop: Shop,
    other_shop: Shop,
    consent: Consent,
    count_requests: Callable[[], int],
    clock: SettableClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(asking, "WAITING_OF_ONE", 2)
    handle_of(shop.ask())
    handle_of(shop.ask())
    sent_back(shop.ask(), "temporarily_unavailable")
    assert count_requests() == 2
    handle_of(other_shop.ask())
    clock.forward(3600)  # nobody decided: they run out, swept or not
    handle_of(shop.ask())


def test_all_vendors_requests_cannot_fill_the_disk(
    shop: Shop, other_shop: Shop, count_requests: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "WAITING_OF_ALL", asking.KEPT_FREE + 1)
    handle_of(shop.ask())
    answer = other_shop.ask()
    assert query_of(answer)["error"] == "temporarily_unavailable"
    assert count_requests() == 1


def test_a_decided_request_makes_room(
    shop: Shop, customer: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "WAITING_OF_ONE", 1)
    customer.approve(handle_of(shop.ask()))
    handle_of(shop.ask())


def test_a_disk_that_takes_no_more_is_a_page_and_no_redirect(shop: Shop, engine: SqliteEngine) -> None:
    engine.one("PRAGMA query_only = ON")
    answer = shop.ask()
    assert answer.status_code == 503
    assert answer.mimetype == "text/html"
    assert "try again later" in answer.get_data(as_text=True)
    assert int(answer.headers["Retry-After"]) > 0
    assert "Location" not in answer.headers
    engine.one("PRAGMA query_only = OFF")
    handle_of(shop.ask())


def test_one_network_brings_only_so_many_requests(
    shop: Shop, consent: Consent, clock: SettableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routes, "FROM_ONE", 2)

    def bring(address: str) -> int:
        there = {"REMOTE_ADDR": address}
        query = urlencode(shop.question())
        answer = shop.client.get(f"/oauth/authorize?{query}", environ_base=there)
        if answer.status_code == 429:
            assert int(answer.headers["Retry-After"]) <= 3600
            assert "Location" not in answer.headers
        return answer.status_code

    assert [bring("203.0.113.7") for _ in range(3)] == [303, 303, 429]
    assert [bring("2001:db8::1"), bring("2001:db8::2"), bring("2001:db8:0:0:1::3")] == [303, 303, 429]
    assert bring("203.0.113.8") == 303  # others come through
    assert {bring("127.0.0.1") for _ in range(4)} == {303}
    clock.forward(3600)
    assert bring("203.0.113.7") == 303
