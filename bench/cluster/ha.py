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
from bench.cluster.ledger import Load, PlainLoad
from bench.cluster.served import ServedLoad
from bench.cluster.stage import Cluster, Member, Stage

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
    stage.until("answers", lambda: all(one.since(begun + 1) > 20 for one in answers))
    if kind == "vanish":
        was.begin()
    stage.until("it has come back", lambda: _serves(was))
    cluster.settle()
    whole = time.monotonic() - begun
    writes, reads = (round(one.away(begun), 1) for one in answers)
    return Round(kind, was.name, cluster.primary().name, writes, reads, round(whole, 1))


def _serves(member: Member) -> bool:
    return stage.ask(member.rest, "/health")[0] == 200


def load_on(place: Stage, cluster: Cluster, *, served: bool) -> Load:
    """Clients of the database itself, or of two nodes that it serves."""
    return ServedLoad(place, cluster.url()) if served else PlainLoad(cluster.url())


def trial(
    rounds: int, seconds: float, *, served: bool, kinds: Sequence[str] = KINDS
) -> tuple[list[Round], dict[str, object]]:
    """So many kills under load; what each took, and what was lost on any member in the end."""
    with stage.set_up() as place:
        cluster = Cluster(place)
        found = []
        with load_on(place, cluster, served=served) as load:
            for turn in range(rounds):
                time.sleep(seconds)
                found.append(fall(cluster, load, kinds[turn % len(kinds)]))
                print(json.dumps(asdict(found[-1])), flush=True)
            time.sleep(seconds)
        cluster.settle()
        lost = {one.name: load.lost(cluster.url_of(one)) for one in cluster.members}
        return found, {"lost": sum(lost.values()), "lost_on": lost, **load.told()}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; 0 if nothing was lost."""
    made = argparse.ArgumentParser(prog="python -m bench.cluster.ha", description=__doc__)
    made.add_argument("--rounds", type=int, default=4)
    made.add_argument("--seconds", type=float, default=3.0, help="of load before each kill")
    made.add_argument("--served", action="store_true", help="load on two nodes of vrm instead of psycopg")
    made.add_argument("--kind", choices=KINDS, action="append", help="of end; both in turn unless given")
    chosen = made.parse_args(arguments)
    if wanting := stage.missing("initdb", "etcd", "patroni"):
        wanted = " ".join(wanting)
        print(f"error: not here: {wanted}\nhint: apt-get install {wanted}", file=sys.stderr)
        return 2
    kinds = chosen.kind or KINDS
    _, told = trial(chosen.rounds, chosen.seconds, served=chosen.served, kinds=kinds)
    print(json.dumps(told))
    return 1 if told["lost"] else 0


if __name__ == "__main__":
    sys.exit(main())
