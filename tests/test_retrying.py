"""A request that PostgreSQL undid for another's sake: run again whole and stored once, or refused."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import postgres
from tests.conftest import CHEAP, PASSPHRASE
from tests.web.actors import Customer, Page
from vrm.app import create_app
from vrm.host import Host, open_host
from vrm.retrying import TRIES, Retrying
from vrm.settings import Settings
from vrm.vault.postgres import Attempt

server = postgres.server


@pytest.fixture
def host(server: str, folder: Path) -> Iterator[Host]:
    url = postgres.make(folder)
    settings = Settings(data_dir=folder, database_url=url, public_url="http://localhost:8600")
    opened = open_host(settings, limits=CHEAP)
    yield opened
    opened.engine.close()
    postgres.drop(folder)


def conflicting(host: Host, table: str, times: int) -> None:
    """Let the next `times` insertions end as a distributed database ends what would not be serial."""
    with host.engine.write() as transaction:
        transaction.execute("CREATE SEQUENCE tries")
        transaction.execute(
            "CREATE FUNCTION conflict() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN IF nextval(''tries'') <= "
            f"{times} THEN RAISE EXCEPTION ''injected'' USING ERRCODE = ''40001''; END IF; RETURN NEW; END'"
        )
        transaction.execute(
            f"CREATE TRIGGER conflict BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION conflict()"
        )


@pytest.fixture
def alice(host: Host) -> Customer:
    """Logged in."""
    customer = Customer(create_app(host.settings, host=host).test_client())
    customer.create()
    return customer


def buy(alice: Customer) -> Page:
    form = alice.get("/things/new").form("/things/new")
    return alice.submit(form, **{"item.title": "Emma", "item.category": "books"})


def test_a_request_that_was_undone_is_run_again_and_stored_once(host: Host, alice: Customer) -> None:
    conflicting(host, "records", 20)  # more than one act is tried by itself
    assert buy(alice).status == 200
    assert host.engine.one("SELECT count(*) FROM records") == (1,)
    assert host.engine.one("SELECT last_value FROM tries") == (21,)


def test_a_request_that_never_ends_well_says_to_come_back(host: Host, alice: Customer) -> None:
    conflicting(host, "records", 10_000)
    page = buy(alice)
    assert (page.status, bool(page.response.headers["Retry-After"])) == (503, True)
    assert host.engine.one("SELECT count(*) FROM records") == (0,)


def test_a_request_of_which_a_part_is_stored_is_not_run_again(host: Host) -> None:
    conflicting(host, "vaults", 1)  # making a vault is counted before it is done
    customer = Customer(create_app(host.settings, host=host).test_client())
    form = customer.get("/create").form("/create")
    page = customer.submit(form, username="alice", passphrase=PASSPHRASE, again=PASSPHRASE)
    assert (page.status, bool(page.response.headers["Retry-After"])) == (503, True)
    assert host.engine.one("SELECT count(*) FROM vaults") == (0,)


# ---- the middleware alone ----------------------------------------------------------------------------


class Told:
    """An engine of which a test says how each attempt ended."""

    def __init__(self, *ends: tuple[bool, bool]) -> None:
        self._ends = list(ends)

    def attempt(self) -> Attempt:
        return Attempt(*self._ends.pop(0))


UNDONE, HALF_STORED, STORED = (True, False), (True, True), (False, True)


@pytest.mark.parametrize(
    ("ends", "runs"),
    [
        ([STORED], 1),
        ([HALF_STORED], 1),
        ([UNDONE, STORED], 2),
        ([UNDONE, HALF_STORED], 2),
        ([UNDONE] * TRIES, TRIES),
    ],
)
@pytest.mark.parametrize("pieces", [-1, 3])
def test_each_run_meets_the_same_request(ends: list[tuple[bool, bool]], runs: int, pieces: int) -> None:
    seen: list[tuple[bytes, bool]] = []
    closed: list[int] = []

    class Body(list[bytes]):
        def close(self) -> None:
            closed.append(1)

    def app(environ: dict[str, Any], start: Any) -> Body:
        read = b""
        while piece := environ["wsgi.input"].read(pieces):
            read += piece
        seen.append((read, "left.behind" in environ))
        environ["left.behind"] = True
        start(f"20{len(seen)} OK", [])
        return Body([b"answer"])

    told: list[Any] = []
    environ = {"wsgi.input": io.BytesIO(b"ten bytes!")}
    answer = Retrying(app, Told(*ends))(environ, lambda *given: told.append(given))
    assert seen == [(b"ten bytes!", False)] * runs
    assert told == [(f"20{runs} OK", [])]
    assert list(answer) == [b"answer"]
    assert len(closed) == runs - 1


def test_what_was_too_large_to_keep_is_not_run_again() -> None:
    runs: list[int] = []

    def app(environ: dict[str, Any], start: Any) -> list[bytes]:
        runs.append(len(environ["wsgi.input"].read()))
        start("503 Busy", [])
        return []

    environ = {"wsgi.input": io.BytesIO(bytes(2**20 + 1))}
    Retrying(app, Told(UNDONE, STORED))(environ, lambda *given: None)
    assert runs == [2**20 + 1]
