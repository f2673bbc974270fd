"""Writing for vendors: leave something, say it anew, take it back, and follow what became of it.

Promises: an answer 202 means that the deposit is sealed and on the disk, not that it is filed; a repeated
`Idempotency-Key` is answered as the first time; a change names with `If-Match` the state that it changes.
Refuses bodies that are not strict JSON or larger than any receipt, before anything is opened.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from flask import Response, request, url_for
from werkzeug.exceptions import RequestEntityTooLarge, UnsupportedMediaType
from werkzeug.routing import BaseConverter

from vrm import strict_json
from vrm.api import guards
from vrm.api.gate import Gate
from vrm.consent.access import Access
from vrm.consent.deposits import Deposits
from vrm.consent.scopes import SCOPES, WRITES, write_scope
from vrm.consent.writers import State
from vrm.errors import ConditionMissingError, ParameterError

BODY_MOST = 64 * 1024  # bytes
_KEY = re.compile(r"[\x21-\x2b\x2d-\x7e]{1,255}")  # a server joins repeated headers with a comma
_JSON = "application/json"


class Written(BaseConverter):
    """A collection that vendors may write: an address elsewhere takes no such method, and says so."""

    regex = "|".join(WRITES)


class Left(BaseConverter):
    """What follows a collection, but for the feed, which is nobody's to write."""

    regex = "(?!changes$)[^/]+"
    part_isolating = True  # it holds no slash


CONVERTERS: Mapping[str, type[BaseConverter]] = {"written": Written, "left": Left}


class Writings:
    """One view per act, over the one `Deposits`."""

    def __init__(self, gate: Gate, deposits: Deposits) -> None:
        self._gate = gate
        self._deposits = deposits

    def submit(self, collection: str) -> Response:
        """Leave something new."""
        access = self._access()
        guards.no_parameters(request.args)
        key = request.headers.get("Idempotency-Key", "")
        if not _KEY.fullmatch(key):
            wanted = "must be one key of 1 to 255 visible ASCII characters without a comma"
            raise _wrong("Idempotency-Key", f"{wanted}, new for each deposit")
        state, tag = self._deposits.submit(access, collection, _body(), key)
        response = _answer(state, tag, 202)
        response.headers["Location"] = url_for("api_v1.one", collection=collection, id=state.item.hex())
        return response

    def replace(self, collection: str, id: str) -> Response:
        """Say something anew."""
        access = self._access()
        guards.no_parameters(request.args)
        tags = _tags()
        state, tag = self._deposits.replace(access, collection, id, _body(), tags)
        return _answer(state, tag, 202)

    def withdraw(self, collection: str, id: str) -> Response:
        """Take something back."""
        access = self._access()
        guards.no_parameters(request.args)
        guards.no_body(request)
        return _answer(self._deposits.withdraw(access, collection, id, _tags()), "", 202)

    def follows(self, access: Access, collection: str, id: str = "") -> bool:
        """Whether a reading means what this token left, rather than records."""
        if self._deposits.only_writes(access, collection):
            return True
        return bool(id) and self._deposits.owns(access, collection, id)

    def page(self, access: Access, collection: str) -> Response:
        """One page of the states of what this grant left."""
        query = guards.page_query(request.args, guards.FEED)
        states, following = self._deposits.page(access, collection, limit=query.limit, cursor=query.cursor)
        return _json({"items": [state.told() for state in states], "next": following}, 200)

    def one(self, access: Access, collection: str, id: str) -> Response:
        """The state of one thing that this grant left."""
        response = _answer(*self._deposits.one(access, collection, id), 200)
        return guards.conditional(response, request)

    def _access(self) -> Access:
        return self._gate.access(request)


def scope_for(collection: str, method: str) -> str:
    """The scope that a refused request would have needed; "" where there is none."""
    reading = f"{collection}:read"
    readable = any(scope.startswith(f"{collection}.") for scope in SCOPES)
    if method in ("GET", "HEAD") and readable:
        return reading
    return write_scope(collection) if collection in WRITES else ""


def _json(document: Mapping[str, Any], status: int) -> Response:
    body = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    return Response(body, status=status, content_type=_JSON)


def _answer(state: State, tag: str, status: int) -> Response:
    response = _json(state.told(), status)
    if tag:
        response.headers["ETag"] = tag
    return response


def _wrong(name: str, reason: str) -> ParameterError:
    return ParameterError(f"{name}: {reason}", fields={name: [reason]})


def _tags() -> list[str]:
    """The strong ETags of If-Match; ConditionMissingError without the header."""
    if "If-Match" not in request.headers:
        raise ConditionMissingError()
    given = request.if_match
    return ["*"] if given.star_tag else [f'"{tag}"' for tag in given.as_set()]


def _body() -> object:
    """The JSON of the body, read strictly."""
    if request.mimetype != _JSON:
        raise UnsupportedMediaType()
    if (request.content_length or 0) > BODY_MOST:
        raise RequestEntityTooLarge()
    try:
        return strict_json.loads(request.get_data(cache=False))
    except ValueError:
        raise ParameterError("the body is not valid JSON with unique names") from None
