"""`python -m bench.cluster.ha`: kill the primary of three under load; what was lost, and how long it took.

Two kinds of end take turns. "crash": PostgreSQL is killed with -9, with all its processes; its Patroni sees
it. "vanish": Patroni is killed in the same moment, as when a machine loses its power; the others must wait
until its lease has run out. Between rounds the dead member comes back and follows.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from bench.cluster import stage
from bench.cluster.ledger import Load
from bench.cluster.stage import Cluster, Member

KINDS = ("crash", "vanish")


@dataclass(frozen=True, slots=True)
class Round:
    """One kill."""

    kind: str
    was: str
    now: str
    writes_away: float  # seconds without any acknowledged write
    reads_away: float  # seconds without any read through the primary
    whole_again: float  # seconds until three members were there again


def fall(cluster: Cluster, load: Load, kind: str) -> Round:
    """Kill the primary, wait until it serves again and is whole again."""
    was = cluster.primary()
    begun = time.monotonic()
    was.crash() if kind == "crash" else was.vanish()
    answers = (load.written, load.read)
    stage.until("answers", lambda: all(_since(one.times, begun + 1) > 20 for one in answers))
    if kind == "vanish":
        was.begin()
    stage.until("it has come back", lambda: _serves(was))
    cluster.settle()
    whole = time.monotonic() - begun
    writes, reads = (round(one.away(begun), 1) for one in answers)
    return Round(kind, was.name, cluster.primary().name, writes, reads, round(whole, 1))


def _since(times: list[float], moment: float) -> int:
    return sum(1 for one in times[-200:] if one > moment)


def _serves(member: Member) -> bool:
    return stage.ask(member.rest, "/health")[0] == 200


def trial(rounds: int, seconds: float) -> tuple[list[Round], dict[str, object]]:
    """So many kills under load; what each took, and what was lost on any member in the end."""
    with stage.set_up() as place:
        cluster = Cluster(place)
        found = []
        with Load(cluster.url()) as load:
            for turn in range(rounds):
                time.sleep(seconds)
                found.append(fall(cluster, load, KINDS[turn % len(KINDS)]))
                print(json.dumps(asdict(found[-1])), flush=True)
            time.sleep(seconds)
        cluster.settle()
        lost = {one.name: len(load.lost(cluster.url_of(one))) for one in cluster.members}
        told = {
            "acknowledged": len(load.acknowledged), "lost_on": lost, "doubtful": load.doubtful,
            "failures": load.written.failures + load.read.failures,
        }  # fmt: skip
        return found, told


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; 0 if nothing was lost."""
    made = argparse.ArgumentParser(prog="python -m bench.cluster.ha", description=__doc__)
    made.add_argument("--rounds", type=int, default=4)
    made.add_argument("--seconds", type=float, default=3.0, help="of load before each kill")
    chosen = made.parse_args(arguments)
    if wanting := stage.missing("initdb", "etcd", "patroni"):
        print(
            f"error: not here: {', '.join(wanting)}\nhint: apt-get install {' '.join(wanting)}",
            file=sys.stderr,
        )
        return 2
    _, told = trial(chosen.rounds, chosen.seconds)
    print(json.dumps(told))
    return 1 if any(dict(told["lost_on"]).values()) else 0  # type: ignore[call-overload]


if __name__ == "__main__":
    sys.exit(main())
