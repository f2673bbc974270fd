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


class Usual:
    """The names and addresses that most purchases went to."""

    def __init__(self) -> None:
        self._names: Counter[str] = Counter()
        self._places: Counter[str] = Counter()
        self._most_name = self._most_place = 0
        self._keys: dict[str, str] = {}

    def count(self, name: str, address: str) -> None:
        """Take one purchase into account."""
        if name:
            self._names[key := name.casefold()] += 1
            self._most_name = max(self._most_name, self._names[key])
        if address:
            self._places[key := self._key(address)] += 1
            self._most_place = max(self._most_place, self._places[key])

    def hint(self, line: Line) -> Hint | None:
        """The strongest hint of a line. A tie for the most frequent makes all of them usual."""
        said = evidence(line)
        if said or line.status == "cancelled":
            return said
        name = line.recipient_name.casefold()
        if name and self._names[name] < self._most_name:
            return Hint("gift", OTHER_NAME)
        address = line.recipient_address
        if address and self._places[self._key(address)] < self._most_place:
            return Hint("gift", OTHER_PLACE)
        return None

    def _key(self, address: str) -> str:
        found = self._keys.get(address)
        if found is None:
            found = self._keys[address] = place_key(address)
        return found
