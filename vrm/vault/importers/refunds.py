"""The export "Request my data": refunds, and how they settle on lines.

Two layouts, old (`Retail.OrdersReturned.Payments.N.csv`) and current (`Refund Details.csv`). Both name
only the order. Rows that did not come to an end are passed over: money announced is not money back.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal

from vrm.vault.importers import rows
from vrm.vault.importers.csvfile import Table
from vrm.vault.importers.rows import Refund, Rejection, Row
from vrm.vault.importers.values import Values

NAME = "Request my data: refunds"
# The old layout says little of a row's state; these are the words that mean "no money came back".
_NOT_PAID = frozenset({"failed", "cancelled", "canceled", "pending", "declined", "rejected", "in progress"})
COLUMNS = (("orderid",), ("amountrefunded", "refundamount"), ("status",), ("paymentstatus",))


def detect(header: frozenset[str]) -> bool:
    """Whether a file with these normalised columns lists refunds."""
    return "orderid" in header and bool(header & {"amountrefunded", "refundamount"})


def read(table: Table) -> Iterator[Row]:
    """The refunds of the file that were completed."""
    values = Values()
    current = "paymentstatus" in table.header

    def refund(line_no: int, cells: list[str]) -> Refund | Rejection | None:
        order, amount, old, new = cells
        if not order:
            return Rejection(line_no, "Order ID", rows.NO_ORDER)
        if new.lower() != "completed" if current else old.lower() in _NOT_PAID:
            return None
        money = values.money(amount)
        return Refund(line_no, order, money) if money else None

    return table.rows(COLUMNS, refund)


def settle(lines: Sequence[tuple[str, str]], amounts: Iterable[str]) -> list[str]:
    """What refunds make of the lines of one order: a new status for each, "" where none follows.

    `lines` are (total, status). One line: it came back. Several: the one line whose total is the refunded
    amount; all of them if the refunds add up to everything; otherwise, since the export does not say
    which, every line that did not come back is partly refunded. Saying the same again changes nothing.
    """
    paid = [abs(Decimal(amount)) for amount in amounts]
    open_lines = {
        at: Decimal(total) if total else None
        for at, (total, status) in enumerate(lines)
        if status != "cancelled"
    }
    if not open_lines or not paid:
        return [""] * len(lines)
    known = [total for total in open_lines.values() if total is not None]
    if len(open_lines) == 1 or (len(known) == len(open_lines) and sum(known) == sum(paid)):
        back = set(open_lines)
    else:
        back = _placed(lines, open_lines, paid)
    rest = "partly-refunded" if len(back) < min(len(paid), len(open_lines)) else ""
    back |= {at for at, (_, status) in enumerate(lines) if status == "returned"}
    return ["returned" if at in back else rest if at in open_lines else "" for at in range(len(lines))]


def _placed(
    lines: Sequence[tuple[str, str]], totals: Mapping[int, Decimal | None], paid: Iterable[Decimal]
) -> set[int]:
    """The lines that refunds fit without doubt; one that is known as returned is the first to fit."""
    found: set[int] = set()
    for amount in paid:
        fitting = [at for at, total in totals.items() if total == amount and at not in found]
        before = [at for at in fitting if lines[at][1] == "returned"]
        if before or len(fitting) == 1:
            found.add((before or fitting)[0])
    return found
