"""Suggestions for whom a purchase was, each with its reason; never an answer.

Sellers rarely know of a gift: a message stands on one to three lines in a hundred. A line that went to
another name or address than most is a wider and noisier hint, so the reason is always shown and the
customer decides. Pure, apart from counting.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import NamedTuple

from vrm.vault.catalog import N_
from vrm.vault.importers.rows import Line

MESSAGE = N_("it came with a gift message")
MARKED = N_("the seller marks it as a gift")
WRAPPED = N_("it was gift-wrapped")
OTHER_NAME = N_("it went to another name than most")
OTHER_PLACE = N_("it went to another address than most")
REASONS = (MESSAGE, MARKED, WRAPPED, OTHER_NAME, OTHER_PLACE)

SETTLED = 5  # purchases in a year

_Went = tuple[str, str, str]  # name, address, year

_POSTCODE_EXTENSION = re.compile(r"\b(\d{5})-\d{4}\b")
_NOT_PLACE = re.compile(r"[^\w]+")


class Hint(NamedTuple):
    """For whom a purchase may have been, and why the vault thinks so."""

    for_whom: str
    because: str


def place_key(address: str) -> str:
    """One spelling of an address: small letters, no punctuation, no extension of an American postcode."""
    return _NOT_PLACE.sub(" ", _POSTCODE_EXTENSION.sub(r"\1", address).casefold()).strip()


def evidence(line: Line) -> Hint | None:
    """What the line itself says."""
    if line.status == "cancelled":
        return None
    if line.gift_message:
        return Hint("gift", MESSAGE)
    if line.gift_item:
        return Hint("gift", MARKED)
    return Hint("gift", WRAPPED) if line.gift_wrap else None


class _Tally:
    """How often each place was counted, in all and in each year."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str]] = Counter()  # (year or "", place)
        self._most: dict[str, int] = {}

    def count(self, place: str, year: str, times: int) -> None:
        for span in {"", year}:
            self._counts[span, place] += times
            self._most[span] = max(self._most.get(span, 0), self._counts[span, place])

    def unusual(self, place: str, year: str) -> bool:
        """Whether another place is more frequent, in all and in that year.

        People move: an address that leads its year with SETTLED purchases was a home then.
        """
        if self._counts["", place] >= self._most.get("", 0):
            return False
        here = self._counts[year, place]
        return here < SETTLED or here < self._most.get(year, 0)


class Usual:
    """The names and addresses that most purchases went to.

    Most went to the same few, so each is looked at once, however many there are.
    """

    def __init__(self) -> None:
        self._went: dict[_Went, int] = {}
        self._tallies: tuple[_Tally, _Tally] | None = None  # of names and of places, once all are counted
        self._judged: dict[_Went, Hint | None] = {}

    def count(self, name: str, address: str, ordered: str = "") -> None:
        """Take one purchase into account; `ordered` is its day."""
        went = (name, address, ordered[:4])
        self._went[went] = self._went.get(went, 0) + 1
        self._tallies = None

    def hint(self, line: Line) -> Hint | None:
        """The strongest hint of a line. A tie for the most frequent makes all of them usual."""
        said = evidence(line)
        if said or line.status == "cancelled":
            return said
        if self._tallies is None:
            self._tallies, self._judged = self._tallied(), {}
        went = (line.recipient_name, line.recipient_address, line.ordered[:4])
        if went not in self._judged:
            self._judged[went] = self._judge(*self._tallies, *went)
        return self._judged[went]

    def _tallied(self) -> tuple[_Tally, _Tally]:
        names, places = _Tally(), _Tally()
        for (name, address, year), times in self._went.items():
            if name:
                names.count(name.casefold(), year, times)
            if address:
                places.count(place_key(address), year, times)
        return names, places

    @staticmethod
    def _judge(names: _Tally, places: _Tally, name: str, address: str, year: str) -> Hint | None:
        if name and names.unusual(name.casefold(), year):
            return Hint("gift", OTHER_NAME)
        if address and places.unusual(place_key(address), year):
            return Hint("gift", OTHER_PLACE)
        return None
