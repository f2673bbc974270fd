"""`python -m bench`: measure every row, print the table, write bench/results.json."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from bench import baseline, importing, load, machine, measure, report, rows, servers
from bench.measure import Figure
from bench.world import World

IMPORT = "import"


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="python -m bench", description="Measure what requests cost.")
    made.add_argument("--quick", action="store_true", help="half a minute; coarse, and nothing is written")
    made.add_argument("--only", metavar="ROW", help="rows whose name begins so; nothing is written")
    made.add_argument("--rounds", type=int, help="pairs of windows per row (default 5, quick 2)")
    made.add_argument("--seconds", type=float, help="length of a window (default 3, quick 0.8)")
    made.add_argument("--lines", type=int, help="lines of the imported history (default 20000, quick 4000)")
    made.add_argument(
        "--output", type=Path, metavar="FILE", help="where to write (default bench/results.json)"
    )
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the suite; returns the exit code."""
    chosen = parser().parse_args(arguments)
    rounds = chosen.rounds or (2 if chosen.quick else 5)
    seconds = chosen.seconds or (0.8 if chosen.quick else 3.0)
    lines = chosen.lines or (4_000 if chosen.quick else 20_000)
    begun = time.monotonic()
    # In the checkout, not in the temp folder: that may be memory, where nothing is ever durable.
    with tempfile.TemporaryDirectory(prefix=".world-", dir=report.RESULTS.parent) as name:
        folder = Path(name)
        told = machine.described(folder)
        figures = _http_rows(folder, chosen.only or "", rounds, seconds)
        if IMPORT.startswith(chosen.only or ""):
            figures.append(_import_row(folder, lines, rounds))
    print(f"\n{report.table(figures, report.committed())}\n\n{_explained(told, time.monotonic() - begun)}")
    if chosen.output or not (chosen.quick or chosen.only):
        run = {
            "rounds": rounds, "window_seconds": seconds, "import_lines": lines, "workers": servers.WORKERS,
            "connections": load.CONNECTIONS, "load_generator": load.generator(), "records": rows.RECORDS,
        }  # fmt: skip
        (chosen.output or report.RESULTS).write_text(report.as_json(figures, told, run), encoding="utf-8")
    return 0


def _http_rows(folder: Path, only: str, rounds: int, seconds: float) -> list[Figure]:
    port = servers.free_port()
    with ExitStack() as stack:
        world = World(folder / "vault", port)
        stack.callback(world.close)
        vault = servers.vrm(folder, port)
        stack.callback(vault.stop)
        wanted = [row for row in rows.rows(world) if row.name.startswith(only)]
        samples = [rows.sample(row, vault) for row in wanted]
        baseline.write_answers(folder / "answers.json", list({one.rule: one for one, _ in samples}.values()))
        bare = servers.bare(folder, folder / "answers.json")
        stack.callback(bare.stop)
        found = []
        for row, (_, same) in zip(wanted, samples, strict=True):
            _tell(row.says)
            found.append(measure.pair(row, vault, bare, same, rounds, seconds))
        return found


def _import_row(folder: Path, lines: int, rounds: int) -> Figure:
    _tell("lines of an order history")
    with ExitStack() as stack:
        world = World(folder / "imports", servers.free_port())
        stack.callback(world.close)
        return importing.measure(world, folder, lines, rounds)


def _tell(says: str) -> None:
    print(f"measuring: {says}", file=sys.stderr, flush=True)


def _explained(told: dict[str, object], seconds: float) -> str:
    return (
        "CPU: user and system time of all the server's processes, per request (import: own, per line).\n"
        "ratio: to a bare Flask route that returns the same bytes on granian, windows in turn; medians.\n"
        f"{servers.WORKERS} workers, {load.CONNECTIONS} connections, load by {load.generator()};"
        f" {told['cores']} cores, a durable write takes {told['durable_write_us']} µs; {seconds:.0f} s."
    )


if __name__ == "__main__":
    sys.exit(main())
