"""TinyDB tables over rows of an engine: the customer's searches and the row filters of views.

The only module that touches `tinydb`. Stock TinyDB reads and rewrites its whole file at each insert; this
table overrides the two methods through which everything in `tinydb.table.Table` goes, so that a write
touches only its rows, inside one transaction. The query cache is off: it would keep plain text alive and
answer from the past. A vendor's reading builds no Document at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import AbstractContextManager
from typing import Any, Protocol

from tinydb import Query, where
from tinydb.queries import QueryInstance
from tinydb.storages import MemoryStorage, Storage
from tinydb.table import Document, Table

__all__ = ["Document", "Query", "QueryInstance", "RecordTable", "Rows", "where"]


class Rows(Protocol):
    """What a table stands on."""

    name: str

    def new_id(self) -> str: ...

    def transaction(self) -> AbstractContextManager[Any]: ...

    def contains(self, record: str) -> bool: ...

    def count(self) -> int: ...

    def ids(self) -> list[str]: ...

    def get(self, record: str) -> dict[str, Any]: ...

    def scan(self) -> Iterator[tuple[str, dict[str, Any]]]: ...

    def check(self, document: Mapping[str, Any]) -> dict[str, Any]: ...

    def apply(self, changes: Mapping[str, Any]) -> None: ...


class _Snapshot(Mapping[str, Any]):
    """Reads rows when they are asked for; `items` opens them in one pass."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    def __getitem__(self, record: str) -> dict[str, Any]:
        if not self._rows.contains(record):
            raise KeyError(record)
        return self._rows.get(record)

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows.ids())

    def __len__(self) -> int:
        return self._rows.count()

    def items(self) -> Any:
        return self._rows.scan()


class _Overlay(MutableMapping[str, Any]):
    """What an updater sees: rows as they are, its own changes on top; `changes` are what differs."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._seen: dict[str, dict[str, Any] | None] = {}
        self._before: dict[str, str] = {}

    def _look(self, record: str) -> dict[str, Any] | None:
        if record not in self._seen:
            found = self._rows.get(record) if self._rows.contains(record) else None
            self._before[record] = repr(found)
            self._seen[record] = found
        return self._seen[record]

    def __getitem__(self, record: str) -> dict[str, Any]:
        found = self._look(record)
        if found is None:
            raise KeyError(record)
        return found

    def __setitem__(self, record: str, document: Mapping[str, Any]) -> None:
        self._look(record)
        self._seen[record] = dict(document)

    def __delitem__(self, record: str) -> None:
        self[record]
        self._seen[record] = None

    def __iter__(self) -> Iterator[str]:
        gone = {record for record, document in self._seen.items() if document is None}
        stored = self._rows.ids()
        yield from (record for record in stored if record not in gone)
        yield from sorted(set(self._seen) - gone - set(stored))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def clear(self) -> None:
        """Remove every row; the inherited way would list the rows anew for each."""
        for record in list(self):
            del self[record]

    def changes(self) -> dict[str, dict[str, Any] | None]:
        """The rows that are not as they were read."""
        return {record: now for record, now in self._seen.items() if repr(now) != self._before[record]}


_UNUSED: Storage = MemoryStorage()  # type: ignore[no-untyped-call]  # every access goes through the rows


class RecordTable(Table):
    """A TinyDB table whose documents are sealed records with string ids."""

    document_id_class = str  # type: ignore[assignment]
    default_query_cache_capacity = 0

    def __init__(self, rows: Rows) -> None:
        super().__init__(_UNUSED, rows.name, cache_size=0)
        self._rows = rows

    def _get_next_id(self) -> str:
        return self._rows.new_id()

    def _read_table(self) -> Mapping[str, Any]:  # type: ignore[override]
        return _Snapshot(self._rows)

    def _update_table(self, updater: Callable[[Any], None]) -> None:
        with self._rows.transaction():
            overlay = _Overlay(self._rows)
            updater(overlay)
            changes = overlay.changes()
            if changes:
                self._rows.apply(
                    {
                        record: None if now is None else self._rows.check(now)
                        for record, now in changes.items()
                    }
                )
