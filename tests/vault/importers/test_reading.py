import io
import struct
import zipfile

import pytest

from tests.vault.importers.samples import (
    A1,
    CHARGES,
    DIGITAL,
    ITEMS,
    ORDERS,
    REFUNDS_NEW,
    REFUNDS_OLD,
    RETURNS,
    VARIANTS,
    Pipe,
    csv_bytes,
    digital,
    read,
    retail,
    rows_of,
    zipped,
)
from vrm.errors import FormatError, ImportLimitError
from vrm.vault.importers import reading
from vrm.vault.importers.csvfile import Budget, Table
from vrm.vault.importers.limits import Limits

KNOWN = {
    **dict.fromkeys(VARIANTS, "Request my data"),
    "digital": "Request my data: digital items",
    "charges": "Request my data: digital payments",
    "old refunds": "Request my data: refunds",
    "refunds": "Request my data: refunds",
    "items": "Order History Report",
    "returns": "Order History Report: returns",
    "orders": "Order History Report: orders",
}
HEADERS = {
    **VARIANTS,
    "digital": DIGITAL,
    "charges": CHARGES,
    "old refunds": REFUNDS_OLD,
    "refunds": REFUNDS_NEW,
    "items": ITEMS,
    "returns": RETURNS,
    "orders": ORDERS,
}


@pytest.mark.parametrize("layout", KNOWN)
def test_each_layout_is_recognised_by_its_columns_alone(layout):
    limits = Limits()
    (source,) = reading.sources("x", Pipe(csv_bytes(HEADERS[layout], [])), limits, Budget(limits))
    format = reading.recognise(Table("x", source.stream, limits))
    assert format is not None
    assert format.name == KNOWN[layout]


@pytest.mark.parametrize(
    "header", ["Date,Description,Amount", "Order ID", "Order ID,Title", "a", "Title,ASIN"]
)
def test_other_tables_are_not_taken_for_one_of_ours(header):
    limits = Limits()
    (source,) = reading.sources("x", Pipe(header.encode() + b"\n1\n"), limits, Budget(limits))
    assert reading.recognise(Table("x", source.stream, limits)) is None


def test_a_zip_is_read_in_any_nesting_and_order():
    content = zipped(
        {
            "Your Orders/Digital-Ordering.1/Digital Items.csv": digital({}),
            "Your Orders/Retail.TransactionalInvoicing.1/a.pdf": b"%PDF-1.7",
            "Your Orders/Retail.OrderHistory.1/Retail.OrderHistory.1.csv": retail({}),
            "Your Orders/Retail.OrderHistory.1/Retail.OrderHistory.1.schema.json": b"{}",
            "__MACOSX/Your Orders/._Retail.OrderHistory.1.csv": b"\0\0",
            "b/Retail.OrderHistory.2.csv": retail({"ASIN": "B000000002"}),
        }
    )
    assert len(rows_of(content)) == 3


def test_an_upload_that_cannot_be_rewound_is_read_too():
    content = zipped({"a/Retail.OrderHistory.1.csv": retail({})})
    assert list(read(Pipe(content))) == list(read(io.BytesIO(content)))


def test_a_zip_too_large_for_memory_is_refused_unless_it_is_a_file():
    content = zipped({"a.csv": retail({})})
    limits = Limits(packed_bytes=len(content) - 1)
    with pytest.raises(ImportLimitError, match="more than"):
        rows_of(content, limits=limits)
    assert len(list(read(io.BytesIO(content), limits=limits))) == 1


def test_a_zip_bomb_is_refused_by_its_ratio():
    bomb = zipped({"Retail.OrderHistory.1.csv": retail({}) + (b" " * 100_000 + b"\n") * 300})
    assert len(bomb) < 100_000
    with pytest.raises(ImportLimitError, match="unpacks to far more"):
        rows_of(bomb)


def test_many_files_that_are_small_alone_are_refused_by_the_budget():
    content = zipped({f"{at}/Retail.OrderHistory.{at}.csv": retail({}) * 50 for at in range(40)})
    with pytest.raises(ImportLimitError, match="more bytes"):
        rows_of(content, limits=Limits(unpacked_bytes=200_000))


