"""Readers while others are a burden: sixteen writers, twenty log-ins a second, clients that never finish."""

from __future__ import annotations

import shutil
import statistics
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from bench import entering, load, measure, rows, stage
from bench.measure import Finding, Outcome, Window
from bench.plans import Load
from bench.rows import Row
from bench.servers import Server
from bench.stage import Run
from bench.world import PASSPHRASE, World
from vrm.host import open_host

SLOW = (  # what slowhttptest calls it, and what its clients do
    ("-H", "send headers slowly"),
    ("-B", "send bodies slowly"),
    ("-X", "read answers slowly"),
)
SLOW_CLIENTS = 300
PAUSE = 0.1  # seconds of a writer between two purchases


def writers(run: Run) -> Outcome:
    """Sixteen customers who add purchases at once, each in her own vault."""
    wrong = 0

    def window() -> Window:
        nonlocal wrong
        found, seen = measure.counted_window(row, vault, run.seconds)
        wrong += seen.wrong
        return found

    with stage.served(run) as (world, vault):
        row = rows.creating_in_many(world, [world.vault(f"writer{n}", 50) for n in range(load.CONNECTIONS)])
        with stage.bare_beside(run, [row], vault) as (bare, plans):
            _, beside = stage.turns(run, row, vault, bare, plans[0])
            found = measure.in_turn([(row.name, window), beside], run.rounds)
            vault.await_calm()
            paced = [load.run_paced(row.prepare(), vault.url, run.seconds, PAUSE) for _ in range(run.rounds)]
    wrong += sum(one.wrong for one in paced)
    own = found[row.name]
    return Outcome(
        [measure.figure(row.name, row.says, own, found[f"bare {row.name}"])],
        [
            measure.finding("writers-p99", "16 writers' p99", [one.p99 / 1000 for one in own], "ms"),
            measure.finding(
                "writers-paced-p99",
                "the same, ten purchases a second each",
                [one.p99 / 1000 for one in paced],
                "ms",
            ),
            Finding("writers-wrong", "requests of 16 writers that failed", wrong, "errors"),
        ],
    )


def storm(run: Run) -> Outcome:
    """Log-ins at a passphrase's full cost, twenty a second from many places, and readers beside."""
    with stage.served(run) as (world, vault):
        reading = rows.reading(rows.Connection(world, world.vault("reader", rows.RECORDS)))[0]
        crowd = entering.Crowd(vault.port, _customers(world, run.size(entering.CUSTOMERS, 2)))
        calm, grown, failed = [], [], 0
        for _ in range(run.rounds):
            before = _read(reading, vault, run.seconds)
            with crowd.coming():
                during = _read(reading, vault, 2 * run.seconds)
            failed += during.wrong
            calm.append(before.p99 / 1000)
            grown.append(during.p99 / before.p99)
            vault.await_calm()
    note = f"alone {statistics.median(calm):.0f} ms; {crowd.told()}"
    return Outcome(
        findings=[measure.finding("storm", "readers' p99 in a storm of log-ins", grown, note=note)]
    )


def _read(row: Row, vault: Server, seconds: float) -> Load:
    """By our own client, which waits for every answer: wrk does not count who waits when the window ends."""
    load.run(row.prepare(), vault.url, measure.WARM, "asyncio")
    return load.run(row.prepare(), vault.url, seconds, "asyncio")


def _customers(world: World, count: int) -> list[str]:
    """Names of vaults whose passphrase costs what it costs in production."""
    host = open_host(world.settings)
    try:
        for number in range(count):
            vault, code = host.vaults.create(f"customer{number}", PASSPHRASE)
            vault.confirm_recovery_code(code)
    finally:
        host.engine.close()
    return [f"customer{number}" for number in range(count)]


def slow(run: Run) -> Outcome:
    """Hundreds of clients that hold what they have, and readers beside."""
    if not shutil.which("slowhttptest"):
        return Outcome(left=["slow clients: no slowhttptest here (make system installs it)"])
    with stage.served(run) as (world, vault):
        reading = rows.reading(rows.Connection(world, world.vault("reader", rows.RECORDS)))[0]
        made = [_beside(run, vault, reading, flag, says) for flag, says in SLOW]
    worst = max((seen.wrong for seen, _ in made), default=0)
    total = Finding("slow-wrong", "readers' requests that failed beside slow clients", worst, "errors")
    return Outcome(findings=[*[found for _, found in made], total])


def _beside(run: Run, vault: Server, row: Row, flag: str, says: str) -> tuple[Load, Finding]:
    before = _read(row, vault, run.seconds)
    clients = run.size(SLOW_CLIENTS, 5)
    with _slow_clients(vault, flag, clients):
        during = _read(row, vault, 2 * run.seconds)
    note = f"p99 {during.p99 / 1000:.0f} ms, alone {before.p99 / 1000:.0f}; {during.wrong} failed"
    kept = during.per_second / before.per_second
    return during, Finding(f"slow{flag}", f"readings a second, beside {clients} that {says}", kept, note=note)


@contextmanager
def _slow_clients(vault: Server, flag: str, clients: int) -> Iterator[None]:
    """All of them connected, until the block ends."""
    url = vault.url + ("/login" if flag == "-B" else "/")
    running = subprocess.Popen(
        ["slowhttptest", flag, "-c", str(clients), "-r", "200", "-i", "2", "-l", "60", "-p", "3", "-u", url],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        if not vault.await_connections(clients):
            measure.tell(f"fewer than {clients} slow clients could connect")
        yield
    finally:
        running.kill()
        running.wait()
