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

    says: str
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


_THREE = {"read-one": "a reading", "list-100": "a list of 100", "create-0": "a new purchase"}  # W1 to W3
_MADE = _THREE | {"list-100": "a new list of 100"}
_GROWING = _MADE | {
    "create-1": "a new purchase that one vendor sees",
    "refresh": "a refresh",
    "introspection": "a look at a token",
}

AIMS = (
    Aim("CPU of a reading, by a bare route's", "read-one", "ratio", 2.5),
    Aim("CPU of a known list of 100 (asked for before), by a bare route's", "list-100", "ratio", 5),
    Aim("CPU of a new list of 100, by a bare route's", "new-list-100", "ratio", 5),
    Aim("CPU of a known filtered list of 100, by a bare route's", "list-filtered", "ratio", 10),
    Aim("CPU of a new filtered list of 100, by a bare route's", "new-list-filtered", "ratio", 10),
    Aim("CPU of a new purchase, by a bare route's", "create-0", "ratio", 4),
    Aim("more of it for each live grant", "create-per-grant", "value", 0.3),
    Aim("CPU of a look at a token, by a bare route's", "introspection", "ratio", 1.9),
    Aim("CPU of a refresh, by a bare route's", "refresh", "ratio", 3.2),
    Aim("what a DPoP proof adds to a reading, in bare routes", "dpop-adds", "value", 1.6),
    Aim("readings a second, by a bare route's", "read-one", "share", 0.40, at_least=True),
    Aim("known lists a second, by a bare route's", "list-100", "share", 0.25, at_least=True),
    Aim("new lists a second, by a bare route's", "new-list-100", "share", 0.25, at_least=True),
    *[Aim(f"p99 of {says}, by its p50", name, "tail", 5) for name, says in _THREE.items()],
    *[
        Aim(f"CPU of {says}, 100,000 records by 100", f"records-{name}", "value", 1.2)
        for name, says in _GROWING.items()
    ],
    Aim("CPU of a new filtered list, 100,000 records by 100", "records-list-filtered", "value", 1.3),
    *[
        Aim(f"CPU of {says}, 10,000 vaults by 50", f"vaults-{name}", "value", 1.1)
        for name, says in (_MADE | {"read-many": "readings of 50 vaults in turn"}).items()
    ],
    Aim("seconds to approve a grant over 20,000 records", "approve-20000", "value", 1.0),
    Aim("p99 of 16 writers, ms", "writers-p99", "value", 10),
    Aim("requests of 16 writers that failed", "writers-wrong", "value", 0),
    Aim("p99 of readers while 20 a second log in, by alone", "storm", "value", 2),
    Aim("readings that failed beside slow clients", "slow-wrong", "value", 0),
    Aim("lines imported in a second of one core", "import-rate", "value", 15_000, at_least=True),
    Aim("seconds from nothing to the first answer", "cold-start", "value", 1.0),
    Aim("MiB of a worker at rest", "memory-rest", "value", 90),
    Aim("a worker's CPU of a reading, PostgreSQL by SQLite", "postgres-read-one", "value", 2),
    Aim("readings a second, two nodes by one", "nodes", "value", 1.7, at_least=True),
)


@dataclass(frozen=True, slots=True)
class Judged:
    """An aim, and what was measured for it; None where nothing was."""

    aim: Aim
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
        return Judged(aim, row["p99"] / row["p50"] if row.get("p50") else None, when)
    return Judged(aim, row.get(aim.measure), when)


def table(found: Iterable[Judged], today: str) -> str:
    """One line an aim; of what another day measured, with that day."""
    lines = [f"{'aim':<66}{'limit':>10}{'measured':>12}  "]
    for one in found:
        value = "-" if one.value is None else f"{one.value:.2f}" if one.value < 1000 else f"{one.value:.0f}"
        day = f" ({one.when})" if one.when not in {"", today} else ""
        lines.append(f"{one.aim.says:<66}{one.aim.shown():>10}{value:>12}  {one.verdict}{day}")
    return "\n".join(lines)
