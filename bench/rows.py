"""The rows of the suite: what is asked, of which vault, and how we know that it was really done."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from urllib.parse import quote

from bench.baseline import Answer
from bench.plans import ALSO, FRESH, ONCE, TOKEN, Plan, pieces
from bench.proving import Prover
from bench.servers import Server
from bench.world import Session, World
from vrm.consent.tokens import TokenSet
from vrm.vault.vault import Vault

FORM = "application/x-www-form-urlencoded"
CHAINS = 20  # tokens to take turns with: more than connections
PROOFS = 12_000  # of one window: more than a server answers in two seconds
RECORDS = 1000
READING, INTROSPECTING = ("read-one", "list-100", "list-filtered"), ("client-auth", "introspection")
KEYED = "client-auth-key"
NAMES = (*READING, "read-one-dpop", "create-0", "create-1", "create-10", "refresh", *INTROSPECTING, KEYED)
ONE, PAGE = "/api/v1/purchases/<id>", "/api/v1/purchases"


@dataclass(frozen=True, slots=True)
class Row:
    """One kind of request. `prepare` makes the plan of a window; `rule` is the bare route's address.

    `done` counts, from the vault's own tables, what the requests of a window must have left there; None for
    those that leave nothing, whose answers the plan knows by their text.
    """

    name: str
    says: str
    rule: str
    prepare: Callable[[], Plan]
    done: Callable[[], int] | None


def rows(world: World, wanted: Callable[[str], bool] = bool) -> list[Row]:
    """All rows whose names are wanted, on fresh vaults with 1,000 records each; other vaults are not made."""
    reader = cache(lambda: world.vault("reader", RECORDS))
    connection = cache(lambda: Connection(world, reader()))
    makers: dict[tuple[str, ...], Callable[[], list[Row]]] = {
        READING: lambda: reading(connection()),
        ("read-one-dpop",): lambda: [proving(world, reader())],
        ("create-0",): lambda: [creating_with(world, world.vault("alone", RECORDS), 0)],
        ("create-1",): lambda: [creating_with(world, world.vault("followed", RECORDS), 1)],
        ("create-10",): lambda: [creating_with(world, world.vault("crowded", RECORDS), 10)],
        ("refresh",): lambda: [refreshing(world)],
        (KEYED,): lambda: [asserting(world)],
        INTROSPECTING: lambda: introspecting(world, connection()),
    }
    made = [make() for names, make in makers.items() if any(map(wanted, names))]
    return [row for some in made for row in some if wanted(row.name)]


def reading(connection: Connection, filtered: int = 100) -> list[Row]:
    """A vendor's readings of one vault; so many rows of one category make a full page."""
    return [
        Row("read-one", "vendor reads one record", ONE, connection.one, connection.readings),
        Row("list-100", "vendor lists 100 records", PAGE, connection.page, connection.readings),
        Row(
            "list-filtered",
            f"vendor lists {filtered} of one category",
            PAGE,
            lambda: connection.filtered(filtered),
            connection.readings,
        ),
    ]


def proving(world: World, vault: Vault) -> Row:
    """The reading of one record with a token that is bound to a key."""
    connection = Proving(world, vault)
    return Row(
        "read-one-dpop",
        "vendor reads one record, with a DPoP proof",
        ONE,
        connection.one,
        connection.readings,
    )


def reading_many(world: World, vaults: Sequence[Vault]) -> Row:
    """A vendor's readings of many vaults, one after the other."""
    connections = [Connection(world, vault) for vault in vaults]

    def plan() -> Plan:
        plans = [connection.one() for connection in connections]
        values = [one.headers["Authorization"] for one in plans]
        return Plan("GET", [one.paths[0] for one in plans], {"Authorization": ONCE}, once=values)

    def done() -> int:
        return sum(connection.readings() for connection in connections)

    return Row("read-many", "vendor reads many vaults", ONE, plan, done)


def creating(world: World, vault: Vault, grants: Sequence[str]) -> Row:
    """The customer's form for a new purchase, posted again and again; each enters these grants' views."""
    session = world.session(vault)

    def done() -> int:
        return world.shared(grants[-1]) if grants else world.count(vault)

    says = f"customer adds a purchase, {len(grants)} {'grant' if len(grants) == 1 else 'grants'}"
    return Row(f"create-{len(grants)}", says, "/things/new", lambda: _posting([session]), done)


def creating_with(world: World, vault: Vault, grants: int) -> Row:
    """The same in a vault with so many live grants, each of another vendor."""
    made = [world.connect(vault, world.another_vendor()).grant_id for _ in range(grants)]
    return creating(world, vault, made)


def creating_in_many(world: World, vaults: Sequence[Vault]) -> Row:
    """As many customers as connections, each in a vault of her own."""
    sessions = [world.session(vault) for vault in vaults]

    def done() -> int:
        return sum(world.count(vault) for vault in vaults)

    return Row("create-many", "customers add purchases", "/things/new", lambda: _posting(sessions), done)


def _posting(sessions: Sequence[Session]) -> Plan:
    """Each posts her own form, all its inputs as a browser sends them, with her session and its token."""
    first = sessions[0]
    headers = {"Cookie": ONCE, "Content-Type": FORM}
    cookies, tokens = [one.cookie for one in sessions], [one.token for one in sessions]
    body = first.form.replace(first.token, ALSO)
    return Plan("POST", ["/things/new"], headers, body, expect=303, once=cookies, also=tokens)


