"""The customer's form for something new, taken before Flask is asked: nothing she posts is posted more often.

Takes `POST /things/new` and `/preferences/new` from a browser that says it comes from here, to our own host,
with her session and its form token. Promises: each check that such a form meets on its way through Flask
(`gate`, `session`, `records`) is made here, by the same functions; what it answers is what the page answers.
Whatever is not as it should be, or goes wrong, goes on to Flask as it came, and is answered there: so here
nothing is ever refused, and the body is kept for whoever reads it next.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterable
from io import BytesIO
from typing import Any, Final

from flask import Flask
from werkzeug.http import dump_cookie, parse_cookie
from werkzeug.utils import redirect

from vrm.plain import Environ, Naming, Plain
from vrm.posted import form_pairs
from vrm.vault.engine import Work
from vrm.vault.vault import Vault
from vrm.web import forms, headers, seeing, session
from vrm.web.desk import EXTENSION, Desk
from vrm.web.pages.records import PLACES, RECORD_ID
from vrm.web.upload import FORM_BYTES

RULE: Final = "/<any(things, preferences):place>/new"
_ID: Final = "0" * 32  # stands for a record's in what is made before


class NewRecords:
    """WSGI middleware right around Flask, within what looks after bodies and proxies."""

    def __init__(self, app: Flask, named: Naming) -> None:
        """`named` is told the method and the rule of what was answered."""
        self._app, self._named = app.wsgi_app, named
        self._desk: Desk = app.extensions[EXTENSION]
        self._plain = Plain(app.config["OWN_HOSTS"])
        self._places = {f"/{path}/new": PLACES[path] for path in ("things", "preferences")}
        desk = self._desk
        beside = session.attributes(session.NOTICE_SECONDS, desk)
        always = (*headers.of_pages(desk.https).items(), ("Cache-Control", "no-store"))
        self._hosts, self._session = {desk.host}, desk.cookie(session.SESSION)
        self._answers = {}
        for address, place in self._places.items():
            moved, notice = redirect(f"/{place.path}", 303), seeing.added(place.path, _ID)
            told = dump_cookie(desk.cookie(session.NOTICE), notice, **beside)  # to be said on the next page
            self._answers[address] = ([*moved.headers, *always], told, moved.get_data())

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        address = environ["PATH_INFO"]
        if address not in self._places or not self._is_plain(environ):
            return self._app(environ, start_response)
        form: dict[str, str] = {}
        try:
            body = environ["wsgi.input"].read()
            environ["wsgi.input"] = BytesIO(body)
            form.update(reversed(form_pairs(body)))
            added = self._desk.vaults.engine.perform(self._adding(environ, address, form))
        except Exception:  # noqa: BLE001 - whatever it is, Flask meets it again and answers it
            added = False
        if not added:
            return self._app(environ, start_response)
        self._named(environ, "POST", RULE)
        always, told, body = self._answers[address]
        start_response("303 SEE OTHER", [*always, ("Set-Cookie", told.replace(_ID, form["record"]))])
        return [body]

    def _is_plain(self, environ: Environ) -> bool:
        return (
            self._plain.is_form(environ, FORM_BYTES)
            and not environ.get("SCRIPT_NAME")
            and session.is_from_here(
                environ.get("HTTP_SEC_FETCH_SITE", "same-origin"),
                environ.get("HTTP_ORIGIN", "null"),
                self._hosts,
            )
        )

    def _adding(self, environ: Environ, address: str, form: dict[str, str]) -> Work[bool]:
        """Store what was typed; False where the page has something to say to it."""
        vault = self._unlocked(environ, form)
        record = form.get("record", "")
        if vault is None or not RECORD_ID.fullmatch(record):
            return False
        place = self._places[address]
        document, wrong = forms.checked(place.spec, forms.read(place.spec, form))
        if wrong or not any(document.values()):
            return False
        yield from vault.records(place.collection).applying({record: document}, {record: 0}, {})
        return True

    def _unlocked(self, environ: Environ, form: dict[str, str]) -> Vault | None:
        """Her vault, if session and form token are good and she has her recovery code."""
        cookies = parse_cookie(environ.get("HTTP_COOKIE", ""))
        secret = cookies.get(self._session, "")
        if not secret:
            return None
        vault = self._desk.vaults.resume(secret)
        expected = self._desk.vaults.server_key.form_token(session.form_key(secret), vault.id)
        if not hmac.compare_digest(form.get("csrf_token", "").encode(), expected.encode()):
            return None
        return vault if vault.recovery_confirmed else None
