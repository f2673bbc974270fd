"""Sorting: one question at a time, by destination, then theme, then line; few decisions for many things.

A suggestion is shown with its reason and never taken for the customer's word. An answer sorts only what
is unsorted, and the last answer can be taken back, however many things it sorted, as long as nothing was
stored since: its place in the vault's journal is named. Which group is asked about travels in the posted form
and in a sealed cookie, never in an address. Companies that see more by an answer are named beside it.
"""

from __future__ import annotations

import base64
import binascii
import re
import secrets
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import astuple, dataclass, field, replace
from typing import Any, Final

from flask import redirect, render_template, request, url_for
from werkzeug.datastructures import MultiDict
from werkzeug.exceptions import BadRequest
from werkzeug.wrappers import Response

from vrm.errors import ConflictError, TamperedError
from vrm.vault import sorting
from vrm.vault.catalog import FOR_WHOM
from vrm.vault.sorting import Group
from vrm.web import again, sealed, seeing, session
from vrm.web.desk import desk, vault, web

Page = Response | str
Documents = dict[str, dict[str, dict[str, Any]]]

LINES: Final = 20  # asked about on one page
LATER_MOST: Final = 200
EVERYTHING: Final = "everything"
LEVELS: Final = ("places", "themes", "lines")
SINGLY: Final = "singly"  # what takes back answers that were given one by one
_LATER_LONGEST: Final = 140
_ANSWER: Final = re.compile(r"([0-9]{1,15})\.([0-9]{1,15})\.([\w=-]*)", re.ASCII)
_TASTE: Final[dict[str, dict[str, bool]]] = {
    "u": {},
    "y": {"use_for_taste": True},
    "n": {"use_for_taste": False},
}
_SAME: Final = "-"
_WHOM: Final = {_SAME: ""} | {str(place): value for place, (value, _) in enumerate(FOR_WHOM)}
_MARKS_MOST: Final = 1_000_000  # things in one answer


@dataclass(slots=True)
class Asked:
    """Where in the sorting the customer is."""

    place: str = ""
    theme: str = ""
    level: str = "places"  # places, themes, lines
    later: list[str] = field(default_factory=list)

    @classmethod
    def from_form(cls, form: MultiDict[str, str]) -> Asked:
        level = form.get("level", "places")
        return cls(
            place=form.get("place", "")[:64],
            theme=form.get("theme", "")[:64],
            level=level if level in LEVELS else "places",
            later=[key[:_LATER_LONGEST] for key in form.getlist("later")[:LATER_MOST]],
        )


@dataclass(slots=True)
class Told:
    """What the page says of the last answer, and what takes that back."""

    said: str = ""
    count: int = 0
    noted: int = 0
    answered: str = ""
    whom: str = ""
    more: list[seeing.More] = field(default_factory=list)

    def since(self) -> Told:
        """The same for a page that comes later."""
        return replace(self, said="before" if self.answered else "", more=[])


@web.get("/sort")
def sort() -> str:
    """The question to which the last answer led, where the address names that; else the first one."""
    name, asked, told = _left()
    if name and request.args.get("at") == name:
        return _question(_Held(), asked, told)
    return _question(_Held(), Asked(), told.since())


@web.post("/sort")
def answer() -> Page:
    """Take an answer, or go nearer or further, and lead to the next question."""
    asked, form = Asked.from_form(request.form), request.form
    nearer = form.get("near", "")
    if "postpone" in form or (nearer and asked.level != "lines"):
        asked.later += [key[:_LATER_LONGEST] for key in form.getlist("postpone")]
        asked.level = nearer if nearer in LEVELS else "places" if nearer else asked.level
        return _lead_on(asked, _left()[2].since())
    held = _Held()
    told = _take_back(held, form) if "undo" in form else _answer(held, asked, form)
    if nearer:
        asked.level = "places"
    return _lead_on(asked, told, held)


@again.page_for("web.answer")
def sort_again(form: again.Form) -> str:
    """The question that was being answered, with the answer."""
    return _question(_Held(), Asked.from_form(form), Told())


def _take_back(held: _Held, form: again.Form) -> Told:
    undone = held.take_back(form.get("changed", ""), form.get("undo", ""))
    return Told("undone" if undone else "unchanged")


def _answer(held: _Held, asked: Asked, form: again.Form) -> Told:
    onlookers = seeing.Onlookers()
    if asked.level == "lines":
        whom, changed = SINGLY, held.sort_lines(form.items())
        meant = any(name.startswith("for.") for name in form)
    else:
        whom, meant = form.get("whom", ""), True
        if whom not in dict(FOR_WHOM):
            raise BadRequest
        ids = held.ids_of(asked, form.get("group", ""))
        changed = held.sort(ids, whom, use_for_taste=False if form.get("not_taste") else None)
    if not changed:
        last = _left()[2].since()
        return last if not meant and "near" in form else replace(last, said="already" if meant else "none")
    noted = held.unsorted(changed)
    return Told("sorted", len(changed) - noted, noted, held.answered, whom, onlookers.more())


