"""One row in several worlds: windows on all of them, and on the bare routes, follow one another.

What is said of the last world beside the first is taken round by round: drift touches both alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

from bench import load, measure, stage
from bench.measure import Outcome, Turn
from bench.plans import Plan
from bench.rows import Row
from bench.servers import Server
from bench.stage import Run


@dataclass(frozen=True, slots=True)
class Place:
    """A world as it is called in the results, its server, and the rows over it."""

    says: str
    server: Server
    rows: Sequence[Row]


def compared(run: Run, name: str, places: Sequence[Place]) -> Outcome:
    """Every row in every place; findings are called `name` and the row."""
    made, first = Outcome(), places[0]
    with ExitStack() as stack:
        bare, plans = stack.enter_context(stage.bare_beside(run, list(first.rows), first.server))
        for number, plan in enumerate(plans):
            _compare(run, name, number, places, (bare, plan), made)
    return made


def _compare(
    run: Run, name: str, number: int, places: Sequence[Place], beside: tuple[Server, Plan], made: Outcome
) -> None:
    bare, plan = beside
    row = places[0].rows[number]
    measure.tell(f"{row.says}: {', '.join(place.says for place in places)}")
    turns: list[Turn] = [("bare", lambda: measure.window(bare, plan, run.seconds))]
    for place in places:
        own = place.rows[number]
        load.run(own.prepare(), place.server.url, run.seconds)  # each thread begins a log for each vault
        turns.append((place.says, partial(measure.own_window, own, place.server, run.seconds)))
    found = measure.in_turn(turns, run.rounds)
    for place in places:
        says, windows = f"{row.says}, {place.says}", found[place.says]
        made.figures.append(measure.figure(f"{row.name}, {place.says}", says, windows, found["bare"]))
    grown = measure.quotients(found[places[-1].says], found[places[0].says])
    says = f"{row.says}: {places[-1].says} to {places[0].says}"
    made.findings.append(measure.finding(f"{name}-{row.name}", says, grown))
