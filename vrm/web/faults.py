"""Pages for what goes wrong, in plain words that say what to do. They never show what failed inside.

An error in a form that was typed into gives back what was typed, to copy, if the browser says that the
form came from these pages; never a button that would send it again, which another site could abuse.
"""

from __future__ import annotations

import logging
from typing import Final

from flask import Flask, g, make_response, render_template, request
from flask.wrappers import Response
from flask_babel import gettext
from werkzeug.exceptions import HTTPException, SecurityError

from vrm import errors, logs
from vrm.vault.catalog import CATALOG
from vrm.web import again, headers, session
from vrm.web.desk import web
from vrm.web.gate import StaleForm

LOG = logging.getLogger("vrm.web")

STATUS: Final[dict[type[errors.VrmError], int]] = {
    errors.UnlockError: 403,
    errors.BusyError: 503,
    errors.StorageError: 503,
    errors.UncertainError: 500,
    errors.ValidationError: 400,
    errors.ParameterError: 400,
    errors.ScopeError: 400,
    errors.FormatError: 400,
    errors.RecordNotFoundError: 404,
    errors.PairingError: 404,
    errors.RequestNotFoundError: 404,
    errors.GrantNotFoundError: 404,
    errors.VendorNotFoundError: 404,
    errors.ConflictError: 409,
    errors.RequestChangedError: 409,
    errors.UnfitRequestError: 409,
    errors.GrantInactiveError: 409,
    errors.UsernameTakenError: 409,
    errors.ImportLimitError: 413,
    errors.RateLimitedError: 429,
}
KNOWN: Final = {400, 403, 404, 405, 409, 413, 429, 500, 503}
CATALOG_LABELS: Final = {
    (facet.name, field.name): field.label
    for collection in CATALOG
    for facet in collection.facets
    for field in facet.fields
    if not field.choices
}
TYPED_MOST: Final = 40  # fields given back


def install(app: Flask) -> None:
    """Answer with a page where no part of the app is responsible; the vendors' side has its own answers."""
    app.register_error_handler(HTTPException, elsewhere)


def elsewhere(error: HTTPException) -> Response | HTTPException:
    """An address that matches nothing, or a host that is not ours."""
    if request.blueprint not in {None, "web"}:
        return error
    if isinstance(error, SecurityError):
        return http_fault(error)
    if not hasattr(g, "cookies"):
        session.resume()
    return headers.write_headers(session.write_cookies(http_fault(error)))


def vault_fault(error: errors.VrmError) -> Response:
    """The page for an error of the vault or of consent."""
    if isinstance(error, errors.SessionExpiredError):
        g.vault, g.secret = None, ""
        return _locked()
    status = next((STATUS[kind] for kind in type(error).__mro__ if kind in STATUS), 500)
    logs.failed(LOG, error, status)
    wait = error.retry_after if isinstance(error, errors.RateLimitedError) else 5
    return page(status, error.slug, wait=wait)


def http_fault(error: HTTPException) -> Response:
    """The page for what Flask or the gate refused."""
    if isinstance(error, SecurityError):  # before anything is known of who asks: bare words
        told = Response("This vault is not reached under that name.\n", 400, mimetype="text/plain")
        return headers.write_headers(told)
    if error.response is not None:
        return error.response  # type: ignore[return-value]
    status = error.code or 500
    if isinstance(error, StaleForm) and g.vault is None:
        return _locked()
    slug = error.description if status == 403 and error.description in {"csrf", "elsewhere"} else ""
    answer = page(status if status in KNOWN else 400 if status < 500 else 500, slug)
    answer.status_code = status
    for name, value in error.get_headers():
        if name.lower() == "allow":
            answer.headers[name] = value
    return answer


def unforeseen(error: Exception) -> Response:
    """Our own mistake: logged with its trace, told without it."""
    logs.failed(LOG, error, 500)
    return page(500, "")


def _locked() -> Response:
    """The session has ended: the log-in with what was typed, or a page that says so."""
    kept = again.locked()
    return page(403, "expired") if kept is None else make_response(kept)


def page(status: int, slug: str, wait: int = 0) -> Response:
    """The fault page."""
    body = render_template("fault.html", status=status, slug=slug or "", wait=wait, typed=_typed())
    answer = Response(body, status, mimetype="text/html")
    if wait and status in {429, 503}:
        answer.headers["Retry-After"] = str(wait)
    return answer


def _typed() -> list[tuple[str, str]]:
    if request.method != "POST" or not session.from_here():
        return []
    try:
        posted = request.form
    except HTTPException:  # the body itself was the trouble
        return []
    texts = ((_label(name), value) for name, value in posted.items() if value.strip())
    return [(label, value[:4000]) for label, value in texts if label][:TYPED_MOST]


def _label(name: str) -> str:
    """What a text field is called; nothing for what was not typed, and for what is secret."""
    if name in {"username", "words"}:
        return gettext("Name") if name == "username" else gettext("Search")
    facet, _, field = name.partition(".")
    return gettext(CATALOG_LABELS[facet, field]) if (facet, field) in CATALOG_LABELS else ""


web.register_error_handler(errors.VrmError, vault_fault)
web.register_error_handler(HTTPException, http_fault)
web.register_error_handler(Exception, unforeseen)
