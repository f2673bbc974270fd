"""`python -m bench.cluster.rolling`: two nodes over one PostgreSQL, each ended and started anew under load.

What an upgrade does that brings no new tables: one node after the other. Clients turn to the other node when
one refuses them; the trial says how often that was, whether anything acknowledged was lost, and the longest
time without an answer.
"""

from __future__ import annotations

import json
import sys
import time

from bench.cluster import stage
from bench.cluster.served import NODES, ServedLoad
from bench.cluster.stage import Instance

ROUNDS = 2
PAUSE = 2.0  # seconds of load between two restarts


def trial(rounds: int = ROUNDS) -> dict[str, object]:
    """Every node so many times."""
    with stage.set_up() as place:
        database = Instance(place, "database")
        with ServedLoad(place, database.url()) as load:
            begun = time.monotonic()
            for turn in range(rounds * NODES):
                time.sleep(PAUSE)
                load.replace(turn % NODES)
            time.sleep(PAUSE)
            away = max(load.written.away(begun), load.read.away(begun))
        refused = load.written.failures + load.read.failures
        lost = load.lost(database.url())
        return {"lost": lost, "refused": refused, "longest_away": round(away, 1), **load.told()}


def main() -> int:
    """Run it; 0 if nothing was lost."""
    if wanting := stage.missing("initdb"):
        print(f"error: not here: {wanting[0]}\nhint: apt-get install {wanting[0]}", file=sys.stderr)
        return 2
    found = trial()
    print(json.dumps(found))
    return 1 if found["lost"] or found["faults"] else 0


if __name__ == "__main__":
    sys.exit(main())
