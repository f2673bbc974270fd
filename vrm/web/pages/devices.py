"""Me → "I lost a device": new keys for the vault, and the page that shows how far they are in force.

What takes long is done piece by piece, each time that page is opened or loads itself anew: it needs no
script, and a browser that is closed stops nothing for good: the next log-in goes on.
"""

from __future__ import annotations

from typing import Final

from flask import redirect, render_template, request, url_for
from flask_babel import gettext
from werkzeug.wrappers import Response

from vrm.errors import ConflictError, UnlockError
from vrm.vault.keyslots import RecoverySlot
from vrm.web import passphrases, session
from vrm.web.desk import desk, vault, web
from vrm.web.seeing import live_grants

Page = Response | str | tuple[str, int]

BATCHES: Final = 20  # sealed anew while one page is made: about a second


@web.get("/me/lost-device")
def lost_device() -> Page:
    """What new keys do and do not do, and the form."""
    return _page()


@web.post("/me/lost-device")
def renew_keys() -> Page:
    """Make new keys; every other device is logged out, every connection ends unless she keeps them."""
    wrong = _faults()
    if wrong:
        return _page(wrong), 400
    address = request.remote_addr or ""
    desk().limits.count_entry(vault().username, address)
    try:
        desk().consent.rotate(
            vault(),
            request.form.get("old", ""),
            request.form.get("new") or None,
            keep_connections="keep" in request.form,
        )
    except UnlockError:
        return _page({"old": [gettext("That is not your passphrase.")]}), 403
    except ConflictError:
        return redirect(url_for("web.new_keys"), 303)
    desk().limits.give_back(vault().username, address)
    session.begin(vault())
    return redirect(url_for("web.new_keys"), 303)


@web.get("/me/new-keys")
def new_keys() -> Page:
    """How far it is; goes on with a piece of what is left."""
    left = vault().go_on_rotating(BATCHES)
    kinds = {slot.kind for slot in vault().stored_slots()}
    return render_template(
        "new_keys.html", left=left, recoverable=RecoverySlot.kind in kinds, live=len(live_grants())
    )


def _faults() -> dict[str, list[str]]:
    new = request.form.get("new", "")
    wrong = {}
    if new and (reasons := passphrases.faults(new, request.form.get("again", ""), vault().username)):
        wrong["new"] = reasons
    if "sure" not in request.form:
        wrong["sure"] = [gettext("Tick this, so that nobody renews your keys by a slip of the finger.")]
    return wrong


def _page(wrong: dict[str, list[str]] | None = None) -> str:
    return render_template(
        "lost_device.html", wrong=wrong or {}, live=len(live_grants()), keep="keep" in request.form
    )
