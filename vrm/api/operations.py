"""Health, the OpenAPI document, the pages that explain, and that the host honours Global Privacy Control.

Promises: `/healthz` says that the process answers; `/readyz` that its storage does and took what was last
swept, and that the server is not about to stop. Neither tells anything about who lives here. Only who holds
the server key learns how many proxies a request came through. The documents are made once, when first asked
for, and what makes them is loaded then. None of these addresses needs a token.
"""

from __future__ import annotations

import json
from functools import cache

from flask import Blueprint, Response, request
from markupsafe import Markup
from werkzeug.exceptions import HTTPException, default_exceptions

from vrm.api import guards, problems
from vrm.api.leaf import leaf, note
from vrm.errors import DrainingError, StorageError, VrmError
from vrm.settings import Settings
from vrm.vault.vault import Vaults

GPC = '{"gpc":true,"lastUpdate":"2026-11-22"}'  # Global Privacy Control: this host sells and shares nothing


def blueprint(vaults: Vaults, settings: Settings) -> Blueprint:
    """/healthz, /readyz, /openapi.json, /docs, /problems/<slug> and /.well-known/gpc.json."""
    routes = Blueprint("operations", __name__)

    @cache
    def written() -> str:
        from vrm.api import openapi

        return json.dumps(openapi.document(settings), ensure_ascii=False, separators=(",", ":"))

    @cache
    def page() -> Markup:
        from vrm.api import openapi, reference

        return reference.page_body(openapi.document(settings))

    routes.add_url_rule("/healthz", "healthz", lambda: _healthy(vaults))
    routes.add_url_rule("/readyz", "readyz", lambda: _ready(vaults, settings))
    routes.add_url_rule("/openapi.json", "openapi", lambda: _json(written()))
    routes.add_url_rule("/docs", "docs", lambda: leaf("vrm for vendors", page()))
    routes.add_url_rule("/problems/<slug>", "problem", _problem)
    routes.add_url_rule("/.well-known/gpc.json", "gpc", lambda: _json(GPC))
    routes.after_request(guards.protect)
    routes.register_error_handler(VrmError, problems.answer)
    for code in default_exceptions:
        routes.register_error_handler(code, _http)
    return routes


def _json(text: str) -> Response:
    return Response(text, content_type="application/json")


def _healthy(vaults: Vaults) -> Response:
    """That we answer; to `vrm doctor`, which holds the server key, also how its request came through."""
    proof = request.headers.get("VRM-Doctor")
    if proof is None or not vaults.server_key.proves(proof, vaults.clock.now()):
        return _json('{"status":"ok"}')
    came = request.headers.get("X-Forwarded-For", "")
    seen = {"for": len(came.split(",")) if came else 0, "https": request.is_secure}
    return _json(json.dumps({"status": "ok", "seen": seen}))


def _ready(vaults: Vaults, settings: Settings) -> Response:
    """Whether requests should come here: reading works, and so did the last writing of the sweep."""
    if settings.draining_path.exists():
        raise DrainingError()
    vaults.engine.one("SELECT 1 FROM schemas LIMIT 1")
    if vaults.ailing:
        raise StorageError()
    return _json('{"status":"ok"}')


def _problem(slug: str) -> Response:
    found = problems.explanations().get(slug)
    if found is None:
        return note("No such problem", "This vault knows no problem of that name.", 404)
    status, title, meaning = found
    return leaf(title, Markup("<p>{}</p><p><code>{}</code>, HTTP {}</p>").format(meaning, slug, status))


def _http(error: HTTPException) -> Response:
    return problems.http_answer(error)
