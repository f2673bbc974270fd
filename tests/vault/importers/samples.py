"""Exports made up by the tests, in the layouts that sellers really hand out."""

from __future__ import annotations

import csv
import io
import os
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from vrm.vault.importers import reading
from vrm.vault.importers.csvfile import Budget, Table
from vrm.vault.importers.limits import Limits
from vrm.vault.importers.rows import Line, Row


def _columns(names: str) -> list[str]:
    return names.split(",")


A1 = _columns(
    "Website,Order ID,Order Date,Purchase Order Number,Currency,Unit Price,Unit Price Tax,"
    "Shipping Charge,Total Discounts,Total Owed,Shipment Item Subtotal,Shipment Item Subtotal Tax,ASIN,"
    "Product Condition,Quantity,Payment Instrument Type,Order Status,Shipment Status,Ship Date,"
    "Shipping Option,Shipping Address,Billing Address,Carrier Name & Tracking Number,Product Name,"
    "Gift Message,Gift Sender Name,Gift Recipient Contact Details,Item Serial Number"
)
A2 = A1[:-1]
A3 = _columns(
    "ASIN,Billing Address,Carrier Name & Tracking Number,Currency,Gift Message,Gift Recipient Contact,"
    "Gift Sender Name,Item Serial Number,Order Date,Order ID,Order Status,Original Quantity,"
    "Payment Method Type,Product Condition,Product Name,Purchase Order Number,Ship Date,"
    "Shipment Item Subtotal,Shipment Item Subtotal Tax,Shipment Status,Shipping Address,"
    "Shipping Charge,Shipping Option,Total Amount,Total Discounts,Unit Price,Unit Price Tax,Website"
)
A4 = [*A3[:4], "Department", *A3[4:]]
VARIANTS = {"A1": A1, "A2": A2, "A3": A3, "A4": A4}
RENAMED = {
    "Total Amount": "Total Owed",
    "Original Quantity": "Quantity",
    "Payment Method Type": "Payment Instrument Type",
    "Gift Recipient Contact": "Gift Recipient Contact Details",
}
REFUNDS_OLD = [
    "OrderID",
    "ReversalID",
    "RefundCompletionDate",
    "Currency",
    "AmountRefunded",
    "Status",
    "DisbursementType",
]
REFUNDS_NEW = _columns("Order ID,Refund Date,Currency,Refund Amount,Payment Status")
DIGITAL = _columns(
    "ASIN,ProductName,OrderId,DigitalOrderItemId,DeclaredCountryCode,BaseCurrencyCode,FulfilledDate,"
    "IsFulfilled,Marketplace,OrderDate,OriginalQuantity,OurPrice,OurPriceCurrencyCode,OurPriceTax,"
    "SellerOfRecord,Publisher,GiftItem,OrderingCustomerNickname,GiftCustomerNickname,GiftMessage,"
    "GiftEmail,RecipientEmail,GiftRedemption,ItemMergedFromAnotherOrder,QuantityOrdered"
)
CHARGES = _columns("Delivery Packet ID,Transaction Amount,Base Currency Code,Order ID")
ITEMS = _columns(
    "Order Date,Order ID,Title,Category,ASIN/ISBN,UNSPSC Code,Website,Release Date,Condition,Seller,"
    "Seller Credentials,List Price Per Unit,Purchase Price Per Unit,Quantity,Payment Instrument Type,"
    "Purchase Order Number,PO Line Number,Ordering Customer Email,Shipment Date,Shipping Address Name,"
    "Shipping Address Street 1,Shipping Address Street 2,Shipping Address City,Shipping Address State,"
    "Shipping Address Zip,Order Status,Carrier Name & Tracking Number,Item Subtotal,Item Subtotal Tax,"
    "Item Total,Tax Exemption Applied,Tax Exemption Type,Exemption Opt-Out,Buyer Name,Currency,"
    "Group Name"
)
RETURNS = _columns(
    "Order ID,Order Date,Title,Category,ASIN/ISBN,Website,Purchase Order Number,Seller,"
    "Seller Credentials,Ordering Customer Email,Shipment Date,Shipping Address Name,Return Date,"
    "Return Reason,Quantity,Buyer Name,Group Name"
)
ORDERS = _columns(
    "Order Date,Order ID,Payment Instrument Type,Website,Purchase Order Number,Ordering Customer Email,"
    "Shipment Date,Shipping Address Name,Order Status,Carrier Name & Tracking Number,Subtotal,"
    "Shipping Charge,Tax Before Promotions,Total Promotions,Tax Charged,Total Charged,Buyer Name,"
    "Group Name"
)

