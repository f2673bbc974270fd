"""Races for a grant, against the two worker processes of a served vault and the customer in a third.

What was answered is compared with what stands in her log, in the order in which it was committed.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.attacks.actors import CALLBACK, Customer, Vendor, part
from tests.beside import only_sqlite
from tests.conftest import CHEAP, PASSPHRASE
from tests.faults.household import Server, free_port
from tests.postgres import IN_ORDER, chosen, database
from vrm.consent.tokens import TokenSet
from vrm.host import open_host
from vrm.settings import Settings

MANY = 16
ENDS = {"revoked", "token-reused"}  # a slow one of those who refresh comes with a token that is used up
LEAVING = {"read", "refreshed", "connected"}  # what only a live grant can have in the log


@dataclass
class Town:
    """A served vault, the customer beside it, and a shop that comes from outside."""

    url: str
    customer: Customer
    vendor: Vendor
    secret: str

    def read(self, http: httpx.Client, token: str) -> httpx.Response:
        return http.get(
            self.url + "/api/v1/purchases", headers={"Authorization": f"Bearer {token}"}, timeout=60
        )

    def refresh(self, http: httpx.Client, token: str) -> httpx.Response:
        form = {"grant_type": "refresh_token", "refresh_token": token}
        who = (self.vendor.registered.client_id, self.secret)
        return http.post(self.url + "/oauth/token", data=form, auth=who, timeout=60)

    def committed(self, *grants: str) -> list[dict[str, Any]]:
        """What the log says of these grants, in the order of the commits."""
        log, vault = self.customer.consent.log, self.customer.vault
        ciphers, found = log._ciphers(vault, log.known_heads(vault.keyring)), []
        for segment, seq, at, sealed in vault.engine.all(
            "SELECT CAST(segment AS BLOB), seq, at, sealed FROM log_entries WHERE vault = ?"
            f" ORDER BY {IN_ORDER}",
            (vault.id,),
        ):
            text = ciphers[segment].unseal(sealed, seq, log._link(vault.id, segment, seq - 1), at)
            found.append(json.loads(text))
        return [entry for entry in found if entry.get("grant_id") in grants]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of all processes, and the database that belongs to it."""
    folder = tmp_path_factory.mktemp("races") / "data"
    with database(folder):
        yield folder


@pytest.fixture(scope="module")
def town(shared: Path) -> Iterator[Town]:
    folder = shared
    host = open_host(Settings(data_dir=folder, database_url=chosen(folder)), limits=CHEAP)
    customer = Customer(host.vaults.create("alice", PASSPHRASE)[0], host.consent)
    for title in ("Kindred", "Beloved", "Emma"):
        customer.buy(title)
    registered, secret = host.consent.vendors.add("Corner Books", [CALLBACK])
    server = Server(folder, free_port())
    yield Town(server.url, customer, Vendor(host.consent, registered), secret or "")
    server.kill()
    host.engine.close()


def at_once(act: Callable[[int, httpx.Client], Any], count: int = MANY) -> list[Any]:
    """What so many threads get that begin together, each over a connection of its own."""
    gate = threading.Barrier(count)

    def one(number: int) -> Any:
        with httpx.Client() as http:
            gate.wait(30)
            return act(number, http)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


def test_sixteen_refreshes_in_two_processes_are_one_rotation(town: Town) -> None:
    first = town.vendor.connect(town.customer)
    answers = at_once(lambda _, http: town.refresh(http, first.refresh_token))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["refresh_token"] for answer in answers}) == 1
    assert [entry["event"] for entry in town.committed(first.grant_id)].count("refreshed") == 1


