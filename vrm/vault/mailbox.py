"""The mailbox: what others leave for a vault while it is locked, sealed so that only its root opens it.

Knows no vendors: whoever leaves something is an *origin* with a key of its own and counts what it leaves.
Promises: an item opens for the root alone; one that was not made with its origin's key, moved, edited or
put back after it was taken is told from a genuine one; lengths are padded. An item that cannot be filed is
*stopped*: it stays, out of the way of the others, until the customer has seen it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from vrm.errors import StorageError, TamperedError
from vrm.vault import crypto
from vrm.vault.crypto import Key, Purpose
from vrm.vault.engine import Engine, Row, Transaction, as_text
from vrm.vault.envelope import pad
from vrm.vault.keyring import Keyring

TABLES = (
    "CREATE TABLE mailbox (place INTEGER PRIMARY KEY, vault TEXT NOT NULL, origin TEXT NOT NULL,"
    " number INTEGER NOT NULL, item BLOB NOT NULL, size INTEGER NOT NULL, mac BLOB NOT NULL,"
    " sealed BLOB NOT NULL, stopped TEXT NOT NULL)",
    "CREATE UNIQUE INDEX mailbox_number ON mailbox (vault, origin, number)",
    "CREATE INDEX mailbox_size ON mailbox (vault, origin, item, size)",
    "CREATE INDEX mailbox_waiting ON mailbox (vault, stopped, origin, number)",
    "CREATE TABLE mailbox_marks (vault TEXT PRIMARY KEY, sealed BLOB NOT NULL)",
    "CREATE TABLE mailbox_notes (vault TEXT NOT NULL, origin TEXT NOT NULL, item BLOB NOT NULL,"
    " sealed BLOB NOT NULL, PRIMARY KEY (vault, origin, item))",
)
_BUCKET = 1024  # bytes: most messages and receipts fill one
_NOTE_BUCKET = 512  # bytes
# As bytes, whatever somebody wrote there: one bad row must not keep the others from being read.
_COLUMNS = (
    "place, CAST(origin AS BLOB), CAST(number AS INTEGER), CAST(item AS BLOB), CAST(mac AS BLOB),"
    " CAST(sealed AS BLOB), CAST(stopped AS BLOB)"
)

Vouch = Callable[[str, str, bytes], bytes]  # the server key's MAC of (vault, name, public key)


def public_key(engine: Engine, vouch: Vouch, vault: str) -> bytes:
    """The key to which a vault's mailbox is sealed; TamperedError for a foreign one.

    StorageError for a vault of an older version that was not unlocked since.
    """
    row = engine.one("SELECT mailbox_public, mailbox_mac FROM vaults WHERE vault = ?", (vault,))
    if row is not None and not row[0]:
        raise StorageError("this vault takes nothing in before it was unlocked once")
    if row is None or not crypto.equal(row[1], vouch(vault, "mailbox", row[0])):
        raise TamperedError()
    return bytes(row[0])


def prepare(engine: Engine, keyring: Keyring, vouch: Vouch) -> None:
    """Make the pair where there is none, and vouch anew for our own public key; of two roots the newer's."""
    vault, own = keyring.vault, _public(keyring)
    mac = vouch(vault, "mailbox", own)
    with engine.write(of=vault) as transaction:
        row = engine.one("SELECT mailbox_public, mailbox_mac FROM vaults WHERE vault = ?", (vault,))
        if row is None or row[0] not in (b"", own, _public(keyring.before)) or tuple(row) == (own, mac):
            return  # a foreign key stays where it is: `problems` names it, and nothing is sealed to it
        transaction.execute(
            "UPDATE vaults SET mailbox_public = ?, mailbox_mac = ? WHERE vault = ?", (own, mac, vault)
        )
        if engine.one("SELECT 1 FROM mailbox_marks WHERE vault = ?", (vault,)) is None:
            Mailbox(engine).set_marks(transaction, keyring, {})


def _public(keyring: Keyring | None) -> bytes:
    return b"" if keyring is None else crypto.public_of(keyring.mailbox_private())


def problems(engine: Engine, keyring: Keyring, vouch: Vouch) -> list[str]:
    """What does not fit in the mailbox's key and marks; empty if all is well."""
    row = engine.one("SELECT mailbox_public FROM vaults WHERE vault = ?", (keyring.vault,))
    if row is None or not row[0]:
        return []  # of an older version: made at the next unlock
    found = []
    try:
        if public_key(engine, vouch, keyring.vault) != _public(keyring):
            raise TamperedError()
    except TamperedError:
        found.append("the mailbox's public key was swapped")
    try:
        Mailbox(engine).marks(keyring)
    except TamperedError:
        found.append("the marks of the mailbox were altered or taken away")
    return found


@dataclass(frozen=True, slots=True)
class Item:
    """One stored item. `item` is the id under which its origin knows it, `number` counts per origin."""

    place: int
    origin: str
    number: int
    item: bytes
    mac: bytes
    sealed: bytes
    stopped: str


