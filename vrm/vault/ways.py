"""Ways into a vault as they stand in the table, and which of them the server vouches for.

Promises: a vault object knows by which way it was opened. The server gives its word for public keys of a
vault only to who came by a way whose own public key it vouches for, or (after the server key was replaced)
by one that stood there when the host took the vaults over under the new key. So who plants a keyslot with a
root of his own gets the server's word for nothing. What changes ways in demands, in the transaction that
writes, that the way which was proven still stands: an ended credential ends also for who had just shown it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vrm.errors import SessionExpiredError, TamperedError
from vrm.vault import crypto
from vrm.vault.engine import Engine, Transaction
from vrm.vault.keyring import Keyring
from vrm.vault.keyslots import PassphraseSlot, RecoverySlot, Slot
from vrm.vault.roster import open_roster
from vrm.vault.serverkey import ServerKey

# Ways in that stood there when the server key was replaced, for the first log-in after it.
TABLES = (
    "CREATE TABLE adoptions (vault TEXT NOT NULL, slot TEXT NOT NULL, mac BLOB NOT NULL,"
    " PRIMARY KEY (vault, slot))",
)
# As bytes, whatever somebody wrote there: one bad row must not keep her out.
_SLOT = (
    "k.vault, k.slot, k.kind, CAST(k.params AS BLOB), CAST(k.checked AS BLOB), CAST(k.public AS BLOB),"
    " CAST(k.wrapped AS BLOB), CAST(k.generation AS INTEGER), CAST(k.handed AS BLOB),"
    " CAST(k.public_mac AS BLOB)"
)
_STORED = (
    *("vault", "slot", "kind", "params", "checked", "public", "public_mac", "wrapped", "generation"),
    *("handed", "created"),
)
_PUT = (
    f"INSERT INTO keyslots ({', '.join(_STORED)}) VALUES ({', '.join('?' * len(_STORED))})"
    " ON CONFLICT (vault, slot) DO UPDATE"
    f" SET {', '.join(f'{name} = excluded.{name}' for name in _STORED[2:])}"
)

_UNDER_ANOTHER = (
    "written under another server key; if this one is to stay (docs/self-hosting.md, the server key is lost):"
    " vrm vault vouch, then its customer logs in"
)


@dataclass(frozen=True, slots=True)
class Way:
    """The way by which a vault was opened. A dearer wrap of the same passphrase is the same way."""

    slot: str
    vouched: bool  # the public key that the credential gave is one that this server vouches for


def stored(engine: Engine, vault: str) -> list[Slot]:
    """The keyslots as they stand in the table."""
    rows = engine.all(f"SELECT {_SLOT} FROM keyslots k WHERE k.vault = ? ORDER BY k.slot", (vault,))
    return [Slot(*row) for row in rows]


def own(engine: Engine, keyring: Keyring) -> list[Slot]:
    """The stored keyslots that are as the roster knows them."""
    try:
        rostered = open_roster(engine, keyring).slots
    except TamperedError:
        return []
    return [slot for slot in stored(engine, keyring.vault) if rostered.get(slot.slot) == slot.mark()]


def vouch_anew(engine: Engine, server_key: ServerKey, keyring: Keyring) -> None:
    """Under another server key: its word for the log's key and the ways in that this root knows."""
    vault, public = keyring.vault, crypto.public_of(keyring.log_private())
    row = engine.one("SELECT log_public, log_mac FROM vaults WHERE vault = ?", (vault,))
    mac = server_key.vouch(vault, "log", public)
    if row is None or row[0] != public or row[1] == mac:
        return
    vouched = [
        (server_key.vouch(vault, one.slot, one.public), vault, one.slot) for one in own(engine, keyring)
    ]
    with engine.write() as transaction:
        transaction.execute("UPDATE vaults SET log_mac = ? WHERE vault = ?", (mac, vault))
        transaction.executemany("UPDATE keyslots SET public_mac = ? WHERE vault = ? AND slot = ?", vouched)


def of_kind(engine: Engine, name: str, kind: str) -> list[Slot]:
    """The keyslots of one kind of the vault with this name."""
    rows = engine.all(
        f"SELECT {_SLOT} FROM keyslots k JOIN vaults v ON v.vault = k.vault"
        " WHERE v.username = ? AND k.kind = ? ORDER BY k.slot",
        (name, kind),
    )
    return [Slot(*row) for row in rows]


