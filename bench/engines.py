"""PostgreSQL beside SQLite, and two nodes on one PostgreSQL beside one."""

from __future__ import annotations

from bench.measure import Outcome
from bench.stage import Run


def postgres(run: Run) -> Outcome:
    """W1 to W4 on both engines."""
    del run
    return Outcome(left=["PostgreSQL: no engine yet"])


def nodes(run: Run) -> Outcome:
    """One node and two."""
    del run
    return Outcome(left=["two nodes: no engine yet"])
