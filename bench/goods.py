"""Invented purchases and an invented order history, the same on every machine and in every run."""

from __future__ import annotations

import csv
import random
from collections.abc import Callable, Iterator, Mapping
from datetime import date, timedelta
from pathlib import Path
from typing import Any

Document = dict[str, dict[str, Any]]
ADJECTIVES = (
    "Quiet",
    "Northern",
    "Amber",
    "Second",
    "Hollow",
    "Paper",
    "Distant",
    "Patient",
    "Copper",
    "Late",
)
NOUNS = ("Harbour", "Garden", "Atlas", "Orchard", "Lantern", "Winter", "Kitchen", "Letters", "Museum", "Tide")
FIRST_DAY = date(2021, 1, 4)
ADDRESS = "Alice Rowan 14 Quince Lane Fernhill VT 05999 United States"
NONE = "Not Available"
COLUMNS = {  # of the current export, and what stands in most lines
    "Website": "Amazon.com",
    "Order ID": "",
    "Order Date": "",
    "Purchase Order Number": "Not Applicable",
    "Currency": "USD",
    "Unit Price": "",
    "Unit Price Tax": "0.42",
    "Shipping Charge": "0",
    "Total Discounts": "0",
    "Total Owed": "",
    "Shipment Item Subtotal": "24.75",
    "Shipment Item Subtotal Tax": "1.48",
    "ASIN": "",
    "Product Condition": "New",
    "Quantity": "1",
    "Payment Instrument Type": "Visa - 4411",
    "Order Status": "Closed",
    "Shipment Status": "Shipped",
    "Ship Date": "",
    "Shipping Option": "std-us",
    "Shipping Address": ADDRESS,
    "Billing Address": ADDRESS,
    "Carrier Name & Tracking Number": "DEMO(098894851990)",
    "Product Name": "",
    "Gift Message": NONE,
    "Gift Sender Name": NONE,
    "Gift Recipient Contact Details": NONE,
    "Item Serial Number": NONE,
}


def title(number: int) -> str:
    """A title of the usual length."""
    first, second = ADJECTIVES[number % 10], NOUNS[number // 10 % 10]
    return f"The {first} {second}: a novel of the {NOUNS[number // 100 % 10].lower()}, volume {number}"


def purchases(count: int, *, gifts: bool = True) -> Iterator[Document]:
    """Documents as an import leaves them; every other one was a gift, unless there are none.

    Every eighth is music, and no gift.
    """
    for number in range(count):
        gift = gifts and number % 2 == 1
        yield {
            "item": {
                "title": title(number),
                "category": "music" if number % 8 == 0 else "books",
                "category_basis": "guessed",
                "asin": f"B0{number:08d}",
            },
            "order": {
                "seller": "amazon.com",
                "order_number": f"999-{number:07d}-{number * 7 % 10_000_000:07d}",
                "line": 1,
                "ordered": (FIRST_DAY + timedelta(days=number % 2000)).isoformat(),
                "status": "delivered",
                "learned_from": "export: Request my data",
            },
            "price": {
                "unit_price": "12.99",
                "quantity": 1,
                "total": "14.20",
                "tax": "1.21",
                "currency": "USD",
            },
            "payment": {"method": "Visa", "last4": "4411"},
            "context": {"for": "gift", "occasion": "birthday"} if gift else {"for": "self"},
            "recipient": {"name": "Robin Rowan", "address": ADDRESS} if gift else {},
        }


def valid(
    count: int, check: Callable[[Mapping[str, Any]], Document], *, gifts: bool = True
) -> Iterator[Document]:
    """The same, complete and checked, in a fraction of the time: one of each shape is looked at."""
    shapes = [check(document) for document in purchases(8, gifts=gifts)]
    for number, document in enumerate(purchases(count, gifts=gifts)):
        shape = shapes[number % 8]
        yield {**shape, **{facet: {**shape[facet], **document[facet]} for facet in ("item", "order")}}


def write_history(path: Path, lines: int, seed: int = 1) -> None:
    """An export "Request my data" with so many lines, in orders of one to four."""
    chance = random.Random(seed)
    order, day, left = "", FIRST_DAY, 0
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.DictWriter(file, COLUMNS)
        rows.writeheader()
        for number in range(lines):
            if not left:
                left = chance.randint(1, 4)
                order = f"999-{chance.randrange(10**7):07d}-{chance.randrange(10**7):07d}"
                day = FIRST_DAY + timedelta(days=chance.randrange(2000))
            left -= 1
            rows.writerow(COLUMNS | _line(number, order, day, chance))


def _line(number: int, order: str, day: date, chance: random.Random) -> dict[str, str]:
    price = f"{chance.randint(300, 9000) / 100:.2f}"
    return {
        "Order ID": order,
        "Order Date": f"{day}T09:31:50Z",
        "Unit Price": price,
        "Total Owed": price,
        "ASIN": f"B0DEMO{number:06d}",
        "Ship Date": f"{day}T19:31:50Z",
        "Product Name": title(number),
    }
