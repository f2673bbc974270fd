"""CSV files of strangers, one record at a time.

Promises: reads forward only, holds one record, and accepts byte order marks, either quoting flavour,
CRLF, and comma, semicolon or tab. Columns are found by normalised name ("Order ID" = "OrderId"), never
by position. Refuses what is not text or not CSV with FormatError, what is too large with
ImportLimitError; a bad record becomes a Rejection and the reading goes on.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator, Sequence
from operator import itemgetter
from typing import Protocol

from vrm.errors import FormatError, ImportLimitError
from vrm.vault.catalog import N_
from vrm.vault.importers import rows
from vrm.vault.importers.limits import Limits
from vrm.vault.importers.rows import Rejection, Row
from vrm.vault.importers.values import ABSENT, CellError

UNKNOWN_FORMAT = "not a format I know"
UTF_16 = N_("Its letters are written as UTF-16: save it as CSV in UTF-8.")
CHUNK = 64 * 1024  # bytes asked of the stream at a time
_SAID = dict.fromkeys(ABSENT, "")
_NOT_NAME = re.compile(r"[^a-z0-9]+")
_BOM = b"\xef\xbb\xbf"
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
_BINARY = (b"%PDF", b"\x89PNG", b"\x1f\x8b", b"\xd0\xcf\x11\xe0")


class Stream(Protocol):
    """All that is needed of a file."""

    def read(self, size: int = -1, /) -> bytes: ...


class Budget:
    """Bytes left for all files of one import."""

    def __init__(self, limits: Limits) -> None:
        self.left = limits.unpacked_bytes

    def spend(self, count: int) -> None:
        self.left -= count
        if self.left < 0:
            raise ImportLimitError("more bytes than one import may hold", hint="import the files one by one")


class Metered(io.RawIOBase):
    """A stream whose bytes are counted: against the import's budget and, packed, against its ratio."""

    def __init__(self, stream: Stream, budget: Budget, most: int | None = None) -> None:
        super().__init__()
        self._stream = stream
        self._budget = budget
        self._most = most
        self._count = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # typeshed says Buffer; io passes this
        chunk = self._stream.read(len(buffer))
        buffer[: len(chunk)] = chunk
        self._count += len(chunk)
        self._budget.spend(len(chunk))
        if self._most is not None and self._count > self._most:
            raise ImportLimitError("unpacks to far more than a real export would")
        return len(chunk)


def buffered(stream: Stream, budget: Budget, most: int | None = None) -> io.BufferedReader:
    """The stream, metered, with fast bounded line reading."""
    return io.BufferedReader(Metered(stream, budget, most), CHUNK)


def normalise(name: str) -> str:
    """A column's name as formats know it: small ASCII letters and digits, nothing else."""
    return _NOT_NAME.sub("", name.lower())


