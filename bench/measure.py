"""Windows on two servers in turn, and what their medians say.

Both servers run all the time; a window loads one of them and charges it with the CPU time that all its
processes used meanwhile. The order of the two changes from round to round, so drift touches both alike.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from bench import load, machine
from bench.plans import Load, Plan
from bench.rows import Row
from bench.servers import Server

_WARM = 0.3  # seconds of load before the first round, not counted


@dataclass(frozen=True, slots=True)
class Window:
    """One server under load for a while; times in µs."""

    cpu: float  # per request
    per_second: float
    p50: float
    p99: float


@dataclass(frozen=True, slots=True)
class Figure:
    """A row's medians: the vault's own, the bare route's, and the ratios of paired windows."""

    name: str
    says: str
    cpu: float  # µs a request (import: a line)
    bare_cpu: float
    ratio: float  # of CPU time
    spread: float  # how far the ratios of the rounds lie apart: half the distance without the outermost
    per_second: float
    bare_per_second: float
    share: float  # of the bare route's requests per second
    p50: float = 0.0
    p99: float = 0.0

    def as_json(self) -> dict[str, object]:
        """Rounded to what the figures can bear."""
        digits = {"ratio": 3, "spread": 3, "share": 3}
        return {
            name: round(value, digits.get(name, 1)) if isinstance(value, float) else value
            for name, value in asdict(self).items()
        }


def pair(row: Row, vault: Server, bare: Server, same: Plan, rounds: int, seconds: float) -> Figure:
    """Measure one row on both servers in turn."""
    load.run(row.prepare(), vault.url, _WARM)
    load.run(same, bare.url, _WARM)
    ours, theirs = [], []
    for number in range(rounds):
        if number % 2:
            theirs.append(_window(bare, same, seconds))
        ours.append(_own_window(row, vault, seconds))
        if not number % 2:
            theirs.append(_window(bare, same, seconds))
    return figure(row.name, row.says, ours, theirs)


def _own_window(row: Row, vault: Server, seconds: float) -> Window:
    plan = row.prepare()
    before = row.done()
    window, seen = _loaded(vault, plan, seconds)
    left = row.done() - before
    # requests under way when the window opened its connections anew or closed leave marks uncounted
    if not seen.requests <= left <= seen.requests + 2 * load.CONNECTIONS:
        raise RuntimeError(f"{row.name}: {seen.requests} requests left {left} marks in the vault")
    return window


def _window(server: Server, plan: Plan, seconds: float) -> Window:
    return _loaded(server, plan, seconds)[0]


def _loaded(server: Server, plan: Plan, seconds: float) -> tuple[Window, Load]:
    processes = server.processes()
    before = machine.cpu_seconds(processes)
    seen = load.run(plan, server.url, seconds)
    spent = machine.cpu_seconds(processes) - before
    if seen.wrong:
        raise RuntimeError(
            f"{server.name}: {seen.wrong} of {seen.requests} answers are wrong\n{server.complaints()}"
        )
    if server.processes() != processes:
        raise RuntimeError(f"{server.name}: a worker ended under load\n{server.complaints()}")
    return Window(spent / seen.requests * 1e6, seen.per_second, seen.p50, seen.p99), seen


def figure(name: str, says: str, ours: Sequence[Window], theirs: Sequence[Window]) -> Figure:
    """The medians of paired windows."""
    ratios = [one.cpu / other.cpu for one, other in zip(ours, theirs, strict=True)]
    return Figure(
        name,
        says,
        cpu=statistics.median(one.cpu for one in ours),
        bare_cpu=statistics.median(one.cpu for one in theirs),
        ratio=statistics.median(ratios),
        spread=spread(ratios),
        per_second=statistics.median(one.per_second for one in ours),
        bare_per_second=statistics.median(one.per_second for one in theirs),
        share=statistics.median(
            one.per_second / other.per_second for one, other in zip(ours, theirs, strict=True)
        ),
        p50=statistics.median(one.p50 for one in ours),
        p99=statistics.median(one.p99 for one in ours),
    )


def spread(values: Sequence[float]) -> float:
    """Half the distance between the second lowest and the second highest; of few, between the outermost."""
    ordered = sorted(values)
    if len(ordered) > 3:
        ordered = ordered[1:-1]
    return (ordered[-1] - ordered[0]) / 2
