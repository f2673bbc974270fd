"""How what a vendor left becomes a record, and what a later word of it may change. Pure.

The law: a deposit changes only a record that it brought itself, and there only what it said itself and
nobody has changed since, and gaps. What the customer typed, or an import told, stays; so does what she
removed. An order's status moves on (ordered, delivered, cancelled …) and never back; that alone also where
another brought the line, and only by the word of the very shop (`is_the_shop`): all else, a date above all,
could bring a purchase that she withholds into a view. Nothing of context, experience and notes is the
sender's to say, so nothing there changes.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

from vrm.vault.catalog import CATALOG_BY_NAME
from vrm.vault.importers import categories
from vrm.vault.importers.documents import CATEGORY, STATUS_RANK
from vrm.vault.importers.values import clean, parse_seller

Document = dict[str, dict[str, Any]]
CANCELLED = "cancelled"
_NOT_ITS_OWN: dict[str, Any] = {"said": "before"}  # equals no value of a field


def facts(collection: str, document: Document, vendor_name: str, at: date) -> Document:
    """What a deposit says, completed by what the vault knows: who left it and when."""
    told = {facet: dict(values) for facet, values in document.items() if values}
    if collection == "inbox":
        return told | {
            "message": {**told.get("message", {}), "from": vendor_name, "received": at.isoformat()}
        }
    item, order = told.setdefault("item", {}), told.setdefault("order", {})
    isbn = item.get("isbn") or categories.isbn(_number(item))
    if isbn:
        item["isbn"] = isbn
    if "category" in item:
        item["category_basis"] = "said"
    else:
        guess = categories.derive(item.get("title", ""), book=bool(isbn), path=item.get("category_path", ""))
        item |= {"category": guess.id, "category_basis": guess.basis}
    order.setdefault("seller", vendor_name[:120])
    order["learned_from"] = f"{vendor_name}: left in this vault"[:300]
    return told


def lines_of(document: Document) -> list[tuple[str, str, str, str]]:
    """The lines of an export that a purchase may be; none without an order number.

    By the first of them an import knows it again. There are more of a book, which has two numbers.
    """
    item, order = document.get("item", {}), document.get("order", {})
    seller, number = parse_seller(order.get("seller", "")), clean(order.get("order_number", ""))
    key = categories.article(item.get("title", ""), _number(item)).key
    return [(seller, number, one, "1") for one in categories.spellings(key)] if number and key else []


def _number(item: Mapping[str, Any]) -> str:
    return str(item.get("asin") or item.get("isbn") or item.get("gtin") or "")


def as_new(newer: Document, vendor_name: str) -> Document:
    """The facts of a purchase that nobody told of before; until sorted, `left_by` keeps it out of views."""
    return {**newer, "order": {**newer["order"], "line": 1}, "notes": {"left_by": vendor_name[:200]}}


def again(collection: str, newer: Document, said: Document, at: date) -> Document:
    """The facts of a later word, with what the vault noted at the first."""
    if collection == "inbox":
        received = said["message"].get("received", at.isoformat())
        return {"message": {**newer["message"], "received": received, "revised": at.isoformat()}}
    line = {"line": said["order"]["line"]} if "line" in said.get("order", {}) else {}
    return {**newer, "order": {**newer["order"], **line}, "notes": dict(said.get("notes", {}))}


def complete(collection: str, values: Mapping[str, Mapping[str, Any]]) -> Document:
    """A document with every facet present."""
    return {facet.name: dict(values.get(facet.name, {})) for facet in CATALOG_BY_NAME[collection].facets}


def brought(collection: str, newer: Document) -> bool:
    """Whether these facts (of `as_new` or `again`) are of a record that the deposit brought itself."""
    return collection == "inbox" or "left_by" in newer.get("notes", {})


def is_the_shop(current: Mapping[str, Mapping[str, Any]], sellers: frozenset[str]) -> bool:
    """Whether the order is one of these sellers: a vendor's own by the customer's or the host's word."""
    return current.get("order", {}).get("seller") in sellers


def moved_on(current: Mapping[str, Mapping[str, Any]], newer: Document) -> Document:
    """The record with the order's status where that moves it on; nothing else changes."""
    moved: Document = {facet: dict(values) for facet, values in current.items()}
    told = newer.get("order", {}).get("status")
    if _moves_on(moved.get("order", {}).get("status"), told):
        _set(moved, "order", "status", told)
    return moved


def merge(
    current: Mapping[str, Mapping[str, Any]], said: Mapping[str, Mapping[str, Any]], newer: Document
) -> tuple[Document, Document]:
    """(the record with what may change changed, what counts as said from now on).

    Of a record that this deposit brought. `said` is what it said before: {} at its first word. What others
    said first never counts as its own, were the words the same. Category, its path and its basis are one.
    """
    merged: Document = {facet: dict(values) for facet, values in current.items()}
    known: Document = {}
    for facet, name in sorted(_fields(said) | _fields(newer)):
        names = CATEGORY if name in CATEGORY else (name,)
        here, before, told = (
            [values.get(facet, {}).get(one) for one in names] for values in (current, said, newer)
        )
        changes = here == before or (name == "status" and _moves_on(here[0], told[0]))
        for one, value, earlier in zip(names, told, before, strict=True):
            if changes:
                _set(merged, facet, one, value)
                _set(known, facet, one, value)
            else:
                _set(known, facet, one, value and _NOT_ITS_OWN if earlier is None else earlier)
    return merged, known


def _fields(values: Mapping[str, Mapping[str, Any]]) -> set[tuple[str, str]]:
    return {(facet, name) for facet, fields in values.items() for name in fields}


def _set(values: Document, facet: str, name: str, value: Any) -> None:
    if value is None:
        values.setdefault(facet, {}).pop(name, None)
    else:
        values.setdefault(facet, {})[name] = value


def _moves_on(known: str | None, told: str | None) -> bool:
    return bool(told) and STATUS_RANK.get(told or "", -1) > STATUS_RANK.get(known or "", -1)


def taken_back(collection: str, said: Document, at: date) -> Document:
    """What a deposit says once its writer took it back: a cancelled order, a message marked so."""
    if collection == "inbox":
        return {**said, "message": {**said.get("message", {}), "withdrawn": True, "revised": at.isoformat()}}
    return {**said, "order": {**said.get("order", {}), "status": CANCELLED}}
