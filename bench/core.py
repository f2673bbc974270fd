"""W1 to W4: readings, lists, new records, tokens; each beside a bare route in every round."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from bench import measure, rows, stage
from bench.measure import Finding, Outcome, Window
from bench.stage import Run

DIFFERENCES = (  # name, what it says, the row with it, the row without, of how many
    ("create-per-grant", "what a live grant adds to a new purchase", "create-10", "create-0", 10),
    ("dpop-adds", "what a DPoP proof adds to a reading", "read-one-dpop", "read-one", 1),
)


def group(run: Run) -> Outcome:
    """All rows, over vaults of 1,000 records."""
    return _measured(run, run.wants)


def new_lists(run: Run) -> Outcome:
    """Lists by a server that keeps no pages: what each costs when it is asked for the first time."""
    found = _measured(run, lambda name: name.startswith("list") and run.wants(name), keeps=False)
    figures = [replace(one, name=f"new-{one.name}", says=f"{one.says}, anew") for one in found.figures]
    return Outcome(figures, found.findings)


def _measured(run: Run, wants: Callable[[str], bool], *, keeps: bool = True) -> Outcome:
    with stage.served(run, keeps=keeps) as (world, vault):
        wanted = rows.rows(world, wants)
        with stage.bare_beside(run, wanted, vault) as (bare, plans):
            pairs = [
                stage.turns(run, row, vault, bare, plan) for row, plan in zip(wanted, plans, strict=True)
            ]
            found = measure.in_turn([turn for pair in pairs for turn in pair], run.rounds)
    figures = [
        measure.figure(row.name, row.says, found[row.name], found[f"bare {row.name}"]) for row in wanted
    ]
    return Outcome(figures, differences(found))


def differences(found: dict[str, list[Window]]) -> list[Finding]:
    """What one thing more costs, in bare routes, round by round."""
    made = []
    for name, says, more, less, times in DIFFERENCES:
        if {more, less} <= found.keys():
            ratios = [measure.quotients(found[one], found[f"bare {one}"]) for one in (more, less)]
            each = [(one - other) / times for one, other in zip(*ratios, strict=True)]
            made.append(measure.finding(name, says, each))
    return made
