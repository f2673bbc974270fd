"""What the shop sold on the demo account: its own order book, gifts and all.

Reads order files in the layout in which the sample history comes. A shop knows what it sold and where
it went; it does not know for whom. That is the point of the comparison.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from datetime import date
from pathlib import Path

from bookshop.catalogue import Catalogue
from bookshop.recommender import Owned


def read_orders(place: Path, catalogue: Catalogue) -> list[Owned]:
    """The books in an order file, or in all `*OrderHistory*.csv` of a folder; cancelled lines left out."""
    files = sorted(place.rglob("*OrderHistory*.csv")) if place.is_dir() else [place]
    if not files:
        raise FileNotFoundError(f"no order file in {place}")
    return [owned for file in files for owned in _books(file, catalogue)]


def _books(file: Path, catalogue: Catalogue) -> Iterator[Owned]:
    with file.open(encoding="utf-8-sig", newline="") as lines:
        for row in csv.DictReader(lines):
            book = catalogue.by_isbn(row.get("ASIN") or "")
            if book is not None and row.get("Order Status") != "Cancelled":
                yield Owned(book, parse_date(row.get("Order Date")))


def parse_date(text: object) -> date | None:
    """The day of an ISO date or moment, None for anything else."""
    try:
        return date.fromisoformat(text[:10]) if isinstance(text, str) else None
    except ValueError:
        return None
