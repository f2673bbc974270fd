"""Every request counted and, where the log is on, written down: by its rule, never by its path.

Promises: paths, which hold handles, and query strings, which hold codes and searches, go nowhere; whoever
answers says in `environ[SERIES]` which rule it was, and what nobody answered is one series of its own.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from time import perf_counter
from typing import Any, Final

from flask import Flask, Response, request

from vrm import logs
from vrm.meters import Series
from vrm.plain import Environ, Naming, Wsgi

SERIES: Final = "vrm.series"
NUMBER: Final = "X-Request-Id"
_UNROUTED: Final = Series("-", "-")


class Observed:
    """WSGI middleware around all others."""

    def __init__(self, app: Wsgi) -> None:
        self._app = app

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        began, status = perf_counter(), 500
        logs.begin()

        def start(line: str, headers: list[tuple[str, str]], *failed: Any) -> Any:
            nonlocal status
            status = int(line[:3])
            if status >= 500 or logs.ACCESS.isEnabledFor(logging.INFO):
                headers = [*headers, (NUMBER, logs.request_id())]
            return start_response(line, headers, *failed)

        try:
            return self._app(environ, start)
        finally:
            note(environ.get(SERIES, _UNROUTED), status, perf_counter() - began)


def note(series: Series, status: int, seconds: float) -> None:
    """One request was answered."""
    series.count(status, seconds)
    if logs.ACCESS.isEnabledFor(logging.INFO):
        ms = round(seconds * 1000, 1)
        logs.ACCESS.info(
            "%s %s %d %.1fms",
            *(series.method, series.rule, status, ms),
            extra={"method": series.method, "rule": series.rule, "status": status, "ms": ms},
        )


def name_rules(app: Flask) -> Naming:
    """Tell the middleware which rule Flask found; to be called once all rules are there.

    Returns what whoever answers beside Flask tells it with: (environ, method, rule).
    """
    known = {
        (method, rule.rule): Series(method, rule.rule)
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }

    def name(environ: Environ, method: str, rule: str) -> None:
        series = known.get((method, rule))
        if series is not None:
            environ[SERIES] = series

    def name_rule(response: Response) -> Response:
        if request.url_rule is not None:
            method = "GET" if request.method == "HEAD" else request.method
            name(request.environ, method, request.url_rule.rule)
        return response

    app.after_request(name_rule)
    app.extensions[SERIES] = [_UNROUTED, *known.values()]
    return name


def series_of(app: Flask) -> list[Series]:
    """All that `name_rules` found, and what nobody answered."""
    found: list[Series] = app.extensions[SERIES]
    return found
