"""`python -m bench.cluster.nodes`: two `vrm serve` nodes over one PostgreSQL, beside one of them.

Two whole nodes, a database and a client do not fit on two cores. So each node gets a share of one core and no
more (a CPU quota of the kernel), small enough that database and client always find time: then the nodes are
the limit, as they are where each has a machine of its own. What the database spends on a request tells how
many nodes it can bear.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from bench import load, machine, servers
from bench.cluster import stage
from bench.cluster.stage import HERE, Instance, Stage
from bench.plans import ONCE, Plan
from bench.servers import Server
from bench.world import World

QUOTA = 0.1  # of a core, for each node
VAULTS = 8
ROUNDS, SECONDS = 5, 4.0
_GROUPS = Path("/sys/fs/cgroup/cpu")
_PERIOD = 50_000  # µs


@dataclass(frozen=True, slots=True)
class Finding:
    """Medians of the rounds."""

    one: float  # readings per second of one node
    two: float
    ratio: float
    node_us: float  # CPU of a node for a reading, while both serve
    node_alone_us: float
    database_us: float  # CPU of PostgreSQL for a reading, while both serve

    @property
    def bearable(self) -> float:
        """How many cores of nodes keep one core of the database busy."""
        return self.node_us / self.database_us


@contextmanager
def limited(server: Server, share: float) -> Iterator[None]:
    """Give a server and all its workers so much of one core and no more."""
    group = _GROUPS / f"vrm-bench-{server.port}"
    group.mkdir()
    try:
        (group / "cpu.cfs_period_us").write_text(str(_PERIOD))
        (group / "cpu.cfs_quota_us").write_text(str(int(_PERIOD * share)))
        for pid in server.processes():
            (group / "cgroup.procs").write_text(str(pid))
        yield
    finally:
        for left in group.joinpath("cgroup.procs").read_text().split():
            (_GROUPS / "cgroup.procs").write_text(left)
        group.rmdir()


def can_limit() -> bool:
    """Whether quotas can be set here."""
    try:
        (_GROUPS / "vrm-bench").mkdir()
        (_GROUPS / "vrm-bench").rmdir()
    except OSError:
        return False
    return True


def readings(world: World) -> Plan:
    """One record each of many vaults in turn, so that no vault's own lock is the limit."""
    paths, tokens = [], []
    for number in range(VAULTS):
        vault = world.vault(f"reader{number}", 20)
        token = world.connect(vault)
        items = world.host.engine.all("SELECT item FROM views WHERE grant_id = ?", (token.grant_id,))
        paths.append(f"/api/v1/purchases/{bytes(items[0][0]).hex()}")
        tokens.append(token.access_token)
    return Plan("GET", paths, {"Authorization": f"Bearer {ONCE}"}, once=tokens)


def nodes(place: Stage, count: int, url: str, port: int) -> Iterator[Server]:
    """Nodes with one worker each, one server key and one public address."""
    for number in range(count):
        environ = {
            "VRM_DATABASE_URL": url,
            "VRM_SERVER_KEY_FILE": str(place.folder / "node0" / "server.key"),
            "VRM_PUBLIC_URL": f"http://{HERE}:{port}",
            "VRM_READINGS_PER_MINUTE": "0",
        }
        yield servers.vrm(
            place.folder,
            servers.free_port(),
            name=f"vrm{number}",
            data=f"node{number}",
            workers=1,
            environ=environ,
        )


def window(plan: Plan, serving: Sequence[Server], database: Instance) -> tuple[float, float, float]:
    """Readings per second, and the CPU in µs that one cost the nodes and the database."""
    pids = [pid for server in serving for pid in server.processes()]
    own, theirs = machine.cpu_seconds(pids), database.cpu()
    done = load.run_all(plan, [server.url for server in serving], SECONDS)
    if any(one.wrong for one in done):
        raise RuntimeError(f"a node answered {max(one.status for one in done)}")
    requests = sum(one.requests for one in done)
    own, theirs = machine.cpu_seconds(pids) - own, database.cpu() - theirs
    return sum(one.per_second for one in done), own / requests * 1e6, theirs / requests * 1e6


def trial(rounds: int = ROUNDS) -> Finding:
    """One node and two in turn."""
    with stage.set_up() as place, ExitStack() as stack:
        database = Instance(place, "database")
        url = database.url().replace("postgresql://", "postgresql+psycopg://")
        port = servers.free_port()
        world = World(place.folder / "node0", port, url)
        stack.callback(world.close)
        plan = readings(world)
        both = list(nodes(place, 2, url, port))
        for node in both:
            stack.callback(node.stop)
            stack.enter_context(limited(node, QUOTA))
        window(plan, both, database)  # not counted
        ones, twos = [], []
        for _ in range(rounds):
            ones.append(window(plan, both[:1], database))
            twos.append(window(plan, both, database))
    one, alone_us, _ = map(statistics.median, zip(*ones, strict=True))
    two, node_us, database_us = map(statistics.median, zip(*twos, strict=True))
    ratio = statistics.median(after[0] / before[0] for before, after in zip(ones, twos, strict=True))
    return Finding(one, two, ratio, node_us, alone_us, database_us)


def main() -> int:
    """Run it and print what it found."""
    if not can_limit():
        print("error: no CPU quotas here\nhint: root, and the cgroup controller `cpu`", file=sys.stderr)
        return 2
    found = trial()
    shown = {name: round(value, 2) for name, value in asdict(found).items()}
    print(json.dumps(shown | {"node cores per database core": round(found.bearable, 2)}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
