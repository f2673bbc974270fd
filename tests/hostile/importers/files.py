"""Files that no seller ever handed out. Each function writes one into a folder and returns its path."""

from __future__ import annotations

import io
import random
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

COLUMNS = (
    "Website,Order ID,Order Date,Currency,Unit Price,Total Owed,ASIN,Quantity,Order Status,"
    "Shipping Address,Product Name"
)
LINE = (
    "Amazon.com,111-{0},2026-01-03T04:05:06Z,USD,10.00,10.00,013110{0:06},1,Closed,Alice 1 Main St,A book {0}"
)
NAME = "Retail.OrderHistory.1.csv"
Make = Callable[[Path], Path]


def history(*lines: str, columns: str = COLUMNS) -> bytes:
    return "\n".join([columns, *lines, ""]).encode("utf-8", "surrogatepass")


GOOD = history(LINE.format(1), LINE.format(2))


def plain(name: str, content: bytes) -> Make:
    def make(folder: Path) -> Path:
        path = folder / name
        path.write_bytes(content)
        return path

    return make


def zipped(*entries: tuple[str | zipfile.ZipInfo, bytes], packed: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", packed) as archive:
        for name, content in entries:
            archive.writestr(name, content, packed)
    return out.getvalue()


def zip_of(*entries: tuple[str | zipfile.ZipInfo, bytes]) -> Make:
    return plain("export.zip", zipped(*entries))


# ---- too much -------------------------------------------------------------------------------------------


def a_gigabyte_without_a_line_end(folder: Path) -> Path:
    path = folder / NAME
    with path.open("wb") as out:
        out.truncate(2**30)  # sparse: takes no room
    return path


def a_known_header_and_a_gigabyte_in_one_line(folder: Path) -> Path:
    path = folder / NAME
    with path.open("wb") as out:
        out.write(GOOD)
        out.truncate(2**30)
    return path


def a_quote_that_is_never_closed(folder: Path) -> Path:
    path = folder / NAME
    with path.open("wb") as out:
        out.write(GOOD + b'Amazon.com,"')
        for _ in range(40):
            out.write(b"a line inside the quote\n" * 50_000)
    return path


def an_endless_device(folder: Path) -> Path:
    return Path("/dev/zero")


def a_million_columns(folder: Path) -> Path:
    return plain(NAME, history(columns=",".join(f"column {number}" for number in range(1_000_000))))(folder)


def a_thousand_columns(folder: Path) -> Path:
    return plain(NAME, history(columns=COLUMNS + "," * 1000))(folder)


def a_million_rows_of_garbage(folder: Path) -> Path:
    return plain(NAME, COLUMNS.encode() + b"\n" + b"?,?,?,?,?,?,?,?,?,?,?\n" * 1_000_000)(folder)


def a_million_blank_rows(folder: Path) -> Path:
    return plain(NAME, GOOD + b"\n" * 1_100_000)(folder)


def a_million_rows_of_another_table(folder: Path) -> Path:
    return plain("table.csv", b"a,b,c\n" + b"1,2,3\n" * 1_000_000)(folder)


def more_rows_than_an_import_may_have(folder: Path) -> Path:
    path = folder / NAME
    with path.open("w") as out:
        out.write(COLUMNS + "\n")
        for number in range(260_000):
            out.write(f",1-{number},2026-01-03,,,,{number},1,,,\n")
    return path


# ---- ZIPs -----------------------------------------------------------------------------------------------


def a_bomb(folder: Path) -> Path:
    """Eighty megabytes of blanks in eighty kilobytes."""
    path = folder / "bomb.zip"
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open(NAME, "w", force_zip64=True) as entry,
    ):
        entry.write(COLUMNS.encode() + b"\n")
        for _ in range(80):
            entry.write((b" " * 99_999 + b"\n") * 10)
    return path


def bombs_in_a_row(folder: Path) -> Path:
    """Each stays below the limits of one file; together they are as good as endless."""
    inner = COLUMNS.encode() + b"\n" + b"\n" * 600_000
    return zip_of(*((f"{number}/{NAME}", inner) for number in range(3)))(folder)


