"""W5: the same work where there is more: records in a vault, vaults in a database.

Each size has a server of its own; windows on all of them, and on the bare routes, follow one another, and
growth is what the largest costs, round by round, of what the smallest does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from typing import NamedTuple

from bench import load, measure, neighbours, rows, stage
from bench.measure import Outcome, Window
from bench.plans import Plan
from bench.rows import Row
from bench.servers import Server
from bench.stage import Run
from bench.world import World

RECORDS = (100, 10_000, 100_000)
VAULTS = (1, 1_000, 10_000)
MANY = 100  # vaults that are read in turn
FILTERED = 10  # rows of a filtered page: as many as the smallest vault has of the category
Fill = Callable[[World, int], list[Row]]


def records(run: Run) -> Outcome:
    """Vaults of 100, 10,000 and 100,000 records."""
    return compared(run, "records", [run.size(count, 100) for count in RECORDS], _of_records)


def vaults(run: Run) -> Outcome:
    """Databases of 1, 1,000 and 10,000 vaults."""
    return compared(run, "vaults", [run.size(count) for count in VAULTS], _among_vaults)


def _of_records(world: World, size: int) -> list[Row]:
    """Readings come before new records, which make small vaults larger."""
    measure.tell(f"making vaults of {size} records")
    vault = world.vault("shared", size, gifts=False)
    alone = world.vault("alone", size, gifts=False)
    return [
        *rows.reading(world, vault, FILTERED),
        rows.refreshing(world),
        *rows.introspecting(world, vault),
        rows.creating(world, alone, 0),
        rows.creating(world, world.vault("followed", size, gifts=False), 1),
    ]


def _among_vaults(world: World, size: int) -> list[Row]:
    """Two vaults of 1,000 records and one of tokens are always there."""
    measure.tell(f"making {size} vaults")
    read = world.vault("reader", rows.RECORDS)
    others = [world.vault(f"other{number}", 20) for number in range(min(size, MANY) - 1)]
    if size > MANY:
        template = world.vault("neighbour", 20)
        world.connect(template)
        neighbours.settle(world.host.engine, template.id, size - MANY)
    return [
        *rows.reading(world, read),
        rows.reading_many(world, [read, *others]),
        rows.refreshing(world),
        rows.creating(world, world.vault("alone", rows.RECORDS), 0),
    ]


def compared(run: Run, name: str, sizes: Sequence[int], fill: Fill) -> Outcome:
    """Every row over every size, and how much it grows."""
    made = Outcome()
    with ExitStack() as stack:
        worlds: list[tuple[int, list[Row], Server]] = []
        for size in dict.fromkeys(sizes):
            world, server = stack.enter_context(stage.served(run))
            worlds.append((size, run.wanted(fill(world, size)), server))
        _, wanted, first = worlds[0]
        bare, plans = stack.enter_context(stage.bare_beside(run, wanted, first))
        for number, plan in enumerate(plans):
            trials = [Trial(size, every[number], server) for size, every, server in worlds]
            _compare(run, name, trials, (bare, plan), made)
    return made


class Trial(NamedTuple):
    """A row over one size."""

    size: int
    row: Row
    server: Server

    def window(self, seconds: float) -> Window:
        return measure.own_window(self.row, self.server, seconds)


def _compare(
    run: Run, name: str, trials: Sequence[Trial], beside: tuple[Server, Plan], made: Outcome
) -> None:
    row, (bare, plan) = trials[0].row, beside
    measure.tell(f"{row.says}: {', '.join(f'{trial.size:,}' for trial in trials)} {name}")
    for trial in trials:
        load.run(trial.row.prepare(), trial.server.url, measure.WARM)
    turns: list[measure.Turn] = [(str(trial.size), partial(trial.window, run.seconds)) for trial in trials]
    turns.insert(0, ("bare", lambda: measure.window(bare, plan, run.seconds)))
    found = measure.in_turn(turns, run.rounds)
    for trial in trials:
        says = f"{row.says}, {trial.size:,} {name}"
        windows = found[str(trial.size)]
        made.figures.append(measure.figure(f"{row.name}@{trial.size}-{name}", says, windows, found["bare"]))
    grown = measure.quotients(found[str(trials[-1].size)], found[str(trials[0].size)])
    says = f"{row.says}: {trials[-1].size:,} {name} to {trials[0].size:,}"
    made.findings.append(measure.finding(f"{name}-{row.name}", says, grown))
