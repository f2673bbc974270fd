"""What a browser's history, a referrer, a log or the temp folder may keep of her opens nothing."""

from __future__ import annotations

import logging
import re
import tempfile
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.api.actors import CALLBACK, Shop
from tests.conftest import SettableClock
from vrm.app import create_app
from vrm.consent.service import Consent
from vrm.host import Host
from vrm.settings import Settings
from vrm.vault.sqlite import SqliteEngine
from vrm.vault.vault import Vault, Vaults

LARGE = 50 * 1024 * 1024  # bytes
CREDENTIAL = re.compile(r"vrm_[a-z]{2}_[A-Za-z0-9_=-]{20,}")


@pytest.fixture
def app(engine: SqliteEngine, vaults: Vaults, consent: Consent, folder: Path, clock: SettableClock) -> Flask:
    settings = Settings(data_dir=folder, public_url="http://127.0.0.1:8600")
    made = create_app(settings, host=Host(settings, engine, vaults, consent, clock))
    made.testing = True
    return made


@pytest.fixture
def alice(app: Flask, vault: Vault, engine: SqliteEngine) -> FlaskClient:
    """Her browser, logged in."""
    with engine.write() as transaction:
        transaction.execute("UPDATE vaults SET confirmed = 1")
    browser = app.test_client()
    browser.set_cookie("vrm", vault.open_session())
    return browser


@pytest.fixture
def shop(app: Flask, consent: Consent) -> Shop:
    vendor, secret = consent.vendors.add("Corner Books", (CALLBACK,), purpose="ProvideProductRecommendations")
    return Shop(app.test_client(), vendor, secret)


def approve(alice: FlaskClient, shop: Shop) -> list[str]:
    """She approves a request in her browser; every address that it went to, the vendor's last."""
    asked = alice.get("/oauth/authorize", query_string=shop.question())
    path = urlsplit(asked.headers["Location"]).path
    page = alice.get(path).get_data(as_text=True)
    hidden = dict(re.findall(r'name="(csrf_token|digest|seen)" value="([^"]*)"', page))
    answer = alice.post(path, data={**hidden, "decision": "approve"})
    assert answer.status_code == 303, answer.get_data(as_text=True)
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    return [asked.request.url, path, answer.headers["Location"]]


def test_what_history_keeps_is_worth_nothing_after_a_minute(
    alice: FlaskClient, shop: Shop, clock: SettableClock, app: Flask
) -> None:
    history = approve(alice, shop)
    [code] = parse_qs(urlsplit(history[-1]).query)["code"]
    clock.forward(61)
    answer = shop.redeem(code)
    assert answer.status_code == 400
    assert answer.get_json()["error"] == "invalid_grant"
    thief = app.test_client()
    assert thief.get(history[1]).status_code == 404  # the request was decided
    kept = {found for address in history for found in CREDENTIAL.findall(address)}
    assert code in kept
    for one in kept:
        assert shop.read("/purchases", one).status_code == 401
        assert shop.refresh(one).status_code == 400


def test_logs_hold_no_code_no_handle_no_token_and_no_search(
    alice: FlaskClient, shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    history = approve(alice, shop)
    [code] = parse_qs(urlsplit(history[-1]).query)["code"]
    given = shop.redeem(code).get_json()
    shop.read("/purchases", given["access_token"], query_string={"limit": "5"})
    shop.read("/purchases", given["access_token"], query_string={"unknown": "canary"})
    token = re.search(r'name="csrf_token" value="([^"]+)"', alice.get("/things/new").get_data(as_text=True))
    assert token
    alice.post("/things", data={"csrf_token": token[1], "words": "canary of a search"})
    alice.get("/things/canary")
    alice.get("/canary-of-no-page?canary=1")
    logged = [record.getMessage() for record in caplog.records]
    assert sum("POST" in line for line in logged) >= 3  # there is a log
    text = "\n".join(logged)
    assert CREDENTIAL.findall(text) == []
    assert "canary" not in text
    assert token[1] not in text


def test_an_upload_of_fifty_megabytes_leaves_nothing_in_the_temp_folder(
    alice: FlaskClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temp = tmp_path / "temp"
    temp.mkdir(mode=0o500)
    monkeypatch.setattr(tempfile, "tempdir", str(temp / "no-such-folder"))  # opening anything there fails
    token = re.search(r'name="csrf_token" value="([^"]+)"', alice.get("/import").get_data(as_text=True))
    assert token
    head = (
        f'--cut\r\nContent-Disposition: form-data; name="csrf_token"\r\n\r\n{token[1]}\r\n--cut\r\n'
        'Content-Disposition: form-data; name="files"; filename="h.csv"\r\n\r\n'
    )
    body = head.encode() + b"Canary,".ljust(LARGE, b"x") + b"\r\n--cut--\r\n"
    answer = alice.post("/import", data=body, content_type="multipart/form-data; boundary=cut")
    assert answer.status_code in (400, 413)  # no order history, or too large for one: never 500
    assert list(temp.iterdir()) == []
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert [path for path in files if b"Canary" in path.read_bytes()] == []
