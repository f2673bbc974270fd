"""W5: the same work where there is more: records in a vault, vaults in a database.

Each size has a server of its own; windows on all of them, and on the bare routes, follow one another, and
growth is what the largest costs, round by round, of what the smallest does. No page is kept: each list is
made anew.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack

from bench import measure, neighbours, rows, stage
from bench.comparing import Place, compared
from bench.measure import Outcome
from bench.rows import Row
from bench.stage import Run
from bench.world import World

RECORDS = (100, 10_000, 100_000)
MANY = 50  # vaults that are read in turn, in each size: readings of one vault share what they open
VAULTS = (MANY, 1_000, 10_000)
FILTERED = 10  # rows of a filtered page: as many as the smallest vault has of the category
Fill = Callable[[World, int], list[Row]]


def records(run: Run) -> Outcome:
    """Vaults of 100, 10,000 and 100,000 records."""
    return _grown(run, "records", [run.size(count, 100) for count in RECORDS], _of_records)


def vaults(run: Run) -> Outcome:
    """Databases of 50, 1,000 and 10,000 vaults."""
    return _grown(run, "vaults", [run.size(count) for count in VAULTS], _among_vaults)


def _of_records(world: World, size: int) -> list[Row]:
    """Readings come before new records, which make small vaults larger."""
    measure.tell(f"making vaults of {size} records")
    vault = world.vault("shared", size, gifts=False)
    connection = rows.Connection(world, vault)
    alone = world.vault("alone", size, gifts=False)
    return [
        *rows.reading(connection, FILTERED),
        rows.refreshing(world),
        *rows.introspecting(world, connection),
        rows.creating(world, alone, []),
        rows.creating(world, vault, [connection.grant]),
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
        *rows.reading(rows.Connection(world, read)),
        rows.reading_many(world, [read, *others]),
        rows.refreshing(world),
        rows.creating(world, world.vault("alone", rows.RECORDS), []),
    ]


def _grown(run: Run, name: str, sizes: Sequence[int], fill: Fill) -> Outcome:
    """Every row over every size."""
    with ExitStack() as stack:
        places = []
        for size in dict.fromkeys(sizes):
            world, server = stack.enter_context(stage.served(run, keeps=False))
            says = f"{size:,} {name.removesuffix('s') if size == 1 else name}"
            places.append(Place(says, server, [row for row in fill(world, size) if run.wants(row.name)]))
        return compared(run, name, places)
