"""What a thief can try on an export of a vault: every stretch of its header as every key there is in it."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from io import BytesIO

from vrm.errors import VrmError
from vrm.thief.keys import Attempt, windows
from vrm.vault import crypto, export
from vrm.vault.crypto import Purpose
from vrm.vault.export import Ways
from vrm.vault.keyring import Keyring
from vrm.vault.keyslots import Slot

_BESIDE = 4096  # bytes of the chunks that are also tried as keys


def is_export(content: bytes) -> bool:
    """Whether a file begins as an export does."""
    return content.startswith(export.MAGIC)


def keys_of(content: bytes) -> Iterator[bytes]:
    """Every 32 bytes of the header and of the beginning of the chunks."""
    ways = _ways(content)
    if ways is not None:
        yield from windows(content[: len(ways.start) + _BESIDE])


def attempts(content: bytes) -> Iterator[Attempt]:
    """The ways in, the file key, the first chunk."""
    ways = _ways(content)
    if ways is None:
        return
    for slot in ways.slots:
        yield _slot(slot)
    digest = crypto.digest(ways.head)
    yield Attempt(
        "root key",
        "",
        "",
        lambda key: Keyring(ways.vault, key).cipher(Purpose.EXPORT).unwrap(ways.wrapped, digest),
    )
    yield Attempt.on(ways.wrapped, Purpose.EXPORT, ways.vault, digest, kind="export key")
    size, rest = content[len(ways.start) : len(ways.start) + 4], content[len(ways.start) + 4 :]
    if len(size) == 4:
        sealed, link = rest[: struct.unpack(">I", size)[0]], crypto.digest(ways.start)
        yield Attempt.on(sealed, Purpose.EXPORT_CHUNK, ways.vault, 1, link, 0, kind="file key")


def _slot(slot: Slot) -> Attempt:
    parts = (slot.vault, slot.slot, slot.kind, slot.params)
    return Attempt.on(slot.wrapped, Purpose.ROOT, *parts, kind="keyslot key")


def _ways(content: bytes) -> Ways | None:
    try:
        return export.read_ways(BytesIO(content))
    except VrmError:
        return None
