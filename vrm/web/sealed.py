"""What a page leaves for the next one, in her browser: sealed for the session in which it was left.

Promises: the cookie opens under a key of this host alone, for the use and the session that sealed it; nothing
of it is stored here or stands in an address. Refuses what a cookie has no room for: whoever keeps something
must have another way.
"""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from typing import Any, Final

from flask import g, request

from vrm.errors import TamperedError
from vrm.web import session
from vrm.web.desk import desk

COOKIE_MOST: Final = 2_000  # characters: every request carries them


def keep(purpose: str, said: Any, seconds: int) -> bool:
    """Leave it with the answer to this request; whether there was room."""
    text = zlib.compress(json.dumps(said).encode())
    sealed = base64.urlsafe_b64encode(_cipher().seal(text, *_bound(purpose))).decode()
    if len(sealed) > COOKIE_MOST:
        return False
    session.keep(purpose, sealed, seconds=seconds)
    return True


def find(purpose: str) -> Any:
    """What was left; None where there is nothing that opens in this session."""
    sealed = request.cookies.get(desk().cookie(purpose), "")[:COOKIE_MOST]
    try:
        text = zlib.decompress(_cipher().unseal(base64.urlsafe_b64decode(sealed.encode()), *_bound(purpose)))
    except (TamperedError, binascii.Error, ValueError):
        return None
    return json.loads(text)


def _bound(purpose: str) -> tuple[str, str]:
    return purpose, session.form_key(g.secret)


def _cipher() -> Any:
    return desk().vaults.server_key.typed
