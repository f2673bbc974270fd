"""One served vault for all tests of this folder that meet it over the network, with a story inside.

Alice has five books and a gift; a shop reads part of them. What is sent here must never harm the others.
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import CHEAP, PASSPHRASE
from tests.hostile.serving import Served, free_port
from vrm.consent.requests import Choices
from vrm.consent.scopes import parts_from_scope
from vrm.consent.vendors import Vendor
from vrm.host import Host, open_host
from vrm.settings import Settings
from vrm.vault.vault import Vault

CALLBACK = "https://books.example/cb"
PURPOSE = "ProvideProductRecommendations"
VERIFIER = "v" * 43
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
SCOPES = "purchases:read profile:read answers.corrections:read"  # preferences stay refused
BOOKS = ["A Room of One's Own", "Middlemarch", "The Left Hand of Darkness", "Kindred", "Beloved"]
GIFT = "Model Railway Almanac"


@dataclass
class Shop:
    """A vendor and what it holds."""

    vendor: Vendor
    secret: str
    access: str
    refresh: str

    @property
    def basic(self) -> tuple[str, str]:
        pair = f"{self.vendor.client_id}:{self.secret}".encode()
        return "Authorization", "Basic " + base64.b64encode(pair).decode()


@dataclass
class Town:
    """A running server, its data opened beside it, a customer, a shop."""

    served: Served
    host: Host
    vault: Vault
    shop: Shop
    recovery_code: str


def connect(host: Host, vault: Vault, vendor: Vendor, secret: str, scope: str = SCOPES) -> Shop:
    """Ask, approve, redeem."""
    asked = host.consent.requests.submit(
        vendor,
        parts_from_scope(scope, PURPOSE),
        redirect_uri=CALLBACK,
        state="st4te",
        code_challenge=CHALLENGE,
    )
    preview = host.consent.requests.preview(vault, asked.handle, Choices())
    decided = host.consent.requests.approve(vault, asked.handle, Choices(), preview.digest)
    assert decided.code
    tokens = host.consent.tokens.redeem(decided.code, vendor, CALLBACK, VERIFIER)
    return Shop(vendor, secret, tokens.access_token, tokens.refresh_token or "")


def fill(vault: Vault) -> None:
    for number, title in enumerate([*BOOKS, GIFT]):
        vault.records("purchases").put(
            {
                "item": {"title": title, "category": "books"},
                "order": {
                    "seller": "books.example",
                    "order_number": f"A-{number}",
                    "ordered": "2026-06-01",
                },
                "price": {"total": f"{10 + number}.50", "currency": "EUR"},
                "context": {"for": "gift", "use_for_taste": False} if title == GIFT else {"for": "self"},
            }
        )


@pytest.fixture(scope="session")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    folder: Path = tmp_path_factory.mktemp("town")
    port = free_port()
    settings = Settings(data_dir=folder / "data", port=port)
    host = open_host(settings, limits=CHEAP)
    vault, code = host.vaults.create("alice", PASSPHRASE)
    vault.confirm_recovery_code(code)
    fill(vault)
    vendor, secret = host.consent.vendors.add("Corner Books", (CALLBACK,), purpose=PURPOSE)
    temporary = folder / "tmp"
    temporary.mkdir()
    environ = {
        "VRM_DATA_DIR": str(settings.data_dir),
        "VRM_LOG_LEVEL": "info",
        "VRM_WORKERS": "1",
        "TMPDIR": str(temporary),
        "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
    }
    served = Served(port, environ, folder).start()
    shop = connect(host, vault, vendor, secret or "")
    yield Town(served, host, vault, shop, code)
    served.stop()
    host.engine.close()


@pytest.fixture(scope="session")
def served(town: Town) -> Served:
    return town.served
