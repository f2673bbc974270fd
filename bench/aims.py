"""What we aim at, in one place: a row or finding, what of it, and the limit; and whether it is met.

Nothing fails for a time: `make bench` reports.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Aim:
    """`measure` is a member of a figure, `tail` (its p99 by its p50) or `value` of a finding."""

    name: str
    measure: str
    limit: float
    at_least: bool = False

    def met(self, value: float) -> bool:
        """Whether a measured value is good enough."""
        return value >= self.limit if self.at_least else value <= self.limit

    def shown(self) -> str:
        """The limit, with its direction."""
        return f"{'≥' if self.at_least else '≤'} {self.limit:g}"


MEASURES = {
    "ratio": "CPU by a bare route's",
    "share": "of a bare route's requests a second",
    "tail": "p99 by p50",
    "value": "",
}
_GROWING = ("read-one", "list-100", "create-0", "create-1", "refresh", "introspection")

AIMS = (
    Aim("read-one", "ratio", 2.5),
    Aim("list-100", "ratio", 5),
    Aim("create-0", "ratio", 4),
    Aim("create-per-grant", "value", 0.3),
    Aim("introspection", "ratio", 1.9),
    Aim("refresh", "ratio", 3.2),
    Aim("dpop-adds", "value", 1.6),
    Aim("read-one", "share", 0.40, at_least=True),
    Aim("list-100", "share", 0.25, at_least=True),
    Aim("read-one", "tail", 5),
    Aim("list-100", "tail", 5),
    Aim("create-0", "tail", 5),
    *[Aim(f"records-{name}", "value", 1.2) for name in _GROWING],
    Aim("records-list-filtered", "value", 1.3),
    *[Aim(f"vaults-{name}", "value", 1.1) for name in ("read-one", "read-many", "list-100", "create-0")],
    Aim("approve-20000", "value", 1.0),
    Aim("writers-p99", "value", 10),
    Aim("writers-wrong", "value", 0),
    Aim("storm", "value", 2),
    Aim("slow-wrong", "value", 0),
    Aim("import-rate", "value", 15_000, at_least=True),
    Aim("cold-start", "value", 1.0),
    Aim("memory-rest", "value", 90),
    Aim("postgres-read-one", "value", 2),
    Aim("nodes", "value", 1.7, at_least=True),
)


@dataclass(frozen=True, slots=True)
class Judged:
    """An aim, and what was measured for it; None where nothing was."""

    aim: Aim
    says: str
    value: float | None
    when: str  # the day on which it was measured

    @property
    def verdict(self) -> str:
        """Met, not met, or not measured."""
        if self.value is None:
            return "not measured"
        return "met" if self.aim.met(self.value) else "not met"


def judged(groups: Iterable[Mapping[str, Any]]) -> list[Judged]:
    """Every aim beside the results, which are as `report` keeps them."""
    known = {
        row["name"]: (row, group["date"])
        for group in groups
        for row in (*group["figures"], *group["findings"])
    }
    return [_judged(aim, *known.get(aim.name, ({}, ""))) for aim in AIMS]


def _judged(aim: Aim, row: Mapping[str, Any], when: str) -> Judged:
    if aim.measure == "tail":
        value = row["p99"] / row["p50"] if row.get("p50") else None
    else:
        value = row.get(aim.measure)
    says = ", ".join(filter(None, (row.get("says", aim.name), MEASURES[aim.measure])))
    return Judged(aim, f"{says} ({row['unit']})" if row.get("unit") else says, value, when)


def table(found: Iterable[Judged], today: str) -> str:
    """One line an aim; of what another day measured, with that day."""
    lines = [f"{'aim':<88}{'limit':>10}{'measured':>12}  "]
    for one in found:
        value = "-" if one.value is None else f"{one.value:.2f}" if one.value < 1000 else f"{one.value:.0f}"
        day = f" ({one.when})" if one.when not in {"", today} else ""
        lines.append(f"{one.says:<88}{one.aim.shown():>10}{value:>12}  {one.verdict}{day}")
    return "\n".join(lines)
