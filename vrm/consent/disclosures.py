"""The disclosure log: every reading, refusal and change, sealed *to the customer*.

Each process draws a segment key per vault, stores it once sealed to the vault's log key (HPKE, vouched for
by the server key) and chains its entries by associated data. Promises: no vendor credential, no stored key
and no server key reads or edits an entry; an entry edited, swapped or dropped is found by `problems`, a cut
tail or segment as far back as the heads sealed at the last unlock; a segment that this host did not start
is not shown, and none goes on whose key an earlier root opens. If an entry cannot be written, nothing leaves.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from vrm.clock import Clock
from vrm.consent.segments import FIRST, Segment, Segments, entry_cipher
from vrm.consent.views import GRANT_COLUMNS, open_grant
from vrm.errors import TamperedError
from vrm.vault import compact, crypto
from vrm.vault.crypto import Cipher, Key, Purpose
from vrm.vault.engine import Engine, Transaction
from vrm.vault.envelope import pad
from vrm.vault.generations import require_current
from vrm.vault.keyring import Keyring
from vrm.vault.vault import Vault, Vaults

_REFUSED = (
    "CREATE TABLE refusals (vault TEXT NOT NULL, grant_id TEXT NOT NULL, period INTEGER NOT NULL,"
    " count INTEGER NOT NULL, PRIMARY KEY (vault, grant_id))"
)
TABLES = (
    "CREATE TABLE log_segments (vault TEXT NOT NULL, segment BLOB NOT NULL, sealed_key BLOB NOT NULL,"
    " mac BLOB NOT NULL, PRIMARY KEY (vault, segment))",
    "CREATE TABLE log_entries (vault TEXT NOT NULL, segment BLOB NOT NULL, seq INTEGER NOT NULL,"
    " at INTEGER NOT NULL, sealed BLOB NOT NULL, PRIMARY KEY (vault, segment, seq))",
    "CREATE INDEX log_entries_at ON log_entries (vault, at)",
    _REFUSED,
    "CREATE TABLE log_heads (vault TEXT PRIMARY KEY, sealed BLOB NOT NULL)",
)
STEPS = ("DROP TABLE refusals", _REFUSED)  # it counts the tries of an hour
EVENTS = (
    "granted",
    "declined",
    "read",
    "refused",
    "deposited",
    "replaced",
    "taken-back",
    "narrowed",
    "amended",
    "admitted",
    "revoked",
    "erase-asked",
    "end-confirmed",
    "erase-confirmed",
    "restored",
    "expired",
    "given-back",
    "blocked",
    "code-reused",
    "token-reused",
    "connected",
    "refreshed",
    "new-keys",
)
_APPEND = "INSERT INTO log_entries (vault, segment, seq, at, sealed) VALUES (?, ?, ?, ?, ?)"
_BUCKET = 256  # bytes
_LONGEST_SEGMENT = 50_000  # entries
_HOUR = 3600  # seconds
REFUSALS_MOST = (
    50  # entries that one grant's refusals may fill in an hour; one more says that some are left out
)
LEFT_OUT = "more"  # the reason in that entry


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the log as the customer reads it."""

    at: int
    event: str
    grant_id: str = ""
    client_id: str = ""
    vendor_name: str = ""
    stream: str = ""
    scopes: tuple[str, ...] = ()
    count: int = 0
    reason: str = ""
    detail: str = ""


