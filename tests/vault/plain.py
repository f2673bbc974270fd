"""Plain rows on an engine: what a `RecordTable` stands on when TinyDB's own tests judge it.

Unsealed, with TinyDB's integer ids; any JSON document goes.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any

from tinydb.storages import Storage
from tinydb.table import Table

from vrm.vault.engine import Engine, Schema
from vrm.vault.tables import RecordTable

SCHEMA = Schema(
    "plain",
    1,
    (
        "CREATE TABLE plain (name TEXT NOT NULL, id INTEGER NOT NULL, text TEXT NOT NULL,"
        " PRIMARY KEY (name, id))",
    ),
)


class PlainRows:
    """The rows of one table, by integer id."""

    def __init__(self, engine: Engine, name: str) -> None:
        self.name = name
        self._engine = engine

    def new_id(self) -> int:
        row = self._engine.one("SELECT coalesce(max(id), 0) + 1 FROM plain WHERE name = ?", (self.name,))
        return int(row[0]) if row else 1

    def transaction(self) -> AbstractContextManager[Any]:
        return self._engine.write()

    def contains(self, record: Any) -> bool:
        return self._one("1", record) is not None

    def count(self) -> int:
        row = self._engine.one("SELECT count(*) FROM plain WHERE name = ?", (self.name,))
        return int(row[0]) if row else 0

    def ids(self) -> list[int]:
        return [
            row[0]
            for row in self._engine.all("SELECT id FROM plain WHERE name = ? ORDER BY id", (self.name,))
        ]

    def get(self, record: Any) -> dict[str, Any]:
        row = self._one("text", record)
        if row is None:
            raise KeyError(record)
        found: dict[str, Any] = json.loads(row[0])
        return found

    def scan(self) -> Iterator[tuple[str, dict[str, Any]]]:  # TinyDB compares these as text
        for record, text in self._engine.all(
            "SELECT id, text FROM plain WHERE name = ? ORDER BY id", (self.name,)
        ):
            yield str(record), json.loads(text)

    def check(self, document: Mapping[str, Any]) -> dict[str, Any]:
        return dict(document)

    def apply(self, changes: Mapping[Any, Any]) -> None:
        with self._engine.write() as transaction:
            for record, document in changes.items():
                key = (self.name, int(record))
                if document is None:
                    transaction.execute("DELETE FROM plain WHERE name = ? AND id = ?", key)
                    continue
                transaction.execute(
                    "INSERT INTO plain VALUES (?, ?, ?)"
                    " ON CONFLICT (name, id) DO UPDATE SET text = excluded.text",
                    (*key, json.dumps(document)),
                )

    def _one(self, column: str, record: Any) -> tuple[Any, ...] | None:
        if not str(record).isdecimal():
            return None
        return self._engine.one(
            f"SELECT {column} FROM plain WHERE name = ? AND id = ?", (self.name, int(record))
        )


class PlainTable(RecordTable):
    """A `RecordTable` with TinyDB's own integer ids, made by a `TinyDB` over a `PlainStorage`."""

    document_id_class = int
    default_query_cache_capacity = 0

    def __init__(self, storage: Any, name: str, **rest: Any) -> None:
        del rest  # the cache is off, and a table is there when it has rows
        Table.__init__(self, storage, name, cache_size=0)
        self._rows = PlainRows(storage.engine, name)

    def _get_next_id(self) -> Any:
        return Table._get_next_id(self)


class PlainStorage(Storage):
    """Lists and drops tables for `TinyDB`; everything else goes through the rows."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        engine.install([SCHEMA])

    def read(self) -> dict[str, dict[str, Any]] | None:
        tables: dict[str, dict[str, Any]] = {}
        for name, record, text in self.engine.all("SELECT name, id, text FROM plain ORDER BY name, id"):
            tables.setdefault(name, {})[str(record)] = json.loads(text)
        return tables or None

    def write(self, data: dict[str, dict[str, Any]]) -> None:
        with self.engine.write() as transaction:
            transaction.execute("DELETE FROM plain")
            for name, rows in data.items():
                transaction.executemany(
                    "INSERT INTO plain VALUES (?, ?, ?)",
                    [(name, int(record), json.dumps(document)) for record, document in rows.items()],
                )

    def close(self) -> None:
        self.engine.close()
