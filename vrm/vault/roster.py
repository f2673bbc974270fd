"""The roster: which keyslots and live grants a vault has, sealed under its root.

What was planted in the tables, altered or taken away differs from it. It never learns from the tables.
"""

from __future__ import annotations

import json
from typing import NamedTuple

from vrm.errors import TamperedError
from vrm.vault.crypto import Purpose
from vrm.vault.engine import Engine, Transaction
from vrm.vault.generations import blame_renewal
from vrm.vault.keyring import Keyring


class Roster(NamedTuple):
    """Keyslot → mark of its row; entries of live grants; keyslot → hex of the key that proves a handover."""

    slots: dict[str, str]
    grants: list[str]
    proofs: dict[str, str]


def open_roster(engine: Engine, keyring: Keyring) -> Roster:
    """What was sealed under the root; TamperedError, SessionExpiredError where the root was replaced."""
    row = engine.one("SELECT roster FROM vaults WHERE vault = ?", (keyring.vault,))
    if row is None or not row[0]:
        return Roster({}, [], {})
    try:
        slots, grants, *proofs = json.loads(keyring.cipher(Purpose.ROSTER).unseal(row[0]))
    except TamperedError:
        blame_renewal(engine, keyring)
        raise
    return Roster(slots, grants, proofs[0] if proofs else {})


def seal_roster(transaction: Transaction, keyring: Keyring, roster: Roster) -> None:
    """Store it; the third part stands only while a root waits for an absent way in."""
    parts = list(roster) if roster.proofs else list(roster[:2])
    sealed = keyring.cipher(Purpose.ROSTER).seal(json.dumps(parts).encode())
    transaction.execute("UPDATE vaults SET roster = ? WHERE vault = ?", (sealed, keyring.vault))
