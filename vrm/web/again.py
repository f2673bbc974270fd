"""Forms that meet a session that has ended: what was typed is shown again after the log-in.

Promises: it waits in her browser only, sealed under a key of this host, for half an hour; nothing of it is
stored here, stands in an address or is written to a log; it is shown once more, for her to press the button
again, and nothing is done by itself. Refuses what was typed into a form that this vault did not make for
this customer: the form's token, which only this host makes and only for a session of that vault, is
checked with the vault that was opened. It travels in a hidden field of the log-in form; a company's
request, whose page offers no log-in, leaves it in a cookie instead.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from flask import g, render_template, request
from werkzeug.datastructures import MultiDict
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response

from vrm.errors import TamperedError, VrmError
from vrm.vault.vault import Vault
from vrm.web import session
from vrm.web.desk import desk

Page = Response | str | tuple[str, int]
Form = MultiDict[str, str]
Again = Callable[..., Page]

SECONDS: Final = 30 * 60
TYPED_MOST: Final = 200_000  # bytes of what was typed; more is given back to copy
SEALED_MOST: Final = 300_000  # characters in the log-in form
COOKIE_MOST: Final = 3_500  # characters; browsers drop longer cookies
KEPT: Final = "kept"
FIELD: Final = "kept"
REQUEST: Final = "web.decide_request"
_PAGES: dict[str, Again] = {}


@dataclass(frozen=True, slots=True)
class Typed:
    """A form as it was posted."""

    endpoint: str
    args: dict[str, Any]
    pairs: list[tuple[str, str]]

    @property
    def form(self) -> Form:
        """What was typed, by name."""
        return MultiDict(self.pairs)


def page_for(endpoint: str) -> Callable[[Again], Again]:
    """Mark what shows the form of `endpoint` again: called with the form and the address's parts."""

    def mark(page: Again) -> Again:
        _PAGES[endpoint] = page
        return page

    return mark


def chosen(name: str, value: str, *, otherwise: bool = False) -> bool:
    """For templates: whether a box or radio was ticked in the form that is shown again."""
    typed: Form | None = getattr(g, "chosen", None)
    return otherwise if typed is None or name not in typed else value in typed.getlist(name)


def choose(form: Form) -> None:
    """Have `chosen` go by this form."""
    g.chosen = form


def give_back(form: Form) -> None:
    """The same of a form that met an ended session; the page says so."""
    choose(form)
    g.again = True


# ---- keep ---------------------------------------------------------------------------------------


def locked() -> Page | None:
    """The answer to a form that met an ended session, with what was typed sealed into it."""
    dead = request.cookies.get(desk().cookie(session.SESSION), "")
    if request.method != "POST" or not dead or not session.from_here():
        return None
    if request.endpoint == REQUEST:
        return _keep_in_cookie(dead)
    if request.endpoint not in _PAGES:
        return None
    sealed = _seal(dead, _own_form())
    if not sealed or len(sealed) > SEALED_MOST:
        return None
    return render_template("login.html", username="", wrong=(), kept=sealed), 403


def _keep_in_cookie(dead: str) -> Page | None:
    fields = [
        (name, value) for name, value in request.form.items(multi=True) if name not in {"seen", "digest"}
    ]
    sealed = _seal(dead, fields)
    if not sealed or len(sealed) > COOKIE_MOST:
        return None
    session.keep(KEPT, sealed, seconds=SECONDS)
    return render_template("fault.html", status=403, slug="expired", wait=0, typed=(), kept=True), 403


def _own_form() -> list[tuple[str, str]]:
    return list(request.form.items(multi=True))


def _seal(dead: str, pairs: list[tuple[str, str]]) -> str:
    text = json.dumps(
        {
            "until": desk().clock.now() + SECONDS,
            "session": session.form_key(dead),
            "endpoint": request.endpoint,
            "args": request.view_args or {},
            "pairs": pairs,
        }
    ).encode()
    if len(text) > TYPED_MOST:
        return ""
    return base64.urlsafe_b64encode(_cipher().seal(zlib.compress(text))).decode()


# ---- and show ------------------------------------------------------------------------------------


def show(sealed: str, opened: Vault) -> Page | None:
    """The page with what was typed, for the customer who just logged in; None if it is not hers."""
    typed = _unseal(sealed, opened)
    if typed is None or typed.endpoint not in _PAGES or not opened.recovery_confirmed:
        return None
    give_back(typed.form)
    try:
        return _PAGES[typed.endpoint](typed.form, **typed.args)
    except (VrmError, HTTPException):  # what it was about is gone
        return None


def choices_for(handle: str, opened: Vault) -> Form | None:
    """What she had chosen on this request before the session ended; it is given once."""
    sealed = request.cookies.get(desk().cookie(KEPT), "")
    typed = _unseal(sealed, opened) if sealed else None
    if typed is None or typed.endpoint != REQUEST or typed.args.get("handle") != handle:
        return None
    session.forget(KEPT)
    return typed.form


def _unseal(sealed: str, opened: Vault) -> Typed | None:
    try:
        text = zlib.decompress(_cipher().unseal(base64.urlsafe_b64decode(sealed[:SEALED_MOST].encode())))
    except (TamperedError, binascii.Error, ValueError):
        return None
    found = json.loads(text)
    pairs = [(str(name), str(value)) for name, value in found["pairs"]]
    token = session.token_of(found["session"], opened.id)
    if found["until"] <= desk().clock.now() or not hmac.compare_digest(_token_in(pairs), token):
        return None
    return Typed(found["endpoint"], found["args"], [pair for pair in pairs if pair[0] != "csrf_token"])


def _token_in(pairs: Iterable[tuple[str, str]]) -> str:
    sent = next((value for name, value in pairs if name == "csrf_token"), "")
    return sent if sent.isascii() else ""


def _cipher() -> Any:
    return desk().vaults.server_key.typed
