"""Looks for texts in files, in every form in which a careless program could have left them."""

from __future__ import annotations

import base64
import json
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

_ZLIB = re.compile(rb"\x78[\x01\x5e\x9c\xda]|\x1f\x8b\x08|PK\x03\x04")
SHORTEST = 6  # bytes that are looked for: fewer turn up by chance
_MOST_INFLATED = 1 << 24  # bytes of one stream
_ZIP_HEADER = 30  # bytes before the name of an entry
_UTF16 = ("utf-16-le", "utf-16-be")


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
    wanted = [(text, form, needle) for text in texts for needle, form in _distinct(text).items()]
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


def _matches(content: bytes, wanted: Sequence[tuple[str, str, bytes]]) -> Iterator[tuple[str, str]]:
    lower = content.lower()
    for text, form, needle in wanted:
        folded = needle.lower() in lower if form in ("as it is", "UTF-16") else needle in content
        if folded:
            yield text, form


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
