"""Exchanging, renewing, reading, ending."""

import base64
import logging
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime

import pytest

from tests.clients.conftest import Said
from vrm_client import (
    BusyError,
    NotFoundError,
    NotGrantedError,
    ProtocolError,
    RefusedError,
    RevokedError,
    Tokens,
    Transport,
    UnreachableError,
    Vendor,
    VrmClientError,
)

BOOKS = "/api/v1/purchases"
PROBLEM = {"Content-Type": "application/problem+json"}


def record(number, **facets):
    return {
        "id": f"r{number}",
        "updated_at": "2026-11-20T10:00:00Z",
        "item": {"title": f"Book {number}"},
        **facets,
    }


def page(items, following=None):
    return {"items": items, "next": following}


# -- exchange ---------------------------------------------------------------------------------------


def test_the_code_is_exchanged_with_verifier_redirect_address_and_both_halves_encoded(scripted, connect):
    connect()
    (call,) = scripted.to("/oauth/token")
    assert call.form["grant_type"] == "authorization_code"
    assert call.form["code"] == "c0de"
    assert call.form["redirect_uri"] == "https://cornerbooks.example/callback"
    assert len(call.form["code_verifier"]) >= 43
    assert "client_secret" not in call.form
    sent = base64.b64decode(call.headers["Authorization"].removeprefix("Basic ")).decode()
    assert sent == "corner%3Abooks:s3cret+%2F+with%2Bsigns"


def test_a_public_client_sends_its_id_and_no_credential(scripted):
    vendor = Vendor(scripted.url, client_id="app", redirect_uri="http://127.0.0.1/cb")
    asked = vendor.ask(scope="purchases.item:read")
    vendor.finish(asked, f"http://127.0.0.1/cb?code=c&state={asked.state}&iss={scripted.url}")
    (call,) = scripted.to("/oauth/token")
    assert call.form["client_id"] == "app"
    assert "Authorization" not in call.headers


def test_a_code_that_is_no_good_is_refused_with_the_vaults_code(scripted, connect, said):
    scripted.says("/oauth/token", said({"error": "invalid_grant", "error_description": "spent"}, 400))
    with pytest.raises(RefusedError) as told:
        connect()
    assert told.value.code == "invalid_grant"
    assert not isinstance(told.value, RevokedError)


@pytest.mark.parametrize(
    "change",
    [
        {"access_token": None},
        {"access_token": ""},
        {"access_token": "line\nbreak"},
        {"token_type": "DPoP"},
        {"token_type": None},
        {"expires_in": None},
        {"expires_in": "900"},
        {"expires_in": 0},
        {"expires_in": True},
        {"authorization_details": "all"},
        {"authorization_details": [1]},
    ],
)
def test_a_token_response_that_is_none_is_refused(scripted, connect, said, change):
    scripted.says("/oauth/token", said(scripted.mint(**change)))
    with pytest.raises(ProtocolError):
        connect()


def test_the_question_of_another_vault_is_not_answered_here(vendor, asked):
    other = type(asked).from_json({**asked.to_json(), "issuer": "https://other.example"})
    with pytest.raises(ProtocolError, match="another vault"):
        vendor.exchange(other, "c0de")


def test_what_was_granted_is_told(scripted, connect, said):
    details = [{"type": "vrm_access", "datatypes": ["purchases.item"]}]
    scripted.says("/oauth/token", said(scripted.mint(authorization_details=details)))
    connection = connect()
    assert connection.scope == "purchases.item:read"
    assert list(connection.details) == details


