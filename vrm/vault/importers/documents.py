"""A row as a purchase document, and what a later row may change in one.

Pure. The seller's facets (item, order, price, payment, recipient) follow the exports; context,
experience and notes are the customer's and no import writes there, except for suggestions, which stand
in the notes and are never taken for her word. Documents built here are valid by construction: texts are
clean and cut to the catalog's lengths.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vrm.vault.catalog import PURCHASES
from vrm.vault.importers.rows import Line

Document = dict[str, dict[str, Any]]

SELLERS_FACETS = ("item", "order", "price", "payment", "recipient")
CATEGORY = ("category", "category_path", "category_basis")
# A word further right is never replaced by one further left: an export without refunds knows less.
STATUS_RANK = {
    status: rank
    for rank, status in enumerate(
        ("unknown", "ordered", "shipped", "delivered", "cancelled", "partly-refunded", "returned")
    )
}
_MOST = {(facet.name, field.name): field.max for facet in PURCHASES.facets for field in facet.fields}
_TITLE, _BRAND, _PATH = _MOST["item", "title"], _MOST["item", "brand"], _MOST["item", "category_path"]
_ASIN, _ORDER, _SELLER = _MOST["item", "asin"], _MOST["order", "order_number"], _MOST["order", "seller"]
_METHOD, _NAME = _MOST["payment", "method"], _MOST["recipient", "name"]
_ADDRESS, _MESSAGE = _MOST["recipient", "address"], _MOST["recipient", "gift_message"]
_NTH = _MOST["order", "line"]


def source(format_name: str) -> str:
    """How a purchase says which kind of export it was learned from."""
    return f"export: {format_name}"


def _item(line: Line) -> dict[str, Any]:
    item = _said(
        {
            "title": line.title[:_TITLE].strip(),
            "category": line.category,
            "category_basis": line.category_basis,
            "asin": line.asin[:_ASIN].strip(),
        }
    )
    if line.brand or line.category_path or line.isbn:  # few say so
        brand, path = line.brand[:_BRAND].strip(), line.category_path[:_PATH].strip()
        item |= _said({"brand": brand, "category_path": path, "isbn": line.isbn})
    return item


def _order(line: Line, learned_from: str) -> dict[str, Any]:
    order = {
        "seller": line.seller[:_SELLER].strip(),
        "order_number": line.order_number[:_ORDER].strip(),
        "line": min(line.nth, _NTH),
        "ordered": line.ordered,
        "status": line.status,
        "learned_from": learned_from,
    }
    if line.delivered:
        order["delivered"] = line.delivered
    return _said(order)


def _recipient(line: Line) -> dict[str, Any]:
    recipient = _said(
        {"name": line.recipient_name[:_NAME].strip(), "address": line.recipient_address[:_ADDRESS].strip()}
    )
    if line.gift_message or line.sender_name:
        message, sender = line.gift_message[:_MESSAGE].strip(), line.sender_name[:_NAME].strip()
        recipient |= _said({"gift_message": message, "sender_name": sender})
    return recipient


def document(line: Line, learned_from: str) -> Document:
    """The purchase that a line tells of; what the export does not say is missing."""
    price: dict[str, Any] = {
        "unit_price": line.unit_price,
        "quantity": line.quantity,
        "total": line.total,
        "tax": line.tax,
        "currency": line.currency,
    }
    return {
        "item": _item(line),
        "order": _order(line, learned_from),
        "price": _said(price),
        "payment": _said({"method": line.payment_method[:_METHOD].strip(), "last4": line.last4}),
        "context": {},
        "recipient": _recipient(line),
        "experience": {},
        "notes": {},
    }


def _said(values: dict[str, Any]) -> dict[str, Any]:
    if all(values.values()):
        return values
    return {name: value for name, value in values.items() if value or value == 0}


def merge(current: Mapping[str, Mapping[str, Any]], facts: Document, *, newest: bool = True) -> Document:
    """The document with newer facts of the seller's facets; everything of the customer's stays.

    What the facts leave out stays as it was. With `newest` false (an export that its seller retired)
    they only fill gaps.
    """
    merged: Document = {name: dict(values) for name, values in current.items()}
    for name in SELLERS_FACETS:
        known, told = merged.setdefault(name, {}), dict(facts.get(name, {}))
        if name == "item":
            _merge_category(known, told, newest=newest)
        if name == "order":
            _merge_status(known, told)
        for field, value in told.items():
            if newest or field not in known:
                known[field] = value
    return merged


def _merge_status(known: dict[str, Any], told: dict[str, Any]) -> None:
    """The status further right; even an old export may know that a line came back."""
    status = told.pop("status", None)
    if status and STATUS_RANK[status] > STATUS_RANK.get(known.get("status", ""), -1):
        known["status"] = status


def _merge_category(known: dict[str, Any], told: dict[str, Any], *, newest: bool) -> None:
    """Category, path and basis belong together: all of them are taken, or none."""
    offered = {field: told.pop(field) for field in CATEGORY if field in told}
    if not _keeps_category(known, offered, newest=newest):
        for field in CATEGORY:
            known.pop(field, None)
        known.update(offered)


def _keeps_category(known: Mapping[str, Any], told: Mapping[str, Any], *, newest: bool) -> bool:
    """Whether the known category is at least as good as the told one."""
    if told.get("category", "other") == "other":
        return "category" in known
    if known.get("category", "other") == "other":
        return False
    said_before, said_now = (one.get("category_basis") == "said" for one in (known, told))
    return not newest if said_before == said_now else said_before


def with_facts_of(current: Mapping[str, Mapping[str, Any]], newer: Document) -> Document:
    """The customer's facets as they are now, the seller's facets as an import made them meanwhile."""
    return {
        name: dict(newer.get(name, {}) if name in SELLERS_FACETS else values)
        for name, values in current.items()
    }
