"""kill -9 of workers that send: at the receiver each event has its effect once, in order; none is lost."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.attacks.actors import Customer, Vendor
from tests.conftest import CHEAP, PASSPHRASE
from tests.faults.household import ENVIRON, ROOT
from tests.faults.sender import FastClock
from tests.outside import Page, Site, site
from vrm import jose
from vrm.consent import endings
from vrm.host import Host, open_host
from vrm.settings import Settings

LONG = os.environ.get("VRM_TEST_LONG") == "1"
KILLS, GRANTS = (60, 60) if LONG else (2, 6)  # grants of each vendor
SHOPS = 2


@pytest.fixture
def clock() -> FastClock:
    return FastClock(time.time())


@pytest.fixture
def host(folder: Path, clock: FastClock) -> Iterator[Host]:
    opened = open_host(Settings(data_dir=folder), clock=clock, limits=CHEAP)
    yield opened
    opened.engine.close()


@pytest.fixture
def shops() -> Iterator[list[Site]]:
    """Receivers that answer slowly, and now and then not well."""
    with site() as one, site() as two:
        for shop in (one, two):
            shop.pages["/events"] = Page(b"", 202)
            shop.at_call = lambda: time.sleep(random.uniform(0, 0.04))
        yield [one, two]


class Senders:
    """Worker processes, killed and begun anew."""

    def __init__(self, folder: Path, clock: FastClock) -> None:
        self._command = [sys.executable, "-m", "tests.faults.sender", str(folder)]
        self._environ = {**ENVIRON, "VRM_TEST_START": str(clock.start)}
        self.running = [self._begin() for _ in range(2)]

    def _begin(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(self._command, cwd=ROOT, env=self._environ)

    def kill_one(self) -> None:
        victim = self.running.pop(random.randrange(len(self.running)))
        victim.kill()
        victim.wait()
        self.running.append(self._begin())

    def end(self) -> None:
        for process in self.running:
            process.kill()
            process.wait()


@pytest.fixture
def senders(folder: Path, host: Host, clock: FastClock) -> Iterator[Senders]:
    made = Senders(folder, clock)
    yield made
    made.end()


def until(sites: list[Site], count: int, seconds: float = 60) -> None:
    """Wait until so many requests have come."""
    ends = time.monotonic() + seconds
    while sum(len(one.seen) for one in sites) < count:
        assert time.monotonic() < ends, "the workers do not send"
        time.sleep(0.01)


def test_workers_killed_as_they_send_lose_nothing_and_double_nothing(
    host: Host, shops: list[Site], senders: Senders
) -> None:
    vault, _ = host.vaults.create("alice", PASSPHRASE)
    customer = Customer(vault, host.consent)
    customer.buy("Kindred")
    vendors = [
        Vendor.register(host.consent, f"Shop {number}", events_uri=shop.url + "/events")
        for number, shop in enumerate(shops)
    ]
    made = [[vendor.connect(customer).grant_id for _ in range(GRANTS)] for vendor in vendors]
    undone = [vendor.connect(customer).grant_id for vendor in vendors]
    seen = 0
    for number in range(GRANTS):
        for grants in made:
            host.consent.grants.revoke(vault, grants[number])
        for grant_id in undone:  # ended in transactions that are undone: nobody may hear of that
            with pytest.raises(ZeroDivisionError), host.engine.write() as transaction:  # noqa: PT012
                endings.end(transaction, grant_id, "revoked", 0)
                raise ZeroDivisionError
        if number % max(1, GRANTS // KILLS) == 0:
            until(shops, seen + 1)
            seen = sum(len(shop.seen) for shop in shops)
            senders.kill_one()
    until_answered(host)
    keys = host.consent.signer.jwks()["keys"]
    for shop, grants in zip(shops, made, strict=True):
        effects: dict[str, str] = {}  # by jti: a receiver that has seen one does nothing more
        for request in shop.seen:
            claims = jose.read(request.body.decode(), keys, typ="secevent+jwt").claims
            [about] = claims["events"].values()
            effects.setdefault(claims["jti"], about["grant_id"])
        assert list(effects.values()) == grants


def until_answered(host: Host, seconds: float = 90) -> None:
    """Wait until every event was acknowledged."""
    ends = time.monotonic() + seconds
    waiting = "SELECT count(*) FROM events WHERE state <> 'acknowledged'"
    while host.engine.one(waiting) != (0,):
        assert time.monotonic() < ends, host.engine.all("SELECT state, tries, answer FROM events")
        time.sleep(0.05)
