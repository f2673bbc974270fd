"""Searches: what she looked for, by a name that tells nothing, so that Back finds the list again.

Promises: the words wait in her browser only, sealed under a key of this host for the session in which she
typed them; the address of a list has the name alone; nothing of them is stored here. They open to no other
session, the next one of her own included, and go with the log-out. Refuses to keep what a cookie has no room
for: that is answered at once, as any form.
"""

from __future__ import annotations

import base64
import binascii
import json
import secrets
import zlib
from collections.abc import Sequence
from typing import Any, Final

from flask import g, request

from vrm.errors import TamperedError
from vrm.web import session
from vrm.web.desk import desk

MOST: Final = 8  # lists that Back finds again
COOKIE_MOST: Final = 2_000  # characters: every request carries them


def keep(wanted: Sequence[str]) -> str:
    """The name of this search from now on; "" where it is too long to be kept."""
    said, before = list(wanted), _kept()
    name = next((known for known, one in before if one == said), secrets.token_urlsafe(6))
    kept = [(name, said), *(one for one in before if one[0] != name)][:MOST]
    while kept:
        sealed = _seal(kept)
        if len(sealed) <= COOKIE_MOST:
            session.keep(session.SEARCHES, sealed, seconds=desk().settings.session_absolute)
            return name
        kept.pop()
    return ""


def find(name: str) -> list[str]:
    """What was looked for under this name; nothing where that is not known any more."""
    return next((said for known, said in _kept() if known == name), [])


def _kept() -> list[tuple[str, list[str]]]:
    """Names and searches, the newest first."""
    sealed = request.cookies.get(desk().cookie(session.SEARCHES), "")[:COOKIE_MOST]
    try:
        text = zlib.decompress(_cipher().unseal(base64.urlsafe_b64decode(sealed.encode()), *_bound()))
    except (TamperedError, binascii.Error, ValueError):
        return []
    return [(name, said) for name, said in json.loads(text)]


def _seal(kept: list[tuple[str, list[str]]]) -> str:
    text = zlib.compress(json.dumps(kept).encode())
    return base64.urlsafe_b64encode(_cipher().seal(text, *_bound())).decode()


def _bound() -> tuple[str, str]:
    return "searches", session.form_key(g.secret)


def _cipher() -> Any:
    return desk().vaults.server_key.typed
