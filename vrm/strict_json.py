"""JSON as others send it, read in one way only.

Promises: whoever reads the same text understands the same. Refuses, always with ValueError, what RFC 8259
leaves to each reader, a name twice in one object; and what is no JSON at all: NaN, infinities; and nesting
beyond what Python reads.
"""

from __future__ import annotations

import json
from typing import Any, NoReturn


def loads(text: str | bytes) -> Any:
    """The value; bytes in whichever of UTF-8, -16 or -32 they are. ValueError."""
    if isinstance(text, bytes):
        text = text.decode(json.detect_encoding(text), "surrogatepass")  # as json.loads does
    try:
        return _DECODER.decode(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):  # which of two values is meant, nobody knows
        raise ValueError("a name twice")
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)


_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_constant)