# -- reading ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ({}, {}),
        ({"category": "books", "seller": "books.example"}, {"category": "books", "seller": "books.example"}),
        ({"ordered_from": date(2026, 3, 1)}, {"ordered_from": "2026-03-01"}),
        ({"ordered_to": "2026-03-31"}, {"ordered_to": "2026-03-31"}),
        ({"updated_since": datetime(2026, 3, 1, 12, tzinfo=UTC)}, {"updated_since": "2026-03-01T12:00:00Z"}),
        ({"updated_since": datetime(2026, 3, 1, 12)}, {"updated_since": "2026-03-01T12:00:00Z"}),  # noqa: DTZ001
    ],
)
def test_filters_go_along_with_every_page(scripted, connect, said, given, sent):
    pages = {None: page([record(1)], "two"), "two": page([record(2)])}
    scripted.says(BOOKS, lambda call: said(pages[call.query.get("cursor")]))
    assert len(list(connect().records("purchases", **given))) == 2
    for call in scripted.to(BOOKS):
        assert {name: call.query[name] for name in call.query if name not in ("limit", "cursor")} == sent


def test_a_filter_that_there_is_not_is_a_mistake_at_once(connect):
    with pytest.raises(TypeError):
        connect().records("purchases", colour="blue")


def test_all_pages_are_read_in_order(scripted, connect, said):
    pages = {None: page([record(1), record(2)], "two"), "two": page([record(3)], "three"), "three": page([])}
    scripted.says(BOOKS, lambda call: said(pages[call.query.get("cursor")]))
    found = list(connect().records("purchases", limit=2, updated_since="2026-01-01T00:00:00Z"))
    assert [one.text("item", "title") for one in found] == ["Book 1", "Book 2", "Book 3"]
    calls = scripted.to(BOOKS)
    assert [call.query.get("cursor") for call in calls] == [None, "two", "three"]
    assert {call.query["limit"] for call in calls} == {"2"}
    assert {call.query["updated_since"] for call in calls} == {"2026-01-01T00:00:00Z"}
    assert {call.headers["Authorization"] for call in calls} == {"Bearer vrm_at_secret1"}


def test_a_record_shows_granted_facets_only_and_hides_its_content(scripted, connect, said):
    scripted.says(BOOKS + "/r1", said(record(1, order={"ordered": "2026-03-01"})))
    one = connect().record("purchases", "r1")
    assert one.id == "r1"
    assert one.updated_at == datetime(2026, 11, 20, 10, tzinfo=UTC)
    assert one["order"] == {"ordered": "2026-03-01"}
    assert one.facet("price") == {}
    assert one.text("price", "total") == ""
    with pytest.raises(KeyError):
        one["price"]
    assert "Book 1" not in repr(one)


def test_what_is_not_in_view_is_the_vaults_word(scripted, connect, said):
    problem = {"type": "/problems/not-in-view", "status": 404}
    scripted.says(BOOKS + "/r1", said(problem, 404, {"Content-Type": "application/problem+json"}))
    with pytest.raises(NotFoundError) as told:
        connect().record("purchases", "r1")
    assert (told.value.code, told.value.status) == ("not-in-view", 404)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"<h1>Not Found", "text/html"),
        ({"type": "/problems/not-in-view"}, "application/json"),
        ({"type": "/problems/no-such-path"}, "application/problem+json"),
        ({"type": "about:blank"}, "application/problem+json"),
    ],
)
def test_a_404_of_somebody_in_between_says_nothing_about_a_record(scripted, connect, said, body, kind):
    scripted.says(BOOKS + "/r1", said(body, 404, {"Content-Type": kind}))
    with pytest.raises(RefusedError) as told:
        connect().record("purchases", "r1")
    assert told.value.status == 404
    assert not isinstance(told.value, NotFoundError)


def test_an_id_cannot_leave_its_place_in_the_path(scripted, connect):
    with pytest.raises(RefusedError):
        connect().record("purchases", "../grant?x=#")
    assert scripted.calls[-1].path == "/api/v1/purchases/..%2Fgrant%3Fx%3D%23"


def test_answers_and_limits_are_read(scripted, connect, said):
    rows = [{"order": "1", "item": "a", "use_for_taste": False}]
    scripted.says("/api/v1/answers/corrections", said(rows))
    connection = connect()
    assert connection.answers("corrections") == rows
    assert connection.grant() == {"scope": "purchases.item:read"}


