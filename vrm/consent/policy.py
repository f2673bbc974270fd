"""Pure decisions: what of a record leaves under an agreement and a reserve. No keys, no storage, no clock.

Invariant: a grant's view is, row for row and byte for byte, `decide` over the customer's records. The
*agreement* is what the vendor may know (facets, fields, filter, period, purpose, end); the *reserve* is the
customer's own (for whom, rows taken out, which sellers are theirs) and shows in nothing that leaves.
"""

from __future__ import annotations

import calendar
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from types import MappingProxyType
from typing import Any, NamedTuple

from vrm.clock import day_of
from vrm.consent.scopes import CORRECTIONS, Part, is_stored_part, scopes_of, source_of, stream_of, writes
from vrm.errors import TamperedError
from vrm.vault import compact
from vrm.vault.catalog import STAMPED
from vrm.vault.tables import Query, QueryInstance, where

Document = Mapping[str, Mapping[str, Any]]
SHARED = ""
UNSORTED = "unsorted"
NEW = "new"
ASK = "ask"  # what comes in after the approval waits for the customer's word
LATER = "later"  # it leaves after WAITING_DAYS unless she says otherwise
AT_ONCE = ""  # grants of 0.1.0; the customer can narrow them
FRESH = (AT_ONCE, LATER, ASK)  # each shares less than the one before
WAITING_DAYS = 14
FOREVER = 0  # day number of what no period ends
HERE = ""  # the vault itself, among the places where a token may be used
VENDOR, CUSTOMER = "client", "authorization_server"  # who changed a grant, in the words that vendors are told
_JUDGED_BY = {"filter": "item", "period": "order"}  # member of a part → the facet that it looks at
_LISTS = ("parts", "manage", "resources")
_KINDS = (str, str, tuple, int, int, str, int, int, str, tuple, tuple)  # of an agreement's members


class Agreement(NamedTuple):
    """What both sides know. `parts` are the accepted request parts with their periods."""

    vendor: str  # client id
    vendor_name: str
    parts: tuple[Part, ...]
    created: int
    expires: int
    public_id: str = ""  # the vendor's name for the grant, where it follows an earlier one; else its own id
    begun: int = 0  # when the first of them was made; 0: this is it
    updated: int = 0  # when what it tells changed last; 0: never
    updated_by: str = ""  # whose act that was: VENDOR or CUSTOMER
    manage: tuple[str, ...] = ()  # scopes by which the vendor may look it up and end it
    resources: tuple[str, ...] = ()  # where its tokens may be used, HERE among them; empty: only there

    @property
    def granted(self) -> tuple[str, ...]:
        """Every scope that its tokens may have: those that open something, then those of `manage`."""
        return (*self.scopes, *self.manage)

    @property
    def audiences(self) -> tuple[str, ...]:
        """Where its tokens may be used."""
        return self.resources or (HERE,)

    @property
    def scopes(self) -> tuple[str, ...]:
        """The scopes granted, in a fixed order."""
        return tuple(dict.fromkeys(scope for part in self.parts for scope in scopes_of(part)))

    @property
    def streams(self) -> tuple[str, ...]:
        """The collections and answers in which this grant has rows."""
        reading = (part for part in self.parts if not writes(part))
        return tuple(dict.fromkeys(stream_of(part["datatypes"][0]) for part in reading))

    def encode(self) -> bytes:
        """JSON, sealed by the caller."""
        return json.dumps(self._asdict(), ensure_ascii=False).encode()

    @classmethod
    def decode(cls, blob: bytes, *, vouched: bool = False) -> Agreement:
        """The agreement of `encode`; TamperedError for anything else: whoever holds a token can seal it.

        `vouched`: these very bytes are what the root vouches for, so nobody else has sealed them.
        """
        try:
            values = compact.loads(blob)
            lists = {name: tuple(values[name]) for name in _LISTS if name in values}
            found = cls(**{**values, **lists})
            if vouched:
                return found
            if not all(map(isinstance, found, _KINDS)) or not all(map(is_stored_part, found.parts)):
                raise TamperedError()
            if not all(isinstance(one, str) for one in (*found.manage, *found.resources)):
                raise TamperedError()
        except (LookupError, TypeError, ValueError, AttributeError, RecursionError):
            raise TamperedError() from None
        return found


