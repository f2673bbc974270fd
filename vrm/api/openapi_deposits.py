"""The writing half of the OpenAPI document: from the catalog's fields that are the seller's to say."""

from __future__ import annotations

from typing import Any

from apispec import APISpec

from vrm.api.deposits import BODY_MOST
from vrm.api.guards import LIMIT_DEFAULT, LIMIT_MAX
from vrm.api.openapi_fields import sent_shape
from vrm.consent.scopes import WRITES, write_scope
from vrm.consent.writers import FILED, NEEDED, PENDING, REFUSED, WITHDRAWN
from vrm.vault import schemas
from vrm.vault.catalog import Collection, Facet, collection

Node = dict[str, Any]
STATE: Node = {
    "type": "object",
    "description": "What became of something that you left",
    "required": ["id", "status", "updated_at"],
    "properties": {
        "id": {"type": "string"},
        "status": {"type": "string", "enum": [PENDING, FILED, REFUSED, WITHDRAWN]},
        "updated_at": {"type": "string", "format": "date-time"},
        "reason": {"type": "string"},
    },
    "additionalProperties": False,
}
REFUSALS = {
    "KeyReused": "This Idempotency-Key came with another body",
    "NotNewest": "If-Match does not name the newest state",
    "NoCondition": "If-Match is missing",
    "NoLength": "The body does not say how long it is",
    "TooLarge": f"A body of more than {BODY_MOST} bytes",
    "NotJson": "A body that is not application/json",
    "NotValid": "Something is not valid or not the sender's to say; `errors` names it",
    "TooMuch": "More waits for this customer, or was asked in a minute, than may: see `Retry-After`",
}
_PROBLEM = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
_STATE = {"application/json": {"schema": {"$ref": "#/components/schemas/Deposit"}}}
_TAG = {"ETag": {"schema": {"type": "string"}, "description": "of this state"}}


def add(spec: APISpec, guarded: Node) -> None:
    """Components and writing operations; `guarded` are the answers of every request with a token."""
    spec.components.schema("Deposit", STATE)
    for name, description in REFUSALS.items():
        spec.components.response(name, {"description": description, "content": _PROBLEM})
    for name in WRITES:
        of = collection(name)
        body = _body(spec, of)
        spec.path(f"/api/v1/{name}", operations={"post": _submit(of, body, guarded)})
        operations = {"put": _replace(of, body, guarded), "delete": _withdraw(of, guarded)}
        spec.path(f"/api/v1/{name}/{{id}}", operations=operations)


def let_writers_read(made: Node, guarded: Node) -> None:
    """In the finished document: with a write scope, the readings answer the states of own deposits."""
    page: Node = {
        "type": "object",
        "required": ["items", "next"],
        "properties": {
            "items": {"type": "array", "items": {"$ref": "#/components/schemas/Deposit"}},
            "next": {"type": ["string", "null"]},
        },
        "additionalProperties": False,
    }
    for name in WRITES:
        _allow(made, f"/api/v1/{name}", name, page, guarded)
        _allow(made, f"/api/v1/{name}/{{id}}", name, {"$ref": "#/components/schemas/Deposit"}, guarded)


def _allow(made: Node, path: str, name: str, shape: Node, guarded: Node) -> None:
    security = {"grant": [write_scope(name)]}
    get = made["paths"][path].get("get")
    if get is None:
        made["paths"][path]["get"] = _follow(path, name, shape, guarded) | {"security": [security]}
        return
    get["security"] = [*get["security"], security]
    content = get["responses"]["200"]["content"]["application/json"]
    content["schema"] = {"anyOf": [content["schema"], shape]}


def _follow(path: str, name: str, shape: Node, guarded: Node) -> Node:
    one = path.endswith("{id}")
    only_one = {"304": {"description": "Not changed"}, **_refused(("404", "NotFound"), ("412", "NotNewest"))}
    limit = {"type": "integer", "minimum": 1, "maximum": LIMIT_MAX, "default": LIMIT_DEFAULT}
    pages = [
        _parameter("limit", limit, "query", "states in one page"),
        _parameter("cursor", {"type": "string"}, "query", "`next` of a page"),
    ]
    return {
        "operationId": f"follow_{name}" + ("_one" if one else ""),
        "summary": f"{collection(name).label}: what became of what you left",
        "tags": ["writing"],
        "parameters": [_ID, *CONDITIONS] if one else pages,
        "responses": {
            "200": {"description": "State", "content": {"application/json": {"schema": shape}}},
            **(only_one if one else {}),
            **guarded,
        },
    }


