"""Byte layouts: pure, strict, versioned. Nothing here knows a key.

Encoding: `lp(x)` = u16 length ‖ bytes; integers u64 big-endian; text NFC, UTF-8. Info and associated
data are a purpose followed by `lp` of each part, never bare concatenation. The layouts are described
in docs/format.md and frozen by tests/vectors.
"""

from __future__ import annotations

import struct
import unicodedata
from collections.abc import Sequence
from itertools import chain
from typing import NamedTuple, TypeAlias

from vrm.errors import TamperedError

VERSION = 1
SUITE_AES_256_GCM = 1
NONCE = 12  # bytes
TAG = 16  # bytes
_HEADER = struct.Struct(">BBI")
_LENGTH = struct.Struct(">H")
_INTEGER = struct.Struct(">HQ")
_PLACE = struct.Struct(">H16sHQ")
_RECORD = struct.Struct(">H32sHQ")
_SIZE = struct.Struct(">I")
_MOST = (1 << 64) - 1  # of an integer
HEADER = _HEADER.size
SMALLEST = HEADER + NONCE + TAG

Part: TypeAlias = bytes | str | int


class Envelope(NamedTuple):
    """A parsed envelope; `header` is authenticated as associated data."""

    header: bytes
    generation: int
    nonce: bytes
    sealed: bytes  # cipher text ‖ tag


def lp(part: Part) -> bytes:
    """u16 length ‖ bytes. Text is NFC and UTF-8, integers are u64 big-endian.

    Raises ValueError above 65,535 bytes or for a negative integer.
    """
    if isinstance(part, str):
        # ASCII is its own normal form
        part = (part if part.isascii() else unicodedata.normalize("NFC", part)).encode()
    elif isinstance(part, int):
        if not 0 <= part <= _MOST:
            raise ValueError("integer part outside u64")
        return _INTEGER.pack(8, part)
    size = len(part)
    if size > 0xFFFF:
        raise ValueError("part longer than 65,535 bytes")
    return _LENGTH.pack(size) + part


def header(generation: int) -> bytes:
    """The six authenticated bytes before the nonce: version, suite, key generation."""
    return _HEADER.pack(VERSION, SUITE_AES_256_GCM, generation)


def parse(blob: bytes) -> Envelope:
    """Split an envelope; TamperedError for a short one or an unknown version or suite (no negotiation)."""
    require_bytes(blob)
    if len(blob) < SMALLEST:
        raise TamperedError()
    version, suite, generation = _HEADER.unpack_from(blob)
    if version != VERSION or suite != SUITE_AES_256_GCM:
        raise TamperedError()
    return Envelope(blob[:HEADER], generation, blob[HEADER : HEADER + NONCE], blob[HEADER + NONCE :])


def pack(*parts: Part) -> bytes:
    """Several short parts as one byte string; `unpack` gives them back as bytes."""
    packed = b""
    for part in parts:
        blob = part.encode() if type(part) is str and part.isascii() else part
        if type(blob) is bytes and len(blob) <= 0xFFFF:  # as `lp` does it, without a call for each
            packed += _LENGTH.pack(len(blob)) + blob
        elif type(blob) is int and 0 <= blob <= _MOST:
            packed += _INTEGER.pack(8, blob)
        else:
            packed += lp(part)
    return packed


def require_bytes(blob: object) -> None:
    """TamperedError for anything but bytes: a column takes whatever somebody writes there."""
    if not isinstance(blob, bytes):
        raise TamperedError()


def pack_stored(*parts: Part) -> bytes:
    """`pack` of what a table holds; TamperedError for what nothing was ever packed from."""
    try:
        return pack(*parts)
    except (TypeError, ValueError):
        raise TamperedError() from None


def pack_place(item: bytes, seq: int) -> bytes:
    """`pack_stored` of an id of 16 bytes and a position, in one step: every row of a list needs it."""
    try:
        return _PLACE.pack(16, item, 8, seq) if len(item) == 16 else pack(item, seq)
    except (TypeError, ValueError, struct.error):
        raise TamperedError() from None


def pack_record(record: str, revision: int) -> bytes:
    """`pack_stored` of a record's id and its revision; in one step for ids of 32 ASCII characters."""
    try:
        name = record.encode()
        if len(name) == len(record) == 32:
            return _RECORD.pack(32, name, 8, revision)
        return pack(record, revision)
    except (AttributeError, TypeError, ValueError, struct.error):
        raise TamperedError() from None


def pack_records(records: Sequence[tuple[str, int]]) -> list[bytes]:
    """`pack_record` of many."""
    try:
        if {len(record) for record, _ in records} == {32} and all(record.isascii() for record, _ in records):
            return [_RECORD.pack(32, record.encode(), 8, revision) for record, revision in records]
    except (AttributeError, TypeError, struct.error):
        raise TamperedError() from None
    return [pack_record(record, revision) for record, revision in records]


def unpack(blob: bytes) -> list[bytes]:
    """The parts of `pack`; TamperedError where the lengths do not add up."""
    require_bytes(blob)
    parts = []
    at, end = 0, len(blob)
    while at < end:
        start = at + 2
        if start > end:
            raise TamperedError()
        at = start + _LENGTH.unpack_from(blob, at)[0]
        if at > end:
            raise TamperedError()
        parts.append(blob[start:at])
    return parts


