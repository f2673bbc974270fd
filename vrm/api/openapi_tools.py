"""What programs of the customer's own can do, in the OpenAPI document."""

from __future__ import annotations

from typing import Any

from apispec import APISpec

from vrm.api.tools import FILES_MOST
from vrm.device import DEVICE, DEVICE_AUTHORIZATION, MANAGE, TOOL, TOOLS
from vrm.plain import FORM

Node = dict[str, Any]
_TEXT: Node = {"type": "string"}
_TEXTS: Node = {"type": "array", "items": _TEXT}
_WHOLE: Node = {"type": "integer", "minimum": 0}
_MOMENT: Node = {"type": "string", "format": "date-time"}
_REPORT: Node = {
    "type": "object",
    "description": "what became of the rows of one file",
    "required": ["file", "format", "read", "imported", "updated", "duplicates", "rejected", "suggestions"],
    "properties": {
        "file": _TEXT,
        "format": _TEXT,
        **dict.fromkeys(("read", "imported", "updated", "duplicates", "suggestions"), _WHOLE),
        "rejected": {"type": "array", "items": {"type": "object"}},
    },
}
_CONNECTION: Node = {
    "type": "object",
    "required": ["id", "vendor", "state", "reads", "writes", "created", "expires", "last_read", "readings"],
    "properties": {
        **dict.fromkeys(("id", "vendor"), _TEXT),
        "state": {"type": "string", "enum": ["live", "paused", "revoked", "expired", "replaced"]},
        **dict.fromkeys(("reads", "writes"), _TEXTS),
        **dict.fromkeys(("created", "expires"), _MOMENT),
        "last_read": {"type": ["string", "null"], "format": "date-time"},
        "readings": _WHOLE,
    },
}


def add(spec: APISpec) -> None:
    """The question of such a program, and its five addresses."""
    spec.components.security_scheme(
        "program",
        {
            "type": "http",
            "scheme": "bearer",
            "description": f"a program of the customer's own, let in by RFC 8628 with the scope {MANAGE};"
            " never a vendor",
        },
    )
    spec.path(DEVICE_AUTHORIZATION, operations={"post": _question()})
    about = _object("username", "expires")
    spec.path(
        f"{TOOLS}/self",
        operations={
            "get": _operation("about_program", "Whose vault it is", {"200": _ok("The vault", about)}),
            "delete": _operation("leave", "Give the credential back", {"204": _done()}),
        },
    )
    spec.path(f"{TOOLS}/imports", operations={"post": _import()})
    listed = _list_of("items", _CONNECTION)
    told = {"200": _ok("Every connection, the newest first", listed)}
    spec.path(f"{TOOLS}/connections", operations={"get": _operation("connections", "Who reads what", told)})
    spec.path(f"{TOOLS}/connections/{{id}}", operations={"delete": _stop()})


def let_programs_poll(made: Node) -> None:
    """At the token endpoint: their grant type, and what they get."""
    post = made["paths"]["/oauth/token"]["post"]
    asked = post["requestBody"]["content"][FORM]["schema"]["properties"]
    asked["grant_type"]["enum"].append(DEVICE)
    asked["device_code"] = _TEXT
    given = post["responses"]["200"]["content"]["application/json"]
    own = _object("access_token", "token_type", "scope")
    own["required"].append("expires_in")
    own["properties"] = {
        **own["properties"],
        "token_type": {"type": "string", "const": "Bearer"},
        "scope": {"type": "string", "const": MANAGE},
        "expires_in": {"type": "integer", "minimum": 1},
    }
    given["schema"] = {"anyOf": [given["schema"], own]}


def _question() -> Node:
    named = ("device_code", "user_code", "verification_uri", "verification_uri_complete")
    whole: Node = {"type": "integer", "minimum": 1}
    answer = _object(*named)
    answer["properties"].update(expires_in=whole, interval=whole)
    shape = _object("client_id")
    shape["properties"] = {
        "client_id": {"type": "string", "description": f"{TOOL}: the one client that is built in"},
        "scope": {"type": "string", "description": f"{MANAGE}, or left out"},
    }
    refusals = ("400", "401", "411", "413", "429", "503")
    return {
        "operationId": "device_authorization",
        "summary": "A program of the customer's own asks to be let in (RFC 8628)",
        "tags": ["programs"],
        "security": [{}],
        "requestBody": {"required": True, "content": {FORM: {"schema": shape}}},
        "responses": {
            "200": _ok("Two codes: one for the program, one for her to type", answer),
            **{status: {"$ref": "#/components/responses/OAuthRefusal"} for status in refusals},
        },
    }


def _import() -> Node:
    files = {"type": "array", "maxItems": FILES_MOST, "items": {"type": "string", "format": "binary"}}
    shape = {"type": "object", "required": ["files"], "properties": {"files": files}}
    told = {
        "200": _ok("What became of each file", _list_of("files", _REPORT)),
        "409": _problem("Another import is running"),
        "411": _problem("The body does not say how long it is"),
        "413": _problem("More than an import may hold; nothing was stored"),
        "422": _problem("No file, or one in no known format; nothing was stored"),
    }
    made = _operation("import_files", "Bring order histories in", told)
    made["requestBody"] = {"required": True, "content": {"multipart/form-data": {"schema": shape}}}
    return made


def _stop() -> Node:
    told = {"204": _done(), "404": _problem("There is no such connection")}
    made = _operation("stop_connection", "Stop a connection: in force at once", told)
    made["parameters"] = [
        {"name": "id", "in": "path", "required": True, "schema": _TEXT, "description": "its id"}
    ]
    return made


def _operation(name: str, summary: str, answers: Node) -> Node:
    shared = {
        "400": {"$ref": "#/components/responses/BadParameter"},
        "401": {"$ref": "#/components/responses/NoToken"},
        "429": _problem("Too many credentials that are no good came from one address: see `Retry-After`"),
        "503": {"$ref": "#/components/responses/NotNow"},
    }
    return {
        "operationId": name,
        "summary": summary,
        "tags": ["programs"],
        "security": [{"program": []}],
        "responses": {**answers, **shared},
    }


def _ok(words: str, shape: Node) -> Node:
    return {"description": words, "content": {"application/json": {"schema": shape}}}


def _done() -> Node:
    return {"description": "Done"}


def _problem(words: str) -> Node:
    shape = {"$ref": "#/components/schemas/Problem"}
    return {"description": words, "content": {"application/problem+json": {"schema": shape}}}


def _object(*names: str) -> Node:
    return {"type": "object", "required": list(names), "properties": dict.fromkeys(names, _TEXT)}


def _list_of(name: str, shape: Node) -> Node:
    return {"type": "object", "required": [name], "properties": {name: {"type": "array", "items": shape}}}
