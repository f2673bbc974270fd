"""The vendor API, version 1: what a grant shows, record by record, as bytes that were sealed at approval.

Promises: a reading is authenticated, checked and logged for the customer (in `consent.reader`, before a
byte leaves); rows are spliced into the answer as they are, never parsed or built anew. A record that is
absent, filtered out or not granted is one and the same 404. A conditional request that is answered 304 is a
reading like any other and logged as one: the vendor learns that nothing changed. Refuses a collection or
answer outside the token's scopes with 403, and the customer sees the attempt.
"""

from __future__ import annotations

import json

from flask import Blueprint, Response, g, request
from werkzeug.datastructures import MultiDict
from werkzeug.exceptions import HTTPException, default_exceptions

from vrm.api import deposits, guards, problems
from vrm.api.gate import Gate
from vrm.consent.access import Access
from vrm.consent.filters import PARAMETERS
from vrm.consent.reader import Reader
from vrm.consent.service import Consent
from vrm.errors import VrmError
from vrm.settings import Settings
from vrm.vault.engine import Work

PREFIX = "/api/v1"
JSON = "application/json"
REFUSED = "vrm.refused"  # in an environ: the error that `direct` met with, and the proof of the request


def reading_of(reader: Reader, access: Access, collection: str, args: MultiDict[str, str]) -> Work[bytes]:
    """The body of the page that these parameters ask for."""
    known = guards.LIST
    if not PARAMETERS.isdisjoint(args):  # the rest need not know what is open
        known |= reader.filters(access, collection)
    query = guards.page_query(args, known)
    return (yield from reader.reading_list(access, collection, query))


def blueprint(consent: Consent, settings: Settings) -> Blueprint:
    """The routes under /api/v1."""
    routes = Blueprint("api_v1", __name__, url_prefix=PREFIX)
    gate = Gate(consent, settings.issuer)
    writings = deposits.Writings(gate, consent.deposits)
    views = Readings(gate, consent.reader, writings)
    routes.add_url_rule("/grant", "grant", views.grant)
    routes.add_url_rule("/answers/<question>", "answer", views.answer)
    routes.add_url_rule("/<collection>", "page", views.page)
    routes.add_url_rule("/<collection>/changes", "changes", views.changes)
    routes.add_url_rule("/<collection>/<id>", "one", views.one)
    routes.record_once(lambda state: state.app.url_map.converters.update(deposits.CONVERTERS))
    routes.add_url_rule("/<written:collection>", "submit", writings.submit, methods=["POST"])
    routes.add_url_rule("/<written:collection>/<left:id>", "replace", writings.replace, methods=["PUT"])
    routes.add_url_rule("/<written:collection>/<left:id>", "withdraw", writings.withdraw, methods=["DELETE"])
    routes.before_request(_refused_before)
    routes.after_request(guards.protect)
    routes.after_request(gate.finish)
    routes.register_error_handler(VrmError, lambda error: gate.refusal(request, error, _scope()))
    for code in default_exceptions:  # by code: otherwise the app's own pages for that code come first
        routes.register_error_handler(code, _http)
    return routes


class Readings:
    """One view per address, over the one reader."""

    def __init__(self, gate: Gate, reader: Reader, writings: deposits.Writings) -> None:
        self._gate = gate
        self._reader = reader
        self._writings = writings

    def page(self, collection: str) -> Response:
        """One page of a collection, in the order of this grant's feed; filtered by what it shows.

        To a token that only writes, the states of what it left.
        """
        access = self._access()
        if self._writings.follows(access, collection):
            return self._writings.page(access, collection)
        body = self._reader.perform(reading_of(self._reader, access, collection, request.args))
        return Response(body, content_type=JSON)

    def changes(self, collection: str) -> Response:
        """What this grant sees changed since a cursor; a row that left is named as gone."""
        access = self._access()
        query = guards.page_query(request.args, guards.FEED)
        rows, cursor, more = self._reader.changes(access, collection, limit=query.limit, cursor=query.cursor)
        end = b'],"next":"%b","more":%b}' % (cursor.encode(), b"true" if more else b"false")
        return Response(b'{"items":[' + b",".join(rows) + end, content_type=JSON)

    def one(self, collection: str, id: str) -> Response:
        """One record, with an ETag of what this grant sees of it; or the state of an own deposit."""
        access = self._access()
        guards.no_parameters(request.args)
        if self._writings.follows(access, collection, id):
            return self._writings.one(access, collection, id)
        body, etag = self._reader.one(access, collection, id)
        response = Response(body, content_type=JSON)
        response.headers["ETag"] = etag
        return guards.conditional(response, request)

    def answer(self, question: str) -> Response:
        """An answer that the vault computed at approval."""
        access = self._access()
        guards.no_parameters(request.args)
        return Response(self._reader.answer(access, question), content_type=JSON)

    def grant(self) -> Response:
        """The told limits of the grant behind this token."""
        access = self._access()
        guards.no_parameters(request.args)
        told = self._reader.grant(access)
        return Response(json.dumps(told, ensure_ascii=False, separators=(",", ":")), content_type=JSON)

    def _access(self) -> Access:
        guards.no_body(request)
        return self._gate.access(request)


def _refused_before() -> None:
    """Raise what this request was refused for before it came here: it is not tried twice."""
    if REFUSED in request.environ:
        error, g.proof = request.environ[REFUSED]
        raise error


def _scope() -> str:
    """The scope that a request refused for its scope would have needed."""
    wanted = request.view_args or {}
    if "question" in wanted:
        return f"answers.{wanted['question']}:read"
    return deposits.scope_for(wanted["collection"], request.method) if "collection" in wanted else ""


def _http(error: HTTPException) -> Response:
    return problems.http_answer(error)
