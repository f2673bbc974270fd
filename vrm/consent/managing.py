"""What a vendor may do with its own grant besides reading: look up what was agreed, and give it back.

Promises: a token opens only the grant that it is of, and says only what both sides know; a grant that is
given back has ended, tokens and view with it, when the call returns, and the customer's log says by whom.
"""

from __future__ import annotations

from dataclasses import dataclass

from vrm.clock import Clock
from vrm.consent import endings
from vrm.consent.access import Access
from vrm.consent.amendments import Amendments
from vrm.consent.disclosures import Disclosures
from vrm.consent.policy import Agreement
from vrm.consent.reader import Reader
from vrm.errors import GrantInactiveError, GrantNotFoundError, InsufficientScopeError, NotItsGrantError
from vrm.vault.engine import Engine


@dataclass(frozen=True, slots=True)
class Managed:
    """A grant as its vendor may look it up."""

    grant_id: str
    agreement: Agreement


class Managing:
    """Over the grants of all vaults."""

    def __init__(
        self, engine: Engine, reader: Reader, amendments: Amendments, log: Disclosures, clock: Clock
    ) -> None:
        self._engine = engine
        self._reader = reader
        self._amendments = amendments
        self._log = log
        self._clock = clock

    def look(self, access: Access, grant_id: str, scope: str) -> Managed:
        """The grant of this token, if that is its name. It is a use of the token.

        Raises InsufficientScopeError, GrantInactiveError, NotItsGrantError for the name of another grant,
        GrantNotFoundError for what is the name of no live one, and ReplayError.
        """
        found = self._own(access, grant_id, scope)
        self._reader.used(access)
        return found

    def _own(self, access: Access, grant_id: str, scope: str) -> Managed:
        if scope not in access.scopes:
            self._reader.refuse(access, "not granted", scope)
            raise InsufficientScopeError()
        agreement = self._reader.agreement(access)
        own = agreement.public_id or access.grant_id
        if grant_id != own:
            raise NotItsGrantError() if self._amendments.exists(grant_id) else GrantNotFoundError()
        return Managed(own, agreement)

    def give_back(self, access: Access, grant_id: str, scope: str) -> None:
        """End the grant of this token, if that is its name; raises as `look`."""
        self._own(access, grant_id, scope)
        with self._engine.write() as transaction:
            if not endings.end(transaction, access.grant_id, "revoked", self._clock.now(), tell=False):
                raise GrantInactiveError()  # somebody else was faster
            if access.proof is not None:
                access.proof.spend(transaction)
            self._log.note(
                transaction,
                access.vault,
                "given-back",
                grant_id=access.grant_id,
                client_id=access.client_id,
                detail="grant",
            )
        self._engine.purge()
