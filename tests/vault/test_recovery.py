"""A new recovery code takes the place of the old one once it was typed, and not before."""

from __future__ import annotations

import pytest

from tests.conftest import SettableClock
from vrm.errors import SessionExpiredError, UnlockError
from vrm.vault import keyslots, recovery
from vrm.vault.vault import Vault, Vaults

PASSPHRASE = "a passphrase with some words"
NEW = "a new passphrase with some words"


@pytest.fixture
def made(vaults: Vaults) -> tuple[Vault, str]:
    vault, code = vaults.create("bob", PASSPHRASE)
    assert vault.confirm_recovery_code(code)
    return vaults.resume(vault.open_session()), code


def test_the_old_code_opens_the_vault_until_the_new_one_was_typed(
    vaults: Vaults, made: tuple[Vault, str], clock: SettableClock
) -> None:
    vault, old = made
    fresh, proposal = recovery.propose(vault, PASSPHRASE, clock.now())
    assert fresh != old
    assert vault.recovery_confirmed
    with pytest.raises(UnlockError):
        vaults.recover("bob", fresh, NEW)
    later = vaults.resume(vault.open_session())
    recovery.accept(later, proposal, fresh.lower().replace("-", " "), clock.now())
    assert later.recovery_confirmed
    assert vaults.unlock("bob", PASSPHRASE).recovery_confirmed
    assert later.problems() == []
    with pytest.raises(UnlockError):
        vaults.recover("bob", old, NEW)
    assert vaults.recover("bob", fresh, NEW).id == vault.id


def test_a_proposal_that_nobody_typed_changes_nothing(
    vaults: Vaults, made: tuple[Vault, str], clock: SettableClock
) -> None:
    vault, old = made
    recovery.propose(vault, PASSPHRASE, clock.now())
    assert vaults.recover("bob", old, NEW).id == vault.id


def test_a_wrong_passphrase_gets_no_code(made: tuple[Vault, str], clock: SettableClock) -> None:
    with pytest.raises(UnlockError):
        recovery.propose(made[0], "not the passphrase", clock.now())


def test_no_other_code_is_taken_for_the_proposed_one(
    vaults: Vaults, made: tuple[Vault, str], clock: SettableClock
) -> None:
    vault, old = made
    _, proposal = recovery.propose(vault, PASSPHRASE, clock.now())
    for typed in (old, keyslots.new_code(), "mistyped", ""):
        with pytest.raises(UnlockError):
            recovery.accept(vault, proposal, typed, clock.now())
    assert vaults.recover("bob", old, NEW).id == vault.id


def test_a_proposal_ends_after_half_an_hour(made: tuple[Vault, str], clock: SettableClock) -> None:
    fresh, proposal = recovery.propose(made[0], PASSPHRASE, clock.now())
    with pytest.raises(SessionExpiredError):
        recovery.accept(made[0], proposal, fresh, clock.now() + recovery.SECONDS)


def test_a_proposal_ends_with_the_code_that_it_would_replace(
    made: tuple[Vault, str], clock: SettableClock
) -> None:
    vault, _ = made
    first, early = recovery.propose(vault, PASSPHRASE, clock.now())
    second, late = recovery.propose(vault, PASSPHRASE, clock.now())
    recovery.accept(vault, late, second, clock.now())
    with pytest.raises(SessionExpiredError):
        recovery.accept(vault, early, first, clock.now())


def test_a_proposal_ends_with_the_passphrase_that_was_asked_for_it(
    vaults: Vaults, made: tuple[Vault, str], clock: SettableClock
) -> None:
    vault, old = made
    fresh, proposal = recovery.propose(vault, PASSPHRASE, clock.now())
    vaults.unlock("bob", PASSPHRASE).change_passphrase(PASSPHRASE, NEW)
    with pytest.raises(SessionExpiredError):
        recovery.accept(vault, proposal, fresh, clock.now())
    assert vaults.recover("bob", old, PASSPHRASE).id == vault.id
