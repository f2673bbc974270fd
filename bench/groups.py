"""The groups of the suite: what may be chosen, and what runs without being asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bench import alone, core, crowds, engines, growth, importing, resting
from bench.measure import Outcome
from bench.stage import Run


@dataclass(frozen=True, slots=True)
class Group:
    """Rows and findings that are measured together. Long ones only `--long` runs, or their name."""

    name: str
    says: str
    measure: Callable[[Run], Outcome]
    long: bool = False
    rounds: int = 5
    seconds: float = 2.0  # of a window


GROUPS = (
    Group("core", "readings, lists, new records, tokens (W1 to W4)", core.group),
    Group("new-lists", "lists that nobody asked for before", core.new_lists),
    Group("import", "an order history", importing.group),
    Group("rest", "start-up and memory", resting.group),
    Group("approval", "a grant over 20,000 records", alone.approval, rounds=3),
    Group(
        "records", "the same over 100 to 100,000 records", growth.records, long=True, rounds=3, seconds=1.2
    ),
    Group("vaults", "the same among 50 to 10,000 vaults", growth.vaults, long=True, rounds=3, seconds=1.2),
    Group("large-approval", "a grant over 100,000 records", alone.large_approval, long=True, rounds=2),
    Group("search", "her search through 20,000 records", alone.search, long=True, rounds=3),
    Group("writers", "sixteen customers write at once", crowds.writers, long=True),
    Group("storm", "twenty log-ins a second", crowds.storm, long=True, rounds=3, seconds=3.0),
    Group("slow", "clients that never finish", crowds.slow, long=True, seconds=3.0),
    Group("postgres", "PostgreSQL beside SQLite", engines.postgres, long=True, rounds=3, seconds=1.5),
    Group("nodes", "two nodes beside one", engines.nodes, long=True, rounds=3, seconds=1.5),
)
BY_NAME = {group.name: group for group in GROUPS}
