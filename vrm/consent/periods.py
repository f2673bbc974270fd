"""How far back a vendor may look: periods that the customer chooses, and which of two is the longer."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from itertools import permutations

from vrm.consent import policy
from vrm.consent.scopes import Part, check_period, known_fields, writes
from vrm.errors import ScopeError, ValidationError


def with_period(part: Part, period: str) -> Part:
    """A purchases part with a shorter period; ValidationError for a longer one."""
    if not part["datatypes"][0].startswith("purchases."):
        return part
    wanted = require_period(period)
    if "period" in part and longer(wanted, part["period"]):
        raise ValidationError(fields={"period": ["can only become shorter"]})
    return {**part, "period": wanted}


def require_period(text: str) -> str:
    """A period that the customer chose; ValidationError for what is none."""
    try:
        return check_period(text)
    except ScopeError as error:
        raise ValidationError(fields={"period": [str(error)]}) from None


def require_one_end(parts: list[Part]) -> list[Part]:
    """The parts of a request, of which none is at odds with another: ScopeError."""
    datatype = at_odds(parts)
    if datatype:
        raise ScopeError(
            f"authorization_details: two parts ask for {datatype}, the shorter period with more fields:"
            " ask with one period, or with the same fields"
        )
    return parts


def at_odds(parts: Iterable[Part]) -> str:
    """A datatype of which some rows would leave with fewer fields once a period has ended; "" for none.

    What leaves of a row under a scope is sealed once, until a day: nobody but she could seal it anew then.
    """
    reading = [part for part in parts if not writes(part)]
    for one, other in permutations(reading, 2):
        if _ends_no_later(one, other) and _may_meet(one, other):
            for datatype in one["datatypes"]:
                if datatype in other["datatypes"] and not _fields(one, datatype) <= _fields(other, datatype):
                    return str(datatype)
    return ""


def _ends_no_later(one: Part, other: Part) -> bool:
    """Whether a part's period is another one, and not longer."""
    mine, its = one.get("period"), other.get("period")
    return mine is not None and mine != its and (its is None or not longer(mine, its))


def _may_meet(one: Part, other: Part) -> bool:
    """Whether a row can be in both."""
    if "filter" not in one or "filter" not in other:
        return True
    return not set(one["filter"]["category"]).isdisjoint(other["filter"]["category"])


def _fields(part: Part, datatype: str) -> set[str]:
    known = known_fields([datatype])
    return known & set(part["fields"]) if "fields" in part else known


def longer(one: str, other: str) -> bool:
    """Whether a period reaches further back than another."""
    day = date(2001, 1, 1)
    return policy.period_end(day, one) > policy.period_end(day, other)
