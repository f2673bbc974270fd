"""Records as forms: add, edit, delete with a way back; the same pages for things and preferences.

Everything comes from the catalog. A record that changed while its form was open is never overwritten
unseen; a form sent twice adds once; a deleted record returns with its own id, so that what was kept
from vendors by that id stays kept.
"""

from __future__ import annotations

import hmac
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from flask import g, redirect, render_template, request, url_for
from werkzeug.exceptions import BadRequest
from werkzeug.wrappers import Response

from vrm.errors import ConflictError, RecordNotFoundError
from vrm.posted import whole_number
from vrm.vault import crypto
from vrm.vault.catalog import Collection, collection
from vrm.vault.crypto import Key, Purpose
from vrm.vault.records import Records
from vrm.web import again, forms, seeing, session
from vrm.web.desk import desk, readable, vault, web

Page = Response | str | tuple[str, int]

UNDO_SECONDS: Final = 600
ASKED: Final = "asked"  # seals what a page that asks holds: that alone brings nothing back
PROFILE_ID: Final = "0" * 31 + "1"
RECORD_ID: Final = re.compile(r"[0-9a-f]{32}")
SEARCH_NAME: Final = re.compile(r"[\w-]{8}", re.ASCII)
PAGE_DIGITS: Final = 7  # of the number of a page of the list


@dataclass(frozen=True, slots=True)
class Place:
    """Where a collection's pages are."""

    path: str
    collection: str
    tab: str

    @property
    def spec(self) -> Collection:
        return collection(self.collection)

    @property
    def records(self) -> Records:
        return vault().records(self.collection)

    @property
    def home(self) -> str:
        """The list; of things the one from which she came, found by its name as the address has it."""
        return url_for(f"web.{self.path}", **self.came_from)

    @property
    def came_from(self) -> dict[str, Any]:
        """What the address says of the list from which she came: the search's name and the page."""
        name, page = request.args.get("search", ""), whole_number(request.args.get("page", ""), PAGE_DIGITS)
        if self.path != "things":
            return {}
        return {"search": name if SEARCH_NAME.fullmatch(name) else None, "page": page}

    def page(self, record: str) -> str:
        """The address of one record."""
        if self.path == "inbox":
            return url_for("web.message", record=record)
        return url_for("web.record", place=self.path, record=record, **self.came_from)


PLACES: Final = {
    "things": Place("things", "purchases", "things"),
    "preferences": Place("preferences", "preferences", "me"),
    "profile": Place("profile", "profile", "me"),
    "inbox": Place("inbox", "inbox", "companies"),
}


# ---- add ----------------------------------------------------------------------------------------


@web.get("/<any(things, preferences):place>/new")
def new_record(place: str) -> Page:
    """An empty form."""
    at = PLACES[place]
    return _form(at, at.records.new_id(), 0, {})


@web.post("/<any(things, preferences):place>/new")
def add_record(place: str) -> Page:
    """Add what was typed, once: the form carries the new record's id."""
    at = PLACES[place]
    record = request.form.get("record", "")
    if not RECORD_ID.fullmatch(record):
        raise BadRequest
    written = forms.read(at.spec, request.form)
    return _store(at, record, 0, written, {}, done="added")


# ---- edit ---------------------------------------------------------------------------------------


@web.get("/<any(things, preferences):place>/<record>")
def record(place: str, record: str) -> Page:
    """One record as a form."""
    at = PLACES[place]
    document, revision = at.records.read(record)
    return _form(at, record, revision, document)


@web.post("/<any(things, preferences):place>/<record>")
def save_record(place: str, record: str) -> Page:
    """Store what was typed over the record as it was shown."""
    at = PLACES[place]
    current, _ = at.records.read(record)
    written = forms.read(at.spec, request.form, current)
    if at.collection == "purchases":
        _mark_as_said(current, written)
    return _store(at, record, _revision(request.form), written, current, done="saved")


@web.get("/profile")
def profile() -> Page:
    """The one record about the customer."""
    at = PLACES["profile"]
    record = _profile_id(at)
    try:
        document, revision = at.records.read(record)
    except RecordNotFoundError:
        document, revision = {}, 0
    return _form(at, record, revision, document)


@web.post("/profile")
def save_profile() -> Page:
    """Store the profile."""
    at = PLACES["profile"]
    record = _profile_id(at)
    current = at.records.get(record) if at.records.contains(record) else {}
    return _store(
        at, record, _revision(request.form), forms.read(at.spec, request.form, current), current, done="saved"
    )


@web.get("/preferences")
def preferences() -> Page:
    """What she likes and does not."""
    rows = sorted(readable("preferences"), key=lambda row: row[1]["statement"].get("topic", "").casefold())
    return render_template("preferences.html", rows=rows, strength=_strength())


@again.page_for("web.add_record")
def add_again(form: again.Form, place: str) -> Page:
    """The new record, as far as it was typed."""
    record = form.get("record", "")
    if not RECORD_ID.fullmatch(record):
        raise BadRequest
    return _form(PLACES[place], record, 0, {}, forms.typed(form))


@again.page_for("web.save_record")
def save_again(form: again.Form, place: str, record: str) -> Page:
    """The record with what was typed over it."""
    at = PLACES[place]
    document, _ = at.records.read(record)
    return _form(at, record, _revision(form), document, forms.typed(form))


@again.page_for("web.save_profile")
def profile_again(form: again.Form) -> Page:
    """The profile with what was typed over it."""
    at = PLACES["profile"]
    record = _profile_id(at)
    document = at.records.get(record) if at.records.contains(record) else {}
    return _form(at, record, _revision(form), document, forms.typed(form))


# ---- delete, and back ----------------------------------------------------------------------------


