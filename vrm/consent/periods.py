"""How far back a vendor may look: periods that the customer chooses, and which of two is the longer."""

from __future__ import annotations

from datetime import date

from vrm.consent import policy
from vrm.consent.scopes import Part, check_period
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


def longer(one: str, other: str) -> bool:
    """Whether a period reaches further back than another."""
    day = date(2001, 1, 1)
    return policy.period_end(day, one) > policy.period_end(day, other)
