"""The tables on the screen, `bench/results.json`, and the comparison with the last committed one."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.measure import STOLEN, Figure, Finding, Outcome

RESULTS = Path(__file__).with_name("results.json")
_LEAST = 0.05  # of a value: a smaller change is noise, however close the rounds lay together
Groups = dict[str, Any]  # name → date, machine, run, figures, findings


def today() -> str:
    """The day that stands beside a result."""
    return datetime.now(UTC).strftime("%Y-%m-%d")


def committed() -> Groups:
    """The results in the last commit; empty where there are none."""
    shown = subprocess.run(
        ["git", "show", "HEAD:bench/results.json"],
        cwd=RESULTS.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return {} if shown.returncode else read(shown.stdout)


def read(text: str) -> Groups:
    """The groups of a file of results."""
    found: Groups = json.loads(text).get("groups", {})
    return found


def by_name(groups: Groups, kind: str) -> dict[str, Mapping[str, Any]]:
    """Every figure, or every finding, of all groups."""
    return {row["name"]: row for group in groups.values() for row in group[kind]}


def verdict(now: float, spread: float, before: float | None, its_spread: float = 0.0) -> str:
    """Whether a value is more or less than it was, or the same within the noise of both runs."""
    if before is None:
        return "new"
    if abs(now - before) <= max(spread, its_spread, _LEAST * before):
        return "same"
    return "less" if now < before else "more"


def table(figures: Sequence[Figure], before: Groups) -> str:
    """One line a row."""
    known = by_name(before, "figures")
    lines = [
        f"{'':<52}{'CPU µs':>8}{'bare':>7}{'ratio':>8}{'±':>6}{'last':>7} {'':<5}"
        f"{'per second':>10}{'bare':>8}{'share':>7}{'p50 ms':>8}{'p99 ms':>8}"
    ]
    for row in figures:
        old = known.get(row.name, {})
        last = f"{old['ratio']:.2f}" if old else "-"
        changed = verdict(row.ratio, row.spread, old.get("ratio"), old.get("spread", 0.0))
        times = f"{row.p50 / 1000:>8.2f}{row.p99 / 1000:>8.2f}" if row.p50 else ""
        lines.append(
            f"{row.says:<52}{row.cpu:>8.1f}{row.bare_cpu:>7.1f}{row.ratio:>8.2f}{row.spread:>6.2f}"
            f"{last:>7} {changed:<5}"
            f"{row.per_second:>10.0f}{row.bare_per_second:>8.0f}{row.share:>7.2f}{times}"
            + (f"  and {row.beside:.0f} µs in the database" if row.beside else "")
            + (f"  (disturbed: others took {row.stolen:.0%} of the machine)" if row.stolen > STOLEN else "")
        )
    return "\n".join(lines)


def found(findings: Sequence[Finding], before: Groups) -> str:
    """One line a finding."""
    known = by_name(before, "findings")
    lines = []
    for one in findings:
        old = known.get(one.name, {})
        last = f"{old['value']:.2f}" if old else "-"
        changed = verdict(one.value, one.spread, old.get("value"), old.get("spread", 0.0))
        lines.append(
            f"{one.says:<68}{one.value:>10.2f} {one.unit:<8}{one.spread:>8.2f}{last:>10} {changed:<5}"
            f" {one.note}"
        )
    head = f"{'':<68}{'':>10} {'':<8}{'±':>8}{'last':>10}"
    return "\n".join([head, *lines])


def kept(outcome: Outcome, machine: Mapping[str, Any], run: Mapping[str, Any]) -> dict[str, Any]:
    """What is kept of a group."""
    return {
        "date": today(),
        "machine": dict(machine),
        "run": dict(run),
        "figures": [one.as_json() for one in outcome.figures],
        "findings": [one.as_json() for one in outcome.findings],
    }


def as_json(groups: Groups) -> str:
    """The file."""
    return json.dumps({"groups": groups}, indent=2, ensure_ascii=False) + "\n"
