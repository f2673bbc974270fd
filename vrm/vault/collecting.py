"""Work that makes very many objects and no cycle among them, such as an import or an approval.

Python's collector would look through all of them again and again for cycles: a tenth of such work. Promises:
what is garbage by its count is freed at once, as always; young cycles, of other threads too, are still found;
only looking through everything that has lived longer waits until the block ends.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

_USUAL = gc.get_threshold()
_YOUNG = 20_000  # objects more than were freed, before the young ones are looked through
_NEVER = 1 << 30


@contextmanager
def seldom() -> Iterator[None]:
    """Collect young cycles seldom and old ones not at all. Of two blocks at once the first end counts."""
    gc.set_threshold(_YOUNG, _USUAL[1], _NEVER)
    try:
        yield
    finally:
        gc.set_threshold(*_USUAL)
