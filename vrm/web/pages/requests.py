"""What companies ask: the requests that wait, and the consent page.

Promises: without a session the page names neither company nor data and offers no way to log in (a link
from a shop to a passphrase field would train phishing); nothing is ticked that the customer did not tick, now
or in what she agreed to before;
what is approved is, row for row, what was shown, or the page is shown again with what changed; what she took
out and limited waits with the request (`vrm.web.choosing`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, Final

from flask import g, redirect, render_template, request, url_for
from werkzeug.datastructures import MultiDict
from werkzeug.wrappers import Response

from vrm.consent import showing
from vrm.consent.asking import StoredRequest
from vrm.consent.grants import GrantView
from vrm.consent.requests import Choices, Decision, PartView, Preview
from vrm.consent.scopes import source_of, stream_of, writes
from vrm.errors import (
    ConflictError,
    GrantNotFoundError,
    RequestChangedError,
    RequestNotFoundError,
    UnfitRequestError,
    ValidationError,
    VrmError,
)
from vrm.vault.catalog import CATALOG_BY_NAME
from vrm.web import again, amending, choosing, consenting, headers, session, wording
from vrm.web.desk import desk, vault, web
from vrm.web.gate import anybody

Page = Response | str | tuple[str, int]

FIRST_ROWS: Final = 8  # shown at once; the rest one tap down
ROWS_MOST: Final = 500  # purchases on the page, or answers; beyond, the limits say it better
JSON_ROWS: Final = 200


@web.get("/requests")
def requests() -> Page:
    """The requests that were opened in this browser and still wait."""
    found = waiting_requests()
    return render_template("requests.html", found=found)


def waiting_requests() -> list[StoredRequest]:
    """Those that still wait; the others are forgotten."""
    found, gone = [], []
    for handle in session.waiting():
        try:
            found.append(desk().consent.requests.open(handle))
        except RequestNotFoundError:
            gone.append(handle)
    if gone:
        session.forget_waiting(*gone)
    return found


@web.get("/requests/<handle>")
@anybody
def show_request(handle: str) -> Page:
    """The consent page; without a session only the request's number, or not even that."""
    stored = desk().consent.requests.open(handle)
    session.remember_waiting(handle)
    if g.vault is None:
        # By a link she has to find the number herself, at the company: so nobody can leave it out.
        return render_template("request_waits.html", number=None if stored.by_link else stored.number)
    stored = desk().consent.requests.look(handle)
    try:
        stored = desk().consent.requests.asked(vault(), handle)
    except (GrantNotFoundError, UnfitRequestError) as error:
        return _astray(handle, stored, error)
    typed = again.choices_for(handle, vault())
    unkept = typed is not None and not choosing.keep(stored, typed)
    found, lost = choosing.find(stored) if typed is None else (typed, False)
    lost = lost or (found is None and "look" in request.args)
    form: MultiDict[str, str] = MultiDict() if found is None else found
    choices = consenting.read_choices(form, stored, partial(_stays_out, stored))
    sensitive = _delicate(stored, choices)
    aware = typed is None and form.get("aware") == "yes"
    if sensitive and not aware:
        return _sensitive_page(handle, stored, sensitive, form)
    if typed is not None:
        again.give_back(typed)
    with_json = request.args.get("look") == "show"
    return _consent_page(handle, stored, choices, aware=aware, with_json=with_json, lost=lost, unkept=unkept)


@web.post("/requests/<handle>")
def decide_request(handle: str) -> Page:
    """Approve, decline, or look again with other choices."""
    stored = desk().consent.requests.open(handle)
    decision = request.form.get("decision", "")
    if decision == "decline":
        return _to_vendor(desk().consent.requests.decline(vault(), handle), stored)
    try:
        return _decide(handle, desk().consent.requests.asked(vault(), handle), decision)
    except (GrantNotFoundError, UnfitRequestError) as error:
        return _astray(handle, stored, error), 409


