"""One vault as one encrypted file, which passphrase or recovery code opens on any host, and no server key.

The header holds the ways in, then a file key under the root; all that follows are chunks under the file
key, each chained to all bytes before it, the last one marked: a file cut, extended, reordered or mixed from
two is refused at the first byte that is wrong. What the chunks hold are rows as they are stored, which the
root opens. Reading takes the memory of one chunk, however long the file says it is; nothing is decompressed.
Layout: docs/format.md; `scripts/read_export.py` reads it without this project.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Final

from vrm import __version__
from vrm.errors import DataNewerError, FormatError, TamperedError
from vrm.vault import crypto, envelope
from vrm.vault.crypto import Cipher, Purpose
from vrm.vault.keyring import Keyring
from vrm.vault.keyslots import PassphraseSlot, RecoverySlot, Slot

MAGIC: Final = b"vrm vault export"
FORMAT: Final = 1
_FULL = 1 << 18  # bytes of rows after which a chunk is sealed
MOST = 1 << 24  # bytes of one chunk: more is refused before it is read
_VERSION = struct.Struct(">H")
_SIZE = struct.Struct(">I")
_INTEGER = struct.Struct(">q")
_NULL, _NUMBER, _TEXT, _BYTES = range(4)  # kinds of cells
_WAYS: Final = (PassphraseSlot.kind, RecoverySlot.kind)  # at most one of each: each may cost an Argon2id run
_VAULT, _SLOT = re.compile(r"[0-9a-f]{32}"), re.compile(r"[0-9a-f]{16}")  # ids, as this project makes them
_HEX = re.compile(r"([0-9a-f]{2})*")
_NEVER: Final = 1 << 53  # seconds, counts and versions are below
Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Section:
    """A table of which a vault's rows travel: column → kind of its cells (i, t, b; with ? also nothing).

    `filled` are columns that do not travel, with what stands in them on arrival.
    """

    table: str
    columns: Mapping[str, str]
    where: str = ""
    filled: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Manifest:
    """What an export says of itself: the first chunk."""

    vault: str
    username: str
    created: int
    generation: int
    confirmed: bool
    taken: int
    roster: str  # hex, sealed
    versions: dict[str, int]  # of the tables' schemas
    tables: dict[str, list[str]]  # table → columns
    rows: dict[str, int]  # table → how many
    by: str = __version__


def damaged() -> TamperedError:
    """The one complaint about a file that does not hold what was written."""
    return TamperedError("the export is damaged, cut or altered", hint="nothing was stored; use another copy")


# ---- writing ------------------------------------------------------------------------------------


class Writer:
    """Writes chunks to `out`; `finish` seals the last one, without which a file is none."""

    def __init__(self, out: BinaryIO, keyring: Keyring, slots: Sequence[Slot]) -> None:
        self._out = out
        file_key = crypto.random_key()
        head = MAGIC + _VERSION.pack(FORMAT) + envelope.lp(_head(keyring.vault, slots))
        wrapped = keyring.alone().cipher(Purpose.EXPORT).wrap(file_key, crypto.digest(head))
        start = head + envelope.lp(wrapped)
        out.write(start)
        self._cipher = Cipher(file_key, Purpose.EXPORT_CHUNK, keyring.vault)
        self._seq, self._link = 0, crypto.digest(start)
        self._pending = bytearray()
        self.size = len(start)

    def manifest(self, manifest: Manifest) -> None:
        """The first chunk."""
        self._pending += json.dumps({name: getattr(manifest, name) for name in Manifest.__slots__}).encode()
        self._seal(last=False)

    def row(self, table: int, cells: Row) -> None:
        """Append a row of the table with this number in the manifest."""
        self._pending += bytes([table]) + b"".join(map(_cell, cells))
        if len(self._pending) >= _FULL:
            self._seal(last=False)

    def finish(self) -> None:
        """Seal what is left as the last chunk."""
        self._seal(last=True)

    def _seal(self, *, last: bool) -> None:
        if len(self._pending) > MOST - envelope.SMALLEST:
            raise ValueError("a row beyond what a chunk may hold")
        self._seq += 1
        sealed = self._cipher.seal(bytes(self._pending), self._seq, self._link, int(last))
        self._out.write(_SIZE.pack(len(sealed)) + sealed)
        self._link = crypto.digest(sealed)
        self.size += _SIZE.size + len(sealed)
        self._pending.clear()


def _head(vault: str, slots: Sequence[Slot]) -> bytes:
    rows = [
        envelope.pack(
            one.slot, one.kind, one.params, one.check, one.public, one.wrapped, one.generation, one.handed
        )
        for one in slots
    ]
    return envelope.pack(vault, *rows)


def _cell(value: object) -> bytes:
    match value:
        case None:
            return bytes([_NULL])
        case int():
            return bytes([_NUMBER]) + _INTEGER.pack(value)
        case str():
            raw = value.encode()
            return bytes([_TEXT]) + _SIZE.pack(len(raw)) + raw
        case bytes():
            return bytes([_BYTES]) + _SIZE.pack(len(value)) + value
    raise ValueError(type(value).__name__)


# ---- reading ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ways:
    """The header of an export: whose it is and the ways in. Nothing of it is vouched for yet."""

    vault: str
    slots: tuple[Slot, ...]
    wrapped: bytes
    head: bytes
    start: bytes


def read_ways(source: BinaryIO) -> Ways:
    """The header; FormatError for another file, DataNewerError for a newer one, TamperedError."""
    magic = source.read(len(MAGIC))
    if magic != MAGIC:
        raise FormatError("not an export of a vault", hint="name a file that `vrm vault export` wrote")
    version = _exactly(source, _VERSION.size)
    if _VERSION.unpack(version)[0] != FORMAT:
        raise DataNewerError(
            f"the export has format {_VERSION.unpack(version)[0]}; this version reads {FORMAT}",
            hint="use the version of vrm that wrote it, or a newer one",
        )
    size, blob = _sized(source)
    head = MAGIC + version + size + blob
    size, wrapped = _sized(source)
    vault, slots = _ways(blob)
    return Ways(vault, slots, wrapped, head, head + size + wrapped)


def _ways(blob: bytes) -> tuple[str, tuple[Slot, ...]]:
    """The vault's id and its ways in. Both are words of the file: the host vouches for no others than ids."""
    raw, *rows = envelope.unpack(blob)
    vault = _text(raw)
    if not _VAULT.fullmatch(vault) or not 1 <= len(rows) <= len(_WAYS):
        raise damaged()
    slots = tuple(_slot(vault, row) for row in rows)
    if len({slot.kind for slot in slots}) < len(slots) or len({slot.slot for slot in slots}) < len(slots):
        raise damaged()
    return vault, slots