@pytest.mark.parametrize("answer", [{}, [1], "x"])
def test_an_answer_that_is_no_list_of_objects_is_refused(scripted, connect, said, answer):
    scripted.says("/api/v1/answers/corrections", said(answer))
    with pytest.raises(ProtocolError):
        connect().answers("corrections")


@pytest.mark.parametrize(
    "body",
    [
        {},
        [],
        {"items": {}, "next": None},
        {"items": [1], "next": None},
        {"items": [{"id": "", "updated_at": 1}], "next": None},
        {"items": [{"id": "a"}], "next": None},
        {"items": [{"id": "a", "updated_at": "yesterday"}], "next": None},
        {"items": [{"id": "a", "updated_at": True}], "next": None},
        {"items": [{"id": "a", "updated_at": 10**30}], "next": None},
        {"items": [], "next": 7},
    ],
)
def test_a_page_that_is_none_is_refused(scripted, connect, said, body):
    scripted.says(BOOKS, said(body))
    with pytest.raises(ProtocolError):
        list(connect().records("purchases"))


def test_pages_that_go_round_in_circles_end(scripted, connect, said):
    scripted.says(BOOKS, said(page([record(1)], "again")))
    with pytest.raises(ProtocolError, match="do not end"):
        list(connect().records("purchases"))


def test_more_than_granted_is_refused_with_the_problem(scripted, connect, said):
    body = {
        "type": "/problems/insufficient-scope",
        "title": "Not granted",
        "status": 403,
        "detail": "prices",
        "x": 1,
    }
    scripted.says(BOOKS, said(body, 403, {"Content-Type": "application/problem+json"}))
    with pytest.raises(NotGrantedError) as told:
        list(connect().records("purchases"))
    assert told.value.code == "insufficient-scope"
    assert told.value.problem.slug == "insufficient-scope"
    assert told.value.problem.extensions == {"x": 1}
    assert told.value.status == 403
    assert str(told.value) == "prices"


def test_a_refusal_without_a_problem_is_still_a_refusal(scripted, connect, said):
    scripted.says(BOOKS, said(b"<h1>no", 403, {"Content-Type": "text/html"}))
    with pytest.raises(RefusedError) as told:
        list(connect().records("purchases"))
    assert told.value.problem is None
    assert not isinstance(told.value, NotGrantedError)


@pytest.mark.parametrize(
    ("status", "wait", "seconds"), [(429, "7", 7), (503, None, None), (500, "soon", None)]
)
def test_a_busy_vault_is_told_with_how_long_to_wait(scripted, connect, said, status, wait, seconds):
    scripted.says(BOOKS, said({}, status, {"Retry-After": wait} if wait else {}))
    with pytest.raises(BusyError) as told:
        list(connect().records("purchases"))
    assert (told.value.status, told.value.retry_after) == (status, seconds)
    assert isinstance(told.value, UnreachableError)


# -- renewing ---------------------------------------------------------------------------------------


def test_a_token_is_renewed_before_it_ends(scripted, connect, unix):
    kept = []
    connection = connect(on_rotated=kept.append)
    connection.grant()
    unix.now += 880
    connection.grant()
    assert [call.headers["Authorization"] for call in scripted.to("/api/v1/grant")] == [
        "Bearer vrm_at_secret1",
        "Bearer vrm_at_secret2",
    ]
    assert scripted.to("/oauth/token")[1].form == {
        "grant_type": "refresh_token",
        "refresh_token": "vrm_rt_secret1",
    }
    assert [saved["tokens"]["refresh_token"] for saved in kept] == ["vrm_rt_secret2"]


def test_a_401_is_met_with_one_renewal(scripted, connect, said):
    scripted.says(
        "/api/v1/grant",
        lambda call: said({"ok": 1}) if call.headers["Authorization"].endswith("2") else said({}, 401),
    )
    connection = connect()
    assert connection.grant() == {"ok": 1}
    assert len(scripted.to("/oauth/token")) == 2


