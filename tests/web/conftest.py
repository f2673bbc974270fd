"""The real app with its pages, a customer in front of it, a vendor that asks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from tests import postgres
from tests.web.actors import Customer
from vrm.app import create_app
from vrm.clock import Clock
from vrm.consent.service import Consent
from vrm.consent.vendors import Vendor
from vrm.host import Host
from vrm.settings import Settings
from vrm.vault.sqlite import SqliteEngine
from vrm.vault.vault import Vault, Vaults

CALLBACK = "https://cornerbooks.example/cb?from=vault"
RECOMMEND = "ProvideProductRecommendations"
Ask = Callable[..., str]


@pytest.fixture
def settings(folder: Path) -> Settings:
    return Settings(data_dir=folder, database_url=postgres.chosen(folder), public_url="http://localhost:8600")


@pytest.fixture
def app(engine: SqliteEngine, vaults: Vaults, consent: Consent, settings: Settings, clock: Clock) -> Flask:
    return create_app(settings, host=Host(settings, engine, vaults, consent, clock))


@pytest.fixture
def customer(app: Flask) -> Customer:
    """Somebody with a browser, not logged in."""
    return Customer(app.test_client())


@pytest.fixture
def alice(customer: Customer) -> Customer:
    """Logged in, her vault in use."""
    customer.create()
    return customer


@pytest.fixture
def opened(alice: Customer, vaults: Vaults) -> Vault:
    """Alice's vault, to look at what her pages did."""
    return vaults.resume(alice.client.get_cookie("vrm").value)  # type: ignore[union-attr]


def purchase(
    title: str, whom: str = "", ordered: str = "2026-05-01", **facets: dict[str, Any]
) -> dict[str, Any]:
    """A purchase of a book, sorted unless `whom` is empty."""
    document: dict[str, Any] = {
        "item": {"title": title, "category": "books", "asin": title[:20]},
        "order": {"seller": "amazon.com", "order_number": f"11-{title[:20]}", "ordered": ordered},
        "price": {"total": "12.99", "currency": "EUR"},
        "context": {"for": whom} if whom else {},
    }
    return document | facets


@pytest.fixture
def shelf(opened: Vault) -> dict[str, str]:
    """Title → record id of what Alice bought: two books of her own, a gift, one unsorted, an old one."""
    records = opened.records("purchases")
    return {
        "Piranesi": records.put(purchase("Piranesi", "self")),
        "The Hobbit": records.put(purchase("The Hobbit", "self", "2026-01-02")),
        "A Gift Indeed": records.put(purchase("A Gift Indeed", "gift")),
        "Nobody Knows": records.put(purchase("Nobody Knows")),
        "Long Ago": records.put(purchase("Long Ago", "self", "2019-01-01")),
    }


@pytest.fixture
def vendor(consent: Consent) -> Vendor:
    return consent.vendors.add("Corner Books", [CALLBACK], purpose=RECOMMEND)[0]


def part(*datatypes: str, **rest: Any) -> dict[str, Any]:
    """One part of a request."""
    return {
        "type": "vrm_access",
        "datatypes": list(datatypes),
        "actions": ["read"],
        "purpose": RECOMMEND,
        "necessity": "required",
        **rest,
    }


@pytest.fixture
def ask(consent: Consent, vendor: Vendor) -> Ask:
    """The vendor asks; returns the request's handle."""

    def submit(
        *parts: dict[str, Any],
        vendor: Vendor = vendor,
        state: str = "a b&c",
        uri: str = CALLBACK,
        **extras: Any,
    ) -> str:
        asked = list(parts) or [
            part("purchases.item", "purchases.order", period="P2Y"),
            part("purchases.price", necessity="optional", period="P2Y"),
        ]
        stored = consent.requests.submit(
            vendor, asked, redirect_uri=uri, state=state, code_challenge="c" * 43, extras=extras
        )
        return stored.handle

    return submit
