"""What changed in a vault, for whoever must follow it in the same transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from vrm.vault.engine import Transaction
from vrm.vault.keyring import Keyring

if TYPE_CHECKING:
    from vrm.vault.schemas import Document


@dataclass(frozen=True, slots=True)
class Change:
    """A record as it is now; None where it was removed. `fresh`: there was none before."""

    collection: str
    record: str
    document: Document | None
    fresh: bool = False


class Watcher(Protocol):
    """Whoever must follow every change in the same transaction (consent keeps its views so)."""

    def changed(self, transaction: Transaction, keyring: Keyring, changes: Sequence[Change]) -> None: ...
