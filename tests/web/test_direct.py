"""A form for something new is answered before Flask is asked, and as Flask would have answered it."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlencode

import pytest
from flask import Flask
from werkzeug.datastructures import Headers
from werkzeug.test import Client, EnvironBuilder, TestResponse, run_wsgi_app

from vrm.app import create_app
from vrm.host import Host, open_host
from vrm.settings import Settings
from vrm.vault.crypto import KdfLimits
from vrm.vault.engine import Work
from vrm.vault.vault import Vault
from vrm.web import direct
from vrm.web.pages.records import PLACES

PASSPHRASE = "seven wet umbrellas in the hall"
Change = Callable[["Posting"], None]


class Posting:
    """What a browser sends for something new; tests change it."""

    def __init__(self, cookie: str, token: str) -> None:
        self.path, self.query = "/things/new", ""
        self.form = {"csrf_token": token, "record": secrets.token_hex(16), "item.title": "A Lamp"}
        self.headers = {"Cookie": f"vrm={cookie}", "Origin": "null", "Sec-Fetch-Site": "same-origin"}
        self.base = "http://127.0.0.1:8080"

    def environ(self) -> dict[str, Any]:
        headers = Headers({**self.headers, "Content-Type": "application/x-www-form-urlencoded"})
        body = urlencode(self.form)
        return EnvironBuilder(
            self.path, self.base, self.query, method="POST", headers=headers, data=body
        ).get_environ()


@pytest.fixture
def host(tmp_path: Any) -> Iterator[Host]:
    opened = open_host(Settings(data_dir=tmp_path), limits=KdfLimits(memory=19 * 1024, passes=1))
    yield opened
    opened.engine.close()


@pytest.fixture
def hers(host: Host) -> Vault:
    vault, code = host.vaults.create("alice", PASSPHRASE)
    vault.confirm_recovery_code(code)
    return vault


@pytest.fixture
def app(host: Host) -> Flask:
    return create_app(host.settings, host=host)


@pytest.fixture
def posting(app: Flask, hers: Vault) -> Posting:
    cookie = hers.open_session()
    page = app.test_client(use_cookies=False).get("/things/new", headers={"Cookie": f"vrm={cookie}"})
    token = re.search(r'name="csrf_token" value="([0-9a-f]+)"', page.get_data(as_text=True))
    assert token is not None
    return Posting(cookie, token[1])


def sent(app: Flask, posting: Posting) -> TestResponse:
    return Client(app, use_cookies=False).open(posting.environ())


def told(answer: TestResponse) -> tuple[Any, ...]:
    """All that an answer says, in the order of names, without when a cookie ends and the record's id."""
    headers = [(name, re.sub("Expires=[^;]*|[0-9a-f]{32}", "", value)) for name, value in answer.headers]
    return answer.status, sorted(headers), answer.get_data()


@pytest.fixture
def count(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The requests that were answered before Flask."""
    taken: list[str] = []
    adding = direct.NewRecords._adding

    def counting(self: direct.NewRecords, environ: Any, address: str, form: dict[str, str]) -> Work[bool]:
        added = yield from adding(self, environ, address, form)
        taken.extend([address] * added)
        return added

    monkeypatch.setattr(direct.NewRecords, "_adding", counting)
    return taken


@pytest.mark.parametrize(
    ("path", "name"), [("/things/new", "item.title"), ("/preferences/new", "statement.topic")]
)
def test_the_answer_is_that_of_the_page(
    app: Flask,
    hers: Vault,
    posting: Posting,
    count: list[str],
    monkeypatch: pytest.MonkeyPatch,
    path: str,
    name: str,
) -> None:
    posting.path = path
    posting.form[name] = "Tea"
    first = told(sent(app, posting))
    assert count == [path]
    collection = PLACES[path.split("/")[1]].collection
    assert len(hers.records(collection).ids()) == 1
    posting.form["record"] = secrets.token_hex(16)
    monkeypatch.setattr(direct.NewRecords, "_is_plain", lambda self, environ: False)
    assert told(sent(app, posting)) == first
    assert len(hers.records(collection).ids()) == 2
    assert count == [path]


def form(**values: str) -> Change:
    return lambda posting: posting.form.update(
        {name.replace("__", "."): value for name, value in values.items()}
    )


def header(name: str, value: str) -> Change:
    return lambda posting: posting.headers.update({name: value})


def at(**parts: str) -> Change:
    return lambda posting: vars(posting).update(parts)


@pytest.mark.parametrize(
    ("change", "status"),
    [
        (form(csrf_token="0" * 64), 403),
        (form(csrf_token=""), 403),
        (header("Cookie", "vrm=" + "A" * 43), 403),
        (header("Cookie", ""), 403),
        (header("Origin", "https://elsewhere.example"), 403),
        (header("Origin", "http://[::1"), 403),
        (header("Sec-Fetch-Site", "cross-site"), 403),
        (at(base="http://rebound.example:8080"), 400),
        (form(record="not one of ours"), 400),
        (form(item__title=""), 400),
        (form(price__total="much"), 400),
    ],
)
def test_what_is_not_in_order_is_left_to_the_page_and_stores_nothing(
    app: Flask, hers: Vault, posting: Posting, count: list[str], change: Change, status: int
) -> None:
    change(posting)
    assert sent(app, posting).status_code == status
    assert hers.records("purchases").ids() == []
    assert count == []


def test_a_vault_whose_recovery_code_is_not_confirmed_takes_nothing(
    app: Flask, hers: Vault, posting: Posting, count: list[str]
) -> None:
    hers.new_recovery_code(PASSPHRASE)
    assert sent(app, posting).headers["Location"].endswith("/recovery-code")
    assert (hers.records("purchases").ids(), count) == ([], [])


def test_a_form_that_is_sent_twice_adds_once(
    app: Flask, hers: Vault, posting: Posting, count: list[str]
) -> None:
    assert [sent(app, posting).status_code for _ in range(2)] == [303, 303]
    assert len(hers.records("purchases").ids()) == len(count) == 1


def test_a_body_that_is_cut_off_is_refused_as_anywhere(app: Flask, hers: Vault, posting: Posting) -> None:
    environ = posting.environ()
    environ["CONTENT_LENGTH"] = str(int(environ["CONTENT_LENGTH"]) + 10)
    assert run_wsgi_app(app, environ)[1].startswith("400")
    assert hers.records("purchases").ids() == []
