"""Exports that other people published; see VRM_TEST_DATA."""

from collections import Counter

from tests.vault.importers.samples import published, read
from vrm.vault.importers import rows
from vrm.vault.importers.rows import Line, Refund, Rejection


def of(folder: str) -> dict[str, list[rows.Row]]:
    found = {}
    for path in published(folder):
        with path.open("rb") as stream:
            found[path.name] = list(read(stream, path.name))
    return found


def test_request_my_data_is_read_with_every_rejection_explained():
    found = of("amazon-request-my-data")
    kinds = {name: Counter(type(row).__name__ for row in content) for name, content in found.items()}
    assert sum(counts["Line"] + counts["Rejection"] for counts in kinds.values()) == 253 + 25
    rejected = {name: row for name, content in found.items() for row in content if isinstance(row, Rejection)}
    assert rejected == {
        "Retail.OrderHistory.2.csv": Rejection(14, "Order Date", rows.NOT_A_DATE),  # 29 February 2025
        "Digital Items.csv": Rejection(23, "", rows.TOO_MANY),  # a name with an unquoted comma
    }
    assert all(isinstance(row, Refund) for row in found["Retail.OrdersReturned.Payments.1.csv"])


def test_the_real_history_is_read_whole_and_its_books_are_found():
    (content,) = of("amazon-order-history-report").values()
    lines = [row for row in content if isinstance(row, Line)]
    assert len(lines) == len(content) == 228
    books = [line for line in lines if line.category == "books"]
    assert len(books) == 8
    assert (
        sum(bool(line.isbn) for line in books) == 7
    )  # one is an electronic book with the seller's own number
    assert [line.asin for line in lines if line.title.startswith("Godel")] == ["0465026850"]
    assert not [line for line in lines if line.isbn and line.category != "books"]
    assert {line.recipient_name for line in lines} == {"redacted"}