def test_a_refresh_answer_without_a_new_refresh_token_keeps_the_old_one(scripted, connect, said, unix):
    connection = connect()
    scripted.says("/oauth/token", lambda _: said(scripted.mint(refresh_token=None, scope=None)))
    for _ in range(2):
        unix.now += 900
        connection.grant()
    assert {call.form["refresh_token"] for call in scripted.to("/oauth/token")[1:]} == {"vrm_rt_secret1"}
    assert connection.scope == "purchases.item:read"


def test_many_threads_renew_once(scripted, connect, unix):
    connection = connect()
    unix.now += 900
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: connection.grant(), range(32)))
    assert len(answers) == 32
    assert len(scripted.to("/oauth/token")) == 2


def test_many_threads_at_a_401_renew_once(scripted, connect, said):
    scripted.says(
        "/api/v1/grant",
        lambda call: said({}, 401) if call.headers["Authorization"].endswith("t1") else said({}),
    )
    connection = connect()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: connection.grant(), range(16)))
    assert len(scripted.to("/oauth/token")) == 2


def test_a_lost_refresh_answer_is_fetched_again(scripted, connect, unix):
    connection = connect()
    unix.now += 900
    lost = []

    def lose_the_first(handler):
        lost.append(1)
        del scripted.raw["/oauth/token"]

    scripted.raw["/oauth/token"] = lose_the_first
    connection.grant()
    assert lost == [1]
    assert [call.form.get("refresh_token") for call in scripted.to("/oauth/token")[1:]] == [
        "vrm_rt_secret1"
    ] * 2


def test_a_busy_token_endpoint_does_not_end_the_grant(scripted, connect, said, unix):
    connection = connect()
    unix.now += 900
    scripted.says("/oauth/token", said({}, 503))
    with pytest.raises(BusyError):
        connection.grant()
    scripted.says("/oauth/token", lambda _: said(scripted.mint()))
    assert connection.grant()


def test_the_vendors_own_mistake_does_not_end_the_grant(scripted, connect, said, unix):
    connection = connect()
    unix.now += 900
    scripted.says("/oauth/token", said({"error": "invalid_client"}, 401))
    with pytest.raises(RefusedError) as told:
        connection.grant()
    assert not isinstance(told.value, RevokedError)
    scripted.says("/oauth/token", lambda _: said(scripted.mint()))
    assert connection.grant()


# -- ending -----------------------------------------------------------------------------------------


def test_invalid_grant_at_refresh_ends_the_connection_for_good(scripted, connect, said, unix):
    connection = connect()
    unix.now += 900
    scripted.says("/oauth/token", said({"error": "invalid_grant", "error_description": "over"}, 400))
    with pytest.raises(RevokedError) as told:
        connection.grant()
    assert told.value.code == "invalid_grant"
    before = len(scripted.calls)
    with pytest.raises(RevokedError):
        connection.grant()
    assert len(scripted.calls) == before


def test_a_401_after_renewal_ends_the_connection(scripted, connect, said):
    scripted.says("/api/v1/grant", said({"type": "/problems/token-invalid", "title": "No"}, 401, PROBLEM))
    connection = connect()
    with pytest.raises(RevokedError) as told:
        connection.grant()
    assert told.value.code == "token-invalid"
    assert len(scripted.to("/api/v1/grant")) == 2


def test_a_401_without_a_refresh_token_ends_the_connection(scripted, connect, said):
    scripted.says("/oauth/token", said(scripted.mint(refresh_token=None)))
    scripted.says("/api/v1/grant", said({"type": "/problems/grant-inactive"}, 401, PROBLEM))
    with pytest.raises(RevokedError):
        connect().grant()
    assert len(scripted.to("/oauth/token")) == 1


