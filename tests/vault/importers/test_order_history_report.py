from tests.vault.importers.samples import ITEMS, ORDERS, RETURNS, csv_bytes, lines_of, report, rows_of
from vrm.vault.importers import rows
from vrm.vault.importers.rows import Rejection, Return


def test_an_items_line_carries_the_sellers_category():
    (line,) = lines_of(report({}))
    assert (line.ordered, line.status) == ("2018-01-21", "shipped")
    assert (line.category, line.category_path, line.category_basis) == ("cleaning", "PAPER_TOWEL", "said")
    assert (line.unit_price, line.total, line.tax, line.quantity) == ("17.52", "19.07", "1.55", 1)
    assert (line.payment_method, line.last4) == ("Visa", "0567")
    assert (line.recipient_name, line.recipient_address) == (
        "Alice Example",
        "1 Elm Street, CAMBRIDGE, MA 02138-5221",
    )


def test_lost_zeros_of_books_and_postcodes_come_back():
    (line,) = lines_of(report({"ASIN/ISBN": "140449132", "Shipping Address Zip": "2139"}))
    assert (line.asin, line.isbn, line.item_key) == ("0140449132", "9780140449136", "0140449132")
    assert line.recipient_address.endswith("MA 02139")


def test_a_line_without_title_is_kept():
    (line,) = lines_of(report({"Title": "", "Category": "", "UNSPSC Code": ""}))
    assert (line.title, line.category, line.category_basis) == ("", "other", "guessed")


def test_a_line_that_never_left_is_unknown():
    (line,) = lines_of(report({"Order Status": "", "Shipment Date": "", "Quantity": "0"}))
    assert (line.status, line.quantity) == ("unknown", 0)


def test_rows_that_lack_what_matters_are_rejected():
    assert rows_of(report({"Order ID": ""}, {"Title": "", "ASIN/ISBN": ""}, {"Order Date": "2018"})) == [
        Rejection(2, "Order ID", rows.NO_ORDER),
        Rejection(3, "Title", rows.NO_ITEM),
        Rejection(4, "Order Date", rows.NOT_A_DATE),
    ]


def test_the_returns_layout_names_lines():
    back = {"Order ID": "113", "ASIN/ISBN": "140449132", "Title": "x", "Return Date": "02/01/18"}
    rest = [
        {**back, "ASIN/ISBN": "", "Title": "Blue  Mug"},
        {**back, "Order ID": ""},
        {**back, "Return Date": "?"},
    ]
    nameless = {"Order ID": "113", "Return Date": "02/01/18"}
    assert rows_of(csv_bytes(RETURNS, [back, *rest, nameless])) == [
        Return(2, "113", "0140449132"),
        Return(3, "113", "blue mug"),
        Rejection(4, "Order ID", rows.NO_ORDER),
        Rejection(5, "Return Date", rows.NOT_A_DATE),
        Rejection(6, "Title", rows.NO_ITEM),
    ]


def test_the_orders_layout_is_answered_with_the_report_that_is_needed():
    content = csv_bytes(ORDERS, [{"Order ID": "113", "Total Charged": "$9.00"}] * 3)
    assert rows_of(content) == [Rejection(1, "", rows.ITEMS_NEEDED)]


def test_a_full_header_is_needed_by_none_of_them():
    short = [name for name in ITEMS if name in {"Order ID", "ASIN/ISBN", "Title"}]
    (line,) = lines_of(csv_bytes(short, [{"Order ID": "113", "ASIN/ISBN": "B01LFFGW5K", "Title": "Towels"}]))
    assert (line.title, line.total) == ("Towels", "")
