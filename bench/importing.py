"""The row of the import: `vrm import`'s own path in this process, one core, lines per second of CPU time.

Beside it stands what any importer must do: read the CSV, and store each line as JSON in SQLite, durably,
in batches of the same size; nothing is understood, sealed, noted or deduplicated there.
"""

from __future__ import annotations

import csv
import json
import sqlite3
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path

from bench import goods
from bench.measure import Figure, Finding, Outcome, Window, figure
from bench.servers import free_port
from bench.stage import Run
from bench.world import World
from vrm.vault import intake

_names = count(1)


LINES = 20_000


def group(run: Run) -> Outcome:
    """An order history of 20,000 lines, brought into fresh vaults."""
    world = World(run.folder / "imports", free_port())
    try:
        found = measure(world, run.folder, run.size(LINES, 40), run.rounds)
    finally:
        world.close()
    per_core = Finding("import-rate", "lines imported in a second of CPU time", 1e6 / found.cpu, "lines/s")
    return Outcome([found], [per_core])


def measure(world: World, folder: Path, lines: int, rounds: int) -> Figure:
    """Import one history into a fresh vault each round, and bare into a fresh database."""
    history = folder / "history.csv"
    goods.write_history(history, lines)
    ours, theirs = [], []
    for number in range(rounds):
        if number % 2:
            theirs.append(_timed(lines, lambda: _bare(history, folder)))
        ours.append(_vault(world, history, lines))
        if not number % 2:
            theirs.append(_timed(lines, lambda: _bare(history, folder)))
    return figure("import", "lines of an order history", ours, theirs)


def _vault(world: World, history: Path, lines: int) -> Window:
    vault = world.vault(f"import-{next(_names)}", 0)

    def bring_in() -> None:
        with history.open("rb") as file:
            (report,) = intake.bring_in(vault, [("Retail.OrderHistory.1.csv", file)])
        if report.imported != lines:
            raise RuntimeError(f"{report.imported} of {lines} lines arrived: {report.rejected[:3]}")

    return _timed(lines, bring_in)


def _timed(lines: int, work: Callable[[], None]) -> Window:
    begun, used = time.perf_counter(), time.process_time()
    work()
    used, passed = time.process_time() - used, time.perf_counter() - begun
    return Window(used / lines * 1e6, lines / passed, 0.0, 0.0)


def _bare(history: Path, folder: Path) -> None:
    path = folder / f"bare-{next(_names)}.db"
    database = sqlite3.connect(path, isolation_level=None)
    try:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA synchronous=FULL")
        database.execute("CREATE TABLE lines (number INTEGER PRIMARY KEY, body TEXT NOT NULL)")
        with history.open(encoding="utf-8", newline="") as file:
            rows = enumerate(csv.DictReader(file))
            while batch := [(number, json.dumps(row)) for number, row in _first(rows, intake.BATCH)]:
                database.execute("BEGIN IMMEDIATE")
                database.executemany("INSERT INTO lines VALUES (?, ?)", batch)
                database.execute("COMMIT")
    finally:
        database.close()


def _first(rows: enumerate[dict[str, str]], most: int) -> list[tuple[int, dict[str, str]]]:
    return [row for _, row in zip(range(most), rows, strict=False)]
