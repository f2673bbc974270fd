"""The authorization server's half of the OpenAPI document."""

from __future__ import annotations

from typing import Any

from apispec import APISpec

from vrm.api.oauth.assertion import ASSERTION_TYPE
from vrm.api.oauth.clients import TICKET
from vrm.api.oauth.introspect import INTROSPECT
from vrm.api.oauth.management import GRANTS
from vrm.api.oauth.metadata import DETAILS_TYPES
from vrm.api.oauth.par import ANSWER_MODES
from vrm.consent.policy import CUSTOMER, VENDOR
from vrm.consent.scopes import INBOX, NO_CHANNEL
from vrm.consent.terms import TERMS
from vrm.plain import FORM

Node = dict[str, Any]
_TEXT: Node = {"type": "string"}
_TEXTS: Node = {"type": "array", "items": _TEXT}
_PERIOD: Node = {"type": "string", "description": "ISO 8601 duration of one unit, such as P2Y"}
DETAIL: Node = {
    "type": "object",
    "description": "RFC 9396; what was granted",
    "required": ["type", "datatypes", "actions"],
    "properties": {
        "type": {"type": "string", "enum": DETAILS_TYPES},
        "datatypes": _TEXTS,
        "actions": _TEXTS,
        "fields": _TEXTS,
        "filter": {"type": "object", "properties": {"category": _TEXTS}},
        "period": _PERIOD,
        "purpose": _TEXT,
        "necessity": {"type": "string", "enum": ["required", "optional"]},
        "retention": _PERIOD,
        "terms": {"type": "string", "enum": list(TERMS)},
        "response_channel": {"type": "string", "enum": [NO_CHANNEL, INBOX]},
        "locations": _TEXTS,
    },
}
_QUESTION = {
    "response_type": "code",
    "client_id": "of the vendor",
    "redirect_uri": "exactly as registered",
    "code_challenge": "S256 of the verifier",
    "code_challenge_method": "S256",
    "scope": "short form of a request",
    "authorization_details": "RFC 9396: an array of vrm_access objects",
    "purpose": "DPV id for `scope`; else the vendor's own",
    "state": "comes back unchanged",
    "resource": "RFC 8707: this vault, or a server that its host registered; may be repeated",
    "grant_management_action": "create, replace or merge",
    "grant_id": "of the grant that is to be changed",
    "dpop_jkt": "RFC 9449: thumbprint of the key that tokens are to be bound to",
}
_PROOF: Node = {  # how a vendor with a key of its own proves itself
    "client_assertion_type": {"type": "string", "enum": [ASSERTION_TYPE]},
    "client_assertion": {"type": "string", "description": "private_key_jwt: a signed token (RFC 7523)"},
}
_REFUSALS = ("400", "401", "411", "413", "429", "503")
_ANSWERS = {status: {"$ref": "#/components/responses/OAuthRefusal"} for status in _REFUSALS}


def add(spec: APISpec) -> None:
    """The endpoints at which a vendor asks and is answered."""
    token_set: Node = {"$ref": "#/components/schemas/TokenSet"}
    given_back: Node = {"type": "object", "required": ["token"], "properties": {"token": _TEXT}}
    done = {"200": {"description": "Done", "content": _json({"type": "object"})}}
    tokens = {"200": {"description": "Done", "content": _json(token_set)}}
    _add_form(
        spec, "/oauth/token", "token", "Redeem a code, a ticket or a refresh token", _exchange(), tokens
    )
    _add_form(spec, "/oauth/revoke", "revoke", "Give a token back (RFC 7009)", given_back, done)
    told = {"200": {"description": "What it is, or that it is nothing", "content": _json(_introspected())}}
    _add_form(spec, INTROSPECT, "introspect", "What a token is (RFC 7662)", given_back, told)
    spec.path(f"{GRANTS}/{{grant_id}}", operations=_managed())
    _add_form(spec, "/oauth/par", "par", "Push a request (RFC 9126)", _pushed(), _reference())
    spec.path("/oauth/authorize", operations={"get": _authorize(), "post": _authorize_by_form()})


def _json(schema: Node) -> Node:
    return {"application/json": {"schema": schema}}


def _add_form(spec: APISpec, path: str, name: str, summary: str, shape: Node, answers: Node) -> None:
    whole = {**shape, "properties": {**shape["properties"], **_PROOF}}
    post = {
        "operationId": name,
        "summary": summary,
        "tags": ["authorization"],
        "security": [{"client": []}, {}],
        "requestBody": {"required": True, "content": {FORM: {"schema": whole}}},
        "responses": {**answers, **_ANSWERS},
    }
    spec.path(path, operations={"post": post})


def _exchange() -> Node:
    named = ("code", "redirect_uri", "code_verifier", "refresh_token", "ticket")
    kinds = ["authorization_code", "refresh_token", TICKET]
    less = "less than was granted"
    return {
        "type": "object",
        "required": ["grant_type"],
        "properties": {
            "grant_type": {"type": "string", "enum": kinds},
            **dict.fromkeys(named, _TEXT),
            "scope": {"type": "string", "description": f"RFC 6749: {less}"},
            "authorization_details": {"type": "string", "description": f"RFC 9396: {less}"},
            "resource": {"type": "string", "description": "RFC 8707: one of those granted"},
            "client_id": {"type": "string", "description": "public vendors"},
        },
    }


