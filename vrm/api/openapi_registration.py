"""Registration in the OpenAPI document; where the host did not open it, every call of it is 403."""

from __future__ import annotations

from typing import Any

from apispec import APISpec

from vrm.api.oauth.clients import METHODS
from vrm.api.oauth.registration import REGISTER
from vrm.consent.claims import MAX_REDIRECT_URIS

Node = dict[str, Any]
_TEXT: Node = {"type": "string"}
_URI: Node = {"type": "string", "format": "uri"}
_URIS: Node = {"type": "array", "minItems": 1, "maxItems": MAX_REDIRECT_URIS, "items": _URI}
_CLAIMS: Node = {
    "redirect_uris": {**_URIS, "description": "all of one origin; loopback may stand beside"},
    "client_name": {"type": "string", "maxLength": 80, "description": "shown as a claim, on one page"},
    "token_endpoint_auth_method": {"type": "string", "enum": METHODS},
    "jwks": {"type": "object", "description": "a JWK Set of public keys (RFC 7517)"},
    "jwks_uri": {**_URI, "description": "in place of jwks"},
    "dpop_bound_access_tokens": {"type": "boolean"},
    "events_uri": {**_URI, "description": "of the same origin: where signed events go"},
    "grant_types": {"type": "array", "items": {"enum": ["authorization_code", "refresh_token"]}},
    "response_types": {"type": "array", "items": {"const": "code"}},
}
_REGISTERED: Node = {
    **_CLAIMS,
    "client_id": _TEXT,
    "client_id_issued_at": {"type": "integer"},
    "client_secret": {"type": "string", "description": "told once, where there is a new one"},
    "client_secret_expires_at": {"const": 0},
    "registration_access_token": {"type": "string", "description": "another one after each change"},
    "registration_client_uri": _URI,
}


def add(spec: APISpec) -> None:
    """Both addresses: RFC 7591, and RFC 7592."""
    spec.components.security_scheme("registration", {"type": "http", "scheme": "bearer"})
    told = _answers("201", "Registered", "400", "403", "411", "413", "415", "429", "503")
    asked = _body(_CLAIMS, "redirect_uris")
    register = {"operationId": "register", "summary": "Register (RFC 7591)", "security": [{}]}
    spec.path(REGISTER, operations={"post": _act(register, told, asked)})
    own: Node = {
        "security": [{"registration": []}],
        "parameters": [
            {
                "name": "client_id",
                "in": "path",
                "required": True,
                "schema": _TEXT,
                "description": "as it was registered",
            }
        ],
    }
    show = {"operationId": "registration", "summary": "What is registered (RFC 7592)", **own}
    change = {"operationId": "changeRegistration", "summary": "Replace it, as a whole", **own}
    end = {"operationId": "endRegistration", "summary": "End it, and every grant with it", **own}
    shape = {**_CLAIMS, "client_id": _TEXT, "client_secret": _TEXT}
    changed = _answers("200", "As it is now", "400", "401", "403", "411", "413", "415", "429", "503")
    ended: Node = {"204": {"description": "Ended"}, **_refusals("401", "403", "429", "503")}
    operations = {
        "get": _act(show, _answers("200", "As it is", "401", "403", "429", "503")),
        "put": _act(change, changed, _body(shape, "client_id", "redirect_uris")),
        "delete": _act(end, ended),
    }
    spec.path(f"{REGISTER}/{{client_id}}", operations=operations)


def _act(about: Node, answers: Node, body: Node | None = None) -> Node:
    sent = {"requestBody": body} if body else {}
    return {**about, "tags": ["authorization"], **sent, "responses": answers}


def _body(properties: Node, *required: str) -> Node:
    schema = {"type": "object", "required": list(required), "properties": properties}
    return {"required": True, "content": {"application/json": {"schema": schema}}}


def _answers(status: str, words: str, *refusals: str) -> Node:
    schema: Node = {"type": "object", "properties": _REGISTERED}
    good = {"description": words, "content": {"application/json": {"schema": schema}}}
    return {status: good, **_refusals(*refusals)}


def _refusals(*statuses: str) -> Node:
    return {status: {"$ref": "#/components/responses/OAuthRefusal"} for status in statuses}
