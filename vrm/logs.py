"""What the server writes to standard error: plain lines, or one JSON object a line.

Promises: a request has a number of its own, which stands in every line written while it ran and in its answer
(`X-Request-Id`); an exception shows where it happened and of which kind it was, never what it said, because
messages of libraries repeat what they were given. Refuses numbers from outside: what a client sends is not
written down.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
import traceback
from datetime import UTC, datetime
from typing import Any, Final

from vrm.errors import BusyError, DrainingError, OutboundError, StorageConflictError, VrmError

FORMATS: Final = ("plain", "json")
ACCESS: Final = logging.getLogger("vrm.access")
_EXTRAS: Final = ("method", "rule", "status", "ms")  # what a record may bring beside its message
_PASSING: Final = (BusyError, DrainingError, OutboundError, StorageConflictError)
_DEEPEST: Final = 8  # exceptions that caused each other


class _Current(threading.local):
    request = ""


_current = _Current()


def begin() -> None:
    """A request begins in this thread; its number is drawn when it is first asked for."""
    _current.request = ""


def request_id(*, draw: bool = True) -> str:
    """The number of the request that this thread answers; "" where it has none and none is to be drawn."""
    if not _current.request and draw:
        _current.request = os.urandom(8).hex()
    return _current.request


def setup(level: str, form: str) -> None:
    """Let this process log, in one of FORMATS, from this level on."""
    way = logging.StreamHandler(sys.stderr)
    way.setFormatter(Json() if form == "json" else Plain())
    logging.basicConfig(level=level.upper(), handlers=[way], force=True)


def failed(log: logging.Logger, error: Exception, status: int) -> None:
    """Write down where this side failed, for whoever was answered with such a status from 500 on.

    Not what passes by itself, which a busy day would fill the log with.
    """
    if status >= 500 and not isinstance(error, _PASSING):
        log.error("answered %d", status, exc_info=error)


def say(level: int, message: str) -> None:
    """Write this down whatever the level is that is wanted: once, at the start."""
    start = logging.getLogger("vrm.serve")
    start.handle(start.makeRecord(start.name, level, __file__, 0, message, (), None))


class Plain(logging.Formatter):
    """`LEVEL logger message`, and the number of the request behind it."""

    def __init__(self) -> None:
        super().__init__("%(levelname)s %(name)s %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        head = self.formatMessage(_with_message(record))
        number = request_id(draw=False)
        lines = [f"{head} request={number}" if number else head, *_trace(record)]
        return "\n    ".join(line.replace("\n", "\\n") for line in lines)  # nobody writes lines of his own


class Json(logging.Formatter):
    """One object a line: time, level, logger, message, request and what else a record brings."""

    def format(self, record: logging.LogRecord) -> str:
        told: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _with_message(record).message,
        }
        if number := request_id(draw=False):
            told["request"] = number
        told |= {name: record.__dict__[name] for name in _EXTRAS if name in record.__dict__}
        if trace := _trace(record):
            told["trace"] = trace
        return json.dumps(told, ensure_ascii=True, separators=(",", ":"))


def _with_message(record: logging.LogRecord) -> logging.LogRecord:
    record.message = record.getMessage()
    return record


def _trace(record: logging.LogRecord) -> list[str]:
    """Where it happened and what kind it was, the first cause last; without a word of the messages."""
    error = record.exc_info[1] if record.exc_info else None
    lines: list[str] = []
    for _ in range(_DEEPEST):
        if error is None:
            break
        lines.append(_kind(error))
        lines += [
            f"at {one.filename}:{one.lineno} {one.name}" for one in traceback.extract_tb(error.__traceback__)
        ]
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return lines


def _kind(error: BaseException) -> str:
    name = type(error).__qualname__
    if isinstance(error, VrmError):
        return f"{name} {error.slug}"
    if code := getattr(error, "sqlite_errorname", None) or getattr(error, "sqlstate", None):
        name += f" {code}"
    return f"{name} errno={error.errno}" if isinstance(error, OSError) else name
