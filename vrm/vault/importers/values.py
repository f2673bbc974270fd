"""Cells of an export turned into values, strictly.

Every function returns "" (or None) for what sellers write instead of a value and raises CellError
for anything it does not understand: a value is never guessed. `Values` remembers recent answers for
the length of one file, since exports repeat themselves, and forgets them with it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from functools import lru_cache

from vrm.vault.importers import rows

ABSENT = frozenset(
    {"", "Not Available", "Not Applicable", "Not available", "Not applicable", "not available"}
    | {"not applicable", "NOT AVAILABLE", "NOT APPLICABLE"}
)
UNKNOWN = frozenset({"unknown", "n/a", "na", "none", "null", "-", "not available", "not applicable"})

_ISO = re.compile(
    r"(\d{4}-\d{2}-\d{2})([T ]\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?( ?(Z|UTC|[+-]\d{2}:?\d{2}))?)?", re.ASCII
)
_US = re.compile(r"(\d{1,2})/(\d{1,2})/(\d{4}|\d{2})", re.ASCII)
_EXACT = re.compile(r"[1-9][0-9]{0,11}\.[0-9]{2}")  # already in our spelling
_PLAIN = re.compile(r"-?\d{1,12}(\.\d{1,6})?", re.ASCII)
_COMMA_GROUPS = re.compile(r"-?\d{1,3}(,\d{3})+(\.\d{1,6})?", re.ASCII)
_DOT_GROUPS = re.compile(r"-?\d{1,3}(\.\d{3})+,\d{1,2}", re.ASCII)
_COMMA_CENTS = re.compile(r"-?\d{1,12},\d{1,2}", re.ASCII)
_SIGNS = re.compile(r"['\"$€£¥₹\s\xa0\u202f]")
_WHOLE = re.compile(r"\d{1,6}(\.0+)?", re.ASCII)
_INSTRUMENT = re.compile(r"(.*?)\s*-\s*(\d{4})", re.ASCII)
_DOMAIN = re.compile(r"(?:https?://)?(?:www\.)?([a-z0-9-]+(?:\.[a-z0-9-]+)+)/?")
_CURRENCY = re.compile(r"[A-Za-z]{3}")


_JOINERS = "\u200c\u200d"  # invisible, but part of how Persian and some emoji are written
_MOST = Decimal(10) ** 12
_STEP = Decimal("0.0001")


class CellError(ValueError):
    """A cell that cannot be understood: the phrase, and the cell's own text to find its column."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.text = text


def parts(text: str) -> list[str]:
    """The values of a cell: sellers join several by the word "and"."""
    return [part.strip() for part in text.split(" and ")]


def parse_date(text: str) -> str:
    """The day as YYYY-MM-DD; of several the first. Accepts ISO 8601 and the American MM/DD/YY."""
    iso = _ISO.fullmatch(text)
    if iso:
        return _checked(iso[1], text)
    if not text or text.lower() in UNKNOWN:
        return ""
    days = [_day(part, text) for part in parts(text) if part.lower() not in UNKNOWN]
    return days[0] if days else ""


def _day(part: str, text: str) -> str:
    iso = _ISO.fullmatch(part)
    if iso:
        return _checked(iso[1], text)
    american = _US.fullmatch(part)
    if american:
        year = int(american[3]) + (2000 if len(american[3]) == 2 else 0)
        return _checked(f"{year:04}-{american[1]:0>2}-{american[2]:0>2}", text)
    raise CellError(rows.NOT_A_DATE, text)


def _checked(day: str, text: str) -> str:
    try:
        date.fromisoformat(day)
    except ValueError:  # a day that no calendar has
        raise CellError(rows.NOT_A_DATE, text) from None
    return day


def parse_money(text: str) -> str:
    """A decimal string such as "-5.00"; takes $17.52, '-5.00' in quotes, 1,234.56 and 1.234,56."""
    if _EXACT.fullmatch(text):
        return text
    if not text or text.lower() in UNKNOWN:
        return ""
    bare = _SIGNS.sub("", text)
    if _PLAIN.fullmatch(bare):
        return cents(bare)
    if _COMMA_GROUPS.fullmatch(bare):
        return cents(bare.replace(",", ""))
    if _DOT_GROUPS.fullmatch(bare) or _COMMA_CENTS.fullmatch(bare):
        return cents(bare.replace(".", "").replace(",", "."))
    raise CellError(rows.NOT_MONEY, text)


def cents(plain: str) -> str:
    """The same amount with two to four decimals, and never "-0.00"."""
    amount = Decimal(plain).quantize(_STEP)
    whole, _, rest = format(amount, "f").partition(".")
    shown = f"{whole}.{rest.rstrip('0'):0<2}"
    return "0.00" if amount == 0 else shown


def times(amount: str, quantity: int | None) -> str:
    """An amount for each of several, for all of them."""
    if not amount or quantity in (None, 1):
        return amount
    product = Decimal(amount) * (quantity or 0)
    return cents(str(product)) if abs(product) < _MOST else ""


def parse_quantity(text: str) -> int | None:
    """A whole number from 0 to 999,999."""
    if not text or text.lower() in UNKNOWN:
        return None
    if not _WHOLE.fullmatch(text):
        raise CellError(rows.NOT_A_NUMBER, text)
    return int(text.partition(".")[0])


def parse_currency(text: str) -> str:
    """The three capital letters of ISO 4217, or nothing; which codes there are changes every few years."""
    return text.upper() if _CURRENCY.fullmatch(text) else ""


def parse_payment(text: str) -> tuple[str, str]:
    """Means of payment and the last four digits of the first card among them."""
    if not text or text.lower() in UNKNOWN:
        return "", ""
    names: list[str] = []
    last4 = ""
    for part in parts(clean(text)):
        card = _INSTRUMENT.fullmatch(part)
        name = card[1] if card else part
        if card and not last4:
            last4 = card[2]
        if name and name not in names:
            names.append(name)
    return " and ".join(names), last4


def parse_seller(text: str) -> str:
    """The shop as a bare domain ("amazon.com"), or its name in small letters; "amazon" if unsaid."""
    lower = text.strip().lower()
    domain = _DOMAIN.fullmatch(lower)
    return domain[1] if domain else clean(lower) or "amazon"


def clean(text: str) -> str:
    """Text without control characters and doubled blanks, in Unicode's composed form."""
    if not text.isascii():
        text = unicodedata.normalize("NFC", text)
    if not text.isprintable():
        text = "".join(mark if mark.isprintable() or mark in _JOINERS else " " for mark in text)
    return " ".join(text.split())


def said(text: str) -> bool:
    """Whether a yes-or-no cell (or a charge for the service) says yes."""
    return bool(text) and text.lower() not in UNKNOWN | {"no", "false", "0", "0.00", "$0.00", "n"}


class Values:
    """The parsers above with a memory as long as the reading of one file."""

    def __init__(self) -> None:
        self.date: Callable[[str], str] = lru_cache(4096)(parse_date)
        self.money: Callable[[str], str] = lru_cache(4096)(parse_money)
        self.quantity: Callable[[str], int | None] = lru_cache(256)(parse_quantity)
        self.currency: Callable[[str], str] = lru_cache(64)(parse_currency)
        self.payment: Callable[[str], tuple[str, str]] = lru_cache(512)(parse_payment)
        self.seller: Callable[[str], str] = lru_cache(64)(parse_seller)
        self.text: Callable[[str], str] = lru_cache(1024)(clean)