HOME = "Alice Example 1 Elm Street Anytown NY 12345 United States"
RETAIL_LINE = {
    "Website": "Amazon.com",
    "Order ID": "111-1111111-1111111",
    "Order Date": "2025-03-04T05:06:07Z",
    "Purchase Order Number": "Not Applicable",
    "Currency": "USD",
    "Unit Price": "12.5",
    "Unit Price Tax": "1",
    "Shipping Charge": "0",
    "Total Discounts": "0",
    "Total Owed": "13.5",
    "Shipment Item Subtotal": "99",
    "Shipment Item Subtotal Tax": "9",
    "ASIN": "B000000001",
    "Product Condition": "New",
    "Quantity": "1",
    "Payment Instrument Type": "Visa - 1234",
    "Order Status": "Closed",
    "Shipment Status": "Shipped",
    "Ship Date": "2025-03-05T05:06:07Z",
    "Shipping Option": "std",
    "Shipping Address": HOME,
    "Billing Address": HOME,
    "Carrier Name & Tracking Number": "UPS(1Z)",
    "Product Name": "Walking boots",
    "Gift Message": "Not Available",
    "Gift Sender Name": "Not Available",
    "Gift Recipient Contact Details": "Not Available",
    "Item Serial Number": "Not Available",
    "Department": "Not Available",
}
DIGITAL_LINE = {
    "ASIN": "B0DIGITAL1",
    "ProductName": "A Quiet Sea (Kindle Edition)",
    "OrderId": "D01-1111111-1111111",
    "DigitalOrderItemId": "ITEM1",
    "BaseCurrencyCode": "USD",
    "FulfilledDate": "2025-05-06T07:08:09Z",
    "IsFulfilled": "Yes",
    "Marketplace": "www.amazon.com",
    "OrderDate": "2025-05-06T07:08:09Z",
    "OriginalQuantity": "1",
    "OurPrice": "9.99",
    "OurPriceCurrencyCode": "USD",
    "OurPriceTax": "Not Applicable",
    "Publisher": "Harbour House",
    "GiftItem": "No",
    "QuantityOrdered": "1",
}
REPORT_LINE = {
    "Order Date": "01/21/18",
    "Order ID": "113-1111111-1111111",
    "Title": "Paper towels, 24 rolls",
    "Category": "PAPER_TOWEL",
    "ASIN/ISBN": "B01LFFGW5K",
    "UNSPSC Code": "14111703",
    "Website": "Amazon.com",
    "Purchase Price Per Unit": "$17.52",
    "Quantity": "1",
    "Payment Instrument Type": "Visa - 0567",
    "Shipment Date": "01/22/18",
    "Shipping Address Name": "Alice Example",
    "Shipping Address Street 1": "1 Elm Street",
    "Shipping Address City": "CAMBRIDGE",
    "Shipping Address State": "MA",
    "Shipping Address Zip": "02138-5221",
    "Order Status": "Shipped",
    "Item Subtotal Tax": "$1.55",
    "Item Total": "$19.07",
    "Buyer Name": "Alice Example",
    "Currency": "USD",
}


def csv_bytes(
    header: Sequence[str],
    lines: Sequence[Mapping[str, str]],
    *,
    bom: bool = False,
    quote_all: bool = False,
    ending: str = "\n",
    delimiter: str = ",",
) -> bytes:
    """A CSV file; a column that a line does not name is empty."""
    text = io.StringIO()
    quoting = csv.QUOTE_ALL if quote_all else csv.QUOTE_MINIMAL
    writer = csv.writer(text, quoting=quoting, lineterminator=ending, delimiter=delimiter)
    writer.writerow(header)
    writer.writerows([line.get(name, "") for name in header] for line in lines)
    return (b"\xef\xbb\xbf" if bom else b"") + text.getvalue().encode()


