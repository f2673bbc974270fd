"""A customer with a few purchases and a vendor, on the fixtures of tests/conftest.py."""

from __future__ import annotations

import pytest

from tests.attacks.actors import Customer, Vendor
from vrm.consent.service import Consent
from vrm.vault.vault import Vault


@pytest.fixture
def customer(vault: Vault, consent: Consent) -> Customer:
    return Customer(vault, consent)


@pytest.fixture
def vendor(consent: Consent) -> Vendor:
    return Vendor.register(consent)


@pytest.fixture
def books(customer: Customer) -> list[str]:
    return [customer.buy(title) for title in ("Kindred", "Beloved", "Emma")]