def _body(spec: APISpec, of: Collection) -> Node:
    properties: Node = {}
    for facet in of.facets:
        if any(field.by == "seller" for field in facet.fields):
            name = f"Left{of.name.title()}{facet.name.title()}"
            spec.components.schema(name, _facet(of, facet))
            properties[facet.name] = {"anyOf": [{"$ref": f"#/components/schemas/{name}"}, {"type": "null"}]}
    needed, names = NEEDED[of.name]
    said = {"type": "string", "pattern": "\\S"}
    one_of = [{"required": [name], "properties": {name: said}} for name in names]
    properties[needed] = {"allOf": [properties[needed]["anyOf"][0], {"anyOf": one_of}]}
    shape = {
        "type": "object",
        "description": "A field or facet that is null is not said, nor is a field that is an empty text",
        "required": [needed],
        "properties": properties,
        "additionalProperties": False,
    }
    spec.components.schema(f"Left{of.name.title()}", shape)
    schema = {"$ref": f"#/components/schemas/Left{of.name.title()}"}
    return {"required": True, "content": {"application/json": {"schema": schema}}}


def _facet(of: Collection, facet: Facet) -> Node:
    """What of a facet is the seller's to say, as it may be sent."""
    fields = schemas.facet_schema(of.name, facet.name).fields
    own = [field for field in facet.fields if field.by == "seller"]
    properties = {field.name: sent_shape(field.kind, fields[field.name]) for field in own}
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _parameter(name: str, schema: Node, place: str, description: str, *, required: bool = False) -> Node:
    return {
        "name": name,
        "in": place,
        "required": required or place == "path",
        "schema": schema,
        "description": description,
    }


CONDITIONS = [
    _parameter("If-None-Match", {"type": "string"}, "header", "an ETag seen before"),
    _parameter(
        "If-Match", {"type": "string"}, "header", "the one ETag that is of interest; mostly not needed"
    ),
]
_ID = _parameter("id", {"type": "string"}, "path", "as the answer to the deposit gave it")
_MATCH = _parameter("If-Match", {"type": "string"}, "header", "the ETag of what is changed")
_KEY = _parameter(
    "Idempotency-Key",
    {"type": "string", "pattern": "^[!-+.-~-]{1,255}$"},
    "header",
    "your own, new for each deposit; the same key and body are one deposit",
    required=True,
)


def _refused(*pairs: tuple[str, str]) -> Node:
    return {status: {"$ref": f"#/components/responses/{name}"} for status, name in pairs}


_BODY = (
    ("411", "NoLength"),
    ("413", "TooLarge"),
    ("415", "NotJson"),
    ("422", "NotValid"),
    ("429", "TooMuch"),
)
_CONDITION = (("404", "NotFound"), ("412", "NotNewest"), ("428", "NoCondition"))


def _accepted(of: Collection, act: str, summary: str, guarded: Node, **rest: Any) -> Node:
    return {
        "operationId": f"{act}_{of.name}",
        "summary": f"{of.label}: {summary}",
        "tags": ["writing"],
        "security": [{"grant": [write_scope(of.name)]}],
        **rest,
        "responses": {
            "202": {"description": "Sealed for the customer", "headers": _TAG, "content": _STATE},
            **rest["responses"],
            **guarded,
        },
    }


def _submit(of: Collection, body: Node, guarded: Node) -> Node:
    refused = _refused(("404", "NotFound"), ("409", "KeyReused"), *_BODY)
    return _accepted(
        of, "leave", "leave something", guarded, parameters=[_KEY], requestBody=body, responses=refused
    )


def _replace(of: Collection, body: Node, guarded: Node) -> Node:
    refused = _refused(*_CONDITION, *_BODY)
    return _accepted(
        of,
        "replace",
        "say it anew",
        guarded,
        parameters=[_ID, _MATCH],
        requestBody=body,
        responses=refused,
    )


def _withdraw(of: Collection, guarded: Node) -> Node:
    refused = _refused(*_CONDITION, ("429", "TooMuch"))
    return _accepted(of, "withdraw", "take it back", guarded, parameters=[_ID, _MATCH], responses=refused)
