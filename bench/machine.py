"""What the machine says: the CPU time of a server with all its workers, and what it is made of.

The main figure of the suite is CPU time, because it hardly depends on who else uses the machine: as long as
other guests of its host do not take it away in slices, which leaves every cache cold.
"""

from __future__ import annotations

import os
import platform
import sqlite3
import statistics
import tempfile
import time
from importlib import metadata
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")  # units of /proc/<pid>/stat in a second
PACKAGES = ("flask", "werkzeug", "granian", "cryptography", "tinydb", "authlib", "marshmallow")


def tree(root: int) -> list[int]:
    """A server and all that it started, living now."""
    found, waiting = [], [root]
    while waiting:
        pid = waiting.pop()
        found.append(pid)
        for task in Path(f"/proc/{pid}/task").iterdir():
            waiting += [int(child) for child in (task / "children").read_text().split()]
    return sorted(set(found))


def cpu_seconds(pids: list[int], waited: int = 0) -> float:
    """User and system time of these processes with all their threads, dead threads included.

    Of `waited`, one of them, also that of its children that have ended.
    """
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += sum(map(int, fields[11 : 15 if pid == waited else 13]))
    return ticks / _TICK


def stolen_seconds() -> float:
    """What all processors have lost to the machine's other guests since it started."""
    return int(Path("/proc/stat").read_text().split(maxsplit=9)[8]) / _TICK


def memory_mib(pid: int) -> tuple[float, float]:
    """(its share, all that it has in memory) of a process: what others map, too, counts in part, or whole."""
    found = dict(line.split()[:2] for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:])
    return int(found["Pss:"]) / 1024, int(found["Rss:"]) / 1024


def durable_write_us(folder: Path, tries: int = 200) -> float:
    """Median time, in µs, to append 4 KB and have it on the disk: what every durable answer waits for."""
    block, times = bytes(4096), []
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        for _ in range(tries):
            begun = time.perf_counter()
            os.write(file.fileno(), block)
            os.fsync(file.fileno())
            times.append(time.perf_counter() - begun)
    return round(statistics.median(times) * 1e6, 1)


def described(folder: Path) -> dict[str, object]:
    """Machine and versions, for the results."""
    return {
        "cores": len(os.sched_getaffinity(0)),
        "processor": _processor(),
        "memory_gib": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30),
        "system": platform.platform(),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "durable_write_us": durable_write_us(folder),
        "packages": {name: metadata.version(name) for name in PACKAGES},
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
