"""What the shop keeps about each visitor, and the one place where it is deleted.

In memory, or in one file that only the shop may read (0600), replaced as a whole at each change. It
holds tokens: a shop with more than a demo to run keeps them encrypted. Visitors are filed under a hash
of their cookie, so that the file alone lets nobody in.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from threading import Lock
from typing import Any


@dataclass(frozen=True, slots=True)
class Visitor:
    """One browser. `chapter` counts connections and deletions: a reading writes into its own chapter only."""

    chapter: int = 0
    asked: dict[str, str] | None = field(default=None, repr=False)
    saved: dict[str, Any] | None = field(default=None, repr=False)
    records: tuple[dict[str, Any], ...] = field(default=(), repr=False)
    receipts: tuple[dict[str, Any], ...] = field(
        default=(), repr=False
    )  # left in her vault, with their state
    limits: dict[str, Any] = field(default_factory=dict, repr=False)
    read_at: str = ""
    notice: str = ""

    @property
    def connected(self) -> bool:
        """Whether there is a vault to read from."""
        return self.saved is not None

    @property
    def grant_id(self) -> str:
        """The vault's name for what she granted; empty without a connection."""
        return str(((self.saved or {}).get("tokens") or {}).get("grant_id", ""))


class Visitors:
    """All visitors. Every change is made whole or not at all."""

    def __init__(self, file: Path | None = None) -> None:
        self._file = file
        self._lock = Lock()
        self._all = _load(file) if file is not None and file.exists() else {}

    @staticmethod
    def key(cookie: str) -> str:
        """The name under which a cookie's visitor is filed."""
        return sha256(cookie.encode()).hexdigest()

    def get(self, key: str) -> Visitor:
        """The visitor, a blank one if there is none."""
        with self._lock:
            return self._all.get(key, Visitor())

    def vaults(self) -> set[str]:
        """The vaults that visitors are connected with."""
        with self._lock:
            return {str(one.saved.get("vault", "")) for one in self._all.values() if one.saved is not None}

    def everyone(self) -> list[Visitor]:
        """All who have asked or connected."""
        with self._lock:
            return list(self._all.values())

    def with_grant(self, vault: str, grant_id: str) -> list[str]:
        """The names of those whose copy was read at that vault under that grant."""
        with self._lock:
            return [
                key
                for key, one in self._all.items()
                if grant_id and one.grant_id == grant_id and (one.saved or {}).get("vault") == vault
            ]

    def change(self, key: str, chapter: int, **values: object) -> bool:
        """Change a visitor, unless a new chapter began meanwhile: what was deleted must not come back."""
        with self._lock:
            visitor = self._all.get(key, Visitor())
            if visitor.chapter != chapter:
                return False
            self._all[key] = replace(visitor, **values)  # type: ignore[arg-type]  # names are the caller's
            self._write()
            return True

    def begin(
        self, key: str, *, saved: dict[str, Any] | None = None, notice: str = "", after: int | None = None
    ) -> int:
        """Delete all that is held and begin a new chapter, with new tokens or none; returns its number.

        With `after`, only if that chapter is still open: what a later one holds is not for us to delete.
        """
        with self._lock:
            chapter = self._all.get(key, Visitor()).chapter
            if after is not None and chapter != after:
                return chapter
            self._all[key] = Visitor(chapter=chapter + 1, saved=saved, notice=notice)
            self._write()
            return chapter + 1

    def _write(self) -> None:
        if self._file is None:
            return
        content = json.dumps({key: asdict(visitor) for key, visitor in self._all.items()}, indent=1)
        draft = self._file.with_name(self._file.name + ".new")
        draft.unlink(missing_ok=True)
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self._file)


def _load(file: Path) -> dict[str, Visitor]:
    stored = json.loads(file.read_text(encoding="utf-8"))
    return {
        key: Visitor(
            **{**entry, "records": tuple(entry["records"]), "receipts": tuple(entry.get("receipts", ()))}
        )
        for key, entry in stored.items()
    }
