"""A customer with a few purchases and a vendor, on the fixtures of tests/conftest.py."""

from __future__ import annotations

import pytest

from tests.attacks.actors import Customer
from tests.attacks.conftest import customer, vendor  # noqa: F401 - fixtures: the same two people


@pytest.fixture
def books(customer: Customer) -> list[str]:  # noqa: F811 - a fixture is named by its parameter
    return [customer.buy(title) for title in ("Kindred", "Beloved", "Emma")]
