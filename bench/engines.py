"""PostgreSQL beside SQLite, and two nodes on one PostgreSQL beside one.

The database runs on this machine, too. What it spends is told beside what the workers do: that is what grows
on another machine, as far as one database goes. No page is kept: each list is made anew.
"""

from __future__ import annotations

from contextlib import ExitStack

from bench import rows, stage
from bench.cluster import nodes as trial
from bench.cluster import stage as cluster
from bench.comparing import Place, compared
from bench.measure import Finding, Outcome
from bench.stage import Run

ROWS = ("read-one", "list-100", "create-0", "create-1", "refresh", "introspection")


def postgres(run: Run) -> Outcome:
    """The same rows on both engines, each durable."""
    if wanting := cluster.missing("initdb"):
        return Outcome(left=[f"PostgreSQL: {', '.join(wanting)} is not here"])
    with ExitStack() as stack:
        database = cluster.Instance(stack.enter_context(cluster.set_up()), "database")
        url = database.url().replace("postgresql:", "postgresql+psycopg:")
        places = []
        for says, engine in (
            ("SQLite", stage.served(run, keeps=False)),
            ("PostgreSQL", stage.served(run, keeps=False, database_url=url, beside=database.cpu)),
        ):
            world, server = stack.enter_context(engine)
            places.append(
                Place(says, server, rows.rows(world, lambda name: name in ROWS and run.wants(name)))
            )
        return compared(run, "postgres", places)


def nodes(run: Run) -> Outcome:
    """One node and two, each with its share of a core and no more, so that the database is not the limit."""
    if wanting := cluster.missing("initdb"):
        return Outcome(left=[f"two nodes: {', '.join(wanting)} is not here"])
    if not trial.can_limit():
        return Outcome(left=["two nodes: the kernel's CPU quotas are not ours to set here"])
    found = trial.trial(run.rounds)
    note = f"{found.one:.0f} and {found.two:.0f} readings a second, {trial.QUOTA:.0%} of a core for each node"
    return Outcome(
        findings=[
            Finding("nodes", "readings a second of two nodes to one", found.ratio, note=note),
            Finding("nodes-cpu", "a reading in a node", found.node_us, "µs"),
            Finding("nodes-database", "the same in the database", found.database_us, "µs"),
        ]
    )
