"""Everything of consent on one engine, wired by hand."""

from __future__ import annotations

from vrm.clock import Clock
from vrm.consent import disclosures, endings, postings, requests, tokens, vendors, views
from vrm.consent.arrivals import Arrivals
from vrm.consent.disclosures import Disclosures
from vrm.consent.grants import Grants
from vrm.consent.moves import Moves
from vrm.consent.reader import Reader
from vrm.consent.requests import Requests
from vrm.consent.tokens import Tokens
from vrm.consent.vendors import Vendors
from vrm.consent.views import Views
from vrm.vault.engine import Engine, Schema
from vrm.vault.vault import SCHEMA as VAULT_SCHEMA
from vrm.vault.vault import Vault, Vaults

SCHEMA = Schema(
    "consent",
    2,
    (
        *vendors.TABLES,
        *endings.TABLES,
        *views.TABLES,
        *postings.TABLES,
        *tokens.TABLES,
        *requests.TABLES,
        *disclosures.TABLES,
        "CREATE TABLE sweeps (at INTEGER NOT NULL, jumped INTEGER NOT NULL)",
    ),
    left_out=("tokens", "requests", "views", "postings", "refusals", "sweeps"),
    in_copies=(endings.PAUSE,),
    steps={
        2: (
            "ALTER TABLE grants ADD COLUMN edition INTEGER NOT NULL DEFAULT 0",
            "ALTER TABLE views ADD COLUMN posted BLOB",
            *postings.TABLES,
        ),
    },
)


class Consent:
    """Vendors, requests, grants, tokens, the reading and the log of one host."""

    def __init__(
        self,
        engine: Engine,
        vaults: Vaults,
        clock: Clock,
        *,
        access_life: int = 900,
        refresh_grace: int = 20,
        request_life: int = 3600,
    ) -> None:
        key = vaults.server_key
        self._grace = refresh_grace
        self.vendors = Vendors(engine, key, clock)
        self.log = Disclosures(engine, vaults, clock)
        self.views = Views(engine, self.log, clock)
        vaults.watcher = self.views
        self.tokens = Tokens(engine, key, self.log, clock, access_life=access_life, grace=refresh_grace)
        self.grants = Grants(engine, key, self.vendors, self.views, self.log, clock)
        self.arrivals = Arrivals(engine, self.grants, self.views, clock)
        self.requests = Requests(
            engine, key, self.vendors, self.grants, self.tokens, self.log, clock, life=request_life
        )
        self.moves = Moves(vaults, self.grants, self.log, clock, (VAULT_SCHEMA, SCHEMA))
        self.reader = Reader(engine, key, self.tokens, self.log, clock)

    def at_unlock(self, vault: Vault) -> list[str]:
        """What a log-in does; returns problems.

        Rows past their period leave, those whose wait is over enter, the log's heads are sealed.
        """
        found = self.problems(vault)
        self.grants.end_paused(vault)
        self.grants.retire(vault)
        self.arrivals.ripen(vault)
        self.grants.post(vault)
        if not found:
            self.log.seal_heads(vault)
            self.grants.settle(vault)
        return found

    def problems(self, vault: Vault) -> list[str]:
        """Whatever does not fit in keyslots, grants, views and log; empty if all is well."""
        return [*vault.problems(), *self.grants.problems(vault), *self.log.problems(vault)]

    def sweep(self) -> bool:
        """Once in a while: ended grants, wraps and requests are deleted; False if bytes may linger."""
        self.grants.drop_old_replays(self._grace)
        return self.grants.sweep()
