"""What no client library would send, sent to a real server: refused with a reason, and never a 5xx."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from urllib.parse import urlencode

import pytest

from tests.hostile.conftest import CALLBACK, CHALLENGE, PURPOSE, Town
from tests.hostile.serving import Answer, Served, parse

FORM = "Content-Type: application/x-www-form-urlencoded\r\n"
PLACES = [
    "/",
    "/login",
    "/create",
    "/things",
    "/import",
    "/assets/vrm.css",
    "/oauth/authorize",
    "/oauth/token",
    "/oauth/revoke",
    "/api/v1/grant",
    "/api/v1/purchases",
    "/api/v1/purchases/changes",
    "/api/v1/answers/corrections",
    "/.well-known/oauth-authorization-server",
    "/openapi.json",
    "/docs",
    "/problems/busy",
    "/healthz",
    "/readyz",
    "/nowhere",
]
HUGE = "x" * 1_000_000
LONG = "x" * 60_000  # what the server under us still lets through


@pytest.fixture(autouse=True)
def unharmed(town: Town) -> Iterator[None]:
    """After each attack the server still answers, and its log holds no traceback."""
    written = len(town.served.log)
    yield
    told = town.served.log[written:]
    assert "Traceback" not in told, told
    assert "ERROR" not in told, told
    assert town.served.bearer("/api/v1/grant", town.shop.access).status == 200


def refused(answer: Answer, *statuses: int) -> None:
    assert answer.status in statuses, (answer.status, answer.text[:300])
    assert "Traceback" not in answer.text
    if answer.body and answer.status != 200 and answer.header("content-type").startswith("application/"):
        json.loads(answer.body)


@pytest.mark.parametrize("method", ["TRACE", "CONNECT", "PUT", "PATCH", "DELETE", "BREW", "PROPFIND"])
def test_methods_that_nothing_uses_are_refused_everywhere(served: Served, method: str) -> None:
    for place in PLACES:
        refused(served.request(method, place), 400, 401, 404, 405, 411)


def test_head_and_options_carry_no_body_and_change_nothing(town: Town) -> None:
    for place in PLACES:
        for method in ("HEAD", "OPTIONS"):
            answer = town.served.request(method, place)
            refused(answer, 200, 303, 400, 401, 404, 405)
            assert method == "OPTIONS" or answer.body == b""


@pytest.mark.parametrize("header", ["X-HTTP-Method-Override", "X-Method-Override", "X-HTTP-Method"])
def test_a_method_cannot_be_overridden(town: Town, header: str) -> None:
    answer = town.served.bearer("/api/v1/purchases?limit=1", town.shop.access, (header, "DELETE"))
    assert answer.status == 200
    assert len(json.loads(answer.body)["items"]) == 1
    refused(town.served.bearer("/api/v1/purchases?_method=DELETE", town.shop.access), 400)


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "127.0.0.1:99999",
        "127.0.0.1:abc",
        "127.0.0.1@evil.example",
        "evil.example:80@127.0.0.1",
        "[::1",
        "",
        "a b",
        "127.0.0.1\0",
        "\xff\xfe",
        "127.0.0.1/../x",
        "localhost.",
        "a" * 300,
        "..",
    ],
)
def test_a_foreign_or_broken_host_header_reaches_nothing(served: Served, host: str) -> None:
    for place in PLACES:
        answer = served.request("GET", place, [("Host", host)])
        refused(answer, 400)
        assert "evil" not in answer.text
        assert "evil" not in answer.header("location")


def test_two_host_headers_or_none_reach_nothing(served: Served) -> None:
    two = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n"
    refused(served.send(two), 400)
    refused(served.send(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n"), 400)


@pytest.mark.meets("rfc9700-76")
@pytest.mark.parametrize(
    "forwarded", ["X-Forwarded-Host", "X-Forwarded-For", "X-Forwarded-Proto", "Forwarded"]
)
def test_no_forwarded_header_is_believed_without_a_trusted_proxy(town: Town, forwarded: str) -> None:
    question = urlencode(question_of(town) | {"scope": "purchases.item:read"})
    answer = town.served.request("GET", f"/oauth/authorize?{question}", [(forwarded, "evil.example")])
    assert answer.status == 303
    assert answer.header("location").startswith(town.served.url + "/requests/")


@pytest.mark.parametrize(
    ("name", "value"),
    [("X-Long", HUGE), ("Cookie", "vrm=" + HUGE), ("Authorization", "Bearer " + HUGE)],
)
def test_headers_of_a_megabyte_are_refused(served: Served, name: str, value: str) -> None:
    refused(served.request("GET", "/api/v1/grant", [(name, value)]), 431)


def test_ten_thousand_headers_and_a_query_of_a_megabyte_are_refused(served: Served) -> None:
    refused(served.request("GET", "/", [(f"x-{number}", "1") for number in range(10_000)]), 431)
    refused(served.get("/api/v1/purchases?cursor=" + HUGE), 414, 431)


def test_long_headers_that_get_through_are_no_credential(town: Town) -> None:
    for place in PLACES:
        for name, value in (
            ("Cookie", "vrm=" + LONG),
            ("Cookie", "=;=;;vrm;vrm=\xff;" * 500),
            ("Authorization", "Bearer " + LONG),
            ("Accept-Language", "de," * 15_000),
            ("If-None-Match", '"' + LONG),
        ):
            refused(town.served.request("GET", place, [(name, value)]), 200, 303, 400, 401, 404, 405)


@pytest.mark.parametrize(
    "line",
    ["X: a\rb", "X: a\0b", "X : a", " X: a", "X\xff: a", "X", ": a", "Transfer-Encoding: xchunked"],
)
def test_malformed_headers_are_refused(served: Served, line: str) -> None:
    raw = f"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n{line}\r\nConnection: close\r\n\r\n"
    refused(served.send(raw.encode("latin-1"), 5), 400)


@pytest.mark.parametrize(
    "target", ["/%0d%0aSet-Cookie:x=1", "/login%0d%0aX:y", "/requests/%0d%0aSet-Cookie:x=1"]
)
def test_line_ends_in_an_address_make_no_header(served: Served, target: str) -> None:
    answer = served.get(target)
    refused(answer, 404)
    assert not [value for name, value in answer.headers if "x=1" in value or name == "x"]


@pytest.mark.parametrize(
    "target",
    [
        "/%00",
        "/%ff",
        "/%ed%a0%80",
        "/api/v1/%ff%fe",
        "/api/v1/purchases/%00",
        "/api/v1/purchases/%ed%a0%80",
        "/api/v1/purchases/..%2f..%2fgrant",
        "/api/v1/answers/%00",
        "/requests/%ed%a0%80",
        "/requests/" + "a" * 3000,
        "/problems/%ff",
        "/assets/..%2f..%2fdesk.py",
        "/assets/%2e%2e/desk.py",
        "/assets/%00",
        "//evil.example",
        "/" + "a/" * 20_000,
        "*",
    ],
)
def test_strange_addresses_are_not_found(town: Town, target: str) -> None:
    answer = town.served.bearer(target, town.shop.access)
    refused(answer, 400, 404)
    assert "desk()" not in answer.text


# ---- bodies ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["/oauth/token", "/oauth/revoke", "/login", "/create", "/recover"])
@pytest.mark.parametrize(
    ("header", "body"),
    [
        ("Transfer-Encoding: chunked", b"5\r\na=b&c\r\n0\r\n\r\n"),
        ("Transfer-Encoding: chunked", b"zz\r\na=b&c\r\n0\r\n\r\n"),
        ("Transfer-Encoding: chunked", b"fffffffffffffffffff\r\na=b\r\n0\r\n\r\n"),
        ("Content-Length: 3\r\nTransfer-Encoding: chunked", b"5\r\na=b&c\r\n0\r\n\r\n"),
        ("X-None: 1", b""),
    ],
)
def test_a_body_that_does_not_say_its_length_is_refused(
    served: Served, place: str, header: str, body: bytes
) -> None:
    raw = f"POST {place} HTTP/1.1\r\nHost: 127.0.0.1\r\n{FORM}{header}\r\nConnection: close\r\n\r\n"
    refused(served.send(raw.encode() + body), 411)


@pytest.mark.parametrize(
    "lengths",
    ["Content-Length: 3\r\nContent-Length: 4", "Content-Length: -3", "Content-Length: 9" + "9" * 25],
)
def test_a_length_that_is_none_is_refused(served: Served, lengths: str) -> None:
    raw = f"POST /oauth/token HTTP/1.1\r\nHost: 127.0.0.1\r\n{FORM}{lengths}\r\nConnection: close\r\n\r\n"
    refused(served.send(raw.encode() + b"abcd"), 400)


@pytest.mark.parametrize(("place", "status"), [("/oauth/token", 413), ("/login", 413), ("/import", 403)])
def test_a_body_that_announces_ten_gigabytes_is_refused_unread(
    served: Served, place: str, status: int
) -> None:
    begun = time.monotonic()
    with half_sent(served, place, b"a=b", 9_999_999_999) as connection:
        refused(parse(connection.recv(65_536)), status)
    assert time.monotonic() - begun < 5


def half_sent(served: Served, place: str, body: bytes, length: int) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", served.port), 10)
    head = f"POST {place} HTTP/1.1\r\nHost: 127.0.0.1\r\n{FORM}Content-Length: {length}\r\n\r\n"
    connection.sendall(head.encode() + body)
    return connection


@pytest.mark.parametrize("place", ["/oauth/token", "/oauth/revoke", "/login"])
def test_a_form_whose_tail_was_cut_off_is_not_taken_for_the_whole(town: Town, place: str) -> None:
    body = urlencode({"token": town.shop.access, "client_id": town.shop.vendor.client_id}).encode()
    with half_sent(town.served, place, body, len(body) + 20) as connection:
        connection.shutdown(socket.SHUT_WR)
        refused(parse(connection.recv(65_536)), 400)


def test_senders_who_stall_keep_out_nobody_who_reads(town: Town) -> None:
    with ExitStack() as stalled:
        for turn in range(12):
            place = ("/oauth/token", "/login")[turn % 2]
            stalled.enter_context(half_sent(town.served, place, b"grant_type=", 100))
        for _ in range(3):
            begun = time.monotonic()
            assert town.served.bearer("/api/v1/purchases", town.shop.access).status == 200
            assert time.monotonic() - begun < 5
        late = town.served.form("/oauth/token", "grant_type=refresh_token")
        assert late.status == 503
        assert json.loads(late.body) == {"error": "temporarily_unavailable"}
        assert int(late.header("retry-after")) > 0
    time.sleep(0.2)
    assert town.served.form("/oauth/token", "grant_type=magic", town.shop.basic).status == 400


def test_headers_that_never_end_keep_out_nobody(town: Town) -> None:
    with ExitStack() as stalled:
        for _ in range(200):
            connection = stalled.enter_context(socket.create_connection(("127.0.0.1", town.served.port), 10))
            connection.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: ")
        begun = time.monotonic()
        assert town.served.get("/healthz").status == 200
        assert time.monotonic() - begun < 5


@pytest.mark.parametrize(
    "kind",
    [
        "",
        "text/plain",
        "application/json",
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "\xff/\xff",
        "a" * 9000,
    ],
)
def test_bodies_of_another_type_are_refused(town: Town, kind: str) -> None:
    for place, statuses in (("/oauth/token", (400,)), ("/oauth/revoke", (400,)), ("/login", (400, 403))):
        body = b'{"grant_type": "refresh_token"}'
        refused(town.served.request("POST", place, [("Content-Type", kind)], body), *statuses)


# ---- parameters ------------------------------------------------------------------------------------


def question_of(town: Town) -> dict[str, str]:
    return {
        "response_type": "code",
        "client_id": town.shop.vendor.client_id,
        "redirect_uri": CALLBACK,
        "state": "st4te",
        "code_challenge": CHALLENGE,
        "code_challenge_method": "S256",
    }


GOOD = {"type": "vrm_access", "datatypes": ["purchases.item"], "actions": ["read"], "purpose": PURPOSE}


@pytest.mark.parametrize(
    "details",
    [
        "[" * 4000 + "]" * 4000,
        '[{"type":' + "[" * 3000 + "]" * 3000 + "}]",
        '{"a":' * 1500 + "1" + "}" * 1500,
        '[{"type":' + "9" * 5000 + "}]",
        '[{"type":1e999}]',
        '[{"type":NaN}]',
        '[{"type":-Infinity}]',
        '[{"type":"vrm_access","type":"vrm_access"}]',
        '[{"type":"vrm_access"}',
        "\ufeff[]",
        "null",
        '"x"',
        "[]",
        "[[]]",
        "[null]",
    ],
)
def test_authorization_details_that_are_none_go_back_to_the_vendor(town: Town, details: str) -> None:
    text = urlencode(question_of(town)) + "&authorization_details=" + details.replace('"', "%22")
    answer = town.served.request("GET", "/oauth/authorize?" + text.encode().decode("latin-1"))
    assert answer.status == 303
    assert "error=invalid_authorization_details" in answer.header("location")
    assert answer.header("location").startswith(CALLBACK)


STRANGE = [
    "\ud800",
    ["\ud800"],
    {"\ud800": 1},
    {"category": "\ud800"},
    {"category": ["\ud800", 10**30]},
    10**400,
    -1,
    1.5,
    True,
    None,
    "",
    [],
    {},
    "x" * 4000,
    [["x"]],
    "P99999999999Y",
    "P2Y\n",
    "\0",
    "\u202egnp",
]
ATTRIBUTES = [
    *GOOD,
    "fields",
    "filter",
    "period",
    "necessity",
    "retention",
    "terms",
    "response_channel",
    "zzz",
]


@pytest.mark.parametrize("attribute", ATTRIBUTES)
def test_strange_values_inside_authorization_details_go_back_to_the_vendor(
    town: Town, attribute: str
) -> None:
    for value in STRANGE:
        asked = question_of(town) | {"authorization_details": json.dumps([{**GOOD, attribute: value}])}
        answer = town.served.get("/oauth/authorize?" + urlencode(asked))
        assert answer.status == 303, (attribute, value, answer.text[:200])
        harmless = attribute in {"fields", "filter"} and value in ([], {})
        assert harmless or "error=" in answer.header("location"), (attribute, value)


@pytest.mark.parametrize(
    "value", ["%ff", "%00", "%0d%0aX: 1", "%ed%a0%80", "%E2%80%AE", "a" * 15_000, "%", "a&{name}=b"]
)
def test_strange_parameters_of_a_request_are_answered_by_page_or_vendor(town: Town, value: str) -> None:
    for name in [*question_of(town), "scope", "purpose", "request", "request_uri", "response_mode"]:
        rest = {known: sent for known, sent in question_of(town).items() if known != name}
        text = f"{urlencode(rest)}&{name}={value.format(name=name)}"
        answer = town.served.get("/oauth/authorize?" + text)
        refused(answer, 303, 400)
        assert not answer.header("x")
        if answer.status == 303 and name in {"client_id", "redirect_uri"}:
            raise AssertionError(f"sent on with a {name} of {value}")


@pytest.mark.parametrize(
    "form",
    [
        "grant_type=%ff",
        "grant_type[]=refresh_token",
        "grant_type=client_credentials",
        "grant_type=authorization_code&code=%ff&redirect_uri=%00&code_verifier=" + "v" * 43,
        "grant_type=refresh_token&refresh_token=%ed%a0%80",
        "grant_type=refresh_token&refresh_token=vrm_rt_" + "a" * 9000,
        "grant_type=refresh_token&refresh_token=x&scope=%ff%00",
        "grant_type=refresh_token&refresh_token=x&refresh_token=y",
        "&" * 15_000,
        "a=&" * 5000,
        "%",
        "=",
        "\0",
    ],
)
def test_strange_token_requests_are_oauth_errors(town: Town, form: str) -> None:
    for place in ("/oauth/token", "/oauth/revoke"):
        answer = town.served.form(place, form, town.shop.basic)
        refused(answer, 400)
        assert json.loads(answer.body)["error"] in {
            "invalid_request",
            "invalid_grant",
            "invalid_scope",
            "unsupported_grant_type",
        }


@pytest.mark.parametrize(
    "credential",
    [
        "Bearer",
        "Bearer \xff\xff",
        "Basic \xff",
        "Basic Og==",
        "Basic /w==",
        "Basic JWZmOiUwMA==",
        "Digest x",
        "bearer  a b",
    ],
)
def test_strange_credentials_are_none(town: Town, credential: str) -> None:
    given = ("Authorization", credential)
    refused(town.served.request("GET", "/api/v1/grant", [given]), 401)
    refused(town.served.form("/oauth/token", "grant_type=refresh_token&refresh_token=x", given), 401)


def test_a_credential_given_twice_is_none(town: Town) -> None:
    twice = [("Authorization", f"Bearer {town.shop.access}")] * 2
    refused(town.served.request("GET", "/api/v1/grant", twice), 401)


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=99999999999",
        "limit=%D9%A1",
        "limit=1&limit=2",
        "limit=1e2",
        "limit=NaN",
        "cursor=%ff",
        "cursor=AAAA",
        "cursor=" + "A" * 1024,
        "cursor=",
        "updated_since=0000-01-01T00:00:00Z",
        "updated_since=2026-01-01T00:00:60Z",
        "updated_since=99999-01-01T00:00:00Z",
        "%ff=1",
        "x[]=1",
        "access_token=x",
    ],
)
def test_strange_parameters_of_a_reading_are_problems(town: Town, query: str) -> None:
    for place in ("/api/v1/purchases", "/api/v1/purchases/changes"):
        answer = town.served.bearer(f"{place}?{query}", town.shop.access)
        refused(answer, 400)
        assert json.loads(answer.body)["type"] == "/problems/invalid-parameter"


@pytest.mark.parametrize("tag", ['"', '"' + "x" * 9000, 'W/"', "\xff", ",,,,", "*, *"])
def test_strange_etags_match_nothing(town: Town, tag: str) -> None:
    page = json.loads(town.served.bearer("/api/v1/purchases?limit=1", town.shop.access).body)
    place = f"/api/v1/purchases/{page['items'][0]['id']}"
    assert town.served.bearer(place, town.shop.access, ("If-None-Match", tag)).status == 200
