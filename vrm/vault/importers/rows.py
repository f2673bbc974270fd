"""The rows that readers yield, the same for every format, and the phrases of their refusals.

In rows the empty string means "the export does not say". Money is a decimal string, a date is
YYYY-MM-DD. A reason is a short stable phrase: reports show it, pages translate it, tests provoke it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from vrm.vault.catalog import N_

NOT_A_DATE = N_("not a date")
NOT_MONEY = N_("not an amount of money")
NOT_A_NUMBER = N_("not a whole number")
NO_ORDER = N_("no order number")
NO_ITEM = N_("neither a title nor an item number")
TOO_FEW = N_("fewer values than columns")
TOO_MANY = N_("more values than columns")
OPEN_QUOTE = N_("a quote that is never closed")
NOT_UTF8 = N_("not UTF-8 text")
NUL_BYTE = N_("a NUL byte, so not text")
NO_PURCHASE = N_("no purchase with this order number")
ITEMS_NEEDED = N_("this report lists no items; export the Items report as well")
UNREADABLE = N_("its name promises purchases, but this is not a format I know")

REASONS = (
    NOT_A_DATE,
    NOT_MONEY,
    NOT_A_NUMBER,
    NO_ORDER,
    NO_ITEM,
    TOO_FEW,
    TOO_MANY,
    OPEN_QUOTE,
    NOT_UTF8,
    NUL_BYTE,
    NO_PURCHASE,
    ITEMS_NEEDED,
    UNREADABLE,
)


class Line(NamedTuple):
    """One line of one order. `nth` counts lines with the same seller, order and item in one file.

    A named tuple because there are many: it is made three times as fast as a frozen dataclass.
    """

    line_no: int
    seller: str
    order_number: str
    item_key: str
    nth: int
    title: str = ""
    isbn: str = ""
    asin: str = ""
    brand: str = ""
    category: str = "other"
    category_path: str = ""
    category_basis: str = "guessed"
    ordered: str = ""
    delivered: str = ""
    status: str = "unknown"
    unit_price: str = ""
    quantity: int | None = None
    total: str = ""
    tax: str = ""
    currency: str = ""
    payment_method: str = ""
    last4: str = ""
    recipient_name: str = ""
    recipient_address: str = ""
    gift_message: str = ""
    sender_name: str = ""
    gift_wrap: bool = False
    gift_item: bool = False

    @property
    def fingerprint(self) -> tuple[str, str, str, str]:
        """What makes this line itself: the same in every export that ever lists it."""
        return self.seller, self.order_number, self.item_key, str(self.nth)


@dataclass(frozen=True, slots=True)
class Refund:
    """Money that came back; exports name only the order."""

    line_no: int
    order_number: str
    amount: str


@dataclass(frozen=True, slots=True)
class Return:
    """A line that was sent back."""

    line_no: int
    order_number: str
    item_key: str


@dataclass(frozen=True, slots=True)
class Charge:
    """Money charged for an order, from a file that names no items."""

    line_no: int
    order_number: str
    amount: str
    currency: str


@dataclass(frozen=True, slots=True)
class Rejection:
    """A row that was not taken, where and why; `column` is empty when the whole row is meant."""

    line: int
    column: str
    reason: str


Row = Line | Refund | Return | Charge | Rejection
