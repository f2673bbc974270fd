"""RFC 9207: every authorization answer, errors too, says who speaks.

Promises: `iss` equals the metadata's `issuer` to the character, so that a vendor with two vaults cannot be
made to take one's answer for the other's (mix-up, RFC 9700 section 4.4). Refuses to forward an `iss` that
stands in a registered redirect address already: it is replaced.
"""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

OURS = frozenset({"code", "state", "iss", "error", "error_description", "error_uri"})


def answer_address(redirect_uri: str, answer: Iterable[tuple[str, str]], issuer: str) -> str:
    """The vendor's address with our answer in its query, `iss` last; its own other parameters are kept."""
    parts = urlsplit(redirect_uri)
    kept = [pair for pair in parse_qsl(parts.query, keep_blank_values=True) if pair[0] not in OURS]
    query = urlencode([*kept, *answer, ("iss", issuer)])
    return urlunsplit(parts._replace(query=query, fragment=""))
