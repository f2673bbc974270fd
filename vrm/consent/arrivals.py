"""Purchases that come in after an approval: they wait for the customer's word, or for two weeks.

Promises: nothing that came in later enters a view before its rule allows it (`policy.waits` decides, here
is only who asks and when); what she lets in is within what was agreed, so no scope, field or period
widens; a removal never waits. What may leave after two weeks enters at her first log-in from that day on:
adding to a view takes her root key.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from vrm.clock import Clock, today
from vrm.consent import policy
from vrm.consent.grants import Grants, arrived_since, stamped
from vrm.consent.views import OpenGrant, Views
from vrm.errors import GrantNotFoundError, TamperedError
from vrm.vault.catalog import STAMPED
from vrm.vault.changes import Change
from vrm.vault.engine import Engine
from vrm.vault.records import Records
from vrm.vault.vault import Vault

if TYPE_CHECKING:
    from vrm.vault.schemas import Document


@dataclass(frozen=True, slots=True)
class Waiting:
    """A purchase that would leave under a grant, did it not wait."""

    record: str
    document: Document
    leaves: str  # the day on which it leaves unless she says otherwise, ISO; empty where it waits for her


class Arrivals:
    """What came in since the approvals of one host's grants."""

    def __init__(self, engine: Engine, grants: Grants, views: Views, clock: Clock) -> None:
        self._engine = engine
        self._grants = grants
        self._views = views
        self._clock = clock

    def waiting(self, vault: Vault) -> dict[str, list[Waiting]]:
        """Grant → what waits for the customer's word or for its day; grants without any are left out."""
        found = {grant.grant_id: list(self._of(vault, grant, arrived)) for grant, arrived in self._new(vault)}
        return {grant_id: purchases for grant_id, purchases in found.items() if purchases}

    def waiting_for(self, vault: Vault, grant_id: str) -> list[Waiting]:
        """The same for one grant; empty where nothing can wait."""
        new = (one for one in self._new(vault) if one[0].grant_id == grant_id)
        return [row for grant, arrived in new for row in self._of(vault, grant, arrived)]

    def admit(self, vault: Vault, grant_id: str, records: frozenset[str]) -> int:
        """Let these of the waiting purchases into the view now; returns how many. GrantNotFoundError."""
        with self._engine.write(of=vault.id) as transaction:
            grant = self._open(vault, grant_id)
            new = self._of(vault, grant, arrived_since(vault, grant.agreement))
            chosen = {one.record: one.document for one in new if one.record in records}
            reserve = replace(grant.reserve, admitted=grant.reserve.admitted | frozenset(chosen))
            wider = replace(grant, reserve=reserve)
            if not chosen or not self._grants.restate(transaction, vault, wider, "admitted"):
                return 0
            changes = [Change(STAMPED, record, document) for record, document in chosen.items()]
            self._views.apply(transaction, vault.keyring, wider, changes)
        return len(chosen)

    def ripen(self, vault: Vault) -> None:
        """At unlock: what has waited its two weeks enters the views, unless she said otherwise.

        What may be ripe is looked for first; whether it is, the grant as it is inside the transaction says.
        """
        ripe = {grant.grant_id: self._ripe(grant, arrived) for grant, arrived in self._new(vault)}
        if not any(ripe.values()):
            return
        records = vault.records(STAMPED)
        with self._engine.write(of=vault.id) as transaction:
            for grant in self._views.keep(transaction, vault.keyring):
                there = [record for record in ripe.get(grant.grant_id, ()) if records.contains(record)]
                changes = [Change(STAMPED, *one) for one in _intact(records, there)]
                self._views.apply(transaction, vault.keyring, grant, changes)

    def _ripe(self, grant: OpenGrant, arrived: Iterable[tuple[str, int]]) -> list[str]:
        if grant.reserve.fresh != policy.LATER:
            return []
        day = today(self._clock)
        return [record for record, moment in arrived if policy.leaves_on(moment) <= day]

    def _new(self, vault: Vault) -> list[tuple[OpenGrant, list[tuple[str, int]]]]:
        """Each grant under which something can wait, with what came in since; the store is read once."""
        ruled = self._ruled(vault)
        noted = list(stamped(vault)) if ruled else []
        return [(one, [row for row in noted if row[1] >= one.agreement.created]) for one in ruled]

    def _ruled(self, vault: Vault) -> list[OpenGrant]:
        """Live grants under which something can wait."""
        live = self._views.live_grants(vault.keyring)[0]
        return [one for one in live if one.reserve.fresh and STAMPED in one.agreement.streams]

    def _open(self, vault: Vault, grant_id: str) -> OpenGrant:
        for grant in self._ruled(vault):
            if grant.grant_id == grant_id and self._clock.now() < grant.agreement.expires:
                return grant
        raise GrantNotFoundError()

    def _of(self, vault: Vault, grant: OpenGrant, arrived: Iterable[tuple[str, int]]) -> Iterator[Waiting]:
        day, records = today(self._clock), vault.records(STAMPED)
        now = replace(grant.reserve, fresh=policy.AT_ONCE)
        since = dict(arrived)
        for record, document in _intact(records, since):
            if policy.decide(STAMPED, record, document, grant.agreement, grant.reserve, day).scopes:
                continue
            if policy.decide(STAMPED, record, document, grant.agreement, now, day).scopes:
                later = grant.reserve.fresh == policy.LATER
                yield Waiting(record, document, policy.leaves_on(since[record]).isoformat() if later else "")


def _intact(records: Records, wanted: Iterable[str]) -> Iterator[tuple[str, Document]]:
    """These (id, purchase), without what was altered: it leaves to nobody, and keeps no other back."""
    for record in wanted:
        try:
            document = records.get(record)
        except TamperedError:
            continue
        yield record, document
