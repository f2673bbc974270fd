"""Invitations as the vault keeps them."""

from __future__ import annotations

import pytest

from tests.conftest import PASSPHRASE, SettableClock
from vrm.errors import InvitationError
from vrm.vault.invitations import DAY, Invitations
from vrm.vault.vault import Vaults


@pytest.fixture
def invitations(vaults: Vaults) -> Invitations:
    return Invitations.of(vaults)


def test_an_invitation_is_listed_without_what_opens_it(invitations: Invitations) -> None:
    made, code = invitations.make(7)
    assert invitations.listing() == [made]
    assert not made.used
    with pytest.raises(InvitationError):
        invitations.require(made.id)
    invitations.require(code)


def test_asking_does_not_spend_it_and_making_a_vault_does(invitations: Invitations, vaults: Vaults) -> None:
    _, code = invitations.make(7)
    invitations.require(code)
    invitations.require(code)
    vaults.create("alice", PASSPHRASE, claim=lambda transaction: invitations.spend(transaction, code))
    with pytest.raises(InvitationError):
        vaults.create("bob", PASSPHRASE, claim=lambda transaction: invitations.spend(transaction, code))
    assert [one.username for one in vaults.listing()] == ["alice"]
    assert [one.used for one in invitations.listing()] == [True]


def test_a_used_one_cannot_be_taken_back(invitations: Invitations, vaults: Vaults) -> None:
    made, code = invitations.make(7)
    vaults.create("alice", PASSPHRASE, claim=lambda transaction: invitations.spend(transaction, code))
    for id in (made.id, "00" * 16, "", "no id"):
        with pytest.raises(InvitationError):
            invitations.revoke(id)


def test_ended_ones_are_forgotten_after_a_month(invitations: Invitations, clock: SettableClock) -> None:
    old, _ = invitations.make(1)
    clock.forward(31 * DAY)
    assert old in invitations.listing()
    clock.forward(1)
    new, _ = invitations.make(1)
    assert invitations.listing() == [new]


def test_a_new_server_key_ends_every_invitation(
    invitations: Invitations, vaults: Vaults, clock: SettableClock
) -> None:
    from vrm.vault.crypto import random_key
    from vrm.vault.serverkey import ServerKey

    _, code = invitations.make(7)
    with pytest.raises(InvitationError):
        Invitations(vaults.engine, ServerKey(random_key()), clock).require(code)