def _mac(key: Key, vault: str, origin: str, number: int, item: bytes, text: bytes) -> bytes:
    """Of the text, not of its seal: so that a new root can seal it anew without the origin's key."""
    return crypto.mac(key, Purpose.DEPOSIT, vault, origin, number, item, crypto.digest(text))


def _item(row: Row) -> Item:
    place, origin, number, item, mac, sealed, stopped = row
    return Item(place, as_text(origin), number, item, mac, sealed, as_text(stopped))


class Mailbox:
    """The mailboxes of all vaults on one engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    # ---- leaving ----------------------------------------------------------------------------------

    def deposit(
        self,
        transaction: Transaction,
        vault: str,
        public: bytes,
        text: bytes,
        *,
        origin: str,
        number: int,
        item: bytes,
        key: Key,
    ) -> None:
        """Seal `text` to the vault's public key, which the caller got vouched for, and MAC it by `key`."""
        place = (vault, origin, number, item)
        sealed = crypto.seal_to(public, pad(text, _BUCKET), Purpose.MAILBOX_ITEM, *place)
        mac = _mac(key, *place, text)
        transaction.execute(
            "INSERT INTO mailbox (vault, origin, number, item, size, mac, sealed, stopped)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, '')",
            (vault, origin, number, item, len(sealed), mac, sealed),
        )

    def withdraw(self, transaction: Transaction, vault: str, origin: str, item: bytes) -> bool:
        """Drop whatever still lies here under this id; False where nothing does."""
        cursor = transaction.execute(
            "DELETE FROM mailbox WHERE vault = ? AND origin = ? AND item = ?", (vault, origin, item)
        )
        return bool(cursor.rowcount)

    def size(self, vault: str, origin: str | None = None) -> tuple[int, int]:
        """(items, bytes) that lie in a vault's mailbox, of one origin or of all."""
        one = "" if origin is None else " AND origin = ?"
        row = self._engine.one(
            f"SELECT count(*), coalesce(sum(size), 0) FROM mailbox WHERE vault = ?{one}",
            (vault,) if origin is None else (vault, origin),
        )
        return (int(row[0]), int(row[1])) if row else (0, 0)

    # ---- taking out -------------------------------------------------------------------------------

    def waiting(self, vault: str, limit: int) -> list[Item]:
        """The next items to file: of each origin in the order in which they were left."""
        rows = self._engine.all(
            f"SELECT {_COLUMNS} FROM mailbox WHERE vault = ? AND stopped = ''"
            " ORDER BY origin, number LIMIT ?",
            (vault, limit),
        )
        return [_item(row) for row in rows]

    def count_waiting(self, vault: str) -> int:
        """How many items are to be filed."""
        sql = "SELECT count(*) FROM mailbox WHERE vault = ? AND stopped = ''"
        row = self._engine.one(sql, (vault,))
        return int(row[0]) if row else 0

    def stopped(self, vault: str) -> list[Item]:
        """The items that could not be filed."""
        rows = self._engine.all(
            f"SELECT {_COLUMNS} FROM mailbox WHERE vault = ? AND stopped <> '' ORDER BY origin, number",
            (vault,),
        )
        return [_item(row) for row in rows]

    def open(self, keyring: Keyring, item: Item) -> bytes:
        """What was left; TamperedError for anything that was not sealed to this vault in this place."""
        if item.number < 0:
            raise TamperedError()
        place = (keyring.vault, item.origin, item.number, item.item)
        for ring in (keyring, keyring.before):
            if ring is not None:
                with suppress(TamperedError):
                    text = crypto.open_sealed(
                        ring.mailbox_private(), item.sealed, Purpose.MAILBOX_ITEM, *place
                    )
                    return text.rstrip(b" ")
        raise TamperedError()

    def genuine(self, vault: str, item: Item, text: bytes, key: Key) -> bool:
        """Whether the holder of the origin's key left exactly this text, in this place."""
        mac = _mac(key, vault, item.origin, item.number, item.item, text)
        return crypto.equal(mac, item.mac)

    def holds(self, vault: str, item: Item) -> bool:
        """Whether the item still waits."""
        row = self._engine.one(
            "SELECT 1 FROM mailbox WHERE vault = ? AND place = ? AND CAST(mac AS BLOB) = ? AND stopped = ''",
            (vault, item.place, item.mac),
        )
        return row is not None

    def take(self, transaction: Transaction, vault: str, item: Item) -> bool:
        """Delete an item in the transaction that files it; False where somebody else was faster."""
        cursor = transaction.execute(
            "DELETE FROM mailbox WHERE vault = ? AND place = ? AND CAST(mac AS BLOB) = ?",
            (vault, item.place, item.mac),
        )
        return bool(cursor.rowcount == 1)

    def stop(self, transaction: Transaction, vault: str, item: Item, reason: str) -> bool:
        """Put an item aside with the reason; False where it is not there any more."""
        cursor = transaction.execute(
            "UPDATE mailbox SET stopped = ? WHERE vault = ? AND place = ? AND CAST(mac AS BLOB) = ?",
            (reason, vault, item.place, item.mac),
        )
        return bool(cursor.rowcount == 1)

    # ---- what was taken ---------------------------------------------------------------------------

    def marks(self, keyring: Keyring) -> dict[str, int]:
        """Origin → number of the newest item that was taken: nothing up to it may come again.

        TamperedError where they were altered or taken away: they are there as long as the pair is.
        """
        row = self._engine.one(
            "SELECT CAST(sealed AS BLOB) FROM mailbox_marks WHERE vault = ?", (keyring.vault,)
        )
        if row is None:
            raise TamperedError()
        found: dict[str, int] = json.loads(keyring.cipher(Purpose.MAILBOX_MARKS).unseal(row[0]))
        return found

    def set_marks(self, transaction: Transaction, keyring: Keyring, marks: Mapping[str, int]) -> None:
        """Remember them, in the transaction that takes the items."""
        sealed = keyring.cipher(Purpose.MAILBOX_MARKS).seal(json.dumps(dict(marks)).encode())
        transaction.execute(
            "INSERT INTO mailbox_marks (vault, sealed) VALUES (?, ?)"
            " ON CONFLICT (vault) DO UPDATE SET sealed = excluded.sealed",
            (keyring.vault, sealed),
        )

    def note(self, keyring: Keyring, origin: str, item: bytes) -> dict[str, Any] | None:
        """What the filing of an earlier item of this id noted, or None; TamperedError."""
        row = self._engine.one(
            "SELECT CAST(sealed AS BLOB) FROM mailbox_notes WHERE vault = ? AND origin = ? AND item = ?",
            (keyring.vault, origin, item),
        )
        if row is None:
            return None
        found: dict[str, Any] = json.loads(keyring.cipher(Purpose.MAILBOX_NOTE).unseal(row[0], origin, item))
        return found

    def set_note(
        self,
        transaction: Transaction,
        keyring: Keyring,
        origin: str,
        item: bytes,
        note: Mapping[str, Any],
    ) -> None:
        """Note where an item went, for a later one of the same id."""
        text = pad(json.dumps(dict(note), ensure_ascii=False).encode(), _NOTE_BUCKET)
        transaction.execute(
            "INSERT INTO mailbox_notes (vault, origin, item, sealed) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (vault, origin, item) DO UPDATE SET sealed = excluded.sealed",
            (keyring.vault, origin, item, keyring.cipher(Purpose.MAILBOX_NOTE).seal(text, origin, item)),
        )

    def forget(self, transaction: Transaction, vault: str, origin: str) -> None:
        """Delete the notes of an origin that leaves nothing more; its mark stays."""
        transaction.execute("DELETE FROM mailbox_notes WHERE vault = ? AND origin = ?", (vault, origin))

    def noted_origins(self, vault: str) -> list[str]:
        """The origins of which there are notes."""
        rows = self._engine.all("SELECT DISTINCT origin FROM mailbox_notes WHERE vault = ?", (vault,))
        return [row[0] for row in rows]

    # ---- a new root (vrm.vault.renewal) -------------------------------------------------------------

    def after(self, vault: str, place: int, limit: int) -> list[Item]:
        """Items, waiting or stopped, behind this place in the order in which they came."""
        rows = self._engine.all(
            f"SELECT {_COLUMNS} FROM mailbox WHERE vault = ? AND place > ? ORDER BY place LIMIT ?",
            (vault, place, limit),
        )
        return [_item(row) for row in rows]

    def notes_after(self, vault: str, origin: str, item: bytes, limit: int) -> list[tuple[str, bytes]]:
        """(origin, item) of the notes behind this one."""
        rows = self._engine.all(
            "SELECT origin, item FROM mailbox_notes WHERE vault = ? AND (origin, item) > (?, ?)"
            " AND CAST(origin AS TEXT) = origin AND CAST(item AS BLOB) = item ORDER BY origin, item LIMIT ?",
            (vault, origin, item, limit),
        )
        return [(row[0], row[1]) for row in rows]

    def reseal(self, transaction: Transaction, keyring: Keyring, item: Item) -> None:
        """Seal one item to the newest pair; TamperedError where it opens for no pair of this vault."""
        place = (keyring.vault, item.origin, item.number, item.item)
        text = pad(self.open(keyring, item), _BUCKET)
        sealed = crypto.seal_to(_public(keyring), text, Purpose.MAILBOX_ITEM, *place)
        transaction.execute(
            "UPDATE mailbox SET sealed = ?, size = ? WHERE vault = ? AND place = ?",
            (sealed, len(sealed), keyring.vault, item.place),
        )
