"""A worker whose minutes are seconds, until it is killed: `python -m tests.faults.sender FOLDER`.

So leases and pauses are over while a test waits. Its clock, like that of all who share the data, counts from
a moment in the environment.
"""

import os
import sys
import threading
import time
from pathlib import Path

from tests.conftest import CHEAP
from vrm import worker
from vrm.host import open_host
from vrm.settings import Settings

FASTER = 60


class FastClock:
    """A minute a second."""

    def __init__(self, start: float) -> None:
        self.start = start

    def now(self) -> int:
        return int(self.start + (time.time() - self.start) * FASTER)


def main(folder: Path) -> None:
    """Send for ever."""
    worker.EVERY = 0.05
    clock = FastClock(float(os.environ["VRM_TEST_START"]))
    settings = Settings(data_dir=folder, public_url="http://127.0.0.1:8600", outbound_allow="127.0.0.1")
    host = open_host(settings, clock=clock, limits=CHEAP)
    for _ in range(2):
        worker.start(host)
    threading.Event().wait()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
