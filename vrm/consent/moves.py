"""Moves a vault with all that consent knows of it: log, ended grants, what each of them agreed.

No credential travels: of a grant that was live there is history afterwards, as after a restore, and its
vendor asks again. The log travels as far as this host vouches for it or the customer's last unlock did, and
the host where it arrives vouches for just that.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import BinaryIO

from vrm.clock import Clock
from vrm.consent.disclosures import Disclosures
from vrm.consent.grants import Grants
from vrm.consent.sweeping import Sweeping
from vrm.consent.views import LOGGED
from vrm.vault import moving
from vrm.vault.engine import Schema, Transaction
from vrm.vault.export import Manifest, Section
from vrm.vault.moving import Credential, Progress
from vrm.vault.vault import Vault, Vaults

SECTIONS = (
    *moving.SECTIONS,
    Section(
        "grants",
        {
            "grant_id": "t",
            "state": "t",
            "created": "i",
            "expires": "i",
            "ended": "i?",
            "last_used": "i?",
            "reads": "i",
            "seq": "i",
            "wrapped": "b",
            "agreement": "b",
            "reserve": "b",
        },
        # Of the server key there; and no vendor of this one can name a grant there.
        filled={"vendor_tag": b"", "routing": b"", "public_id": ""},
    ),
    Section("log_segments", {"segment": "b", "sealed_key": "b"}, filled={"mac": b""}),
    Section("log_entries", {"segment": "b", "seq": "i", "at": "i", "sealed": "b"}),
    Section("log_heads", {"sealed": "b"}),
)


class Moves:
    """Exports and imports of whole vaults."""

    def __init__(
        self,
        vaults: Vaults,
        grants: Grants,
        sweeping: Sweeping,
        log: Disclosures,
        clock: Clock,
        schemas: Sequence[Schema],
    ) -> None:
        self._vaults = vaults
        self._grants = grants
        self._sweeping = sweeping
        self._log = log
        self._clock = clock
        self._schemas = schemas

    def export(self, vault: Vault, out: BinaryIO, progress: Progress | None = None) -> tuple[int, int]:
        """Write the vault to `out`, encrypted; returns (bytes, records). ConflictError, TamperedError."""
        believed = self._log.segments(vault)
        keep = dict.fromkeys(("log_segments", "log_entries"), lambda row: row["segment"] in believed)
        size, counts = moving.write(
            vault, out, SECTIONS, self._schemas, self._clock.now(), keep=keep, progress=progress
        )
        return size, counts["records"]

    def bring(
        self,
        source: BinaryIO,
        credential: Credential,
        *,
        name: str = "",
        damaged: bool = False,
        progress: Progress | None = None,
    ) -> tuple[Vault, Manifest]:
        """Make a vault of an export; see `vrm.vault.moving.bring` for what it refuses."""
        return moving.bring(
            self._vaults,
            source,
            credential,
            SECTIONS,
            self._schemas,
            name=name,
            arrive=self._arrive,
            damaged=damaged,
            progress=progress,
        )

    def _arrive(self, transaction: Transaction, vault: Vault) -> list[str]:
        transaction.execute(
            "UPDATE grants SET state = 'paused' WHERE vault = ? AND state = 'live'", (vault.id,)
        )
        self._log.vouch_anew(transaction, vault)
        found = self._log.problems(vault)
        self._sweeping.end_paused(vault)
        if vault.engine.one("SELECT 1 FROM log_heads WHERE vault = ?", (vault.id,)):
            vault.set_roster_grants(transaction, [LOGGED])
            if not found:
                self._log.seal_heads(vault)
        return found + self._grants.problems(vault)