def _lead_on(asked: Asked, told: Told, held: _Held | None = None) -> Page:
    """To the next question, at an address that tells nothing; at once where a cookie has no room for it."""
    name, seconds = secrets.token_urlsafe(6), desk().settings.session_absolute
    if sealed.keep(session.SORTED, [name, astuple(asked), astuple(told)], seconds):
        return redirect(url_for("web.sort", at=name), 303)
    return _question(held or _Held(), asked, told)


def _left() -> tuple[str, Asked, Told]:
    """What the last answer left for the page after it, and the name of that page."""
    found = sealed.find(session.SORTED)
    if not found:
        return "", Asked(), Told()
    name, asked, (*told, more) = found
    return name, Asked(*asked), replace(Told(*told), more=[seeing.More(*one) for one in more])


class _Held:
    """The purchases, read once for a request, with the revisions they were read at."""

    def __init__(self) -> None:
        self.records = vault().records("purchases")
        self.documents: Documents = {}
        self.revisions: dict[str, int] = {}
        self.place = 0, 0  # in the journal: where what was stored last begins and ends
        self.answered = ""
        for record, revision, body in self.records.stored():
            self.documents[record] = self.records.unseal(record, revision, body)
            self.revisions[record] = revision

    def places(self) -> list[Group]:
        """Where things went."""
        return sorting.destinations(self.documents.items())

    def ids_of(self, asked: Asked, key: str) -> tuple[str, ...]:
        """The purchases of the group that was asked about."""
        if key == EVERYTHING:
            return tuple(self.documents)
        for place in self.places():
            if asked.level == "places" and place.key == key:
                return place.ids
            if asked.level == "themes" and place.key == asked.place:
                return next((part.ids for part in place.parts if part.key == key), ())
        return ()

    def sort(self, ids: Iterable[str], whom: str, use_for_taste: bool | None) -> list[str]:
        """Sort what is unsorted among `ids`; the ones that changed. `answered` is then for `take_back`."""
        pairs = [(record, self.documents[record]) for record in ids if record in self.documents]
        before = {record: document["context"] for record, document in pairs}
        stored = self._store(dict(sorting.answer(pairs, whom, use_for_taste)))
        self._note("".join(_replaced(before[record], self._context(record)) for record in stored))
        return stored

    def sort_lines(self, posted: Iterable[tuple[str, str]]) -> list[str]:
        """Sort single lines: `for.<id>` and `taste.<id>`, each an answer without the other.

        `marked.<id>` stands where the box for taste was ticked when the line was shown.
        """
        answers = dict(posted)
        changed: Documents = {}
        for record in dict.fromkeys(name.partition(".")[2] for name in answers):
            document = self.documents.get(record)
            if document is None or sorting.for_whom(document):
                continue
            whom, no_taste, marked = (answers.get(f"{kind}.{record}") for kind in ("for", "taste", "marked"))
            said = _of_taste(document, bool(no_taste), bool(marked))
            if whom in dict(FOR_WHOM):
                ((_, said),) = sorting.answer([(record, said)], str(whom))
            if said != document:
                changed[record] = said
        before = {record: self._context(record) for record in changed}
        stored = self._store(changed)
        self._note(
            "".join(_replaced(before[one], now := self._context(one)) + _letter(now) for one in stored)
        )
        return stored

    def unsorted(self, ids: Iterable[str]) -> int:
        """How many of these have no answer still."""
        return sum(not sorting.for_whom(self.documents[record]) for record in ids)

    def take_back(self, answered: str, whom: str) -> list[str]:
        """Make those unsorted again that still have the answer `whom`; which these were.

        SINGLY: the answer that each was given. What they said of taste before that answer is said again; what
        the answer did not touch stays.
        """
        changed: Documents = {}
        since, until, marks = _read(answered)
        for record, mark in zip(self.records.changed(since, until), _given(marks, whom), strict=False):
            document = self.documents.get(record)
            if document and (said := mark.undone(document["context"])) is not None:
                changed[record] = {**document, "context": said}
        return self._store(changed)

    def is_last(self, answered: str) -> bool:
        """Whether nothing was stored after this answer."""
        try:
            return bool(answered) and _read(answered)[1] == vault().position()
        except TamperedError:  # as is said elsewhere
            return False

    def _context(self, record: str) -> dict[str, Any]:
        return self.documents[record]["context"]

    def _note(self, marks: str) -> None:
        packed = base64.urlsafe_b64encode(zlib.compress(marks.encode())).decode()
        self.answered = ".".join([*map(str, self.place), packed])

    def _store(self, changed: Documents) -> list[str]:
        if not changed:
            return []
        try:
            self._apply(changed)
        except ConflictError:  # another window was faster with one of them: what it said stays
            changed = self._unchanged_since(changed)
            if changed:
                self._apply(changed)
        self.documents.update(changed)
        for record in changed:
            self.revisions[record] += 1
        return list(changed)

    def _apply(self, changed: Documents) -> None:
        expected = {record: self.revisions[record] for record in changed}
        with self.records.transaction():  # so that between the two places stands nothing else
            before = vault().position()
            self.records.apply(dict(changed), expected=expected)
            self.place = before, vault().position()

    def _unchanged_since(self, changed: Documents) -> Documents:
        now = {record: revision for record, revision, _ in self.records.stored()}
        return {
            record: document
            for record, document in changed.items()
            if now.get(record) == self.revisions[record]
        }