def a_bomb_in_a_bomb(folder: Path) -> Path:
    inner = zipped((NAME, b"\n" * 5_000_000))
    for _ in range(3):
        inner = zipped(("inner.zip", inner), ("Retail.OrderHistory.2.csv", inner))
    return plain("nested.zip", inner)(folder)


def overlapping_entries(folder: Path) -> Path:
    """A thousand names in the table of contents, all for the same bytes."""
    whole = zipped((NAME, COLUMNS.encode() + b"\n" + b"\n" * 400_000))
    end = whole.rindex(b"PK\x05\x06")
    start = struct.unpack_from("<I", whole, end + 16)[0]
    entry = whole[start:end]
    table = entry * 1000
    tail = struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, 1000, 1000, len(table), start, 0)
    return plain("overlap.zip", whole[:start] + table + tail)(folder)


def lying_sizes(folder: Path) -> Path:
    """The table of contents says ten bytes; there are millions."""
    whole = bytearray(zipped((NAME, COLUMNS.encode() + b"\n" + b"x" * 8_000_000)))
    start = struct.unpack_from("<I", whole, whole.rindex(b"PK\x05\x06") + 16)[0]
    struct.pack_into("<I", whole, start + 24, 10)
    return plain("liar.zip", bytes(whole))(folder)


def many_entries(folder: Path) -> Path:
    return zip_of(*((f"{number}.txt", b"") for number in range(12_000)))(folder)


def a_lying_count(folder: Path) -> Path:
    whole = bytearray(zipped((NAME, GOOD)))
    struct.pack_into("<HH", whole, whole.rindex(b"PK\x05\x06") + 8, 65_535, 65_535)
    return plain("count.zip", bytes(whole))(folder)


def encrypted(folder: Path) -> Path:
    whole = bytearray(zipped((NAME, GOOD)))
    start = struct.unpack_from("<I", whole, whole.rindex(b"PK\x05\x06") + 16)[0]
    whole[6] |= 1
    whole[start + 8] |= 1
    return plain("locked.zip", bytes(whole))(folder)


def cut_short(folder: Path) -> Path:
    return plain("cut.zip", zipped((NAME, GOOD * 99))[:-40])(folder)


def altered(folder: Path) -> Path:
    whole = bytearray(zipped((NAME, GOOD * 99)))
    for at in range(60, 90):
        whole[at] ^= 0x55
    return plain("altered.zip", bytes(whole))(folder)


def linked(target: str) -> tuple[zipfile.ZipInfo, bytes]:
    entry = zipfile.ZipInfo(NAME)
    entry.create_system = 3
    entry.external_attr = 0o120777 << 16
    return entry, target.encode()


def noise(count: int, seed: int = 7) -> bytes:
    return random.Random(seed).randbytes(count)


