"""`python -m bench.cluster.shards`: the vault's own tables spread over three PostgreSQL by `postgres_fdw`.

One instance is the hub: programs connect to it, it holds what belongs to no vault and one part of the rest.
Every table that names a vault is partitioned by HASH (vault), every other one that names a grant by
HASH (grant_id); two parts of three are foreign tables. Then vrm does what it always does, through the hub,
and the trial tells what each act came to, what a reading costs beside the same on one instance, and what is
left of a transaction over two servers of which one dies at its COMMIT.
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain

import psycopg

from bench import goods, servers
from bench.cluster import stage
from bench.cluster.stage import HERE, Instance, Stage
from bench.world import PASSPHRASE, World
from vrm.app import create_app
from vrm.consent.tokens import TokenSet
from vrm.errors import VrmError
from vrm.host import SCHEMAS
from vrm.vault.dialect import translated
from vrm.vault.vault import Vault

PARTS = 3
DATABASE = "vrm"
READINGS = 400
_CREATE = re.compile(r"CREATE (?:UNIQUE )?(?:TABLE|INDEX \w+ ON) (\w+)")


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one reading."""

    worker_us: float  # CPU of the process that answers
    database_us: float  # CPU of all PostgreSQL instances
    wall_us: float  # what the vendor waits, alone on the machine


class Shards:
    """The hub, and the instances that hold the other parts."""

    def __init__(self, place: Stage) -> None:
        self.hub = Instance(place, "hub")
        self.others = [Instance(place, f"shard{number}") for number in range(1, PARTS)]
        for one in self.all():
            with psycopg.connect(one.url(), autocommit=True) as connection:
                connection.execute(f"CREATE DATABASE {DATABASE}")

    def all(self) -> list[Instance]:
        return [self.hub, *self.others]

    def link(self, connection: psycopg.Connection) -> None:
        """Make the other instances known to the hub."""
        connection.execute("CREATE EXTENSION postgres_fdw")
        for number, one in enumerate(self.others, 1):
            _run(
                connection,
                f"CREATE SERVER shard{number} FOREIGN DATA WRAPPER postgres_fdw"
                f" OPTIONS (host '{HERE}', port '{one.port}', dbname '{DATABASE}')",
                f"CREATE USER MAPPING FOR CURRENT_USER SERVER shard{number}"
                f" OPTIONS (user 'postgres', password '{one.password}')",
            )

    def spread(self, connection: psycopg.Connection, table: str, key: str, made: Sequence[str]) -> None:
        """Move a table that is there into parts; `made` is what made it, for the other instances."""
        for one in self.others:
            with psycopg.connect(one.url(DATABASE)) as other:
                _run(other, *made)
        parts = [
            f"CREATE TABLE {table}_0 PARTITION OF {table} FOR VALUES WITH (MODULUS {PARTS}, REMAINDER 0)"
        ]
        parts += [
            f"CREATE FOREIGN TABLE {table}_{number} PARTITION OF {table}"
            f" FOR VALUES WITH (MODULUS {PARTS}, REMAINDER {number})"
            f" SERVER shard{number} OPTIONS (table_name '{table}')"
            for number in range(1, PARTS)
        ]
        _run(
            connection,
            f"ALTER TABLE {table} RENAME TO {table}_whole",
            f"CREATE TABLE {table} (LIKE {table}_whole INCLUDING DEFAULTS INCLUDING IDENTITY)"
            f" PARTITION BY HASH ({key})",
            *parts,
            f"INSERT INTO {table} SELECT * FROM {table}_whole",
            f"DROP TABLE {table}_whole",
            *(_on_part(one, table) for one in made if "INDEX" in one),
        )


def _run(connection: psycopg.Connection, *statements: str) -> None:
    for statement in statements:
        connection.execute(statement)


def _on_part(index: str, table: str) -> str:
    """The same index on the hub's own part; keys are the business of each part."""
    return re.sub(r"INDEX (\w+) ON \w+", rf"INDEX \1_0 ON {table}_0", index)


def tables() -> dict[str, list[str]]:
    """Every table of vrm with the statements that make it, as PostgreSQL reads them."""
    found: dict[str, list[str]] = {}
    for statement in chain.from_iterable(schema.statements for schema in SCHEMAS):
        if match := _CREATE.match(statement):
            found.setdefault(match[1], []).append(translated(statement)[0].decode())
    return found


def key_of(made: Sequence[str]) -> str:
    """What a table is spread by; empty where it belongs to no vault."""
    return next((key for key in ("vault", "grant_id") if re.search(rf"\b{key}\b TEXT", made[0])), "")


