"""The same load on two real `vrm serve` nodes: a vendor that reads, a customer who writes, over HTTP.

A reading is acknowledged by its 200: an entry of it must stand in the customer's log. A new purchase is
acknowledged by its 303: it must stand among her records. Each client turns to the other node when one fails
it, as a proxy in front would.
"""

from __future__ import annotations

import http.client
import secrets
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, closing
from itertools import count
from typing import Self

import psycopg

from bench import servers
from bench.cluster.ledger import Act, Answers, Load
from bench.cluster.stage import HERE, Stage
from bench.rows import FORM
from bench.servers import Server
from bench.world import World

NODES = 2
UNKNOWN = (b"outcome-unknown", b"cannot say whether it was stored")  # told where no answer to a COMMIT came


class RefusedError(Exception):
    """Any other answer than the one that acknowledges."""


def _faults(node: Server) -> int:
    return node.complaints().count("Exception on ")


class ServedLoad(Load):
    """Two nodes with one worker each over the cluster, and their clients."""

    broken = (OSError, http.client.HTTPException, RefusedError)

    def __init__(self, stage: Stage, url: str, clients: int = 2) -> None:
        super().__init__()
        self._stage, self._clients = stage, clients
        self._url = url.replace("postgresql://", "postgresql+psycopg://")
        self._stack = ExitStack()
        self.statuses: Counter[int] = Counter()
        self._created: set[str] = set()
        self._readings = 0
        self._faults = 0  # of our own: answers with 500 that say nothing, exceptions in the nodes' logs

    def __enter__(self) -> Self:
        self._public = servers.free_port()
        world = World(self._stage.folder / "node0", self._public, self._url)
        self._stack.callback(world.close)
        vault = world.vault("alice", 100)
        tokens = world.connect(vault)
        self._vault, self._grant = vault.id, tokens.grant_id
        self._token, self._session = tokens.access_token, world.session(vault)
        rows = world.host.engine.all("SELECT item FROM views WHERE grant_id = ?", (self._grant,))
        self._items = [bytes(item).hex() for (item,) in rows]
        self._before = world.entries(vault.id)
        self._nodes = [self._node(number, self._public) for number in range(NODES)]
        return super().__enter__()

    def _node(self, number: int, public: int, port: int = 0) -> Server:
        """A node keeps a folder of its own; all have one server key and one public address."""
        environ = {
            "VRM_DATABASE_URL": self._url,
            "VRM_SERVER_KEY_FILE": str(self._stage.folder / "node0" / "server.key"),
            "VRM_PUBLIC_URL": f"http://{HERE}:{public}",
            "VRM_READINGS_PER_MINUTE": "0",
        }
        node = servers.vrm(
            self._stage.folder, port or servers.free_port(), name=f"vrm{number}", data=f"node{number}",
            workers=1, environ=environ,
        )  # fmt: skip
        self._stack.callback(node.stop)
        return node

    def replace(self, number: int) -> None:
        """End a node as an operator does, and start it anew at the same address."""
        before = self._nodes[number]
        before.stop()
        self._faults += _faults(before)
        self._nodes[number] = self._node(number, self._public, before.port)

    def __exit__(self, *told: object) -> None:
        super().__exit__(*told)
        self._faults += sum(map(_faults, self._nodes))
        self._stack.close()

    def lives(self) -> Sequence[tuple[Act, Answers]]:
        found: list[tuple[Act, Answers]] = []
        for first in range(self._clients):
            turns = (self._nodes[at % NODES] for at in count(first))
            found += [(self._writing(turns), self.written), (self._reading(turns), self.read)]
        return found

    def _ask(self, connection: http.client.HTTPConnection, expect: int, *request: object) -> None:
        connection.request(*request)  # type: ignore[arg-type]
        answer = connection.getresponse()
        body = answer.read()
        self.statuses[answer.status] += 1
        self._faults += answer.status == 500 and not any(words in body for words in UNKNOWN)
        if answer.status != expect:
            raise RefusedError

    def _writing(self, turns: Iterator[Server]) -> Act:
        headers = {"Cookie": self._session.cookie, "Content-Type": FORM}

        def act() -> Generator[None]:
            with closing(http.client.HTTPConnection(HERE, next(turns).port, timeout=15)) as connection:
                while True:
                    record = secrets.token_hex(16)
                    body = self._session.form.replace("{fresh}", record)
                    self._ask(connection, 303, "POST", "/things/new", body, headers)
                    self._created.add(record)
                    yield

        return act

    def _reading(self, turns: Iterator[Server]) -> Act:
        headers = {"Authorization": f"Bearer {self._token}"}

        def act() -> Generator[None]:
            with closing(http.client.HTTPConnection(HERE, next(turns).port, timeout=15)) as connection:
                while True:
                    path = f"/api/v1/purchases/{secrets.choice(self._items)}"
                    self._ask(connection, 200, "GET", path, None, headers)
                    self._readings += 1
                    yield

        return act

    def lost(self, url: str) -> int:
        with psycopg.connect(url) as connection:
            records = connection.execute("SELECT record FROM records WHERE vault = %s", (self._vault,))
            created = len(self._created - {record for (record,) in records})
            entries = connection.execute("SELECT count(*) FROM log_entries WHERE vault = %s", (self._vault,))
            logged = (entries.fetchone() or (0,))[0] - self._before
        return int(created + max(0, self._readings - logged))

    def told(self) -> dict[str, object]:
        told = {"writes": len(self._created), "readings": self._readings, "faults": self._faults}
        return {**told, "statuses": dict(self.statuses)}
