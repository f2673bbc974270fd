"""kill -9 of a served vault: nothing acknowledged is lost, nothing ended comes back, it serves on."""

from __future__ import annotations

import functools
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.conftest import CHEAP, PASSPHRASE
from tests.faults.household import ENVIRON, ROOT, Book, Household, Server, free_port, kill
from tests.faults.test_vault_faults import start
from vrm.host import Host, open_host
from vrm.settings import Settings

LONG = os.environ.get("VRM_TEST_LONG") == "1"
ROUNDS, DECIDED = (20, 11) if LONG else (3, 1)
MOST_WAIT = 60  # seconds for a new worker; one or two on a quiet machine, but others may test at once


@pytest.fixture
def host(folder: Path) -> Iterator[Host]:
    opened = open_host(Settings(data_dir=folder), limits=CHEAP)
    vault, code = opened.vaults.create("alice", PASSPHRASE)
    assert vault.confirm_recovery_code(code)
    yield opened
    opened.engine.close()


@pytest.fixture
def household(host: Host, folder: Path) -> Household:
    made = Household(host, folder)
    made.vendor.registered, secret = host.consent.vendors.add("Corner Books", ["https://books.example/cb"])
    made.shop_secret = secret or ""
    made.secret = host.vaults.unlock("alice", PASSPHRASE).open_session()
    return made


Serve = Callable[[], Server]


@pytest.fixture
def serve(folder: Path) -> Iterator[Serve]:
    """Starts the server, each time at the same address."""
    port, started = free_port(), []

    def begin() -> Server:
        started.append(Server(folder, port))
        return started[-1]

    yield begin
    for server in started:
        server.kill()


def checked(folder: Path) -> None:
    """`vrm check` at both depths."""
    for deeper in ([], ["--vault", "alice", "--passphrase-file", "-"]):
        done = subprocess.run(
            [sys.executable, "-m", "vrm", "check", "--data-dir", folder, *deeper],
            cwd=ROOT,
            env=ENVIRON,
            input=PASSPHRASE,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr


def differences(household: Household, host: Host) -> list[str]:
    """What the books say and the vault does not, or the other way round."""
    vault = host.vaults.unlock("alice", PASSPHRASE)
    titles = {record: one["item"]["title"] for record, one in vault.records("purchases").scan()}
    known, found = set(titles.values()), []
    states = {one.id: one.state for one in host.consent.grants.listing(vault)}
    for book in household.books:
        found += [
            f"{record}: {titles.get(record)}, acknowledged was {title}"
            for record, title in book.records.items()
            if record != book.under_way and titles.get(record) != title
        ]
        found += [f"{record} is back" for record in book.removed & titles.keys()]
        found += [f"{title} is lost" for title in book.imported - known]
        found += [
            f"grant {one} is lost" for one in book.live if one != book.under_way and states[one] != "live"
        ]
        found += [f"grant {one} is back" for one in book.revoked if states[one] == "live"]
    logged = sum(book.logged for book in household.books)
    if host.consent.log.count(vault) < logged:
        found.append("entries of the log are lost")
    return found


def resurrected(household: Household, server: Server) -> list[str]:
    """Ended credentials that answer on the running server, and live ones that do not."""
    found = []
    with household.client(server.url) as http:
        household.ended.clear()
        for book in household.books:
            for grant, (access, refresh) in list(book.revoked.items())[-2:]:
                if reading(http, access) != 401:
                    found.append(f"a revoked token of {grant} reads")
                if household.token(http, grant_type="refresh_token", refresh_token=refresh).is_success:
                    found.append(f"a revoked refresh token of {grant} is good")
            for grant, access in book.live.items():
                if book.under_way not in (grant, "refresh") and reading(http, access) != 200:
                    found.append(f"the token of {grant} reads no more")
    return found


def reading(http: httpx.Client, access: str) -> int:
    headers = {"Authorization": f"Bearer {access}"}
    return http.get("/api/v1/purchases?limit=5", headers=headers).status_code


def forget_uncertain(books: list[Book]) -> None:
    """What was under way when it was killed is whatever it is now; nobody acts on it any more."""
    for book in books:
        if book.under_way == "refresh":
            book.live.clear()
            book.refresh.clear()
        book.live.pop(book.under_way, None)
        book.refresh.pop(book.under_way, None)
        book.records.pop(book.under_way, None)
        book.under_way = ""


def kill_a_worker(server: Server) -> None:
    """Another takes its place while the rest serve; later all are killed."""
    before = set(server.workers())
    assert len(before) == 2
    os.kill(min(before), signal.SIGKILL)
    assert server.wait() < MOST_WAIT
    ends = time.monotonic() + MOST_WAIT
    while len(server.workers()) < 2 or before == set(server.workers()):
        assert time.monotonic() < ends, "no new worker"
        time.sleep(0.02)
    time.sleep(0.3)  # and on with both
    server.kill()


def decided(household: Household) -> int:
    """How many grants were made, ended or not."""
    return sum(len(book.live) + len(book.revoked) for book in household.books)


def test_a_served_vault_survives_kills_with_all_that_was_acknowledged(
    household: Household, host: Host, folder: Path, tmp_path: Path, serve: Serve
) -> None:
    draw = random.Random(5)
    faults = ["group", "worker", "import"]
    for turn in range(5 * ROUNDS):
        if turn >= ROUNDS and decided(household) >= DECIDED:
            break  # on a busy machine few may have got as far as a decision yet
        fault = faults[turn % len(faults)]
        server = serve()
        beside = start("beside", folder, 2, tmp_path / "beside")
        try:
            fall = functools.partial(kill_a_worker if fault == "worker" else Server.kill, server)
            household.play(server, draw.randrange(30, 70), fall, lines=200 if fault == "import" else 3)
            assert [writer.poll() for writer in beside] == [None, None], "a direct writer ended by itself"
        finally:
            kill(*beside)
        assert host.engine.integrity() == []
        assert differences(household, host) == []
        forget_uncertain(household.books)
    checked(folder)
    assert resurrected(household, serve()) == []
    told = [line.split() for line in (tmp_path / "beside").read_text().splitlines() if line.count(" ") == 1]
    last = {record: word for word, record in told}
    found = set(host.vaults.unlock("alice", PASSPHRASE).records("purchases").ids())
    assert {one for one, said in last.items() if said in ("inserted", "edited")} <= found
    assert not {one for one, said in last.items() if said == "removed"} & found
    assert household.unexpected == []
    assert decided(household) >= DECIDED


def test_codes_that_were_spent_before_a_kill_stay_spent(
    household: Household, host: Host, serve: Serve
) -> None:
    server = serve()
    codes: list[str] = []
    with household.client(server.url) as http:
        for _ in range(3):
            codes.append(household.approve(http, Book()))
            assert household.redeem(http, codes[-1])
    server.kill()
    with household.client(serve().url) as http:
        assert [household.redeem(http, code) for code in codes] == [None] * 3
    states = {one.state for one in host.consent.grants.listing(host.vaults.unlock("alice", PASSPHRASE))}
    assert states == {"revoked"}  # a code that comes twice ends its grant
