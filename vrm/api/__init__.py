"""The rim for vendors: OAuth, the API under /api/v1, discovery and health.

`register` is all that the app needs. Promises: whatever happens under our addresses, a wrong path or method
included, is answered in the shape that programs expect there and never with a page for customers.
"""

from __future__ import annotations

import re

from flask import Flask, Response, request
from werkzeug.exceptions import NotFound
from werkzeug.routing import RequestRedirect

from vrm.api import finding, guards, operations, problems, tools, v1
from vrm.api.direct import Direct
from vrm.api.gate import Gate
from vrm.api.oauth import routes as oauth
from vrm.api.oauth.calls import Calls
from vrm.api.oauth.server import OAuthServer
from vrm.consent.service import Consent
from vrm.plain import Naming
from vrm.settings import Settings
from vrm.vault.vault import Vaults

__all__ = ["calls_first", "readings_first", "register"]

_OURS = re.compile(r"/+(api|oauth|\.well-known|problems)(/|$)|/(openapi\.json|docs|healthz|readyz)$")


def register(app: Flask, consent: Consent, vaults: Vaults, settings: Settings) -> OAuthServer:
    """Put the vendor's side on the application; no reading opens a vault."""
    server = oauth.server_of(consent, vaults, settings)
    app.register_blueprint(v1.blueprint(consent, settings))
    app.register_blueprint(oauth.blueprint(server, vaults, settings))
    if settings.tools:
        app.register_blueprint(tools.blueprint(vaults, consent, settings))
    app.register_blueprint(operations.blueprint(vaults, settings))
    app.register_blueprint(finding.blueprint(settings))
    app.before_request(refuse_unrouted)
    return server


def calls_first(app: Flask, server: OAuthServer, named: Naming) -> Calls:
    """The application behind what answers the calls of vendors' servers for tokens without it."""
    return Calls(app.wsgi_app, server, app.config["OWN_HOSTS"], named)


def readings_first(app: Flask, consent: Consent, settings: Settings, named: Naming) -> Direct:
    """The application behind what answers vendors' plain readings without it."""
    hosts = app.config["OWN_HOSTS"]
    gate = Gate(consent, settings.issuer)
    return Direct(app.wsgi_app, gate, consent.reader, hosts, named)


def refuse_unrouted() -> Response | None:
    """404 and 405 under our addresses: no blueprint is responsible for a path that matched nothing.

    A redirect to a tidier path is refused as well: it would make a client send its credentials again.
    """
    error = request.routing_exception
    if error is None or not _OURS.match(request.path):
        return None
    if isinstance(error, RequestRedirect):
        error = NotFound()
    if request.path.lstrip("/").startswith("oauth"):
        return guards.protect(oauth.refuse_http(error))
    return guards.protect(problems.http_answer(error))
