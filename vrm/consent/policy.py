"""Pure decisions: what of a record leaves under an agreement and a reserve. No keys, no storage, no clock.

Invariant: a grant's view is, row for row and byte for byte, `decide` over the customer's records. The
*agreement* is what the vendor may know (facets, fields, filter, period, purpose, end); the *reserve* is the
customer's own (for whom, rows taken out, which sellers are theirs) and shows in nothing that leaves.
"""

from __future__ import annotations

import calendar
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import date, timedelta
from typing import Any

from vrm.clock import day_of
from vrm.consent.scopes import CORRECTIONS, Part, is_stored_part, scopes_of, stream_of, writes
from vrm.errors import TamperedError
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
_LISTS = ("parts", "manage", "resources")
_KINDS = (str, str, tuple, int, int, str, int, int, str, tuple, tuple)  # of an agreement's members


@dataclass(frozen=True, slots=True)
class Agreement:
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
        return json.dumps(asdict(self), ensure_ascii=False).encode()

    @classmethod
    def decode(cls, blob: bytes) -> Agreement:
        """The agreement of `encode`; TamperedError for anything else: whoever holds a token can seal it."""
        try:
            values = json.loads(blob)
            lists = {name: tuple(values[name]) for name in _LISTS if name in values}
            found = cls(**{**values, **lists})
            told = [getattr(found, name) for name in cls.__slots__]
            if not all(map(isinstance, told, _KINDS)) or not all(map(is_stored_part, found.parts)):
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

    def encode(self) -> bytes:
        """JSON, sealed by the caller."""
        values = {
            name: sorted(value) if isinstance(value, frozenset) else value
            for name, value in asdict(self).items()
        }
        return json.dumps(values, ensure_ascii=False).encode()

    @classmethod
    def decode(cls, blob: bytes) -> Reserve:
        """The reserve of `encode`; TamperedError for anything else."""
        try:
            values = json.loads(blob)
            return cls(
                frozenset(values["for_whom"]),
                bool(values["unsorted"]),
                frozenset(values["exclude"]),
                frozenset(values["sellers"]),
                values.get("fresh", AT_ONCE),
                frozenset(values.get("admitted", ())),
                str(values.get("vendor_name", "")),
            )
        except (LookupError, TypeError, ValueError, AttributeError, RecursionError):
            raise TamperedError() from None


@dataclass(frozen=True, slots=True)
class Verdict:
    """`scopes` holds the very bytes that leave; empty, with the reason, where nothing does.

    `ends` holds per scope the proleptic day number after which it is outside its period; FOREVER if none.
    """

    reason: str = SHARED
    scopes: Mapping[str, bytes] = field(default_factory=dict)
    ends: Mapping[str, int] = field(default_factory=dict)


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


def reserve_filter(reserve: Reserve) -> QueryInstance:
    """The rows the customer's for-whom choice lets through, as a query over documents."""
    allowed: QueryInstance = where("context")["for"].one_of(sorted(reserve.for_whom))
    return allowed | ~where("context")["for"].exists() if reserve.unsorted else allowed


def decide(
    stream: str, record: str, document: Document, agreement: Agreement, reserve: Reserve, today: date
) -> Verdict:
    """What of this record leaves on `today`, or why nothing does."""
    if record in reserve.exclude:
        return Verdict("excluded")
    if stream == CORRECTIONS:
        return _correction(document, reserve)
    if stream == "purchases":
        if not reserve_filter(reserve)(document):
            return Verdict(document.get("context", {}).get("for") or UNSORTED)
        if _left_unsorted(document):
            return Verdict(UNSORTED)
        if record not in reserve.admitted and waits(document, agreement, reserve, today):
            return Verdict(NEW)
    return _facets(stream, document, agreement, today)


def _left_unsorted(document: Document) -> bool:
    """What a vendor put in is in no view before she sorted it, whatever she said of other things."""
    return "left_by" in document.get("notes", {}) and "for" not in document.get("context", {})


def waits(document: Document, agreement: Agreement, reserve: Reserve, today: date) -> bool:
    """Whether a purchase came in after the approval and its time has not come.

    Without a note of when it came in it was there before any grant. What came in within the second of the
    approval counts as later.
    """
    arrived = document.get("notes", {}).get("arrived")
    if reserve.fresh == AT_ONCE or arrived is None or arrived < agreement.created:
        return False
    return reserve.fresh == ASK or today < leaves_on(arrived)


def leaves_on(arrived: int) -> date:
    """The day on which what came in at `arrived` (unix seconds) leaves under the rule LATER."""
    return day_of(arrived) + timedelta(days=WAITING_DAYS)


def _facets(stream: str, document: Document, agreement: Agreement, today: date) -> Verdict:
    """Per scope the part that lasts longest: so a verdict holds, unchanged, until the day that it names."""
    scopes: dict[str, bytes] = {}
    ends: dict[str, int] = {}
    reason = "filter"
    for part in agreement.parts:
        if writes(part) or stream_of(part["datatypes"][0]) != stream or not row_filter(part)(document):
            continue
        end = _end(document, part)
        if end is not None and end < today:
            reason = "period"
            continue
        last = FOREVER if end is None else end.toordinal()
        for datatype in part["datatypes"]:
            scope = f"{datatype}:read"
            if scope not in ends or _outlasts(last, ends[scope]):
                scopes[scope] = _cut(document.get(datatype.partition(".")[2], {}), part.get("fields"))
                ends[scope] = last
    return Verdict(SHARED, scopes, ends) if scopes else Verdict(reason)


def _outlasts(one: int, other: int) -> bool:
    return other != FOREVER and (one == FOREVER or one > other)


def _end(document: Document, part: Part) -> date | None:
    if "period" not in part:
        return None
    ordered = document.get("order", {}).get("ordered")
    if not ordered:
        return date.min  # without a date nothing proves that it lies within
    return period_end(date.fromisoformat(ordered), part["period"])


def _cut(values: Mapping[str, Any], names: list[str] | None) -> bytes:
    kept = values if names is None else {name: value for name, value in values.items() if name in names}
    return json.dumps(kept, ensure_ascii=False, separators=(",", ":")).encode()


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
