"""Acts while some syncs fail: `python -m tests.faults.doubtful FOLDER COUNT ENGINES`, under strace.

Notes are added, some by a shared transaction and some by one of their own, and each prints what was said of
it. Of two engines, which stand for two processes, each has one way.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from tests.contract.engine import NOTES
from vrm.errors import StorageError, UncertainError
from vrm.vault.engine import Transaction
from vrm.vault.sqlite import SqliteEngine

SHARED = (True, False, False)  # over and over


def add(engine: SqliteEngine, number: int, *, shared: bool) -> str:
    """Add a note; what is said of it."""

    def put(transaction: Transaction) -> None:
        transaction.execute("INSERT INTO notes (id, text) VALUES (?, 'x')", (number,))

    try:
        if shared:
            engine.together(put)
        else:
            with engine.write() as transaction:
                put(transaction)
    except UncertainError:
        return "uncertain"
    except StorageError:
        return "refused"
    return "stored"


def main(folder: Path, count: int, engines: int) -> None:
    opened = [SqliteEngine(folder / "vrm.db") for _ in range(engines)]
    opened[0].install([NOTES])
    for at, one in enumerate(opened, 1):  # the first of each syncs the folder, too
        add(one, -at, shared=False)
    for number in range(count):
        shared = SHARED[number % len(SHARED)]
        said = add(opened[0 if shared else -1], number, shared=shared)
        os.write(1, (json.dumps({"number": number, "said": said}) + "\n").encode())
    os._exit(0)  # as if killed: nobody tidies up


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
