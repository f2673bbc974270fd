"""The one way in which posted forms and numbers in addresses are read, before Flask is asked and after.

Refuses nothing: what is no text has no names.
"""

from __future__ import annotations

from urllib.parse import unquote_plus

from werkzeug import urls  # noqa: F401 - registers what `_unquoted` does with bytes that are no text


def form_pairs(body: bytes) -> list[tuple[str, str]]:
    """Names and values of a posted form, as Werkzeug reads them; none in what is no text."""
    try:
        pairs = body.decode().split("&")
    except UnicodeDecodeError:
        return []
    found = []
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if "%" in pair or "+" in pair:
            name, value = _unquoted(name), _unquoted(value)
        if name or equals:
            found.append((name, value))
    return found


def whole_number(text: str, digits: int) -> int | None:
    """The number that somebody sent, 0 or more, of so many digits at most; None for anything else."""
    return int(text) if text.isdecimal() and len(text) <= digits else None


def _unquoted(text: str) -> str:
    return unquote_plus(text, errors="werkzeug.url_quote")
