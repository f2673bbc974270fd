"""How many purchases there are, and how many wait to be sorted: counted again only when something changed.

To count, one facet of every purchase is opened. Promises: the numbers are those of the journal's present end
and of what the tables hold now; they are two numbers for each vault, kept in this process and nowhere else.
Refuses to remember a count in which a record did not open: that is said on every page that asks.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from typing import Final, NamedTuple

from vrm.errors import TamperedError
from vrm.vault.vault import Vault

MOST: Final = 1024  # vaults


class Counted(NamedTuple):
    """Purchases that open, those of them that are not sorted yet, and all that are stored."""

    things: int
    unsorted: int
    stored: int


class Tally:
    """The numbers of the vaults that were looked at last."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, tuple[int, Counted]] = OrderedDict()
        self._guard = Lock()

    def of(self, vault: Vault, count: Callable[[], Counted]) -> Counted:
        """The numbers; `count` finds them where something was written, added or taken away since."""
        position, stored = _position(vault), vault.records("purchases").count()
        with self._guard:
            noted, counted = self._known.get(vault.id, (-1, Counted(0, 0, -1)))
        if noted == position and counted.stored == stored:
            return counted
        counted = count()
        if position > 0 and counted.things == counted.stored:
            self._keep(vault.id, position, counted)
        return counted

    def _keep(self, vault: str, position: int, counted: Counted) -> None:
        with self._guard:
            self._known[vault] = position, counted
            self._known.move_to_end(vault)
            while len(self._known) > MOST:
                self._known.popitem(last=False)


def _position(vault: Vault) -> int:
    """Where the journal ends; 0 where that was altered, as is said elsewhere."""
    try:
        return vault.position()
    except TamperedError:
        return 0
