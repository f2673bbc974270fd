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
from itertools import dropwhile

from vrm.consent.filters import CODE, FILTERED, Filtered, values_of
from vrm.vault import crypto, envelope
from vrm.vault.crypto import MASK, Key, Purpose
from vrm.vault.engine import Engine, Row, Transaction

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
Between = Mapping[Filtered, tuple[int, int]]  # the first and the last code that is asked for


def keys_of(fields: Iterable[Filtered], scope_keys: Mapping[str, Key]) -> Keys:
    """The keys of the masks of some fields; KeyError without those of their scopes."""
    return {field: crypto.derive(scope_keys[field.scope], Purpose.POSTING, field.name) for field in fields}


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
    start = crypto.random_bytes(MASK)
    transaction.executemany(
        "INSERT INTO postings (grant_id, bucket, packed) VALUES (?, ?, ?)",
        [(grant_id, number, _packed(start, number, columns, keys)) for number, columns in buckets.items()],
    )


def _code(field: Filtered, value: str) -> bytes:
    return field.code(value).to_bytes(CODE, "big")


def _packed(start: bytes, number: int, columns: Mapping[Filtered, bytearray], keys: Keys) -> bytes:
    """A bucket as it is stored; what does not leave in this grant is chance itself."""
    size = len(next(iter(columns.values())))
    parts = [start]
    for field in FILTERED:
        if field in columns:
            parts.append(_masked(keys[field], start, number, bytes(columns[field])))
        else:
            parts.append(crypto.random_bytes(size))
    return b"".join(parts)


def _masked(key: Key, start: bytes, number: int, codes: bytes) -> bytes:
    """Codes of positions that follow each other, from those of a bucket on: masked, or what was masked."""
    block = int.from_bytes(start, "big") + number * (CODE * ROWS // MASK)
    return crypto.masked(key, (block % (1 << 8 * MASK)).to_bytes(MASK, "big"), codes)


def _rows_in(packed: bytes) -> int:
    return min((len(packed) - MASK) // (CODE * len(FILTERED)), ROWS)


class _Run:
    """Buckets that follow each other, under the masks of one edition."""

    def __init__(self, number: int, packed: bytes) -> None:
        self.number = number
        self.start = packed[:MASK]
        self.stored = [packed]

    def codes(self, field: Filtered, key: Key) -> bytes:
        """The codes of a field, `ROWS` for each bucket; where there are fewer, chance fills them up."""
        parts, place = [], _PLACE[field]
        for packed in self.stored:
            size = CODE * _rows_in(packed)
            first = MASK + place * size
            parts.append(packed[first : first + size].ljust(CODE * ROWS, b"\0"))
        return _masked(key, self.start, self.number, b"".join(parts))

    def where(self, keys: Keys, asked: Between) -> Iterator[int]:
        """The positions whose codes all lie between, in their order."""
        (field, ends), *others = sorted(asked.items(), key=lambda one: one[1][1] - one[1][0])
        places = _between(self.codes(field, keys[field]), *ends)
        for other, bounds in others:
            places = _also(places, self.codes(other, keys[other]), *bounds)
        return (self.number * ROWS + place for place in places)


def _runs(buckets: Iterable[Row]) -> list[_Run]:
    runs: list[_Run] = []
    for number, packed in buckets:
        envelope.require_bytes(packed)
        if len(packed) < MASK:  # altered
            continue
        last = runs[-1] if runs else None
        if last and number == last.number + len(last.stored) and packed.startswith(last.start):
            last.stored.append(packed)
        else:
            runs.append(_Run(number, packed))
    return runs


def laid(engine: Engine, grant_id: str, keys: Keys, rows: Iterable[Posted]) -> bool:
    """Whether every row of an edition stands where it was posted."""
    columns: dict[tuple[Filtered, int], bytes] = {}
    sql = "SELECT bucket, packed FROM postings WHERE grant_id = ? ORDER BY bucket"
    for run in _runs(engine.all(sql, (grant_id,))):
        for field, key in keys.items():
            codes = run.codes(field, key)
            for at in range(len(run.stored)):
                columns[field, run.number + at] = codes[CODE * ROWS * at : CODE * ROWS * (at + 1)]
    for fields, seq, texts in rows:
        number, at = divmod(seq, ROWS)
        for field, value in zip(fields, values_of(fields, texts), strict=True):
            if columns.get((field, number), b"")[CODE * at : CODE * at + CODE] != _code(field, value):
                return False
    return True


def take_back(engine: Engine, transaction: Transaction, grant_id: str, seqs: Iterable[int]) -> None:
    """Let nothing of rows that left or changed be posted. It needs no key."""
    for number, places in _by_bucket(seqs).items():
        for (packed,) in engine.all(
            "SELECT packed FROM postings WHERE grant_id = ? AND bucket = ?", (grant_id, number)
        ):
            left, rows = bytearray(packed), _rows_in(packed)
            for at in places:
                if at < rows:  # what came later is not posted
                    for place in range(len(FILTERED)):
                        first = MASK + CODE * (place * rows + at)
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


def found(engine: Engine, grant_id: str, keys: Keys, asked: Between, after: int) -> Iterator[int]:
    """The seqs of rows later than `after` whose codes all lie between, in their order."""
    first, step = (after + 1) // ROWS, _SHORTEST_STEP
    while buckets := engine.all(
        "SELECT bucket, packed FROM postings WHERE grant_id = ? AND bucket >= ? ORDER BY bucket LIMIT ?",
        (grant_id, first, step),
    ):
        for run in _runs(buckets):
            yield from dropwhile(after.__ge__, run.where(keys, asked))
        first, step = buckets[-1][0] + 1, _LONGEST_STEP


def _between(codes: bytes, first: int, last: int) -> Iterator[int]:
    """Where the codes lie between, without a look at each."""
    if first > last:
        return
    if first == last:
        wanted, column, width = first.to_bytes(CODE, "big"), codes, CODE
    else:
        wanted, column, width = b"\1", _marked(codes, first, last), 1
    at = column.find(wanted)
    while at >= 0:
        if at % width == 0:  # no two bytes of two codes
            yield at // width
        at = column.find(wanted, at + 1)


def _also(places: Iterator[int], codes: bytes, first: int, last: int) -> Iterator[int]:
    """Those of some places where these codes, too, lie between."""
    least, most = first.to_bytes(CODE, "big"), last.to_bytes(CODE, "big")
    return (place for place in places if least <= codes[CODE * place : CODE * place + CODE] <= most)


def _marked(codes: bytes, first: int, last: int) -> bytes:
    """A byte for each code, 1 where it lies between: each step is one for all of them."""
    high, low = codes[::CODE], codes[1::CODE]
    (begin, least), (end, most) = divmod(first, 256), divmod(last, 256)
    if begin == end:
        fit = _one_in(high, begin, end) & _one_in(low, least, most)
    else:
        fit = (
            _one_in(high, begin + 1, end - 1)
            | _one_in(high, begin, begin) & _one_in(low, least, 255)
            | _one_in(high, end, end) & _one_in(low, 0, most)
        )
    return fit.to_bytes(len(high), "little")


def _one_in(column: bytes, least: int, most: int) -> int:
    marks = bytes(least) + b"\1" * (most + 1 - least) + bytes(255 - most)
    return int.from_bytes(column.translate(marks), "little")
