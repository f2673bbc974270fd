"""Companies: who may see what, why, until when; narrow it; stop it.

Stopping takes one page that says the consequence and one button, whatever else the page offers.
"""

from __future__ import annotations

import json
from collections.abc import Container
from dataclasses import dataclass
from typing import Any, Final

from flask import redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from vrm.consent import policy, showing
from vrm.consent.grants import DAY, GrantView
from vrm.consent.scopes import MANAGEMENT, source_of
from vrm.errors import ScopeError, ValidationError
from vrm.posted import whole_number
from vrm.vault.catalog import CATALOG_BY_NAME
from vrm.web import again, consenting, session, telling, wording
from vrm.web.desk import desk, readable, vault, web
from vrm.web.pages.inbox import count_messages
from vrm.web.seeing import LIVE

Page = Response | str | tuple[str, int]

ROWS: Final = 50
HISTORY: Final = 50
ARRIVALS: Final = 200  # new purchases on one page


@dataclass(frozen=True, slots=True)
class Leaving:
    """A row of a view: its name for the customer, and exactly what leaves of it."""

    stream: str
    record_id: str
    title: str
    ordered: str
    document: dict[str, Any]


@web.get("/companies")
def companies() -> Page:
    """All companies, those that can see something first."""
    found = desk().consent.grants.listing(vault())
    return render_template(
        "companies.html",
        live=[grant for grant in found if grant.state == LIVE],
        messages=count_messages(),
        ended=[(grant, telling.of_the_end(grant)) for grant in found if grant.state != LIVE],
    )


@web.get("/companies/<grant_id>")
def company(grant_id: str) -> Page:
    """One permission in full."""
    return _company_page(grant_id)


@web.post("/companies/<grant_id>/narrow")
def narrow(grant_id: str) -> Page:
    """Let them see less, from this moment; nothing here can widen.

    One form, so that what she chose stays while she looks through the rows; a button does its own part.
    """
    form = request.form
    again.choose(form)
    if "start" in form:  # only another page of the rows
        return _company_page(grant_id, form)
    out, less = (form.get("do", part) == part for part in ("out", "less"))
    exclude = frozenset(form.getlist("exclude") if out else ())
    drop = frozenset(_scope(name) for name in form.getlist("drop") if less)
    days, period, fresh = (form.get(name, "") if less else "" for name in ("days", "period", "fresh"))
    if not (exclude or drop or days or period or fresh):
        session.notify("unchanged")
        return _back(grant_id)
    if _takes_all(grant_id, drop):  # an end, which has a page of its own that says what it means
        session.notify("nothing-left")
        return redirect(url_for("web.ask_stop", grant_id=grant_id), 303)
    try:
        desk().consent.grants.narrow(
            vault(),
            grant_id,
            exclude=exclude,
            drop=drop,
            days=whole_number(days, 4),
            period=period or None,
            fresh=fresh or None,
        )
    except (ValidationError, ScopeError):
        return _company_page(grant_id, form, wider=True), 400
    session.notify("narrowed")
    return _back(grant_id)


@web.get("/companies/<grant_id>/new")
def arrivals(grant_id: str) -> Page:
    """What came in since the approval and would leave: it waits for her word or for its day."""
    grant = desk().consent.grants.get(vault(), grant_id)
    rows = desk().consent.arrivals.waiting_for(vault(), grant_id)
    rows.sort(key=lambda row: (row.leaves, row.document["order"].get("ordered", "")))
    return render_template(
        "arrivals.html",
        grant=grant,
        rows=rows[:ARRIVALS],
        rest=max(0, len(rows) - ARRIVALS),
        later=grant.reserve.fresh == policy.LATER,
    )


@web.post("/companies/<grant_id>/new")
def answer_arrivals(grant_id: str) -> Page:
    """Share the ticked ones now, or keep them back for good."""
    ticked = frozenset(request.form.getlist("record"))
    if not ticked:
        session.notify("unchanged")
    elif request.form.get("answer") == "share":
        let_in = desk().consent.arrivals.admit(vault(), grant_id, ticked)
        session.notify("admitted" if let_in else "unchanged")
    else:
        desk().consent.grants.narrow(vault(), grant_id, exclude=ticked)
        session.notify("kept-back")
    return redirect(url_for("web.arrivals", grant_id=grant_id), 303)


@web.get("/companies/<grant_id>/stop")
def ask_stop(grant_id: str) -> Page:
    """Say what stopping does, once, and ask whether they should delete what they have."""
    grant = desk().consent.grants.get(vault(), grant_id)
    if grant.state != LIVE:
        return _had_ended(grant)
    return render_template(
        "stop.html",
        grant=grant,
        reachable=telling.reachable(grant.client_id),
        promises=telling.promises(grant),
    )


@web.post("/companies/<grant_id>/stop")
def stop(grant_id: str) -> Page:
    """Stop: the next reading is refused."""
    if not desk().consent.grants.revoke(vault(), grant_id, erase=request.form.get("erase") == "yes"):
        return _had_ended(desk().consent.grants.get(vault(), grant_id))
    session.notify("stopped")
    return _back(grant_id)