def _decide(handle: str, stored: StoredRequest, decision: str) -> Page:
    choices = consenting.read_choices(request.form, stored, partial(_stays_out, stored))
    number = request.form.get("number", "")  # it is hers to read there at each look, and so not kept
    if decision != "approve" and choosing.keep(stored, request.form) and not number:
        return _kept_page(handle, decision)
    if (sensitive := _delicate(stored, choices)) and request.form.get("aware") != "yes":
        return _sensitive_page(handle, stored, sensitive, request.form)
    if decision != "approve":
        return _same_page(handle, stored, choices, with_json=decision == "show")
    try:
        digest = request.form.get("digest", "")
        decided = desk().consent.requests.approve(vault(), handle, choices, digest, number)
    except ValidationError as error:
        if "number" not in error.fields:
            raise
        return _same_page(handle, stored, choices, wrong_number=True), 422
    except RequestChangedError:
        return _same_page(handle, stored, choices, seen=request.form.get("seen", "")), 409
    except ConflictError:  # an import runs: what it brings was not on the page
        return _same_page(handle, stored, choices, importing=True), 409
    return _to_vendor(decided, stored)


def _same_page(handle: str, stored: StoredRequest, choices: Choices, **why: Any) -> str:
    """The page with what was posted, in answer to that."""
    aware, kept = request.form.get("aware") == "yes", choosing.keep(stored, request.form)
    return _consent_page(handle, stored, choices, aware=aware, unkept=not kept, **why)


def _kept_page(handle: str, decision: str) -> Response:
    """Where a form leads that only looks: to a page of its own, so that Back and a reload send nothing twice.

    Its address says that she chose something ("again"), and whether she wants to read what leaves ("show").
    """
    if decision == "later":
        return redirect(url_for("web.home"), 303)
    how = "show" if decision == "show" else "again"
    return redirect(url_for("web.show_request", handle=handle, look=how), 303)


def _astray(handle: str, stored: StoredRequest, error: VrmError) -> str:
    """It wants to change a grant that is not here, or as none can be: all she can do is to say no."""
    if not stored.by_link:
        headers.let_forms_reach(stored.redirect_uri)
    unfit = isinstance(error, UnfitRequestError)
    return render_template("request_astray.html", handle=handle, vendor=stored.vendor, unfit=unfit)


def _consent_page(
    handle: str,
    stored: StoredRequest,
    choices: Choices,
    *,
    with_json: bool = False,
    seen: str | None = None,
    importing: bool = False,
    wrong_number: bool = False,
    aware: bool = False,
    lost: bool = False,
    unkept: bool = False,
) -> str:
    preview = desk().consent.requests.preview(vault(), handle, choices)
    dealings = _dealings(stored.vendor.client_id)
    if not stored.by_link:
        headers.let_forms_reach(stored.redirect_uri)
    return render_template(
        "consent.html",
        handle=handle,
        stored=stored,
        vendor=stored.vendor,
        host=consenting.host_of(stored.redirect_uri),
        promised=consenting.promised(stored.parts),
        preview=preview,
        importing=importing,
        number="" if wrong_number else request.form.get("number", "")[:20],
        wrong_number=wrong_number,
        choices=choices,
        known=bool(dealings),
        taken_out=_titles(choices.exclude),
        taken_out_before=_taken_out(stored, dealings),
        taken_out_too=sorted(choices.exclude)[ROWS_MOST:],
        kept=[(why, preview.withheld[why]) for why in wording.WITHHELD if why in preview.withheld],
        shared=consenting.fields_leaving(part.part for part in preview.parts if part.ticked),
        put_in=_put_in(preview.parts),
        answer_titles=_answer_titles() if preview.answers else {},
        with_json=with_json,
        listed=consenting.listed(preview, FIRST_ROWS, ROWS_MOST, JSON_ROWS),
        changes=None if seen is None else consenting.changes(seen, preview),
        seen=consenting.seen_text(preview),
        first_rows=FIRST_ROWS,
        rows_most=ROWS_MOST,
        aware=aware,
        lost=lost,
        unkept=unkept,
        amended=_amended(stored, preview),
        beside=amending.beside(stored, desk().consent.vendors.of_resource),
        **_asked(stored),
    )


def _asked(stored: StoredRequest) -> dict[str, Any]:
    """What the request is about, as far as the page's words depend on it."""
    return {
        "books": consenting.categories(stored.parts) == {"books"},
        "purchases": consenting.asks_for(stored.parts, "purchases"),
        "asks_corrections": consenting.asks_for(stored.parts, "answers"),
        "reads": any(not writes(part) for part in stored.parts),
        "periods": consenting.offered(stored),
        "asked_period": consenting.longest_period(stored.parts),
    }


