"""What postings show: read from the tables as a thief reads them, or told plainly, to compare with."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from vrm.consent import views
from vrm.consent.access import Access
from vrm.consent.filters import FILTERED, Wanted
from vrm.consent.postings import ROWS
from vrm.consent.reader import Reader
from vrm.consent.views import OpenGrant
from vrm.vault import crypto
from vrm.vault.sqlite import SqliteEngine

START, CODE = 16, 2
FIELDS = len(FILTERED)
LEFT = bytes(FIELDS * CODE)  # what is stored where a row left


def columns(packed: bytes) -> tuple[bytes, list[bytes]]:
    """The start of a bucket's masks, and the masked codes of each field."""
    size = (len(packed) - START) // FIELDS
    assert size % CODE == 0
    assert len(packed) == START + FIELDS * size
    return packed[:START], [packed[at : at + size] for at in range(START, len(packed), size)]


def _rows(parts: Sequence[bytes]) -> list[bytes]:
    return [b"".join(part[at : at + CODE] for part in parts) for at in range(0, len(parts[0]), CODE)]


def stored(engine: SqliteEngine, grant_id: str) -> dict[int, bytes]:
    """What is stored at each position of a grant's postings."""
    rows = engine.all("SELECT bucket, packed FROM postings WHERE grant_id = ?", (grant_id,))
    return {
        bucket * ROWS + at: row for bucket, packed in rows for at, row in enumerate(_rows(columns(packed)[1]))
    }


def told(engine: SqliteEngine, grant: OpenGrant) -> set[int]:
    """The positions of which any value is posted, found with all keys of the grant."""
    keys, found = views._posting_keys(grant), set()
    sql = "SELECT bucket, packed FROM postings WHERE grant_id = ?"
    for bucket, packed in engine.all(sql, (grant.grant_id,)):
        start, parts = columns(packed)
        plain = [
            crypto.masked(keys[field], start, part) if field in keys else bytes(len(part))
            for field, part in zip(FILTERED, parts, strict=True)
        ]
        for at, (row, masked) in enumerate(zip(_rows(plain), _rows(parts), strict=True)):
            if masked != LEFT and row != bytes(len(row)):
                found.add(bucket * ROWS + at)
    return found


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
