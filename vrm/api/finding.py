"""Finding a vault from what its customer says: `alice@vault.example`, or only `vault.example`.

Promises: WebFinger (RFC 7033) at `/.well-known/webfinger` leads from an address to the vault's public URL,
and `/.well-known/vrm` says what can be asked here. Both answer any web page. Refuses to tell who lives here:
every name that could be one gets the same answer, and no vault is looked for.
"""

from __future__ import annotations

import json
from urllib.parse import urlsplit

from flask import Blueprint, Response, request
from werkzeug.exceptions import NotFound

from vrm.api import guards, problems
from vrm.consent import scopes
from vrm.errors import ParameterError, ValidationError, VrmError
from vrm.settings import Settings
from vrm.vault.naming import normal_username

ISSUER = "http://openid.net/specs/connect/1.0/issuer"  # OpenID Connect Discovery 1.0 section 2: where to ask
VAULT = "urn:vrm:rel:vault"  # the public URL, as RFC 9728 and RFC 8414 documents are found from it
MOST = 2000  # characters of a resource


def blueprint(settings: Settings) -> Blueprint:
    """The two documents."""
    routes = Blueprint("finding", __name__)
    routes.add_url_rule("/.well-known/webfinger", "webfinger", lambda: _webfinger(settings.issuer))
    routes.add_url_rule("/.well-known/vrm", "about", lambda: _about(settings.issuer))
    routes.after_request(_open_to_all)
    routes.register_error_handler(VrmError, problems.answer)
    return routes


def _webfinger(issuer: str) -> Response:
    """RFC 7033 section 4: `resource` once, `rel` any number of times."""
    asked = request.args.getlist("resource")
    if len(asked) != 1 or not 0 < len(asked[0]) <= MOST:
        raise ParameterError(
            "resource: is needed once, such as acct:alice@vault.example",
            fields={"resource": ["is needed once, such as acct:alice@vault.example"]},
        )
    if not _is_ours(asked[0], issuer):
        return problems.http_answer(NotFound())
    wanted = request.args.getlist("rel")
    links = [{"rel": rel, "href": issuer} for rel in (ISSUER, VAULT) if not wanted or rel in wanted]
    return _json({"subject": asked[0], "links": links}, "application/jrd+json")


def _is_ours(resource: str, issuer: str) -> bool:
    """Whether this is an account that could be here, or this host itself."""
    kind, _, rest = resource.partition(":")
    if kind.lower() in ("http", "https"):
        return resource.rstrip("/") == issuer
    name, at, host = rest.rpartition("@")
    ours = urlsplit(issuer)
    if kind.lower() != "acct" or not at or host.lower() not in (ours.netloc, ours.hostname):
        return False
    try:
        return bool(normal_username(name))
    except ValidationError:
        return False


def _about(issuer: str) -> Response:
    return _json(
        {
            "vault": issuer,
            "protected_resource_metadata": f"{issuer}/.well-known/oauth-protected-resource",
            "authorization_server_metadata": f"{issuer}/.well-known/oauth-authorization-server",
            "scopes_supported": sorted(scopes.SCOPES),
            "documentation": f"{issuer}/docs",
        }
    )


def _json(document: dict[str, object], kind: str = "application/json") -> Response:
    answer = Response(json.dumps(document, separators=(",", ":")), content_type=kind)
    answer.headers["Cache-Control"] = "public, max-age=300"
    return answer


def _open_to_all(response: Response) -> Response:
    """RFC 7033 section 5: pages of any origin may read this; it says nothing about anybody."""
    response.headers["Access-Control-Allow-Origin"] = "*"
    response.headers["Cross-Origin-Resource-Policy"] = "cross-origin"
    return guards.protect(response)