class Connection:
    """A vendor with a token for one vault."""

    def __init__(self, world: World, vault: Vault) -> None:
        self._world = world
        self._vault = vault.id
        self._tokens = self._connect(vault)
        rows = world.host.engine.all(
            "SELECT item FROM views WHERE grant_id = ? ORDER BY seq LIMIT ?", (self._tokens.grant_id, RECORDS)
        )
        self._items = [bytes(row[0]).hex() for row in rows]

    def _connect(self, vault: Vault) -> TokenSet:
        return self._world.connect(vault)

    @property
    def grant(self) -> str:
        """The grant that it has."""
        return self._tokens.grant_id

    def token(self) -> str:
        """A fresh access token: they are short-lived."""
        self._tokens = self._world.refreshed(self._tokens)
        return self._tokens.access_token

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token()}"}

    def one(self) -> Plan:
        return Plan("GET", [f"{PAGE}/{item}" for item in self._items], self._headers())

    def page(self) -> Plan:
        return Plan("GET", [f"{PAGE}?limit=100"], self._headers())

    def filtered(self, count: int) -> Plan:
        """A full page of them: of 1,000 records, 125 fit."""
        return Plan("GET", [f"{PAGE}?category=music&limit={count}"], self._headers())

    def readings(self) -> int:
        """How many entries the customer's log has: each reading writes one before it is answered."""
        return self._world.entries(self._vault)


class Proving(Connection):
    """A vendor whose token is bound to a key: a proof of its own goes with every request."""

    def __init__(self, world: World, vault: Vault) -> None:
        self._prover = Prover()
        super().__init__(world, vault)

    def _connect(self, vault: Vault) -> TokenSet:
        return self._world.connect(vault, prover=self._prover)

    def one(self) -> Plan:
        """One and the same record: signing for an address takes time, which must not run out meanwhile."""
        self._tokens = self._world.refreshed(self._tokens, self._prover)
        token, path = self._tokens.access_token, f"{PAGE}/{self._items[0]}"
        url = self._world.settings.issuer + path
        proofs = [self._prover.proof("GET", url, token) for _ in range(PROOFS)]
        return Plan("GET", [path], {"Authorization": f"DPoP {token}", "DPoP": ONCE}, once=proofs)


def refreshing(world: World) -> Row:
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


def introspecting(world: World, connection: Connection) -> list[Row]:
    """What a token is, asked by its vendor; and the same of none, which costs the proof of who asks."""
    headers = {"Authorization": world.basic, "Content-Type": FORM}

    def plan(token: str, active: str) -> Plan:
        return Plan("POST", ["/oauth/introspect"], headers, f"token={token}", holds=active)

    return [
        Row(
            "client-auth",
            "vendor proves who it is",
            "/oauth/introspect",
            lambda: plan("none", "false"),
            None,
        ),
        Row(
            "introspection",
            "vendor looks at its token",
            "/oauth/introspect",
            lambda: plan(connection.token(), "true"),
            None,
        ),
    ]


def asserting(world: World) -> Row:
    """The proof of who asks by a key: a signed assertion of its own goes with every request."""
    prover = Prover()
    vendor = world.another_vendor(jwks=json.dumps({"keys": [prover.public]}))
    kind = quote("urn:ietf:params:oauth:client-assertion-type:jwt-bearer", safe="")
    body = f"token=none&client_assertion_type={kind}&client_assertion={ONCE}"

    def plan() -> Plan:
        said = [prover.assertion(vendor.client_id, world.settings.issuer) for _ in range(PROOFS)]
        return Plan("POST", ["/oauth/introspect"], {"Content-Type": FORM}, body, once=said, holds="false")

    return Row(KEYED, "vendor proves who it is, by a signature", "/oauth/introspect", plan, None)


def sample(row: Row, server: Server) -> tuple[Answer, Plan]:
    """What the vault answers to this row once, as a bare route, and the plan for that route."""
    plan = row.prepare()
    values = {FRESH: "f" * 32}
    for mark, known in ((TOKEN, plan.chain), (ONCE, plan.once[-1:]), (ALSO, plan.also[-1:])):
        values |= dict.fromkeys([mark], known[0]) if known else {}
    headers = {name: _filled(value, values) for name, value in plan.headers.items()}
    status, told, text = server.ask(plan.method, plan.paths[-1], headers, _filled(plan.body, values))
    if status != plan.expect or plan.holds not in text:
        raise RuntimeError(f"{row.name}: answered {status} instead of {plan.expect}:\n{text[:500]}")
    place = f"/{row.name}"  # rows of one address have different answers
    answer = Answer(
        place + row.rule, plan.method, status, told["content-type"], text, told.get("location", "")
    )
    found = re.search(r'"refresh_token": ?"([^"]+)"', text)
    chain = [found[1]] * CHAINS if plan.chain and found else plan.chain
    return answer, replace(plan, paths=[place + path for path in plan.paths], chain=chain)


def _filled(text: str, values: Mapping[str, str]) -> str:
    return "".join(values.get(one, one) for one in pieces(text))
