"""`python -m bench.sizing`: what a million vaults need, and a hundred million, from what one was measured to.

`--measure` takes the sizes and costs that this machine can tell (bytes on the disk of either engine,
Argon2id, memory) and, from bench/results.json, the CPU of requests; it writes bench/sizing.json. Without it,
the tables of docs/scaling.md are computed from that file: every figure there is a measured one times an
assumed one, and the assumptions are arguments.
"""

from __future__ import annotations

import argparse
import json
import re
import secrets
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

import psycopg

from bench import machine, report, servers
from bench.cluster import stage
from bench.cluster.stage import Instance
from bench.world import World
from vrm.app import create_app
from vrm.vault import crypto
from vrm.vault.crypto import KdfLimits

KEPT = report.RESULTS.with_name("sizing.json")
ENGINES = ("sqlite", "postgresql")
EMPTY, VAULTS, RECORDS, READINGS = 300, 30, 200, 40  # vaults with nothing in them, and with what
DAY, YEAR = 86_400, 365
USUAL = (10**6, 10**8)  # vaults
PAGE = servers.ROOT / "docs" / "scaling.md"
_MARKED = re.compile(r"(<!-- sizing -->\n).*?(<!-- /sizing -->)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Bytes:
    """What one of each takes on the disk, with its indexes."""

    vault: float
    record: float
    grant: float  # with its tokens, without rows
    row: float  # of a grant's view
    reading: float  # its entry in the customer's log
    log: float  # of the database's own log (WAL) for a reading: what goes to followers and archives


@dataclass(frozen=True, slots=True)
class Measured:
    """What sizing.json holds. CPU in µs, memory in MiB."""

    date: str
    disk: dict[str, Bytes]
    read_cpu: float
    list_cpu: float
    create_cpu: float
    refresh_cpu: float
    database_cpu: float  # of PostgreSQL for a reading
    stretch_cpu: float  # one Argon2id as production creates it
    stretch_memory: float
    worker_memory: float


@dataclass(frozen=True, slots=True)
class Life:
    """What is assumed of a vault and of the machines."""

    records: int = field(default=1000, metadata={"says": "records in a vault"})
    grants: int = field(default=3, metadata={"says": "live grants of a vault"})
    rows: int = field(default=300, metadata={"says": "rows in a grant's view"})
    readings: float = field(default=6.0, metadata={"says": "readings of a vault by vendors, a day"})
    lists: float = field(default=0.3, metadata={"says": "of these, the share that lists 100"})
    creates: float = field(default=0.3, metadata={"says": "new records of a vault, a day"})
    refreshes: float = field(default=3.0, metadata={"says": "refreshed tokens of a vault, a day"})
    logins: float = field(default=0.3, metadata={"says": "log-ins of a vault, a day"})
    peak: float = field(default=5.0, metadata={"says": "the busiest hour to the average one"})
    busy: float = field(default=0.5, metadata={"says": "of a core's time that is planned with"})
    members: int = field(default=3, metadata={"says": "members that each hold the data"})
    cores: int = field(default=32, metadata={"says": "cores of a database server"})
    disk: float = field(default=4.0, metadata={"says": "TB of a database server's disk"})


# ---- measuring -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Scale:
    """How the size of a database is taken, after it was put in order; and its own log so far."""

    size: Callable[[], float]
    logged: Callable[[], float]


def sqlite_scale(path: Path) -> Scale:
    """Pages in use; the log is emptied first."""

    def size() -> float:
        with closing(sqlite3.connect(path)) as raw:
            raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            (pages,), (free,), (bytes_each,) = (
                raw.execute(f"PRAGMA {name}").fetchone()
                for name in ("page_count", "freelist_count", "page_size")
            )
        return float((pages - free) * bytes_each)

    return Scale(size, lambda: float(path.with_name(path.name + "-wal").stat().st_size))


def postgresql_scale(url: str) -> Scale:
    """All tables with their indexes; dead rows are taken out first."""

    def asked(query: str) -> float:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("VACUUM")
            row = connection.execute(query).fetchone()
        return float(row[0]) if row else 0.0

    tables = "FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
    return Scale(
        lambda: asked(f"SELECT sum(pg_total_relation_size(oid)) {tables}"),
        lambda: asked("SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')"),
    )


def disk(world: World, scale: Scale) -> Bytes:
    """Let vaults, records, grants and readings come one kind after the other, and weigh each."""
    sizes = [scale.size()]

    def grown(count: int) -> float:
        sizes.append(scale.size())
        return round((sizes[-1] - sizes[-2]) / count, 1)

    empty = [world.vault(f"empty{number}", 0) for number in range(EMPTY)]
    vault = grown(EMPTY)
    for one in empty:
        world.connect(one)
    grant = grown(EMPTY)
    full = [world.vault(f"full{number}", RECORDS, gifts=False) for number in range(VAULTS)]
    record = round((grown(VAULTS) - vault) / RECORDS, 1)
    tokens = [world.connect(one) for one in full]
    rows = sum(world.shared(one.grant_id) for one in tokens)
    row = round((grown(1) - grant * VAULTS) / rows, 1)
    logged = scale.logged()
    _read(world, [one.access_token for one in tokens])
    log = round((scale.logged() - logged) / (VAULTS * READINGS), 1)
    return Bytes(vault, record, grant, row, grown(VAULTS * READINGS), max(0.0, log))


def _read(world: World, tokens: Sequence[str]) -> None:
    client = create_app(world.settings, host=world.host).test_client()
    for _ in range(READINGS):
        for token in tokens:
            answer = client.get("/api/v1/purchases?limit=1", headers={"Authorization": f"Bearer {token}"})
            if answer.status_code != 200:
                raise RuntimeError(f"a reading answered {answer.status_code}")


def disks() -> dict[str, Bytes]:
    """On both engines."""
    found = {}
    with tempfile.TemporaryDirectory(prefix=".sizing-", dir=KEPT.parent) as name:
        world = World(Path(name) / "vault", servers.free_port())
        found["sqlite"] = disk(world, sqlite_scale(world.settings.database_path))
        world.close()
    with stage.set_up() as place:
        url = Instance(place, "database", autovacuum="off").url()
        world = World(place.folder / "vault", servers.free_port(), url.replace("ql:", "ql+psycopg:", 1))
        found["postgresql"] = disk(world, postgresql_scale(url))
        world.close()
    return found


def stretching(tries: int = 5) -> float:
    """CPU of one Argon2id, in µs."""
    times = []
    for _ in range(tries):
        begun = time.process_time()
        crypto.stretch(secrets.token_bytes(16), KdfLimits().fresh())
        times.append((time.process_time() - begun) * 1e6)
    return statistics.median(times)


def memory() -> float:
    """What a worker has for itself after its first answers, in MiB."""
    with tempfile.TemporaryDirectory(prefix=".sizing-", dir=KEPT.parent) as name:
        server = servers.vrm(Path(name), servers.free_port())
        try:
            for _ in range(50):
                server.ask("GET", "/login")
            return max(machine.memory_mib(pid)[0] for pid in server.processes() if pid != server.pid)
        finally:
            server.stop()


def measured() -> Measured:
    """All of it; what requests cost is taken from the last committed results."""
    results = report.committed()
    rows = {name: float(row["cpu"]) for name, row in report.by_name(results, "figures").items()}
    nodes = report.by_name(results, "findings").get("nodes-database")
    database_cpu = float(nodes["value"]) if nodes else kept().database_cpu
    return Measured(
        report.today(), disks(), rows["read-one"], rows["list-100"], rows["create-1"], rows["refresh"],
        database_cpu, round(stretching()), KdfLimits().memory / 1024, round(memory(), 1),
    )  # fmt: skip


def kept() -> Measured:
    """What was measured last."""
    said = json.loads(KEPT.read_text())
    return Measured(**said | {"disk": {name: Bytes(**one) for name, one in said["disk"].items()}})


# ---- the model -------------------------------------------------------------------------------------------


def table(vaults: Sequence[int], life: Life, found: Measured) -> str:
    """Markdown: what so many vaults need on PostgreSQL."""
    columns = [needs(count, life, found) for count in vaults]
    head = "| | " + " | ".join(f"{count:,} vaults" for count in vaults) + " |\n|---|" + "---:|" * len(vaults)
    lines = [f"| {name} | {' | '.join(column[name] for column in columns)} |" for name in columns[0]]
    return "\n".join([head, *lines])


def needs(vaults: int, life: Life, found: Measured) -> dict[str, str]:
    """What the model says, row by row."""
    size = found.disk["postgresql"]
    each = size.vault + life.records * size.record + life.grants * (size.grant + life.rows * size.row)
    grows = YEAR * (life.readings * size.reading + life.creates * (size.record + life.grants * size.row))
    a_second = vaults * life.peak / DAY
    reading = found.read_cpu + life.lists * (found.list_cpu - found.read_cpu)
    work = life.readings * reading + life.creates * found.create_cpu + life.refreshes * found.refresh_cpu
    requests = life.readings + life.creates + life.refreshes
    node_cores = a_second * work / 1e6 / life.busy
    stretched = a_second * life.logins * found.stretch_cpu / 1e6
    database_cores = a_second * requests * found.database_cpu / 1e6 / life.busy
    whole = vaults * (each + grows) / 1e12
    clusters = max(1, round(0.5 + max(database_cores / life.cores, whole / life.disk)))
    return {
        "stored at first": _bytes(vaults * each),
        "more every year": _bytes(vaults * grows),
        "requests a second, busiest hour": f"{a_second * requests:,.0f}",
        "cores of nodes": _cores(node_cores),
        "cores for log-ins (Argon2id)": _cores(stretched / life.busy),
        "memory of nodes, a worker a core": _bytes(
            2**20 * (max(1, node_cores) * found.worker_memory + max(2, stretched) * found.stretch_memory)
        ),
        "cores of PostgreSQL primaries": _cores(database_cores),
        "PostgreSQL clusters, after a year": f"{clusters:,} × {life.members} members",
        "log to followers and archive, busiest hour": _bytes(a_second * life.readings * size.log) + "/s",
    }


def _cores(count: float) -> str:
    return f"{count:,.1f}" if count < 10 else f"{count:,.0f}"


def _bytes(count: float) -> str:
    for unit, size in (("PB", 1e15), ("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if count >= size:
            return f"{count / size:,.1f} {unit}"
    return f"{count / 1e3:,.0f} KB"


def inputs(found: Measured) -> str:
    """Markdown: what was measured."""
    lines = ["| bytes on the disk, with indexes | SQLite | PostgreSQL |", "|---|---:|---:|"]
    says = {
        "vault": "a vault with nothing in it", "record": "a record", "grant": "a grant with its tokens",
        "row": "a row of its view", "reading": "a reading, in the customer's log",
    }  # fmt: skip
    for name, words in says.items():
        both = (f"{getattr(found.disk[engine], name):,.0f}" for engine in ENGINES)
        lines.append(f"| {words} | {' | '.join(both)} |")
    lines += ["", "| cost of one | |", "|---|---:|"]
    costs = {
        "reading of a record": found.read_cpu, "list of 100": found.list_cpu,
        "new record with one live grant": found.create_cpu, "refresh": found.refresh_cpu,
        "reading, in PostgreSQL": found.database_cpu, "log-in (Argon2id)": found.stretch_cpu,
    }  # fmt: skip
    lines += [f"| {words} | {cpu:,.0f} µs |" for words, cpu in costs.items()]
    lines.append(f"| reading, PostgreSQL's own log | {found.disk['postgresql'].log:,.0f} bytes |")
    lines.append(f"| log-in while it is stretched | {found.stretch_memory:,.0f} MiB |")
    lines.append(f"| worker at rest | {found.worker_memory:,.0f} MiB |")
    return "\n".join(lines)


def assumptions(life: Life) -> str:
    """Markdown: what is assumed, and how to assume otherwise."""
    rows = [
        f"| `--{one.name}` | {one.metadata['says']} | {getattr(life, one.name):g} |" for one in fields(life)
    ]
    return "\n".join(["| | assumed | |", "|---|---|---:|", *rows])


def tables(life: Life | None = None, vaults: Sequence[int] = USUAL) -> str:
    """Markdown: what was measured, what is assumed, what follows."""
    life, found = life or Life(), kept()
    return "\n\n".join([inputs(found), assumptions(life), table(vaults, life, found)])


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, or compute from what was measured."""
    made = argparse.ArgumentParser(prog="python -m bench.sizing", description=__doc__)
    made.add_argument("--measure", action="store_true", help="write bench/sizing.json anew")
    made.add_argument("--docs", action="store_true", help="write the usual tables into docs/scaling.md")
    made.add_argument("--vaults", type=int, nargs="+", default=list(USUAL))
    for one in fields(Life):
        made.add_argument(
            f"--{one.name}", type=type(one.default), default=one.default, help=one.metadata["says"]
        )
    chosen = made.parse_args(arguments)
    if chosen.measure:
        told = asdict(measured())
        KEPT.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    life = Life(**{one.name: getattr(chosen, one.name) for one in fields(Life)})
    print(tables(life, chosen.vaults))
    if chosen.docs:
        PAGE.write_text(_MARKED.sub(lambda found: f"{found[1]}{tables()}\n{found[2]}", PAGE.read_text()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
