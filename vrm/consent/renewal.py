"""What consent has sealed under a vault's root, when that is replaced (`vrm.vault.rotation.Part`).

Grants: their keys and reserves; the roster follows in the same transaction. The log: from the first step on
no entry goes into a segment whose key the old root opens (`Disclosures.note`), and the keys of earlier
segments are sealed to the new pair. Only what was vouched for before is: nothing planted is made good.
"""

from __future__ import annotations

import json
from contextlib import suppress

from vrm.consent import standing
from vrm.consent.disclosures import Disclosures
from vrm.consent.views import GrantKeys, agreement_cipher, roster_entry
from vrm.errors import TamperedError
from vrm.vault import crypto
from vrm.vault.crypto import Purpose
from vrm.vault.engine import Engine, Transaction
from vrm.vault.generations import Resealed, key_of, mark
from vrm.vault.keyring import Keyring
from vrm.vault.roster import open_roster, seal_roster


class GrantsPart:
    """Keys and reserves of live, paused and ended grants (of those the history still tells the names)."""

    name = "grants"

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def begin(self, transaction: Transaction, keyring: Keyring) -> None:
        """The note of live grants goes with the root; the roster is sealed anew by the vault."""
        standing.forget(transaction, keyring.vault)

    def count(self, vault: str) -> int:
        """How many grants there are or were."""
        row = self._engine.one("SELECT count(*) FROM grants WHERE vault = ?", (vault,))
        return int(row[0]) if row else 0

    def reseal(self, transaction: Transaction, keyring: Keyring, after: str, limit: int) -> Resealed:
        """A batch in the order of their ids."""
        rows = self._engine.all(
            "SELECT grant_id, CAST(wrapped AS BLOB), CAST(agreement AS BLOB), CAST(reserve AS BLOB),"
            " state IN ('live', 'paused') OR EXISTS"
            " (SELECT 1 FROM mailbox m WHERE m.vault = grants.vault AND m.origin = grants.grant_id)"
            " FROM grants WHERE vault = ? AND grant_id > ? AND CAST(grant_id AS TEXT) = grant_id"
            " ORDER BY grant_id LIMIT ?",
            (keyring.vault, *(key_of(after, str) or ("",)), limit),
        )
        entries, fresh = {}, []
        for *row, used in rows:
            with suppress(TamperedError):  # an altered one stays so, and ends at the customer's next act
                sealed = _resealed(keyring, *row, keep=bool(used))
                fresh.append((*sealed, row[0]))
                entries[roster_entry(row[0], *row[2:])] = roster_entry(row[0], *sealed[1:])
        transaction.executemany(
            "UPDATE grants SET wrapped = ?, agreement = ?, reserve = ? WHERE grant_id = ?", fresh
        )
        self._follow(transaction, keyring, entries)
        return Resealed(mark(rows[-1][0]) if len(rows) == limit else None, len(rows))

    def _follow(self, transaction: Transaction, keyring: Keyring, entries: dict[str, str]) -> None:
        with suppress(TamperedError):
            roster = open_roster(self._engine, keyring)
            grants = [entries.get(entry, entry) for entry in roster.grants]
            if grants != roster.grants:
                seal_roster(transaction, keyring, roster._replace(grants=grants))


def _resealed(
    keyring: Keyring, grant_id: str, wrapped: bytes, agreement: bytes, reserve: bytes, *, keep: bool
) -> tuple[bytes, bytes, bytes]:
    """(key, agreement, reserve) under the new root; with another key, too, unless that one is still in use.

    It is while the grant lives, for its view is sealed under it and its tokens carry it, and while something
    waits in the mailbox that was left with it.
    """
    wraps, reserves = keyring.cipher(Purpose.GRANT_WRAP), keyring.cipher(Purpose.RESERVE)
    key = wraps.unwrap(wrapped, grant_id)
    if not keep:
        text = agreement_cipher(GrantKeys(grant_id, key).common, grant_id).unseal(agreement)
        key = crypto.random_key()
        agreement = agreement_cipher(GrantKeys(grant_id, key).common, grant_id).seal(text)
    kept_back = reserves.seal(reserves.unseal(reserve, grant_id), grant_id)
    return wraps.wrap(key, grant_id), agreement, kept_back


class LogPart:
    """The sealed heads at once, the keys of segments in batches; the entries stay as they are."""

    name = "log"

    def __init__(self, engine: Engine, log: Disclosures) -> None:
        self._engine = engine
        self._log = log

    def begin(self, transaction: Transaction, keyring: Keyring) -> None:
        """From now on only the new root says how far the log had come."""
        row = self._engine.one("SELECT sealed FROM log_heads WHERE vault = ?", (keyring.vault,))
        before = keyring.of(keyring.generation - 1)
        with suppress(TamperedError):  # `problems` goes on naming them
            if row is not None:
                heads = json.loads(before.cipher(Purpose.LOG_HEADS).unseal(row[0]))
                self._log.store_heads(transaction, keyring, heads)

    def count(self, vault: str) -> int:
        """How many segments there are."""
        row = self._engine.one("SELECT count(*) FROM log_segments WHERE vault = ?", (vault,))
        return int(row[0]) if row else 0

    def reseal(self, transaction: Transaction, keyring: Keyring, after: str, limit: int) -> Resealed:
        """A batch in the order of their ids."""
        rows = self._engine.all(
            "SELECT segment, CAST(sealed_key AS BLOB), CAST(mac AS BLOB) FROM log_segments WHERE vault = ?"
            " AND segment > ? AND CAST(segment AS BLOB) = segment ORDER BY segment LIMIT ?",
            (keyring.vault, *(key_of(after, bytes) or (b"",)), limit),
        )
        heads = self._log.known_heads(keyring)
        for row in rows:
            self._log.reseal_segment(transaction, keyring, row, heads)
        return Resealed(mark(rows[-1][0]) if len(rows) == limit else None, len(rows))
