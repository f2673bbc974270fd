"""The rows of the suite: what is asked, of which vault, and how we know that it was really done."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from bench.baseline import Answer
from bench.plans import Plan
from bench.proving import Prover
from bench.servers import Server
from bench.world import Session, World
from vrm.consent.tokens import TokenSet
from vrm.vault.vault import Vault

FORM = "application/x-www-form-urlencoded"
CHAINS = 20  # tokens to take turns with: more than connections
PROOFS = 20_000  # of one window: more than a server answers in three seconds
RECORDS = 1000


@dataclass(frozen=True, slots=True)
class Row:
    """One kind of request. `prepare` makes the plan of a window; `rule` is the bare route's address.

    `done` counts, from the vault's own tables, what the requests of a window must have left there.
    """

    name: str
    says: str
    rule: str
    prepare: Callable[[], Plan]
    done: Callable[[], int]


def rows(world: World) -> list[Row]:
    """All rows, on fresh vaults with 1,000 records each."""
    read = world.vault("reader", RECORDS)
    alone, followed = world.vault("alone", RECORDS), world.vault("followed", RECORDS)
    connection, proving = _Connection(world, read), _Proving(world, read)
    grant = world.connect(followed).grant_id
    one, page = "/api/v1/purchases/<id>", "/api/v1/purchases"
    add, form_alone, form_followed = (
        "/things/new",
        _Form(world.session(alone)),
        _Form(world.session(followed)),
    )
    return [
        Row("read-one", "vendor reads one record", one, connection.one, connection.readings),
        Row("read-one-dpop", "the same, with a DPoP proof", one, proving.one, proving.readings),
        Row("list-100", "vendor lists 100 records", page, connection.page, connection.readings),
        Row("list-100-filtered", "the same, of one category", page, connection.filtered, connection.readings),
        Row("create-0-grants", "customer adds a purchase", add, form_alone.plan, lambda: world.count(alone)),
        Row(
            "create-1-grant", "the same, one live grant", add, form_followed.plan, lambda: world.shared(grant)
        ),
        _refresh(world),
    ]


class _Connection:
    """A vendor with a token for one vault."""

    def __init__(self, world: World, vault: Vault) -> None:
        self._world = world
        self._tokens = self._connect(vault)
        rows = world.host.engine.all(
            "SELECT item FROM views WHERE grant_id = ? ORDER BY seq", (self._tokens.grant_id,)
        )
        self._items = [row[0].hex() for row in rows]

    def _connect(self, vault: Vault) -> TokenSet:
        return self._world.connect(vault)

    def _headers(self) -> dict[str, str]:
        self._tokens = self._world.refreshed(self._tokens)  # access tokens are short-lived
        return {"Authorization": f"Bearer {self._tokens.access_token}"}

    def one(self) -> Plan:
        return Plan("GET", [f"/api/v1/purchases/{item}" for item in self._items], self._headers())

    def page(self) -> Plan:
        return Plan("GET", ["/api/v1/purchases?limit=100"], self._headers())

    def filtered(self) -> Plan:
        """A quarter of the view, 125 records: the page is full."""
        return Plan("GET", ["/api/v1/purchases?category=music&limit=100"], self._headers())

    def readings(self) -> int:
        """How often this grant was read: the log entry stands in the same transaction as this count."""
        row = self._world.host.engine.one(
            "SELECT reads FROM grants WHERE grant_id = ?", (self._tokens.grant_id,)
        )
        return int(row[0]) if row else 0


class _Proving(_Connection):
    """A vendor whose token is bound to a key: a proof of its own goes with every request."""

    def __init__(self, world: World, vault: Vault) -> None:
        self._prover = Prover()
        super().__init__(world, vault)

    def _connect(self, vault: Vault) -> TokenSet:
        return self._world.connect(vault, prover=self._prover)

    def one(self) -> Plan:
        """One and the same record: signing for an address takes time, which must not run out meanwhile."""
        self._tokens = self._world.refreshed(self._tokens, self._prover)
        token, path = self._tokens.access_token, f"/api/v1/purchases/{self._items[0]}"
        url = self._world.settings.issuer + path
        proofs = [self._prover.proof("GET", url, token) for _ in range(PROOFS)]
        return Plan("GET", [path], {"Authorization": f"DPoP {token}"}, proofs=proofs)


class _Form:
    """The customer's form for a new purchase, posted again and again as new things."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def plan(self) -> Plan:
        headers = {"Cookie": self._session.cookie, "Content-Type": FORM}
        return Plan("POST", ["/things/new"], headers, self._session.form, expect=303)


def _refresh(world: World) -> Row:
    """A chain per connection: each answer holds the token that the next request sends."""
    vault = world.vault("chains", 40)
    engine = world.host.engine

    def plan() -> Plan:
        for shown in world.host.consent.grants.listing(vault):
            if shown.state == "live":
                world.host.consent.grants.revoke(vault, shown.id)
        chain = [world.connect(vault).refresh_token for _ in range(CHAINS)]
        headers = {"Authorization": world.basic, "Content-Type": FORM}
        return Plan(
            "POST", ["/oauth/token"], headers, "grant_type=refresh_token&refresh_token={token}", chain
        )

    def done() -> int:
        row = engine.one("SELECT count(*) FROM tokens WHERE kind = 'refresh'")
        return int(row[0]) if row else 0

    return Row("refresh", "vendor refreshes its token", "/oauth/token", plan, done)


def sample(row: Row, server: Server) -> tuple[Answer, Plan]:
    """What the vault answers to this row once, as a bare route, and the plan for that route."""
    plan = row.prepare()
    body = plan.body.replace("{fresh}", "f" * 32)
    if plan.chain:
        body = body.replace("{token}", plan.chain[0])
    proof = {"DPoP": plan.proofs[-1]} if plan.proofs else {}
    status, headers, text = server.ask(plan.method, plan.paths[0], {**plan.headers, **proof}, body)
    if status != plan.expect:
        raise RuntimeError(f"{row.name}: answered {status} instead of {plan.expect}:\n{text[:500]}")
    answer = Answer(row.rule, plan.method, status, headers["content-type"], text, headers.get("location", ""))
    found = re.search(r'"refresh_token": ?"([^"]+)"', text)
    same = replace(plan, chain=[found[1]] * CHAINS) if plan.chain and found else plan
    return answer, same
