"""The WSGI application of one host, wired by hand, top to bottom. Alone imports both rims."""

from __future__ import annotations

import logging
from functools import partial
from urllib.parse import urlsplit

from flask import Flask, request
from werkzeug.exceptions import SecurityError
from werkzeug.middleware.proxy_fix import ProxyFix

import vrm.api
import vrm.web
from vrm import bodies, observed
from vrm.host import Host, open_host
from vrm.plain import Plain
from vrm.retrying import Retrying, Trying
from vrm.settings import LOOPBACK, Settings, bracketed


def create_app(settings: Settings, *, host: Host | None = None) -> Flask:
    """The WSGI application of one host."""
    logging.getLogger("authlib").setLevel(logging.INFO)  # at DEBUG it prints whole tokens
    host = host or open_host(settings)
    app = Flask("vrm", static_folder=None, template_folder=None)
    app.config.update(
        MAX_CONTENT_LENGTH=settings.max_body,
        MAX_FORM_MEMORY_SIZE=settings.max_body,
        MAX_FORM_PARTS=5000,
        OWN_HOSTS=_own_hosts(settings),
    )
    app.before_request(partial(_refuse_other_names, Plain(app.config["OWN_HOSTS"])))
    app.extensions["vrm"] = host
    server = vrm.api.register(app, host.consent, host.vaults, settings)
    vrm.web.register(app, host.vaults, host.consent, settings, host.clock)
    named = observed.name_rules(app)
    app.wsgi_app = vrm.api.calls_first(app, server, named)  # type: ignore[method-assign]
    app.wsgi_app = vrm.web.NewRecords(app, named)  # type: ignore[method-assign]
    if settings.trusted_proxies:
        hops = settings.trusted_proxies
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=hops, x_proto=hops, x_host=hops)  # type: ignore[method-assign]
    app.wsgi_app = bodies.WholeBodies(app.wsgi_app)  # type: ignore[method-assign]
    app.wsgi_app = vrm.api.readings_first(app, host.consent, settings, named)  # type: ignore[method-assign]
    if isinstance(host.engine, Trying):
        app.wsgi_app = Retrying(app.wsgi_app, host.engine)  # type: ignore[method-assign]
    app.wsgi_app = observed.Observed(app.wsgi_app)  # type: ignore[method-assign]
    return app


def _own_hosts(settings: Settings) -> list[str]:
    own = urlsplit(settings.issuer).hostname or ""
    return [bracketed(name) for name in (LOOPBACK if own in LOOPBACK else (own,))]


def _refuse_other_names(plain: Plain) -> None:
    """Only our own name: a page that points its name at this machine reaches nothing (DNS rebinding).

    Flask's own check knows no address of IPv6.
    """
    if not plain.is_ours(request.host):
        raise SecurityError()
