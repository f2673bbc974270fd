"""Vendors and a customer with something to share, on the fixtures of tests/conftest.py."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests import postgres
from tests.api.actors import CALLBACK, Customer, Shop
from vrm.app import create_app
from vrm.clock import Clock
from vrm.consent.service import Consent
from vrm.host import Host
from vrm.settings import Settings
from vrm.vault.sqlite import SqliteEngine
from vrm.vault.vault import Vault, Vaults

BOOKS = ["A Room of One's Own", "Middlemarch", "The Left Hand of Darkness", "Kindred", "Beloved"]
GIFT = "Model Railway Almanac"


@pytest.fixture
def settings(folder: Path) -> Settings:
    return Settings(data_dir=folder, database_url=postgres.chosen(folder), public_url="http://127.0.0.1:8600")


@pytest.fixture
def app(engine: SqliteEngine, vaults: Vaults, consent: Consent, settings: Settings, clock: Clock) -> Flask:
    made = create_app(settings, host=Host(settings, engine, vaults, consent, clock))
    made.testing = True
    return made


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.fixture
def shop(client: FlaskClient, consent: Consent) -> Shop:
    """A confidential vendor."""
    vendor, secret = consent.vendors.add("Corner Books", (CALLBACK,), purpose="ProvideProductRecommendations")
    return Shop(client, vendor, secret)


@pytest.fixture
def other_shop(client: FlaskClient, consent: Consent) -> Shop:
    """A second confidential vendor with the same redirect address."""
    vendor, secret = consent.vendors.add("Other Books", (CALLBACK,), purpose="ProvideProductRecommendations")
    return Shop(client, vendor, secret)


@pytest.fixture
def app_shop(client: FlaskClient, consent: Consent) -> Shop:
    """A public vendor: a program on the customer's own machine."""
    uri = "http://127.0.0.1/cb"
    vendor, secret = consent.vendors.add(
        "Pocket Reader", (uri,), public=True, purpose="ProvideProductRecommendations"
    )
    assert secret is None
    return Shop(client, vendor, secret, redirect_uri=uri)


@pytest.fixture
def purchases(vault: Vault) -> list[str]:
    """Five books of her own and one that was a gift; the ids as the vault knows them."""
    records = vault.records("purchases")
    ids = []
    for number, title in enumerate([*BOOKS, GIFT]):
        document = {
            "item": {"title": title, "category": "books"},
            "order": {"seller": "books.example", "order_number": f"A-{number}", "ordered": "2026-06-01"},
            "price": {"total": f"{10 + number}.50", "currency": "EUR"},
            "context": {"for": "gift", "use_for_taste": False} if title == GIFT else {"for": "self"},
        }
        ids.append(records.put(document))
    return ids


@pytest.fixture
def customer(vault: Vault, consent: Consent, purchases: list[str]) -> Customer:
    """Alice, with six purchases."""
    return Customer(vault, consent)


@pytest.fixture
def tokens(shop: Shop, customer: Customer) -> dict[str, str]:
    """A token set for `purchases.item:read`, approved."""
    from tests.api.actors import connect

    return connect(shop, customer)


@pytest.fixture
def count_requests(engine: SqliteEngine) -> Callable[[], int]:
    """How many requests wait; a refused one must not be among them."""
    return lambda: engine.one("SELECT count(*) FROM requests")[0]  # type: ignore[index]
