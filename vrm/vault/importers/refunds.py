"""The export "Request my data": refunds, and how they settle on lines.

Two layouts, old (`Retail.OrdersReturned.Payments.N.csv`) and current (`Refund Details.csv`). Both name
only the order. Rows that did not come to an end are passed over: money announced is not money back.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal

from vrm.vault.importers import rows
from vrm.vault.importers.csvfile import Table
from vrm.vault.importers.rows import Refund, Rejection, Row
from vrm.vault.importers.values import CellError, Values

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
    pick = table.picker(COLUMNS)
    current = "paymentstatus" in table.header
    for record in table.records():
        if isinstance(record, Rejection):
            yield record
            continue
        line_no, cells = record
        order, amount, old, new = pick(cells)
        paid = new.lower() == "completed" if current else old.lower() not in _NOT_PAID
        try:
            if not order:
                yield Rejection(line_no, "Order ID", rows.NO_ORDER)
            elif paid and (money := values.money(amount)):
                yield Refund(line_no, order, money)
        except CellError as error:
            yield table.rejected(line_no, error, cells)


def settle(lines: Sequence[tuple[str, str]], amounts: Iterable[str]) -> list[str]:
    """What refunds make of the lines of one order: a new status for each, "" where none follows.

    `lines` are (total, status). One line: it came back. Several: the one line whose total is the refunded
    amount; all of them if the refunds add up to everything; otherwise, since the export does not say
    which, every line that did not come back is partly refunded.
    """
    found = ["returned" if state == "returned" else "" for _, state in lines]
    open_at = [at for at, (_, state) in enumerate(lines) if state not in {"returned", "cancelled"}]
    paid = [abs(Decimal(amount)) for amount in amounts]
    if not open_at or not paid:
        return found
    totals = {at: Decimal(lines[at][0]) if lines[at][0] else None for at in open_at}
    known = [total for total in totals.values() if total is not None]
    if len(open_at) == 1 or (len(known) == len(open_at) and sum(known) == sum(paid)):
        return ["returned" if at in totals else found[at] for at in range(len(lines))]
    rest = ""
    for amount in paid:
        fitting = [at for at, total in totals.items() if total == amount and not found[at]]
        if len(fitting) == 1:
            found[fitting[0]] = "returned"
        else:
            rest = "partly-refunded"
    return [state or (rest if at in totals else "") for at, state in enumerate(found)]
