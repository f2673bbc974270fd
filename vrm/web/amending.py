"""The consent page where a grant is to be changed: what is new, what goes, what she had chosen before.

Pure, so that the rules can be tested without an app. Promises: what she chose for the grant as it is stands
chosen again, and nothing beyond; what she does not share today is marked, row by row and part by part.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from vrm.consent.amendments import MERGE, within
from vrm.consent.asking import StoredRequest
from vrm.consent.policy import HERE, LATER
from vrm.consent.requests import Choices, Preview, with_shorter_period
from vrm.consent.scopes import MANAGEMENT, is_reading, scopes_of, subject_of
from vrm.consent.vendors import Vendor
from vrm.consent.views import OpenGrant

DAYS: Final = (1, 30, 90, 365)  # which the page offers
_DAY: Final = 86_400  # seconds


@dataclass(frozen=True, slots=True)
class Amended:
    """What would change. `rows`: the record ids of rows that they do not see like this today."""

    more: bool  # they keep what they have, and get this beside
    facets: list[str]
    facets_gone: list[str]
    writes: list[str]
    writes_gone: list[str]
    rows: frozenset[str]
    rows_gone: int
    purposes: frozenset[str]
    until: int  # as it is today; the page says the new end itself


@dataclass(frozen=True, slots=True)
class Beside:
    """What goes along with a request and opens no row."""

    manage: list[str]
    places: list[tuple[str, str]]  # (name, address) of other servers at which they may show the token


def earlier_choices(stored: StoredRequest, earlier: OpenGrant, period: str) -> Choices:
    """What she chose before, as far as this request has it; `period`: how far back, as the page offers it."""
    reserve, agreement = earlier.reserve, earlier.agreement
    lasted = (agreement.expires - agreement.created) // _DAY
    return Choices(
        optional=frozenset(
            str(index)
            for index, part in enumerate(stored.parts)
            if part["necessity"] == "optional" and within(with_shorter_period(part, period), agreement.parts)
        ),
        for_whom=reserve.for_whom,
        unsorted=reserve.unsorted,
        exclude=reserve.exclude,
        period=period,
        days=max((days for days in DAYS if days <= lasted), default=DAYS[0]),
        sellers=tuple(sorted(reserve.sellers)),
        fresh=LATER if reserve.fresh == LATER else Choices().fresh,
    )


def amended(
    stored: StoredRequest, earlier: OpenGrant, preview: Preview, seen: Mapping[str, Mapping[str, Any]]
) -> Amended:
    """What these choices would change; `seen`: record id → what they see of it today."""
    parts = [view.part for view in preview.parts if view.ticked]
    now = dict.fromkeys(scope for part in parts for scope in scopes_of(part))
    had = dict.fromkeys(earlier.agreement.scopes)
    gone = [scope for scope in had if scope not in now]
    fresh = [scope for scope in now if scope not in had]
    leaving = {row.record_id for row in preview.rows}
    return Amended(
        more=stored.extras["action"] == MERGE,
        facets=[subject_of(scope) for scope in fresh if is_reading(scope)],
        facets_gone=[subject_of(scope) for scope in gone if is_reading(scope)],
        writes=[subject_of(scope) for scope in fresh if not is_reading(scope)],
        writes_gone=[subject_of(scope) for scope in gone if not is_reading(scope)],
        rows=frozenset(
            row.record_id
            for row in preview.rows
            if not row.document.items() <= seen.get(row.record_id, {}).items()
        ),
        rows_gone=len([record for record in seen if record not in leaving]),
        purposes=frozenset(part["purpose"] for part in parts)
        - {part["purpose"] for part in earlier.agreement.parts},
        until=earlier.agreement.expires,
    )


def beside(stored: StoredRequest, find: Callable[[str], Vendor | None]) -> Beside:
    """What the request says beside its parts, in words; `find`: the server at an address."""
    known = [(find(place), place) for place in stored.extras.get("resource", ()) if place != HERE]
    return Beside(
        [MANAGEMENT[name] for name in stored.extras.get("manage", ()) if name in MANAGEMENT],
        [(server.shown_name if server else "", place) for server, place in known],
    )
