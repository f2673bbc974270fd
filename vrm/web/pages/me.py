"""Settings: passphrase, recovery code, devices, language. What gives power asks for the passphrase."""

from __future__ import annotations

from flask import redirect, render_template, request, url_for
from flask_babel import gettext
from werkzeug.wrappers import Response

import vrm
from vrm.errors import UnlockError
from vrm.web import language, passphrases, session
from vrm.web.desk import desk, vault, web
from vrm.web.gate import anybody

Page = Response | str | tuple[str, int]


@web.get("/me")
def me() -> Page:
    """What can be set."""
    return show()


@web.post("/me/passphrase")
def change_passphrase() -> Page:
    """A new passphrase; every other device is logged out."""
    new = request.form.get("new", "")
    if reasons := passphrases.faults(new, request.form.get("again", ""), vault().username):
        return show({"new": reasons}), 400
    address = request.remote_addr or ""
    desk().limits.count_entry(vault().username, address)
    try:
        vault().change_passphrase(request.form.get("old", ""), new)
    except UnlockError:
        return show({"old": [gettext("That is not your passphrase.")]}), 403
    desk().limits.give_back(vault().username, address)
    session.begin(vault())
    session.notify("passphrase")
    return redirect(url_for("web.me"), 303)


@web.post("/me/logout-everywhere")
def logout_everywhere() -> Page:
    """End every session of this vault, this one too."""
    vault().close_all_sessions()
    session.end()
    session.notify("logged-out-everywhere")
    return redirect(url_for("web.login"), 303)


@web.post("/language")
@anybody
def choose_language() -> Page:
    """Remember the language in this browser."""
    wished = request.form.get("language", "")
    if wished in language.languages():
        session.keep(session.LANGUAGE, wished, seconds=365 * 24 * 3600)
        session.notify("language")
    return redirect(url_for("web.home"), 303)


def show(wrong: dict[str, list[str]] | None = None) -> str:
    """The page, with what is wrong beside its field."""
    return render_template(
        "me.html", wrong=wrong or {}, languages=language.languages(), version=getattr(vrm, "__version__", "")
    )
