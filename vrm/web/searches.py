"""Searches: what she looked for, by a name that tells nothing, so that Back finds the list again.

Promises: the words wait in her browser only, sealed under a key of this host for the session in which she
typed them; the address of a list has the name alone; nothing of them is stored here. They open to no other
session, the next one of her own included, and go with the log-out. Refuses to keep what a cookie has no room
for: that is answered at once, as any form.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Final

from vrm.web import sealed, session
from vrm.web.desk import desk

MOST: Final = 8  # lists that Back finds again


def keep(wanted: Sequence[str]) -> str:
    """The name of this search from now on; "" where it is too long to be kept."""
    said, before = list(wanted), _kept()
    name = next((known for known, one in before if one == said), secrets.token_urlsafe(6))
    kept = [(name, said), *(one for one in before if one[0] != name)][:MOST]
    while kept:
        if sealed.keep(session.SEARCHES, kept, desk().settings.session_absolute):
            return name
        kept.pop()
    return ""


def find(name: str) -> list[str]:
    """What was looked for under this name; nothing where that is not known any more."""
    return next((said for known, said in _kept() if known == name), [])


def _kept() -> list[tuple[str, list[str]]]:
    """Names and searches, the newest first."""
    return [(name, said) for name, said in sealed.find(session.SEARCHES) or ()]
