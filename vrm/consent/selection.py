"""A filtered list: the rows of a view that fit, in the view's own order, from a position on.

First what was posted, found by its codes, then what changed since, looked through: a changed row moves to
the end of its view, so the order is that of the unfiltered list, no row comes twice and none is missed.
Every row is judged on what of it leaves, so a posting that was altered can hide a row but never show one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice, takewhile
from typing import TYPE_CHECKING, NamedTuple

from vrm.consent import postings
from vrm.consent.filters import Wanted
from vrm.vault.engine import Engine, Row

if TYPE_CHECKING:
    from vrm.consent.reader import Access, Opener

_LEAST = 100  # rows read at once where some may not fit
_MANY = 500  # rows changed since a moment: up to here they are looked through, whatever is asked for


class State(NamedTuple):
    """Of a grant: the position of its newest row, up to where its rows are posted, what is agreed."""

    seq: int
    edition: int
    agreement: bytes


class Selection:
    """The rows of one stream of a grant that fit."""

    def __init__(self, engine: Engine, access: Access, opener: Opener, wanted: Wanted, since: int) -> None:
        self._engine = engine
        self._grant_id = access.grant_id
        self._opener = opener
        self.wanted = wanted
        self._since = since
        self._fits = wanted.judge()
        self._asked = {field: wanted.codes(field) for field in wanted.by()}
        self._keys = postings.keys_of(self._asked, access.keys)

    def page(self, limit: int, after: int, state: State) -> tuple[list[bytes], int | None]:
        """Up to `limit` rows as JSON bytes and the position of the last of them, None at the end.

        It is right where the state is still the same afterwards.
        """
        items: list[bytes] = []
        last = after
        for rows in self._candidates(after, limit + 1, state):
            for row, text in zip(rows, self._opener.each(rows, self._fits), strict=True):
                if text is None:
                    continue
                if len(items) == limit:
                    return items, last
                items.append(text)
                last = row[0]
        return items, None

    def _candidates(self, after: int, about: int, state: State) -> Iterator[list[Row]]:
        """Rows that may fit, in the order of their `seq`."""
        if after < state.edition - 1 and not self._few_changed():
            seqs = postings.found(self._engine, self._grant_id, self._keys, self._asked, after)
            seqs = takewhile(state.edition.__gt__, seqs)  # whatever was altered
            while some := list(islice(seqs, about)):
                yield self._at(some)
                about = max(about, _LEAST)
            after = state.edition - 1
        while after < state.seq and (
            rows := self._rows("seq > ? ORDER BY seq LIMIT ?", (after, max(about, _LEAST)))
        ):
            yield rows
            after = rows[-1][0]

    def _few_changed(self) -> bool:
        """Whether so little changed since the moment asked about that looking through it is quickest."""
        if not self._since:
            return False
        [(count,)] = self._engine.all(
            "SELECT count(*) FROM (SELECT 1 FROM views WHERE grant_id = ? AND shelf = ? AND updated >= ?"
            " LIMIT ?) AS few",
            (self._grant_id, self._opener.shelf, self._since, _MANY + 1),
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
            (self._grant_id, self._opener.shelf, self._since, *parameters),
        )
