"""What every page passes first. Closed by default: a page is for customers who are logged in unless
it says `@anybody`; every POST needs the form's token and a browser that says it comes from here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

from flask import current_app, g, redirect, request, url_for
from werkzeug.exceptions import Forbidden, RequestEntityTooLarge
from werkzeug.wrappers import Response

from vrm.web import session
from vrm.web.desk import desk
from vrm.web.upload import FORM_BYTES

View = TypeVar("View", bound=Callable[..., object])

UPLOADS: Final = {"web.take_import"}
UNCONFIRMED: Final = {"web.recovery_code", "web.confirm_code", "web.renew_code", "web.logout", "web.static"}


class StaleForm(Forbidden):
    """The form's token is missing or wrong."""

    description = "csrf"


class FromElsewhere(Forbidden):
    """Another site sent this form."""

    description = "elsewhere"


def anybody(view: View) -> View:
    """Mark a page that needs no session."""
    view.for_anybody = True  # type: ignore[attr-defined]
    return view


def own_token_check(view: View) -> View:
    """Mark a page that answers a wrong form token itself, because it keeps what was typed."""
    view.checks_token = True  # type: ignore[attr-defined]
    return view


def admit() -> Response | None:
    """Let the request through, send it to the log-in, or refuse it."""
    if request.endpoint == "web.static":
        return None
    view = current_app.view_functions.get(request.endpoint or "")
    upload = request.endpoint in UPLOADS
    most = desk().settings.max_upload if upload and g.vault is not None else FORM_BYTES
    request.max_content_length = most
    if upload and g.vault is None and request.method == "POST":
        raise StaleForm  # before its body: a stranger's upload is not taken into memory
    if request.content_length is not None and request.content_length > most:
        raise RequestEntityTooLarge
    if request.method == "POST":
        _check_form(view)
    if g.vault is None:
        return None if getattr(view, "for_anybody", False) else _to_log_in()
    if not g.vault.recovery_confirmed and request.endpoint not in UNCONFIRMED:
        return redirect(url_for("web.recovery_code"), 303)
    return None


def _check_form(view: object) -> None:
    if not session.from_here():
        raise FromElsewhere
    if getattr(view, "checks_token", False):
        return
    if not session.token_is_good():
        raise StaleForm


def _to_log_in() -> Response:
    if g.expired:
        session.notify("expired")
    return redirect(url_for("web.login"), 303)
