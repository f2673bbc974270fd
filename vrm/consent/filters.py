"""What a vendor may filter by at a request, and under which terms a row is found again. Pure.

A filter is open to a token only where the field itself leaves in its grant under one of its scopes: who
cannot read a value cannot ask for it. Rows are judged on the very bytes that leave; terms only say where
to look. Every row has the same number of terms, whatever is filled in: an absent value is a term, too.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import date
from itertools import pairwise

from vrm.consent.policy import Agreement
from vrm.consent.scopes import scopes_of, stream_of, subject_of
from vrm.vault import compact, envelope

# Sizes in days of the blocks under which a date is posted. A range of days is a short union of blocks.
BLOCKS = (1, 8, 64, 512)
_WIDEST = BLOCKS[-1]
# The widest blocks, by number: 1994-05-16 to 2050-06-10. What lies outside is posted in the first or last.
_FIRST, _LAST = 1422, 1461
_FINE = 32  # blocks: a range at least this long is looked for in blocks of that size, its ends too
ABSENT = ""

Term = tuple[str, int, str | int]  # field, size of the block (0: the value itself), value


@dataclass(frozen=True, slots=True)
class Filtered:
    """A field by whose values a list can be filtered, and the parameters that do."""

    scope: str  # under which the field leaves
    name: str
    parameters: tuple[str, ...]
    blocks: tuple[int, ...] = (0,)

    @property
    def datatype(self) -> str:
        """The datatype of the scope."""
        return subject_of(self.scope)

    def terms(self, value: str) -> Iterator[Term]:
        """Where a row with this value stands: one term for each size of block."""
        if self.blocks == (0,) or not value:
            return iter([(self.name, size, value) for size in self.blocks])
        day = date.fromisoformat(value).toordinal()
        return iter([(self.name, size, _block(day, size)) for size in self.blocks])


FILTERED = (
    Filtered("purchases.item:read", "category", ("category",)),
    Filtered("purchases.order:read", "seller", ("seller",)),
    Filtered("purchases.order:read", "ordered", ("ordered_from", "ordered_to"), BLOCKS),
)
PARAMETERS = frozenset(name for one in FILTERED for name in one.parameters)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a vendor asks for; days as YYYY-MM-DD, both ends included."""

    category: str | None = None
    seller: str | None = None
    ordered_from: str | None = None
    ordered_to: str | None = None

    def __bool__(self) -> bool:
        return any(getattr(self, one.name) is not None for one in fields(self))

    def bound(self) -> bytes:
        """What a cursor of this list is bound to."""
        given = ((one.name, getattr(self, one.name)) for one in fields(self))
        return envelope.pack(*(part for name, text in given if text is not None for part in (name, text)))

    def by(self) -> list[Filtered]:
        """The fields that it asks about."""
        return [one for one in FILTERED if any(getattr(self, name) is not None for name in one.parameters)]

    def terms(self, field: Filtered) -> list[Term]:
        """Where rows stand that may fit; a few others can be among them."""
        if field.name == "ordered":
            return cover(self.ordered_from, self.ordered_to)
        return [(field.name, 0, getattr(self, field.name))]

    def fits(self, field: Filtered, value: str) -> bool:
        """Whether a value is one that is asked for."""
        if field.name != "ordered":
            return bool(value == getattr(self, field.name))
        early, late = self.ordered_from or "", self.ordered_to or "9999-12-31"
        return value != ABSENT and early <= value <= late  # written so, days compare as texts


EVERYTHING = Wanted()


def values_of(fields: Sequence[Filtered], texts: Mapping[str, bytes]) -> list[str]:
    """The values of some fields in what leaves of a row, ABSENT for those that do not."""
    read: dict[str, Mapping[str, str]] = {}  # each text once
    values = []
    for field in fields:
        scope = field.scope
        if scope not in read:
            read[scope] = compact.loads(texts[scope]) if scope in texts else {}
        values.append(read[scope].get(field.name, ABSENT))
    return values


def posted(stream: str, agreement: Agreement) -> tuple[Filtered, ...]:
    """The fields of a stream that leave in a grant: what its rows are posted under."""
    return tuple(
        field
        for field in FILTERED
        if stream_of(field.datatype) == stream
        and any(
            field.scope in scopes_of(part) and field.name in part.get("fields", (field.name,))
            for part in agreement.parts
        )
    )


def open_to(stream: str, agreement: Agreement, scopes: Collection[str]) -> frozenset[str]:
    """The parameters that a token with these scopes may use in a list."""
    return frozenset(
        name for field in posted(stream, agreement) if field.scope in scopes for name in field.parameters
    )


def _block(day: int, size: int) -> int:
    number = day // size
    return min(max(number, _FIRST), _LAST) if size == _WIDEST else number


def cover(first: str | None, last: str | None) -> list[Term]:
    """Blocks that together hold every day from `first` to `last`, few and not much wider.

    Long ranges end in blocks that reach a little beyond them: the rows in there are judged anyway.
    """
    low, high = _FIRST * _WIDEST, (_LAST + 1) * _WIDEST - 1  # days of the first and the last block
    begin = date.fromisoformat(first).toordinal() if first else 0
    end = date.fromisoformat(last).toordinal() if last else date.max.toordinal()
    if begin > end:
        return []
    if begin < low:  # whatever is that old stands in the first block
        begin, end = low, max(end, low + _WIDEST - 1)
    if end > high:
        begin, end = min(begin, high - _WIDEST + 1), high
    return [("ordered", size, number) for size, number in _blocks(begin, end)]


def _blocks(begin: int, end: int) -> Iterator[tuple[int, int]]:
    """(size, number) from the finest blocks that matter at the ends to the widest between."""
    sizes = [size for size in BLOCKS if size == 1 or size * _FINE <= end - begin + 1]
    finest = min(sizes[-1], BLOCKS[-2])
    low, high = begin // finest, end // finest  # numbers of blocks
    for size, wider in pairwise(BLOCKS):
        if size < finest:
            continue
        step = wider // size
        while low <= high and low % step:
            yield size, low
            low += 1
        while low <= high and (high + 1) % step:
            yield size, high
            high -= 1
        low, high = low // step, (high + 1) // step - 1
    yield from ((_WIDEST, number) for number in range(low, high + 1))
