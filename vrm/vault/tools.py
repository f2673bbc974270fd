"""Programs of the customer's own (*tools*): what each of them holds is a way in for a while.

Promises: the secret is the only copy of what it opens, the table has a wrap of it; it ends twelve hours after
she let it in, however busy it is, when she disconnects it, logs out everywhere, changes her passphrase or
renews her keys. Refuses to be made without her passphrase, typed for this (`vrm.vault.pairing`).
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from vrm.clock import Clock
from vrm.errors import SessionExpiredError, TamperedError
from vrm.vault import crypto
from vrm.vault.crypto import Cipher, Key, Purpose
from vrm.vault.engine import Engine, Transaction
from vrm.vault.envelope import parse
from vrm.vault.generations import open_keyring, require_current
from vrm.vault.keyring import Keyring
from vrm.vault.serverkey import ServerKey

TABLES = (
    "CREATE TABLE tools (lookup BLOB PRIMARY KEY, vault TEXT NOT NULL, wrapped BLOB NOT NULL,"
    " note BLOB NOT NULL, created INTEGER NOT NULL, expires INTEGER NOT NULL, used INTEGER NOT NULL)",
    "CREATE INDEX tools_vault ON tools (vault)",
    "CREATE INDEX tools_expires ON tools (expires)",
    "CREATE INDEX tools_unfetched ON tools (created) WHERE used = 0",
)
LIFE = 12 * 3600  # seconds
_TOUCH = 60  # seconds between two notes that a tool is in use


class ToolSlot:
    """A program's credential. Peppered, because it lives and dies with its host."""

    kind = "tool"

    @staticmethod
    def lookup(secret: bytes, pepper: bytes) -> tuple[bytes, Key]:
        """(id under which the slot is found, wrapping key)."""
        return crypto.split_secret(secret, pepper, Purpose.TOOL)

    @staticmethod
    def cipher(vault: str, wrapping: Key, lookup: bytes, expires: int, generation: int = 1) -> Cipher:
        """Wraps the root; the end is bound in, so nobody prolongs it in the table."""
        return Cipher(wrapping, Purpose.ROOT, vault, lookup, ToolSlot.kind, expires, generation=generation)


@dataclass(frozen=True, slots=True)
class Tool:
    """A program that she let in. `used` is 0 until it has fetched its credential."""

    lookup: bytes
    address: str  # from which it asked; "" where that note was altered
    created: int
    expires: int
    used: int

    @property
    def id(self) -> str:
        """By which it is disconnected; it opens nothing."""
        return self.lookup.hex()


class Tools:
    """The tools of all vaults of one host."""

    def __init__(self, engine: Engine, server_key: ServerKey, clock: Clock) -> None:
        self._engine = engine
        self._pepper = server_key.pepper
        self._clock = clock

    def open(self, transaction: Transaction, keyring: Keyring, address: str) -> bytes:
        """A new tool's secret, for that program only; SessionExpiredError with keys of an earlier root."""
        require_current(self._engine, keyring)
        raw = crypto.random_bytes(32)
        lookup, wrapping = ToolSlot.lookup(raw, self._pepper)
        now = self._clock.now()
        wrapped = ToolSlot.cipher(keyring.vault, wrapping, lookup, now + LIFE, keyring.generation).wrap(
            keyring.root()
        )
        note = keyring.cipher(Purpose.TOOL_NOTE).seal(json.dumps([address]).encode(), lookup)
        transaction.execute(
            "INSERT INTO tools (lookup, vault, wrapped, note, created, expires, used)"
            " VALUES (?, ?, ?, ?, ?, ?, 0)",
            (lookup, keyring.vault, wrapped, note, now, now + LIFE),
        )
        return raw

    def fetched(self, transaction: Transaction, vault: str, secret: bytes) -> int | None:
        """The program has its secret now: when that ends, or None where she disconnected it meanwhile."""
        lookup, _ = ToolSlot.lookup(secret, self._pepper)
        cursor = transaction.execute(
            "UPDATE tools SET used = ? WHERE lookup = ? AND vault = ?", (self._clock.now(), lookup, vault)
        )
        row = self._engine.one("SELECT expires FROM tools WHERE lookup = ?", (lookup,))
        return int(row[0]) if row and cursor.rowcount == 1 else None

    def resume(self, secret: bytes) -> tuple[str, Keyring]:
        """(the vault's name, its keys) for a tool that is let in; SessionExpiredError for all others."""
        lookup, wrapping = ToolSlot.lookup(secret, self._pepper)
        row = self._engine.one(
            "SELECT t.vault, t.wrapped, t.expires, t.used, v.username FROM tools t"
            " JOIN vaults v ON v.vault = t.vault WHERE t.lookup = ?",
            (lookup,),
        )
        now = self._clock.now()
        if row is None or now >= row[2] or now + LIFE < row[3]:  # also where the clock was put back
            raise SessionExpiredError()
        root = ToolSlot.cipher(row[0], wrapping, lookup, row[2]).unwrap(row[1])
        try:
            keyring = open_keyring(self._engine, row[0], root, parse(row[1]).generation)
        except TamperedError:
            raise SessionExpiredError() from None
        if now >= row[3] + _TOUCH:
            with self._engine.write() as transaction:
                transaction.execute("UPDATE tools SET used = ? WHERE lookup = ?", (now, lookup))
        return str(row[4]), keyring

    def listing(self, keyring: Keyring) -> list[Tool]:
        """The tools that are let in now, the newest first."""
        rows = self._engine.all(
            "SELECT lookup, note, created, expires, used FROM tools WHERE vault = ? AND expires > ?"
            " ORDER BY created DESC, lookup",
            (keyring.vault, self._clock.now()),
        )
        return [Tool(row[0], _address(keyring, row[0], row[1]), *row[2:]) for row in rows]

    def close(self, vault: str, tool: str) -> bool:
        """Disconnect the tool with this id; False where it has ended already."""
        try:
            lookup = bytes.fromhex(tool)
        except ValueError:
            return False
        with self._engine.write() as transaction:
            cursor = transaction.execute("DELETE FROM tools WHERE lookup = ? AND vault = ?", (lookup, vault))
        self._engine.purge()
        return bool(cursor.rowcount)

    def id_of(self, secret: bytes) -> str:
        """The id of the tool that holds this secret."""
        return ToolSlot.lookup(secret, self._pepper)[0].hex()

    def sweep(self, unfetched: int) -> int:
        """Delete ended tools, and those not fetched for so many seconds; returns how many."""
        now = self._clock.now()
        with self._engine.write() as transaction:
            cursor = transaction.execute(
                "DELETE FROM tools WHERE expires <= ? OR (used = 0 AND created <= ?)", (now, now - unfetched)
            )
            return int(cursor.rowcount)


def _address(keyring: Keyring, lookup: bytes, note: bytes) -> str:
    try:
        return str(json.loads(keyring.cipher(Purpose.TOOL_NOTE).unseal(note, lookup))[0])
    except TamperedError:  # it must not keep her from disconnecting it
        return ""


def end_all(transaction: Transaction, vault: str) -> int:
    """End every session and every tool of a vault, fetched or not; returns how many sessions there were."""
    transaction.execute("DELETE FROM tools WHERE vault = ?", (vault,))
    transaction.execute("DELETE FROM pairings WHERE vault = ?", (vault,))
    cursor = transaction.execute("DELETE FROM sessions WHERE vault = ?", (vault,))
    return int(cursor.rowcount)
