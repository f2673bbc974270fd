"""The three actors on the fixtures of tests/conftest.py, and a story in which each has something to lose."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.attacks.actors import Customer, Thief, Vendor, canary_document, part, texts_of
from vrm.consent.requests import Preview
from vrm.consent.service import Consent
from vrm.consent.tokens import TokenSet
from vrm.vault.serverkey import ServerKey
from vrm.vault.vault import Vault


@pytest.fixture
def customer(vault: Vault, consent: Consent) -> Customer:
    return Customer(vault, consent)


@pytest.fixture
def vendor(consent: Consent) -> Vendor:
    return Vendor.register(consent)


@pytest.fixture
def thief(folder: Path, tmp_path: Path, server_key: ServerKey) -> Thief:
    lair = tmp_path / "lair"
    lair.mkdir()
    return Thief(folder, lair)


@dataclass
class Story:
    """Canaries everywhere, one grant: two of her own books leave, all else stays."""

    customer: Customer
    vendor: Vendor
    preview: Preview
    code: str
    tokens: TokenSet
    shared: list[str]
    withheld: dict[str, str]  # why → record
    canaries: list[str]


def tell(customer: Customer, vendor: Vendor) -> Story:
    """Fill every field, share two rows of a part of their fields."""
    documents = [canary_document("purchases", turn) for turn in range(7)]
    documents[2]["context"]["for"] = "gift"
    documents[3]["order"]["ordered"] = "2019-04-17"
    documents[4]["item"]["category"] = "toys"
    documents[5]["context"].pop("for")
    records = [customer.put(document) for document in documents]
    others = {name: canary_document(name, 9) for name in ("preferences", "profile")}
    for name, document in others.items():
        customer.put(document, name)
    ask = part(
        "purchases.item",
        "purchases.order",
        period="P2Y",
        filter={"category": ["books"]},
        fields=["title", "brand", "ordered"],
    )
    request = vendor.ask(ask, part("purchases.price", necessity="optional"))
    choices = {"exclude": frozenset({records[6]})}
    preview = customer.preview(request, **choices)
    code = customer.approve(request, **choices)
    reasons = ("gift", "year", "category", "unsorted", "excluded")
    canaries = list(texts_of([*documents, *others.values()]))
    return Story(
        customer,
        vendor,
        preview,
        code,
        vendor.redeem(code),
        records[:2],
        dict(zip(reasons, records[2:], strict=True)),
        canaries,
    )


@pytest.fixture
def story(customer: Customer, vendor: Vendor) -> Story:
    return tell(customer, vendor)