def spread_all(shards: Shards) -> dict[str, str]:
    """Every table that can be; returns for each by what it was spread, or why it stayed on the hub."""
    told = {}
    with psycopg.connect(shards.hub.url(DATABASE), autocommit=True) as connection:
        shards.link(connection)
        for table, made in tables().items():
            key = key_of(made)
            if not key:
                told[table] = "of no vault: on the hub"
                continue
            try:
                with connection.transaction():
                    shards.spread(connection, table, key, made)
                told[table] = f"by {key}"
            except psycopg.Error as error:
                told[table] = f"on the hub: {error.diag.message_primary}"
    return told


def cost(world: World, token: str, item: str, instances: Sequence[Instance]) -> Cost:
    """Of one reading (W1), in this process over a connection to the hub."""
    client = create_app(world.settings, host=world.host).test_client()
    headers = {"Authorization": f"Bearer {token}"}

    def read() -> None:
        answer = client.get(f"/api/v1/purchases/{item}", headers=headers)
        if answer.status_code != 200:
            raise RuntimeError(f"a reading answered {answer.status_code}: {answer.get_data(as_text=True)}")

    for _ in range(50):
        read()
    own, theirs, begun = time.process_time(), sum(one.cpu() for one in instances), time.perf_counter()
    for _ in range(READINGS):
        read()
    wall = time.perf_counter() - begun
    own, theirs = time.process_time() - own, sum(one.cpu() for one in instances) - theirs
    return Cost(*(round(seconds / READINGS * 1e6) for seconds in (own, theirs, wall)))


def acts(world: World, name: str, tokens: TokenSet) -> dict[str, str]:
    """What vrm does all day, on tables that are spread: done, or why not."""
    vaults = world.host.vaults
    unlocked = vaults.unlock(name, PASSPHRASE)
    tried: dict[str, Callable[[], object]] = {
        "log in": lambda: vaults.unlock(name, PASSPHRASE).open_session(),
        "look at her records": lambda: world.count(unlocked),
        "create a vault": lambda: vaults.create("carol", PASSPHRASE),
        "add a record": lambda: _add(unlocked),
        "approve a grant": lambda: world.connect(unlocked),
        "refresh": lambda: world.refreshed(tokens),
        "revoke": lambda: world.host.consent.grants.revoke(unlocked, tokens.grant_id),
    }
    return {what: _tried(act) for what, act in tried.items()}


def _add(vault: Vault) -> None:
    table = vault.records("purchases")
    table.apply({table.new_id(): table.check(next(goods.purchases(1)))})


def _tried(act: Callable[[], object]) -> str:
    try:
        act()
    except VrmError as error:
        return f"refused: {error.hint or error}"
    return "done"


def half(shards: Shards, dies: Instance) -> dict[str, int]:
    """One transaction over two shards of which one dies before its COMMIT: rows that are there afterwards."""
    with psycopg.connect(shards.hub.url(DATABASE)) as connection:
        for number in range(200):  # until both shards have some
            connection.execute("INSERT INTO heirlooms VALUES (%s, '')", (f"half-{number}",))
        dies.kill()
        with suppress(psycopg.Error):
            connection.commit()
    dies.begin()
    found = {}
    for name, one in zip(("hub", "shard1", "shard2"), shards.all(), strict=True):
        table = "heirlooms_0" if name == "hub" else "heirlooms"
        with psycopg.connect(one.url(DATABASE), autocommit=True) as connection:
            found[name] = connection.execute(f"DELETE FROM {table} WHERE vault LIKE 'half-%'").rowcount
    return found


def trial() -> dict[str, object]:
    """All of it."""
    with stage.set_up() as place:
        shards = Shards(place)
        url = shards.hub.url(DATABASE).replace("postgresql://", "postgresql+psycopg://")
        world = World(place.folder / "node", servers.free_port(), url)
        alice = world.vault("alice", 100)
        tokens = world.connect(alice)
        spare = world.connect(alice)
        (item, *_), *_ = world.host.engine.all(
            "SELECT item FROM views WHERE grant_id = ?", (tokens.grant_id,)
        )
        asked = (tokens.access_token, bytes(item).hex(), shards.all())
        one = cost(world, *asked)
        told = spread_all(shards)
        spread = cost(world, *asked)
        done = acts(world, "alice", spare)
        world.close()
        halves = {
            name: half(shards, dies) for name, dies in zip(("shard1", "shard2"), shards.others, strict=True)
        }
        return {
            "tables": told,
            "one instance": one,
            "spread": spread,
            "acts": done,
            "killed at COMMIT": halves,
        }


def main() -> int:
    """Run it and print what it found."""
    if wanting := stage.missing("initdb"):
        print(f"error: not here: {wanting[0]}\nhint: apt-get install {wanting[0]}", file=sys.stderr)
        return 2
    print(
        json.dumps(
            trial(), indent=2, default=lambda one: {name: getattr(one, name) for name in one.__slots__}
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
