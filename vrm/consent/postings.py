"""Postings: where in a view the rows of a category, a seller or some days stand, for who holds the keys.

A posting is a label and the position (`seq`) of a row. The labels of a term are numbered without a gap and
derived from the scope's key, so that on the disk all of them look like chance, equal values or not, and a
token without the scope finds none. Every row has the same number of them, so that numbers tell nothing.
They stand sorted by label in buckets and are laid down for a whole view at once, under keys of that time
(its *edition*); afterwards they are only taken back. What changed since is found by looking through it,
until the view is posted anew: so an edit shows nothing of what it has in common with others. Postings only
say where to look: the rows are judged.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from vrm.consent.filters import ABSENT, Filtered, Term, values_of
from vrm.vault import crypto
from vrm.vault.crypto import Key, Purpose
from vrm.vault.engine import Engine, Transaction

TABLES = (
    "CREATE TABLE postings (grant_id TEXT NOT NULL, bucket INTEGER NOT NULL, packed BLOB NOT NULL,"
    " PRIMARY KEY (grant_id, bucket)) WITHOUT ROWID",
)
LABEL = 12  # bytes
_SEQ = 4  # bytes
_ENTRY = LABEL + _SEQ
_GREATEST = b"\xff" * _ENTRY  # after any three first bytes, greater than what follows them in an entry
_NOWHERE = 0  # seq of a row that has left
_ROWS = 8  # of a view, about, for each bucket
_ROOM = 1 << 64  # labels of a block of days: more than any view has rows
_SHORTEST_STEP, _LONGEST_STEP = 4, 256  # postings of one term that are looked up at once


class Labels:
    """The labels of terms in one edition of a grant's postings, for the scopes whose keys there are."""

    def __init__(self, grant_id: str, edition: int, keys: Mapping[str, Key]) -> None:
        self.grant_id = grant_id
        self.edition = edition
        self._keys = keys
        self._derived: dict[tuple[str, str, int, str], Key] = {}

    def take(self, scope: str, term: Term, first: int, count: int) -> list[bytes]:
        """`count` labels of a term, from number `first` on."""
        field, size, value = term
        text, start = (value, 0) if isinstance(value, str) and not size else ("", _numbered(value))
        name = scope, field, size, text
        key = self._derived.get(name)
        if key is None:
            parts = (self.edition, field, size, text)
            key = self._derived[name] = crypto.derive(self._keys[scope], Purpose.POSTING, *parts)
        return crypto.numbered(key, start + first, count, LABEL)


