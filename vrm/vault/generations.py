"""Which root a vault has: its generation, what outlives it, and the one before while it is being replaced.

A vault object that was opened before the root was replaced holds keys that nothing may be sealed with any
more: whoever stole them would read it. So every write under the root asks `require_current` first.
"""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any, NamedTuple

from vrm.errors import SessionExpiredError, TamperedError
from vrm.vault.crypto import Key, Purpose
from vrm.vault.engine import Engine
from vrm.vault.keyring import Keyring

# A row of `rotations` is there while a rotation is not finished: the root before under the new one, and how
# far it came. The keys that outlive a root stand in `heirlooms` from the first rotation on.
TABLES = (
    "CREATE TABLE rotations (vault TEXT PRIMARY KEY, generation INTEGER NOT NULL, previous BLOB NOT NULL,"
    " parts TEXT NOT NULL, part TEXT NOT NULL, after TEXT NOT NULL, done INTEGER NOT NULL,"
    " total INTEGER NOT NULL)",
    "CREATE TABLE heirlooms (vault TEXT PRIMARY KEY, sealed BLOB NOT NULL)",
)


class Resealed(NamedTuple):
    """How far a batch came: the place of its last row (None: nothing is left), and how many rows it read."""

    after: str | None
    rows: int


def mark(*key: str | bytes | int) -> str:
    """The note of a row, by its key, after which the next batch begins."""
    return json.dumps([cell.hex() if isinstance(cell, bytes) else cell for cell in key])


def key_of(after: str, *kinds: type) -> tuple[Any, ...] | None:
    """The key that was noted, if it has cells of these kinds (str, bytes, int).

    None at the beginning, and for a note that was altered: what is done already is passed over, so beginning
    anew loses nothing.
    """
    try:
        pairs = zip(kinds, json.loads(after), strict=True)
        key = tuple(bytes.fromhex(cell) if kind is bytes else cell for kind, cell in pairs)
        "".join(cell for cell in key if isinstance(cell, str)).encode()  # else no database takes it
    except (ValueError, TypeError, RecursionError):
        return None
    fits = all(type(cell) is kind for kind, cell in zip(kinds, key, strict=True)) and mark(*key) == after
    return key if fits and not any(isinstance(cell, int) and cell.bit_length() > 62 for cell in key) else None


def is_mark(after: str) -> bool:
    """Whether a note is one of ours, at whichever row."""
    return not after or any(key_of(after, *kinds) for kinds in ((int,), (str,), (str, str)))


def generation_of(engine: Engine, vault: str) -> int:
    """The generation of a vault's root; 0 for a vault that is not there."""
    row = engine.one("SELECT generation FROM vaults WHERE vault = ?", (vault,))
    return int(row[0]) if row else 0


def require_current(engine: Engine, keyring: Keyring) -> None:
    """Refuse to go on with the keys of an earlier root: SessionExpiredError."""
    if generation_of(engine, keyring.vault) != keyring.generation:
        raise SessionExpiredError(
            "the keys of this vault were renewed meanwhile", hint="open it again with the passphrase"
        )


def blame_renewal(engine: Engine, keyring: Keyring) -> None:
    """Where something does not open: SessionExpiredError if it is because the root was replaced meanwhile."""
    if generation_of(engine, keyring.vault) > keyring.generation:
        require_current(engine, keyring)


def open_keyring(engine: Engine, vault: str, root: Key, generation: int) -> Keyring:
    """The ring of a root that a credential opened; TamperedError where the vault has another by now."""
    row = engine.one(
        "SELECT v.generation, h.sealed, r.previous FROM vaults v LEFT JOIN heirlooms h ON h.vault = v.vault"
        " LEFT JOIN rotations r ON r.vault = v.vault WHERE v.vault = ?",
        (vault,),
    )
    if row is None or row[0] != generation:
        raise TamperedError()
    heirlooms = (row[1] or b"") if generation > 1 else None  # a missing one is missed where it is used
    before = None
    if row[2] is not None:
        with suppress(TamperedError):  # `rotation.problems` names it
            cipher = Keyring(vault, root, generation).cipher(Purpose.PREVIOUS_ROOT)
            before = Keyring(vault, cipher.unwrap(row[2], generation - 1), generation - 1)
    return Keyring(vault, root, generation, heirlooms=heirlooms, before=before)
