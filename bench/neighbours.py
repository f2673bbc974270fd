"""Many vaults in no time: every row of one, copied under other names.

What is sealed in a copy opens with no key, as it is bound to the vault it was sealed for; nobody asks for
it. The copies make tables, indexes and pages as full as they are where so many people live.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from vrm.vault import crypto
from vrm.vault.engine import Engine

_OWN = {"username", "lookup", "jti", "tag"}  # columns whose values come once, beside these two
_BATCH = 500  # vaults copied in one transaction
Shape = tuple[str, tuple[str, ...], list[tuple[Any, ...]]]


def settle(engine: Engine, vault: str, count: int) -> None:
    """Copy the rows of `vault` so many times."""
    shapes = list(_rows(engine, vault))
    for first in range(0, count, _BATCH):
        names = range(first, min(first + _BATCH, count))
        with engine.write() as transaction:
            for table, columns, rows in shapes:
                places = ", ".join("?" * len(columns))
                transaction.executemany(
                    f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({places})",
                    [_copied(columns, row, f"{name:08x}") for name in names for row in rows],
                )


def _rows(engine: Engine, vault: str) -> Iterator[Shape]:
    """(table, columns, rows) of all that is one vault's or its grants'."""
    for table, columns in engine.tables().items():
        where = {
            "vault": "vault = ?",
            "grant_id": "grant_id IN (SELECT grant_id FROM grants WHERE vault = ?)",
        }
        key = next((name for name in where if name in columns), None)
        if key is None or "place" in columns:  # queues of the whole host: nothing waits in them
            continue
        rows = engine.all(f"SELECT {', '.join(columns)} FROM {table} WHERE {where[key]}", (vault,))
        if rows:
            yield table, columns, rows


def _copied(columns: Sequence[str], row: Sequence[Any], name: str) -> list[Any]:
    return [
        _other(value, name, f"{column}:{value!r}")
        if column in _OWN or column in {"vault", "grant_id"}
        else value
        for column, value in zip(columns, row, strict=True)
    ]


def _other(value: Any, name: str, old: str) -> Any:
    """A value of the same kind and length, the same for the same name and old value."""
    made = crypto.digest(f"{name}:{old}".encode())
    return made[: len(value)] if isinstance(value, bytes) else made.hex()[: max(len(value), 16)]
