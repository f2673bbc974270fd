"""A new recovery code: it counts once she has typed it, and until then the one she has opens the vault.

Promises: a proposed code is stored nowhere; only its digest waits, with whoever asked for it, and tells
nothing of 160 random bits. Its turn takes out the old one in the same transaction. Refuses a proposal that is
older than half an hour, or than the recovery code of today.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from vrm.errors import SessionExpiredError, UnlockError
from vrm.vault import crypto, keyslots
from vrm.vault.keyslots import RecoverySlot
from vrm.vault.ways import Way

if TYPE_CHECKING:
    from vrm.vault.vault import Vault

SECONDS: Final = 30 * 60


class Proposal(NamedTuple):
    """What is kept of a proposed code, out of everybody else's reach, until she types it."""

    digest: str
    replaces: list[str]  # the ids of the recovery slots of that moment
    until: int
    slot: str  # the way in whose passphrase was asked for
    vouched: bool


def propose(vault: Vault, passphrase: str, now: int) -> tuple[str, Proposal]:
    """A new code for her to write down; nothing is changed. UnlockError."""
    way, code = vault.check_passphrase(passphrase), keyslots.new_code()
    return code, Proposal(_digest(code), _slots(vault), now + SECONDS, way.slot, way.vouched)


def accept(vault: Vault, proposal: Proposal, typed: str, now: int) -> None:
    """Put the proposed code in the place of the old one, which opens nothing any more.

    UnlockError where another one was typed; SessionExpiredError where the proposal, or the passphrase that
    was asked for it, is no longer that of today.
    """
    if not crypto.equal(_digest(typed).encode(), proposal.digest.encode()):
        raise UnlockError()
    if now >= proposal.until or _slots(vault) != proposal.replaces:
        raise SessionExpiredError()
    vault.go_on_by(Way(proposal.slot, proposal.vouched))
    replace(vault, typed, confirmed=True)


def replace(vault: Vault, code: str, *, confirmed: bool) -> None:
    """Make this the only recovery code; `confirmed`: she has shown that she has it."""
    fresh = RecoverySlot.wrap(vault.id, code, vault.keyring.root(), vault.keyring.generation)
    with vault.engine.write() as transaction:
        vault.enrol(transaction, [fresh], drop=(RecoverySlot.kind,))
        transaction.execute("UPDATE vaults SET confirmed = ? WHERE vault = ?", (int(confirmed), vault.id))
    vault.recovery_confirmed = confirmed
    vault.engine.purge()


def _slots(vault: Vault) -> list[str]:
    return sorted(slot.slot for slot in vault.stored_slots() if slot.kind == RecoverySlot.kind)


def _digest(code: str) -> str:
    return crypto.digest(keyslots.code_bytes(code)).hex()
