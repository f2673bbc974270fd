"""What postings show: read from the tables as a thief reads them, or told plainly, to compare with."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from vrm.consent.filters import Wanted
from vrm.consent.postings import LABEL
from vrm.consent.reader import Access, Reader
from vrm.vault.sqlite import SqliteEngine

ENTRY = LABEL + 4


def entries(engine: SqliteEngine, grant_id: str) -> list[tuple[bytes, int]]:
    """(label, seq) of every posting of a grant; seq 0 where a row has left."""
    packed = [row[0] for row in engine.all("SELECT packed FROM postings WHERE grant_id = ?", (grant_id,))]
    each = [blob[at : at + ENTRY] for blob in packed for at in range(0, len(blob), ENTRY)]
    return [(one[:LABEL], int.from_bytes(one[LABEL:], "big")) for one in each]


def in_view(engine: SqliteEngine, grant_id: str) -> set[int]:
    """The positions of the rows that a grant can open."""
    sql = "SELECT seq FROM views WHERE grant_id = ? AND sealed IS NOT NULL"
    return {row[0] for row in engine.all(sql, (grant_id,))}


def plainly(rows: Sequence[dict[str, Any]], wanted: Wanted) -> list[dict[str, Any]]:
    """The filter in plain words, over what leaves without it."""

    def fits(row: dict[str, Any]) -> bool:
        item, order = row.get("item", {}), row.get("order", {})
        day = order.get("ordered", "")
        return (
            wanted.category in (None, item.get("category", ""))
            and wanted.seller in (None, order.get("seller", ""))
            and (not wanted.ordered_from or (day != "" and day >= wanted.ordered_from))
            and (not wanted.ordered_to or (day != "" and day <= wanted.ordered_to))
        )

    return [row for row in rows if fits(row)]


def filtered(
    reader: Reader, access: Access, wanted: Wanted, limit: int = 500, **rest: Any
) -> list[dict[str, Any]]:
    """Every row of a filtered list, page by page: all pages but the last are full, and it is not empty."""
    found: list[dict[str, Any]] = []
    cursor = None
    while True:
        page, cursor = reader.page(access, "purchases", limit=limit, cursor=cursor, wanted=wanted, **rest)
        found += [json.loads(text) for text in page]
        assert len(page) == limit if cursor else len(page) <= limit
        assert page or not found, "a page after the last row"
        if cursor is None:
            return found