def _until_refused(town: Town, tokens: TokenSet, began: threading.Semaphore) -> Callable[..., list[Any]]:
    """Half of them read, half refresh, each until it is refused: (what was asked, status, body)."""

    def act(number: int, http: httpx.Client) -> list[Any]:
        access, refresh, had = tokens.access_token, tokens.refresh_token, []
        while True:
            reading = number % 2 == 0
            answer = town.read(http, access) if reading else town.refresh(http, refresh)
            had.append((reading, answer.status_code, answer.json()))
            began.release()
            if answer.status_code != 200:
                return had
            if not reading:
                refresh = answer.json()["refresh_token"]

    return act


@only_sqlite  # PostgreSQL's rows do not tell the order of their commits
def test_nothing_is_answered_whose_entry_follows_the_revocation(town: Town) -> None:
    """16 who read and 16 who refresh, while she stops it."""
    tokens = town.vendor.connect(town.customer)
    began = threading.Semaphore(0)

    def stop() -> None:
        for _ in range(2 * MANY + 10):  # until all are on their way
            assert began.acquire(timeout=60)
        town.customer.consent.grants.revoke(town.customer.vault, tokens.grant_id)

    with httpx.Client() as http:
        before = town.read(http, tokens.access_token)
    stopping = threading.Thread(target=stop)
    stopping.start()
    had = [one for some in at_once(_until_refused(town, tokens, began), 2 * MANY) for one in some]
    began.release(2 * MANY + 10)  # a slow one may have ended it for all, before they asked so often
    stopping.join(60)
    had.append((True, before.status_code, before.json()))
    events = [entry["event"] for entry in town.committed(tokens.grant_id)]
    end = next(at for at, event in enumerate(events) if event in ENDS)
    after = events[end + 1 :]
    assert not LEAVING & set(after), after
    assert {status for _, status, _ in had} == {200, 400, 401}
    reads = [body for reading, status, body in had if reading and status == 200]
    assert len(reads) == events.count("read")
    assert {len(body["items"]) for body in reads} == {3}
    fetched = {body["refresh_token"] for reading, status, body in had if not reading and status == 200}
    assert len(fetched) <= events.count("refreshed")
    with httpx.Client() as http:
        for body in [body for reading, status, body in had if not reading and status == 200]:
            assert town.read(http, body["access_token"]).status_code == 401


def test_nothing_is_read_by_what_was_before_a_replacement(town: Town) -> None:
    """16 who read, while she agrees to a change: each answer is the old view, or a refusal."""
    first = town.vendor.connect(town.customer)
    request = town.vendor.ask(part("purchases.price"), action="replace", grant_id=first.grant_id)
    began = threading.Semaphore(0)
    codes: list[str] = []

    def change() -> None:
        for _ in range(MANY + 4):
            assert began.acquire(timeout=60)
        codes.append(town.customer.approve(request))

    def read(_: int, http: httpx.Client) -> list[httpx.Response]:
        had = []
        while not had or had[-1].status_code == 200:
            had.append(town.read(http, first.access_token))
            began.release()
        return had

    changing = threading.Thread(target=change)
    changing.start()
    answers = [answer for some in at_once(read) for answer in some]
    changing.join(60)
    second = town.vendor.redeem(codes[0])
    assert second.grant_id == first.grant_id
    [now] = [
        one
        for one in town.customer.consent.grants.listing(town.customer.vault)
        if one.public_id == first.grant_id and one.state == "live"
    ]
    said = town.committed(first.grant_id, now.id)
    place = next(at for at, entry in enumerate(said) if entry["event"] == "amended")
    assert not [one for one in said[place:] if one["grant_id"] == first.grant_id and one["event"] in LEAVING]
    good = [answer.json() for answer in answers if answer.status_code == 200]
    assert {answer.status_code for answer in answers} == {200, 401}
    assert len(good) == [one["event"] for one in said if one["grant_id"] == first.grant_id].count("read")
    for body in good:
        assert [set(row) for row in body["items"]] == [{"id", "updated_at", "item"}] * 3
    with httpx.Client() as http:
        rows = town.read(http, second.access_token).json()["items"]
    assert [set(row) for row in rows] == [{"id", "updated_at", "price"}] * 3
