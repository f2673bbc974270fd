"""Who sees more after an act of her own: counted from the rows of the views before it and after it.

Promises: what she sorts or writes may leave at once (ADR 18), so the page after that act says which companies
see how many more. The numbers are those of the rows that stand there; nothing is worked out anew.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from flask import g, url_for

from vrm.consent.grants import GrantView
from vrm.web import sealed, session
from vrm.web.desk import desk, vault

LIVE: Final = "live"
NAME_MOST: Final = 60  # characters of a company's name
NAMED_MOST: Final = 8  # companies
_COLLECTIONS: Final = {"things": "purchases", "preferences": "preferences"}
_ADDED: Final = re.compile(r"added\.(things|preferences)\.([0-9a-f]{32})", re.ASCII)


class More(NamedTuple):
    """A company that sees more rows now."""

    grant_id: str
    name: str
    rows: int


def live_grants() -> list[GrantView]:
    """The grants under which something can be seen now."""
    return [grant for grant in desk().consent.grants.listing(vault()) if grant.state == LIVE]


class Onlookers:
    """The live permissions to read, each with its rows before what comes now."""

    def __init__(self) -> None:
        self.grants = [grant for grant in live_grants() if grant.facets]

    def more(self) -> list[More]:
        """Those that see more than before, most first."""
        count = desk().consent.views.count
        grown = [More(one.id, one.vendor_name[:NAME_MOST], count(one.id) - one.rows) for one in self.grants]
        return sorted((one for one in grown if one.rows > 0), key=lambda one: -one.rows)[:NAMED_MOST]


def of_purchases(whom: str) -> list[GrantView]:
    """The live permissions that may read what she sorts so."""
    return [
        grant
        for grant in Onlookers().grants
        if whom in grant.reserve.for_whom and any(name.startswith("purchases.") for name in grant.facets)
    ]


def notify(code: str, more: list[More]) -> None:
    """`session.notify`, with those who see more."""
    session.notify(code)
    if more:
        sealed.keep(session.MORE, more, session.NOTICE_SECONDS)


def added(place: str, record: str) -> str:
    """The notice that something new was stored, and where: its page is not easily found without a date."""
    return f"added.{place}.{record}"


def noticed() -> tuple[str, list[More]]:
    """What belongs to the notice on this page: the address of what is new, and who sees more."""
    new = _ADDED.fullmatch(session.notice())
    if g.vault is None:
        return "", []
    if new and vault().records(_COLLECTIONS[new[1]]).contains(new[2]):
        return url_for("web.record", place=new[1], record=new[2]), _seen_by(new[2])
    more = sealed.find(session.MORE) or []
    if more:
        session.forget(session.MORE)
    return "", [More(*one) for one in more]


def _seen_by(record: str) -> list[More]:
    """Who sees this record now."""
    views, opened = desk().consent.views, desk().consent.grants.open
    return [
        More(one.id, one.vendor_name, 1)
        for one in Onlookers().grants
        if views.holds(opened(vault(), one.id), vault().keyring, record)
    ]