@web.get("/<any(things, preferences, inbox):place>/<record>/delete")
def ask_delete(place: str, record: str) -> Page:
    """Ask once; the form carries what the page after it needs where it is loaded again."""
    at = PLACES[place]
    document, revision = at.records.read(record)
    held, until = _held(document), str(desk().clock.now() + UNDO_SECONDS)
    return render_template(
        "delete.html",
        place=at,
        here=at.tab,
        record=record,
        document=document,
        revision=revision,
        held=held,
        until=until,
        seal=_seal(ASKED, place, record, held, until),
        name=_name(document),
    )


@web.post("/<any(things, preferences, inbox):place>/<record>/delete")
def delete_record(place: str, record: str) -> Page:
    """Delete, and hold the record out for a while in case it was a slip."""
    at, now = PLACES[place], desk().clock.now()
    if at.records.contains(record):
        held, until = _held(at.records.get(record)), str(now + UNDO_SECONDS)
        at.records.remove(record, revision=_revision(request.form))
    else:  # pressed twice, or the page was loaded again
        held, until = _held_out(place, record)
    return render_template(
        "deleted.html",
        place=at,
        here=at.tab,
        record=record,
        held=held,
        until=until,
        seal=_seal(place, record, held, until),
        minutes=int(until) - now,
        name=_name(json.loads(held)),
    )


@web.post("/<any(things, preferences, inbox):place>/<record>/undo")
def undo_delete(place: str, record: str) -> Page:
    """Put a record back that was deleted in this session, under its own id."""
    at = PLACES[place]
    held, until = request.form.get("held", ""), request.form.get("until", "")
    if not _is_sealed(place, record, held, until):
        raise BadRequest
    if int(until) < desk().clock.now():
        session.notify("gone")
        return redirect(at.home, 303)
    try:
        at.records.put(json.loads(held), record, revision=0)
    except ConflictError:  # pressed twice: it is back already
        session.notify("restored")
        return redirect(at.home, 303)
    session.notify("restored")
    return redirect(at.page(record), 303)


# ---- shared --------------------------------------------------------------------------------------


def _form(
    at: Place,
    record: str,
    revision: int,
    document: forms.Document,
    typed: dict[str, str] | None = None,
    wrong: dict[str, list[str]] | None = None,
    clashes: list[Any] | None = None,
) -> str:
    return render_template(
        "record.html",
        place=at,
        here=at.tab,
        record=record,
        revision=revision,
        document=document,
        groups=forms.groups(at.spec, document, typed, wrong),
        wrong=wrong or {},
        clashes=clashes or [],
        name=_name(document),
        older=bool(revision) and not at.records.is_newest(record),
    )


def _store(
    at: Place, record: str, revision: int, written: forms.Document, before: forms.Document, done: str
) -> Page:
    document, wrong = forms.checked(at.spec, written, before)
    if not wrong and not any(document.values()):
        first = f"{at.spec.facets[0].name}.{at.spec.facets[0].fields[0].name}"
        wrong = {first: [forms.NEEDED.get(first, forms.EMPTY)]}
    if wrong:
        return _form(at, record, revision, before, forms.typed(request.form), wrong), 400
    onlookers = None if done == "added" else seeing.Onlookers()
    try:
        store(at.records, record, document, revision)
    except ConflictError:
        if not at.records.contains(record):
            raise RecordNotFoundError from None
        current, newest = at.records.read(record)
        clashes = forms.differences(at.spec, written, current)
        if clashes:
            return _form(at, record, newest, current, forms.typed(request.form), clashes=clashes), 409
    if onlookers is None:  # its notice names those who see it
        session.notify(seeing.added(place=at.path, record=record))
    else:
        seeing.notify(done, onlookers.more())
    return redirect(at.home, 303)


def store(records: Records, record: str, document: forms.Document, revision: int = 0) -> None:
    """Store a valid document over the revision it was made from, 0 for a new record; ConflictError."""
    records.apply({record: document}, expected={record: revision})


def _revision(form: Mapping[str, str]) -> int:
    found = whole_number(form.get("revision", ""), 12)
    if found is None:
        raise BadRequest
    return found


def _mark_as_said(before: forms.Document, written: forms.Document) -> None:
    """A category that the customer wrote is no guess any more."""
    if written["item"].get("category") != before["item"].get("category"):
        written["item"]["category_basis"] = "said"


def _profile_id(at: Place) -> str:
    return next(iter(at.records.ids()), PROFILE_ID)


def _name(document: forms.Document) -> str:
    item, statement = document.get("item", {}), document.get("statement", {})
    return str(
        item.get("title") or statement.get("topic") or document.get("message", {}).get("subject") or ""
    )


def _strength() -> dict[str, str]:
    return dict(collection("preferences").facet("statement").field("strength").choices)


def _held(document: forms.Document) -> str:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"))


def _held_out(place: str, record: str) -> tuple[str, str]:
    """What was deleted, and until when it can come back: as this vault asked about it in this session.

    Counted from the asking, so that no page that is loaded again makes the time longer.
    """
    held, until = request.form.get("held", ""), request.form.get("until", "")
    if not _is_sealed(ASKED, place, record, held, until) or int(until) < desk().clock.now():
        raise RecordNotFoundError
    return held, until


def _is_sealed(*parts: str) -> bool:
    return hmac.compare_digest(request.form.get("seal", "").encode(), _seal(*parts).encode())


def _seal(*parts: str) -> str:
    text = "\x00".join(parts).encode("utf-8", "surrogatepass")
    key = Key(crypto.digest(g.secret.encode()))
    return crypto.mac(key, Purpose.UNDO, crypto.digest(text)).hex()
