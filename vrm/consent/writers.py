"""A writer's side of a deposit: what a write scope's key derives, what is told of a state, what may be said.

Shared by who takes deposits in while the vault is locked (`deposits`) and who files them with the root
(`filing`): both derive the same keys, and both judge by the same rules.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from vrm.clock import rfc3339
from vrm.consent.rows import shelf
from vrm.consent.scopes import write_scope
from vrm.errors import ValidationError
from vrm.vault import crypto
from vrm.vault.catalog import CATALOG_BY_NAME
from vrm.vault.crypto import Cipher, Key, Purpose
from vrm.vault.envelope import pad

if TYPE_CHECKING:
    from vrm.vault.schemas import Document

PENDING, FILED, REFUSED, WITHDRAWN = "pending", "filed", "refused", "withdrawn"
_BUCKET = 128  # bytes of a sealed state
NEEDED = {  # at least one of these, or there is nothing to file
    "purchases": ("item", ("title", "asin", "isbn", "gtin")),
    "inbox": ("message", ("subject", "text")),
}


@dataclass(frozen=True, slots=True)
class State:
    """A deposit as its writer sees it. `ever_filed` is not told: it decides what a withdrawal does."""

    item: bytes
    version: int
    updated: int
    status: str
    reason: str = ""
    ever_filed: bool = False

    def told(self) -> dict[str, Any]:
        """What leaves."""
        shown = {"id": self.item.hex(), "status": self.status, "updated_at": rfc3339(self.updated)}
        return shown | ({"reason": self.reason} if self.reason else {})

    def encode(self) -> bytes:
        """JSON, sealed by the caller; item, version and time stand beside it and are bound to it."""
        values = [self.status, self.reason, self.ever_filed]
        return pad(json.dumps(values, ensure_ascii=False).encode(), _BUCKET)


def state_cipher(scope_key: Key, grant_id: str, scope: str) -> Cipher:
    """Seals the states of what was left under a scope."""
    return Cipher(scope_key, Purpose.DEPOSIT_STATE, grant_id, scope, derive=True)


class Pen:
    """What the key of one grant's write scope derives. The vault derives the same from its root."""

    def __init__(self, vault: str, grant_id: str, collection: str, scope_key: Key, common: Key) -> None:
        self.vault = vault
        self.grant_id = grant_id
        self.scope = write_scope(collection)
        self.shelf = shelf(common, self.scope)
        self._key = scope_key

    @cached_property
    def deposit_key(self) -> Key:
        """Makes the MAC of what is left in the mailbox."""
        return crypto.derive(self._key, Purpose.DEPOSIT, self.grant_id)

    @cached_property
    def _cipher(self) -> Cipher:
        return state_cipher(self._key, self.grant_id, self.scope)

    def seal(self, state: State) -> bytes:
        """The stored bytes of a state."""
        return self._cipher.seal(state.encode(), state.item, state.version, state.updated)

    def open(self, item: bytes, version: int, updated: int, sealed: bytes) -> State:
        """A stored state; TamperedError for one that was moved or altered."""
        status, reason, filed = json.loads(self._cipher.unseal(sealed, item, version, updated))
        return State(item, version, updated, status, reason, filed)

    def tag(self, state: State) -> str:
        """The ETag: of this deposit in this version and status."""
        key = crypto.derive(self._key, Purpose.DEPOSIT_TAG, self.grant_id)
        mac = crypto.mac(key, Purpose.DEPOSIT_TAG, state.item, state.version, state.status)
        return f'"{base64.urlsafe_b64encode(mac[:15]).decode()}"'

    def once(self, *parts: str) -> bytes:
        """16 bytes by which a repeated request is known, without keeping its key or body."""
        key = crypto.derive(self._key, Purpose.DEPOSIT_ONCE, self.grant_id)
        return crypto.mac(key, Purpose.DEPOSIT_ONCE, *parts)[:16]


def taken(collection: str, given: object) -> Document:
    """What comes in now: `validated`, and every code in it is one. What waits was promised a place."""
    from vrm.vault import schemas

    document = validated(collection, given)
    wrong = schemas.strange(collection, document)
    if wrong:
        raise ValidationError(fields=wrong)
    return document


def validated(collection: str, given: object) -> Document:
    """What was sent, as it may be filed; ValidationError names what is not valid or not theirs to say."""
    from vrm.vault import schemas

    if not isinstance(given, Mapping):
        raise ValidationError("the body must be a JSON object of facets")
    document = schemas.validate(collection, given)
    wrong = {
        f"{facet.name}.{field.name}": ["is not the sender's to say"]
        for facet in CATALOG_BY_NAME[collection].facets
        for field in facet.fields
        if field.by != "seller" and field.name in document[facet.name]
    }
    facet_name, names = NEEDED[collection]
    if not wrong and not any(document[facet_name].get(name) for name in names):
        wrong = {f"{facet_name}.{names[0]}": ["is needed"]}
    if wrong:
        raise ValidationError(fields=wrong)
    return document
