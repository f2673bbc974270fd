"""How often somebody may ask whether an answer is there (RFC 8628 section 3.5)."""

from __future__ import annotations

INTERVAL = 5  # seconds between two polls, until somebody comes too soon
_SLOWEST = 60  # seconds


def slowed(now: int, polled: int, pace: int) -> tuple[bool, int]:
    """(whether this poll comes too soon after the last one, the seconds to leave from now on)."""
    if abs(now - polled) < pace:
        return True, min(pace + INTERVAL, _SLOWEST)
    return False, pace
