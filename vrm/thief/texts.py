"""Looks for texts in files, in every form in which a careless program could have left them."""

from __future__ import annotations

import base64
import json
import re
import sys
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

_ZLIB = re.compile(rb"\x78[\x01\x5e\x9c\xda]|\x1f\x8b\x08|PK\x03\x04")
SHORTEST = 6  # bytes that are looked for: fewer turn up by chance
_MOST_INFLATED = 1 << 24  # bytes of one stream
_ZIP_HEADER = 30  # bytes before the name of an entry
_UTF16 = ("utf-16-le", "utf-16-be")
_PIECE = 1 << 20  # bytes looked through at a time
_BEGIN = 4  # bytes of a needle that are looked up before the whole of it is looked for
_MANY = 200  # needles for which that pays


@dataclass(frozen=True, slots=True)
class Found:
    """A text that was looked for and where it stands."""

    text: str
    file: str
    form: str


def forms(text: str) -> Iterator[tuple[str, bytes]]:
    """(name, bytes) of every form; of base64 in each alignment, what the bytes around do not change."""
    for case in dict.fromkeys((text, text.upper(), text.lower())):
        raw = case.encode()
        yield "as it is", raw
        yield "JSON", json.dumps(case)[1:-1].encode()
        yield "hex", raw.hex().encode()
        yield "hex", raw.hex().upper().encode()
        for name in _UTF16:
            yield "UTF-16", case.encode(name)
        for shift in range(3):
            start = (0, 2, 3)[shift]
            whole = (len(raw) + shift) // 3 * 4
            for encode in (base64.b64encode, base64.urlsafe_b64encode):
                yield "base64", encode(bytes(shift) + raw)[start:whole]


def _distinct(text: str) -> dict[bytes, str]:
    """Needle → the first form that gives it."""
    least = {"base64": SHORTEST + 2}  # of which a part may be cut
    return {
        needle: form
        for form, needle in reversed(list(forms(text)))
        if len(needle) >= least.get(form, SHORTEST)
    }


def long_enough(text: str) -> bool:
    """Whether chance does not write this text into any larger heap of sealed bytes."""
    return len(text.encode()) >= SHORTEST


def look(folder: Path, texts: Sequence[str]) -> list[Found]:
    """Every (text, file, form) in the files below `folder`, their names included."""
    wanted = [_needle(text, form, needle) for text in texts for needle, form in _distinct(text).items()]
    found: dict[Found, None] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        for text in texts:
            if text.lower() in name.lower():
                found[Found(text, name, "file name")] = None
        if path.is_file():
            content = path.read_bytes()
            for text, form in _matches(content, wanted):
                found[Found(text, name, form)] = None
            for inner in inflated(content):
                for text, _ in _matches(inner, wanted):
                    found[Found(text, name, "compressed")] = None
    return list(found)


class _Needle(NamedTuple):
    """One form of a text; `folded` where capitals do not matter, and then in small letters."""

    text: str
    form: str
    folded: bool
    needle: bytes
    begin: int


def _needle(text: str, form: str, needle: bytes) -> _Needle:
    folded = form in ("as it is", "UTF-16")
    sought = needle.lower() if folded else needle
    return _Needle(text, form, folded, sought, int.from_bytes(sought[:_BEGIN], sys.byteorder))


def _matches(content: bytes, wanted: Sequence[_Needle]) -> Iterator[tuple[str, str]]:
    """(text, form) of each that stands there, some of them more than once.

    Of many needles nearly none begins with four bytes that stand there one after the other, which is found
    out for all of them at once.
    """
    longest = max((len(one.needle) for one in wanted), default=0)
    for at in range(0, len(content), _PIECE):
        piece = content[at : at + _PIECE + longest]
        here = piece, piece.lower()  # by `folded`
        begins = tuple(map(_begins, here)) if len(wanted) > _MANY else None
        for text, form, folded, needle, begin in wanted:
            if (begins is None or begin in begins[folded]) and needle in here[folded]:
                yield text, form


def _begins(content: bytes) -> set[int]:
    """All numbers that four bytes in a row stand for."""
    view, found = memoryview(content), set[int]()
    for shift in range(_BEGIN):
        whole = (len(content) - shift) // _BEGIN * _BEGIN
        found.update(view[shift : shift + max(whole, 0)].cast("I"))
    return found


def inflated(content: bytes) -> Iterator[bytes]:
    """Whatever inflates at any offset that looks like zlib, gzip or an entry of a ZIP file."""
    for start in _ZLIB.finditer(content):
        at = start.start()
        bits = zlib.MAX_WBITS
        if start[0] == b"\x1f\x8b\x08":
            bits = 16 + zlib.MAX_WBITS
        elif start[0] == b"PK\x03\x04":
            lengths = content[at + 26 : at + _ZIP_HEADER]
            at += _ZIP_HEADER + int.from_bytes(lengths[:2], "little") + int.from_bytes(lengths[2:], "little")
            bits = -zlib.MAX_WBITS
        text = _inflate(content[at : at + _MOST_INFLATED], bits)
        if text:
            yield text


def _inflate(content: bytes, bits: int) -> bytes:
    """As much as inflates: a stream cut short still gives away its beginning."""
    stream, text = zlib.decompressobj(bits), b""
    try:
        for at in range(0, len(content), 4096):
            text += stream.decompress(content[at : at + 4096], _MOST_INFLATED - len(text))
            if stream.eof or len(text) >= _MOST_INFLATED:
                break
    except zlib.error:
        return text
    return text
