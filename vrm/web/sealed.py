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
    text = written(said, *_bound(purpose))
    if len(text) > COOKIE_MOST:
        return False
    session.keep(purpose, text, seconds=seconds)
    return True


def find(purpose: str) -> Any:
    """What was left; None where there is nothing that opens in this session."""
    return opened(purpose, *_bound(purpose))


def written(said: Any, *bound: str) -> str:
    """What a cookie has of it; `bound` says for which use, and for whom."""
    return base64.urlsafe_b64encode(_cipher().seal(zlib.compress(json.dumps(said).encode()), *bound)).decode()


def opened(cookie: str, *bound: str) -> Any:
    """What was `written` into this cookie, bound so; None where nothing opens."""
    text = request.cookies.get(desk().cookie(cookie), "")[:COOKIE_MOST]
    try:
        return json.loads(zlib.decompress(_cipher().unseal(base64.urlsafe_b64decode(text.encode()), *bound)))
    except (TamperedError, binascii.Error, ValueError):
        return None


def _bound(purpose: str) -> tuple[str, str]:
    return purpose, session.form_key(g.secret)


def _cipher() -> Any:
    return desk().vaults.server_key.typed