def pack_named(named: dict[str, bytes]) -> bytes:
    """Named long parts (envelopes of facets or scopes): per part lp(name) ‖ u32 length ‖ bytes."""
    return b"".join([lp(name) + _SIZE.pack(len(blob)) + blob for name, blob in named.items()])


def headed(head: bytes, blob: bytes) -> bytes:
    """One part of `pack_named`, whose name is packed as `head`."""
    return head + _SIZE.pack(len(blob)) + blob


def unpack_named(blob: bytes) -> dict[str, bytes]:
    """The parts of `pack_named`; TamperedError where lengths do not add up or a name comes twice."""
    require_bytes(blob)
    named: dict[str, bytes] = {}
    at, end = 0, len(blob)
    try:
        while at < end:
            size_at = at + 2 + _LENGTH.unpack_from(blob, at)[0]
            name = blob[at + 2 : size_at].decode("utf-8", "replace")
            body_at = size_at + 4
            at = body_at + _SIZE.unpack_from(blob, size_at)[0]
            if at > end or name in named:
                raise TamperedError()
            named[name] = blob[body_at:at]
    except struct.error:  # a length itself is cut
        raise TamperedError() from None
    return named


class Layout:
    """`pack_named` of parts whose names are always the same: the facets of a record.

    `usual` are the sizes that most parts have: where all have them, each stands where it always does.
    """

    def __init__(self, names: Sequence[str], usual: Sequence[int]) -> None:
        self.names = tuple(names)
        self.packed = lp(pack(*names))
        self._heads = [lp(name) for name in names]
        self._sizes = list(usual)
        self._marks = tuple(head + _SIZE.pack(size) for head, size in zip(self._heads, usual, strict=True))
        self._spots: list[tuple[int, int, int]] = []  # of each part: mark, beginning, end
        at = 0
        for mark, size in zip(self._marks, usual, strict=True):
            start = at + len(mark)
            self._spots.append((at, start, start + size))
            at = start + size
        self._size = at

    def pack(self, blobs: Sequence[bytes]) -> bytes:
        """Named parts, in the order of the names; ValueError where the numbers differ."""
        if list(map(len, blobs)) == self._sizes:
            return b"".join(chain.from_iterable(zip(self._marks, blobs, strict=True)))
        pairs = zip(self._heads, blobs, strict=True)
        return b"".join([head + _SIZE.pack(len(blob)) + blob for head, blob in pairs])

    def take(self, blob: bytes, places: Sequence[int]) -> list[bytes] | None:
        """Some parts of `pack`, by their places among the names; None for anything else."""
        require_bytes(blob)
        if len(blob) == self._size:
            found = []
            for at in places:
                mark_at, start, end = self._spots[at]
                if not blob.startswith(self._marks[at], mark_at):
                    break
                found.append(blob[start:end])
            else:
                return found
        return self._walked(blob, places)

    def is_usual(self, blob: object) -> bool:
        """Whether every part can have its usual size: then `columns` may cut it."""
        return isinstance(blob, bytes) and len(blob) == self._size

    def columns(self, blobs: Sequence[bytes], places: Sequence[int]) -> list[tuple[bytes, list[bytes]]]:
        """Of some parts, by their places: the packed name, and the part of each usual blob, name included."""
        found = []
        for at in places:
            mark_at, _, end = self._spots[at]
            whole = slice(mark_at, end)
            found.append((self._heads[at], [blob[whole] for blob in blobs]))
        return found

    def _walked(self, blob: bytes, places: Sequence[int]) -> list[bytes] | None:
        parts, at, end = [], 0, len(blob)
        for head in self._heads:
            body_at = at + len(head) + _SIZE.size
            if not blob.startswith(head, at) or body_at > end:
                return None
            at = body_at + _SIZE.unpack_from(blob, body_at - _SIZE.size)[0]
            parts.append(blob[body_at:at])
        return [parts[place] for place in places] if at == end else None


def pack_places(places: Sequence[tuple[bytes, int]]) -> list[bytes]:
    """`pack_place` of many."""
    try:
        if {len(item) for item, _ in places} == {16}:
            return [_PLACE.pack(16, item, 8, seq) for item, seq in places]
    except (TypeError, struct.error):
        raise TamperedError() from None
    return [pack_place(item, seq) for item, seq in places]


def sole_from(blobs: Sequence[bytes], head: bytes, first: bytes = b"") -> int:
    """Where the one part of each begins, as in `sole`, and with `first`; 0 where one of them is none such."""
    body_at = len(head) + _SIZE.size
    if {type(blob) for blob in blobs} != {bytes} or min(map(len, blobs)) < body_at:
        return 0
    sizes = {len(blob) for blob in blobs}  # of few lengths, for texts are padded
    begins = {size: head + _SIZE.pack(size - body_at) + first for size in sizes}
    for blob in blobs:
        if not blob.startswith(begins[len(blob)]):
            return 0
    return body_at


def sole(blob: bytes, head: bytes) -> bytes | None:
    """The one part of a `pack_named` of one part, whose name is packed as `head`; None for any other."""
    require_bytes(blob)
    begins = sole_from((blob,), head)
    return blob[begins:] if begins else None


def pad(text: bytes, bucket: int) -> bytes:
    """Pad JSON with spaces (which JSON ignores) to the next multiple of `bucket` bytes."""
    size = len(text)
    return text.ljust(bucket if size <= bucket else -(-size // bucket) * bucket)
