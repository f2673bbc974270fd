"""The consent form, read: choices from inputs, differences between two looks, where the answer goes.

No Flask here, so that the rules can be tested without a browser.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Protocol
from urllib.parse import urlencode, urlsplit, urlunsplit

from vrm.consent.requests import Choices, Preview
from vrm.vault.catalog import CATALOG_BY_NAME, FOR_WHOM
from vrm.web import wording

PERIODS: Final = frozenset(value for value, _ in wording.PERIODS)
DAYS_MOST: Final = 365
DAYS_USUAL: Final = 90
SEEN_MOST: Final = 500  # rows that a form remembers, to say what changed
EXCLUDE_MOST: Final = 20_000


class Form(Protocol):
    """What a posted form offers."""

    def get(self, key: str, default: str = "") -> str: ...

    def getlist(self, key: str) -> list[str]: ...


def first_choices(period: str, sellers: Sequence[str] = ()) -> Choices:
    """What is chosen before the customer chose: the least. Optional parts off, only her own things."""
    return Choices(
        optional=frozenset(), for_whom=frozenset({"self"}), exclude=frozenset(), period=period, sellers=tuple(sellers)
    )


def read_choices(form: Form) -> Choices:
    """What the customer chose; what is not one of the answers counts as the narrow one."""
    days = form.get("days", "")
    period = form.get("period", "P1Y")
    return Choices(
        optional=frozenset(form.getlist("optional")),
        for_whom=frozenset(form.getlist("for_whom")) & {value for value, _ in FOR_WHOM},
        unsorted=form.get("unsorted") == "share",
        exclude=frozenset(form.getlist("exclude")[:EXCLUDE_MOST]),
        period=period if period in PERIODS else "P1Y",
        days=min(max(1, int(days)), DAYS_MOST) if days.isdecimal() and len(days) < 6 else DAYS_USUAL,
        sellers=tuple(form.getlist("sellers")),
    )


def asked_period(parts: Iterable[Mapping[str, Any]]) -> str:
    """The longest of our periods that is no longer than what the vendor asks for."""
    asked = {part.get("period", "") for part in parts}
    return next((value for value, _ in wording.PERIODS if value and value in asked), "")


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


def delicate(parts: Iterable[Mapping[str, Any]]) -> list[str]:
    """Datatypes among `parts` that are sensitive or say something about other people."""
    found = []
    for part in parts:
        for datatype in part["datatypes"]:
            collection, _, name = datatype.partition(".")
            if collection not in CATALOG_BY_NAME:
                continue
            facet = CATALOG_BY_NAME[collection].facet(name)
            if (facet.sensitive or facet.about_others) and datatype not in found:
                found.append(datatype)
    return found


def seen_text(preview: Preview) -> str:
    """Which rows a page showed, for the form to carry."""
    return " ".join(row.record_id for row in preview.rows[:SEEN_MOST])


def changes(seen: str, preview: Preview) -> tuple[list[str], int]:
    """(titles that leave now and were not shown before, how many that were shown do not leave now)."""
    before = set(seen.split())
    now = {row.record_id for row in preview.rows[:SEEN_MOST]}
    fresh = [row.title for row in preview.rows[:SEEN_MOST] if row.record_id not in before]
    return fresh, len(before - now)


def host_of(redirect_uri: str) -> str:
    """The domain to which the answer goes: what the customer can check."""
    return urlsplit(redirect_uri).netloc


def answer_address(redirect_uri: str, answer: Mapping[str, str | None]) -> str:
    """The vendor's address with the answer appended to whatever query it has (RFC 6749 section 4.1.2)."""
    parts = urlsplit(redirect_uri)
    said = urlencode([(name, value) for name, value in answer.items() if value is not None])
    return urlunsplit(parts._replace(query=f"{parts.query}&{said}" if parts.query else said))
