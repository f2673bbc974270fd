"""Me → "Connect a program of yours": she types the code that it shows, and her passphrase.

Promises: an address with a code in it, whoever sent it, only fills the field; the page says what a program
can do, from where and when this one asked, and that nobody should give her a code (RFC 8628 section 5.4).
Without a session there is no field for a passphrase and no way to one. Wrong codes are few, for each vault
and each network. Every program is listed, with its last use, until she disconnects it or it ends by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Final

from flask import abort, g, redirect, render_template, request, url_for
from flask_babel import gettext
from werkzeug.wrappers import Response

from vrm.errors import PairingError, UnlockError
from vrm.vault.pairing import Pairing, shown
from vrm.web import session
from vrm.web.desk import desk, vault, web
from vrm.web.gate import anybody

Page = Response | str | tuple[str, int]

CODE_MOST: Final = 40  # characters that are looked at


def where_there_are_programs(view: Callable[[], Page]) -> Callable[[], Page]:
    """Under the strict profile no program comes in, so these pages are not there."""

    @wraps(view)
    def looked() -> Page:
        if not desk().settings.tools:
            abort(404)
        return view()

    return looked


@web.get("/device")
@anybody
@where_there_are_programs
def device() -> Page:
    """The field for a code, and the programs that are connected; nothing is looked up."""
    if g.vault is None:
        return render_template("device_waits.html")
    return _page(request.args.get("user_code", "")[:CODE_MOST])


@web.post("/device")
@where_there_are_programs
def find_device() -> Page:
    """Which program shows this code, and what it could do."""
    typed = request.form.get("user_code", "")[:CODE_MOST]
    try:
        found = _found(typed)
    except PairingError:
        return _unknown(typed)
    return _asked(found)


@web.post("/device/answer")
@where_there_are_programs
def answer_device() -> Page:
    """Let it in, with the passphrase, or tell it no."""
    typed = request.form.get("user_code", "")[:CODE_MOST]
    try:
        found = _found(typed)
        if request.form.get("decision") == "approve":
            return _let_in(found)
        desk().vaults.pairings.decline(vault(), typed)
    except PairingError:
        return _unknown(typed)
    return render_template("device_answered.html", declined=True)


@web.post("/device/disconnect")
@where_there_are_programs
def disconnect_device() -> Page:
    """End a program's credential: its next try is refused."""
    desk().vaults.tools.close(vault().id, request.form.get("tool", ""))
    session.notify("disconnected")
    return redirect(url_for("web.device"), 303)


def _found(typed: str) -> Pairing:
    """The program; PairingError, and RateLimitedError after too many wrong codes."""
    address = request.remote_addr or ""
    desk().limits.count_code(vault().id, address)
    found = desk().vaults.pairings.find(typed)
    desk().limits.give_code_back(vault().id, address)
    return found


def _let_in(found: Pairing) -> Page:
    address = request.remote_addr or ""
    desk().limits.count_entry(vault().username, address)
    try:
        desk().vaults.pairings.approve(vault(), found.user_code, request.form.get("passphrase", ""))
    except UnlockError:
        return _asked(found, [gettext("That is not your passphrase.")]), 403
    desk().limits.give_back(vault().username, address)
    return render_template("device_answered.html", declined=False)


def _asked(found: Pairing, wrong: list[str] | None = None) -> str:
    return render_template("device_asks.html", found=found, code=shown(found.user_code), wrong=wrong)


def _unknown(typed: str) -> Page:
    reason = gettext("No program waits with this code. Codes are good for ten minutes, and once.")
    return _page(typed, [reason]), 404


def _page(typed: str, wrong: list[str] | None = None) -> str:
    tools = desk().vaults.tools.listing(vault().keyring)
    return render_template("device.html", typed=typed, wrong=wrong, tools=tools)
