import csv
import io
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.vault.importers.samples import (
    A1,
    HOME,
    RETAIL_LINE,
    VARIANTS,
    csv_bytes,
    lines_of,
    retail,
    rows_of,
)
from vrm.vault.importers import request_my_data, rows
from vrm.vault.importers.rows import Rejection

FULL = {
    "Unit Price": "1,234.56",
    "Total Owed": "2,500.12",
    "Total Discounts": "'-5.00'",
    "Quantity": "2",
    "Payment Instrument Type": "Visa - 1234 and Gift Certificate/Card",
    "Product Name": "A Long Walk: A Novel",
    "ASIN": "0140449132",
    "Gift Message": "Happy birthday, Sami!",
    "Gift Sender Name": "Alice",
    "Gift Recipient Contact Details": "Sami Example",
    "Shipping Address": "Sami Example 9 Oak Road Elsewhere",
    "Order Date": "2025-03-04T05:06:07.123Z",
}


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("bom", [False, True])
@pytest.mark.parametrize("quote_all", [False, True])
def test_every_layout_gives_the_same_line(variant, bom, quote_all):
    (line,) = lines_of(retail(FULL, variant=variant, bom=bom, quote_all=quote_all))
    assert line.seller == "amazon.com"
    assert line.order_number == "111-1111111-1111111"
    assert line.ordered == "2025-03-04"
    assert line.title == "A Long Walk: A Novel"
    assert (line.asin, line.isbn) == ("0140449132", "9780140449136")
    assert (line.category, line.category_basis) == ("books", "guessed")
    assert (line.unit_price, line.quantity, line.total, line.tax) == ("1234.56", 2, "2500.12", "2.00")
    assert (line.payment_method, line.last4) == ("Visa and Gift Certificate/Card", "1234")
    assert (line.gift_message, line.sender_name) == ("Happy birthday, Sami!", "Alice")
    assert (line.recipient_name, line.recipient_address) == (
        "Sami Example",
        "Sami Example 9 Oak Road Elsewhere",
    )
    assert line.status == "shipped"


def test_a_department_is_the_exports_own_word():
    (line,) = lines_of(retail({"Department": "Livres"}, variant="A4"))
    assert (line.category, line.category_path, line.category_basis) == ("books", "Livres", "said")


def test_a_cancelled_line_is_kept_at_no_price():
    cancelled = {
        "Order Status": "Cancelled",
        "Ship Date": "Not Available",
        "Shipment Status": "Not Available",
    }
    prices = {"Unit Price": "0", "Unit Price Tax": "0", "Total Owed": "0", "Quantity": "0"}
    (line,) = lines_of(retail({**cancelled, **prices}))
    assert (line.status, line.total, line.quantity) == ("cancelled", "0.00", 0)


@pytest.mark.parametrize("word", ["Not Available", "Not Applicable", "unknown", ""])
def test_words_instead_of_values_mean_not_said(word):
    columns = ("Order Date", "Ship Date", "Unit Price", "Unit Price Tax", "Total Owed", "Quantity")
    (line,) = lines_of(retail({**dict.fromkeys(columns, word), "Currency": word}))
    assert (line.ordered, line.unit_price, line.tax, line.total, line.quantity) == ("", "", "", "", None)
    assert line.currency == ""


@pytest.mark.parametrize(("cell", "currency"), [("EUR", "EUR"), ("usd", "USD"), ("€", ""), ("14.99", "")])
def test_a_currency_is_a_code_or_not_said_and_takes_no_line_with_it(cell, currency):
    (line,) = lines_of(retail({"Currency": cell}))
    assert (line.currency, line.total != "") == (currency, True)


@pytest.mark.parametrize(
    ("order", "shipment", "shipped", "expected"),
    [
        ("Closed", "Shipped", "2025-03-05", "shipped"),
        ("Closed", "", "2025-03-05", "shipped"),
        ("Closed", "Delivered", "", "delivered"),
        ("Closed", "", "", "ordered"),
        ("Authorized", "", "", "ordered"),
        ("New", "", "", "ordered"),
        ("Cancelled", "Shipped", "2025-03-05", "cancelled"),
        ("", "", "", "unknown"),
        ("Held", "", "", "unknown"),
    ],
)
def test_status_follows_both_words(order, shipment, shipped, expected):
    assert request_my_data.status(order, shipment, shipped) == expected


def test_columns_that_people_removed_are_not_missed():
    keep = {"Order ID", "Product Name", "Total Owed"}
    (line,) = lines_of(retail({}, drop=[name for name in A1 if name not in keep]))
    assert (line.order_number, line.title, line.total) == ("111-1111111-1111111", "Walking boots", "13.50")
    assert (line.ordered, line.recipient_address, line.status) == ("", "", "unknown")


def test_gift_wrap_is_seen_where_a_layout_tells_it():
    header = [*A1, "Gift Wrap"]
    content = csv_bytes(header, [{**RETAIL_LINE, "Gift Wrap": word} for word in ("Yes", "No", "3.99", "0")])
    assert [line.gift_wrap for line in lines_of(content)] == [True, False, True, False]


def test_equal_lines_of_one_order_are_told_apart():
    found = lines_of(retail({}, {"ASIN": "B000000002"}, {}, {"Order ID": "222-2222222-2222222"}))
    assert [line.nth for line in found] == [1, 1, 2, 1]
    assert len({line.fingerprint for line in found}) == 4


def test_a_line_without_item_number_goes_by_its_title():
    first, second = lines_of(retail({"ASIN": ""}, {"ASIN": "", "Product Name": "WALKING  boots"}))
    assert first.item_key == second.item_key == "walking boots"
    assert second.nth == 2


@pytest.mark.parametrize(
    ("line", "column", "reason"),
    [
        ({"Order ID": "Not Available"}, "Order ID", rows.NO_ORDER),
        ({"Product Name": "", "ASIN": ""}, "Product Name", rows.NO_ITEM),
        ({"Order Date": "2025-02-29T09:30:00Z"}, "Order Date", rows.NOT_A_DATE),
        ({"Ship Date": "soon"}, "Ship Date", rows.NOT_A_DATE),
        ({"Unit Price Tax": "x"}, "Unit Price Tax", rows.NOT_MONEY),
        ({"Quantity": "some"}, "Quantity", rows.NOT_A_NUMBER),
    ],
)
def test_a_line_that_cannot_be_understood_is_rejected_by_column(line, column, reason):
    found = rows_of(retail({}, line, {"ASIN": "B000000003"}))
    assert found[1] == Rejection(3, column, reason)
    assert len(found) == 3


@given(st.randoms(use_true_random=False), st.sampled_from(sorted(VARIANTS)))
def test_the_order_of_columns_does_not_matter(shuffle: random.Random, variant: str):
    header = list(VARIANTS[variant])
    plain = lines_of(retail(FULL, {}, variant=variant))
    text = retail(FULL, {}, variant=variant).decode()
    table = list(csv.DictReader(io.StringIO(text)))
    shuffle.shuffle(header)
    assert lines_of(csv_bytes(header, table)) == plain


@given(st.text(max_size=40), st.text(max_size=40))
def test_whatever_a_cell_holds_it_is_a_line_or_an_explained_rejection(title, message):
    found = rows_of(
        retail({"Product Name": title, "Gift Message": message, "Shipping Address": HOME + title})
    )
    for row in found:
        if isinstance(row, Rejection):
            assert row.reason in rows.REASONS
        else:
            assert "\n" not in row.title
            assert "\0" not in row.title
