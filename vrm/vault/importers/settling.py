"""What the files that list no purchases (refunds, returns, charges) say of one order's lines.

Pure. They name an order, at best an item, and may come before or after the file with the lines, in the
same import or years later.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import NamedTuple

from vrm.vault.importers import refunds
from vrm.vault.importers.rows import Charge, Refund, Return
from vrm.vault.importers.values import cents


@dataclass(slots=True)
class Aftermath:
    """Everything that happened to one order after it was placed."""

    refunds: list[Refund] = field(default_factory=list)
    returns: list[Return] = field(default_factory=list)
    charges: list[Charge] = field(default_factory=list)


class Known(NamedTuple):
    """What is known of a line of the order."""

    item_key: str
    total: str
    status: str


class Verdict(NamedTuple):
    """What follows for a line; "" where nothing does."""

    status: str = ""
    total: str = ""
    currency: str = ""


def settle(lines: Sequence[Known], after: Aftermath) -> list[Verdict]:
    """A verdict for each line of the order, in the order of the lines."""
    statuses = refunds.settle([(line.total, line.status) for line in lines], _amounts(after))
    for at in _sent_back(lines, after.returns):
        statuses[at] = "returned"
    total, currency = _charged(after.charges)
    unpriced = [at for at, line in enumerate(lines) if not line.total]
    takes = unpriced[0] if total and len(unpriced) == 1 and len(lines) == 1 else -1
    return [
        Verdict(status, total, currency) if at == takes else Verdict(status)
        for at, status in enumerate(statuses)
    ]


def _amounts(after: Aftermath) -> list[str]:
    return [refund.amount for refund in after.refunds]


def _sent_back(lines: Sequence[Known], returns: Sequence[Return]) -> set[int]:
    """The n-th return of an item means the n-th line with it."""
    places: defaultdict[str, list[int]] = defaultdict(list)
    for at, line in enumerate(lines):
        places[line.item_key].append(at)
    found: set[int] = set()
    for back in returns:
        if places[back.item_key]:
            found.add(places[back.item_key].pop(0))
    return found


def _charged(charges: Sequence[Charge]) -> tuple[str, str]:
    if not charges:
        return "", ""
    total = sum((Decimal(charge.amount) for charge in charges), Decimal(0))
    return cents(str(total)), charges[0].currency
