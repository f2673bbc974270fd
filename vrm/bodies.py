"""Request bodies: whole, or refused; and never all threads waiting for one.

Promises: what the application reads is exactly as long as the request said, so that a form whose tail was
lost on the way is never taken for the whole (the server under it ends a broken body like a complete one);
only so many bodies are waited for at once, so that senders who stall keep out nobody who reads. Refuses
bodies that do not say their length (411), are cut off (400), and one too many at a time (503).
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Any, Final, Protocol, cast

from werkzeug.exceptions import ClientDisconnected, HTTPException, LengthRequired, ServiceUnavailable

from vrm.plain import Environ, Wsgi

CHUNK: Final = 64 * 1024  # bytes asked of the connection at a time
LARGE: Final = 768 * 1024  # bytes; only uploads are larger
PLACES: Final = 4  # bodies at a time that a server process waits for; its other threads go on reading
LARGE_PLACES: Final = 1  # uploads, counted apart: one may take minutes
STALLED: Final = 0.5  # seconds after which whoever has a place is taken for one who stalls
TURN: Final = 0.05  # seconds to wait for a place that only those have
WITH_BODY: Final = frozenset({"POST", "PUT", "PATCH"})


class Input(Protocol):
    """What a WSGI server gives."""

    def read(self, size: int = -1, /) -> bytes: ...


class Places:
    """So many bodies are waited for at once. A queue of what is free costs a tenth of a semaphore."""

    def __init__(self, count: int) -> None:
        self._free: SimpleQueue[None] = SimpleQueue()
        self._taken = 0.0  # when the last one was
        for _ in range(count):
            self.give_back()

    def take(self) -> bool:
        """Whether there is one.

        Many who come at once wait for each other: a body often follows its head by some milliseconds. Those
        who stall are waited for no longer than `TURN`, or they would hold the threads of all others.
        """
        try:
            self._free.get(timeout=max(TURN, self._taken + STALLED - monotonic()))
        except Empty:
            return False
        self._taken = monotonic()
        return True

    def give_back(self) -> None:
        """Let somebody else have it."""
        self._free.put(None)


class WholeBodies:
    """WSGI middleware: hands the application a `Body`."""

    def __init__(self, app: Wsgi) -> None:
        self._app = app
        self._places, self._large_places = Places(PLACES), Places(LARGE_PLACES)

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        length = _length(environ)
        places = self._large_places if (length or 0) > LARGE else self._places
        body = Body(cast("Input", environ.get("wsgi.input")), length, places)
        environ["wsgi.input"], environ["wsgi.input_terminated"] = body, True
        try:
            return self._app(environ, start_response)
        finally:
            body.let_go()


def _length(environ: Environ) -> int | None:
    """How long the body says it is; None where it must say so and does not."""
    text = environ.get("CONTENT_LENGTH") or ""
    if "HTTP_TRANSFER_ENCODING" in environ or (environ["REQUEST_METHOD"] in WITH_BODY and not text):
        return None
    return int(text) if text.isdecimal() else 0


class Body(io.RawIOBase):
    """One request's body, read as it is asked for; holds its place from the first byte to the last."""

    def __init__(self, stream: Input, length: int | None, places: Places) -> None:
        super().__init__()
        self._stream, self._places = stream, places
        self._placed = False
        self._left = 1 if length is None else length  # bytes not read yet
        self._refusal: HTTPException | None = LengthRequired() if length is None else None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        chunk = self._chunk(len(buffer)) if self._left else b""
        buffer[: len(chunk)] = chunk
        return len(chunk)

    def _chunk(self, most: int) -> bytes:
        """What comes next, of so many bytes at most; raises why nothing does."""
        if self._refusal is None:
            self._refusal = self._take_place()
        chunk = b"" if self._refusal else self._next(min(most, self._left, CHUNK))
        if self._refusal is not None:
            self.let_go()
            raise self._refusal
        self._left -= len(chunk)
        if not self._left:
            self.let_go()
        return chunk

    def readall(self) -> bytes:
        """All that is left; `io` would ask once more than there is to read."""
        parts = []
        while self._left:
            parts.append(self._chunk(CHUNK))
        return b"".join(parts)

    def let_go(self) -> None:
        """Give the place back; nothing more is read."""
        if self._placed:
            self._placed = False
            self._places.give_back()

    def _take_place(self) -> HTTPException | None:
        if not self._placed and not self._places.take():
            return ServiceUnavailable(retry_after=5)
        self._placed = True
        return None

    def _next(self, count: int) -> bytes:
        try:
            chunk = self._stream.read(count)
        except OSError:
            chunk = b""
        if not chunk:
            self._refusal = ClientDisconnected()
        return chunk
