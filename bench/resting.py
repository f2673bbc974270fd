"""What a server needs before anybody asks it anything: time to start, memory of its processes."""

from __future__ import annotations

import compileall
import statistics

from bench import load, machine, measure, rows
from bench.measure import Finding, Outcome
from bench.servers import ROOT, Server, free_port, vrm
from bench.stage import Run
from bench.world import World

STARTS = 5


def group(run: Run) -> Outcome:
    """Start-up over data that is there; memory at rest, and after readings, lists and new records."""
    compileall.compile_dir(ROOT / "vrm", quiet=1)  # as an installation does
    world = World(run.folder / "resting", free_port())
    try:
        every = rows.reading(rows.Connection(world, world.vault("reader", rows.RECORDS)))
        every.append(rows.creating_with(world, world.vault("writer", rows.RECORDS), 1))
        started: list[float] = []
        busy: list[float] = []
        found: list[Finding] = []
        for number in range(run.size(STARTS)):
            server = vrm(run.folder, world.settings.port, name=f"resting{number}", data="resting")
            try:
                started.append(server.started)
                busy.append(machine.cpu_seconds(server.processes()))
                if not found:
                    found = _memory(run, server, every)
            finally:
                server.stop()
    finally:
        world.close()
    note = f"CPU {statistics.median(busy):.2f}, of all workers"
    start = measure.finding("cold-start", "from nothing to the first answer", started, "s", note)
    return Outcome(findings=[start, *found])


def _memory(run: Run, server: Server, every: list[rows.Row]) -> list[Finding]:
    rest = _largest(server)
    for row in every:
        load.run(row.prepare(), server.url, run.seconds)
    busy = _largest(server)
    return [
        Finding("memory-rest", "a worker's memory at rest", rest[1], "MiB", note=f"its share {rest[0]:.0f}"),
        Finding("memory-load", "the same after a load", busy[1], "MiB", note=f"its share {busy[0]:.0f}"),
    ]


def _largest(server: Server) -> tuple[float, float]:
    """(share, whole) of the worker that has most; the first process only starts and watches them."""
    _, *workers = sorted(server.processes(), key=lambda pid: pid != server.pid)
    return max((machine.memory_mib(pid) for pid in workers), key=lambda pair: pair[1])
