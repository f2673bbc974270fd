"""What one customer waits for: the approval of a grant over many records, and her search through them."""

from __future__ import annotations

import time
from urllib.parse import urlencode

from bench import machine, measure, rows, stage
from bench.measure import Finding, Outcome
from bench.servers import Server, free_port
from bench.stage import Run
from bench.world import World
from vrm.serve import seldom_collect
from vrm.vault.vault import Vault

APPROVED = 20_000
FAR_MORE = 100_000
SEARCHED = 20_000


def approval(run: Run) -> Outcome:
    """Over 20,000 records."""
    return Outcome(findings=_approved(run, run.size(APPROVED, 100), APPROVED))


def large_approval(run: Run) -> Outcome:
    """Over 100,000 records."""
    return Outcome(findings=_approved(run, run.size(FAR_MORE, 100), FAR_MORE))


def _approved(run: Run, size: int, usual: int) -> list[Finding]:
    world = World(run.folder / f"approved{usual}", free_port())
    try:
        vault = world.vault("ana", size, gifts=False)
        seldom_collect()  # as in a worker
        times = [approve(world, vault) for _ in range(run.rounds)]
    finally:
        world.close()
    shown, approved, cpu = zip(*times, strict=True)
    return [
        measure.finding(f"preview-{usual}", f"seeing what {size:,} records share", shown, "s"),
        measure.finding(
            f"approve-{usual}",
            f"approving a grant over {size:,} records",
            approved,
            "s",
            note=f"CPU {sorted(cpu)[len(cpu) // 2]:.2f}",
        ),
    ]


def approve(world: World, vault: Vault) -> tuple[float, float, float]:
    """Seconds that the preview took, that the approval took, and CPU seconds of it; the grant ends."""
    asked = world.asked()
    begun = time.perf_counter()
    digest = asked.preview(vault)
    seen, used = time.perf_counter(), time.process_time()
    grant = asked.approve(vault, digest).grant_id
    ended, used = time.perf_counter(), time.process_time() - used
    world.host.consent.grants.revoke(vault, str(grant))
    return seen - begun, ended - seen, used


def search(run: Run) -> Outcome:
    """The customer's own search through 20,000 records, one after the other."""
    with stage.served(run) as (world, server):
        size = run.size(SEARCHED, 100)
        session = world.session(world.vault("ana", size, gifts=False))
        headers = {"Cookie": session.cookie, "Content-Type": rows.FORM}
        body = urlencode({"csrf_token": session.token, "words": "patient lantern"})
        times = [_asked(server, headers, body) for _ in range(run.rounds + 1)][1:]
    waited, cpu = zip(*times, strict=True)
    return Outcome(
        findings=[
            measure.finding("search-20000", f"her search through {size:,} records", waited, "s"),
            measure.finding("search-20000-cpu", "CPU time of it", cpu, "s"),
        ]
    )


def _asked(server: Server, headers: dict[str, str], body: str) -> tuple[float, float]:
    processes = server.processes()
    used, begun = machine.cpu_seconds(processes), time.perf_counter()
    _, told, _ = server.ask("POST", "/things", headers, body)
    cookies = f"{headers['Cookie']}; {told['set-cookie'].partition(';')[0]}"
    status, _, text = server.ask("GET", told["location"], {"Cookie": cookies})
    waited = time.perf_counter() - begun
    if status != 200 or "Patient" not in text:
        raise RuntimeError(f"the search answered {status}")
    return waited, machine.cpu_seconds(processes) - used
