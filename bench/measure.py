"""Windows on servers in turn, and what their medians say.

All servers run all the time; a window loads one of them and charges it with the CPU time that all its
processes used meanwhile. The order changes from round to round, so drift touches all alike.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from operator import attrgetter

from bench import load, machine
from bench.plans import Load, Plan
from bench.rows import Row
from bench.servers import Server

WARM = 0.5  # seconds of load before the first round, not counted
STOLEN = 0.05  # of all processors, taken by the machine's other guests: a window with more is measured anew
TRIES = 3  # windows, of which the one counts that lost least


@dataclass(frozen=True, slots=True)
class Window:
    """One server under load for a while; times in µs."""

    cpu: float  # per request
    per_second: float
    p50: float
    p99: float
    beside: float = 0.0  # of a database server's processes, per request
    stolen: float = 0.0  # share of all processors that the machine's other guests took meanwhile


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
    beside: float = 0.0  # µs a request in the processes of a database server
    stolen: float = 0.0  # the most that a window lost to the machine's other guests

    def as_json(self) -> dict[str, object]:
        """Rounded to what the figures can bear."""
        return _rounded(asdict(self), {"ratio": 3, "spread": 3, "share": 3, "stolen": 3}, 1)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing measured, which is no request beside a bare route."""

    name: str
    says: str
    value: float
    unit: str = ""  # µs, ms, s, MiB, …; empty for a ratio
    spread: float = 0.0
    note: str = ""

    def as_json(self) -> dict[str, object]:
        """Rounded to what the figures can bear."""
        return _rounded(asdict(self), {}, 3)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a group has found, and what of it could not be measured here."""

    figures: list[Figure] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    left: list[str] = field(default_factory=list)


def _rounded(values: Mapping[str, object], digits: Mapping[str, int], usual: int) -> dict[str, object]:
    return {
        name: round(value, digits.get(name, usual)) if isinstance(value, float) else value
        for name, value in values.items()
    }


Turn = tuple[str, Callable[[], Window]]


def in_turn(turns: Sequence[Turn], rounds: int) -> dict[str, list[Window]]:
    """Every turn's windows; every other round goes backwards."""
    found: dict[str, list[Window]] = {name: [] for name, _ in turns}
    for number in range(rounds):
        for name, window in reversed(turns) if number % 2 else turns:
            found[name].append(undisturbed(window))
        tell(f"round {number + 1} of {rounds}")
    return found


def undisturbed(window: Callable[[], Window]) -> Window:
    """A window of which the machine's other guests took little, or of a few the one that lost least."""
    found: list[Window] = []
    while not found or (found[-1].stolen > STOLEN and len(found) < TRIES):
        stolen, began = machine.stolen_seconds(), time.perf_counter()
        one = window()
        lost = (machine.stolen_seconds() - stolen) / (time.perf_counter() - began)
        found.append(replace(one, stolen=lost / (os.cpu_count() or 1)))
    return min(found, key=attrgetter("stolen"))


def tell(says: str) -> None:
    """What goes on, for who waits."""
    print(says, file=sys.stderr, flush=True)


def window(server: Server, plan: Plan, seconds: float) -> Window:
    """One server under a plan's load; RuntimeError for an answer that is wrong."""
    return _right(server, plan.paths[0], *_loaded(server, plan, seconds))


def own_window(row: Row, server: Server, seconds: float) -> Window:
    """The same with a row's plan; RuntimeError where the requests left no marks in the vault."""
    return _right(server, row.name, *counted_window(row, server, seconds))


def counted_window(row: Row, server: Server, seconds: float) -> tuple[Window, Load]:
    """The same, where wrong answers are counted and not the end."""
    plan = row.prepare()
    before = row.done() if row.done else 0
    found, seen = _loaded(server, plan, seconds)
    if row.done is None:
        return found, seen
    left, good = row.done() - before, seen.requests - seen.wrong
    # requests under way when the window opened its connections anew or closed leave marks uncounted
    if not good <= left <= seen.requests + 2 * load.CONNECTIONS:
        raise RuntimeError(f"{row.name}: {good} requests left {left} marks in the vault")
    share = seen.requests / max(left, seen.requests)  # those cost CPU time, too
    return replace(found, cpu=found.cpu * share, beside=found.beside * share), seen


def _right(server: Server, name: str, found: Window, seen: Load) -> Window:
    if seen.wrong:
        told = f"{seen.wrong} of {seen.requests} answers are wrong, one by status {seen.status}"
        raise RuntimeError(f"{name}: {told}\n{server.complaints()}")
    return found


def _loaded(server: Server, plan: Plan, seconds: float) -> tuple[Window, Load]:
    processes = server.processes()
    before, beside = machine.cpu_seconds(processes), server.beside()
    seen = load.run(plan, server.url, seconds)
    spent, beside = machine.cpu_seconds(processes) - before, server.beside() - beside
    if server.processes() != processes:
        raise RuntimeError(f"{server.name}: a worker ended under load\n{server.complaints()}")
    each = 1e6 / max(seen.requests, 1)
    return Window(spent * each, seen.per_second, seen.p50, seen.p99, beside * each), seen


def figure(name: str, says: str, ours: Sequence[Window], theirs: Sequence[Window]) -> Figure:
    """The medians of paired windows."""
    ratios = quotients(ours, theirs)
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
        beside=statistics.median(one.beside for one in ours),
        stolen=max(one.stolen for one in (*ours, *theirs)),
    )


def quotients(ours: Sequence[Window], theirs: Sequence[Window]) -> list[float]:
    """How much more CPU a request took, round by round."""
    return [one.cpu / other.cpu for one, other in zip(ours, theirs, strict=True)]


def finding(name: str, says: str, values: Sequence[float], unit: str = "", note: str = "") -> Finding:
    """The median of what the rounds gave."""
    return Finding(name, says, statistics.median(values), unit, spread(values), note)


def spread(values: Sequence[float]) -> float:
    """Half the distance between the second lowest and the second highest; of few, between the outermost."""
    ordered = sorted(values)
    if len(ordered) > 3:
        ordered = ordered[1:-1]
    return (ordered[-1] - ordered[0]) / 2
