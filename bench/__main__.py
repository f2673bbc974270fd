"""`python -m bench`: measure groups of rows, print tables and aims, write bench/results.json."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from bench import aims, load, machine, measure, report, servers
from bench.groups import BY_NAME, GROUPS, Group
from bench.measure import Outcome
from bench.stage import Run

QUICK = {"rounds": 2, "seconds": 0.8, "scale": 0.02}


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="python -m bench", description="Measure what requests cost.")
    made.add_argument("--long", action="store_true", help="every group, in about twenty minutes")
    made.add_argument(
        "--group", action="append", choices=list(BY_NAME), metavar="GROUP", help="this group; again for more"
    )
    made.add_argument("--only", metavar="ROW", help="rows whose name begins so (of core); nothing is written")
    made.add_argument("--quick", action="store_true", help="coarse and small, and nothing is written")
    made.add_argument("--rounds", type=int, help="windows in turn for each row")
    made.add_argument("--seconds", type=float, help="length of a window")
    made.add_argument("--scale", type=float, help="of worlds and histories: 0.1 for a tenth")
    made.add_argument("--list", action="store_true", help="say which groups there are")
    made.add_argument("--aims", action="store_true", help="only compare the committed results with the aims")
    made.add_argument(
        "--output", type=Path, metavar="FILE", help="where to write (default bench/results.json)"
    )
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the suite; returns the exit code."""
    chosen = parser().parse_args(arguments)
    before = report.committed()
    if chosen.list:
        for group in GROUPS:
            print(f"{group.name:<16}{'long  ' if group.long else '      '}{group.says}")
    elif chosen.aims:
        print(aims.table(aims.judged(before.values()), report.today()))
    else:
        _measure(chosen, before)
    return 0


def _measure(chosen: argparse.Namespace, before: report.Groups) -> None:
    results = report.read(report.RESULTS.read_text(encoding="utf-8")) if report.RESULTS.exists() else {}
    whole = not (chosen.quick or chosen.only or chosen.rounds or chosen.seconds or chosen.scale)
    target = chosen.output or (report.RESULTS if whole else None)
    for group in _groups(chosen):
        begun = time.monotonic()
        measure.tell(f"\n{group.name}: {group.says}")
        results[group.name] = _one(group, chosen, before)
        measure.tell(f"{group.name}: {time.monotonic() - begun:.0f} s")
        if target:  # after each group: what is measured is not lost to the next one's fault
            target.write_text(report.as_json(results), encoding="utf-8")
    print(f"\n{aims.table(aims.judged(results.values()), report.today())}")
    if not whole:
        print("(some of it small or short: this says that all works, not how fast it is)")


def _groups(chosen: argparse.Namespace) -> list[Group]:
    if chosen.group:
        return [BY_NAME[name] for name in chosen.group]
    if chosen.only:
        return [BY_NAME["core"]]
    return [group for group in GROUPS if chosen.long or not group.long]


def _one(group: Group, chosen: argparse.Namespace, before: report.Groups) -> dict[str, object]:
    """Measure a group and print what it found."""
    # In the checkout, not in the temp folder: that may be memory, where nothing is ever durable.
    with tempfile.TemporaryDirectory(prefix=".world-", dir=report.RESULTS.parent) as name:
        run = _run(group, chosen, Path(name))
        told = machine.described(run.folder)
        outcome = group.measure(run)
    print(f"\n{group.says}: {_explained(told, run)}")
    _show(outcome, before)
    settings = {
        "rounds": run.rounds, "window_seconds": run.seconds, "workers": servers.WORKERS,
        "connections": load.CONNECTIONS, "load_generator": load.generator(),
    }  # fmt: skip
    return report.kept(outcome, told, settings)


def _run(group: Group, chosen: argparse.Namespace, folder: Path) -> Run:
    quick = QUICK if chosen.quick else {}
    return Run(
        folder,
        rounds=chosen.rounds or int(quick.get("rounds", group.rounds)),
        seconds=chosen.seconds or quick.get("seconds", group.seconds),
        scale=chosen.scale or quick.get("scale", 1.0),
        only=chosen.only or "",
    )


def _show(outcome: Outcome, before: report.Groups) -> None:
    if outcome.figures:
        print(report.table(outcome.figures, before))
    if outcome.findings:
        print(report.found(outcome.findings, before))
    for line in outcome.left:
        print(f"not measured: {line}")


def _explained(told: dict[str, object], run: Run) -> str:
    return (
        f"medians of {run.rounds} rounds of {run.seconds:g} s; {servers.WORKERS} workers,"
        f" {load.CONNECTIONS} connections, load by {load.generator()}; {told['cores']} cores,"
        f" a durable write takes {told['durable_write_us']} µs"
    )


if __name__ == "__main__":
    sys.exit(main())
