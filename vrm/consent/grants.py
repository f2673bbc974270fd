"""Grants: made at approval, narrowed in place, ended at once.

Widening happens only through a new approval. Narrowing and ending delete view rows in the transaction in
which they are decided. What the vendor may know (agreement) and what is only the customer's (reserve) are
sealed apart; the table shows ids, states, times and counts.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from vrm.clock import Clock, today
from vrm.consent import endings, events, policy, standing
from vrm.consent.disclosures import Disclosures, Entry
from vrm.consent.periods import with_period
from vrm.consent.policy import Agreement, Reserve
from vrm.consent.scopes import is_reading, member_of, scopes_of, source_of, subject_of
from vrm.consent.vendors import Vendor
from vrm.consent.views import (
    GRANT_COLUMNS,
    LOGGED,
    GrantKeys,
    OpenGrant,
    Views,
    agreement_cipher,
    open_grant,
    roster_entry,
)
from vrm.errors import GrantNotFoundError, TamperedError, ValidationError
from vrm.vault import crypto
from vrm.vault.catalog import STAMPED
from vrm.vault.changes import Change
from vrm.vault.crypto import Purpose
from vrm.vault.engine import Engine, Transaction
from vrm.vault.serverkey import ServerKey
from vrm.vault.vault import Vault

DAY = 86_400  # seconds
# As numbers, whatever somebody wrote there: one bad row must not keep a page from being shown.
_SHOWN = (
    "state, CAST(created AS INTEGER), CAST(expires AS INTEGER), CAST(ended AS INTEGER),"
    " CAST(last_used AS INTEGER), CAST(reads AS INTEGER)"
)
_BATCH = 1000  # records brought in step at once when a grant is narrowed


@dataclass(frozen=True, slots=True)
class GrantView:
    """A grant as the customer sees it."""

    id: str
    state: str
    vendor_name: str
    client_id: str
    purpose: str
    created: int
    expires: int
    ended: int | None
    last_read: int | None
    reads: int
    rows: int
    agreement: Agreement
    reserve: Reserve

    @property
    def public_id(self) -> str:
        """The name by which its vendor knows it: that of the first of those whose place it took."""
        return self.agreement.public_id or self.id

    @property
    def facets(self) -> list[str]:
        """The datatypes that the vendor may read."""
        return [subject_of(scope) for scope in self.agreement.scopes if is_reading(scope)]

    @property
    def writes(self) -> list[str]:
        """The collections into which it may put something."""
        return [subject_of(scope) for scope in self.agreement.scopes if not is_reading(scope)]


class Grants:
    """The grants of all vaults."""

    def __init__(
        self,
        engine: Engine,
        server_key: ServerKey,
        views: Views,
        log: Disclosures,
        clock: Clock,
    ) -> None:
        self._engine = engine
        self._server_key = server_key
        self._views = views
        self._log = log
        self._clock = clock

    def make(
        self,
        transaction: Transaction,
        vault: Vault,
        vendor: Vendor,
        agreement: Agreement,
        reserve: Reserve,
        rows: Mapping[str, Mapping[bytes, policy.Verdict]],
        replaces: str = "",
    ) -> GrantKeys:
        """Insert a grant and its view in the transaction of the decision; returns the new grant's keys.

        `replaces`: the live grant whose place it takes, which ends here; GrantNotFoundError otherwise.
        """
        self._views.keep(transaction, vault.keyring)
        if replaces:
            self._replace(transaction, vault, replaces, agreement)
        keys = GrantKeys(secrets.token_urlsafe(16), crypto.random_key())
        grant = OpenGrant(keys.grant_id, keys, agreement, reserve)
        routing = json.dumps([vault.id, vendor.client_id, vendor.name]).encode()
        transaction.execute(
            "INSERT INTO grants (grant_id, vault, state, created, expires, reads, seq, vendor_tag, wrapped,"
            " agreement, reserve, routing, public_id) VALUES (?, ?, 'live', ?, ?, 0, 0, ?, ?, ?, ?, ?, ?)",
            (
                keys.grant_id,
                vault.id,
                agreement.created,
                agreement.expires,
                self._server_key.vendor_tag(vault.id, vendor.client_id),
                vault.keyring.cipher(Purpose.GRANT_WRAP).wrap(keys.key, keys.grant_id),
                *self._sealed(vault, grant),
                self._server_key.routing.seal(routing, keys.grant_id),
                agreement.public_id,
            ),
        )
        self._views.build(transaction, grant, rows)
        self._set_roster(transaction, vault)
        return keys

    def _replace(self, transaction: Transaction, vault: Vault, grant_id: str, agreement: Agreement) -> None:
        """End the grant before: its tokens and its view go first, so nothing reads both."""
        now = self._clock.now()
        row = self._engine.one(
            "SELECT 1 FROM grants WHERE grant_id = ? AND vault = ? AND state = 'live' AND expires > ?",
            (grant_id, vault.id, now),
        )
        if row is None:
            raise GrantNotFoundError()
        endings.end(transaction, grant_id, "replaced", now)
        self._note(transaction, vault.id, "amended", agreement.vendor, agreement.vendor_name, grant_id)

    @staticmethod
    def _sealed(vault: Vault, grant: OpenGrant) -> tuple[bytes, bytes]:
        agreement = agreement_cipher(grant.keys.common, grant.grant_id).seal(grant.agreement.encode())
        return agreement, vault.keyring.cipher(Purpose.RESERVE).seal(grant.reserve.encode(), grant.grant_id)

    def _set_roster(self, transaction: Transaction, vault: Vault) -> None:
        """Note under the root which grants are live, and in which state; runs on what was just written."""
        rows = self._engine.all(
            "SELECT grant_id, agreement, reserve FROM grants WHERE vault = ? AND state = 'live'", (vault.id,)
        )
        vault.set_roster_grants(transaction, [LOGGED, *sorted(roster_entry(*row) for row in rows)])
        standing.forget(transaction, vault.id)  # what she took back, it may still tell

    def open(self, vault: Vault, grant_id: str) -> OpenGrant:
        """A grant of this vault opened with its root; GrantNotFoundError, TamperedError."""
        row = self._engine.one(
            f"SELECT {GRANT_COLUMNS} FROM grants WHERE vault = ? AND grant_id = ?", (vault.id, grant_id)
        )
        if row is None:
            raise GrantNotFoundError()
        return open_grant(vault.keyring, row)

    def listing(self, vault: Vault) -> list[GrantView]:
        """Every grant of this vault, the newest first; planted rows are left to `problems`."""
        found = []
        for row in self._engine.all(
            f"SELECT {_SHOWN}, {GRANT_COLUMNS} FROM grants WHERE vault = ? ORDER BY created DESC, grant_id",
            (vault.id,),
        ):
            try:
                grant = open_grant(vault.keyring, row[6:])
            except TamperedError:
                continue
            found.append(self._shown(grant, row[:6]))
        return found

    def get(self, vault: Vault, grant_id: str) -> GrantView:
        """One grant as the customer sees it; GrantNotFoundError."""
        row = self._engine.one(
            f"SELECT {_SHOWN} FROM grants WHERE vault = ? AND grant_id = ?",
            (vault.id, grant_id),
        )
        grant = self.open(vault, grant_id)
        return self._shown(grant, row or ())

    def _shown(self, grant: OpenGrant, row: tuple[Any, ...]) -> GrantView:
        state, created, expires, ended, last_used, reads = row
        if state == "live" and self._clock.now() >= expires:
            state, ended = "expired", expires  # the sweep has not come by yet
        agreement = grant.agreement
        return GrantView(
            grant.grant_id,
            state,
            grant.vendor_name,
            agreement.vendor,
            agreement.parts[0]["purpose"] if agreement.parts else "",
            created,
            expires,
            ended,
            last_used,
            reads,
            self._views.count(grant.grant_id) if state == "live" else 0,
            agreement,
            grant.reserve,
        )

    def leaving(self, vault: Vault, grant_id: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
        """(stream, record id, what leaves of it) for every row that the vendor can read now."""
        grant = self.open(vault, grant_id)
        contents = self._views.contents(grant)
        for stream, rows in contents.items():
            for record in vault.records(source_of(stream)).ids():
                parts = rows.get(grant.item_id(vault.keyring, stream, record))
                if parts:
                    yield (
                        stream,
                        record,
                        {member_of(scope): json.loads(text) for scope, text in parts.items()},
                    )

    def history(self, vault: Vault, grant_id: str) -> list[Entry]:
        """What the log says of one grant, the newest first; and of those whose place it took."""
        told = self.open(vault, grant_id).public_id
        until = self.get(vault, grant_id).created
        line = {grant_id} | {
            one.id for one in self.listing(vault) if one.public_id == told and one.created <= until
        }
        return [entry for entry in self._log.read(vault, 10_000) if entry.grant_id in line]

    def narrow(
        self,
        vault: Vault,
        grant_id: str,
        *,
        exclude: frozenset[str] = frozenset(),
        drop: frozenset[str] = frozenset(),
        days: int | None = None,
        period: str | None = None,
        for_whom: frozenset[str] | None = None,
        fresh: str | None = None,
    ) -> GrantView:
        """Share less: rows out, scopes out, a nearer end, a shorter period, fewer kinds of purchases.

        `fresh` is a stricter rule for purchases that come in later.

        Raises ValidationError for what would share more, GrantNotFoundError for a grant that is not live.
        """
        # Read inside the transaction, so that of two narrowings at once neither undoes the other.
        with self._engine.write(of=vault.id) as transaction:
            shown = self.get(vault, grant_id)
            if shown.state != "live":
                raise GrantNotFoundError()
            agreement = self._narrower(shown, drop, days, period)
            kept = shown.reserve.for_whom if for_whom is None else for_whom
            if not kept <= shown.reserve.for_whom:
                raise ValidationError(fields={"for_whom": ["can only become less"]})
            reserve = replace(shown.reserve, exclude=shown.reserve.exclude | exclude, for_whom=kept)
            if fresh is not None:
                reserve = self._stricter(vault, shown, reserve, fresh)
            if agreement.parts:
                if agreement != shown.agreement:  # what she takes out by herself shows nowhere, nor when
                    agreement = agreement._replace(updated=self._clock.now(), updated_by=policy.CUSTOMER)
                grant = OpenGrant(grant_id, self.open(vault, grant_id).keys, agreement, reserve)
                if self.restate(transaction, vault, grant, "narrowed"):
                    if agreement != shown.agreement:  # of what only she knows, the vendor is told nothing
                        events.note(transaction, grant_id, events.AMENDED, self._clock.now())
                    self._bring_in_step(transaction, vault, grant)
            else:
                self._revoke(transaction, vault, grant_id, shown.agreement)
        self._engine.purge()
        return self.get(vault, grant_id)

    def restate(self, transaction: Transaction, vault: Vault, grant: OpenGrant, event: str) -> bool:
        """Store changed limits of a live grant and note it; its view is brought in step by the caller.

        False for a grant that had been altered: it has just ended instead.
        """
        agreement = grant.agreement
        sealed, kept_back = self._sealed(vault, grant)
        self._views.keep(transaction, vault.keyring)
        cursor = transaction.execute(
            "UPDATE grants SET agreement = ?, reserve = ?, expires = ? WHERE grant_id = ? AND state = 'live'",
            (sealed, kept_back, agreement.expires, grant.grant_id),
        )
        if cursor.rowcount != 1:
            return False
        endings.end_elsewhere(transaction, grant.grant_id)
        self._set_roster(transaction, vault)
        self._note(transaction, vault.id, event, agreement.vendor, agreement.vendor_name, grant.grant_id)
        return True

    def _stricter(self, vault: Vault, shown: GrantView, reserve: Reserve, rule: str) -> Reserve:
        """Another rule for what comes in from now on; what the vendor sees already stays."""
        if rule not in policy.FRESH or policy.FRESH.index(rule) < policy.FRESH.index(reserve.fresh):
            raise ValidationError(fields={"fresh": ["can only become stricter"]})
        records, day = vault.records(STAMPED), today(self._clock)
        seen = {
            record
            for record, _ in arrived_since(vault, shown.agreement)
            if policy.decide(STAMPED, record, records.get(record), shown.agreement, shown.reserve, day).scopes
        }
        return replace(reserve, fresh=rule, admitted=reserve.admitted | seen)

    def _narrower(
        self, shown: GrantView, drop: frozenset[str], days: int | None, period: str | None
    ) -> Agreement:
        agreement = shown.agreement
        expires = agreement.expires if days is None else self._clock.now() + days * DAY
        if not self._clock.now() < expires <= agreement.expires:
            raise ValidationError(fields={"days": ["must end sooner than now agreed"]})
        parts = []
        for part in agreement.parts:
            kept = [subject_of(scope) for scope in scopes_of(part) if scope not in drop]
            if kept:
                shorter = {**part, "datatypes": kept}
                parts.append(shorter if period is None else with_period(shorter, period))
        return agreement._replace(parts=tuple(parts), expires=expires)

    def _bring_in_step(self, transaction: Transaction, vault: Vault, grant: OpenGrant) -> None:
        for collection in dict.fromkeys(source_of(stream) for stream in grant.agreement.streams):
            batch: list[Change] = []
            for record, document in vault.records(collection).scan():
                batch.append(Change(collection, record, document))
                if len(batch) == _BATCH:
                    self._views.apply(transaction, vault.keyring, grant, batch)
                    batch = []
            self._views.apply(transaction, vault.keyring, grant, batch)
        self._views.drop_other_shelves(transaction, grant)

    def revoke(self, vault: Vault, grant_id: str, *, erase: bool = False) -> bool:
        """Stop: in force when this returns. False where it had ended before. GrantNotFoundError.

        `erase`: its vendor is asked to delete what it has read (`ask_to_erase`).
        """
        try:
            with self._engine.write(of=vault.id) as transaction:
                agreement = self.open(vault, grant_id).agreement
                stopped = self._revoke(transaction, vault, grant_id, agreement)
                if erase:
                    self._ask_to_erase(transaction, vault, grant_id, agreement)
        except TamperedError:  # grant, roster or log were altered: that must not keep it alive
            with self._engine.write(of=vault.id) as transaction:
                stopped = endings.end(transaction, grant_id, "revoked", self._clock.now())
                if erase:
                    events.note_erasure(transaction, grant_id, self._clock.now())
        self._engine.purge()
        return stopped

    def _revoke(self, transaction: Transaction, vault: Vault, grant_id: str, agreement: Agreement) -> bool:
        """End it as what it is: one whose time is over ran out, although the sweep has not come by yet."""
        now = self._clock.now()
        end = "expired" if now >= agreement.expires else "revoked"
        ended = endings.end(transaction, grant_id, end, now)
        if ended:
            self._views.keep(transaction, vault.keyring)
            self._set_roster(transaction, vault)
            self._note(transaction, vault.id, end, agreement.vendor, agreement.vendor_name, grant_id)
        return ended and end == "revoked"

    def ask_to_erase(self, vault: Vault, grant_id: str) -> None:
        """Ask the vendor of a grant that has ended to delete what it has read; once. GrantNotFoundError."""
        with self._engine.write(of=vault.id) as transaction:
            self._ask_to_erase(transaction, vault, grant_id, self.open(vault, grant_id).agreement)

    def _ask_to_erase(
        self, transaction: Transaction, vault: Vault, grant_id: str, agreement: Agreement
    ) -> None:
        if events.note_erasure(transaction, grant_id, self._clock.now()):
            name = agreement.vendor_name
            self._note(transaction, vault.id, "erase-asked", agreement.vendor, name, grant_id)

    def revoke_all(self, transaction: Transaction, vault: Vault) -> int:
        """Stop every connection in the given transaction; the caller empties the write-ahead log after it."""
        live = self._views.keep(transaction, vault.keyring)
        for grant in live:
            self._revoke(transaction, vault, grant.grant_id, grant.agreement)
        return len(live)

    def retire(self, vault: Vault) -> None:
        """At unlock: what has left its period leaves its view; grants that were altered end."""
        with self._engine.write(of=vault.id) as transaction:
            for grant in self._views.keep(transaction, vault.keyring):
                self._views.retire(transaction, grant)

    def settle(self, vault: Vault) -> None:
        """At an unlock without problems: the root stops vouching for what ended meanwhile."""
        with self._engine.write(of=vault.id) as transaction:
            self._views.keep(transaction, vault.keyring)
            self._set_roster(transaction, vault)

    def problems(self, vault: Vault) -> list[str]:
        """Live grants that the customer did not make or that were altered, missing ones, altered rows."""
        opened, altered = self._views.live_grants(vault.keyring)
        for grant in opened:
            try:
                self._views.contents(grant)
            except TamperedError:
                altered.append(grant.grant_id)
        found = [f"grant {grant_id} was planted or altered" for grant_id in altered]
        return found + [f"grant {grant_id} is missing" for grant_id in self._missing(vault)]

    def _missing(self, vault: Vault) -> list[str]:
        try:
            vouched = [entry.partition(":")[0] for entry in vault.roster_grants() if entry != LOGGED]
        except TamperedError:
            return []  # the vault itself names this
        present = {
            row[0] for row in self._engine.all("SELECT grant_id FROM grants WHERE vault = ?", (vault.id,))
        }
        return [grant_id for grant_id in vouched if grant_id not in present]

    def differences(self, vault: Vault) -> list[str]:
        """Live views that are not, byte for byte, what the policy says of the records, or not posted so."""
        day, found = today(self._clock), []
        for grant in self._views.live_grants(vault.keyring)[0]:
            try:
                contents = self._views.contents(grant)
            except TamperedError:
                continue  # `problems` names it
            for stream in grant.agreement.streams:
                held = contents[stream]
                for record, document in vault.records(source_of(stream)).scan():
                    item = grant.item_id(vault.keyring, stream, record)
                    verdict = policy.decide(stream, record, document, grant.agreement, grant.reserve, day)
                    present = held.pop(item, {})
                    if present != verdict.scopes and (present or not _ripened(grant, record, document)):
                        found.append(f"grant {grant.grant_id}: a row differs from the policy")
                strangers = [item for item, parts in held.items() if parts]
                found += [f"grant {grant.grant_id}: a row that no record explains"] * len(strangers)
            if not self._views.posted(grant):
                found.append(f"grant {grant.grant_id}: a posting was altered, so that filters miss rows")
        return found

    def _note(
        self, transaction: Transaction, vault: str, event: str, client_id: str, name: str, grant_id: str
    ) -> None:
        self._log.note(transaction, vault, event, grant_id=grant_id, client_id=client_id, vendor_name=name)


def _ripened(grant: OpenGrant, record: str, document: policy.Document) -> bool:
    """Whether a row may be missing because its wait ended after the last log-in."""
    arrived = document.get("notes", {}).get("arrived", -1)
    waited = arrived >= grant.agreement.created and record not in grant.reserve.admitted
    return grant.reserve.fresh == policy.LATER and waited


def stamped(vault: Vault) -> Iterator[tuple[str, int]]:
    """(record, when it came in) of every purchase that came in while any grant lived."""
    for record, document in vault.records(STAMPED).readable(("notes",)):
        if "arrived" in document["notes"]:
            yield record, document["notes"]["arrived"]


def arrived_since(vault: Vault, agreement: Agreement) -> Iterator[tuple[str, int]]:
    """The same of those that came in after an approval."""
    return ((record, arrived) for record, arrived in stamped(vault) if arrived >= agreement.created)