@dataclass(frozen=True, slots=True)
class Reserve:
    """What only the customer knows."""

    for_whom: frozenset[str] = frozenset({"self"})
    unsorted: bool = False
    exclude: frozenset[str] = frozenset()  # record ids taken out by hand
    sellers: frozenset[str] = frozenset()  # whose orders are this vendor's, by the customer's word
    fresh: str = AT_ONCE  # what happens to purchases that come in after the approval: one of FRESH
    admitted: frozenset[str] = frozenset()  # record ids of such that she let in by hand
    vendor_name: str = ""  # as she approved it; grants of 0.1.0 have it in the agreement only

    def values(self) -> dict[str, Any]:
        """Its members, as JSON has them."""
        return {
            name: sorted(value) if isinstance(value, frozenset) else value
            for name, value in asdict(self).items()
        }

    def encode(self) -> bytes:
        """JSON, sealed by the caller."""
        return json.dumps(self.values(), ensure_ascii=False).encode()

    @classmethod
    def decode(cls, blob: bytes) -> Reserve:
        """The reserve of `encode`; TamperedError for anything else."""
        try:
            return cls.of(compact.loads(blob))
        except ValueError:
            raise TamperedError() from None

    @classmethod
    def of(cls, values: Any) -> Reserve:
        """The reserve of `values`; TamperedError for anything else."""
        try:
            return cls(
                frozenset(values["for_whom"]),
                bool(values["unsorted"]),
                frozenset(values["exclude"]),
                frozenset(values["sellers"]),
                values.get("fresh", AT_ONCE),
                frozenset(values.get("admitted", ())),
                str(values.get("vendor_name", "")),
            )
        except (LookupError, TypeError, AttributeError):
            raise TamperedError() from None


class Verdict(NamedTuple):
    """`scopes` holds the very bytes that leave; empty, with the reason, where nothing does.

    `ends` holds per scope the proleptic day number after which it is outside its period; FOREVER if none.
    """

    reason: str = SHARED
    scopes: Mapping[str, bytes] = MappingProxyType({})
    ends: Mapping[str, int] = MappingProxyType({})


def period_end(ordered: date, period: str) -> date:
    """The last day on which something ordered on `ordered` lies within `period`."""
    found = re.fullmatch(r"P(\d+)([DWMY])", period)
    if not found:
        raise ValueError("not a period")
    count, unit = int(found[1]), found[2]
    try:
        if unit in "DW":
            return ordered + timedelta(days=count * (7 if unit == "W" else 1))
        months = ordered.year * 12 + ordered.month - 1 + count * (12 if unit == "Y" else 1)
        year, month = divmod(months, 12)
        return date(year, month + 1, min(ordered.day, calendar.monthrange(year, month + 1)[1]))
    except (OverflowError, ValueError):
        return date.max


def row_filter(part: Part) -> QueryInstance:
    """The rows a part asks for, as a query over documents."""
    categories = part.get("filter", {}).get("category")
    if categories is None:
        return Query().noop()
    wanted: QueryInstance = where("item")["category"].one_of(categories)
    return wanted


def reserve_filter(reserve: Reserve) -> Callable[[Document], bool]:
    """Whether the customer's for-whom choice lets a row through."""

    def lets_through(document: Document) -> bool:
        word = document.get("context", {}).get("for")
        return reserve.unsorted if word is None else word in reserve.for_whom

    return lets_through


def decide(
    stream: str, record: str, document: Document, agreement: Agreement, reserve: Reserve, today: date
) -> Verdict:
    """What of this record leaves on `today`, or why nothing does."""
    return Rules(agreement, reserve, today).decide(stream, record, document)


class Rules:
    """`decide` for many records: what an agreement and a reserve say is put together once."""

    def __init__(
        self, agreement: Agreement, reserve: Reserve, today: date, leaving: Leaving | None = None
    ) -> None:
        """`leaving`: what the agreement's parts say on that day, where it is at hand already."""
        self._created, self._reserve, self._today = agreement.created, reserve, today
        self._hers = reserve_filter(reserve)
        self._leaving = leaving or Leaving(agreement.parts, today)

    def streams(self, collection: str) -> tuple[str, ...]:
        """Where a record of this collection may stand: the collection, and answers made of it."""
        return self._leaving.streams.get(collection, ())

    def facets(self, collection: str) -> frozenset[str]:
        """The facets of a collection's records that are looked at: without the others it decides the same."""
        hers = {"context", "notes"} if collection == STAMPED else set[str]()
        return self._leaving.facets | hers

    def decide(self, stream: str, record: str, document: Document) -> Verdict:
        """What of this record leaves, or why nothing does."""
        reserve = self._reserve
        if record in reserve.exclude:
            return Verdict("excluded")
        if stream == CORRECTIONS:
            return _correction(document, reserve)
        if stream == STAMPED:
            if not self._hers(document):
                return Verdict(document.get("context", {}).get("for") or UNSORTED)
            if document.get("notes"):  # else nothing says that a vendor left it, or when it came in
                if _left_unsorted(document):
                    return Verdict(UNSORTED)
                if record not in reserve.admitted and waits(document, self._created, reserve, self._today):
                    return Verdict(NEW)
        return self._leaving.of(stream, document)