@pytest.mark.parametrize("refresh_token", [None, "vrm_rt_secret"])
@pytest.mark.parametrize(
    "answer",
    [
        Said(b"<h1>log in", 401, {"Content-Type": "text/html"}),
        Said({"type": "/problems/token-invalid"}, 401),
        Said({"error": "invalid_token"}, 401, PROBLEM),
        Said({"type": "/problems/dpop-proof-invalid"}, 401, PROBLEM),
        Said(b"{", 401, PROBLEM),
    ],
)
def test_a_401_that_tells_no_end_ends_nothing(scripted, connect, answer, refresh_token):
    scripted.says("/oauth/token", lambda _: Said(scripted.mint(refresh_token=refresh_token)))
    connection = connect()
    scripted.says("/api/v1/grant", answer)
    with pytest.raises(RefusedError) as told:
        connection.grant()
    assert not isinstance(told.value, RevokedError)
    assert told.value.status == 401
    scripted.says("/api/v1/grant", Said({"ok": 1}))
    assert connection.grant() == {"ok": 1}


def test_an_invalid_grant_in_another_media_type_ends_nothing(scripted, connect, said, unix):
    connection = connect()
    unix.now += 900
    scripted.says("/oauth/token", said({"error": "invalid_grant"}, 400, PROBLEM))
    with pytest.raises(RefusedError) as told:
        connection.grant()
    assert not isinstance(told.value, RevokedError)
    scripted.says("/oauth/token", lambda _: said(scripted.mint()))
    assert connection.grant()


def test_giving_back_revokes_the_refresh_token_and_ends(scripted, connect):
    connection = connect()
    connection.revoke()
    connection.revoke()
    (call,) = scripted.to("/oauth/revoke")
    assert call.form == {"token": "vrm_rt_secret1", "token_type_hint": "refresh_token"}
    assert call.headers["Authorization"].startswith("Basic ")
    with pytest.raises(RevokedError):
        connection.grant()


def test_giving_back_that_fails_does_not_pretend(scripted, connect, said):
    connection = connect()
    scripted.says("/oauth/revoke", said({}, 503))
    with pytest.raises(BusyError):
        connection.revoke()
    assert connection.grant()


# -- keeping ----------------------------------------------------------------------------------------


def test_a_saved_connection_goes_on(scripted, connect, vendor):
    saved = connect().saved()
    assert vendor.resume(saved).grant() == {"scope": "purchases.item:read"}


def test_tokens_of_another_vault_go_nowhere(scripted, connect, vendor):
    saved = {**connect().saved(), "vault": "https://other.example"}
    before = len(scripted.calls)
    with pytest.raises(ProtocolError, match="another vault"):
        vendor.resume(saved)
    assert len(scripted.calls) == before


def test_something_else_than_what_was_saved_is_refused(connect, vendor):
    with pytest.raises(ProtocolError, match="saved"):
        vendor.resume({**connect().saved(), "tokens": "vrm_at_secret"})


def test_tokens_survive_a_store(connect):
    saved = connect().saved()["tokens"]
    assert Tokens.from_json(saved).to_json() == saved


def test_no_secret_shows_in_representations_messages_or_logs(scripted, connect, vendor, said, caplog):
    caplog.set_level(logging.DEBUG)
    connection = connect()
    shown = [
        repr(connection),
        str(connection),
        repr(vendor),
        repr(Tokens.from_json(connection.saved()["tokens"])),
    ]
    for status in (401, 403, 404, 500, 302):
        scripted.says("/api/v1/grant", said({}, status, {"Location": "/elsewhere"}))
        with pytest.raises(VrmClientError) as told:
            connection.grant()
        shown += [str(told.value), repr(told.value)]
    shown.append(caplog.text)
    for secret in ("vrm_at_", "vrm_rt_", "s3cret", "c0de"):
        assert not [text for text in shown if secret in text], secret


def test_a_vendor_with_a_short_patience_gives_up(scripted):
    vendor = Vendor(
        scripted.url, client_id="x", redirect_uri="https://a.example/", transport=Transport(timeout=0.2)
    )
    scripted.raw["/.well-known/oauth-protected-resource"] = lambda handler: handler.rfile.read(1)
    with pytest.raises(UnreachableError):
        vendor.discover()