def test_a_table_of_contents_is_bounded_before_it_is_loaded():
    content = zipped({f"{at}.txt": b"" for at in range(300)})
    with pytest.raises(ImportLimitError, match="files in one ZIP"):
        rows_of(content, limits=Limits(files=299))
    with pytest.raises(ImportLimitError, match="files in one ZIP"):
        rows_of(content, limits=Limits(directory_bytes=1000))


def test_a_large_zips_own_record_is_believed_about_its_contents():
    plain = zipped({"a.csv": retail({})})
    end = plain.rfind(b"PK\x05\x06")
    record = struct.pack("<4sQHHIIQQQQ", b"PK\x06\x06", 44, 45, 45, 0, 0, 10**7, 10**7, 46, end - 46)
    locator = struct.pack("<4sIQI", b"PK\x06\x07", 0, end, 1)
    with pytest.raises(ImportLimitError, match="files in one ZIP"):
        rows_of(plain[:end] + record + locator + plain[end:])


def test_a_large_zip_whose_own_record_is_not_where_it_should_be_is_refused():
    plain = zipped({"a.csv": retail({})})
    end = plain.rfind(b"PK\x05\x06")
    locator = struct.pack("<4sIQI", b"PK\x06\x07", 0, 4, 1)
    with pytest.raises(FormatError, match="a damaged ZIP") as refused:
        rows_of(plain[:end] + locator + plain[end:])
    assert refused.value.hint == "its table of contents is damaged"


def test_an_encrypted_zip_is_refused_with_a_hint():
    content = bytearray(zipped({"a.csv": retail({})}))
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.find(signature) + flags] |= 1
    with pytest.raises(FormatError, match="encrypted"):
        rows_of(bytes(content))


def test_a_zip_cut_short_is_refused():
    content = zipped({"a.csv": retail(*[{"ASIN": f"B{at:09}"} for at in range(100)])})
    with pytest.raises(FormatError, match="damaged"):
        rows_of(content[: len(content) // 2])


def test_a_zip_with_altered_bytes_is_refused():
    content = bytearray(zipped({"a.csv": retail(*[{"ASIN": f"B{at:09}"} for at in range(100)])}))
    content[200:240] = bytes(40)
    with pytest.raises((FormatError, ImportLimitError)):
        rows_of(bytes(content))


def test_an_unknown_way_of_packing_is_refused():
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("a.csv", retail({}))
    content = bytearray(packed.getvalue())
    for signature, method in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        struct.pack_into("<H", content, content.find(signature) + method, 99)
    with pytest.raises(FormatError, match="damaged"):
        rows_of(bytes(content))


@pytest.mark.parametrize(
    ("name", "sibling", "promising"),
    [
        ("Your Orders/Retail.OrderHistory.1/Retail.OrderHistory.1.csv", False, True),
        ("Order History.csv", False, True),
        ("Digital Items.csv", False, True),
        ("Refund Details.csv", False, True),
        ("Retail.OrdersReturned.Payments.1.csv", False, True),
        ("Retail.OrdersReturned.1.csv", True, False),
        ("Digital Orders.csv", True, False),
        ("Digital Orders Monetary.csv", True, False),
        ("Legacy Payment Information.csv", True, False),
        ("Retail.CartItems.2.csv", True, False),
        ("Digital.Borrows.1.csv", True, False),
        ("Retail.CustomerReturns.1.1.csv", True, False),
        ("invoice.pdf", False, False),
        ("bank.csv", False, False),
    ],
)
def test_names_tell_what_an_export_has_besides_purchases(name, sibling, promising):
    source = reading.Source(name, io.BufferedReader(io.BytesIO()))
    assert (source.sibling, source.promising) == (sibling, promising)


def test_headers_here_are_those_of_the_exports():
    assert [len(VARIANTS[name]) for name in ("A1", "A2", "A3", "A4")] == [28, 27, 28, 29]
    assert sorted(VARIANTS["A3"], key=str.casefold) == VARIANTS["A3"]
    assert len(A1) == len(set(A1))
