"""Companies: who may see what, why, until when; narrow it; stop it.

Stopping takes one page that says the consequence and one button, whatever else the page offers.
"""

from __future__ import annotations

import json
from typing import Any, Final

from flask import redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from vrm.consent.grants import GrantView
from vrm.consent.purposes import PURPOSES
from vrm.errors import GrantInactiveError
from vrm.vault.catalog import FOR_WHOM
from vrm.web import consenting, session
from vrm.web.desk import desk, vault, web

Page = Response | str | tuple[str, int]

ROWS: Final = 50
LIVE: Final = "live"


def live_grants() -> list[GrantView]:
    """The grants under which something can be seen now."""
    return [grant for grant in desk().consent.grants.listing(vault()) if grant.state == LIVE]


@web.get("/companies")
def companies() -> Page:
    """All companies, those that can see something first."""
    found = desk().consent.grants.listing(vault())
    return render_template(
        "companies.html",
        live=[grant for grant in found if grant.state == LIVE],
        ended=[grant for grant in found if grant.state != LIVE],
    )


@web.get("/companies/<grant_id>")
def company(grant_id: str) -> Page:
    """One permission in full."""
    return _company_page(grant_id)


@web.post("/companies/<grant_id>/narrow")
def narrow(grant_id: str) -> Page:
    """Let them see less, from this moment; nothing here can widen."""
    form = request.form
    change: dict[str, Any] = {}
    if exclude := form.getlist("exclude"):
        change["exclude"] = exclude[: consenting.EXCLUDE_MOST]
    if drop := form.getlist("drop"):
        change["drop"] = drop
    if form.get("days", "").isdecimal() and len(form["days"]) < 5:
        change["days"] = max(1, int(form["days"]))
    if form.get("period") in consenting.PERIODS - {""}:
        change["period"] = form["period"]
    if form.get("for_whom_shown"):
        wished = set(form.getlist("for_whom")) & {value for value, _ in FOR_WHOM}
        change["for_whom"] = frozenset(wished)
    if not change:
        session.notify("unchanged")
        return redirect(url_for("web.company", grant_id=grant_id), 303)
    try:
        desk().consent.grants.narrow(vault(), grant_id, **change)
    except GrantInactiveError:
        session.notify("ended")
    else:
        session.notify("narrowed")
    return redirect(url_for("web.company", grant_id=grant_id), 303)


@web.get("/companies/<grant_id>/stop")
def ask_stop(grant_id: str) -> Page:
    """Say what stopping does, once."""
    return render_template("stop.html", grant=desk().consent.grants.get(vault(), grant_id))


@web.post("/companies/<grant_id>/stop")
def stop(grant_id: str) -> Page:
    """Stop: the next reading is refused."""
    try:
        desk().consent.grants.revoke(vault(), grant_id)
    except GrantInactiveError:
        session.notify("ended")
    else:
        session.notify("stopped")
    return redirect(url_for("web.company", grant_id=grant_id), 303)


def _company_page(grant_id: str) -> str:
    grants = desk().consent.grants
    grant = grants.get(vault(), grant_id)
    start = request.args.get("start", "")
    offset = int(start) if start.isdecimal() and len(start) < 8 else 0
    rows = grants.leaving(vault(), grant_id, ROWS + 1, offset) if grant.state == LIVE else []
    return render_template(
        "company.html",
        grant=grant,
        purpose=PURPOSES.get(grant.purpose),
        rows=rows[:ROWS],
        more=offset + ROWS if len(rows) > ROWS else None,
        start=offset,
        json_text=json.dumps([row.document for row in rows[:ROWS]], ensure_ascii=False, indent=1),
    )