# What it is called → (how it is made, a word of the refusal)
REFUSED: dict[str, tuple[Make, str]] = {
    "a gigabyte without a line end": (a_gigabyte_without_a_line_end, "longer than"),
    "a gigabyte in one line": (a_known_header_and_a_gigabyte_in_one_line, "longer than"),
    "a quote never closed": (a_quote_that_is_never_closed, "longer than"),
    "an endless device": (an_endless_device, "longer than"),
    "a million columns": (a_million_columns, "longer than"),
    "a thousand columns": (a_thousand_columns, "columns"),
    "a million rows of garbage": (a_million_rows_of_garbage, "hardly a row"),
    "a million rows of another table": (a_million_rows_of_another_table, "not a format I know"),
    "a zip bomb": (a_bomb, "unpacks to far more"),
    "zip bombs in a row": (bombs_in_a_row, "more than 1000000 lines"),
    "lying sizes": (lying_sizes, "damaged"),
    "many entries": (many_entries, "files in one ZIP"),
    "a lying count": (a_lying_count, "files in one ZIP"),
    "an encrypted zip": (encrypted, "encrypted"),
    "a zip cut short": (cut_short, "damaged"),
    "an altered zip": (altered, "damaged"),
    "an empty zip": (zip_of(), "not a format I know"),
    "a zip of folders": (zip_of(("folder/", b"")), "not a format I know"),
    "an empty file": (plain("empty.csv", b""), "not a format I know"),
    "line ends only": (plain("blank.csv", b"\r\n\n\r\r\n"), "not a format I know"),
    "noise": (plain("noise.csv", noise(2**20)), "not a format I know"),
    "noise after a known header": (plain(NAME, GOOD + noise(4 * 2**20)), ""),
    "a picture": (plain("picture.csv", b"\x89PNG\r\n\x1a\n" + noise(9999)), "not a format I know"),
    "a program": (plain("program.csv", b"\x7fELF\2\1\1\0" + noise(9999)), "not a format I know"),
    "UTF-16 with a mark": (plain(NAME, GOOD.decode().encode("utf-16")), "not a format I know"),
    "UTF-16 without a mark": (plain(NAME, GOOD.decode().encode("utf-16-le")), "not a format I know"),
    "UTF-32": (plain(NAME, GOOD.decode().encode("utf-32-be")), "not a format I know"),
    "EBCDIC": (plain(NAME, GOOD.decode().encode("cp500")), "not a format I know"),
    "NUL bytes in the header": (plain(NAME, GOOD.replace(b"ASIN", b"AS\0IN")), "not a format I know"),
    "a column twice": (plain(NAME, history(LINE.format(1) + ",7", columns=COLUMNS + ",Order ID")), "twice"),
    "JSON": (plain("orders.json.csv", b'[{"Order ID": "1"}]' * 1000), "not a format I know"),
    "a web page": (plain("page.csv", b"<html><script>alert(1)</script></html>"), "not a format I know"),
}


# Files inside a ZIP that should hold purchases and do not: named in the report, whose other files count
NAMED: dict[str, Make] = {
    "a zip bomb in a zip bomb": a_bomb_in_a_bomb,
    "a link instead of a file": zip_of(linked("/etc/passwd")),
    "a link to a folder": zip_of(linked("../..")),
    "a program": zip_of((NAME, b"\x7fELF" + noise(9999))),
    "UTF-16": zip_of((NAME, GOOD.decode().encode("utf-16"))),
}
STRICT: dict[str, tuple[Make, str]] = {
    "too many rows": (more_rows_than_an_import_may_have, "rows"),
    "a million blank rows": (a_million_blank_rows, "lines"),
    "overlapping entries": (overlapping_entries, ""),
}


def line_with(**cells: str) -> str:
    values = dict(zip(COLUMNS.split(","), LINE.format(1).split(","), strict=True))
    return ",".join({**values, **{name.replace("_", " "): value for name, value in cells.items()}}.values())


# What it is called → (the cells, the reason that the report must give)
CELLS: dict[str, tuple[str, str]] = {
    "a year 0": (line_with(Order_Date="0000-01-01"), "not a date"),
    "a year 99999": (line_with(Order_Date="99999-01-01"), "not a date"),
    "a thirtieth of February": (line_with(Order_Date="2026-02-30"), "not a date"),
    "a day in Arabic digits": (line_with(Order_Date="٢٠٢٦-٠١-٠١"), "not a date"),
    "a total of 10^400": (line_with(Total_Owed="1" + "0" * 400), "not an amount of money"),
    "a total in exponents": (line_with(Total_Owed="1e400"), "not an amount of money"),
    "NaN": (line_with(Total_Owed="NaN"), "not an amount of money"),
    "Infinity": (line_with(Unit_Price="-Infinity"), "not an amount of money"),
    "a formula for a total": (line_with(Total_Owed="=1+1"), "not an amount of money"),
    "a quantity of 10^9": (line_with(Quantity="1000000000"), "not a whole number"),
    "a quantity below nothing": (line_with(Quantity="-1"), "not a whole number"),
    "half a thing": (line_with(Quantity="0.5"), "not a whole number"),
    "a lone surrogate": (line_with(Product_Name="\ud800"), "not UTF-8 text"),
    "a NUL byte": (line_with(Product_Name="a\0b"), "a NUL byte, so not text"),
    "too many cells": (LINE.format(1) + ",x,y", "more values than columns"),
    "too few cells": ("Amazon.com,111-1", "fewer values than columns"),
}
