"""The OpenAPI 3.1 document, made from the catalog and from the very schemas that validate.

Promises: every public address for programs is in it, nothing that is not built is, and a field added to the
catalog appears by itself. Facets that are never shareable do not.
"""

from __future__ import annotations

from typing import Any

from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin

from vrm.api import guards, openapi_deposits, openapi_oauth, openapi_registration, openapi_tools
from vrm.api.openapi_fields import field_shape
from vrm.api.openapi_oauth import DETAIL
from vrm.api.problems import MEDIA_TYPE
from vrm.consent import filters, scopes
from vrm.settings import Settings
from vrm.vault import schemas
from vrm.vault.catalog import CATALOG, Collection, Field

Node = dict[str, Any]
_ANSWERS = "answers."


def document(settings: Settings) -> Node:
    """The whole document, ready for JSON."""
    plugin = MarshmallowPlugin()
    spec = APISpec(
        title="vrm vendor API",
        version="1",
        openapi_version="3.1.0",
        plugins=[plugin],
        info={
            "description": "What a customer shares with a vendor, for as long as the customer wants.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        servers=[{"url": settings.issuer}],
        security=[],
    )
    plugin.converter.add_attribute_function(field_shape)  # type: ignore[union-attr]
    _add_components(spec, settings)
    for collection in CATALOG:
        if _needs(collection.name):
            _add_collection(spec, collection)
    openapi_deposits.add(spec, _GUARDED)
    _add_answers(spec)
    _add_grant(spec)
    openapi_oauth.add(spec)
    openapi_registration.add(spec)
    if settings.tools:
        openapi_tools.add(spec)
    _add_discovery(spec)
    _add_operations(spec)
    made: Node = spec.to_dict()
    openapi_deposits.let_writers_read(made, _GUARDED)
    if settings.tools:
        openapi_tools.let_programs_poll(made)
    return made


def _ref(kind: str, name: str) -> Node:
    return {"$ref": f"#/components/{kind}/{name}"}


def _json(schema: Node, media: str = "application/json") -> Node:
    return {media: {"schema": schema}}


def _add_components(spec: APISpec, settings: Settings) -> None:
    spec.components.security_scheme(
        "grant",
        {
            "type": "oauth2",
            "description": (
                "Authorization code with PKCE S256; the token goes into the Authorization header: Bearer, or"
                " DPoP with a proof of the key that it is bound to (RFC 9449)."
            ),
            "flows": {
                "authorizationCode": {
                    "authorizationUrl": settings.issuer + "/oauth/authorize",
                    "tokenUrl": settings.issuer + "/oauth/token",
                    "refreshUrl": settings.issuer + "/oauth/token",
                    "scopes": {name: scopes.SCOPES[name] for name in sorted(scopes.SCOPES)},
                }
            },
        },
    )
    spec.components.security_scheme("client", {"type": "http", "scheme": "basic"})
    spec.components.schema("Problem", PROBLEM)
    spec.components.schema("OAuthError", OAUTH_ERROR)
    spec.components.schema("TokenSet", TOKEN_SET)
    spec.components.schema("Correction", CORRECTION)
    for name, description in PROBLEM_RESPONSES.items():
        content = _json(_ref("schemas", "Problem"), MEDIA_TYPE)
        spec.components.response(name, {"description": description, "content": content})
    oauth_error = {
        "description": "Refused; `error` says why",
        "content": _json(_ref("schemas", "OAuthError")),
    }
    spec.components.response("OAuthRefusal", oauth_error)


PROBLEM: Node = {
    "type": "object",
    "description": "RFC 9457; `type` is /problems/<slug>, the same at every vault",
    "required": ["type", "title", "status"],
    "properties": {
        "type": {"type": "string", "pattern": "^/problems/[a-z0-9-]+$"},
        "title": {"type": "string"},
        "status": {"type": "integer", "minimum": 400, "maximum": 599},
        "detail": {"type": "string"},
        "errors": {"type": "object", "additionalProperties": {"type": "array", "items": {"type": "string"}}},
    },
    "additionalProperties": False,
}
CURSOR: Node = {"type": "string", "pattern": f"^[A-Za-z0-9_=-]{{1,{guards.MAX_CURSOR}}}$"}
OAUTH_ERROR: Node = {
    "type": "object",
    "required": ["error"],
    "properties": {"error": {"type": "string"}, "error_description": {"type": "string"}},
}
CORRECTION: Node = {
    "type": "object",
    "description": "Do not use this line of your own order for taste; the reason stays with the customer",
    "required": ["order", "item", "use_for_taste"],
    "properties": {
        "order": {"type": "string"},
        "item": {"type": "string"},
        "use_for_taste": {"type": "boolean", "const": False},
    },
    "additionalProperties": False,
}
TOKEN_SET: Node = {
    "type": "object",
    "required": ["access_token", "token_type", "expires_in", "scope", "authorization_details", "grant_id"],
    "properties": {
        "access_token": {"type": "string"},
        "token_type": {"type": "string", "enum": ["Bearer", "DPoP"]},
        "expires_in": {"type": "integer", "minimum": 1, "maximum": 900},
        "refresh_token": {"type": "string"},
        "scope": {"type": "string"},
        "authorization_details": {"type": "array", "items": DETAIL},
        "grant_id": {"type": "string"},
    },
}
PROBLEM_RESPONSES = {
    "BadParameter": "A parameter is unknown, repeated or out of range",
    "NoToken": "No access token, one that is not or no longer good, or no good proof of its key (DPoP)",
    "NotGranted": "The token does not carry the scope; the customer sees the attempt",
    "NotFound": "Absent, filtered out or not granted: one and the same answer",
    "TooOften": "More than this vendor may ask in a minute; try again after `Retry-After` seconds",
    "NotNow": "The storage refused; nothing left. Try again after `Retry-After` seconds",
}
_SHARED = {
    "400": _ref("responses", "BadParameter"),
    "401": _ref("responses", "NoToken"),
    "429": _ref("responses", "TooOften"),
    "503": _ref("responses", "NotNow"),
}
_GUARDED = {**_SHARED, "403": _ref("responses", "NotGranted")}


def _parameter(name: str, schema: Node, description: str, place: str = "query") -> Node:
    return {
        "name": name,
        "in": place,
        "required": place == "path",
        "schema": schema,
        "description": description,
    }


def _record_schema(spec: APISpec, collection: Collection) -> str:
    """Adds `<Collection>Record` and one schema per shareable facet."""
    title = collection.name.title()
    properties: Node = {
        "id": {"type": "string", "description": "yours alone: another vendor sees another id"},
        "updated_at": {"type": "string", "format": "date-time"},
    }
    for facet in collection.facets:
        if facet.shareable:
            name = f"{title}{facet.name.title()}"
            spec.components.schema(name, schema=schemas.facet_schema(collection.name, facet.name))
            properties[facet.name] = _ref("schemas", name)
    record = {"type": "object", "required": ["id", "updated_at"], "properties": properties}
    spec.components.schema(f"{title}Record", {**record, "additionalProperties": False})
    return f"{title}Record"


def _needs(prefix: str) -> list[Node]:
    """One alternative per scope that opens (a part of) a collection or answer."""
    names = sorted(name for name in scopes.SCOPES if name.endswith(":read") and _opens(name, prefix))
    return [{"grant": [name]} for name in names]


def _opens(scope: str, prefix: str) -> bool:
    datatype = scope.removesuffix(":read")
    return datatype == prefix or datatype.startswith(prefix + ".")


def _add_collection(spec: APISpec, collection: Collection) -> None:
    record = _ref("schemas", _record_schema(spec, collection))
    spec.path(f"/api/v1/{collection.name}", operations={"get": _list_of(collection, record)})
    spec.path(f"/api/v1/{collection.name}/changes", operations={"get": _changes_of(collection, record)})
    spec.path(f"/api/v1/{collection.name}/{{id}}", operations={"get": _one_of(collection, record)})


def _list_of(collection: Collection, record: Node) -> Node:
    page = {
        "type": "object",
        "required": ["items", "next"],
        "properties": {
            "items": {"type": "array", "items": record, "maxItems": guards.LIMIT_MAX},
            "next": {"type": ["string", "null"], "description": "cursor of the next page"},
        },
        "additionalProperties": False,
    }
    limit = {"type": "integer", "minimum": 1, "maximum": guards.LIMIT_MAX, "default": guards.LIMIT_DEFAULT}
    moment = {"type": "string", "format": "date-time"}
    return {
        "operationId": f"list_{collection.name}",
        "summary": f"{collection.label}: one page",
        "tags": ["reading"],
        "security": _needs(collection.name),
        "parameters": [
            _parameter("limit", limit, "records in one page; pages are always full"),
            _parameter("cursor", CURSOR, "`next` of a page"),
            _parameter("updated_since", moment, "only what changed, for this grant, at or after that moment"),
            *_filters_of(collection),
        ],
        "responses": {"200": {"description": "A page", "content": _json(page)}, **_GUARDED},
    }


def _filters_of(collection: Collection) -> list[Node]:
    """The filters of a list, each open only where its field leaves in the grant."""
    found = []
    for field in filters.FILTERED:
        source, _, facet = field.datatype.partition(".")
        if source == collection.name:
            shape = _value_of(collection.facet(facet).field(field.name))
            says = f"needs `{facet}.{field.name}` in the grant; else it is refused as an unknown parameter is"
            found += [_parameter(name, shape, _FILTERS[name] + "; " + says) for name in field.parameters]
    return found


def _value_of(field: Field) -> Node:
    if field.kind == "date":
        return {"type": "string", "format": "date"}
    return {"type": "string", "minLength": 1, "maxLength": field.max}


_FILTERS = {
    "category": "only this category",
    "seller": "only from this seller",
    "ordered_from": "only what was ordered on this day or later",
    "ordered_to": "only what was ordered on this day or before, and not before `ordered_from`",
}


def _changes_of(collection: Collection, record: Node) -> Node:
    gone = {
        "type": "object",
        "required": ["id", "updated_at", "gone"],
        "properties": {
            "id": {"type": "string"},
            "updated_at": {"type": "string", "format": "date-time"},
            "gone": {"const": True},
        },
        "additionalProperties": False,
    }
    feed = {
        "type": "object",
        "required": ["items", "next", "more"],
        "properties": {
            "items": {"type": "array", "items": {"anyOf": [gone, record]}, "maxItems": guards.LIMIT_MAX},
            "next": {"type": "string", "description": "keep it: the cursor to go on from, now or later"},
            "more": {"type": "boolean", "description": "whether more has changed already"},
        },
        "additionalProperties": False,
    }
    limit = {"type": "integer", "minimum": 1, "maximum": guards.LIMIT_MAX, "default": guards.LIMIT_DEFAULT}
    return {
        "operationId": f"changes_of_{collection.name}",
        "summary": f"{collection.label}: what changed, oldest first",
        "tags": ["reading"],
        "security": _needs(collection.name),
        "parameters": [
            _parameter("limit", limit, "changes in one answer"),
            _parameter("cursor", CURSOR, "`next` of an earlier answer; without it, everything in view"),
        ],
        "responses": {"200": {"description": "Changes", "content": _json(feed)}, **_GUARDED},
    }


def _one_of(collection: Collection, record: Node) -> Node:
    etag = {"ETag": {"schema": {"type": "string"}, "description": "changes with the bytes this grant sees"}}
    return {
        "operationId": f"read_{collection.name}",
        "summary": f"{collection.label}: one record",
        "tags": ["reading"],
        "security": _needs(collection.name),
        "parameters": [
            _parameter("id", {"type": "string"}, "as a list gave it", "path"),
            *openapi_deposits.CONDITIONS,
        ],
        "responses": {
            "200": {"description": "The record", "headers": etag, "content": _json(record)},
            "304": {"description": "Not changed; logged as a reading"},
            "404": _ref("responses", "NotFound"),
            "412": _ref("responses", "NotNewest"),
            **_GUARDED,
        },
    }


def _add_answers(spec: APISpec) -> None:
    for scope in sorted(scopes.SCOPES):
        if not scope.startswith(_ANSWERS):
            continue
        question = scope.removeprefix(_ANSWERS).removesuffix(":read")
        shape = {"type": "array", "items": _ref("schemas", "Correction")}
        spec.path(
            f"/api/v1/answers/{question}",
            operations={
                "get": {
                    "operationId": f"answer_{question}",
                    "summary": f"The answer: {question}",
                    "tags": ["reading"],
                    "security": [{"grant": [scope]}],
                    "responses": {"200": {"description": "The answer", "content": _json(shape)}, **_GUARDED},
                }
            },
        )


def _add_grant(spec: APISpec) -> None:
    shape = {
        "type": "object",
        "description": "facets, fields, period, purpose, expiry: what this token may do now",
        "required": ["grant_id"],
        "properties": {"grant_id": {"type": "string"}},
    }
    get = {
        "operationId": "read_grant",
        "summary": "The told limits of this grant",
        "tags": ["reading"],
        "security": [{"grant": []}],
        "responses": {"200": {"description": "The limits", "content": _json(shape)}, **_SHARED},
    }
    spec.path("/api/v1/grant", operations={"get": get})


def _add_discovery(spec: APISpec) -> None:
    for path, name, summary in (
        ("/.well-known/oauth-authorization-server", "authorization_server", "RFC 8414 metadata"),
        ("/.well-known/oauth-protected-resource", "protected_resource", "RFC 9728 metadata"),
        ("/.well-known/vrm", "about", "Where the metadata is, and what can be asked"),
        ("/.well-known/gpc.json", "gpc", "Global Privacy Control"),
        ("/oauth/jwks.json", "jwks", "RFC 7517: the key that verifies signed events"),
        ("/openapi.json", "openapi", "This document"),
    ):
        _add_plain(spec, path, name, summary)
    spec.path("/.well-known/webfinger", operations={"get": _webfinger()})


def _webfinger() -> Node:
    text = {"type": "string", "minLength": 1, "maxLength": 2000}
    about = "acct:alice@vault.example, or the public URL"
    rels = {"type": "array", "items": {"type": "string"}}
    content = {"application/jrd+json": {"schema": {"type": "object", "required": ["subject", "links"]}}}
    return {
        "operationId": "webfinger",
        "summary": "RFC 7033: from a customer's address to the public URL; alike for every name",
        "tags": ["around"],
        "parameters": [
            {"name": "resource", "in": "query", "required": True, "schema": text, "description": about},
            {"name": "rel", "in": "query", "schema": rels, "description": "only links of these kinds"},
        ],
        "responses": {
            "200": {"description": "The links", "content": content},
            "400": _ref("responses", "BadParameter"),
            "404": _ref("responses", "NotFound"),
        },
    }


def _add_operations(spec: APISpec) -> None:
    _add_plain(spec, "/healthz", "healthz", "The process is alive")
    _add_plain(spec, "/readyz", "readyz", "The storage answers", {"503": _ref("responses", "NotNow")})


def _add_plain(spec: APISpec, path: str, name: str, summary: str, more: Node | None = None) -> None:
    ok = {"description": summary, "content": _json({"type": "object"})}
    answers = {"200": ok, **(more or {})}
    get = {"operationId": name, "summary": summary, "tags": ["around"], "responses": answers}
    spec.path(path, operations={"get": get})
