"""Ends that nobody decides: a vendor that the host blocks, what has expired, what a copy brought back.

Where no root key is at hand, the routing row under the server key says whose log is told; what cannot be told
ends all the same. Promises: a clock that jumps deletes nothing at once; what is swept is found by indexes
that hold little else, so that a sweep costs what it deletes, however much there is.
"""

from __future__ import annotations

import json

from vrm.clock import Clock
from vrm.consent import endings
from vrm.consent.disclosures import Disclosures
from vrm.consent.grants import DAY
from vrm.consent.vendors import Vendors
from vrm.consent.views import GRANT_COLUMNS, open_grant
from vrm.errors import TamperedError
from vrm.vault.engine import Engine
from vrm.vault.serverkey import ServerKey
from vrm.vault.vault import Vault

_FORGET = 30 * DAY  # seconds after which a dead token's row is deleted
_STEADY = 3600  # seconds without a jump after which a changed clock is believed


class Sweeping:
    """Over the grants and tokens of all vaults."""

    def __init__(
        self, engine: Engine, server_key: ServerKey, vendors: Vendors, log: Disclosures, clock: Clock
    ) -> None:
        self._engine = engine
        self._server_key = server_key
        self._vendors = vendors
        self._log = log
        self._clock = clock
        self.believes = True  # the clock, at the last sweep

    def block(self, client_id: str) -> int:
        """The host blocks a vendor: its grants in every vault end, locked or not. Returns how many."""
        self._vendors.set_blocked(client_id, True)
        ended = 0
        for grant_id, routing in self._engine.all(
            "SELECT grant_id, routing FROM grants WHERE state = 'live'"
        ):
            vault, vendor, name = self._route(grant_id, routing)
            if vendor != client_id:
                continue
            ended += self._end_unasked(grant_id, "revoked", "blocked", (vault, vendor, name))
        self._engine.purge()
        return ended

    def _end_unasked(self, grant_id: str, state: str, event: str, route: tuple[str, str, str]) -> bool:
        """End one grant of many: where its log takes no entry it ends without, and the rest go on."""
        vault, vendor, name = route
        try:
            with self._engine.write() as transaction:
                ended = endings.end(transaction, grant_id, state, self._clock.now())
                if ended and vault:
                    self._log.note(
                        transaction, vault, event, grant_id=grant_id, client_id=vendor, vendor_name=name
                    )
                return ended
        except TamperedError:  # the vault's log key was altered; `problems` tells her
            with self._engine.write() as transaction:
                return endings.end(transaction, grant_id, state, self._clock.now())

    def _route(self, grant_id: str, routing: bytes) -> tuple[str, str, str]:
        """(vault, client id, vendor's name); empty where altered, which must not stop the rest."""
        try:
            vault, vendor, name = json.loads(self._server_key.routing.unseal(routing, grant_id))
        except TamperedError:
            return "", "", ""
        return vault, vendor, name

    def run(self) -> None:
        """End expired grants and delete expired wraps; needs no way in."""
        now = self._clock.now()
        for grant_id, routing in self._engine.all(
            "SELECT grant_id, routing FROM grants WHERE state = 'live' AND expires <= ?", (now,)
        ):
            self._end_unasked(grant_id, "expired", "expired", self._route(grant_id, routing))
        with self._engine.write() as transaction:
            transaction.execute(
                "UPDATE tokens SET wrapped = NULL, replay = NULL WHERE wrapped IS NOT NULL AND expires <= ?",
                (now,),
            )
            transaction.execute("DELETE FROM tokens WHERE wrapped IS NULL AND expires <= ?", (now - _FORGET,))
            transaction.execute("DELETE FROM requests WHERE expires <= ?", (now,))

    def steady(self) -> bool:
        """Whether the clock is believed: what is over by it may be deleted.

        Where it jumped by more than a day since the last sweep, what is over is refused by its own end, and
        nothing is deleted until the clock has gone on steadily for an hour.
        """
        now = self._clock.now()
        with self._engine.write() as transaction:
            at, jumped = self._engine.one("SELECT at, jumped FROM sweeps") or (now, 0)
            if abs(now - at) > DAY:
                jumped = now
            transaction.execute("DELETE FROM sweeps")
            transaction.execute("INSERT INTO sweeps VALUES (?, ?)", (now, jumped))
        self.believes = not jumped <= now < jumped + _STEADY
        return self.believes

    def drop_old_replays(self, grace: int) -> None:
        """Delete the copies of refresh answers whose time is over, or lies ahead: the clock was put back."""
        now = self._clock.now()
        with self._engine.write() as transaction:
            transaction.execute(
                "UPDATE tokens SET replay = NULL WHERE replay IS NOT NULL AND (spent <= ? OR spent > ?)",
                (now - grace, now + grace),
            )

    def end_paused(self, vault: Vault) -> None:
        """At the first unlock after a restore: what was connected in the copy ends, and the log says why."""
        rows = self._engine.all(
            f"SELECT {GRANT_COLUMNS} FROM grants WHERE vault = ? AND state = 'paused'", (vault.id,)
        )
        for row in rows:
            try:
                agreement = open_grant(vault.keyring, row).agreement
            except TamperedError:
                vendor, name = "", ""
            else:
                vendor, name = agreement.vendor, agreement.vendor_name
            self._end_unasked(row[0], "revoked", "restored", (vault.id, vendor, name))
