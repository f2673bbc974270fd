"""Everything of consent on one engine, wired by hand."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from vrm.clock import Clock
from vrm.consent import (
    asking,
    counting,
    deposits,
    disclosures,
    documents,
    endings,
    events,
    keysets,
    once,
    places,
    polling,
    postings,
    registrations,
    standing,
    tokens,
    vendors,
)
from vrm.consent.amendments import Amendments
from vrm.consent.arrivals import Arrivals
from vrm.consent.counting import Counting, Permits, Rates
from vrm.consent.deposits import Deposits, Quota
from vrm.consent.disclosures import Disclosures
from vrm.consent.documents import Documents
from vrm.consent.fetching import Fetching
from vrm.consent.filing import A_WHILE, Filing
from vrm.consent.grants import Grants
from vrm.consent.introspection import Introspection
from vrm.consent.keysets import KeySets
from vrm.consent.managing import Managing
from vrm.consent.moves import Moves
from vrm.consent.notices import Signer
from vrm.consent.once import Once
from vrm.consent.outbox import Outbox
from vrm.consent.pages import Pages
from vrm.consent.polling import Polls
from vrm.consent.proofs import Proofs
from vrm.consent.reader import Reader
from vrm.consent.registrations import Registrations
from vrm.consent.renewal import GrantsPart, LogPart
from vrm.consent.requests import Requests
from vrm.consent.sweeping import Sweeping
from vrm.consent.tokens import Tokens
from vrm.consent.vendors import DOCUMENT, REGISTERED, Vendor, Vendors
from vrm.consent.views import Views
from vrm.errors import SessionExpiredError, StorageError
from vrm.outbound import Outbound
from vrm.vault.engine import Engine, Schema, Transaction
from vrm.vault.generations import require_current
from vrm.vault.layout import SCHEMA as VAULT_SCHEMA
from vrm.vault.rotation import Rotated
from vrm.vault.vault import Vault, Vaults

SCHEMA = Schema(
    "consent",
    2,
    (
        *vendors.TABLES,
        *keysets.TABLES,
        *counting.TABLES,
        *documents.TABLES,
        *registrations.TABLES,
        *endings.TABLES,
        *places.TABLES,
        *standing.TABLES,
        *postings.TABLES,
        *tokens.TABLES,
        *asking.TABLES,
        *polling.TABLES,
        *disclosures.TABLES,
        *deposits.TABLES,
        *once.TABLES,
        *events.TABLES,
        "CREATE TABLE sweeps (at INTEGER NOT NULL, jumped INTEGER NOT NULL)",
    ),
    left_out=(
        "tokens",
        "requests",
        "polls",
        "views",
        "places",
        "standing",
        "postings",
        "refusals",
        "deposits",
        "deposit_numbers",
        "sweeps",
        "once",
        "key_sets",
        "counts",
        "documents",
        "registrations",
        "events",
        "event_queues",
    ),
    in_copies=(endings.PAUSE,),
    carry=vendors.carry_over,
    steps={
        2: (
            "ALTER TABLE grants ADD COLUMN edition INTEGER NOT NULL DEFAULT 0",
            "ALTER TABLE grants ADD COLUMN public_id TEXT NOT NULL DEFAULT ''",
            "CREATE INDEX grants_public ON grants (public_id) WHERE public_id <> ''",
            *places.STEPS,
            *postings.TABLES,
            *deposits.TABLES,
            *once.TABLES,
            *events.TABLES,
            *polling.TABLES,
            *keysets.TABLES,
            *counting.TABLES,
            *documents.TABLES,
            *registrations.TABLES,
            *standing.TABLES,
            *vendors.STEPS,
            *tokens.STEPS,
            *disclosures.STEPS,
        ),
    },
)


T = TypeVar("T")
LOG = logging.getLogger("vrm.consent")


def _guarded(name: str, act: Callable[[], T]) -> tuple[T | None, list[str]]:
    """(what it returned, problems): a failure on altered data is a problem, logged without what it met."""
    try:
        return act(), []
    except (StorageError, SessionExpiredError):
        raise
    except Exception as error:  # noqa: BLE001 - whatever altered bytes make of our code
        LOG.error("%s failed: %s", name, type(error).__name__)  # noqa: TRY400 - a trace may show contents
        return None, [f"{name} failed: something stored was altered"]


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
        quota: Quota | None = None,
        outbound: Outbound | None = None,
        constrained: bool = False,
        kept_pages: int = 2**24,
        rates: Rates | None = None,
    ) -> None:
        """Times in seconds; `kept_pages` in bytes of memory."""
        key = vaults.server_key
        self._grace = refresh_grace
        self.clock = clock
        self.engine = engine
        self.constrained = constrained  # tokens are bound to keys, for all vendors (FAPI 2.0)
        self.vendors = Vendors(engine, key, clock)
        self._let_strangers_in(vaults, outbound or Outbound())
        self.permits = Permits(self.counting, clock, rates or Rates())
        self.log = Disclosures(engine, vaults, clock)
        self.once = Once(engine, clock)
        self.proofs = Proofs(key, self.once, clock)
        self.outbox = Outbox(engine, key, self.vendors, self.log, clock)
        self.signer = Signer(key)
        self.views = Views(engine, self.log, clock)
        vaults.watcher = self.views
        vaults.parts += [GrantsPart(engine), LogPart(engine, self.log)]
        self.tokens = Tokens(
            engine,
            key,
            self.log,
            clock,
            access_life=access_life,
            grace=refresh_grace,
            constrained=constrained,
        )
        self.grants = Grants(engine, key, self.views, self.log, clock)
        self.sweeping = Sweeping(engine, key, self.vendors, self.log, clock)
        self.arrivals = Arrivals(engine, self.grants, self.views, clock)
        self.polls = Polls(engine, key, self.tokens, clock)
        self.introspection = Introspection(engine, key, clock)
        self.amendments = Amendments(engine, key, self.views, clock)
        asked_of = (self.vendors, self.polls, self.grants, self.tokens, self.amendments)
        self.requests = Requests(engine, key, *asked_of, self.log, clock, life=request_life)
        self.moves = Moves(vaults, self.grants, self.sweeping, self.log, clock, (VAULT_SCHEMA, SCHEMA))
        pages = Pages(kept_pages)
        self.reader = Reader(engine, key, self.tokens, self.log, clock, pages, constrained=constrained)
        self.managing = Managing(engine, self.reader, self.amendments, self.log, clock)
        self.deposits = Deposits(engine, vaults, self.tokens, self.log, clock, quota)
        self.filing_while: float = A_WHILE
        self.filing = Filing(engine, clock)

    def _let_strangers_in(self, vaults: Vaults, outbound: Outbound) -> None:
        """Vendors that come by themselves, and what is fetched of them."""
        key, fetching = vaults.server_key, Fetching(self.engine, outbound)
        self.counting = counting = Counting(self.engine, key, self.clock)
        self.keys = KeySets(self.engine, key, self.clock, fetching)
        self.registrations = Registrations(self.engine, key, self.vendors, counting, self.clock)
        self.documents = Documents(self.engine, self.vendors, counting, fetching, self.clock)

    def remember(self, vendor: Vendor) -> None:
        """A customer has said yes to a vendor that nobody vouches for: it is no stranger any more."""
        if vendor.origin == DOCUMENT:
            self.documents.keep(vendor.client_id)
        elif vendor.origin == REGISTERED:
            self.registrations.keep(vendor.client_id)

    def forget(self, client_id: str) -> None:
        """A vendor ends its registration: every grant ends first, in the way of one that was blocked."""
        self.sweeping.block(client_id)
        with self.engine.write() as transaction:
            self.registrations.remove(transaction, client_id)

    def at_unlock(self, vault: Vault) -> list[str]:
        """What a log-in does; returns problems.

        Rows past their period leave, those whose wait is over enter, what vendors left is filed, the log's
        heads are sealed. What somebody wrote into the database must not keep her out, nor one step the
        next: a step that fails is named. StorageError and SessionExpiredError go on to the caller.
        """
        require_current(vault.engine, vault.keyring)
        found = self.problems(vault)
        steps: list[tuple[str, Callable[[], object]]] = [
            ("ending what a copy brought back", lambda: self.sweeping.end_paused(vault)),
            ("taking out what is past its period", lambda: self.grants.retire(vault)),
            ("letting in what has waited", lambda: self.arrivals.ripen(vault)),
            ("filing what was left", lambda: self.filing.run(vault, self.filing_while)),
            ("posting for filters", lambda: self.views.post_stale(vault.keyring)),
        ]
        for name, step in steps:
            found += _guarded(name, step)[1]
        found += [problem for problem in self._looked(vault, (self.filing.problems,)) if problem not in found]
        if not found:
            self.log.seal_heads(vault)
            self.grants.settle(vault)
        return found

    def rotate(
        self, vault: Vault, passphrase: str, new: str | None = None, *, keep_connections: bool = False
    ) -> tuple[Rotated, int]:
        """A new root (`Vault.rotate`); in the same transaction every connection ends, unless they are kept.

        Returns what changed, and how many connections ended. `Vault.go_on_rotating` does what is left.
        """
        ended = 0

        def beside(transaction: Transaction) -> None:
            nonlocal ended
            self.log.note(transaction, vault.id, "new-keys")
            if not keep_connections:
                ended = self.grants.revoke_all(transaction, vault)

        rotated = vault.rotate(passphrase, new, beside)
        return rotated, ended

    def go_on_filing(self, vault: Vault) -> int:
        """Between a log-in and the next: a while of what still waits in the mailbox; returns what is left."""
        _guarded("filing what was left", partial(self.filing.run, vault, self.filing_while))
        return self.filing.left(vault)

    def problems(self, vault: Vault) -> list[str]:
        """Whatever does not fit in keyslots, grants, views and log; empty if all is well."""
        return self._looked(
            vault, (Vault.problems, self.grants.problems, self.log.problems, self.filing.problems)
        )

    @staticmethod
    def _looked(vault: Vault, looks: Sequence[Callable[[Vault], list[str]]]) -> list[str]:
        found: list[str] = []
        for look in looks:
            seen, failed = _guarded("looking through what is stored", partial(look, vault))
            found += [*(seen or []), *failed]
        return found

    def sweep(self) -> bool:
        """Once in a while: ended grants, wraps and requests are deleted; False if bytes may linger.

        The write-ahead log is emptied of what was deleted since the last sweep: wraps of spent codes and
        refresh tokens, too.
        """
        self.sweeping.drop_old_replays(self._grace)
        if self.sweeping.steady():
            self.deposits.sweep()
            self.once.sweep()
            self.counting.sweep()
            self.keys.sweep()
            self.documents.sweep()
            self.registrations.sweep()
            self.polls.sweep()
            self.outbox.sweep()
            self.sweeping.run()
        return self.engine.purge()