class Leaving:
    """What of a record an agreement's parts let leave on a day, before the customer's reserve is asked.

    Several grants may have the same parts: of the record that was asked for last, the answers are kept.
    """

    def __init__(self, parts: Iterable[Part], today: date) -> None:
        self._day = today.toordinal()
        self._parts: dict[str, list[_Limits]] = {}  # by stream
        looked_at = set[str]()
        for part in parts:
            if not writes(part):
                self._parts.setdefault(stream_of(part["datatypes"][0]), []).append(_Limits(part))
                looked_at.update(name.partition(".")[2] for name in part["datatypes"])
                looked_at.update(facet for member, facet in _JUDGED_BY.items() if member in part)
        self.facets = frozenset(looked_at | ({"item", "order"} if CORRECTIONS in self._parts else set()))
        self.streams: dict[str, tuple[str, ...]] = {}  # collection → the streams that are made of it
        for stream in self._parts:
            source = source_of(stream)
            self.streams[source] = (*self.streams.get(source, ()), stream)
        self._last: Document | None = None
        self._answers: dict[str, Verdict] = {}

    def of(self, stream: str, document: Document) -> Verdict:
        """Per scope the fields of the parts that last longest: a verdict holds until the day that it names.

        A part that ends before adds nothing: who asks so that it would is refused (`periods.at_odds`).
        """
        if document is not self._last:
            self._last, self._answers = document, {}
        found = self._answers.get(stream)
        if found is None:
            found = self._answers[stream] = self._judged(stream, document)
        return found

    def _judged(self, stream: str, document: Document) -> Verdict:
        scopes: dict[str, bytes] = {}
        fields: dict[str, list[str] | None] = {}
        ends: dict[str, int] = {}
        reason, day = "filter", self._day
        for part in self._parts.get(stream, ()):
            if part.rows is not None and not part.rows(document):
                continue
            last = part.last_day(document) if part.period else FOREVER
            if last != FOREVER and last < day:
                reason = "period"
                continue
            for scope, facet in part.cuts:
                if scope not in ends or _outlasts(last, ends[scope]):
                    fields[scope], ends[scope] = part.fields, last
                elif last == ends[scope]:
                    fields[scope] = _joined(fields[scope], part.fields)
                else:
                    continue
                scopes[scope] = _cut(document.get(facet, {}), fields[scope])
        return Verdict(SHARED, scopes, ends) if scopes else Verdict(reason)


class _Limits:
    """A part that reads, taken apart: its scopes and their facets, which fields, rows and days."""

    def __init__(self, part: Part) -> None:
        self.cuts = [(f"{datatype}:read", datatype.partition(".")[2]) for datatype in part["datatypes"]]
        self.fields: list[str] | None = part.get("fields")
        self.rows = row_filter(part) if "filter" in part else None  # those that the part asks for
        self.period: str = part.get("period", "")
        self._ends: dict[str, int] = {}  # day of the order → last day within the period

    def last_day(self, document: Document) -> int:
        """The number of the last day on which the row lies within the period."""
        ordered = document.get("order", {}).get("ordered")
        if not ordered:
            return date.min.toordinal()  # without a date nothing proves that it lies within
        if ordered not in self._ends:
            self._ends[ordered] = period_end(date.fromisoformat(ordered), self.period).toordinal()
        return self._ends[ordered]


def _left_unsorted(document: Document) -> bool:
    """What a vendor put in is in no view before she sorted it, whatever she said of other things."""
    return "left_by" in document.get("notes", {}) and "for" not in document.get("context", {})


def waits(document: Document, created: int, reserve: Reserve, today: date) -> bool:
    """Whether a purchase came in after the approval, of `created`, and its time has not come.

    Without a note of when it came in it was there before any grant. What came in within the second of the
    approval counts as later.
    """
    arrived = document.get("notes", {}).get("arrived")
    if reserve.fresh == AT_ONCE or arrived is None or arrived < created:
        return False
    return reserve.fresh == ASK or today < leaves_on(arrived)


def leaves_on(arrived: int) -> date:
    """The day on which what came in at `arrived` (unix seconds) leaves under the rule LATER."""
    return day_of(arrived) + timedelta(days=WAITING_DAYS)


def _outlasts(one: int, other: int) -> bool:
    return other != FOREVER and (one == FOREVER or one > other)


def _joined(one: list[str] | None, other: list[str] | None) -> list[str] | None:
    """The fields of both; None is all."""
    return None if one is None or other is None else [*one, *other]


def _cut(values: Mapping[str, Any], names: list[str] | None) -> bytes:
    kept = values if names is None else {name: value for name, value in values.items() if name in names}
    return compact.dumps(kept)


def _correction(document: Document, reserve: Reserve) -> Verdict:
    order, item = document.get("order", {}), document.get("item", {})
    if order.get("seller") not in reserve.sellers:
        return Verdict("filter")
    if document.get("context", {}).get("use_for_taste") is not False:
        return Verdict("no-correction")
    number = item.get("asin") or item.get("isbn") or item.get("gtin") or item.get("title")
    if not order.get("order_number") or not number:
        return Verdict("filter")
    answer = {"order": order["order_number"], "item": number, "use_for_taste": False}
    scope = f"{CORRECTIONS}:read"
    return Verdict(SHARED, {scope: json.dumps(answer, ensure_ascii=False).encode()}, {scope: FOREVER})
