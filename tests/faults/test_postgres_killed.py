"""PostgreSQL is killed under load and comes back: nothing acknowledged is lost, and who was cut off goes on.

With VRM_TEST_LONG=1 twenty rounds. A household of two vaults and a vendor works in one process, as the
threads of a server do; the database is one that syncs.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import pytest

from tests import postgres
from tests.attacks.actors import Customer, Vendor
from tests.conftest import CHEAP, PASSPHRASE
from vrm.errors import StorageError, TokenError, UncertainError
from vrm.host import Host, open_host
from vrm.settings import Settings

ROUNDS = 20 if os.environ.get("VRM_TEST_LONG") == "1" else 2
WAYS = (signal.SIGKILL, signal.SIGQUIT)  # not a word; `pg_ctl stop -m immediate`
MOST_WAIT = 60  # seconds until all work again; one or two on a quiet machine


@pytest.fixture(scope="module")
def server() -> Iterator[postgres.Server]:
    made = postgres.Server(settings=("fsync=on",))
    made.start()
    yield made
    made.remove()


@pytest.fixture
def host(server: postgres.Server, folder: Path) -> Iterator[Host]:
    with psycopg.connect(postgres.libpq(server.url()), autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {postgres.name_of(folder)}")
    url = server.url(postgres.name_of(folder))
    opened = open_host(Settings(data_dir=folder, database_url=url), limits=CHEAP)
    yield opened
    opened.engine.close()


@dataclass
class Work:
    """What one thread did: what it was told is done, and what it was told nothing of."""

    done: list[str] = field(default_factory=list)
    uncertain: set[str] = field(default_factory=set)
    refused: int = 0
    wrong: list[BaseException] = field(default_factory=list)


class Household:
    """Two customers who buy and a vendor who reads, until told to stop."""

    def __init__(self, host: Host) -> None:
        self.customers = [
            Customer(host.vaults.create(name, PASSPHRASE)[0], host.consent) for name in ("alice", "bob")
        ]
        self.vendor = Vendor.register(host.consent)
        self.customers[0].buy("first")
        self.token = self.vendor.connect(self.customers[0]).access_token
        self.work = {name: Work() for name in ("alice", "bob", "read")}
        self._ended = threading.Event()
        acts = {"alice": self.customers[0].buy, "bob": self.customers[1].buy, "read": self._read}
        self.threads = [threading.Thread(target=self._go_on, args=(name, acts[name])) for name in acts]
        for thread in self.threads:
            thread.start()

    def _read(self, _: str) -> None:
        assert self.vendor.titles(self.token)

    def _go_on(self, name: str, act: object) -> None:
        work, turn = self.work[name], 0
        while not self._ended.is_set():
            turn += 1
            title = f"{name} {turn}"
            try:
                act(title)  # type: ignore[operator]
                work.done.append(title)
            except UncertainError:
                work.uncertain.add(title)
            except StorageError:
                work.refused += 1
                time.sleep(0.02)
            except BaseException as error:  # noqa: BLE001 - told by the test
                work.wrong.append(error)
                return

    def moves(self) -> None:
        """Wait until each of them was told of something done once more."""
        before = {name: len(work.done) for name, work in self.work.items()}
        until = time.monotonic() + MOST_WAIT
        while any(len(work.done) <= before[name] for name, work in self.work.items()):
            assert not any(work.wrong for work in self.work.values()), self.work
            assert time.monotonic() < until, "nobody works any more"
            time.sleep(0.02)

    def stop(self) -> None:
        self._ended.set()
        for thread in self.threads:
            thread.join()


def test_postgresql_killed_under_load_loses_nothing_that_was_acknowledged(
    host: Host, server: postgres.Server
) -> None:
    household = Household(host)
    try:
        for turn in range(ROUNDS):
            household.moves()
            time.sleep(random.uniform(0, 0.3))
            server.stop(WAYS[turn % 2])
            time.sleep(random.uniform(0, 0.2))
            server.start()
            household.moves()
    finally:
        household.stop()
    work = household.work
    assert not any(one.wrong for one in work.values()), work
    assert sum(one.refused for one in work.values()), "no round met anybody at work"
    for name, customer in zip(("alice", "bob"), household.customers, strict=True):
        stored = set(customer.titles()) - {"first"}
        assert set(work[name].done) <= stored
        assert stored - set(work[name].done) <= work[name].uncertain
        assert customer.vault.check() == []
        assert customer.consent.at_unlock(customer.vault) == []
    read = household.customers[0].consent.log.read(household.customers[0].vault, 10**6)
    told = sum(entry.event == "read" for entry in read)
    assert len(work["read"].done) <= told
    assert host.engine.integrity() == []


def test_what_ended_before_the_server_was_killed_stays_ended(host: Host, server: postgres.Server) -> None:
    customer = Customer(host.vaults.create("alice", PASSPHRASE)[0], host.consent)
    vendor = Vendor.register(host.consent)
    customer.buy("first")
    tokens = vendor.connect(customer)
    assert vendor.titles(tokens.access_token) == ["first"]
    host.consent.grants.revoke(customer.vault, tokens.grant_id)
    server.stop(signal.SIGKILL)
    with suppress(StorageError), host.engine.write():
        raise AssertionError("there is no server")
    server.start()
    with pytest.raises(TokenError):
        vendor.read(tokens.access_token)
