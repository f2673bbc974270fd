"""Sessions: what a browser holds in its cookie, root power for a while.

Promises: the secret is the only copy of what it opens, the table has a wrap of it; a session ends when it was
idle, at its end however busy it was, and with the root that it wraps, whoever puts its row back.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass

from vrm.clock import Clock
from vrm.errors import SessionExpiredError, TamperedError
from vrm.vault import crypto
from vrm.vault.crypto import Key
from vrm.vault.engine import Engine
from vrm.vault.envelope import parse
from vrm.vault.generations import open_keyring, require_current
from vrm.vault.keyring import Keyring
from vrm.vault.keyslots import SessionSlot
from vrm.vault.serverkey import ServerKey
from vrm.vault.tools import end_all
from vrm.vault.ways import Way, require_there

_RESUMED = (
    "SELECT s.vault, s.wrapped, s.expires, s.used, v.username, v.confirmed, v.generation FROM sessions s"
    " JOIN vaults v ON v.vault = s.vault WHERE s.lookup = ?"
)
_TOUCH = 60  # seconds between two notes that a session is in use


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """How long a browser keeps root power, in seconds."""

    idle: int = 30 * 60
    absolute: int = 12 * 3600


class Sessions:
    """The sessions of all vaults of one host."""

    def __init__(self, engine: Engine, server_key: ServerKey, clock: Clock, limits: SessionLimits) -> None:
        self._engine = engine
        self._pepper = server_key.pepper
        self._clock = clock
        self._limits = limits

    def open(self, keyring: Keyring, way: Way | None) -> str:
        """A new session; the secret is for the browser's cookie only.

        SessionExpiredError where the vault was opened by a way that is not there any more.
        """
        raw = crypto.random_bytes(32)
        lookup, wrapping = SessionSlot.lookup(raw, self._pepper)
        now = self._clock.now()
        expires = now + self._limits.absolute
        wrapped = SessionSlot.wrap(
            keyring.vault, wrapping, lookup, expires, keyring.root(), keyring.generation
        )
        with self._engine.write(of=keyring.vault) as transaction:
            require_current(self._engine, keyring)
            require_there(self._engine, keyring.vault, way)
            transaction.execute(
                "INSERT INTO sessions (lookup, vault, wrapped, created, expires, used)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                (lookup, keyring.vault, wrapped, now, expires, now),
            )
        return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()

    def resume(self, secret: str) -> tuple[str, Keyring, bool]:
        """(the vault's name, its keys, whether its recovery code is confirmed) of a running session.

        SessionExpiredError for any other secret.
        """
        lookup, wrapping = SessionSlot.lookup(_bytes_of(secret), self._pepper)
        row = self._engine.one(_RESUMED, (lookup,))
        now = self._clock.now()
        if (
            row is None
            or now >= row[2]
            or now >= row[3] + self._limits.idle
            or now + self._limits.absolute < row[3]
        ):
            raise SessionExpiredError()
        root = SessionSlot.unwrap(row[0], wrapping, lookup, row[2], row[1])
        keyring = self._ring(row[0], root, parse(row[1]).generation, row[6])
        if now >= row[3] + _TOUCH:
            with self._engine.write(of=row[0]) as transaction:
                transaction.execute("UPDATE sessions SET used = ? WHERE lookup = ?", (now, lookup))
        return str(row[4]), keyring, bool(row[5])

    def _ring(self, vault: str, root: Key, generation: int, newest: int) -> Keyring:
        if generation == newest == 1:  # nothing was there before the first root
            return Keyring(vault, root)
        try:
            return open_keyring(self._engine, vault, root, generation)
        except TamperedError:
            raise SessionExpiredError() from None

    def close(self, vault: str, secret: str) -> None:
        """End one session: its wrap is deleted."""
        try:
            lookup, _ = SessionSlot.lookup(_bytes_of(secret), self._pepper)
        except SessionExpiredError:
            return
        with self._engine.write(of=vault) as transaction:
            transaction.execute("DELETE FROM sessions WHERE lookup = ? AND vault = ?", (lookup, vault))
        self._engine.purge()

    def close_all(self, vault: str) -> int:
        """End every session and tool of a vault; returns how many sessions there were."""
        with self._engine.write(of=vault) as transaction:
            ended = end_all(transaction, vault)
        self._engine.purge()
        return ended

    def sweep(self) -> int:
        """Delete ended sessions; returns how many."""
        now = self._clock.now()
        with self._engine.write() as transaction:
            cursor = transaction.execute(
                "DELETE FROM sessions WHERE expires <= ? OR used <= ?", (now, now - self._limits.idle)
            )
            return int(cursor.rowcount)


def _bytes_of(secret: str) -> bytes:
    try:
        raw = base64.urlsafe_b64decode(secret + "=" * (-len(secret) % 4))
    except (binascii.Error, ValueError):
        raise SessionExpiredError() from None
    if len(raw) != 32:
        raise SessionExpiredError()
    return raw