def _bits(edition: int) -> int:
    """The buckets of an edition are numbered by so many first bits of their labels."""
    return min(24, (edition // _ROWS).bit_length())


def _bucket(label: bytes, bits: int) -> int:
    return int.from_bytes(label[:3], "big") >> (24 - bits)


def _numbered(block: str | int) -> int:
    return 0 if block == ABSENT else (int(block) + 1) * _ROOM


Texts = Mapping[str, bytes]  # scope → JSON of a row


def laid(engine: Engine, labels: Labels, rows: Iterable[tuple[Sequence[Filtered], int, Texts]]) -> bool:
    """Whether every row of an edition is found under each of its terms."""
    return all(
        set(seqs) <= {posting.seq for posting in Walk(engine, labels, scope, [term], about=len(seqs))}
        for (scope, term), seqs in _stands(rows).items()
    )


Stands = dict[tuple[str, Term], list[int]]  # (scope, term) → the seqs of its rows


def lay(
    transaction: Transaction, labels: Labels, rows: Iterable[tuple[Sequence[Filtered], int, Texts]]
) -> dict[int, bytes]:
    """Post all rows of a view: the fields that each is posted under, its seq and text, in their order.

    Returns the labels of each, to be kept beside it: they are what `take_back` needs.
    """
    beside: dict[int, list[bytes]] = {}
    entries: list[bytes] = []
    for (scope, term), seqs in _stands(rows).items():
        for label, seq in zip(labels.take(scope, term, 0, len(seqs)), seqs, strict=True):
            entries.append(label + seq.to_bytes(_SEQ, "big"))
            beside.setdefault(seq, []).append(label)
    entries.sort()  # so that their order tells nothing of the terms
    transaction.executemany(
        "INSERT INTO postings (grant_id, bucket, packed) VALUES (?, ?, ?)",
        [(labels.grant_id, number, packed) for number, packed in _packed(entries, _bits(labels.edition))],
    )
    return {seq: b"".join(sorted(found)) for seq, found in beside.items()}


def _stands(rows: Iterable[tuple[Sequence[Filtered], int, Texts]]) -> Stands:
    stands: Stands = {}
    known: dict[tuple[str, str, str], list[list[int]]] = {}  # value of a field → the places of its terms
    for fields, seq, texts in rows:
        for field, value in zip(fields, values_of(fields, texts), strict=True):
            name = field.scope, field.name, value
            places = known.get(name)
            if places is None:
                places = [stands.setdefault((field.scope, term), []) for term in field.terms(value)]
                known[name] = places
            for seqs in places:
                seqs.append(seq)
    return stands


def _packed(entries: Sequence[bytes], bits: int) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(entries):
        number = _bucket(entries[at], bits)
        last = ((number + 1) << (24 - bits)) - 1  # the greatest first three bytes of its labels
        end = bisect_left(entries, last.to_bytes(3, "big") + _GREATEST, lo=at)
        yield number, b"".join(entries[at:end])
        at = end


def take_back(engine: Engine, transaction: Transaction, grant_id: str, beside: Iterable[bytes]) -> None:
    """Let postings of rows that left or changed point nowhere. It needs no key."""
    labels = [blob[at : at + LABEL] for blob in beside for at in range(0, len(blob), LABEL)]
    if not labels:
        return
    row = engine.one("SELECT edition FROM grants WHERE grant_id = ?", (grant_id,))
    bits = _bits(row[0] if row else 0)
    for number, some in _by_bucket(labels, bits).items():
        place = grant_id, number
        found = engine.one("SELECT packed FROM postings WHERE grant_id = ? AND bucket = ?", place)
        packed = bytearray(found[0] if found else b"")
        for label in some:
            at = _find(packed, label)
            if at >= 0:
                packed[at + LABEL : at + _ENTRY] = _NOWHERE.to_bytes(_SEQ, "big")
        transaction.execute(
            "UPDATE postings SET packed = ? WHERE grant_id = ? AND bucket = ?", (bytes(packed), *place)
        )


def _by_bucket(labels: Iterable[bytes], bits: int) -> dict[int, list[bytes]]:
    found: dict[int, list[bytes]] = {}
    for label in labels:
        found.setdefault(_bucket(label, bits), []).append(label)
    return found


def _find(packed: bytes | bytearray, label: bytes) -> int:
    """Where an entry begins, or -1."""
    at = packed.find(label)
    while at % _ENTRY and at >= 0:  # bytes of two entries that look like a label
        at = packed.find(label, at + 1)
    return at


def clear(transaction: Transaction, grant_id: str) -> None:
    """Delete all postings of a grant."""
    transaction.execute("DELETE FROM postings WHERE grant_id = ?", (grant_id,))


class Posting(NamedTuple):
    """Where a row stands, and under which of the terms that are walked, as which number."""

    seq: int
    term: int
    number: int


class Walk:
    """The postings of some terms of one scope, merged in the order of `seq`."""

    def __init__(
        self,
        engine: Engine,
        labels: Labels,
        scope: str,
        terms: Sequence[Term],
        start: Sequence[int] = (),
        about: int = 0,
    ) -> None:
        """`start`: how many postings of each term to pass over; `about`: how many will be taken."""
        self._engine = engine
        self._labels = labels
        self._scope = scope
        self._terms = terms
        self._next = list(start) or [0] * len(terms)  # number of the posting to look up next, by term
        self._step = [_SHORTEST_STEP + about // max(1, len(terms))] * len(terms)
        self._found: list[deque[Posting]] = [deque() for _ in terms]
        self._open = set(range(len(terms)))  # terms of which more may follow

    def reach(self) -> int:
        """About how many postings there are: for each term the largest power of 8 that is among them."""
        asked = {
            self._take(at, 8**power - 1, 1)[0]: (at, 8**power)
            for at in range(len(self._terms))
            for power in range(7)
        }
        most = dict(sorted(map(asked.__getitem__, self._look_up(asked))))  # of each term the last stays
        return sum(most.values())

    def __iter__(self) -> Iterator[Posting]:
        self._fill(self._open)
        heap = [found.popleft() for found in self._found if found]
        heapq.heapify(heap)
        while heap:
            posting = heap[0]
            yield posting
            if not self._found[posting.term]:
                self._fill({posting.term})
            if self._found[posting.term]:
                heapq.heapreplace(heap, self._found[posting.term].popleft())
            else:
                heapq.heappop(heap)

    def _fill(self, terms: set[int]) -> None:
        """Look up the next of these terms, in one query for all, until each has one or is at its end."""
        while waiting := [at for at in terms & self._open if not self._found[at]]:
            asked: dict[bytes, tuple[int, int]] = {}
            for at in waiting:
                first, step = self._next[at], self._step[at]
                for number, label in enumerate(self._take(at, first, step), first):
                    asked[label] = (at, number)
                self._next[at], self._step[at] = first + step, min(4 * step, _LONGEST_STEP)
            present = self._look_up(asked)
            for label, (at, number) in asked.items():
                if label not in present:
                    self._open.discard(at)
                elif (seq := present[label]) != _NOWHERE:
                    self._found[at].append(Posting(seq, at, number))

    def _take(self, at: int, first: int, count: int) -> list[bytes]:
        return self._labels.take(self._scope, self._terms[at], first, count)

    def _look_up(self, labels: Iterable[bytes]) -> dict[bytes, int]:
        """Label → seq of those that there are."""
        buckets = _by_bucket(labels, _bits(self._labels.edition))
        numbers, found = list(buckets), dict[bytes, int]()
        for first in range(0, len(numbers), _LONGEST_STEP):
            some = numbers[first : first + _LONGEST_STEP]
            marks = ", ".join("?" * len(some))
            for number, packed in self._engine.all(
                f"SELECT bucket, packed FROM postings WHERE grant_id = ? AND bucket IN ({marks})",
                (self._labels.grant_id, *some),
            ):
                for label in buckets[number]:
                    at = _find(packed, label)
                    if at >= 0:
                        found[label] = int.from_bytes(packed[at + LABEL : at + _ENTRY], "big")
        return found
