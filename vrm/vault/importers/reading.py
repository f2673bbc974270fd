"""Files in, rows out: which format a file has, and what a ZIP holds.

`sources` turns one given file into the files inside it (a ZIP in any nesting of folders, or the file
itself), `recognise` finds its format. A ZIP is never unpacked to disk; its table of contents is
bounded before it is read, and each file inside is read as a stream against ratio and budget.
"""

from __future__ import annotations

import io
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, cast

from vrm.errors import FormatError, ImportLimitError
from vrm.vault.catalog import N_
from vrm.vault.importers import digital_items, order_history_report, refunds, request_my_data
from vrm.vault.importers.csvfile import UNKNOWN_FORMAT, UTF_16, Budget, Stream, Table, buffered
from vrm.vault.importers.limits import Limits
from vrm.vault.importers.rows import Row

KNOWN_HINT = 'I read "Request my data" (ZIP or its CSV files) and the "Order History Report" (Items, Returns)'


ZIP_IN_ZIP = N_("It holds other ZIP files: unpack it, and hand in those.")
ADVICE = frozenset({UTF_16, ZIP_IN_ZIP})  # hints that the page shows as well


@dataclass(frozen=True, slots=True)
class Format:
    """A layout of one file: how to tell it and how to read it."""

    name: str
    detect: Callable[[frozenset[str]], bool]
    rows: Callable[[Table], Iterator[Row]]
    newest: bool = True  # False: the seller retired it, what it says never replaces a newer word


# The order matters only where one layout's columns include another's.
FORMATS: tuple[Format, ...] = (
    Format(digital_items.NAME, digital_items.detect, digital_items.read),
    Format(refunds.NAME, refunds.detect, refunds.read),
    Format(
        order_history_report.RETURNS_NAME,
        order_history_report.detect_returns,
        order_history_report.read_returns,
        newest=False,
    ),
    Format(order_history_report.NAME, order_history_report.detect, order_history_report.read, newest=False),
    Format(
        order_history_report.ORDERS_NAME,
        order_history_report.detect_orders,
        order_history_report.read_orders,
        newest=False,
    ),
    Format(request_my_data.NAME, request_my_data.detect, request_my_data.read),
    Format(digital_items.CHARGES_NAME, digital_items.detect_charges, digital_items.read_charges),
)

# Other files of the same exports: nothing to import, and nothing wrong with handing them in.
_SIBLING = re.compile(
    r"digital orders( monetary)?\.csv$|legacy payment information|"
    r"manageyourreturns|customerreturns|ordersreturned\.\d+\.csv$|cartitems|digital\.borrows|digital\.orders\.returns|"
    r"amazonrentals|transactionalinvoicing",
    re.IGNORECASE,
)
# What lies beside them, and is any file at all where it is handed in alone.
_BESIDE = re.compile(r"\.(pdf|json|txt|html|xml|jpe?g|png)$", re.IGNORECASE)
_PROMISING = re.compile(
    r"order ?history|digital items|refund details|ordersreturned\.payments|digital content orders",
    re.IGNORECASE,
)
_END, _END64, _LOCATOR64 = b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07"


@dataclass(frozen=True, slots=True)
class Source:
    """One file to read; `inside` when it came out of a ZIP."""

    name: str
    stream: io.BufferedReader
    inside: bool = False

    @property
    def sibling(self) -> bool:
        """Whether the file is a known part of an export that holds no purchases."""
        return _SIBLING.search(self.name) is not None and not self.promising

    @property
    def beside(self) -> bool:
        """Whether the file is of a kind that lies in exports, but may be anything."""
        return _BESIDE.search(self.name) is not None and not self.sibling and not self.promising

    @property
    def promising(self) -> bool:
        """Whether its name says that it should hold purchases."""
        return _PROMISING.search(self.name) is not None


def recognise(table: Table) -> Format | None:
    """The format of a file, by its columns."""
    header = frozenset(table.header)
    return next((format for format in FORMATS if format.detect(header)), None)


def sources(name: str, stream: Stream, limits: Limits, budget: Budget) -> Iterator[Source]:
    """The file itself, or what the ZIP holds; each is read before the next is asked for.

    Iterate and read inside `unpacking(name)`.
    """
    source = buffered(stream, budget)
    if not source.peek(4).startswith((b"PK\x03\x04", _END)):
        yield Source(name, source)
        return
    archive = stream if _seekable(stream) else io.BytesIO(_whole(name, source, limits))
    yield from _inside(name, cast("IO[bytes]", archive), limits, budget)


@contextmanager
def unpacking(name: str) -> Iterator[None]:
    """Turns what a damaged ZIP raises, when opened or while being read, into one refusal."""
    try:
        yield
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, struct.error) as error:
        raise FormatError(f"{name}: a damaged ZIP", hint=str(error)) from None


def _seekable(stream: Stream) -> bool:
    probe = getattr(stream, "seekable", None)
    return bool(probe and probe())


def _whole(name: str, source: io.BufferedReader, limits: Limits) -> bytes:
    held = source.read(limits.packed_bytes + 1)
    if len(held) > limits.packed_bytes:
        raise ImportLimitError(f"{name}: a ZIP of more than {limits.packed_bytes} bytes")
    return held


def _inside(name: str, archive: IO[bytes], limits: Limits, budget: Budget) -> Iterator[Source]:
    entries, directory = _end_of(archive)
    if entries > limits.files or directory > limits.directory_bytes:
        raise ImportLimitError(f"{name}: more than {limits.files} files in one ZIP")
    with zipfile.ZipFile(archive) as opened:
        names = [entry.filename.lower() for entry in opened.infolist()]
        if any(name.endswith(".zip") for name in names) and not any(name.endswith(".csv") for name in names):
            raise FormatError(f"{UNKNOWN_FORMAT}: {name}", hint=ZIP_IN_ZIP)
        for entry in opened.infolist():
            if not _wanted(entry):
                continue
            if entry.flag_bits & 1:
                raise FormatError(f"{name}: the ZIP is encrypted", hint="unpack it and import the files")
            most = max(limits.ratio_floor, entry.compress_size * limits.ratio)
            with opened.open(entry) as packed, buffered(packed, budget, most) as stream:
                yield Source(entry.filename, stream, inside=True)


def _wanted(entry: zipfile.ZipInfo) -> bool:
    path = entry.filename.lower()
    return path.endswith(".csv") and not entry.is_dir() and not path.startswith("__macosx/")


def _end_of(archive: IO[bytes]) -> tuple[int, int]:
    """Entries and bytes of the table of contents, from the ZIP's last record: before it is loaded."""
    size = archive.seek(0, io.SEEK_END)
    reach = min(size, 22 + 65_535)
    archive.seek(size - reach)
    tail = archive.read(reach)
    at = tail.rfind(_END)
    if at < 0 or len(tail) - at < 22:
        raise zipfile.BadZipFile("it has no table of contents; was the download cut off?")
    entries, directory = struct.unpack_from("<HI", tail, at + 10)
    if at >= 20 and tail[at - 20 : at - 16] == _LOCATOR64:
        archive.seek(struct.unpack_from("<Q", tail, at - 12)[0])
        record = archive.read(56)
        if not record.startswith(_END64):
            raise zipfile.BadZipFile("its table of contents is damaged")
        entries, directory = struct.unpack_from("<QQ", record, 32)
    archive.seek(0)
    return entries, directory
