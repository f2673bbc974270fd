"""What every group needs: how long to measure, and servers that stand while it does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from bench import baseline, load, measure, rows, servers
from bench.plans import Plan
from bench.rows import Row
from bench.servers import Server
from bench.world import World

_numbers = count(1)


@dataclass(frozen=True, slots=True)
class Run:
    """One run: where it may write, how long and how large."""

    folder: Path
    rounds: int = 5  # of windows in turn
    seconds: float = 2.0  # of a window
    scale: float = 1.0  # of worlds and histories; less where somebody only looks whether all works
    only: str = ""  # rows whose names begin so

    def size(self, usual: int, least: int = 1) -> int:
        """So many, in a run of this scale."""
        return max(least, int(usual * self.scale))

    def wants(self, name: str) -> bool:
        """Whether a row was asked for."""
        return name.startswith(self.only)


@contextmanager
def served(
    run: Run,
    *,
    database_url: str = "",
    keeps: bool = True,
    beside: Callable[[], float] = lambda: 0.0,
    workers: int = servers.WORKERS,
) -> Iterator[tuple[World, Server]]:
    """A new world, and `vrm serve` over it; whether it `keeps` pages that were asked for."""
    port, data = servers.free_port(), f"world{next(_numbers)}"
    world = World(run.folder / data, port, database_url)
    try:
        environ = {"VRM_DATABASE_URL": database_url} if database_url else {}
        if not keeps:
            environ["VRM_KEPT_PAGES"] = "0"
        server = servers.vrm(
            run.folder, port, name=data, data=data, workers=workers, environ=environ, beside=beside
        )
        try:
            yield world, server
        finally:
            server.stop()
    finally:
        world.close()


@contextmanager
def bare_beside(run: Run, wanted: list[Row], vault: Server) -> Iterator[tuple[Server, list[Plan]]]:
    """Bare routes that answer what this server answers to these rows, and the plans for them."""
    samples = [rows.sample(row, vault) for row in wanted]
    name = f"bare{next(_numbers)}"
    answers = run.folder / f"{name}.json"
    baseline.write_answers(answers, [answer for answer, _ in samples])
    server = servers.bare(run.folder, answers, name)
    try:
        yield server, [plan for _, plan in samples]
    finally:
        server.stop()


def turns(run: Run, row: Row, vault: Server, bare: Server, plan: Plan) -> list[measure.Turn]:
    """A row's own window and the bare route's, both warm."""
    load.run(row.prepare(), vault.url, measure.WARM)
    load.run(plan, bare.url, measure.WARM)
    return [
        (row.name, lambda: measure.own_window(row, vault, run.seconds)),
        (f"bare {row.name}", lambda: measure.window(bare, plan, run.seconds)),
    ]