@web.post("/companies/<grant_id>/erase")
def erase(grant_id: str) -> Page:
    """Ask a company that could read before to delete what it has."""
    desk().consent.grants.ask_to_erase(vault(), grant_id)
    session.notify("erase-asked")
    return _back(grant_id)


@again.page_for("web.stop")
def stop_again(form: again.Form, grant_id: str) -> Page:  # noqa: ARG001 - the template asks for it
    """Whether she wanted it deleted."""
    return ask_stop(grant_id)


@again.page_for("web.narrow")
def narrow_again(form: again.Form, grant_id: str) -> Page:
    """What she was about to take from them."""
    return _company_page(grant_id, form)


@again.page_for("web.answer_arrivals")
def arrivals_again(form: again.Form, grant_id: str) -> Page:  # noqa: ARG001
    """Which new ones she had ticked."""
    return arrivals(grant_id)


def _takes_all(grant_id: str, drop: frozenset[str]) -> bool:
    """Whether a live grant would have nothing left."""
    grant = desk().consent.grants.get(vault(), grant_id) if drop else None
    return grant is not None and grant.state == LIVE and drop.issuperset(grant.agreement.scopes)


def _scope(name: str) -> str:
    """A datatype stands for reading it; what may be put in is named with its verb."""
    return name if name.endswith(":write") else f"{name}:read"


def _back(grant_id: str) -> Response:
    return redirect(url_for("web.company", grant_id=grant_id), 303)


def _had_ended(grant: GrantView) -> Response:
    """Say so, and when; what was changed lives on as another permission, which she may want to stop."""
    session.notify("replaced" if grant.state == "replaced" else "ended", grant.ended or grant.expires)
    return _back(grant.id)


def _company_page(grant_id: str, form: again.Form | None = None, *, wider: bool = False) -> str:
    """`form`: which rows are ticked, and where those of the page start."""
    grant = desk().consent.grants.get(vault(), grant_id)
    leaving = _leaving(grant_id) if grant.state == LIVE else []
    offset = _offset((form or request.args).get("start", ""), len(leaving))
    rows = leaving[offset : offset + ROWS]
    ticked = set(form.getlist("exclude")) if form else set()
    elsewhere = {row.record_id for row in leaving} - {row.record_id for row in rows}
    told = desk().consent.outbox.told(grant_id)
    return render_template(
        "company.html",
        grant=grant,
        shared=consenting.fields_leaving(grant.agreement.parts),
        limits=consenting.limits(grant.agreement.parts),
        promised=consenting.promised(grant.agreement.parts),
        manages=[MANAGEMENT[name] for name in grant.agreement.manage if name in MANAGEMENT],
        places=[place for place in grant.agreement.resources if place != policy.HERE],
        rows=rows,
        ticked=ticked,
        ticked_elsewhere=sorted(ticked & elsewhere),
        more=offset + ROWS if len(leaving) > offset + ROWS else None,
        before=max(0, offset - ROWS) if offset else None,
        json_text=json.dumps([row.document for row in rows], ensure_ascii=False, indent=1),
        days=[days for days, _ in wording.DAYS if desk().clock.now() + days * DAY < grant.expires],
        periods=[period for period in consenting.periods(grant.agreement.parts) if period],
        history=desk().consent.grants.history(vault(), grant_id)[:HISTORY],
        wider=wider,
        messages=telling.lines(told),
        reachable=telling.reachable(grant.client_id),
        may_erase=grant.state in ("revoked", "expired") and not telling.asked_to_erase(told),
        waiting=len(desk().consent.arrivals.waiting_for(vault(), grant_id)),
        stricter=[(rule, label) for rule, label in wording.FRESH if _stricter(rule, grant)],
    )


def _offset(start: str, rows: int) -> int:
    """Where a page of the rows starts; at the first where there is none so far down."""
    found = whole_number(start, 7) or 0
    return found if found < rows else 0


def _stricter(rule: str, grant: GrantView) -> bool:
    """Whether this rule for new purchases lets out less than the grant's."""
    buys = any(facet.startswith("purchases.") for facet in grant.facets)
    return buys and policy.FRESH.index(rule) > policy.FRESH.index(grant.reserve.fresh)


def _leaving(grant_id: str) -> list[Leaving]:
    """What leaves now, in the order in which she saw it when she agreed."""
    leaving = list(desk().consent.grants.leaving(vault(), grant_id))
    records = {record for _, record, _ in leaving}
    names: dict[str, tuple[str, str]] = {}
    for collection in {source_of(stream) for stream, _, _ in leaving}:
        names |= _names(collection, records)
    return showing.in_order(
        Leaving(stream, record, *names.get(record, ("", "")), document)
        for stream, record, document in leaving
    )


def _names(collection: str, records: Container[str]) -> dict[str, tuple[str, str]]:
    """Record → title and day."""
    facets = showing.NAMED_BY.intersection(facet.name for facet in CATALOG_BY_NAME[collection].facets)
    if not facets:
        return {}
    return {record: showing.name_of(kept) for record, kept in readable(collection, facets, records)}