def _pushed() -> Node:
    asked = {name: {"type": "string", "description": words} for name, words in _QUESTION.items()}
    mode = {"type": "string", "enum": list(ANSWER_MODES), "description": "poll: she may answer elsewhere"}
    required = ["response_type", "client_id", "redirect_uri", "code_challenge", "code_challenge_method"]
    return {"type": "object", "required": required, "properties": {**asked, "answer_mode": mode}}


def _reference() -> Node:
    whole: Node = {"type": "integer", "minimum": 1}
    polled = {"ticket": _TEXT, "interval": whole, "link": _TEXT, "link_expires_in": whole, "number": whole}
    shape: Node = {
        "type": "object",
        "required": ["request_uri", "expires_in"],
        "properties": {"request_uri": _TEXT, "expires_in": whole, **polled},
    }
    refused = {"429": {"$ref": "#/components/responses/OAuthRefusal"}}
    return {"201": {"description": "It waits", "content": _json(shape)}, **refused}


def _introspected() -> Node:
    moment: Node = {"type": "integer"}
    bound: Node = {"type": "object", "properties": {"jkt": _TEXT}}
    texts = ("scope", "client_id", "token_type", "iss", "aud", "sub", "grant_id")
    return {
        "type": "object",
        "required": ["active"],
        "properties": {
            "active": {"type": "boolean"},
            **dict.fromkeys(texts, _TEXT),
            **dict.fromkeys(("exp", "iat"), moment),
            "authorization_details": {"type": "array", "items": DETAIL},
            "cnf": bound,
        },
    }


_WITHOUT_TOKEN: Node = {
    "description": "No good token; where none came, the body says nothing (RFC 6750 section 3.1)",
    "content": _json({"type": "object", "properties": {"error": _TEXT}}),
}


def _managed() -> Node:
    """Both acts of grant management."""
    when: Node = {"type": "string", "format": "date-time"}
    granted: Node = {"type": "object", "properties": {"scope": _TEXT, "resource": _TEXTS}}
    grant: Node = {
        "type": "object",
        "required": ["scopes", "claims", "authorization_details", "created_at", "expires_at"],
        "properties": {
            "scopes": {"type": "array", "items": granted},
            "claims": _TEXTS,
            "authorization_details": {"type": "array", "items": DETAIL},
            **dict.fromkeys(("created_at", "last_updated_at", "expires_at"), when),
            "updated_by": {"type": "string", "enum": [VENDOR, CUSTOMER]},
        },
    }
    refused: Node = {
        status: {"$ref": "#/components/responses/OAuthRefusal"}
        for status in ("400", "403", "404", "429", "503")
    }
    refused["401"] = _WITHOUT_TOKEN
    usual: Node = {
        "tags": ["authorization"],
        "security": [{"grant": []}],
        "parameters": [
            {
                "name": "grant_id",
                "in": "path",
                "required": True,
                "schema": _TEXT,
                "description": "as the token response names it",
            }
        ],
    }
    answers: Node = {"200": {"description": "What was agreed", "content": _json(grant)}, **refused}
    ended: Node = {"204": {"description": "It has ended"}, **refused}
    return {
        "get": {**usual, "operationId": "grant", "summary": "Look a grant up", "responses": answers},
        "delete": {**usual, "operationId": "giveBack", "summary": "Give a grant back", "responses": ended},
    }


_BROUGHT = {**_QUESTION, "request_uri": "of a pushed request: then only `client_id` counts beside it"}


def _authorize() -> Node:
    return {
        "operationId": "authorize",
        "summary": "Where a vendor sends the customer's browser",
        "tags": ["authorization"],
        "parameters": [
            {"name": name, "in": "query", "required": False, "schema": _TEXT, "description": words}
            for name, words in _BROUGHT.items()
        ],
        "responses": {
            "303": {"description": "To the customer's side, or back to the vendor with error, state and iss"},
            "400": {"description": "Unknown vendor or redirect address: a page, never a redirect"},
            "429": {"description": "Too many came from one network: a page, and when to try again"},
            "503": {"description": "The storage refused: a page, and when to try again"},
        },
    }


def _authorize_by_form() -> Node:
    """The same for who would rather not have the request in an address (RFC 6749 section 3.1)."""
    asked = {name: {"type": "string", "description": words} for name, words in _BROUGHT.items()}
    by_query = _authorize()
    return {
        "operationId": "authorizeByForm",
        "summary": "The same by a form, with nothing in the address",
        "tags": ["authorization"],
        "requestBody": {
            "required": True,
            "content": {FORM: {"schema": {"type": "object", "properties": asked}}},
        },
        "responses": {**by_query["responses"], **{status: _ANSWERS[status] for status in ("411", "413")}},
    }
