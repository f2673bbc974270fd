"""Work that makes very many objects and no cycle among them, such as an import or an approval.

Python's collector would look through all of them again and again for cycles: a tenth of such work. Promises:
what nobody holds is freed at once, as always; young cycles, of other threads too, are still found; only
looking through everything that has lived longer waits until the last such block ends.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_YOUNG = 20_000  # objects more than were freed, before the young ones are looked through
_NEVER = 1 << 30
_guard = threading.Lock()
_before: list[tuple[int, int, int]] = []  # what each block under way found; the first, what is usual


@contextmanager
def seldom() -> Iterator[None]:
    """Collect young cycles seldom and old ones not at all."""
    with _guard:
        _before.append(gc.get_threshold())
        gc.set_threshold(_YOUNG, _before[0][1], _NEVER)
    try:
        yield
    finally:
        with _guard:
            gc.set_threshold(*_before.pop())
