"""What is counted while serving: in each worker for itself, in one file, added up by whoever asks.

Promises: what is counted only grows, for all workers of a server together and past the end of each; to count
takes about a microsecond. Knows rules, statuses and durations; refuses everything else: no name, address or
path is a label, and which requests were whose cannot be told from it.
"""

from __future__ import annotations

import fcntl
import hashlib
import mmap
import os
import threading
from array import array
from bisect import bisect_left
from pathlib import Path
from typing import Final

BOUNDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)  # seconds
ROWS: Final = 160  # processes that may count at once: the most workers, while each is being replaced
STARTS: Final = "worker_starts"  # the first cell of each row: 0 where nobody has counted yet
_CLASSES: Final = 6  # of statuses; 0 is none that HTTP knows
_SUM: Final = _CLASSES + len(BOUNDS) + 1  # where the sum of the durations stands, in microseconds
_WIDTH: Final = _SUM + 1


class Board:
    """Cells of one process, each by its name; `share` puts them among those of other processes."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._places: dict[str, int] = {}
        self._size = 0
        self._cells: array[int] | memoryview = array("Q")
        self._file: tuple[int, memoryview] | None = None  # descriptor, which keeps the row, and all rows
        self.place(STARTS)

    def place(self, name: str, width: int = 1) -> int:
        """Where the cells of this name begin; new ones are made only before `share`."""
        found = self._places.get(name)
        if found is None:
            if self._file is not None:
                raise RuntimeError(f"{name} was not counted when this process began to share")
            found = self._places[name] = self._size
            self._size += width
            self._cells = array("Q", [*self._cells, *([0] * width)])
        return found

    def add(self, place: int, count: int = 1) -> None:
        """Count."""
        with self._lock:
            self._cells[place] += count

    def request(self, place: int, status: int, seconds: float) -> None:
        """Count one request of the series that begins here."""
        kind = place + status // 100 if 100 <= status < 600 else place
        bucket = place + _CLASSES + bisect_left(BOUNDS, seconds)
        with self._lock:
            cells = self._cells
            cells[kind] += 1
            cells[bucket] += 1
            cells[place + _SUM] += int(seconds * 1e6)

    def share(self, stem: Path) -> None:
        """Go on counting in a file that all processes of this server add up; once in a process.

        The lock of a row ends with its process; whoever has the row next counts on from what is there. Code
        that counts other things takes another file, because cells are told apart by their place only.
        """
        shape = hashlib.sha256(repr(sorted(self._places.items(), key=lambda one: one[1])).encode())
        path = stem.with_name(f"{stem.name}.{shape.hexdigest()[:12]}.counts")
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        length = self._size * 8
        os.ftruncate(descriptor, ROWS * length)
        rows = memoryview(mmap.mmap(descriptor, ROWS * length)).cast("Q")
        row = next(row for row in range(ROWS) if _is_free(descriptor, row))
        mine = rows[row * self._size : (row + 1) * self._size]
        with self._lock:
            for place, count in enumerate(self._cells):
                mine[place] += count
            self._cells, self._file = mine, (descriptor, rows)
        self.add(self._places[STARTS])

    def total(self, name: str, width: int = 1) -> list[int]:
        """The cells of a name, of all processes together."""
        place = self._places[name]
        if self._file is None:
            return list(self._cells[place : place + width])
        rows, sums = self._file[1], [0] * width
        for start in range(0, ROWS * self._size, self._size):
            if not rows[start]:
                break
            for cell in range(width):
                sums[cell] += rows[start + place + cell]
        return sums


def _is_free(descriptor: int, row: int) -> bool:
    """Whether nobody had this row; then it is ours until our process ends."""
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, row)
    except OSError:
        return False
    return True


BOARD: Final = Board()  # of this process


class Counter:
    """One number that only grows."""

    def __init__(self, name: str, about: str) -> None:
        self.name, self.about = name, about
        self._place = BOARD.place(name)

    def add(self, count: int = 1) -> None:
        """Count."""
        BOARD.add(self._place, count)

    def total(self) -> int:
        """How many in all processes."""
        return BOARD.total(self.name)[0]


class Series:
    """The requests of one rule: how many by class of status, and how long they took."""

    def __init__(self, method: str, rule: str) -> None:
        self.method, self.rule = method, rule
        self._name = f"{method} {rule}"
        self._place = BOARD.place(self._name, _WIDTH)

    def count(self, status: int, seconds: float) -> None:
        """Count one request that was answered."""
        BOARD.request(self._place, status, seconds)

    def total(self) -> Requests:
        """What all processes have counted."""
        cells = BOARD.total(self._name, _WIDTH)
        return Requests(cells[:_CLASSES], cells[_CLASSES:_SUM], cells[_SUM] / 1e6)


class Requests:
    """Counts of one series: by class of status, by duration (each bound alone), and seconds in all."""

    def __init__(self, classes: list[int], buckets: list[int], seconds: float) -> None:
        self.classes, self.buckets, self.seconds = classes, buckets, seconds


ARGON2_WAITS = Counter("argon2_waits", "Passphrases that waited for their turn to be stretched.")
ARGON2_REFUSED = Counter("argon2_refused", "Passphrases that were sent away because too many waited.")
LOGINS_REFUSED = Counter("logins_refused", "Log-ins with a wrong credential, or one too many.")
RATE_LIMITED = Counter("rate_limited", "Requests of vendors beyond what one may make in a minute.")
STORAGE_WAITS = Counter("storage_waits", "Writes that waited for another process to finish its own.")
LEASES = Counter("permit_leases", "Shares of a limit that a worker took from the database.")
STARTED = Counter(STARTS, "Workers that began to serve, replaced ones too.")
COUNTERS: Final = (
    STARTED,
    LOGINS_REFUSED,
    RATE_LIMITED,
    LEASES,
    STORAGE_WAITS,
    ARGON2_WAITS,
    ARGON2_REFUSED,
)
