"""What the parameters of a vendor request may be, and what every answer is protected by.

Promises: parameters are known, given once and within limits; answers are never stored, sniffed or framed.
Refuses a body on a reading (RFC 6750 section 2.2) and says nothing about which unknown parameter it refused.
"""

from __future__ import annotations

import re
from datetime import datetime

from flask import Request, Response
from werkzeug.datastructures import MultiDict

from vrm.consent.filters import FILTERED, Filtered, Wanted
from vrm.consent.selection import PageQuery
from vrm.errors import ConditionError, ParameterError, ValidationError

LIMIT_DEFAULT, LIMIT_MAX = 100, 500  # records in one answer
MAX_CURSOR = 1024  # characters
FEED = frozenset({"limit", "cursor"})
LIST = FEED | {"updated_since"}

_RFC3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?([Zz]|[+-][0-9]{2}:[0-9]{2})"
)
_UNKNOWN = "a parameter is not known here, or not open to this token"

SECURITY_HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": (
        "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    ),
    "Cross-Origin-Resource-Policy": "same-origin",
}
_PROTECTION = {name.lower(): (name, value) for name, value in SECURITY_HEADERS.items()}


def protect(response: Response) -> Response:
    """Put the headers on that keep an answer out of caches, frames and sniffers.

    What has no body is of no type either: Flask says text/html of a bare 204, 303 or OPTIONS.
    """
    if response.calculate_content_length() == 0:
        response.headers.pop("Content-Type", None)
    present = {name.lower() for name, _ in response.headers}
    missing = [header for name, header in _PROTECTION.items() if name not in present]
    response.headers.extend(missing)
    return response


def conditional(response: Response, request: Request) -> Response:
    """The answer to a reading of what has this ETag, under its conditions (RFC 9110 section 13.2.2).

    304 where If-None-Match names it; ConditionError where If-Match names something else.
    """
    tag = response.get_etag()[0] or ""
    if "If-Match" in request.headers and not request.if_match.contains(tag):
        raise ConditionError()
    if request.if_none_match.contains_weak(tag):
        response.status_code = 304
        response.set_data(b"")
    return response


def no_body(request: Request) -> None:
    """Refuse a body on a request that reads: a token or a parameter might be hidden in it."""
    if request.content_length or "Transfer-Encoding" in request.headers:
        raise ParameterError("this request carries no body")


def no_parameters(args: MultiDict[str, str]) -> None:
    """Refuse every parameter, with the one text for all."""
    if args:
        raise ParameterError(_UNKNOWN)


def page_query(args: MultiDict[str, str], known: frozenset[str] = LIST) -> PageQuery:
    """Parse `limit`, `cursor`, `updated_since` and filters; anything not `known` is refused without a name.

    What is not open to a token is not known, however it was written: so the refusal tells nothing.
    """
    if not args.keys() <= known:
        raise ParameterError(_UNKNOWN)
    for name in args:
        if len(args.getlist(name)) != 1:
            raise _wrong(name, "given more than once")
    return PageQuery(
        limit=_limit(args.get("limit")),
        cursor=_cursor(args.get("cursor")),
        updated_since=_moment(args.get("updated_since")),
        wanted=_wanted(args),
    )


def _wanted(args: MultiDict[str, str]) -> Wanted:
    given = {
        name: _value(field, name, args[name])
        for field in FILTERED
        for name in field.parameters
        if name in args
    }
    wanted = Wanted(**given)
    if wanted.ordered_from and wanted.ordered_to and wanted.ordered_from > wanted.ordered_to:
        raise _wrong("ordered_to", "is before ordered_from")
    return wanted


def _value(field: Filtered, name: str, text: str) -> str:
    """A value as the vault writes it down, so that what is equal looks equal."""
    from vrm.vault import schemas

    collection, _, facet = field.datatype.partition(".")
    try:
        value: str = schemas.clean(collection, facet, field.name, text)
    except ValidationError as error:
        raise _wrong(name, "; ".join(error.fields[field.name])) from None
    if not value:
        raise _wrong(name, "is empty")
    return value


def _wrong(name: str, reason: str) -> ParameterError:
    return ParameterError(f"{name}: {reason}", fields={name: [reason]})


def _limit(text: str | None) -> int:
    if text is None:
        return LIMIT_DEFAULT
    if not re.fullmatch(r"[0-9]{1,3}", text) or not 1 <= int(text) <= LIMIT_MAX:
        raise _wrong("limit", f"must be a whole number from 1 to {LIMIT_MAX}")
    return int(text)


def _cursor(text: str | None) -> str | None:
    if text is not None and not re.fullmatch(rf"[A-Za-z0-9_=-]{{1,{MAX_CURSOR}}}", text):
        raise _wrong("cursor", "is not a cursor of this vault")
    return text


def _moment(text: str | None) -> int | None:
    if text is None:
        return None
    if not _RFC3339.fullmatch(text):
        raise _wrong("updated_since", "must be an RFC 3339 time such as 2026-11-21T00:00:00Z")
    try:
        return int(datetime.fromisoformat(text.upper()).timestamp() // 1)
    except (ValueError, OverflowError):
        raise _wrong("updated_since", "is not a moment that exists") from None
