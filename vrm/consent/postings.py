"""Postings: what the rows of a view can be filtered by, place after place, for who holds the keys.

Of each row and field there are two bytes (`filters`), at the row's position (`seq`), masked under a key of
the scope: on the disk they look like chance, equal values or not, and a token without the scope makes
nothing of them. Every row has as many, whatever is filled in and whatever leaves in its grant, so that
lengths tell the numbers of positions only. They are laid down for a whole view at once, each time under
another mask (its *edition*); afterwards they are only taken back. What changed since is found by looking
through it, until the view is posted anew: so an edit shows nothing of what it has in common with others.
Postings only say where to look, nothing vouches for them: the rows are judged.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import compress, dropwhile

from vrm.consent.filters import CODE, FILTERED, Filtered, values_of
from vrm.vault import crypto, envelope
from vrm.vault.crypto import Key, Purpose
from vrm.vault.engine import Engine, Transaction

TABLES = (
    "CREATE TABLE postings (grant_id TEXT NOT NULL, bucket INTEGER NOT NULL, packed BLOB NOT NULL,"
    " PRIMARY KEY (grant_id, bucket)) WITHOUT ROWID",
)
ROWS = 1024  # positions for each bucket; of the last one as many as the edition has
_PLACE = {field: place for place, field in enumerate(FILTERED)}
_SHORTEST_STEP, _LONGEST_STEP = 2, 32  # buckets that are read at once

Keys = Mapping[Filtered, Key]
Texts = Mapping[str, bytes]  # scope → JSON of a row
Posted = tuple[Sequence[Filtered], int, Texts]  # what a row is posted under, its seq, what leaves of it


def keys_of(fields: Iterable[Filtered], scope_keys: Mapping[str, Key]) -> Keys:
    """The keys of the masks of some fields; KeyError without those of their scopes."""
    return {field: crypto.derive(scope_keys[field.scope], Purpose.POSTING, field.name) for field in fields}


class _Bucket:
    """What is stored of up to `ROWS` positions: the start of the masks, then the codes, field by field."""

    def __init__(self, packed: bytes) -> None:
        envelope.require_bytes(packed)
        self.rows = min(max(0, len(packed) - crypto.MASK) // (CODE * len(FILTERED)), ROWS)
        self._packed = packed

    def codes(self, field: Filtered, key: Key) -> bytes:
        """The codes of a field."""
        if not self.rows:  # altered: it is too short for a start, too
            return b""
        first = self.first(field)
        return crypto.masked(key, self._packed[: crypto.MASK], self._packed[first : first + CODE * self.rows])

    def first(self, field: Filtered) -> int:
        """Where the codes of a field begin."""
        return crypto.MASK + _PLACE[field] * CODE * self.rows


def lay(transaction: Transaction, grant_id: str, edition: int, keys: Keys, rows: Iterable[Posted]) -> None:
    """Post all rows of a view."""
    if not keys:
        return
    buckets: dict[int, dict[Filtered, bytearray]] = {}
    codes: dict[tuple[Filtered, str], bytes] = {}
    for fields, seq, texts in rows:
        number, at = divmod(seq, ROWS)
        columns = buckets.get(number)
        if columns is None:
            size = CODE * min(ROWS, edition - number * ROWS)
            columns = buckets[number] = {field: bytearray(size) for field in keys}
        for pair in zip(fields, values_of(fields, texts), strict=True):
            code = codes.get(pair) or codes.setdefault(pair, _code(*pair))
            columns[pair[0]][CODE * at : CODE * at + CODE] = code
    transaction.executemany(
        "INSERT INTO postings (grant_id, bucket, packed) VALUES (?, ?, ?)",
        [(grant_id, number, _masked(columns, keys)) for number, columns in buckets.items()],
    )


def _code(field: Filtered, value: str) -> bytes:
    return field.code(value).to_bytes(CODE, "big")


def _masked(columns: Mapping[Filtered, bytearray], keys: Keys) -> bytes:
    """A bucket as it is stored; what does not leave in this grant is chance itself."""
    start, size = crypto.random_bytes(crypto.MASK), len(next(iter(columns.values())))
    parts = [
        crypto.masked(keys[field], start, bytes(columns[field]))
        if field in keys
        else crypto.random_bytes(size)
        for field in FILTERED
    ]
    return b"".join([start, *parts])


def laid(engine: Engine, grant_id: str, keys: Keys, rows: Iterable[Posted]) -> bool:
    """Whether every row of an edition stands where it was posted."""
    stored: dict[int, bytes] = dict(
        engine.all("SELECT bucket, packed FROM postings WHERE grant_id = ?", (grant_id,))
    )
    columns: dict[tuple[int, Filtered], bytes] = {}
    for fields, seq, texts in rows:
        number, at = divmod(seq, ROWS)
        for pair in zip(fields, values_of(fields, texts), strict=True):
            place = number, pair[0]
            if place not in columns:
                columns[place] = _Bucket(stored.get(number, b"")).codes(pair[0], keys[pair[0]])
            if columns[place][CODE * at : CODE * at + CODE] != _code(*pair):
                return False
    return True


def take_back(engine: Engine, transaction: Transaction, grant_id: str, seqs: Iterable[int]) -> None:
    """Let nothing of rows that left or changed be posted. It needs no key."""
    for number, places in _by_bucket(seqs).items():
        for (packed,) in engine.all(
            "SELECT packed FROM postings WHERE grant_id = ? AND bucket = ?", (grant_id, number)
        ):
            bucket, left = _Bucket(packed), bytearray(packed)
            for at in places:
                if at < bucket.rows:  # what came later is not posted
                    for field in FILTERED:
                        first = bucket.first(field) + CODE * at
                        left[first : first + CODE] = bytes(CODE)
            transaction.execute(
                "UPDATE postings SET packed = ? WHERE grant_id = ? AND bucket = ?",
                (bytes(left), grant_id, number),
            )


def _by_bucket(seqs: Iterable[int]) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for seq in seqs:
        number, at = divmod(seq, ROWS)
        found.setdefault(number, []).append(at)
    return found


def clear(transaction: Transaction, grant_id: str) -> None:
    """Delete all postings of a grant."""
    transaction.execute("DELETE FROM postings WHERE grant_id = ?", (grant_id,))


Between = Mapping[Filtered, tuple[int, int]]  # the first and the last code that is asked for


def found(engine: Engine, grant_id: str, keys: Keys, asked: Between, after: int) -> Iterator[int]:
    """The seqs of rows later than `after` whose codes all lie between, in their order."""
    first, step = (after + 1) // ROWS, _SHORTEST_STEP
    while buckets := engine.all(
        "SELECT bucket, packed FROM postings WHERE grant_id = ? AND bucket >= ? ORDER BY bucket LIMIT ?",
        (grant_id, first, step),
    ):
        for number, packed in buckets:
            yield from dropwhile(after.__ge__, _places(_Bucket(packed), keys, asked, number))
        first, step = buckets[-1][0] + 1, _LONGEST_STEP


def _places(bucket: _Bucket, keys: Keys, asked: Between, number: int) -> Iterator[int]:
    """The positions in a bucket where all codes lie between."""
    fit = -1
    for field, ends in asked.items():
        fit &= _between(bucket.codes(field, keys[field]), *ends)
    places = range(number * ROWS, number * ROWS + bucket.rows)
    return compress(places, fit.to_bytes(bucket.rows, "little")) if fit else iter(())


def _between(codes: bytes, first: int, last: int) -> int:
    """A byte for each code, 1 where it lies between, as one number: so each step is one for all of them."""
    if first > last:
        return 0
    high, low = codes[::CODE], codes[1::CODE]
    (begin, least), (end, most) = divmod(first, 256), divmod(last, 256)
    if begin == end:
        return _marked(high, begin, end) & _marked(low, least, most)
    return (
        _marked(high, begin + 1, end - 1)
        | _marked(high, begin, begin) & _marked(low, least, 255)
        | _marked(high, end, end) & _marked(low, 0, most)
    )


def _marked(column: bytes, least: int, most: int) -> int:
    marks = bytes(least) + b"\1" * (most + 1 - least) + bytes(255 - most)
    return int.from_bytes(column.translate(marks), "little")
