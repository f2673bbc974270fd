"""A filtered list: the rows of a view that fit, in the view's own order, from a place on.

First what was posted, found by its terms, then what changed since, looked through: a changed row moves to
the end of its view, so the order is that of the unfiltered list, no row comes twice and none is missed.
Every row is judged on what of it leaves, so a posting that was altered can hide a row but never show one.
A place holds how far each term was read; a view that was posted anew meanwhile is walked from its start.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from vrm.consent.filters import Filtered, Term, Wanted, values_of
from vrm.consent.postings import Labels, Walk
from vrm.vault.engine import Engine, Row

if TYPE_CHECKING:
    from vrm.consent.reader import Access, Opener

_HEAD = struct.Struct(">QQB")  # seq, edition, driver
_NUMBER = struct.Struct(">I")
_LEAST = 100  # rows read at once where some may not fit
_MANY = 500  # rows changed since a moment: up to here they are looked through, whatever is asked for


class Place(NamedTuple):
    """Where a list goes on: after a row, and how many postings of each term stand before that."""

    after: int = 0
    edition: int = 0
    driver: int = 0  # which of the fields asked about led the way
    passed: tuple[int, ...] = ()

    def encode(self, room: int) -> bytes:
        """Bytes of a length that depends on what is asked for only."""
        passed = (*self.passed, *(0 for _ in range(room - len(self.passed))))
        return _HEAD.pack(*self[:3]) + b"".join(map(_NUMBER.pack, passed))

    @classmethod
    def decode(cls, blob: bytes) -> Place:
        """The place of `encode`."""
        passed = [number for (number,) in _NUMBER.iter_unpack(blob[_HEAD.size :])]
        after, edition, driver = _HEAD.unpack_from(blob)
        return cls(after, edition, driver, tuple(passed))


class Selection:
    """The rows of one stream of a grant that fit. Reads run in the caller's transaction."""

    def __init__(self, engine: Engine, access: Access, opener: Opener, wanted: Wanted, since: int) -> None:
        self._engine = engine
        self._access = access
        self._opener = opener
        self.wanted = wanted
        self._since = since
        self._fields = wanted.by()
        self._room = max(len(wanted.terms(field)) for field in self._fields)

    def page(self, limit: int, start: bytes | None) -> tuple[list[bytes], bytes | None]:
        """Up to `limit` rows as JSON bytes and the place of the next page, None at the end."""
        place = Place() if start is None else Place.decode(start)
        items: list[bytes] = []
        following = None
        for row, passed in self._candidates(place, limit + 1):
            text = self._opener.row(*row, fits=self._fits)
            if text is None:
                continue
            if len(items) == limit:
                return items, following
            items.append(text)
            if len(items) == limit:
                following = passed._replace(after=row[0]).encode(self._room)
        return items, None

    def _fits(self, texts: Mapping[str, bytes]) -> bool:
        values = values_of(self._fields, texts)
        return all(map(self.wanted.fits, self._fields, values))

    def _candidates(self, place: Place, about: int) -> Iterator[tuple[Row, Place]]:
        """Rows that may fit, in the order of their `seq`, each with how far the terms were read."""
        row = self._engine.one("SELECT edition FROM grants WHERE grant_id = ?", (self._access.grant_id,))
        edition = row[0] if row and not self._few_changed() else 0
        if place.after < edition - 1:
            yield from self._posted(place, edition, about)
        after = max(place.after, edition - 1)
        while rows := self._rows("seq > ? ORDER BY seq LIMIT ?", (after, max(about, _LEAST))):
            yield from ((one, place) for one in rows)
            after = rows[-1][0]

    def _few_changed(self) -> bool:
        """Whether so little changed since the moment asked about that looking through it is quickest."""
        if not self._since:
            return False
        [(count,)] = self._engine.all(
            "SELECT count(*) FROM (SELECT 1 FROM views WHERE grant_id = ? AND shelf = ? AND updated >= ?"
            " LIMIT ?) AS few",
            (self._access.grant_id, self._opener.shelf, self._since, _MANY + 1),
        )
        return bool(count <= _MANY)

    def _posted(self, place: Place, edition: int, about: int) -> Iterator[tuple[Row, Place]]:
        known = place.edition == edition
        labels = Labels(self._access.grant_id, edition, self._access.keys)
        driver = place.driver if known else self._best(labels)
        field = self._fields[driver]
        terms = self.wanted.terms(field)
        passed = list(place.passed[: len(terms)]) if known else [0] * len(terms)
        walk = iter(self._walk(labels, field, terms, passed, about))
        after = place.after
        while batch := list(islice(walk, about)):
            rows = self._at([seq for seq, _, _ in batch])
            for seq, term, number in batch:
                passed[term] = number + 1
                if after < seq < edition and seq in rows:  # in order and once, whatever was altered
                    after = seq
                    yield rows[seq], Place(seq, edition, driver, tuple(passed))
            about = max(about, _LEAST)

    def _walk(
        self, labels: Labels, field: Filtered, terms: Sequence[Term], passed: Sequence[int], about: int
    ) -> Walk:
        return Walk(self._engine, labels, field.scope, terms, passed, about)

    def _best(self, labels: Labels) -> int:
        """Which field leads: the one whose terms hold the fewest rows."""
        if len(self._fields) == 1:
            return 0
        reach = [self._walk(labels, field, self.wanted.terms(field), (), 0).reach() for field in self._fields]
        return reach.index(min(reach))

    def _at(self, seqs: Sequence[int]) -> dict[int, Row]:
        marks = ", ".join("?" * len(seqs))
        return {row[0]: row for row in self._rows(f"seq IN ({marks})", seqs)}

    def _rows(self, condition: str, parameters: Sequence[int]) -> list[Row]:
        return self._engine.all(
            "SELECT seq, item, updated, sealed FROM views WHERE grant_id = ? AND shelf = ?"
            f" AND sealed IS NOT NULL AND updated >= ? AND {condition}",
            (self._access.grant_id, self._opener.shelf, self._since, *parameters),
        )