def _amended(stored: StoredRequest, preview: Preview) -> amending.Amended | None:
    """What would change of an earlier grant; None where the request is for a new one."""
    if stored.earlier is None:
        return None
    seen: dict[str, dict[str, Any]] = {}
    for _, record, document in desk().consent.grants.leaving(vault(), stored.earlier.grant_id):
        seen.setdefault(record, {}).update(document)
    return amending.amended(stored, stored.earlier, preview, seen)


def _put_in(parts: Iterable[PartView]) -> list[str]:
    ticked = (part.part for part in parts if part.ticked and writes(part.part))
    return list(dict.fromkeys(name for part in ticked for name in part["datatypes"]))


def _sensitive_page(
    handle: str,
    stored: StoredRequest,
    sensitive: Mapping[str, frozenset[str] | None],
    form: MultiDict[str, str],
) -> str:
    return render_template(
        "sensitive.html", handle=handle, vendor=stored.vendor, sensitive=sensitive, kept=_kept(form)
    )


def _kept(form: MultiDict[str, str]) -> list[tuple[str, str]]:
    return [
        (name, value)
        for name, value in form.items(multi=True)
        if name not in {"csrf_token", "decision", "aware", "digest", "seen"}
    ]


def _to_vendor(decided: Decision, stored: StoredRequest) -> Page:
    session.forget_waiting(stored.handle)
    choosing.forget(stored)
    if decided.by_poll:
        return render_template("answered.html", shared=decided.grant_id is not None)
    answer = {"code": decided.code} if decided.code else {"error": "access_denied"}
    answer |= {"state": decided.state, "iss": desk().settings.issuer}
    return Response(status=303, headers={"Location": consenting.answer_address(decided.redirect_uri, answer)})


def _delicate(stored: StoredRequest, choices: Choices) -> dict[str, frozenset[str] | None]:
    """The delicate datatypes of what she would agree to, with the fields of each that can leave."""
    taken = _taken(stored, choices)
    leaving = consenting.fields_leaving(taken)
    return {datatype: leaving[datatype] for datatype in consenting.delicate(taken)}


def _taken(stored: StoredRequest, choices: Choices) -> list[dict[str, Any]]:
    return [
        part
        for index, part in enumerate(stored.parts)
        if part["necessity"] == "required" or str(index) in choices.optional
    ]


def _dealings(client_id: str) -> list[GrantView]:
    """What she ever agreed to with this company."""
    return [grant for grant in desk().consent.grants.listing(vault()) if grant.client_id == client_id]


def _taken_out(stored: StoredRequest, dealings: Iterable[GrantView]) -> frozenset[str]:
    """What she once took out of what this company sees, among that which it asks for now."""
    before = {record for grant in dealings for record in grant.reserve.exclude}
    asked = {source_of(stream_of(part["datatypes"][0])) for part in stored.parts if not writes(part)}
    return frozenset(record for name in asked if before for record in vault().records(name).ids()) & before


def _stays_out(stored: StoredRequest) -> frozenset[str]:
    """Of that, what this company does not see today by the grant that it wants to change."""
    out, earlier = _taken_out(stored, _dealings(stored.vendor.client_id)), stored.earlier
    today = () if earlier is None else desk().consent.grants.leaving(vault(), earlier.grant_id)
    return out.difference(record for _, record, _ in today)


def _titles(records: frozenset[str]) -> list[tuple[str, str]]:
    """What was taken out, each by a name, so that it can be put back; what the form left out would leave."""
    collections = [vault().records(name) for name in CATALOG_BY_NAME]
    return [
        (record, wording.title_text(showing.name_of(document)[0], document))
        for record in sorted(records)[:ROWS_MOST]
        for document in [held.get(record) for held in collections if held.contains(record)]
    ]


def _answer_titles() -> dict[tuple[str, str], str]:
    """(order, item number) → title: an answer itself names no title."""
    found = {}
    for _, document in vault().records("purchases").scan():
        item, order = document["item"], document["order"].get("order_number", "")
        for name in ("asin", "isbn", "gtin"):
            if name in item:
                found[order, item[name]] = item.get("title", "")
    return found
