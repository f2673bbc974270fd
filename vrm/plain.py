"""What is answered before Flask is asked: only requests that are plain, whole and to our own host.

Three kinds are (vendors' readings, the calls of their servers, her form for something new); each says what
else it wants. Promises: what does not fit is left as it came. Here, too, are the names of WSGI's parts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, Final

FORM: Final = "application/x-www-form-urlencoded"
Environ = dict[str, Any]
Wsgi = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]
Naming = Callable[[Environ, str, str], None]  # told the method and the rule of what was answered


class Plain:
    """For one application."""

    def __init__(self, hosts: Iterable[str]) -> None:
        """`hosts`: our own names, those of IPv6 in brackets."""
        names = "|".join(map(re.escape, hosts))
        self._ours = re.compile(f"(?:{names})(?::[0-9]{{1,5}})?", re.IGNORECASE).fullmatch

    def is_ours(self, host: str) -> bool:
        """Whether a Host header names us; names are alike in capitals (RFC 9110 section 4.2.3)."""
        return self._ours(host) is not None

    def is_reading(self, environ: Environ) -> bool:
        """Whether it is a GET without body and condition."""
        return (
            environ["REQUEST_METHOD"] == "GET"
            and environ.get("CONTENT_LENGTH", "") in ("", "0")
            and "HTTP_TRANSFER_ENCODING" not in environ
            and "HTTP_IF_MATCH" not in environ
            and "HTTP_IF_NONE_MATCH" not in environ
            and self.is_ours(environ.get("HTTP_HOST", ""))
        )

    def is_form(self, environ: Environ, most: int) -> bool:
        """Whether it is a POST of a form of at most so many bytes, with nothing in its address."""
        length = environ.get("CONTENT_LENGTH") or ""
        return (
            environ["REQUEST_METHOD"] == "POST"
            and environ.get("CONTENT_TYPE", "").partition(";")[0].strip().lower() == FORM
            and length.isdecimal()
            and int(length) <= most
            and not environ.get("QUERY_STRING")
            and "HTTP_TRANSFER_ENCODING" not in environ
            and self.is_ours(environ.get("HTTP_HOST", ""))
        )
