import csv
import io
import tracemalloc

import pytest

from tests.vault.importers.samples import A1, Endless, Pipe, csv_bytes, read, retail, rows_of
from vrm.errors import FormatError, ImportLimitError
from vrm.vault.importers import rows
from vrm.vault.importers.csvfile import Budget, Table, buffered, normalise
from vrm.vault.importers.limits import Limits
from vrm.vault.importers.rows import Line, Rejection

HEADER = ",".join(A1).encode() + b"\n"
GOOD = retail({}).split(b"\n")[1] + b"\n"


def table(content: bytes, limits: Limits | None = None) -> Table:
    limits = limits or Limits()
    return Table("f.csv", buffered(Pipe(content), Budget(limits)), limits)


def test_names_are_compared_without_case_blanks_and_marks():
    assert normalise("Carrier Name & Tracking Number") == "carriernametrackingnumber"
    assert normalise("OrderId") == normalise("Order ID") == normalise("\ufeff order_id ")


@pytest.mark.parametrize("mark", [b"\xef\xbb\xbf", "ï»¿".encode()])
def test_a_byte_order_mark_does_not_hide_the_first_column(mark):
    assert table(mark + b'"Website","Order ID"\n').header == ("website", "orderid")


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_the_delimiter_is_found(delimiter):
    content = csv_bytes(["Order ID", "Note"], [{"Order ID": "1", "Note": "a, b; c"}], delimiter=delimiter)
    assert list(table(content).records()) == [(2, ["1", "a, b; c"])]


def test_records_know_the_line_they_start_on():
    content = b'a,b\n1,"two\nlines"\n\n3,4\n'
    assert list(table(content).records()) == [(2, ["1", "two\nlines"]), (5, ["3", "4"])]


def test_trailing_commas_are_harmless():
    assert list(table(b"a,b\n1,2,,,\n").records()) == [(2, ["1", "2"])]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (b"1,2,3\n", rows.TOO_MANY),
        (b"1\n", rows.TOO_FEW),
        (b'1,"2\n3,4\n5,6\n7,"8,9\n', rows.OPEN_QUOTE),
        (b"caf\xe9,2\n", rows.NOT_UTF8),
        (b"a\0,2\n", rows.NUL_BYTE),
    ],
)
def test_a_bad_record_is_rejected_with_its_line_and_the_next_is_read(bad, reason):
    found = list(table(b"a,b\nx,y\n" + bad + b"later,fine\n").records())
    assert found[0] == (2, ["x", "y"])
    assert found[1] == Rejection(3, "", reason)
    if reason != rows.OPEN_QUOTE:
        assert found[2] == (4, ["later", "fine"])


def test_a_stray_carriage_return_is_a_blank():
    assert list(table(b"a,b\r\nx\ry,z\r\n").records()) == [(2, ["x y", "z"])]


def test_what_the_csv_module_gives_up_on_is_refused_with_its_line():
    before = csv.field_size_limit(10)
    try:
        with pytest.raises(FormatError, match="line 2"):
            list(table(b"a,b\n" + b"x" * 20 + b",y\n").records())
    finally:
        csv.field_size_limit(before)


def test_blank_lines_are_no_way_to_keep_a_reader_busy():
    stream = Endless(HEADER, b"\n")
    with pytest.raises(ImportLimitError, match="lines"):
        list(read(stream, limits=Limits(physical_lines=1000)))
    assert stream.count < 1024 * 1024


def test_a_bad_cell_is_named_by_its_column():
    assert rows_of(retail({"Total Owed": "a lot"})) == [Rejection(2, "Total Owed", rows.NOT_MONEY)]


def test_a_rejected_line_does_not_count_as_an_occurrence():
    found = rows_of(retail({"Total Owed": "a lot"}, {}))
    assert isinstance(found[1], Line)
    assert found[1].nth == 1


@pytest.mark.parametrize(
    "content",
    [
        b"\x89PNG\r\n\x1a\n" + bytes(100),
        b"%PDF-1.7\n",
        b"\x1f\x8b\x08" + bytes(50),
        "Website,Order ID\n".encode("utf-16"),
        "Website,Order ID\n".encode("utf-16-le"),
        b"Websit\xe9,Order ID\n",
        bytes(1000),
    ],
)
def test_what_is_not_text_is_refused_at_its_first_bytes(content):
    with pytest.raises(FormatError, match="not a format I know"):
        table(content)


def test_a_file_saved_in_another_encoding_loses_only_lines_that_cannot_be_read():
    accented = retail({"Product Name": "Café crème"}, {"Product Name": "Tea"}).decode().encode("latin-1")
    found = rows_of(accented)
    assert found[0] == Rejection(2, "", rows.NOT_UTF8)
    assert isinstance(found[1], Line)


def test_a_line_without_end_is_refused_in_bounded_memory():
    stream = Endless(HEADER, b"x" * 1024)
    tracemalloc.start()
    with pytest.raises(ImportLimitError, match="line longer"):
        list(read(stream))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert stream.count < 1024 * 1024
    assert peak < 4 * 1024 * 1024


def test_a_quote_without_end_is_refused_in_bounded_memory():
    stream = Endless(HEADER + b'"', b"x" * 50 + b"\n")
    with pytest.raises(ImportLimitError, match="line longer"):
        list(read(stream))
    assert stream.count < 1024 * 1024


def test_a_million_columns_are_refused():
    with pytest.raises(ImportLimitError):
        table(b"a," * 1_000_000 + b"\n")
    with pytest.raises(ImportLimitError, match="columns"):
        table(b"a," * 1000 + b"\n")


def test_endless_rows_end_with_the_budget():
    stream = Endless(HEADER, GOOD)
    limits = Limits(unpacked_bytes=1024 * 1024)
    with pytest.raises(ImportLimitError, match="more bytes"):
        for _ in read(stream, limits=limits):
            pass
    assert stream.count < 2 * 1024 * 1024


def test_a_file_is_never_asked_for_at_once():
    stream = Pipe(retail(*[{} for _ in range(2000)]))
    assert sum(1 for _ in read(stream)) == 2000
    assert stream.most <= 64 * 1024


def test_an_empty_file_has_no_columns():
    assert table(b"").header == ()
    assert list(table(b"a,b\n").records()) == []


def test_cells_are_picked_by_any_of_their_names_and_in_any_order():
    picked = table(b"Quantity,Order ID,Gift Message\n").picker(
        (("orderid",), ("originalquantity", "quantity"), ("zip",))
    )
    assert picked([" 2 ", "111", "Not Available"]) == ["111", "2", ""]


def test_a_wanted_column_that_is_there_twice_is_refused_and_any_other_is_not():
    """Which of the two would be believed, the reader cannot know."""
    twice = table(b"Order ID,Note,Note,order_id\n")
    assert twice.picker((("zip",), ("city",)))(["1", "2", "3", "4"]) == ["", ""]
    with pytest.raises(FormatError, match="the column 'orderid' is there twice"):
        twice.picker((("orderid",), ("city",)))


def test_seekable_and_forward_only_streams_read_alike():
    content = retail({}, {"ASIN": "B000000002"})
    assert list(read(io.BytesIO(content))) == list(read(Pipe(content)))
