"""What companies are told of their permissions, and what they answered, in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from flask_babel import gettext

from vrm.consent import events, outbox
from vrm.consent.grants import GrantView
from vrm.consent.outbox import Told
from vrm.errors import VendorNotFoundError
from vrm.vault.catalog import N_
from vrm.web.desk import desk
from vrm.web.wording import moment, period_text

WHAT: Final = {
    events.REVOKED: N_("That it has ended"),
    events.EXPIRED: N_("That the time has run out"),
    events.AMENDED: N_("That what you agreed to has changed"),
    events.ERASE: N_("That you want deleted what they have read"),
    events.CHANGED: N_("That something they can see has changed"),
}
_ENDS: Final = (events.REVOKED, events.EXPIRED)


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that a company was told, and how far that came."""

    what: str
    how: str


def reachable(client_id: str) -> bool:
    """Whether the company has left an address for such messages."""
    try:
        return bool(desk().consent.vendors.get(client_id).events_uri)
    except VendorNotFoundError:
        return False


def lines(told: list[Told]) -> list[Line]:
    """Everything that is known, the newest first."""
    return [Line(gettext(WHAT[one.kind]), how(one)) for one in reversed(told) if one.kind in WHAT]


def how(one: Told) -> str:
    """Told when, and confirmed or not."""
    if one.state == outbox.ACKNOWLEDGED:
        return gettext(
            "told %(time)s, confirmed %(answered)s", time=moment(one.begun), answered=moment(one.answered)
        )
    if one.state == outbox.REFUSED:
        return gettext("told %(time)s, and refused: they would not take it", time=moment(one.begun))
    if one.state == outbox.GIVEN_UP:
        return gettext("not told: they could not be reached for three days")
    if one.begun is None:
        return gettext("not told yet")
    return gettext("sent since %(time)s, not confirmed yet; it is sent again", time=moment(one.begun))


def of_the_end(grant: GrantView) -> str:
    """For the list: whether a company knows that its permission has ended."""
    ends = [one for one in desk().consent.outbox.told(grant.id) if one.kind in _ENDS]
    if ends:
        return how(ends[-1])
    return "" if reachable(grant.client_id) else gettext("not told: they have left no address for that")


def asked_to_erase(told: list[Told]) -> bool:
    """Whether she has asked for that."""
    return any(one.kind == events.ERASE for one in told)


def promises(grant: GrantView) -> list[str]:
    """How long the company promised to keep what it reads, where it said so: the shortest is its own word."""
    said = {part["retention"]: None for part in grant.agreement.parts if part.get("retention")}
    return [period_text(period) for period in said]
