"""What every page refuses: forms without token or from elsewhere, framing, sniffing, scripts, strangers."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

import vrm.web
from tests.web.actors import PASSPHRASE, Customer, Form, Page, shown_code
from tests.web.conftest import Ask
from vrm.app import create_app
from vrm.clock import Clock
from vrm.consent.service import Consent
from vrm.host import Host
from vrm.settings import Settings
from vrm.vault.sqlite import SqliteEngine
from vrm.vault.vault import Vault, Vaults

OUTSIDE = ["/", "/create", "/login", "/recover"]
INSIDE = [
    "/",
    "/things",
    "/things/new",
    "/import",
    "/sort",
    "/preferences",
    "/preferences/new",
    "/profile",
    "/requests",
    "/companies",
    "/log",
    "/me",
]
CANARY = "\"'><script>alert(1)</script><img src=x onerror=alert(2)>{{7*7}}"


def forms_of(customer: Customer, paths: list[str]) -> list[tuple[str, Form]]:
    return [(path, form) for path in paths for form in customer.get(path).forms]


def tokens(form: Form) -> list[tuple[str, str]]:
    """What a form carries besides what is typed."""
    return [(name, value) for name, value in form.fields if "." not in name]


def fixed(app: Flask, path: str) -> str:
    """The rule of a path, so that forms are told apart by kind and not by record."""
    return re.sub(r"[0-9a-f]{32}|vrm_rq_[\w-]+|(?<=companies/)[\w-]{22}", "X", path)


@pytest.fixture
def everything(
    alice: Customer, opened: Vault, shelf: dict[str, str], ask: Ask, consent: Consent
) -> list[str]:
    """Every page that alice has, with something on each."""
    handle = ask()
    page = alice.get(f"/requests/{handle}")
    alice.submit(page.form(handle), ("decision", "approve"), follow=False)
    (grant,) = consent.grants.listing(opened)
    opened.records("preferences").put({"statement": {"topic": "perfume"}})
    (preference,) = opened.records("preferences").ids()
    record = shelf["Piranesi"]
    return [
        *INSIDE,
        f"/requests/{ask()}",
        f"/things/{record}",
        f"/things/{record}/delete",
        f"/preferences/{preference}",
        f"/companies/{grant.id}",
        f"/companies/{grant.id}/stop",
    ]


def test_every_form_carries_a_token_and_is_refused_without_it(
    app: Flask, alice: Customer, everything: list[str], opened: Vault
) -> None:
    before = {record: opened.records("purchases").get(record) for record in opened.records("purchases").ids()}
    tried = set()
    for path, form in forms_of(alice, everything):
        assert form.method == "post", path
        assert "csrf_token" in form.names(), path
        for token in (None, "", "0" * 64, "ü"):
            fields = [pair for pair in form.fields if pair[0] != "csrf_token"]
            fields += [("csrf_token", token)] if token is not None else []
            page = alice.post(form.action, fields + form.buttons[:1])
            assert page.status == 403, (path, form.action, token)
            assert "Nothing was done" in page.text
        tried.add(fixed(app, form.action))
    posts = {
        rule.rule
        for rule in app.url_map.iter_rules()
        if rule.endpoint.startswith("web.") and "POST" in (rule.methods or set())
    }
    assert len(tried) >= 14, (tried, posts)
    after = {record: opened.records("purchases").get(record) for record in opened.records("purchases").ids()}
    assert after == before


@pytest.mark.parametrize("path", ["/login", "/create", "/recover"])
def test_forms_before_the_log_in_are_refused_without_their_cookie(customer: Customer, path: str) -> None:
    form = customer.get(path).form(path)
    customer.client.delete_cookie("vrm-form")
    page = customer.submit(form, username="alice", passphrase=PASSPHRASE)
    assert page.status == 403
    assert "grown old" in page.text
    assert page.form(path).value("username") == "alice"
    assert PASSPHRASE not in page.html


def test_the_token_of_one_session_is_worth_nothing_in_another(app: Flask, alice: Customer) -> None:
    mallory = Customer(app.test_client())
    mallory.create("mallory")
    stolen = mallory.get("/me").form("/logout").value("csrf_token")
    form = alice.get("/me").form("/logout")
    assert alice.submit(form, csrf_token=stolen).status == 403


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "http://localhost.evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site", "Origin": "null"},
    ],
)
def test_a_form_from_elsewhere_is_refused_even_with_the_right_token(
    alice: Customer, headers: dict[str, str]
) -> None:
    form = alice.get("/preferences/new").form("/preferences/new")
    page = alice.post(
        "/preferences/new", [*tokens(form), ("statement.topic", "planted words")], headers=headers
    )
    assert page.status == 403
    assert "another site" in page.text
    assert "planted words" not in page.text


@pytest.mark.parametrize(
    "headers", [{"Origin": "null", "Sec-Fetch-Site": "same-origin"}, {"Origin": "http://localhost"}, {}]
)
def test_what_browsers_send_with_our_own_forms_is_accepted(alice: Customer, headers: dict[str, str]) -> None:
    form = alice.get("/preferences/new").form("/preferences/new")
    page = alice.post("/preferences/new", [*tokens(form), ("statement.topic", "perfume")], headers=headers)
    assert page.status == 303


@pytest.mark.parametrize("path", [path for path in INSIDE if path != "/"])
def test_strangers_are_sent_to_the_log_in(customer: Customer, path: str) -> None:
    assert customer.get(path).path == "/login"


def test_strangers_cannot_post_anywhere_inside(app: Flask, customer: Customer) -> None:
    for rule in app.url_map.iter_rules():
        if not rule.endpoint.startswith("web.") or "POST" not in (rule.methods or set()):
            continue
        path = re.sub(r"<any[^>]*>", "things", rule.rule)
        path = re.sub(r"<[^>]+>", "0" * 32, path)
        token = customer.get("/login").form("/login").value("csrf_token")
        page = customer.post(path, {"csrf_token": token})
        assert page.status in {303, 400, 403}, path
        assert page.location in {"", "/login", "/"}, path


def assert_protected(page: Page) -> None:
    headers = page.response.headers
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "base-uri 'none'" in policy
    assert "form-action 'self'" in policy
    assert "unsafe" not in policy
    assert "script-src" not in policy
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert headers["Permissions-Policy"]
    assert headers["Cache-Control"] == "no-store"


def assert_no_code(page: Page) -> None:
    for tag, given in page.tags:
        assert tag not in {"script", "iframe", "object", "embed", "base", "style"}, page.path
        assert "style" not in given, page.path
        assert not [name for name in given if name.startswith("on")], page.path


@pytest.mark.meets("rfc9700-41", "rfc9700-87", "rfc9700-88", "rfc9700-90")
def test_every_page_is_protected_and_holds_no_code(
    alice: Customer, everything: list[str], app: Flask
) -> None:
    stranger = Customer(app.test_client())
    for page in [*(alice.get(path) for path in everything), *(stranger.get(path) for path in OUTSIDE)]:
        assert page.status == 200, page.path
        assert_protected(page)
        assert_no_code(page)


def test_error_pages_are_protected_too(customer: Customer, alice: Customer) -> None:
    pages = [
        customer.get("/nothing-here"),
        alice.post("/", {}),
        alice.get("/things/" + "f" * 32),
        alice.get("/companies/nosuch"),
        alice.get("/requests/nosuch"),
        alice.post("/logout", {}),
        alice.post("/logout", {"x": "y" * 2**20}),
    ]
    assert [page.status for page in pages] == [404, 405, 404, 404, 404, 403, 413]
    for page in pages:
        assert_protected(page)
        assert_no_code(page)
        assert "Traceback" not in page.html


@pytest.fixture
def over_tls(
    engine: SqliteEngine, vaults: Vaults, consent: Consent, settings: Settings, clock: Clock
) -> FlaskClient:
    chosen = replace(settings, public_url="https://vault.example", signup="open")
    return create_app(chosen, host=Host(chosen, engine, vaults, consent, clock)).test_client()


def test_over_tls_every_cookie_is_secure_and_bound_to_this_host(over_tls: FlaskClient, ask: Ask) -> None:
    class Tls(Customer):
        def get(self, path: str, **rest: object) -> Page:
            return super().get(path, base_url="https://vault.example", **rest)

        def post(self, path: str, fields: object, **rest: object) -> Page:
            return super().post(path, fields, base_url="https://vault.example", **rest)  # type: ignore[arg-type]

    alice = Tls(over_tls)
    asked = alice.get(f"/requests/{ask()}")
    form = alice.get("/create").form("/create")
    made = alice.submit(form, follow=False, username="alice", passphrase=PASSPHRASE, again=PASSPHRASE)
    confirmed = alice.submit(made.form("/recovery-code"), follow=False, code=shown_code(made))
    cookies = [
        cookie for page in (asked, made, confirmed) for cookie in page.response.headers.getlist("Set-Cookie")
    ]
    assert {cookie.partition("=")[0] for cookie in cookies} >= {"__Host-vrm", "__Host-vrm-waiting"}
    for cookie in cookies:
        parts = set(cookie.split("; ")[1:])
        assert cookie.startswith("__Host-vrm")
        assert {"Secure", "HttpOnly", "Path=/", "SameSite=Lax"} <= parts, cookie
        assert "Domain" not in cookie
    assert made.response.headers["Strict-Transport-Security"] == "max-age=31536000"


def test_on_loopback_cookies_have_their_plain_names(alice: Customer) -> None:
    cookie = alice.client.get_cookie("vrm")
    assert cookie is not None
    assert cookie.http_only
    assert cookie.same_site == "Lax"
    assert not cookie.secure
    assert "Strict-Transport-Security" not in alice.get("/").response.headers


def test_the_style_sheet_may_be_kept_and_the_pages_may_not(customer: Customer) -> None:
    response = customer.client.get("/assets/vrm.css", buffered=True)
    assert response.headers["Cache-Control"] == "public, max-age=86400"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert customer.client.get("/assets/nothing.css").headers["Cache-Control"] == "no-store"
    assert customer.client.get("/assets/../session.py").status_code == 404


def test_what_strangers_wrote_stays_text_on_every_page(
    alice: Customer, opened: Vault, consent: Consent, ask: Ask
) -> None:
    records = opened.records("purchases")
    hostile = {"item": {"title": CANARY, "brand": CANARY, "category": "books", "asin": CANARY[:40]}}
    hostile |= {"order": {"seller": CANARY, "order_number": CANARY, "ordered": "2026-05-01"}}
    hostile |= {"recipient": {"name": CANARY, "address": CANARY}, "notes": {"text": CANARY}}
    record = records.put(hostile | {"context": {"for": "self", "occasion": CANARY[:60]}})
    records.put(hostile)
    opened.records("preferences").put({"statement": {"topic": CANARY, "text": CANARY}})
    shop = consent.vendors.add(CANARY, ["https://x.example/cb"], sells_as=[CANARY])[0]
    handle = ask(vendor=shop, uri="https://x.example/cb")
    paths = ["/", "/things", "/sort", "/preferences", "/requests", f"/requests/{handle}", f"/things/{record}"]
    paths.append(f"/things/{record}/delete")
    pages = [alice.get(path) for path in paths]
    consent_page = alice.get(f"/requests/{handle}")
    pages.append(alice.submit(consent_page.form(handle), ("decision", "show")))
    alice.submit(consent_page.form(handle), ("decision", "approve"), follow=False)
    (grant,) = consent.grants.listing(opened)
    pages += [alice.get(path) for path in ("/companies", f"/companies/{grant.id}", "/log", "/")]
    pages.append(alice.submit(alice.get("/things").form("/things"), words=CANARY))
    for page in pages:
        assert page.status == 200
        assert "<script" not in page.html, page.path
        assert "<img src=x" not in page.html, page.path
        assert_no_code(page)


def test_text_that_runs_the_other_way_is_kept_apart(alice: Customer, opened: Vault) -> None:
    opened.records("purchases").put({"item": {"title": "שלום abc"}, "order": {}, "context": {}})
    assert "<bdi>שלום abc</bdi>" in alice.get("/things").html


@pytest.mark.parametrize("text", ["evil\u202etxt.exe", "two\u2066lines", "nul\x00byte"])
def test_characters_that_disguise_text_do_not_get_in(alice: Customer, opened: Vault, text: str) -> None:
    form = alice.get("/things/new").form("/things/new")
    page = alice.submit(form, **{"item.title": text})
    titles = [document["item"]["title"] for _, document in opened.records("purchases").scan()]
    if page.status == 400:
        assert "hidden character" in page.text
        assert titles == []
    else:
        assert titles == ["nulbyte"]


def test_templates_translate_only_what_they_say_themselves() -> None:
    # `_(variable)` would turn whatever the variable holds into safe HTML
    templates = Path(vrm.web.__file__).parent / "templates"
    found = [
        f"{path.name}: {call}"
        for path in templates.glob("*.html")
        for call in re.findall(r"(?:\b_|\bn?gettext)\((?![\"'])[^)]*\)", path.read_text(encoding="utf-8"))
    ]
    assert found == []
    unsafe = [
        path.name
        for path in templates.glob("*.html")
        if re.search(r"\|\s*safe\b|autoescape", path.read_text())
    ]
    assert unsafe == []
