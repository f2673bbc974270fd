"""Where the row of a record stands in a view, found by the vendor's own id of the record.

Most places are noted by id. Ids are random, so that each note costs a page on its way to the disk, in each
view that a record enters: those of the newest rows are not noted, and looked for among these; each time
`RECENT` of them have come, they are noted together. A note that is out of date finds nothing: the row that
stands there says what it is of. Rows of all views stand in the order in which they came, so that what one
change writes stands together, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice

from vrm.vault.engine import Engine, Row, Transaction

TABLES = (
    "CREATE TABLE views (grant_id TEXT NOT NULL, shelf BLOB NOT NULL, seq INTEGER NOT NULL,"
    " item BLOB NOT NULL, updated INTEGER NOT NULL, sealed BLOB)",
    "CREATE UNIQUE INDEX views_order ON views (grant_id, shelf, seq, item)",  # looked through by itself
    "CREATE INDEX views_gone ON views (item) WHERE sealed IS NULL",
    "CREATE TABLE places (grant_id TEXT NOT NULL, item BLOB NOT NULL, shelf BLOB NOT NULL,"
    " seq INTEGER NOT NULL, PRIMARY KEY (grant_id, item)) WITHOUT ROWID",
)
_NOTE = "INSERT INTO places (grant_id, item, shelf, seq) SELECT grant_id, item, shelf, seq FROM views"
STEPS = (  # of 0.1.0, where all rows stood in the order of their grants, and an index found them by id
    "ALTER TABLE views RENAME TO views_before",
    "DROP INDEX views_item",
    *TABLES,
    "INSERT INTO views (grant_id, shelf, seq, item, updated, sealed)"
    " SELECT grant_id, shelf, seq, item, updated, sealed FROM views_before ORDER BY grant_id, shelf, seq",
    "DROP TABLE views_before",
    f"{_NOTE} ORDER BY grant_id, item",
)
RECENT = 128  # rows of a view at most whose places are not noted
STORE = "INSERT INTO views (grant_id, shelf, seq, item, updated, sealed) VALUES (?, ?, ?, ?, ?, ?)"
NOTED = (
    "SELECT v.seq, v.item, v.updated, v.sealed FROM places p JOIN views v ON v.grant_id = p.grant_id"
    " AND v.shelf = p.shelf AND v.seq = p.seq AND v.item = p.item"
    " WHERE p.grant_id = ? AND p.item = ? AND p.shelf = ?"
)
_NEWEST = (
    "SELECT seq, item, updated, sealed FROM views WHERE grant_id = ? AND item = ? AND shelf = ?"
    f" AND seq > (SELECT g.seq - {RECENT} FROM grants g WHERE g.grant_id = ?)"
)
_ASKED = 100  # ids asked for in one statement


def noted(engine: Engine, grant_id: str, item: bytes, shelf: bytes) -> Row | None:
    """(seq, item, updated, sealed) of the row of a record, gone or not, where its place is noted."""
    return engine.one(NOTED, (grant_id, item, shelf))


def newest(engine: Engine, grant_id: str, item: bytes, shelf: bytes) -> Row | None:
    """The same of one of the newest, whose place may not be noted."""
    return engine.one(_NEWEST, (grant_id, item, shelf, grant_id))


def recent(engine: Engine, grant_id: str, shelves: Sequence[bytes], seq: int) -> dict[bytes, int]:
    """Id → position of all whose places may not be noted; `seq` is that of the newest row."""
    marks = ", ".join("?" * len(shelves))
    sql = f"SELECT item, seq FROM views WHERE grant_id = ? AND shelf IN ({marks}) AND seq > ?"
    return dict(engine.all(sql, (grant_id, *shelves, _settled(grant_id, seq))))


def gone(engine: Engine, items: Iterable[bytes]) -> set[tuple[str, bytes]]:
    """(grant, id) of those that stand somewhere as gone."""
    found: set[tuple[str, bytes]] = set()
    rest = iter(items)
    while some := list(islice(rest, _ASKED)):
        marks = ", ".join("?" * len(some))
        sql = f"SELECT grant_id, item FROM views WHERE sealed IS NULL AND item IN ({marks})"
        found.update((grant_id, item) for grant_id, item in engine.all(sql, some))
    return found


def due(grant_id: str, start: int, seq: int) -> bool:
    """Whether enough rows have come to be noted, in a view that went on from `start` to `seq`."""
    return _settled(grant_id, seq) > _settled(grant_id, start)


def note(transaction: Transaction, grant_id: str, shelves: Sequence[bytes], start: int) -> None:
    """Note the places of all rows that were not at `start`, or came since."""
    marks = ", ".join("?" * len(shelves))
    transaction.execute(
        f"{_NOTE} WHERE grant_id = ? AND shelf IN ({marks}) AND seq > ? ORDER BY item"
        " ON CONFLICT (grant_id, item) DO UPDATE SET seq = excluded.seq",
        (grant_id, *shelves, _settled(grant_id, start)),
    )


def note_all(transaction: Transaction, grant_id: str) -> None:
    """The same of a view that is new."""
    transaction.execute(f"{_NOTE} WHERE grant_id = ? ORDER BY item", (grant_id,))


def clear(transaction: Transaction, grant_id: str, kept: Sequence[bytes] = ()) -> None:
    """Delete the rows of a view and what is noted of them, but for the shelves that are `kept`."""
    others = f" AND shelf NOT IN ({', '.join('?' * len(kept))})" if kept else ""
    for table in ("views", "places"):
        transaction.execute(f"DELETE FROM {table} WHERE grant_id = ?{others}", (grant_id, *kept))


def _settled(grant_id: str, seq: int) -> int:
    """Up to where all rows are noted: of views that grow together, not at the same moment."""
    return seq - (seq + sum(grant_id.encode())) % RECENT
