"""The export "Request my data": retail orders (`Retail.OrderHistory.N.csv`, `Order History.csv`).

Covers the older layouts with 27 and 28 columns, the current alphabetical one, the one with a
department, and files from which people removed columns: only an order number and a title or item
number are needed. The shipment's subtotals repeat on every line of a shipment and are not read.
"""

from __future__ import annotations

from collections.abc import Iterator

from vrm.vault.importers import categories, rows
from vrm.vault.importers.csvfile import Occurrences, Table
from vrm.vault.importers.rows import Line, Rejection, Row
from vrm.vault.importers.values import Values, said, times

NAME = "Request my data"
_TELLING = {
    "website", "totalowed", "totalamount", "unitprice", "shipmentstatus", "orderstatus",
    "paymentinstrumenttype", "paymentmethodtype", "shipmentitemsubtotal", "shippingaddress",
}  # fmt: skip
COLUMNS: tuple[tuple[str, ...], ...] = (
    ("website",),
    ("orderid",),
    ("orderdate",),
    ("currency",),
    ("unitprice",),
    ("unitpricetax",),
    ("totalowed", "totalamount"),
    ("asin",),
    ("quantity", "originalquantity"),
    ("paymentinstrumenttype", "paymentmethodtype"),
    ("orderstatus",),
    ("shipmentstatus",),
    ("shipdate",),
    ("shippingaddress",),
    ("productname",),
    ("giftmessage",),
    ("giftsendername",),
    ("giftrecipientcontactdetails", "giftrecipientcontact"),
    ("department",),
    ("giftwrap", "giftwraptype", "giftwrapcharge"),
)


def detect(header: frozenset[str]) -> bool:
    """Whether a file with these normalised columns lists retail orders."""
    named = "productname" in header or "asin" in header
    return named and "orderid" in header and "digitalorderitemid" not in header and bool(header & _TELLING)


def status(order: str, shipment: str, shipped: str) -> str:
    """Our status for the export's two words and its day of shipping."""
    order, shipment = order.lower(), shipment.lower()
    if order.startswith("cancel"):
        return "cancelled"
    if shipment == "delivered":
        return "delivered"
    if shipment == "shipped" or (shipped and order in {"closed", ""}):
        return "shipped"
    return "ordered" if order in {"new", "authorized", "closed", "pending"} else "unknown"


def read(table: Table) -> Iterator[Row]:
    """The lines of the file, in its order."""
    values, seen = Values(), Occurrences()
    return table.rows(COLUMNS, lambda line_no, cells: _line(line_no, cells, values, seen))


def _line(line_no: int, cells: list[str], values: Values, seen: Occurrences) -> Line | Rejection:
    site, order, day, currency, price, tax, total, asin, many, paid, state, shipment, ship_day = cells[:13]
    address, name, message, sender, recipient, department, wrap = cells[13:]
    order = values.text(order)
    if not order:
        return Rejection(line_no, "Order ID", rows.NO_ORDER)
    if not name and not asin:
        return Rejection(line_no, "Product Name", rows.NO_ITEM)
    title, number, isbn, item_key = categories.article(name, asin)
    category = categories.derive(title, book=bool(isbn), path=department)
    seller = values.seller(site)
    quantity = values.quantity(many)
    method, last4 = values.payment(paid)
    return Line(
        line_no=line_no,
        seller=seller,
        order_number=order,
        item_key=item_key,
        title=title,
        isbn=isbn,
        asin=number,
        category=category.id,
        category_path=values.text(department),
        category_basis=category.basis,
        ordered=values.date(day),
        status=status(state, shipment, values.date(ship_day)),
        unit_price=values.money(price),
        quantity=quantity,
        total=values.money(total),
        tax=times(values.money(tax), quantity),
        currency=values.currency(currency),
        payment_method=method,
        last4=last4,
        recipient_name=values.text(recipient),
        recipient_address=values.text(address),
        gift_message=values.text(message),
        sender_name=values.text(sender),
        gift_wrap=said(wrap),
        nth=seen.nth(seller, order, item_key),  # last: a rejected line does not count
    )
