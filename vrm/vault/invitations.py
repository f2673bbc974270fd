"""Leave to make one vault, given out by the host: for places where sign-up is by invitation.

Promises: an invitation makes one vault, however many try at once, and none after its end; stored is a hash
keyed by the server key, so that a copy of the database invites nobody. Which vault came of which invitation
is written nowhere. Refuses to tell an unknown code from one that was used, revoked or has expired.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vrm.clock import Clock
from vrm.errors import InvitationError
from vrm.vault import crypto
from vrm.vault.engine import Engine, Transaction
from vrm.vault.serverkey import ServerKey

if TYPE_CHECKING:
    from vrm.vault.vault import Vaults

TABLES = (
    "CREATE TABLE invitations (lookup BLOB PRIMARY KEY, created INTEGER NOT NULL, expires INTEGER NOT NULL,"
    " used INTEGER NOT NULL)",
)
DAY = 86_400  # seconds
_BYTES = 15  # of a code: 24 letters and digits
_GROUP = 4
_FORGET = 30 * DAY  # seconds after its end that an invitation is still listed


@dataclass(frozen=True, slots=True)
class Invitation:
    """What the host sees of an invitation that was given out; `id` opens nothing."""

    id: str
    created: int
    expires: int
    used: bool


class Invitations:
    """All invitations of one host."""

    def __init__(self, engine: Engine, server_key: ServerKey, clock: Clock) -> None:
        self._engine = engine
        self._server_key = server_key
        self._clock = clock

    @classmethod
    def of(cls, vaults: Vaults) -> Invitations:
        """Those of the host that keeps these vaults."""
        return cls(vaults.engine, vaults.server_key, vaults.clock)

    def make(self, days: int) -> tuple[Invitation, str]:
        """A new invitation and its code, which is shown once."""
        raw, now = crypto.random_bytes(_BYTES), self._clock.now()
        lookup = self._server_key.invitation(raw)
        with self._engine.write() as transaction:
            transaction.execute("DELETE FROM invitations WHERE expires < ?", (now - _FORGET,))
            transaction.execute(
                "INSERT INTO invitations (lookup, created, expires, used) VALUES (?, ?, ?, 0)",
                (lookup, now, now + days * DAY),
            )
        return Invitation(_id(lookup), now, now + days * DAY, used=False), _written(raw)

    def listing(self) -> list[Invitation]:
        """What was given out, the newest first; ended ones for a month."""
        rows = self._engine.all(
            "SELECT lookup, created, expires, used FROM invitations ORDER BY created DESC, lookup"
        )
        return [Invitation(_id(row[0]), row[1], row[2], bool(row[3])) for row in rows]

    def revoke(self, id: str) -> None:
        """Take an invitation back; InvitationError where none of that id could still be used."""
        try:
            lookup = bytes.fromhex(id)
        except ValueError:
            lookup = b""
        with self._engine.write() as transaction:
            cursor = transaction.execute("DELETE FROM invitations WHERE lookup = ? AND used = 0", (lookup,))
            if cursor.rowcount != 1:
                raise InvitationError("there is no such invitation to take back")

    def require(self, code: str) -> None:
        """InvitationError where this code makes no vault now. It is not spent by asking."""
        row = self._engine.one(
            "SELECT 1 FROM invitations WHERE lookup = ? AND used = 0 AND expires > ?",
            (self._lookup(code), self._clock.now()),
        )
        if row is None:
            raise InvitationError()

    def spend(self, transaction: Transaction, code: str) -> None:
        """Use it up in the transaction that makes the vault; InvitationError where somebody was faster."""
        cursor = transaction.execute(
            "UPDATE invitations SET used = 1 WHERE lookup = ? AND used = 0 AND expires > ?",
            (self._lookup(code), self._clock.now()),
        )
        if cursor.rowcount != 1:
            raise InvitationError()

    def _lookup(self, code: str) -> bytes:
        typed = "".join(letter for letter in code if letter.isalnum()).upper()
        try:
            raw = base64.b32decode(typed.replace("0", "O").replace("1", "I").replace("8", "B"))
        except (binascii.Error, ValueError):
            raw = b""
        return self._server_key.invitation(raw)


def _written(raw: bytes) -> str:
    text = base64.b32encode(raw).decode().lower()
    return "-".join(text[at : at + _GROUP] for at in range(0, len(text), _GROUP))


def _id(lookup: bytes) -> str:
    return lookup.hex()
