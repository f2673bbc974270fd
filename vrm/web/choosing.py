"""What she chose on a company's request: it waits with the request until she decides.

Promises: it waits in her browser only, sealed under a key of this host for her vault and for this very
request; nothing of it is stored here, and no address has it. It opens to no other vault and for no other
request, nor once the grant that this one wants to change is another than when she chose. What is given back
is what she had chosen, so she shares no more by coming back than she would have by staying. Refuses to keep
what a cookie has no room for, and keeps a note of that: what was lost is said, never filled in by what the
page begins with.
"""

from __future__ import annotations

import json
import re
from typing import Final, NamedTuple

from werkzeug.datastructures import MultiDict

from vrm.consent.asking import StoredRequest
from vrm.vault import crypto
from vrm.web import sealed, session
from vrm.web.desk import desk, vault

NOTES_MOST: Final = 500  # characters of the cookie, to note which requests' choices found no room
NAMES: Final = ("optional", "for_whom", "unsorted", "period", "days", "sellers", "fresh", "aware")
_RECORD: Final = re.compile(r"[0-9a-f]{32}")
Form = MultiDict[str, str]


class _Kept(NamedTuple):
    """What she chose on one request; without `chosen` there was no room for it."""

    name: str  # the request
    about: str  # what it asks for
    until: int
    chosen: tuple[list[tuple[str, str]], str] | None  # (fields, record ids taken out, joined)


def keep(stored: StoredRequest, form: Form) -> bool:
    """Keep what this form says until the request ends; False where that is too much."""
    name, about, until = _name(stored), _about(stored), stored.expires
    mine = _Kept(name, about, until, _chosen(form))
    if len(_seal([mine])) > sealed.COOKIE_MOST - NOTES_MOST:
        mine = mine._replace(chosen=None)
    kept = [mine, *(one for one in _all() if one.name != name)][: session.WAITING_MOST]
    whole = len(kept)
    while len(text := _seal(kept)) > sealed.COOKIE_MOST:  # the oldest give way
        whole -= 1
        kept[whole] = kept[whole]._replace(chosen=None)
    _write(text, kept)
    return mine.chosen is not None


def find(stored: StoredRequest) -> tuple[Form | None, bool]:
    """(what she had chosen on this request, whether she had chosen something that is lost)."""
    kept = next((one for one in _all() if one.name == _name(stored)), None)
    if kept is None:
        return None, False
    if kept.chosen is None or kept.about != _about(stored):
        return None, True
    fields, out = kept.chosen
    return MultiDict([*fields, *(("exclude", out[at : at + 32]) for at in range(0, len(out), 32))]), False


def forget(stored: StoredRequest) -> None:
    """It is decided."""
    kept = _all()
    left = [one for one in kept if one.name != _name(stored)]
    if len(left) < len(kept):
        _write(_seal(left), left)


def _chosen(form: Form) -> tuple[list[tuple[str, str]], str]:
    fields = [(name, value) for name, value in form.items(multi=True) if name in NAMES]
    out = dict.fromkeys(record for record in form.getlist("exclude") if _RECORD.fullmatch(record))
    return fields, "".join(out)


def _name(stored: StoredRequest) -> str:
    return crypto.digest(stored.lookup).hex()[:16]


def _about(stored: StoredRequest) -> str:
    state = None if stored.earlier is None else stored.earlier.state
    text = json.dumps([stored.parts, dict(stored.extras), state], sort_keys=True)
    return crypto.digest(text.encode()).hex()[:16]


def _all() -> list[_Kept]:
    """Of the requests that still wait, the newest choices first."""
    found = [_Kept(*one) for one in sealed.opened(session.CHOICES, *_bound()) or ()]
    return [one for one in found if one.until > desk().clock.now()]


def _seal(kept: list[_Kept]) -> str:
    return sealed.written(kept, *_bound())


def _write(text: str, kept: list[_Kept]) -> None:
    if kept:
        seconds = max(one.until for one in kept) - desk().clock.now()
        session.keep(session.CHOICES, text, seconds=seconds)
    else:
        session.forget(session.CHOICES)


def _bound() -> tuple[str, str]:
    return "choices", vault().id
