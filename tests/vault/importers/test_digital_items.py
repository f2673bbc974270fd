import pytest

from tests.vault.importers.samples import CHARGES, DIGITAL, csv_bytes, digital, lines_of, rows_of
from vrm.vault.importers import rows
from vrm.vault.importers.rows import Charge, Rejection


def test_a_digital_item_is_delivered_when_fulfilled():
    (line,) = lines_of(digital({}))
    assert (line.seller, line.order_number) == ("amazon.com", "D01-1111111-1111111")
    assert (line.ordered, line.delivered, line.status) == ("2025-05-06", "2025-05-06", "delivered")
    assert (line.category, line.category_basis, line.brand) == ("books", "guessed", "Harbour House")
    assert (line.unit_price, line.total, line.currency) == ("9.99", "9.99", "USD")


def test_what_is_no_book_is_digital():
    (line,) = lines_of(digital({"ProductName": "Cloud storage, 100 GB"}))
    assert (line.category, line.category_basis) == ("digital", "guessed")


def test_the_title_column_has_two_names():
    header = ["Title" if name == "ProductName" else name for name in DIGITAL]
    (line,) = lines_of(digital({"Title": "A Quiet Sea"}, header=header))
    assert line.title == "A Quiet Sea"


@pytest.mark.parametrize(("word", "gift"), [("Yes", True), ("No", False), ("Not Applicable", False)])
def test_the_gift_mark_is_read(word, gift):
    (line,) = lines_of(digital({"GiftItem": word}))
    assert line.gift_item is gift


def test_tax_and_quantity_make_the_total():
    (line,) = lines_of(digital({"OurPrice": "10.00", "OurPriceTax": "1.50", "QuantityOrdered": "3"}))
    assert (line.total, line.tax) == ("34.50", "4.50")


def test_rows_that_lack_what_matters_are_rejected():
    assert rows_of(digital({"OrderId": ""}, {"ProductName": "", "ASIN": ""})) == [
        Rejection(2, "OrderId", rows.NO_ORDER),
        Rejection(3, "ProductName", rows.NO_ITEM),
    ]


def test_money_in_a_file_of_its_own_names_only_the_order():
    charges = [
        {"Order ID": "D01-1", "Transaction Amount": "4.99", "Base Currency Code": "EUR"},
        {"Order ID": "D01-2", "Transaction Amount": "Not Available", "Base Currency Code": "EUR"},
        {"Order ID": "", "Transaction Amount": "1.00"},
        {"Order ID": "D01-3", "Transaction Amount": "much"},
    ]
    assert rows_of(csv_bytes(CHARGES, charges)) == [
        Charge(2, "D01-1", "4.99", "EUR"),
        Rejection(4, "Order ID", rows.NO_ORDER),
        Rejection(5, "Transaction Amount", rows.NOT_MONEY),
    ]
