"""The consent form, read: choices from inputs, differences between two looks, where the answer goes.

Pure, so that the rules can be tested without an app.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode, urlsplit, urlunsplit

from werkzeug.datastructures import MultiDict

from vrm.consent import policy
from vrm.consent.asking import StoredRequest
from vrm.consent.periods import longer
from vrm.consent.purposes import PURPOSES, Purpose
from vrm.consent.requests import Choices, Preview, PreviewRow
from vrm.consent.scopes import INBOX, Part, writes
from vrm.consent.terms import TERMS, Terms
from vrm.posted import whole_number
from vrm.vault.catalog import CATALOG_BY_NAME, FOR_WHOM
from vrm.web import amending

PERIODS: Final = ("P1Y", "P2Y", "P5Y")
DAYS_MOST: Final = 365
DAYS_USUAL: Final = 90
SEEN_MOST: Final = 500  # rows that a form remembers, to say what changed


def first_choices(stored: StoredRequest, taken_out: frozenset[str] = frozenset()) -> Choices:
    """What is chosen before the customer chose: the least. Optional parts off, only her own things.

    `taken_out`: what she took out for this company before stays out. Where a grant is to be changed, what
    she chose for that one, too.
    """
    if stored.earlier is not None:
        period = longest_period(stored.earlier.agreement.parts)
        period = period if period in offered(stored) else ""
        before = amending.earlier_choices(stored, stored.earlier, period)
        return replace(before, exclude=before.exclude | taken_out)
    return Choices(days=DAYS_USUAL, sellers=tuple(stored.vendor.sells_as), exclude=taken_out)


def read_choices(
    form: MultiDict[str, str],
    stored: StoredRequest,
    taken_out: Callable[[], frozenset[str]] = frozenset,
) -> Choices:
    """What the customer chose; a form without answers (`days` always has one) leaves the first choices."""
    if "days" not in form:
        return first_choices(stored, taken_out())
    days, period = form.get("days", ""), form.get("period", "")
    return Choices(
        optional=frozenset(form.getlist("optional")),
        for_whom=frozenset(form.getlist("for_whom")) & {value for value, _ in FOR_WHOM},
        unsorted=form.get("unsorted") == "share",
        exclude=frozenset(form.getlist("exclude")),
        period=period if period in PERIODS else "",
        days=min(max(1, whole_number(days, 5) or 1), DAYS_MOST),
        sellers=tuple(form.getlist("sellers")),
        fresh=policy.LATER if form.get("fresh") == policy.LATER else policy.ASK,
    )


def periods(parts: Iterable[Mapping[str, Any]]) -> list[str]:
    """How far back she can choose: ours that are shorter than what is asked for, and that ("")."""
    asked = [part["period"] for part in parts if "period" in part]
    return [ours for ours in PERIODS if all(longer(their, ours) for their in asked)] + [""]


def offered(stored: StoredRequest) -> list[str]:
    """The periods of `periods`; beside parts of an earlier grant, any that makes one part shorter."""
    if stored.earlier is None:
        return periods(stored.parts)
    bought = [part for part in stored.parts if part["datatypes"][0].startswith("purchases.")]
    asked = [part.get("period", "") for part in bought]
    return [ours for ours in PERIODS if any(not their or longer(their, ours) for their in asked)] + [""]


def longest_period(parts: Iterable[Mapping[str, Any]]) -> str:
    """How far back the vendor asks to look; empty: without limit."""
    asked = [str(part.get("period", "")) for part in parts if part["datatypes"][0].startswith("purchases.")]
    if not asked or "" in asked:
        return ""
    return max(asked, key=_days)


def _days(period: str) -> int:
    return int(period[1:-1]) * {"D": 1, "W": 7, "M": 30, "Y": 365}[period[-1]]


def asks_for(parts: Iterable[Mapping[str, Any]], prefix: str) -> bool:
    """Whether any part names a datatype of this collection."""
    return any(datatype.startswith(prefix + ".") for part in parts for datatype in part["datatypes"])


def categories(parts: Iterable[Mapping[str, Any]]) -> set[str]:
    """The categories that the vendor limited itself to."""
    found: set[str] = set()
    for part in parts:
        wanted = part.get("filter", {}).get("category", [])
        found.update([wanted] if isinstance(wanted, str) else wanted)
    return found


def fields_leaving(parts: Iterable[Part]) -> dict[str, frozenset[str] | None]:
    """Each datatype that these parts read, once, with the fields of it that can leave; None: all of them."""
    found: dict[str, frozenset[str] | None] = {}
    for part in parts:
        if writes(part):
            continue
        named = frozenset(part["fields"]) if "fields" in part else None
        for datatype in part["datatypes"]:
            before = found.get(datatype, frozenset())
            found[datatype] = None if before is None or named is None else before | named
    return found


class Limit(NamedTuple):
    """What parts let be seen of purchases: how far back ("": all), and of which categories (none: any)."""

    datatypes: list[str]
    period: str
    categories: list[str]


def limits(parts: Iterable[Part]) -> list[Limit]:
    """The limits under which these parts read purchases; what is under the same ones stands together."""
    found: dict[tuple[str, tuple[str, ...]], dict[str, None]] = {}
    for part in parts:
        if not writes(part) and part["datatypes"][0].startswith("purchases."):
            under = part.get("period", ""), tuple(sorted(categories([part])))
            found.setdefault(under, {}).update(dict.fromkeys(part["datatypes"]))
    return [Limit(list(names), period, list(wanted)) for (period, wanted), names in found.items()]


def delicate(parts: Iterable[Mapping[str, Any]]) -> list[str]:
    """Datatypes among `parts` that are sensitive or say something about other people."""
    found = []
    for part in parts:
        for datatype in part["datatypes"]:
            collection, _, name = datatype.partition(".")
            if collection not in CATALOG_BY_NAME or not name:  # an answer, or something to put in
                continue
            facet = CATALOG_BY_NAME[collection].facet(name)
            if (facet.sensitive or facet.about_others) and datatype not in found:
                found.append(datatype)
    return found


@dataclass(frozen=True, slots=True)
class Listed:
    """What a page shows of the rows that would leave, and how many it does not."""

    first: list[PreviewRow]  # at once: every row that is no purchase, and the newest purchases
    folded: list[PreviewRow]  # one tap down
    unlisted: int  # purchases that leave and stand nowhere on the page
    answers_unlisted: int
    rows_in_json: list[PreviewRow]
    answers_in_json: list[dict[str, Any]]
    json_rest: int  # purchases that are left out there
    json_answers_rest: int

    @property
    def json_rows(self) -> str:
        """The rows exactly as they leave: read only where she wants to see them so."""
        return _json([row.document for row in self.rows_in_json])

    @property
    def json_answers(self) -> str:
        """The answers exactly as they leave."""
        return _json(self.answers_in_json)


def listed(preview: Preview, first: int, most: int, in_json: int) -> Listed:
    """Purchases and answers up to these numbers; what is no purchase is never folded away nor left out."""
    others = [row for row in preview.rows if row.stream != "purchases"]
    bought = [row for row in preview.rows if row.stream == "purchases"]
    return Listed(
        others + bought[:first],
        bought[first:most],
        max(0, len(bought) - most),
        max(0, len(preview.answers) - most),
        others + bought[:in_json],
        preview.answers[:in_json],
        max(0, len(bought) - in_json),
        max(0, len(preview.answers) - in_json),
    )


def _json(leaves: list[dict[str, Any]]) -> str:
    return json.dumps(leaves, ensure_ascii=False, indent=1)


def seen_text(preview: Preview) -> str:
    """Which rows a page showed, for the form to carry."""
    return " ".join(row.record_id for row in preview.rows[:SEEN_MOST])


def changes(seen: str, preview: Preview) -> tuple[list[str], int]:
    """(titles that leave now and were not shown before, how many that were shown do not leave now)."""
    before = set(seen.split())
    now = {row.record_id for row in preview.rows[:SEEN_MOST]}
    fresh = [row.title for row in preview.rows[:SEEN_MOST] if row.record_id not in before]
    return fresh, len(before - now)


@dataclass(frozen=True, slots=True)
class Promised:
    """What a vendor says of itself, and no key enforces: each thing once, in the order asked."""

    purposes: list[Purpose]
    terms: list[Terms]
    retention: list[str]
    by_inbox: bool | None  # None: it says nothing of how it answers

    @property
    def more(self) -> bool:
        """Whether it says anything beside its purposes."""
        return bool(self.terms or self.retention) or self.by_inbox is not None


def promised(parts: Iterable[Mapping[str, Any]]) -> Promised:
    """The words of all parts together; a purpose that is known no more is called by its id."""
    asked = list(parts)
    channels = {part["response_channel"] for part in asked if "response_channel" in part}
    return Promised(
        [PURPOSES.get(name, Purpose(name, name, "")) for name in dict.fromkeys(map(_purpose, asked))],
        [TERMS[name] for name in dict.fromkeys(part.get("terms") for part in asked) if name in TERMS],
        list(dict.fromkeys(part["retention"] for part in asked if "retention" in part)),
        INBOX in channels if channels else None,
    )


def _purpose(part: Mapping[str, Any]) -> str:
    return str(part["purpose"])


def host_of(redirect_uri: str) -> str:
    """The domain to which the answer goes: what the customer can check."""
    return urlsplit(redirect_uri).netloc


def answer_address(redirect_uri: str, answer: Mapping[str, str]) -> str:
    """The vendor's address with the answer appended to whatever query it has (RFC 6749 section 4.1.2)."""
    parts = urlsplit(redirect_uri)
    said = urlencode([(name, value) for name, value in answer.items() if value])
    return urlunsplit(parts._replace(query=f"{parts.query}&{said}" if parts.query else said))
