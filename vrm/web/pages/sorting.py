"""Sorting: one question at a time, by destination, then theme, then line; few decisions for many things.

A suggestion is shown with its reason and never taken for the customer's word. An answer sorts only what
is unsorted, and the last answer can be taken back, however many things it sorted: the page names its place in
the vault's journal. Which group is asked about travels in the posted form, never in an address.
"""

from __future__ import annotations

import base64
import binascii
import re
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from flask import render_template, request
from werkzeug.datastructures import MultiDict
from werkzeug.exceptions import BadRequest

from vrm.errors import ConflictError
from vrm.vault import sorting
from vrm.vault.catalog import FOR_WHOM
from vrm.vault.sorting import Group
from vrm.web import again
from vrm.web.desk import vault, web

Documents = dict[str, dict[str, dict[str, Any]]]

LINES: Final = 20  # asked about on one page
LATER_MOST: Final = 200
EVERYTHING: Final = "everything"
_ANSWER: Final = re.compile(r"([0-9]{1,15})\.([0-9]{1,15})\.([\w=-]*)", re.ASCII)
_TASTE: Final[dict[str, dict[str, bool]]] = {"u": {}, "y": {"use_for_taste": True}}
_SAME: Final = "-"
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
            level=level if level in {"places", "themes", "lines"} else "places",
            later=[key[:140] for key in form.getlist("later")[:LATER_MOST]],
        )


@web.get("/sort")
def sort() -> str:
    """The first question."""
    return _question(_Held(), Asked())


@web.post("/sort")
def answer() -> str:
    """Take an answer, or go nearer or further, and ask the next question."""
    asked, form, held = Asked.from_form(request.form), request.form, _Held()
    if "undo" in form:
        undone = held.take_back(form.get("changed", ""), form.get("undo", ""))
        return _question(held, asked, said="undone" if undone else "unchanged")
    if "near" in form:
        asked.level = form["near"] if form["near"] in {"places", "themes", "lines"} else "places"
        return _question(held, asked)
    if "postpone" in form:
        asked.later.append(form["postpone"][:140])
        return _question(held, asked)
    if asked.level == "lines":
        changed = held.sort_lines(form.items())
        return _question(held, asked, changed=changed, noted=held.unsorted(changed), said="sorted")
    whom = form.get("whom", "")
    if whom not in dict(FOR_WHOM):
        raise BadRequest
    ids = held.ids_of(asked, form.get("group", ""))
    changed = held.sort(ids, whom, use_for_taste=False if form.get("not_taste") else None)
    return _question(held, asked, changed=changed, whom=whom, said="sorted")


@again.page_for("web.answer")
def sort_again(form: again.Form) -> str:
    """The question that was being answered, with the answer."""
    return _question(_Held(), Asked.from_form(form))


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
        before = {record: document["context"].get("use_for_taste") for record, document in pairs}
        stored = self._store(dict(sorting.answer(pairs, whom, use_for_taste)))
        marks = "".join(_replaced(before[record], use_for_taste) for record in stored)
        packed = base64.urlsafe_b64encode(zlib.compress(marks.encode())).decode()
        self.answered = ".".join([*map(str, self.place), packed])
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
        return self._store(changed)

    def unsorted(self, ids: Iterable[str]) -> int:
        """How many of these have no answer still."""
        return sum(not sorting.for_whom(self.documents[record]) for record in ids)

    def take_back(self, answered: str, whom: str) -> list[str]:
        """Make those unsorted again that still have the answer `whom`; which these were.

        What they said of taste before that answer is said again; what the answer did not touch stays.
        """
        changed: Documents = {}
        since, until, marks = _read(answered)
        for record, before in zip(self.records.changed(since, until), marks, strict=False):
            document = self.documents.get(record)
            if document and document["context"].get("for") == whom:
                rest = {name: value for name, value in document["context"].items() if name != "for"}
                if before in _TASTE and rest.get("use_for_taste") is False:
                    del rest["use_for_taste"]
                    rest |= _TASTE[before]
                changed[record] = {**document, "context": rest}
        return self._store(changed)

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


def _replaced(before: bool | None, use_for_taste: bool | None) -> str:
    """What an answer put another word about taste in place of, as the form to take it back carries it."""
    if use_for_taste is None or before is use_for_taste:
        return _SAME
    return "u" if before is None else "y"


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


def _question(
    held: _Held,
    asked: Asked,
    changed: list[str] | None = None,
    whom: str = "",
    said: str = "",
    noted: int = 0,
) -> str:
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
        answered=held.answered if changed else "",
        count=len(changed or []) - noted,
        noted=noted,
        whom=whom,
        said=said,
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
