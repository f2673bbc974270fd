"""The one place that asks the time."""

import re
import time
from datetime import date
from pathlib import Path

import vrm
from tests.conftest import SettableClock
from vrm.clock import SystemClock, rfc3339, today


def test_the_systems_clock_is_in_whole_seconds_since_the_epoch() -> None:
    before = int(time.time())
    assert before <= SystemClock().now() <= int(time.time())
    assert isinstance(SystemClock().now(), int)


def test_a_day_is_utc_and_changes_at_its_midnight() -> None:
    clock = SettableClock(1_795_219_199)
    assert today(clock) == date(2026, 11, 20)
    clock.forward(1)
    assert today(clock) == date(2026, 11, 21)


def test_times_are_written_as_rfc_3339() -> None:
    assert rfc3339(0) == "1970-01-01T00:00:00Z"
    assert rfc3339(1_795_219_200) == "2026-11-21T00:00:00Z"


def test_nobody_else_asks_the_time() -> None:
    asking = re.compile(r"\btime\.time\(|\bdatetime\.now\(|\bdate\.today\(|\butcnow\(")
    folder = Path(vrm.__file__).parent
    found = {
        str(path.relative_to(folder))
        for path in folder.rglob("*.py")
        if asking.search(path.read_text(encoding="utf-8"))
    }
    assert found <= {"clock.py", "vault/crypto.py"}  # a certificate for trials is dated by the machine
