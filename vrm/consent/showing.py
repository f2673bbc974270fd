"""How the customer sees rows that leave: by which name, in which order; alike before she agrees and after.

Pure. The order depends on nothing but what the rows say, so that it is the same at every look.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, Protocol, TypeVar

NAMED_BY: Final = frozenset({"item", "order", "statement"})  # facets of her records that name a row


class Shown(Protocol):
    """What a row is listed by."""

    @property
    def stream(self) -> str: ...
    @property
    def record_id(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def ordered(self) -> str: ...


Row = TypeVar("Row", bound=Shown)


def name_of(document: Mapping[str, Mapping[str, Any]]) -> tuple[str, str]:
    """(title, day on which it was ordered) of a record; empty where it has none."""
    item, statement = document.get("item", {}), document.get("statement", {})
    title = item.get("title") or statement.get("topic") or ""
    return title, document.get("order", {}).get("ordered", "")


def in_order(rows: Iterable[Row]) -> list[Row]:
    """The newest first, of one day by name; what has no date, or no name, comes last.

    The few rows about her stand before any number of purchases: a list that ends early has them.
    """
    by_name = sorted(rows, key=lambda row: (not row.title, row.title.casefold(), row.record_id))
    return sorted(by_name, key=_newest, reverse=True)


def _newest(row: Shown) -> tuple[bool, str, str]:
    return row.stream != "purchases", row.stream, row.ordered
