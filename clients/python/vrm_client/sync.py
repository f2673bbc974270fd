"""A copy that stays in step with what is granted, and deletes itself when it is not.

`Copy.sync` asks the changes feed for what happened since the last time and applies it in one step: rows are
replaced whole (a narrowed row loses its facets), rows that left are deleted. When the grant ended, expired or
no longer covers the collection, the copy is deleted before anything else happens; only the vault's own word
for that counts. It says how old it is.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from vrm_client.connection import Change, Connection
from vrm_client.errors import NotGrantedError, ProtocolError, RefusedError, RevokedError
from vrm_client.records import Record, parse_record
from vrm_client.transport import Json

_VERSION = 1


@dataclass(frozen=True, slots=True)
class Synced:
    """What one `sync` did."""

    changed: int
    gone: int
    ended: bool = False  # the copy was deleted: nothing is granted any more


class Copy:
    """One collection of one grant, kept in memory and, with `file`, on disk (mode 0600, replaced whole)."""

    def __init__(
        self, collection: str, file: Path | None = None, *, clock: Callable[[], float] = time.time
    ) -> None:
        self.collection = collection
        self._file = file
        self._clock = clock
        self._rows: dict[str, Mapping[str, Json]] = {}
        self._cursor: str | None = None
        self._synced_at: float | None = None
        self._expires: float | None = None
        if file is not None and file.exists():
            self._load(file)

    def __repr__(self) -> str:
        return f"Copy({self.collection!r}, {len(self._rows)} records)"

    def __len__(self) -> int:
        return len(self._current())

    def __iter__(self) -> Iterator[Record]:
        return iter([parse_record(dict(row)) for row in self._current().values()])

    @property
    def age(self) -> float | None:
        """Seconds since the copy was last in step; None if it never was, or was deleted."""
        return None if self._synced_at is None else self._clock() - self._synced_at

    def sync(self, connection: Connection) -> Synced:
        """Bring the copy in step. What is no word of the vault leaves it as it was; its `age` tells."""
        try:
            limits = connection.grant()
            changed, gone = self._catch_up(connection)
        except (RevokedError, NotGrantedError):
            self.delete()
            return Synced(0, 0, ended=True)
        self._expires = _moment(limits.get("expires"))
        self._synced_at = self._clock()
        self._store()
        return Synced(changed, gone)

    def delete(self) -> None:
        """Delete every row, in memory and on disk."""
        self._rows, self._cursor, self._synced_at, self._expires = {}, None, None, None
        if self._file is not None:
            self._file.unlink(missing_ok=True)

    def _current(self) -> Mapping[str, Mapping[str, Json]]:
        if self._expires is not None and self._clock() >= self._expires:
            self.delete()
        return self._rows

    def _catch_up(self, connection: Connection) -> tuple[int, int]:
        try:
            return self._apply(connection.changes(self.collection, cursor=self._cursor))
        except RefusedError as error:
            if error.code != "invalid-parameter" or self._cursor is None:
                raise
        # The cursor belongs to another grant: she was asked anew. Begin again, and keep nothing of the old.
        self._rows, self._cursor = {}, None
        return self._apply(connection.changes(self.collection))

    def _apply(self, changes: Iterator[Change]) -> tuple[int, int]:
        rows, cursor, changed, gone = dict(self._rows), self._cursor, 0, 0
        for change in changes:
            cursor = change.cursor
            for row in change.rows:
                identifier = row.get("id")
                if not isinstance(identifier, str):
                    raise ProtocolError("a change has no id")
                if row.get("gone") is True:
                    gone += rows.pop(identifier, None) is not None
                else:
                    parse_record(dict(row))
                    rows[identifier] = row
                    changed += 1
        self._rows, self._cursor = rows, cursor
        return changed, gone

    def _store(self) -> None:
        if self._file is None:
            return
        values = {
            "version": _VERSION,
            "collection": self.collection,
            "cursor": self._cursor,
            "synced_at": self._synced_at,
            "expires": self._expires,
            "rows": self._rows,
        }
        fresh = self._file.with_name(self._file.name + ".new")
        with os.fdopen(
            os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8"
        ) as out:
            json.dump(values, out)
            out.flush()
            os.fsync(out.fileno())
        fresh.replace(self._file)

    def _load(self, file: Path) -> None:
        try:
            values = json.loads(file.read_text(encoding="utf-8"))
            if values["version"] != _VERSION or values["collection"] != self.collection:
                raise ValueError
            self._rows, self._cursor = dict(values["rows"]), values["cursor"]
            self._synced_at, self._expires = values["synced_at"], values["expires"]
        except (ValueError, KeyError, TypeError):
            self.delete()  # not ours, or torn: a fresh copy is one sync away


def _moment(value: Json) -> float | None:
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise ProtocolError("the grant does not say when it ends") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