def retail(*lines: Mapping[str, str], variant: str = "A1", drop: Sequence[str] = (), **how: Any) -> bytes:
    """Retail orders in one of the four layouts; lines name columns as A1 does."""
    header = [name for name in VARIANTS[variant] if name not in drop]
    full = [{**RETAIL_LINE, **line} for line in lines]
    named = [{name: line.get(RENAMED.get(name, name), "") for name in header} for line in full]
    return csv_bytes(header, named, **how)


def digital(*lines: Mapping[str, str], header: Sequence[str] = DIGITAL, **how: Any) -> bytes:
    """Digital items; what a line leaves out is "Not Applicable"."""
    empty = dict.fromkeys(header, "Not Applicable")
    return csv_bytes(header, [{**empty, **DIGITAL_LINE, **line} for line in lines], **how)


def refunds_old(*lines: tuple[str, str], status: str = "Completed") -> bytes:
    """Refunds (order, amount) in the layout with one word per name."""
    rows = [
        {"OrderID": order, "AmountRefunded": amount, "Currency": "USD", "Status": status}
        for order, amount in lines
    ]
    return csv_bytes(REFUNDS_OLD, rows, quote_all=True)


def refunds_new(*lines: tuple[str, str], status: str = "Completed") -> bytes:
    """Refunds (order, amount) in the current layout."""
    rows = [
        {"Order ID": order, "Refund Amount": amount, "Currency": "USD", "Payment Status": status}
        for order, amount in lines
    ]
    return csv_bytes(REFUNDS_NEW, rows)


def report(*lines: Mapping[str, str], **how: Any) -> bytes:
    """The Items layout of the older report."""
    return csv_bytes(ITEMS, [{**REPORT_LINE, **line} for line in lines], ending="\r\n", **how)


def zipped(files: Mapping[str, bytes]) -> bytes:
    """A ZIP with these files, compressed."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return packed.getvalue()


class Pipe:
    """Bytes that can only be read forward, as an upload's are."""

    def __init__(self, content: bytes) -> None:
        self._rest = io.BytesIO(content)
        self.most = 0  # the largest amount ever asked for at once

    def read(self, size: int = -1, /) -> bytes:
        self.most = max(self.most, size)
        return self._rest.read(size)


class Endless:
    """A beginning, and then the same bytes for as long as anybody reads."""

    def __init__(self, beginning: bytes, forever: bytes) -> None:
        self._beginning = beginning
        self._forever = forever
        self.count = 0  # bytes handed out

    def read(self, size: int = -1, /) -> bytes:
        chunk, self._beginning = self._beginning[:size], self._beginning[size:]
        if not chunk:
            chunk = (self._forever * (size // len(self._forever) + 1))[:size]
        self.count += len(chunk)
        return chunk


def rows_of(content: bytes, name: str = "file.csv", limits: Limits | None = None) -> list[Row]:
    """All rows of one file or ZIP, whatever its format."""
    return list(read(Pipe(content), name, limits))


def read(stream: Any, name: str = "file.csv", limits: Limits | None = None) -> Iterator[Row]:
    limits = limits or Limits()
    with reading.unpacking(name):
        for source in reading.sources(name, stream, limits, Budget(limits)):
            table = Table(source.name, source.stream, limits)
            format = reading.recognise(table)
            assert format is not None, f"{source.name} was not recognised"
            yield from format.rows(table)


def lines_of(content: bytes) -> list[Line]:
    """The rows of a file that must all be lines."""
    found = rows_of(content)
    assert all(isinstance(row, Line) for row in found), found
    return [row for row in found if isinstance(row, Line)]


def published(folder: str) -> list[Path]:
    """Files that other people published, from VRM_TEST_DATA; skips the test where there are none."""
    beside = Path(__file__).resolve().parents[4] / "shared" / "data"
    found = Path(os.environ.get("VRM_TEST_DATA") or beside) / folder
    if not found.is_dir():
        pytest.skip(f"no published exports: set VRM_TEST_DATA to a folder that holds {folder}")
    return sorted(found.iterdir())
