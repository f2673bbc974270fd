"""The shop's own order book: what it sold, not for whom."""

from datetime import date

import pytest

from bookshop.catalogue import load
from bookshop.sold import parse_date, read_orders

CATALOGUE = load()


def test_books_are_read_and_all_else_left_out(tmp_path):
    hobbit = next(book for book in CATALOGUE if book.title == "The Hobbit")
    file = tmp_path / "Retail.OrderHistory.1.csv"
    file.write_text(
        "ASIN,Order Date,Order Status\n"
        f"{hobbit.isbn13},2026-01-02T03:04:05Z,Closed\n"
        f"{hobbit.isbn13},Not Available,Closed\n"
        f"{hobbit.isbn13},2026-01-02T03:04:05Z,Cancelled\n"
        "B0DEMO0001,2026-01-02T03:04:05Z,Closed\n",
        encoding="utf-8-sig",
    )
    for place in (file, tmp_path):
        found = read_orders(place, CATALOGUE)
        assert [(owned.book.title, owned.bought) for owned in found] == [
            ("The Hobbit", date(2026, 1, 2)),
            ("The Hobbit", None),
        ]


def test_a_folder_without_orders_is_a_mistake(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_orders(tmp_path, CATALOGUE)


@pytest.mark.parametrize("text", ["", "soon", None, 7, "2026-13-01"])
def test_a_date_that_is_none_is_none(text):
    assert parse_date(text) is None
