"""Home: what waits, who can see something now, what was read; for strangers, what this is."""

from __future__ import annotations

from collections import Counter
from typing import Final

from flask import g, render_template

from vrm.consent.arrivals import Waiting
from vrm.consent.disclosures import Entry
from vrm.errors import TamperedError
from vrm.vault import copies
from vrm.web import session, wording
from vrm.web.desk import desk, readable, vault, web
from vrm.web.gate import anybody
from vrm.web.pages.inbox import count_messages
from vrm.web.pages.log import names
from vrm.web.pages.requests import waiting_requests
from vrm.web.seeing import live_grants
from vrm.web.tally import Counted

SECONDS_PER_DECISION: Final = 3
RECENT: Final = 100  # entries looked through
SHOWN: Final = 5


@web.get("/")
@anybody
def home() -> str:
    """Home, or the first visit."""
    if g.vault is None:
        return render_template("welcome.html", waiting=len(session.waiting()))
    left = desk().consent.go_on_filing(vault())
    recent = desk().consent.log.read(vault(), RECENT)
    counted = desk().tally.of(vault(), _count_things)
    grants = live_grants()
    waiting = _waiting()
    return render_template(
        "home.html",
        arrivals=[(grant, len(waiting[grant.id])) for grant in grants if grant.id in waiting],
        waiting=waiting_requests(),
        things=counted.things,
        unsorted=counted.unsorted,
        seconds=_estimate(counted.unsorted),
        grants=grants,
        lately=_lately(recent),
        messages=count_messages(),
        left=left,
        aside=Counter(one.vendor_name for one in desk().consent.filing.put_aside(vault())),
        problems=desk().consent.problems(vault()) or counted.things < counted.stored,
        names=names(recent),
        restored=copies.restored(vault().engine, vault().id),
        ended=sorted({entry.vendor_name for entry in recent if entry.event == "restored"}),
    )


def _lately(recent: list[Entry]) -> list[tuple[Entry, bool]]:
    """The newest readings and alarms, in the order of time, each with whether it is an alarm."""
    left = Counter({True: SHOWN, False: SHOWN})
    found = []
    for entry in recent:
        alarm = entry.event in wording.ALARMING
        if left[alarm] and (alarm or entry.event == "read"):
            left[alarm] -= 1
            found.append((entry, alarm))
    return found


def _waiting() -> dict[str, list[Waiting]]:
    """What came in since the approvals; where a record was altered, nothing: it is said above."""
    try:
        return desk().consent.arrivals.waiting(vault())
    except TamperedError:
        return {}


def _estimate(unsorted: int) -> int:
    """Seconds that sorting takes by experience: one decision for about ten things; in round figures."""
    seconds = unsorted * SECONDS_PER_DECISION // 10
    return max(10, seconds // 10 * 10) if seconds < 60 else seconds


def _count_things() -> Counted:
    opened = [document["context"] for _, document in readable("purchases", ("context",))]
    unsorted = sum("for" not in context for context in opened)
    return Counted(len(opened), unsorted, vault().records("purchases").count())
