"""Pages for what goes wrong: plain words, what to do, nothing of the inside."""

import logging
from dataclasses import replace

import pytest
from flask import Flask

from tests.web.actors import Customer
from vrm.app import create_app
from vrm.errors import BusyError, RateLimitedError, StorageError, TamperedError, VrmError
from vrm.settings import Settings
from vrm.vault.sqlite import SqliteEngine
from vrm.web import faults


@pytest.mark.parametrize(
    ("path", "words"),
    [("/nowhere", "There is nothing here"), ("/things/" + "0" * 32, "There is nothing here")],
)
def test_an_unknown_address_is_a_page_with_a_way_home(alice: Customer, path: str, words: str) -> None:
    page = alice.get(path)
    assert page.status == 404
    assert words in page.text
    assert "/" in page.links()


def test_a_stranger_at_an_unknown_address_is_told_nothing_of_the_vault(customer: Customer) -> None:
    page = customer.get("/nowhere")
    assert page.status == 404
    assert "/things" not in page.links()


@pytest.mark.parametrize("path", ["/api/v2/nowhere", "/oauth/nowhere", "/.well-known/nowhere"])
def test_machines_get_no_page(customer: Customer, path: str) -> None:
    response = customer.client.get(path)
    assert response.status_code == 404
    assert "text/html" not in response.content_type


def test_a_wrong_method_says_which_is_right(alice: Customer) -> None:
    page = alice.post("/log", {})
    assert page.status == 405
    assert "GET" in page.response.headers["Allow"]
    assert "opened differently" in page.text


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (BusyError(), 503, "Busy right now"),
        (StorageError(hint="disk I/O error at /srv/secret/vrm.db"), 503, "Nothing was lost"),
        (TamperedError(), 500, "vrm check"),
        (RateLimitedError(retry_after=130), 429, "Try again in 3 minutes"),
        (VrmError("inner words"), 500, "Something failed on our side"),
    ],
)
def test_every_family_of_errors_has_its_words(app: Flask, error: VrmError, status: int, words: str) -> None:
    with app.test_request_context("/me"):
        app.preprocess_request()
        answer = faults.vault_fault(error)
    text = answer.get_data(as_text=True)
    assert answer.status_code == status
    assert words in " ".join(text.split())
    assert "secret" not in text
    assert "inner words" not in text
    assert ("Retry-After" in answer.headers) == (status in {429, 503})


def test_our_own_mistake_is_logged_and_not_told(
    alice: Customer, engine: SqliteEngine, caplog: pytest.LogCaptureFixture
) -> None:
    with engine.write() as transaction:
        transaction.execute("DROP TABLE log_entries")
    with caplog.at_level(logging.CRITICAL + 1):
        page = alice.get("/log")
    assert page.status in {500, 503}
    assert "log_entries" not in page.html
    assert "Traceback" not in page.html


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "a b", ""])
def test_another_host_name_reaches_no_page(app: Flask, host: str) -> None:
    client = app.test_client()
    for method in ("get", "post"):
        response = getattr(client, method)("/login", headers={"Host": host or "evil"})
        assert response.status_code == 400
        assert "Passphrase" not in response.get_data(as_text=True)


@pytest.mark.parametrize(
    ("public_url", "named"),
    [
        ("http://[::1]:8600", ["[::1]:8600", "localhost", "LOCALHOST:1"]),
        ("https://[2001:DB8::1]", ["[2001:db8::1]", "[2001:DB8::1]:443"]),
        ("https://Vault.Example", ["vault.example", "Vault.Example", "VAULT.EXAMPLE:443"]),
    ],
)
def test_our_own_name_reaches_us_however_it_is_written(
    settings: Settings, public_url: str, named: list[str]
) -> None:
    client = create_app(replace(settings, public_url=public_url)).test_client()
    for host in named:
        for path in ("/healthz", "/login", "/.well-known/oauth-authorization-server"):
            assert client.get(path, headers={"Host": host}).status_code == 200, (host, path)
    for host in ("2001:db8::1", "[2001:db8::2]", "vault.example.evil.example", "[vault.example]"):
        assert client.get("/healthz", headers={"Host": host}).status_code == 400, host


@pytest.mark.parametrize(
    "body", [b"\x00" * 100, b"%zz=%", b"a" * 700_000, b"=" * 100, b"&" * 3000, "ü=ü".encode("utf-16")]
)
def test_bodies_that_are_no_form_never_break_a_page(alice: Customer, body: bytes) -> None:
    for path in ("/login", "/things", "/sort", "/me/passphrase"):
        response = alice.client.post(path, data=body, content_type="application/x-www-form-urlencoded")
        assert response.status_code in {303, 400, 403, 413}, path


def test_a_form_with_thousands_of_parts_is_refused(alice: Customer) -> None:
    part = '--c\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n'
    body = (part * 5000 + "--c--\r\n").encode()
    response = alice.client.post("/things", data=body, content_type="multipart/form-data; boundary=c")
    assert response.status_code == 413


def test_a_page_about_a_storage_that_fails_asks_it_nothing(alice: Customer, engine: SqliteEngine) -> None:
    with engine.write() as transaction:
        transaction.execute("ALTER TABLE vaults RENAME COLUMN confirmed TO elsewhere")  # what the menu asks
    page = alice.get("/me")
    assert page.status == 503
    assert "Nothing was lost" in page.text
    assert page.response.headers["Retry-After"]