class Disclosures:
    """The logs of all vaults: anybody's code may write, only the customer reads."""

    def __init__(self, engine: Engine, vaults: Vaults, clock: Clock) -> None:
        self._engine = engine
        self._vaults = vaults
        self._clock = clock
        self.here = Segments()

    def note(self, transaction: Transaction, vault: str, event: str, **detail: Any) -> None:
        """Append an entry in the given transaction; `detail` are members of `Entry`.

        Raises ValueError for an event that is not in the table, TamperedError for a foreign log key.
        """
        if event not in EVENTS:
            raise ValueError(event)
        text = pad(compact.dumps({"event": event, **detail}), _BUCKET)
        segment, now = self._segment(transaction, vault), self._clock.now()
        sealed = segment.cipher.seal(text, segment.seq + 1, segment.link, now)
        transaction.send(_APPEND, (vault, segment.id, segment.seq + 1, now, sealed))
        segment.seq, segment.link = segment.seq + 1, crypto.digest(sealed)

    def note_refusal(
        self,
        transaction: Transaction,
        vault: str,
        grant_id: str,
        reason: str,
        client_id: str = "",
        detail: str = "",
    ) -> None:
        """Append that a try was refused: who is refused must not be able to fill disk and log with it."""
        period = self._clock.now() // _HOUR
        row = self._engine.one(
            "SELECT period, count FROM refusals WHERE vault = ? AND grant_id = ?", (vault, grant_id)
        )
        count = row[1] if row and row[0] == period else 0
        if count > REFUSALS_MOST:
            return
        transaction.execute(
            "INSERT INTO refusals (vault, grant_id, period, count) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (vault, grant_id) DO UPDATE SET period = excluded.period, count = excluded.count",
            (vault, grant_id, period, count + 1),
        )
        if count == REFUSALS_MOST:
            reason, detail = LEFT_OUT, ""
        self.note(
            transaction,
            vault,
            "refused",
            grant_id=grant_id,
            client_id=client_id,
            reason=reason,
            detail=detail[:120],
        )

    def _segment(self, transaction: Transaction, vault: str) -> Segment:
        """This transaction's chain; one goes on only where the vault's root still opens its key.

        That is asked once in a transaction: a new root is made before anything else is noted beside it.
        """
        found = self.here.held(transaction, vault)
        if found is None:
            found = self.here.taken(transaction, vault)
            if found is not None and not self._is_current(transaction, found, vault):
                found = None
        if found is None or found.seq >= _LONGEST_SEGMENT:
            name, key = crypto.random_bytes(16), crypto.random_key()
            public, generation = self._vaults.log_key(vault)
            sealed = crypto.seal_to(public, key.reveal(), Purpose.LOG_SEGMENT, vault, name)
            mac = self._vouch(vault, name, sealed)
            transaction.execute("INSERT INTO log_segments VALUES (?, ?, ?, ?)", (vault, name, sealed, mac))
            found = Segment(name, generation, entry_cipher(key, vault, name))
            self.here.begin(transaction, vault, found)
        return found

    @staticmethod
    def _is_current(transaction: Transaction, segment: Segment, vault: str) -> bool:
        row = transaction.execute("SELECT generation FROM vaults WHERE vault = ?", (vault,)).fetchone()
        return row is not None and row[0] == segment.generation

    def read(self, vault: Vault, limit: int = 100, before: tuple[int, int] | None = None) -> list[Entry]:
        """The newest entries, or those older than `before`; what does not open is left to `problems`."""
        rows = self._engine.all(
            "SELECT CAST(segment AS BLOB), CAST(seq AS INTEGER), CAST(at AS INTEGER), sealed FROM log_entries"
            " WHERE vault = ? AND at <= ?"
            " ORDER BY at DESC, seq DESC LIMIT ? OFFSET ?",
            (vault.id, before[0] if before else 1 << 60, limit, before[1] if before else 0),
        )
        try:
            ciphers = self._ciphers(vault, self._heads(vault))
        except TamperedError:
            ciphers = self._ciphers(vault, {})
        entries = []
        for segment, seq, at, sealed in rows:
            try:
                link = self._link(vault.id, segment, seq - 1)
                text = ciphers[segment].unseal(sealed, seq, link, at)
            except (KeyError, TamperedError):
                continue
            values = json.loads(text)
            entries.append(Entry(at, **{**values, "scopes": tuple(values.get("scopes", ()))}))
        names = self._names(vault, {entry.grant_id for entry in entries if not entry.vendor_name})
        return [
            entry if entry.vendor_name else replace(entry, vendor_name=names.get(entry.grant_id, ""))
            for entry in entries
        ]

    def _names(self, vault: Vault, grant_ids: set[str]) -> dict[str, str]:
        """Under which name she knows the vendor of each grant: a reading's entry does not repeat it."""
        found = {}
        for grant_id in grant_ids:
            row = self._engine.one(
                f"SELECT {GRANT_COLUMNS} FROM grants WHERE vault = ? AND grant_id = ?", (vault.id, grant_id)
            )
            try:
                if row is not None:
                    found[grant_id] = open_grant(vault.keyring, row).vendor_name
            except TamperedError:
                continue  # `problems` names it
        return found

    def count(self, vault: Vault) -> int:
        """How many entries there are."""
        row = self._engine.one("SELECT count(*) FROM log_entries WHERE vault = ?", (vault.id,))
        return int(row[0]) if row else 0

    def _link(self, vault: str, segment: bytes, seq: int) -> bytes:
        if seq == 0:
            return FIRST
        row = self._engine.one(
            "SELECT sealed FROM log_entries WHERE vault = ? AND segment = ? AND seq = ?",
            (vault, segment, seq),
        )
        return crypto.digest(row[0]) if row else FIRST

    def _vouch(self, vault: str, segment: bytes, sealed: bytes) -> bytes:
        return self._vaults.server_key.vouch(vault, "log-segment:" + segment.hex(), sealed)

    def _ciphers(self, vault: Vault, heads: Mapping[str, Any]) -> dict[bytes, Cipher]:
        """Of the segments that this host started, or that were seen at an unlock (should its key be lost)."""
        found = {}
        for row in self._engine.all(
            "SELECT CAST(segment AS BLOB), sealed_key, mac FROM log_segments WHERE vault = ?", (vault.id,)
        ):
            with suppress(TamperedError):
                key = self._segment_key(vault.keyring, row, heads)
                found[row[0]] = entry_cipher(key, vault.id, row[0])
        return found

    def _segment_key(self, keyring: Keyring, row: Sequence[Any], heads: Mapping[str, Any]) -> Key:
        """The key of a row (segment, sealed key, mac); TamperedError for one that nobody vouches for."""
        segment, sealed, mac = row
        vault = keyring.vault
        if segment.hex() not in heads and not crypto.equal(mac, self._vouch(vault, segment, sealed)):
            raise TamperedError()
        try:
            private = keyring.log_private()
            return Key(crypto.open_sealed(private, sealed, Purpose.LOG_SEGMENT, vault, segment))
        except TamperedError:
            if keyring.before is None:
                raise
            return self._segment_key(keyring.before, row, heads)

    def reseal_segment(
        self, transaction: Transaction, keyring: Keyring, row: Sequence[Any], heads: Mapping[str, Any]
    ) -> None:
        """Seal a segment's key to the newest pair; one that is not vouched for stays as it is."""
        with suppress(TamperedError):
            key, segment = self._segment_key(keyring, row, heads), row[0]
            public = crypto.public_of(keyring.log_private())
            sealed = crypto.seal_to(public, key.reveal(), Purpose.LOG_SEGMENT, keyring.vault, segment)
            transaction.execute(
                "UPDATE log_segments SET sealed_key = ?, mac = ? WHERE vault = ? AND segment = ?",
                (sealed, self._vouch(keyring.vault, segment, sealed), keyring.vault, segment),
            )

    def segments(self, vault: Vault) -> set[bytes]:
        """The segments that this host started, or that were seen at an unlock, and that open."""
        try:
            return set(self._ciphers(vault, self._heads(vault)))
        except TamperedError:
            return set(self._ciphers(vault, {}))

    def vouch_anew(self, transaction: Transaction, vault: Vault) -> None:
        """For all segments of a vault that has just come to this host, whose rows are vouched for."""
        rows = self._engine.all(
            "SELECT CAST(segment AS BLOB), sealed_key FROM log_segments WHERE vault = ?", (vault.id,)
        )
        transaction.executemany(
            "UPDATE log_segments SET mac = ? WHERE vault = ? AND segment = ?",
            [(self._vouch(vault.id, segment, sealed), vault.id, segment) for segment, sealed in rows],
        )

    def _heads(self, vault: Vault) -> dict[str, Any]:
        """Segment → (entry, hash) at the last unlock; TamperedError where they were altered or taken away."""
        row = self._engine.one("SELECT sealed FROM log_heads WHERE vault = ?", (vault.id,))
        if row is None:
            if vault.roster_grants():
                raise TamperedError()
            return {}
        heads: dict[str, Any] = json.loads(vault.keyring.cipher(Purpose.LOG_HEADS).unseal(row[0]))
        return heads

    def known_heads(self, keyring: Keyring) -> dict[str, Any]:
        """The sealed heads; none where they are not there or do not open."""
        row = self._engine.one("SELECT sealed FROM log_heads WHERE vault = ?", (keyring.vault,))
        with suppress(TamperedError):
            found: dict[str, Any] = json.loads(
                keyring.cipher(Purpose.LOG_HEADS).unseal(row[0] if row else b"")
            )
            return found
        return {}

    def seal_first_heads(self, vault: Vault) -> None:
        """At a vault's first grant: from now on there must be heads. Later ones are left to the unlock."""
        present = self._engine.one("SELECT 1 FROM log_heads WHERE vault = ?", (vault.id,))
        if present is None and not vault.roster_grants():
            self.seal_heads(vault)

    def seal_heads(self, vault: Vault) -> None:
        """At unlock: remember under the root how far every chain reached, so that a later cut shows."""
        rows = self._engine.all(
            "SELECT CAST(e.segment AS BLOB), e.seq, e.sealed FROM log_entries e"
            " JOIN (SELECT segment, max(seq) AS last FROM log_entries WHERE vault = ? GROUP BY segment) t"
            " ON t.segment = e.segment AND t.last = e.seq WHERE e.vault = ?",
            (vault.id, vault.id),
        )
        heads = {segment.hex(): [seq, crypto.digest(sealed).hex()] for segment, seq, sealed in rows}
        with self._engine.write(of=vault.id) as transaction:
            require_current(self._engine, vault.keyring)
            self.store_heads(transaction, vault.keyring, heads)

    @staticmethod
    def store_heads(transaction: Transaction, keyring: Keyring, heads: Mapping[str, Any]) -> None:
        """Keep them, sealed under the root."""
        transaction.execute(
            "INSERT INTO log_heads (vault, sealed) VALUES (?, ?) ON CONFLICT (vault)"
            " DO UPDATE SET sealed = excluded.sealed",
            (keyring.vault, keyring.cipher(Purpose.LOG_HEADS).seal(json.dumps(dict(heads)).encode())),
        )

    def problems(self, vault: Vault) -> list[str]:
        """Where the log is not what was written; empty if all is well."""
        try:
            heads = self._heads(vault)
        except TamperedError:
            return ["the sealed heads of the log were altered or taken away"]
        ciphers, found = self._ciphers(vault, heads), []
        chains: dict[bytes, list[tuple[int, int, bytes]]] = {segment: [] for segment in ciphers}
        for segment, seq, at, sealed in self._engine.all(
            "SELECT CAST(segment AS BLOB), seq, at, sealed FROM log_entries WHERE vault = ?"
            " ORDER BY segment, seq",
            (vault.id,),
        ):
            chains.setdefault(segment, []).append((seq, at, sealed))
        for segment, rows in chains.items():
            head = heads.pop(segment.hex(), None)
            if segment not in ciphers or not _chain_holds(ciphers[segment], rows, head):
                found.append(f"the log was altered or cut (segment {segment.hex()[:8]})")
        return found + [f"a part of the log is missing (segment {segment[:8]})" for segment in heads]


def _chain_holds(cipher: Cipher, rows: list[tuple[int, int, bytes]], head: tuple[int, str] | None) -> bool:
    link = FIRST
    seen = head is None
    for expected, (seq, at, sealed) in enumerate(rows, start=1):
        try:
            if seq != expected:
                return False
            cipher.unseal(sealed, seq, link, at)
        except TamperedError:
            return False
        link = crypto.digest(sealed)
        if head is not None and seq == head[0]:
            if link.hex() != head[1]:
                return False
            seen = True
    return seen
