"""The acts of a whole host: what an unlock goes on with, and what stops it."""

from __future__ import annotations

import pytest

from tests.attacks.actors import Customer, Vendor, writing
from tests.beside import only_sqlite
from tests.conftest import PASSPHRASE
from tests.consent.test_deposits import RECEIPT
from vrm.consent.service import Consent
from vrm.errors import SessionExpiredError, StorageError
from vrm.vault.sqlite import SqliteEngine
from vrm.vault.vault import Vaults


def test_keys_that_were_renewed_meanwhile_are_no_fault_of_what_is_stored(
    customer: Customer, vaults: Vaults, consent: Consent
) -> None:
    before = vaults.unlock("alice", PASSPHRASE)
    consent.rotate(customer.vault, PASSPHRASE)
    with pytest.raises(SessionExpiredError):
        consent.at_unlock(before)
    assert consent.at_unlock(vaults.unlock("alice", PASSPHRASE)) == []


@only_sqlite
def test_a_disk_that_takes_no_more_is_no_fault_of_what_is_stored(
    customer: Customer, vendor: Vendor, consent: Consent, engine: SqliteEngine
) -> None:
    token = vendor.connect(customer, writing()).access_token
    vendor.leave(token, RECEIPT)
    engine.one("PRAGMA query_only = ON")
    with pytest.raises(StorageError):
        consent.at_unlock(customer.vault)
    engine.one("PRAGMA query_only = OFF")
    assert consent.at_unlock(customer.vault) == []
    assert customer.vault.records("purchases").count() == 1
