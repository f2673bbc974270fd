"""What a vendor may filter by at a request, by which codes such rows stand out, and which of them fit. Pure.

A filter is open to a token only where the field itself leaves in its grant under one of its scopes: who
cannot read a value cannot ask for it. Rows are judged on the very bytes that leave; codes only say where to
look. Every row has the same number of codes, whatever is filled in: an absent value has one, too.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import date

from vrm.consent.policy import Agreement
from vrm.consent.scopes import scopes_of, stream_of, subject_of
from vrm.vault import compact, crypto, envelope

ABSENT = ""
CODE = 2  # bytes
_LAST = (1 << 8 * CODE) - 1
_EPOCH = date(1899, 12, 31).toordinal()  # days of 1900 to 2079 have codes of their own
_NEVER = b"9999-12-31"

Fits = Callable[[Mapping[str, bytes]], bool]  # whether what leaves of a row (scope → JSON) is asked for


@dataclass(frozen=True, slots=True, eq=False)
class Filtered:
    """A field by whose values a list can be filtered, and the parameters that do: two for a range of days."""

    scope: str  # under which the field leaves
    name: str
    parameters: tuple[str, ...]

    @property
    def datatype(self) -> str:
        """The datatype of the scope."""
        return subject_of(self.scope)

    @property
    def ranged(self) -> bool:
        """Whether its values are days, asked for from one to another."""
        return len(self.parameters) > 1

    def code(self, value: str) -> int:
        """Equal for equal values, and for days in their order; 0 for an absent one only."""
        if value == ABSENT:
            return 0
        if self.ranged:
            return min(max(date.fromisoformat(value).toordinal() - _EPOCH, 1), _LAST)
        return int.from_bytes(crypto.digest(value.encode())[:CODE], "big") or 1


FILTERED = (
    Filtered("purchases.item:read", "category", ("category",)),
    Filtered("purchases.order:read", "seller", ("seller",)),
    Filtered("purchases.order:read", "ordered", ("ordered_from", "ordered_to")),
)
PARAMETERS = frozenset(name for one in FILTERED for name in one.parameters)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a vendor asks for; days as YYYY-MM-DD, both ends included. What is empty is not asked about."""

    category: str | None = None
    seller: str | None = None
    ordered_from: str | None = None
    ordered_to: str | None = None

    def __bool__(self) -> bool:
        return any(getattr(self, one.name) for one in fields(self))

    def bound(self) -> bytes:
        """What a cursor of this list is bound to."""
        given = ((one.name, getattr(self, one.name)) for one in fields(self))
        return envelope.pack(*(part for name, text in given if text for part in (name, text)))

    def by(self) -> list[Filtered]:
        """The fields that it asks about."""
        return [one for one in FILTERED if any(self._ends(one))]

    def codes(self, field: Filtered) -> tuple[int, int]:
        """The first and the last code of rows that may fit; a few others can have one of them."""
        first, last = self._ends(field)
        return field.code(first) or 1, field.code(last) or _LAST

    def judge(self) -> Fits:
        """Tells whether a row fits, by the bytes that leave: within a text no quotation mark stands bare."""
        looks = [self._look(field) for field in self.by()]
        return looks[0] if len(looks) == 1 else lambda texts: all(look(texts) for look in looks)

    def _ends(self, field: Filtered) -> tuple[str, str]:
        first, last = (getattr(self, name) or ABSENT for name in (field.parameters[0], field.parameters[-1]))
        return first, last

    def _look(self, field: Filtered) -> Fits:
        scope, (first, last) = field.scope, self._ends(field)
        if not field.ranged:
            member = compact.dumps({field.name: first})[1:-1]
            return lambda texts: member in texts.get(scope, b"")
        head, least, most = b'"%b":"' % field.name.encode(), first.encode(), last.encode() or _NEVER

        def within(texts: Mapping[str, bytes]) -> bool:
            _, found, text = texts.get(scope, b"").partition(head)
            return found != b"" and least <= text[: len(most)] <= most  # days compare as texts

        return within


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
