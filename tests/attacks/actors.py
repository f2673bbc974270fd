"""Customer, Vendor and Thief: each does what its kind can do, through the real interfaces."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.beside import ON_POSTGRESQL, dumped
from vrm import thief
from vrm.consent.asking import StoredRequest
from vrm.consent.requests import Choices, Preview
from vrm.consent.scopes import check_details
from vrm.consent.service import Consent
from vrm.consent.tokens import TokenSet
from vrm.consent.vendors import Vendor as Registered
from vrm.consent.writers import State
from vrm.thief.credential import Loot, open_with
from vrm.thief.keys import Database
from vrm.vault import serverkey
from vrm.vault.catalog import CATALOG, Field
from vrm.vault.vault import Vault

CALLBACK = "https://books.example/cb"
Document = dict[str, dict[str, Any]]


def part(*datatypes: str, **limits: Any) -> dict[str, Any]:
    """A part of a request for some datatypes of one collection."""
    usual = {"type": "vrm_access", "datatypes": list(datatypes), "purpose": "ProvideProductRecommendations"}
    return {**usual, **limits}


def writing(collection: str = "purchases", **rest: Any) -> dict[str, Any]:
    """A part of a request to leave something."""
    return part(collection, actions=["write"], **rest)


@dataclass
class Customer:
    """Who holds the vault."""

    vault: Vault
    consent: Consent

    def put(self, document: Document, collection: str = "purchases", record: str | None = None) -> str:
        return self.vault.records(collection).put(document, record)

    def buy(self, title: str, for_whom: str | None = "self", **facets: dict[str, Any]) -> str:
        """A book that she ordered."""
        context = {"context": {"for": for_whom}} if for_whom else {}
        document = {
            "item": {"title": title, "category": "books", **facets.pop("item", {})},
            "order": {"ordered": "2026-05-01", "seller": "books.example", **facets.pop("order", {})},
            "price": {"total": "12.99", "currency": "EUR"},
            **context,
            **facets,
        }
        return self.put(document)

    def change(self, record: str, facet: str, **values: Any) -> None:
        document = self.vault.records("purchases").get(record)
        document[facet] = {**document[facet], **values}
        self.put(document, record=record)

    def titles(self) -> list[str]:
        """Of all that she ordered."""
        return sorted(document["item"]["title"] for _, document in self.vault.records("purchases").scan())

    def preview(self, request: StoredRequest, **choices: Any) -> Preview:
        return self.consent.requests.preview(self.vault, request.handle, Choices(**choices))

    def approve(self, request: StoredRequest, **choices: Any) -> str:
        """The code that goes to the vendor."""
        digest = self.preview(request, **choices).digest
        decision = self.consent.requests.approve(self.vault, request.handle, Choices(**choices), digest)
        assert decision.code
        return decision.code

    def events(self) -> list[str]:
        """The events of her log, the newest first."""
        return [entry.event for entry in self.consent.log.read(self.vault, 1000)]


@dataclass
class Vendor:
    """Who asks."""

    consent: Consent
    registered: Registered
    verifier: str = field(default_factory=lambda: secrets.token_urlsafe(32))

    @classmethod
    def register(cls, consent: Consent, name: str = "Corner Books", **rest: Any) -> Vendor:
        return cls(consent, consent.vendors.add(name, [CALLBACK], **rest)[0])

    @property
    def challenge(self) -> str:
        return base64.urlsafe_b64encode(hashlib.sha256(self.verifier.encode()).digest()).rstrip(b"=").decode()

    def ask(self, *parts: dict[str, Any], **extras: Any) -> StoredRequest:
        checked = check_details(list(parts or [part("purchases.item")]), beside_scope=True)
        return self.consent.requests.submit(
            self.registered,
            checked,
            redirect_uri=CALLBACK,
            state="st4te",
            code_challenge=self.challenge,
            extras=extras,
        )

    def redeem(self, code: str) -> TokenSet:
        return self.consent.tokens.redeem(code, self.registered, CALLBACK, self.verifier)

    def refresh(self, token: str, scope: str | None = None) -> TokenSet:
        return self.consent.tokens.refresh(token, self.registered, scope)

    def connect(self, customer: Customer, *parts: dict[str, Any], **choices: Any) -> TokenSet:
        return self.redeem(customer.approve(self.ask(*parts), **choices))

    def read(self, token: str, collection: str = "purchases", limit: int = 500) -> list[dict[str, Any]]:
        """Every row of a collection, page by page."""
        access, cursor, rows = self.consent.reader.authenticate(token), None, []
        while True:
            page, cursor = self.consent.reader.page(access, collection, limit=limit, cursor=cursor)
            rows += [json.loads(text) for text in page]
            if cursor is None:
                return rows

    def leave(
        self, token: str, document: object, once: str = "", collection: str = "purchases"
    ) -> tuple[State, str]:
        """Leave something; (state, ETag)."""
        access = self.consent.reader.authenticate(token)
        return self.consent.deposits.submit(access, collection, document, once or secrets.token_hex(8))

    def state(self, token: str, item: bytes, collection: str = "purchases") -> State:
        """What this vendor is told of one of its deposits."""
        access = self.consent.reader.authenticate(token)
        return self.consent.deposits.one(access, collection, item.hex())[0]

    def titles(self, token: str) -> list[str]:
        return sorted(row["item"]["title"] for row in self.read(token))


@dataclass
class Thief:
    """Who copies the data directory."""

    data: Path
    lair: Path

    def copy(self, name: str = "copy") -> Path:
        target = self.lair / name
        shutil.copytree(self.data, target)
        if ON_POSTGRESQL:
            dumped(self.data, target / "vrm.db")
        return target

    def rob(
        self, token: str | None = None, look_for: Sequence[str] = (), *, key: bool = True
    ) -> thief.Report:
        """Copy now and try everything; without the server key if `key` is False."""
        copy = self.copy(secrets.token_hex(4))
        if not key:
            (copy / "server.key").unlink()
        return thief.rob(copy, token=token, look_for=look_for)

    def open(self, token: str) -> Loot:
        """Copy now and only open with this credential (and try its keys on everything)."""
        copy = self.copy(secrets.token_hex(4))
        database = Database(copy / "vrm.db")
        try:
            return open_with(database, serverkey.load(copy / "server.key").pepper, token)
        finally:
            database.close()


def canary(path: str, spec: Field, turn: int) -> Any:
    """A value of this field that stands nowhere else, or a usual one where the field has no room for it."""
    mark = (
        f"Canary-{path.replace('.', '-')}-{turn}-" + hashlib.sha256(f"{path}{turn}".encode()).hexdigest()[:6]
    )
    match spec.kind:
        case "text" | "longtext" | "currency" | "isbn" | "gtin":
            return mark if spec.max >= len(mark) else mark[-spec.max :]
        case "url":
            return f"https://canary.example/{mark}"
        case "list":
            return [mark + "a", mark + "b"]
        case "date":
            return "2026-04-17"
        case "money":
            return f"98765{turn:03}.4321"
        case "integer":
            return spec.max - 1 if spec.max < 1000 else spec.max - 1 - turn
        case "choice":
            return spec.choices[0][0]
        case "boolean":
            return True
    raise AssertionError(spec.kind)


def canary_document(collection: str, turn: int, for_whom: str = "self") -> Document:
    """Every field of every facet filled."""
    facets = next(item for item in CATALOG if item.name == collection).facets
    document = {
        facet.name: {
            spec.name: canary(f"{collection}.{facet.name}.{spec.name}", spec, turn) for spec in facet.fields
        }
        for facet in facets
    }
    if collection == "purchases":
        document["context"]["for"] = for_whom
        document["item"]["category"] = "books"
    return document


def texts_of(document: object) -> Iterator[str]:
    """Every text of ten bytes and more in a document that can be told from anything else."""
    if isinstance(document, dict):
        for value in document.values():
            yield from texts_of(value)
    elif isinstance(document, list):
        for value in document:
            yield from texts_of(value)
    elif isinstance(document, str) and ("anary" in document or document.startswith("98765")):
        yield document
