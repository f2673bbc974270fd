"""The machine: its software, memory, processors, clock, and what could carry secrets to a disk.

Facts are read once into a `Machine`; checks are functions of it, so that each can be shown a bad one.
"""

from __future__ import annotations

import os
import platform
import resource
import sqlite3
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from vrm.clock import SystemClock
from vrm.doctor.findings import Finding, fail, ok, warn
from vrm.settings import Settings, misspelt
from vrm.vault.stretching import AT_ONCE

PYTHON = ((3, 11), (3, 15))  # from, and below
SQLITE = (3, 37, 0)
RELEASED = 1_795_305_600  # seconds: 22 November 2026, before which no clock can rightly be
_WORKER = 90 * 2**20  # bytes that a server process takes, about
_MIB = 2**20


@dataclass(frozen=True, slots=True)
class Machine:
    """What is known of this machine."""

    python: tuple[int, ...]
    sqlite: tuple[int, ...]
    memory: int | None  # bytes that can be had
    cores: int
    account: int  # user id of this process
    environ: Mapping[str, str]
    now: int  # seconds
    core_size: int  # bytes that a core dump may have; -1: any
    swaps: tuple[str, ...]  # where memory may be written to

    @classmethod
    def here(cls) -> Machine:
        """This one."""
        return cls(
            python=sys.version_info[:3],
            sqlite=sqlite3.sqlite_version_info,
            memory=available(_read("/proc/meminfo"), _read("/sys/fs/cgroup/memory.max")),
            cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
            account=os.geteuid(),
            environ=dict(os.environ),
            now=SystemClock().now(),
            core_size=resource.getrlimit(resource.RLIMIT_CORE)[0],
            swaps=plain_swaps(_read("/proc/swaps")),
        )


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


def available(meminfo: str, limit: str) -> int | None:
    """Bytes that a new process can have: of /proc/meminfo and of the limit of this control group."""
    told = dict(line.split(":", 1) for line in meminfo.splitlines() if ":" in line)
    amounts = [int(told["MemAvailable"].split()[0]) * 1024] if "MemAvailable" in told else []
    if limit.strip().isdigit():
        amounts.append(int(limit))
    return min(amounts, default=None)


def plain_swaps(text: str) -> tuple[str, ...]:
    """Swap that keeps what is written to it readable: neither in memory (zram) nor encrypted (dm)."""
    names = [line.split()[0] for line in text.splitlines()[1:] if line.strip()]
    return tuple(name for name in names if not name.startswith(("/dev/zram", "/dev/dm-", "/dev/mapper/")))


def software(here: Machine) -> Finding:
    """Python and SQLite of a version that is tested."""
    least, below = PYTHON
    told = f"Python {_dotted(here.python)}, SQLite {_dotted(here.sqlite)}"
    if not least <= here.python[:2] < below:
        return fail("software", told, "install Python 3.11, 3.12, 3.13 or 3.14 and vrm in it")
    if here.sqlite < SQLITE:
        return fail("software", told, f"a Python with SQLite {_dotted(SQLITE)} or newer is needed")
    return ok("software", f"{told}, {platform.machine()}")


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


def names(here: Machine) -> Finding:
    """No setting is misspelled: an unknown one would silently do nothing."""
    unknown = misspelt(here.environ)
    if not unknown:
        return ok("settings", "every VRM_ name in the environment is known")
    told = [f"{name} (meant: {meant}?)" if meant else name for name, meant in unknown]
    return warn("settings", f"not a setting: {', '.join(told)}", "correct or remove it; see docs/settings.md")


def clock(here: Machine, newest: int) -> Finding:
    """A clock that is neither before the release nor before what was written already."""
    if here.now < RELEASED:
        return fail("clock", "this machine's clock is years behind", "set it; keep it right with NTP")
    if here.now < newest - 300:
        return fail(
            "clock",
            f"the clock is {(newest - here.now) // 60} minutes behind the newest entry in the data",
            "set it; keep it right with NTP; what ends by time waits until the clock is steady",
        )
    return ok("clock", "not behind the data")


def memory(settings: Settings, here: Machine) -> Finding:
    """Room for the passphrases that are tried at once, beside the server processes."""
    needed = AT_ONCE * settings.kdf_memory * 1024 + settings.workers * _WORKER
    if here.memory is None:
        return ok("memory", f"not known here; {needed // _MIB} MiB are needed")
    told = f"{here.memory // _MIB} MiB can be had, {needed // _MIB} MiB are needed"
    if here.memory < needed:
        return fail("memory", told, "fewer workers (VRM_WORKERS), or more memory: log-ins would fail")
    return ok("memory", told)


def workers(settings: Settings, here: Machine) -> Finding:
    """As many processes as there is work for."""
    told = f"{settings.workers} for {here.cores} processors"
    if settings.workers > 2 * here.cores:
        return warn("workers", told, "more than two for each gain nothing and cost memory: VRM_WORKERS")
    if settings.workers == 1:
        return warn("workers", told, "with one, a long import keeps everybody waiting: VRM_WORKERS=2")
    return ok("workers", told)


def swap(here: Machine) -> Finding:
    """Keys in memory are not written to a disk where they stay."""
    if here.swaps:
        told = f"memory may be written to {', '.join(here.swaps)}"
        return warn("swap", told, "encrypt it or turn it off: keys of open vaults could stay on that disk")
    return ok("swap", "none that keeps what is written to it")


def core_dumps(here: Machine) -> Finding:
    """A crash writes no keys to a file: of commands, too, which open vaults as the server does."""
    if here.core_size:
        return warn(
            "core dumps",
            "a command that crashes could write keys to a file (the server turns this off for itself)",
            "turn them off: ulimit -c 0, or LimitCORE=0 in the unit",
        )
    return ok("core dumps", "off")
