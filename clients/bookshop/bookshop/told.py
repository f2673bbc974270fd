"""What the shop does when a vault tells it something: delete, read again, and remember that it did.

An event can come twice. What it asks for is done first and remembered then: killed in between, the shop does
it once more, which does no harm.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from threading import Lock

from bookshop.desk import Desk
from vrm_client import Event, EventError, Receiver
from vrm_client.events import AMENDED, CHANGED, OLDEST, issuer_of


class Seen:
    """The `jti` of events that were acted on, for as long as they can come again; with `file`, on disk."""

    def __init__(self, file: Path | None = None, *, clock: Callable[[], float] = time.time) -> None:
        self._file = file
        self._clock = clock
        self._lock = Lock()
        self._all: dict[str, float] = {}
        if file is not None and file.exists():
            self._all = json.loads(file.read_text(encoding="utf-8"))

    def knows(self, jti: str) -> bool:
        """Whether that one was acted on."""
        with self._lock:
            return jti in self._all

    def remember(self, jti: str) -> None:
        """It was acted on now."""
        now = self._clock()
        with self._lock:
            self._all[jti] = now
            self._all = {one: at for one, at in self._all.items() if now - at <= 2 * OLDEST}
            self._write()

    def _write(self) -> None:
        if self._file is None:
            return
        draft = self._file.with_name(self._file.name + ".new")
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump(self._all, file)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self._file)


class Ear:
    """Takes in what the vault pushes to `/vrm/events`."""

    def __init__(self, desk: Desk, seen: Seen) -> None:
        self._desk = desk
        self._seen = seen
        self._receivers: dict[str, Receiver] = {}

    def hear(self, body: bytes) -> None:
        """Act on an event, once. EventError where it is none; UnreachableError: it should come again."""
        event = self._of(issuer_of(body)).receive(body)
        if event is not None:
            self._act(event)
            self._seen.remember(_name(event.issuer, event.jti))

    def _of(self, issuer: str) -> Receiver:
        """Only of a vault that somebody here is connected with: others have nothing to say."""
        if issuer not in self._desk.visitors.vaults() | {self._desk.vaults.home}:
            raise EventError("invalid_issuer", "nobody here is connected with that vault")
        if issuer not in self._receivers:
            self._receivers[issuer] = self._desk.receiver(
                lambda jti: self._seen.knows(_name(issuer, jti)), issuer
            )
        return self._receivers[issuer]

    def _act(self, event: Event) -> None:
        for key in self._desk.visitors.with_grant(event.issuer, event.grant_id):
            if event.ends:
                self._desk.delete_copy(key)
            elif event.kind in (AMENDED, CHANGED):
                self._desk.read(key)


def _name(issuer: str, jti: str) -> str:
    """A vault's `jti` is a name of its own making: no other's counts as it."""
    return f"{issuer} {jti}"