def store(transaction: Transaction, server_key: ServerKey, slots: Sequence[Slot], now: int) -> None:
    """Insert keyslots, in the place of those with the same ids; whoever calls it notes them in the roster."""
    transaction.executemany(
        _PUT,
        [
            (
                *(one.vault, one.slot, one.kind, one.params, one.check, one.public),
                *(server_key.vouch(one.vault, one.slot, one.public), one.wrapped, one.generation),
                *(one.handed, now),
            )
            for one in slots
        ],
    )


def is_vouched(server_key: ServerKey, slot: Slot) -> bool:
    """Whether the server vouches for the public key of this row."""
    return crypto.equal(slot.public_mac, server_key.vouch(slot.vault, slot.slot, slot.public))


def way_of(engine: Engine, server_key: ServerKey, slot: Slot) -> Way:
    """The way of a row that a credential has just opened: so its public key is the credential's."""
    vouched = is_vouched(server_key, slot) or _is_adopted(engine, server_key, slot)
    return Way(slot.slot, vouched)


def require_standing(engine: Engine, keyring: Keyring, way: Way | None) -> None:
    """In the transaction that writes: SessionExpiredError where the way in is another one by now.

    TamperedError where the server does not vouch for it.
    """
    way = require_there(engine, keyring.vault, way)
    slots = {slot.slot: slot.mark() for slot in stored(engine, keyring.vault)}
    try:
        rostered = open_roster(engine, keyring).slots
    except TamperedError:
        rostered = slots  # whoever writes the roster anew decides what becomes of an altered one
    if rostered.get(way.slot) != slots[way.slot]:
        raise _ended()
    if not way.vouched:
        raise TamperedError(
            "the server does not vouch for this way into the vault",
            hint="after a new server key: vrm vault vouch; else run vrm check",
        )


def require_there(engine: Engine, vault: str, way: Way | None) -> Way:
    """The way, if it is still in the table; SessionExpiredError."""
    where = (vault, way.slot if way else "")
    if way is None or engine.one("SELECT 1 FROM keyslots WHERE vault = ? AND slot = ?", where) is None:
        raise _ended()
    return way


def _ended() -> SessionExpiredError:
    return SessionExpiredError(
        "the passphrase or recovery code that opened this vault was replaced meanwhile",
        hint="open it again with the new one",
    )


# ---- a new server key ------------------------------------------------------------------------------


def adopt(transaction: Transaction, engine: Engine, server_key: ServerKey, vault: str) -> bool:
    """Note the ways in as they stand: after the server key was replaced, they may be vouched for anew.

    False for a vault with two ways of a kind: one of them may be planted. Nothing to do for one of which this
    key vouches for a way in.
    """
    slots = [slot for slot in stored(engine, vault) if slot.kind in (PassphraseSlot.kind, RecoverySlot.kind)]
    if any(is_vouched(server_key, slot) for slot in slots):
        return True
    if len({slot.kind for slot in slots}) < len(slots):
        return False
    transaction.execute("DELETE FROM adoptions WHERE vault = ?", (vault,))
    transaction.executemany(
        "INSERT INTO adoptions (vault, slot, mac) VALUES (?, ?, ?)",
        [(vault, slot.slot, _adoption(server_key, slot)) for slot in slots],
    )
    return True


def strangers(engine: Engine, server_key: ServerKey) -> tuple[list[str], list[str]]:
    """Vaults for whose keys this server key gives no word: (what is wrong with each, those that wait).

    The latter were taken over: the next log-in by a way that was noted then mends it. Of the former an act of
    the host mends those that were written under another key; a log-in alone must not, for whoever writes to
    the database can bring about all that it would see.
    """
    problems, waiting = [], []
    for vault, name, public, mac in engine.all(
        "SELECT vault, username, CAST(log_public AS BLOB), CAST(log_mac AS BLOB) FROM vaults"
        " ORDER BY username"
    ):
        if crypto.equal(mac, server_key.vouch(vault, "log", public)):
            continue
        slots = stored(engine, vault)
        if any(is_vouched(server_key, slot) for slot in slots):
            problems.append(f"vault {name}: the log's public key was swapped")
        elif any(_is_adopted(engine, server_key, slot) for slot in slots):
            waiting.append(str(name))
        else:
            problems.append(f"vault {name}: {_UNDER_ANOTHER}")
    return problems, waiting


def _is_adopted(engine: Engine, server_key: ServerKey, slot: Slot) -> bool:
    row = engine.one(
        "SELECT CAST(mac AS BLOB) FROM adoptions WHERE vault = ? AND slot = ?", (slot.vault, slot.slot)
    )
    return row is not None and crypto.equal(row[0], _adoption(server_key, slot))


def _adoption(server_key: ServerKey, slot: Slot) -> bytes:
    return server_key.vouch(slot.vault, "adopted:" + slot.slot, slot.mark().encode())
