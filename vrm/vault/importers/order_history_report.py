"""The older "Order History Report" (until March 2023), three layouts: Items, Orders, Returns.

Items gives purchases with the seller's category and UNSPSC code. Returns marks lines as returned.
Orders names no items: it is recognised and answered with the report that is needed instead.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from vrm.vault.importers import categories, rows
from vrm.vault.importers.csvfile import Occurrences, Table
from vrm.vault.importers.rows import Line, Rejection, Return, Row
from vrm.vault.importers.values import Values

NAME = "Order History Report"
RETURNS_NAME = "Order History Report: returns"
ORDERS_NAME = "Order History Report: orders"
COLUMNS: tuple[tuple[str, ...], ...] = (
    ("orderdate",),
    ("orderid",),
    ("title",),
    ("category",),
    ("asinisbn",),
    ("unspsccode",),
    ("website",),
    ("purchasepriceperunit",),
    ("quantity",),
    ("paymentinstrumenttype",),
    ("shipmentdate",),
    ("orderstatus",),
    ("itemsubtotaltax",),
    ("itemtotal",),
    ("currency",),
    ("shippingaddressname",),
    ("shippingaddressstreet1",),
    ("shippingaddressstreet2",),
    ("shippingaddresscity",),
    ("shippingaddressstate",),
    ("shippingaddresszip",),
)
_STATUS = {
    "shipped": "shipped",
    "delivered": "delivered",
    "cancelled": "cancelled",
    "canceled": "cancelled",
    "pending": "ordered",
}
_LOST_ZERO = re.compile(r"\d{4}(-\d{4})?", re.ASCII)


def detect(header: frozenset[str]) -> bool:
    """Whether a file with these normalised columns is the Items layout."""
    return {"orderid", "asinisbn"} <= header and "returndate" not in header


def detect_returns(header: frozenset[str]) -> bool:
    """Whether a file with these normalised columns is the Returns layout."""
    return {"orderid", "asinisbn", "returndate"} <= header


def detect_orders(header: frozenset[str]) -> bool:
    """Whether a file with these normalised columns is the Orders layout."""
    return {"orderid", "totalcharged"} <= header and not header & {"title", "asinisbn"}


def read(table: Table) -> Iterator[Row]:
    """The lines of an Items file, in its order."""
    values, seen = Values(), Occurrences()
    return table.rows(COLUMNS, lambda line_no, cells: _line(line_no, cells, values, seen))


def _line(line_no: int, cells: list[str], values: Values, seen: Occurrences) -> Line | Rejection:
    day, order, name, path, number, code, site, price, many, paid, shipped, state = cells[:12]
    tax, total, currency = cells[12:15]
    order = values.text(order)
    if not order:
        return Rejection(line_no, "Order ID", rows.NO_ORDER)
    if not name and not number:
        return Rejection(line_no, "Title", rows.NO_ITEM)
    title, asin, isbn, item_key = categories.article(name, number)
    category = categories.derive(title, book=bool(isbn), path=path, unspsc=code)
    seller = values.seller(site)
    method, last4 = values.payment(paid)
    return Line(
        line_no=line_no,
        seller=seller,
        order_number=order,
        item_key=item_key,
        title=title,
        isbn=isbn,
        asin=asin,
        category=category.id,
        category_path=values.text(path),
        category_basis=category.basis,
        ordered=values.date(day),
        status=_status(state, values.date(shipped)),
        unit_price=values.money(price),
        quantity=values.quantity(many),
        total=values.money(total),
        tax=values.money(tax),
        currency=values.currency(currency),
        payment_method=method,
        last4=last4,
        recipient_name=values.text(cells[15]),
        recipient_address=values.text(_address(*cells[16:21])),
        nth=seen.nth(seller, order, item_key),  # last: a rejected line does not count
    )


def _status(state: str, shipped: str) -> str:
    return _STATUS.get(state.lower(), "shipped" if shipped else "unknown")


def _address(street: str, second: str, city: str, state: str, postcode: str) -> str:
    """One line of address; a postcode that lost its zero gets it back."""
    if _LOST_ZERO.fullmatch(postcode):
        postcode = "0" + postcode
    place = " ".join(part for part in (state, postcode) if part)
    return ", ".join(part for part in (street, second, city, place) if part)


def read_returns(table: Table) -> Iterator[Row]:
    """The lines that were sent back."""
    values = Values()

    def returned(line_no: int, cells: list[str]) -> Return | Rejection:
        order, number, name, day = cells
        values.date(day)  # only that it is one
        if not order:
            return Rejection(line_no, "Order ID", rows.NO_ORDER)
        if not number and not name:
            return Rejection(line_no, "Title", rows.NO_ITEM)
        return Return(line_no, order, categories.article(name, number).key)

    return table.rows((("orderid",), ("asinisbn",), ("title",), ("returndate",)), returned)


def read_orders(_table: Table) -> Iterator[Row]:
    """One answer for the whole file: which report has the items."""
    yield Rejection(1, "", rows.ITEMS_NEEDED)
