"""A page of a list: the rows of a view that fit, in the view's own order, from a position on.

Of a filtered list, first what was posted, found by its codes, then what changed since, looked through: a
changed row moves to the end of its view, so the order is that of the unfiltered list, no row comes twice and
none is missed. Every row is judged on what of it leaves, so a posting that was altered can hide a row but
never show one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice, takewhile
from typing import NamedTuple, TypeAlias

from vrm.consent import postings
from vrm.consent.access import Access, Opener
from vrm.consent.filters import EVERYTHING, Wanted
from vrm.consent.pages import State
from vrm.vault.engine import Engine, Row

Found: TypeAlias = tuple[list[bytes], int | None]  # rows as JSON; where the last stands, None at the end
_LEAST = 100  # rows read at once where some may not fit
_MANY = 500  # rows changed since a moment: up to here they are looked through, whatever is asked for


class PageQuery(NamedTuple):
    """Which page of a collection is asked for; `updated_since` in unix seconds."""

    limit: int = 100
    cursor: str | None = None
    updated_since: int | None = None
    wanted: Wanted = EVERYTHING


class Selection:
    """Up to `limit` rows of one stream of a grant that fit, after a position."""

    def __init__(self, engine: Engine, access: Access, opener: Opener, asked: PageQuery, after: int) -> None:
        self._engine, self._access, self.opener = engine, access, opener
        self.limit, self.after = asked.limit, after
        self.since = max(0, asked.updated_since or 0)  # nothing is older
        self.wanted = asked.wanted

    def page(self, state: State) -> Found:
        """What is there to see; it is right where the state is still the same afterwards."""
        items: list[bytes] = []
        last, fits = self.after, self.wanted.judge() if self.wanted else None
        for rows in self._candidates(state):
            for row, text in zip(rows, self.opener.each(rows, fits), strict=True):
                if text is None:
                    continue
                if len(items) == self.limit:
                    return items, last
                items.append(text)
                last = row[0]
        return items, None

    def name(self) -> bytes:
        """Of the page, to be kept under; see `pages`."""
        day, bound = self.opener.day, self.wanted.bound()
        return self.opener.pages.name(day, self.limit, self.after, self.since, bound)

    def _candidates(self, state: State) -> Iterator[list[Row]]:
        """Rows that may fit, in the order of their `seq`."""
        after, about = self.after, self.limit + 1
        least = _LEAST if self.wanted else about
        if self.wanted and after < state.edition - 1 and not self._few_changed():
            asked = {field: self.wanted.codes(field) for field in self.wanted.by()}
            keys = postings.keys_of(asked, self._access.keys)
            seqs = postings.found(self._engine, self._access.grant_id, keys, asked, after)
            seqs = takewhile(state.edition.__gt__, seqs)  # whatever was altered
            while some := list(islice(seqs, about)):
                yield self._at(some)
                about = max(about, least)
            after = state.edition - 1
        while after < state.seq and (
            rows := self._rows("seq > ? ORDER BY seq LIMIT ?", (after, max(about, least)))
        ):
            yield rows
            after = rows[-1][0]

    def _few_changed(self) -> bool:
        """Whether so little changed since the moment asked about that looking through it is quickest."""
        if not self.since:
            return False
        [(count,)] = self._engine.all(
            "SELECT count(*) FROM (SELECT 1 FROM views WHERE grant_id = ? AND shelf = ? AND updated >= ?"
            " LIMIT ?) AS few",
            (self._access.grant_id, self.opener.shelf, self.since, _MANY + 1),
        )
        return bool(count <= _MANY)

    def _at(self, seqs: Sequence[int]) -> list[Row]:
        """The rows that stand there, in their order."""
        marks = ", ".join("?" * len(seqs))
        return sorted(self._rows(f"seq IN ({marks})", seqs))

    def _rows(self, condition: str, parameters: Sequence[int]) -> list[Row]:
        return self._engine.all(
            "SELECT seq, item, updated, sealed FROM views WHERE grant_id = ? AND shelf = ?"
            f" AND sealed IS NOT NULL AND updated >= ? AND {condition}",
            (self._access.grant_id, self.opener.shelf, self.since, *parameters),
        )
