"""The only place that asks the time. Everything else is given a Clock."""

from __future__ import annotations

import time
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import Protocol

_DAY = 86_400  # seconds
_FIRST_DAY = date(1970, 1, 1).toordinal()


class Clock(Protocol):
    """Seconds since the epoch, UTC."""

    def now(self) -> int: ...


class SystemClock:
    """The machine's clock, in whole seconds."""

    def now(self) -> int:
        return int(time.time())


def today(clock: Clock) -> date:
    """The UTC day of `clock`."""
    return day_of(clock.now())


def day_of(seconds: int) -> date:
    """The UTC day of a moment in unix seconds."""
    return datetime.fromtimestamp(seconds, UTC).date()


def ordinal(clock: Clock) -> int:
    """The number of the UTC day of `clock`, as `date.toordinal` counts."""
    return _FIRST_DAY + clock.now() // _DAY


@lru_cache(maxsize=1024)
def rfc3339(seconds: int) -> str:
    """`2026-11-21T09:30:00Z`; rows that came together bear one moment, so it is kept for a while."""
    return datetime.fromtimestamp(seconds, UTC).isoformat()[:19] + "Z"
