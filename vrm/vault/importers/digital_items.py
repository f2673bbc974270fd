"""The export "Request my data": digital orders (`Digital Items.csv`) and their money.

The current layout keeps amounts in a file of its own (`Digital Content Orders.csv`) that names only
the order: those rows become Charges, and whoever merges files gives them to the order's line.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from vrm.vault.importers import categories, rows
from vrm.vault.importers.csvfile import Occurrences, Table
from vrm.vault.importers.rows import Charge, Line, Rejection, Row
from vrm.vault.importers.values import Values, said, times

NAME = "Request my data: digital items"
CHARGES_NAME = "Request my data: digital payments"
COLUMNS: tuple[tuple[str, ...], ...] = (
    ("asin",),
    ("productname", "title"),
    ("orderid",),
    ("fulfilleddate",),
    ("isfulfilled",),
    ("marketplace", "website"),
    ("orderdate",),
    ("quantityordered", "originalquantity"),
    ("originalquantity", "quantityordered"),
    ("ourprice",),
    ("ourpricecurrencycode", "basecurrencycode"),
    ("ourpricetax",),
    ("publisher",),
    ("giftitem",),
    ("giftmessage",),
    ("giftcustomernickname",),
    ("recipientemail", "giftemail"),
)


def detect(header: frozenset[str]) -> bool:
    """Whether a file with these normalised columns lists digital items."""
    named = "orderid" in header and bool(header & {"productname", "title"})
    return named and bool(header & {"digitalorderitemid", "isfulfilled", "giftredemption"})


def detect_charges(header: frozenset[str]) -> bool:
    """Whether a file with these normalised columns lists what digital orders cost."""
    return {"orderid", "transactionamount"} <= header


def read(table: Table) -> Iterator[Row]:
    """The lines of the file, in its order."""
    values, seen = Values(), Occurrences()
    return table.rows(COLUMNS, lambda line_no, cells: _line(line_no, cells, values, seen))


def _line(line_no: int, cells: list[str], values: Values, seen: Occurrences) -> Line | Rejection:
    asin, name, order, fulfilled, done, site, day, many, other, price, currency, tax, publisher = cells[:13]
    gift, message, nickname, email = cells[13:]
    order = values.text(order)
    if not order:
        return Rejection(line_no, "OrderId", rows.NO_ORDER)
    if not name and not asin:
        return Rejection(line_no, "ProductName", rows.NO_ITEM)
    title, number, isbn, item_key = categories.article(name, asin)
    kind = categories.derive(title, book=bool(isbn)).id
    seller = values.seller(site)
    quantity = values.quantity(many)
    quantity = values.quantity(other) if quantity is None else quantity
    unit_price, unit_tax, delivered = values.money(price), values.money(tax), values.date(fulfilled)
    return Line(
        line_no=line_no,
        seller=seller,
        order_number=order,
        item_key=item_key,
        title=title,
        isbn=isbn,
        asin=number,
        brand=values.text(publisher),
        category="digital" if kind == "other" else kind,
        category_basis="guessed",
        ordered=values.date(day),
        delivered=delivered,
        status="delivered" if said(done) else "ordered",
        unit_price=unit_price,
        quantity=quantity,
        total=_total(unit_price, unit_tax, quantity),
        tax=times(unit_tax, quantity),
        currency=values.currency(currency),
        recipient_name=values.text(nickname or email),
        gift_message=values.text(message),
        gift_item=said(gift),
        nth=seen.nth(seller, order, item_key),  # last: a rejected line does not count
    )


def _total(unit_price: str, unit_tax: str, quantity: int | None) -> str:
    if not unit_price:
        return ""
    each = Decimal(unit_price) + Decimal(unit_tax or "0")
    return times(str(each), quantity)


def read_charges(table: Table) -> Iterator[Row]:
    """What was charged for each order, several rows to an order."""
    values = Values()

    def charge(line_no: int, cells: list[str]) -> Charge | Rejection | None:
        order, amount, currency = cells
        if not order:
            return Rejection(line_no, "Order ID", rows.NO_ORDER)
        money = values.money(amount)
        return Charge(line_no, order, money, values.currency(currency)) if money else None

    return table.rows((("orderid",), ("transactionamount",), ("basecurrencycode", "currency")), charge)