def _of_taste(document: dict[str, dict[str, Any]], ticked: bool, before: bool) -> dict[str, dict[str, Any]]:
    """The document with what the box says, where that differs from what it said when it was shown."""
    if ticked == before:
        return document
    rest = {name: value for name, value in document["context"].items() if name != "use_for_taste"}
    return {**document, "context": {**rest, "use_for_taste": False} if ticked else rest}


@dataclass(frozen=True, slots=True)
class _Given:
    """One thing's answer: for whom, "" where that was not said, and the sign of what was said of taste."""

    whom: str
    taste: str

    def undone(self, context: dict[str, Any]) -> dict[str, Any] | None:
        """The context before the answer; None where another answer has been given since."""
        if context.get("for", "") != self.whom:
            return None
        rest = {name: value for name, value in context.items() if name != "for"}
        if self.taste in _TASTE and rest.get("use_for_taste") is (None if self.taste == "n" else False):
            rest.pop("use_for_taste", None)
            rest |= _TASTE[self.taste]
        return rest if rest != context else None


def _given(marks: str, whom: str) -> Iterator[_Given]:
    """The answers that these signs stand for: one sign each, of those given one by one two."""
    if whom != SINGLY:
        return (_Given(whom, taste) for taste in marks)
    return (
        _Given(_WHOM.get(letter, ""), taste) for taste, letter in zip(marks[::2], marks[1::2], strict=False)
    )


def _replaced(before: dict[str, Any], now: dict[str, Any]) -> str:
    """The sign of what an answer put another word about taste in place of; none where it put none."""
    was, becomes = before.get("use_for_taste"), now.get("use_for_taste")
    if was is becomes:
        return _SAME
    return "u" if was is None else "y" if was else "n"


def _letter(context: dict[str, Any]) -> str:
    return next(letter for letter, whom in _WHOM.items() if whom == context.get("for", ""))


def _read(answered: str) -> tuple[int, int, str]:
    """Where an answer stands in the journal, and for each thing that it sorted what it replaced."""
    found = _ANSWER.fullmatch(answered)
    if found is None:
        raise BadRequest
    try:
        marks = zlib.decompressobj().decompress(base64.urlsafe_b64decode(found[3]), _MARKS_MOST)
    except (binascii.Error, zlib.error):
        raise BadRequest from None
    return int(found[1]), int(found[2]), marks.decode("ascii", "replace")


def _question(held: _Held, asked: Asked, told: Told) -> str:
    done, left = sorting.progress(held.documents.items())
    places = held.places()
    place = next((one for one in places if one.key == asked.place and one.unsorted), None)
    group, groups = None, places
    if asked.level != "places" and place is None:
        asked.level, asked.place, asked.theme = "places", "", ""
    if asked.level == "themes" and place is not None:
        groups = list(place.parts)
    group = _first(groups, asked)
    if asked.level == "themes" and group is None:
        asked.level, asked.place, groups = "places", "", places
        group = _first(groups, asked)
    return render_template(
        "sort.html",
        asked=asked,
        place=place,
        group=group,
        lines=_lines(held, place, asked) if asked.level == "lines" and place else [],
        done=done,
        left=left,
        last=told,
        undo=held.is_last(told.answered),
        onlookers=seeing.of_purchases("self") if left else [],
        everything=EVERYTHING,
    )


def _first(groups: list[Group], asked: Asked) -> Group | None:
    still = [one for one in groups if one.unsorted and f"{asked.place}/{one.key}" not in asked.later]
    return still[0] if still else None


def _lines(held: _Held, place: Group, asked: Asked) -> list[tuple[str, dict[str, Any]]]:
    ids = next((part.ids for part in place.parts if part.key == asked.theme), place.ids)
    pairs = [(record, held.documents[record]) for record in ids]
    still = [pair for pair in pairs if not sorting.for_whom(pair[1])]
    still.sort(key=lambda pair: str(pair[1]["order"].get("ordered", "")), reverse=True)
    return still[:LINES]
