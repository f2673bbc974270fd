"""The table on the screen, `bench/results.json`, and the comparison with the last committed one."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.measure import Figure

RESULTS = Path(__file__).with_name("results.json")
_LEAST = 0.05  # of a ratio: a smaller change is noise, however close the rounds lay together


def committed() -> dict[str, Any]:
    """The results in the last commit; empty where there are none."""
    shown = subprocess.run(
        ["git", "show", "HEAD:bench/results.json"],
        cwd=RESULTS.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    if shown.returncode:
        return {}
    found: dict[str, Any] = json.loads(shown.stdout)
    return found


def verdict(now: Figure, before: Mapping[str, Any] | None) -> str:
    """Whether a row's ratio is better or worse than it was, or the same within the noise of both runs."""
    if before is None:
        return "new"
    noise = max(now.spread, before["spread"], _LEAST * before["ratio"])
    if abs(now.ratio - before["ratio"]) <= noise:
        return "same"
    return "better" if now.ratio < before["ratio"] else "worse"


def table(figures: Sequence[Figure], before: Mapping[str, Any]) -> str:
    """One line a row."""
    known = {row["name"]: row for row in before.get("figures", [])}
    head = (
        f"{'':<26}{'CPU µs':>8}{'bare':>7}{'ratio':>8}{'±':>6}{'last':>7} {'':<8}"
        f"{'per second':>10}{'bare':>8}{'share':>7}{'p50 ms':>8}{'p99 ms':>8}"
    )
    lines = [head]
    for row in figures:
        old = known.get(row.name)
        last = f"{old['ratio']:.2f}" if old else "-"
        times = f"{row.p50 / 1000:>8.2f}{row.p99 / 1000:>8.2f}" if row.p50 else ""
        lines.append(
            f"{row.says:<26}{row.cpu:>8.1f}{row.bare_cpu:>7.1f}{row.ratio:>8.2f}{row.spread:>6.2f}"
            f"{last:>7} {verdict(row, old):<8}"
            f"{row.per_second:>10.0f}{row.bare_per_second:>8.0f}{row.share:>7.2f}{times}"
        )
    return "\n".join(lines)


def as_json(figures: Sequence[Figure], machine: Mapping[str, Any], run: Mapping[str, Any]) -> str:
    """What is kept."""
    kept = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "machine": dict(machine),
        "run": dict(run),
        "figures": [figure.as_json() for figure in figures],
    }
    return json.dumps(kept, indent=2, ensure_ascii=False) + "\n"