class Table:
    """One CSV file: its normalised header at once, its records as they are asked for."""

    def __init__(self, name: str, source: io.BufferedReader, limits: Limits) -> None:
        self.name = name
        self._source = source
        self._limits = limits
        self._record_bytes = 0
        self._flaw = ""
        self._lines = self._decoded()
        first = self._header_line()
        delimiter = max(",;\t", key=first.count)
        self._reader = csv.reader(self._with_first(first), delimiter=delimiter)
        self.names = [cell.strip() for cell in self._next() or []]
        self.header = tuple(normalise(name) for name in self.names)
        if len(self.header) > limits.columns:
            raise ImportLimitError(f"{name}: more than {limits.columns} columns")
        self._used: tuple[int, ...] = ()

    def _header_line(self) -> str:
        start = self._source.peek(4)[:4]
        if start.startswith(_UTF_16):
            raise FormatError(f"{UNKNOWN_FORMAT}: {self.name}", hint=UTF_16)
        if start.startswith(_BINARY):
            raise FormatError(f"{UNKNOWN_FORMAT}: {self.name}", hint="expected CSV in UTF-8, or a ZIP")
        first = next(self._lines, "")
        if self._flaw:
            raise FormatError(f"{UNKNOWN_FORMAT}: {self.name}", hint=f"the first line holds {self._flaw}")
        return first.removeprefix("\ufeff")

    def _decoded(self) -> Iterator[str]:
        most = self._limits.record_bytes
        while raw := self._source.readline(most + 1):
            self._record_bytes += len(raw)
            if self._record_bytes > most:
                raise ImportLimitError(f"{self.name}: a line longer than {most} bytes")
            if b"\0" in raw:
                self._flaw = rows.NUL_BYTE
            try:
                text = raw.decode("utf-8")
            except UnicodeDecodeError:
                self._flaw = rows.NOT_UTF8
                text = raw.decode("utf-8", "replace")
            if "\r" in text:  # of CRLF, or stray inside a value, where the csv module would give up
                text = text.rstrip("\r\n").replace("\r", " ") + "\n"
            yield text

    def _with_first(self, first: str) -> Iterator[str]:
        if first:
            yield first
        yield from self._lines

    def _next(self) -> list[str] | None:
        try:
            return next(self._reader, None)
        except csv.Error as error:
            line = self._reader.line_num
            raise FormatError(f"{self.name}: not CSV, line {line}", hint=str(error)) from None

    @property
    def lines_read(self) -> int:
        """Lines so far, blank ones and those inside quotes as well."""
        return self._reader.line_num

    def records(self) -> Iterator[tuple[int, list[str]] | Rejection]:
        """Each record with the number of its first line; bad ones as Rejections; blank ones skipped."""
        width = len(self.header)
        start = self._reader.line_num + 1
        self._record_bytes, self._flaw = 0, ""
        while (cells := self._next()) is not None:
            line, start = start, self._reader.line_num + 1
            if line > self._limits.physical_lines:
                raise ImportLimitError(f"{self.name}: more than {self._limits.physical_lines} lines")
            self._record_bytes = 0
            if self._flaw:
                yield Rejection(line, "", self._flaw)
                self._flaw = ""
            elif len(cells) == width:
                yield line, cells
            elif any(cells):
                yield self._misfit(line, start - line, cells, width)

    @staticmethod
    def _misfit(line: int, height: int, cells: list[str], width: int) -> tuple[int, list[str]] | Rejection:
        if len(cells) > width and not any(cells[width:]):
            return line, cells[:width]  # only trailing delimiters
        if height > 1:
            return Rejection(line, "", rows.OPEN_QUOTE)
        return Rejection(line, "", rows.TOO_MANY if len(cells) > width else rows.TOO_FEW)

    def picker(self, columns: Sequence[tuple[str, ...]]) -> Callable[[list[str]], list[str]]:
        """A function from a record to the wanted cells; each column under any of its names, "" if none.

        What sellers write for "no value" becomes "" too.
        """
        places = {name: at for at, name in reversed(list(enumerate(self.header)))}
        missing = len(self.header)
        self._used = tuple(
            next((places[name] for name in names if name in places), missing) for names in columns
        )
        for name in (self.header[at] for at in self._used if at < missing):
            if self.header.count(name) > 1:
                raise FormatError(
                    f"{self.name}: the column {name!r} is there twice", hint="remove one of them"
                )
        get = itemgetter(*self._used)

        def pick(cells: list[str]) -> list[str]:
            bare = list(map(str.strip, get([*cells, ""])))
            return list(map(_SAID.get, bare, bare))

        return pick

    def rows(
        self, columns: Sequence[tuple[str, ...]], make: Callable[[int, list[str]], Row | None]
    ) -> Iterator[Row]:
        """What `make` makes of each record's wanted cells; records and cells in error as Rejections."""
        pick = self.picker(columns)
        for record in self.records():
            if isinstance(record, Rejection):
                yield record
                continue
            line, cells = record
            try:
                row = make(line, pick(cells))
            except CellError as error:
                row = self._rejected(line, error, cells)
            if row is not None:
                yield row

    def _rejected(self, line: int, error: CellError, cells: list[str]) -> Rejection:
        used = [at for at in self._used if at < len(cells) and cells[at].strip() == error.text]
        return Rejection(line, self.names[used[0]] if used else "", error.reason)


class Occurrences:
    """Counts equal lines of one file: an export repeats a line when a quantity was split."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str, str], int] = {}

    def nth(self, seller: str, order_number: str, item_key: str) -> int:
        key = (seller, order_number, item_key)
        found = self._seen[key] = self._seen.get(key, 0) + 1
        return found
