"""A vendor's plain reading, answered before Flask is asked: most requests are one, and need nothing of it.

Takes `GET /api/v1/<collection>`, with parameters of a list that are written without escapes, and `GET
/api/v1/<collection>/<id>`, without body and condition, to our own host, by a token that reads only. Promises:
what it answers is byte for byte what the routes in `v1` answer, and its refusals are theirs: a request that
is refused goes on to Flask with the error that was raised, and everything else goes on as it came.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, Final

from werkzeug.datastructures import MultiDict

from vrm.api import guards
from vrm.api.gate import NONCE_HEADER, OPENED, Gate
from vrm.api.v1 import JSON, PREFIX, REFUSED, reading_of
from vrm.consent.access import Access
from vrm.consent.filters import PARAMETERS
from vrm.consent.reader import Reader
from vrm.consent.selection import PageQuery
from vrm.plain import Environ, Naming, Plain, Wsgi
from vrm.vault.catalog import CATALOG_BY_NAME
from vrm.vault.engine import Work

PAGE, ONE = "/<collection>", "/<collection>/<id>"  # rules of `v1`
Header = tuple[str, str]

_PATH = re.compile(f"{PREFIX}/({'|'.join(map(re.escape, CATALOG_BY_NAME))})(?:/([0-9a-f]{{32}}))?")
_QUERY = re.compile(
    rf"(?:limit=([1-9][0-9]{{0,2}}))?(?:(?:^|&)cursor=([A-Za-z0-9_=-]{{1,{guards.MAX_CURSOR}}}))?"
)
_NAMES = "|".join(sorted(guards.LIST | PARAMETERS))
_WRITTEN = re.compile(rf"(?:(?:^|&)(?:{_NAMES})=[A-Za-z0-9._~:=-]*)+")
_HEADERS: Final = [("Content-Type", JSON), *guards.SECURITY_HEADERS.items()]


class Direct:
    """WSGI middleware right around Flask."""

    def __init__(self, app: Wsgi, gate: Gate, reader: Reader, hosts: Iterable[str], named: Naming) -> None:
        """`hosts` are our own names; `named` is told the method and the rule of what was answered."""
        self._app, self._gate, self._reader, self._named = app, gate, reader, named
        self._plain = Plain(hosts)

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        path = _PATH.fullmatch(environ["PATH_INFO"])
        if path is None or "HTTP_AUTHORIZATION" not in environ or not self._plain.is_reading(environ):
            return self._app(environ, start_response)
        asked = environ.get("QUERY_STRING", "")
        query = _QUERY.fullmatch(asked)
        if (path[2] and asked) or (query is None and _WRITTEN.fullmatch(asked) is None):
            return self._app(environ, start_response)
        opened: list[Access] = []
        try:
            reading = self._reading(environ, path, query, opened)
            answer = self._reader.perform(reading, environ["HTTP_AUTHORIZATION"])
        except Exception as error:  # noqa: BLE001 - whatever it is, Flask answers it
            environ[REFUSED] = error, opened[0].proof if opened else None
            return self._app(environ, start_response)
        if answer is None:
            environ[OPENED] = opened[0]
            return self._app(environ, start_response)
        body, headers = answer
        self._named(environ, "GET", PREFIX + (ONE if path[2] else PAGE))
        start_response("200 OK", [*_HEADERS, ("Content-Length", str(len(body))), *headers])
        return [body]

    def _reading(
        self, environ: Environ, path: re.Match[str], query: re.Match[str] | None, opened: list[Access]
    ) -> Work[tuple[bytes, list[Header]] | None]:
        """The body, and the headers that are not the same for all; None for a token that writes.

        What is opened goes into `opened`.
        """
        access = self._gate.opened(environ["HTTP_AUTHORIZATION"], environ.get("HTTP_DPOP", ""), path[0])
        opened.append(access)
        if access.writes:  # it may mean what it left itself
            return None
        fresh = access.proof.fresh_nonce if access.proof else ""
        headers = [(NONCE_HEADER, fresh)] if fresh else []
        if path[2]:
            body, etag = yield from self._reader.reading_one(access, path[1], path[2])
            return body, [*headers, ("ETag", etag)]
        if query is None or int(query[1] or 1) > guards.LIMIT_MAX:
            asked = environ["QUERY_STRING"].split("&")
            args = MultiDict(part.partition("=")[::2] for part in asked if part)
            return (yield from reading_of(self._reader, access, path[1], args)), headers
        page = PageQuery(int(query[1] or guards.LIMIT_DEFAULT), query[2])
        return (yield from self._reader.reading_list(access, path[1], page)), headers