def _exactly(source: BinaryIO, size: int) -> bytes:
    blob = source.read(size)
    if len(blob) != size:
        raise damaged()
    return blob


def _sized(source: BinaryIO) -> tuple[bytes, bytes]:
    size = _exactly(source, _VERSION.size)
    return size, _exactly(source, _VERSION.unpack(size)[0])


def _text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise damaged() from None


def _slot(vault: str, row: bytes) -> Slot:
    parts = envelope.unpack(row)
    if len(parts) != 8 or len(parts[6]) != 8:
        raise damaged()
    slot, kind, params, check, public, wrapped, generation, handed = parts
    number, name, known = int.from_bytes(generation, "big"), _text(slot), _text(kind)
    if not _SLOT.fullmatch(name) or known not in _WAYS or len(check) != 32 or len(public) != 32:
        raise damaged()
    if not 1 <= number < _NEVER:
        raise damaged()
    return Slot(vault, name, known, params, check, public, wrapped, number, handed)


class Reader:
    """The chunks of an export, opened one after the other with the root."""

    def __init__(self, source: BinaryIO, ways: Ways, keyring: Keyring) -> None:
        try:
            file_key = keyring.cipher(Purpose.EXPORT).unwrap(ways.wrapped, crypto.digest(ways.head))
        except TamperedError:
            raise damaged() from None
        self._source = source
        self._cipher = Cipher(file_key, Purpose.EXPORT_CHUNK, keyring.vault)
        self._link = crypto.digest(ways.start)
        self._chunks = self._opened()
        self.manifest = _manifest(next(self._chunks, b""), ways.vault)

    def rows(self) -> Iterator[tuple[str, Row]]:
        """(table, cells) of every row; TamperedError where the file goes wrong, at its end at the latest."""
        tables = list(self.manifest.tables.items())
        for chunk in self._chunks:
            at = 0
            while at < len(chunk):
                if chunk[at] >= len(tables):
                    raise damaged()
                table, columns = tables[chunk[at]]
                at, cells = _cells(chunk, at + 1, len(columns))
                yield table, cells

    def _opened(self) -> Iterator[bytes]:
        seq, size = 0, self._source.read(_SIZE.size)
        while size:
            seq += 1
            if len(size) != _SIZE.size or not envelope.SMALLEST <= _SIZE.unpack(size)[0] <= MOST:
                raise damaged()
            sealed = _exactly(self._source, _SIZE.unpack(size)[0])
            size = self._source.read(_SIZE.size)
            try:
                yield self._cipher.unseal(sealed, seq, self._link, int(not size))
            except TamperedError:
                raise damaged() from None
            self._link = crypto.digest(sealed)
        if not seq:
            raise damaged()


