"""Pages that vendors ask for again and again, kept between their requests, each sealed as its rows are.

Promises: what is kept opens with the keys of all scopes that it was read under, which only a token carries,
and stands under a name that tells nothing without them; it says in which state its grant was, so that it is
taken only where nothing changed. Of a page that is asked for once, nothing is kept but that name: who fetches
everything one time fills no memory. Forgotten are those that were not asked for longest.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from functools import cached_property
from typing import Final, NamedTuple

from vrm.vault import crypto
from vrm.vault.crypto import Cipher, Key, Purpose
from vrm.vault.envelope import pack

_LARGE: Final = 8  # a page that takes more than such a part of all room is not kept
_NAME: Final = 16  # bytes
_BESIDE: Final = 400  # bytes that a page takes beside its own


class State(NamedTuple):
    """Of a grant: the position of its newest row, up to where its rows are posted, what is agreed."""

    seq: int
    edition: int
    agreement: bytes


class Kept(NamedTuple):
    """A page: the state that its grant was in, how many rows it has, its body, sealed."""

    state: State
    rows: int
    sealed: bytes


NOTHING: Final = Kept(State(-1, -1, b""), 0, b"")  # no grant is ever in that state


class Pages:
    """What one process keeps of pages."""

    def __init__(self, room: int) -> None:
        """`room` in bytes; with none, nothing is kept, and nobody need look."""
        self.closed = not room
        self._guard = threading.Lock()
        self._kept: OrderedDict[bytes, Kept] = OrderedDict()
        self._left, self._most = room, room // _LARGE

    def look(self, name: bytes) -> Kept | None:
        """What is kept under a name, which may be NOTHING; None where nobody asked for it before."""
        with self._guard:
            found = self._kept.get(name)
            if found is None:
                self._put(name, NOTHING)
            else:
                self._kept.move_to_end(name)
        return found

    def keep(self, name: bytes, page: Kept) -> None:
        """Keep a page in the place of what was kept under its name."""
        if _size(page) <= self._most:
            with self._guard:
                self._put(name, page)

    def _put(self, name: bytes, page: Kept) -> None:
        self._left += _size(self._kept.pop(name, None)) - _size(page)
        self._kept[name] = page
        while self._left < 0:
            self._left += _size(self._kept.popitem(last=False)[1])


def _size(page: Kept | None) -> int:
    return 0 if page is None else _BESIDE + len(page.state.agreement) + len(page.sealed)


class PageCipher:
    """Names and seals pages of one stream, for who holds the keys of all scopes that show in them."""

    def __init__(self, key: Key) -> None:
        self._key = key

    @cached_property
    def _cipher(self) -> Cipher:
        """Not made where a page is asked for the first time."""
        return Cipher(self._key, Purpose.PAGE, derive=True)

    def name(self, *asked: int | bytes) -> bytes:
        """Another one for everything that is asked for otherwise."""
        return crypto.mac(self._key, Purpose.PAGE_NAME, *asked)[:_NAME]

    def seal(self, body: bytes, name: bytes) -> bytes:
        """Bound to its name."""
        return self._cipher.seal(body, name)

    def unseal(self, sealed: bytes, name: bytes) -> bytes:
        """The body; TamperedError for anything else."""
        return self._cipher.unseal_packed(sealed, pack(name))
