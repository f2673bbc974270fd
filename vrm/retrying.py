"""A request whose writing the database undid for another's sake is run again from its beginning.

Promises: nobody is told of such a conflict while another try may still end well, and nothing is done twice: a
request of which a part is stored already, or may be, is not run again; its answer says 503 and to come back.
Refuses to keep bodies in memory that are larger than any but an upload.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable
from typing import Any, Final, Protocol, runtime_checkable

from vrm.plain import Environ, Wsgi

TRIES: Final = 4
_PAUSE: Final = 0.05  # seconds at most before the next try, times the tries so far

_KEPT: Final = 2**20  # bytes of a body that are kept for the next try


class Attempt(Protocol):
    """What an engine says of what this thread wrote since it was asked."""

    undone: bool  # some of it, for another transaction's sake
    stored: bool  # some of it, or perhaps some of it


@runtime_checkable
class Trying(Protocol):
    """An engine that tells of conflicts."""

    def attempt(self) -> Attempt: ...


class _Kept:
    """A request's body; what was read of it can be read again."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._kept = bytearray()
        self._at = 0
        self.whole = True  # what was read is kept

    def again(self) -> None:
        """Read from the beginning."""
        self._at = 0

    def read(self, size: int = -1, /) -> bytes:
        """As the server's own stream; what was read before comes first."""
        end = len(self._kept) if size < 0 else self._at + size
        found = bytes(self._kept[self._at : end])
        self._at += len(found)
        if found and size >= 0:
            return found
        fresh: bytes = self._stream.read(size)
        self.whole = self.whole and len(self._kept) + len(fresh) <= _KEPT
        if self.whole:
            self._kept += fresh
            self._at += len(fresh)
        return found + fresh


class Retrying:
    """WSGI middleware around all that answers."""

    def __init__(self, app: Wsgi, engine: Trying) -> None:
        self._app = app
        self._engine = engine

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        kept = _Kept(environ.get("wsgi.input"))
        environ["wsgi.input"] = kept
        first = dict(environ)
        turn = 0
        while True:
            turn += 1
            told: list[Any] = []
            attempt = self._engine.attempt()
            body = self._app(environ, lambda *given, told=told: told.append(given))
            if turn == TRIES or not attempt.undone or attempt.stored or not kept.whole:
                start_response(*told[-1])
                return body
            _close(body)
            time.sleep(random.uniform(0, turn * _PAUSE))  # noqa: S311 - only that two do not meet again
            environ.clear()
            environ.update(first)
            kept.again()


def _close(body: Iterable[bytes]) -> None:
    close = getattr(body, "close", None)
    if close is not None:
        close()