def _manifest(chunk: bytes, vault: str) -> Manifest:
    try:
        manifest = Manifest(**json.loads(chunk))
    except (ValueError, TypeError, RecursionError):
        raise damaged() from None
    if manifest.vault != vault or not _is_typed(manifest):
        raise damaged()
    return manifest


def _is_typed(manifest: Any) -> bool:
    """Whether every member is of its kind: who sealed the file could write anything into it."""
    return (
        all(type(text) is str for text in (manifest.username, manifest.roster, manifest.by))
        and all(map(_is_count, (manifest.created, manifest.generation, manifest.taken)))
        and str(manifest.confirmed) in ("True", "False")
        and bool(_HEX.fullmatch(manifest.roster))
        and all(type(one) is dict for one in (manifest.versions, manifest.tables, manifest.rows))
        and all(map(_is_count, (*manifest.versions.values(), *manifest.rows.values())))
        and all(map(_are_names, manifest.tables.values()))
    )


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value < _NEVER  # True is none


def _are_names(value: object) -> bool:
    return (
        isinstance(value, list)
        and all(isinstance(name, str) for name in value)
        and len(set(value)) == len(value)
    )


def _cells(chunk: bytes, at: int, count: int) -> tuple[int, Row]:
    cells: list[Any] = []
    try:
        for _ in range(count):
            kind, at = chunk[at], at + 1
            if kind == _NUMBER:
                cells.append(_INTEGER.unpack_from(chunk, at)[0])
                at += _INTEGER.size
            elif kind in (_TEXT, _BYTES):
                size = _SIZE.unpack_from(chunk, at)[0]
                at += _SIZE.size + size
                if at > len(chunk):
                    raise damaged()
                raw = chunk[at - size : at]
                cells.append(_text(raw) if kind == _TEXT else raw)
            elif kind == _NULL:
                cells.append(None)
            else:
                raise damaged()
    except (IndexError, struct.error):
        raise damaged() from None
    return at, tuple(cells)


_KINDS: dict[str, type] = {"i": int, "t": str, "b": bytes}


def check_columns(manifest: Manifest, sections: Iterable[Section]) -> None:
    """DataNewerError for a table or column that this version does not know."""
    known = {section.table: set(section.columns) for section in sections}
    for table, columns in manifest.tables.items():
        if not set(columns) <= known.get(table, set()):
            raise DataNewerError(hint=f"it was written by vrm {manifest.by}; this is {__version__}")


def fits(section: Section, columns: Sequence[str], cells: Row) -> bool:
    """Whether every cell is of its column's kind."""
    for name, cell in zip(columns, cells, strict=True):
        kind = section.columns[name]
        if cell is None:
            if not kind.endswith("?"):
                return False
        elif not isinstance(cell, _KINDS[kind[0]]):
            return False
    return True
