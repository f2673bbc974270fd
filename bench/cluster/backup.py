"""`python -m bench.cluster.backup`: PostgreSQL back to a moment, by a base backup and the log archived since.

A vault is written to before the backup, after it, and after the moment that is wanted back. The trial says
what of it is there in the restored server. Then it goes on as an operator must who has gone back in time:
`vrm backup` of what was restored and `vrm restore` into an empty database, which ends every permission, so
that nothing that was revoked since opens again.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import psycopg

from bench import goods, servers
from bench.cluster import stage
from bench.cluster.stage import HERE, Instance, Stage
from bench.world import World
from vrm.vault.vault import Vault

STAGES = ("before the backup", "after the backup", "after the moment")


def archiving(place: Stage) -> Instance:
    """A server that hands each piece of its log to an archive."""
    archive = place.place("archive")
    keep = f"test ! -f {archive}/%f && cp %p {archive}/%f"
    return Instance(place, "database", archive_mode="on", archive_command=keep, wal_level="replica")


def base_backup(place: Stage, one: Instance) -> Path:
    """All its files, while it goes on working."""
    base = place.folder / "base"
    place.run(
        "pg_basebackup", "--host", HERE, "--port", str(one.port), "--username", "postgres",
        "--pgdata", str(base), "--checkpoint", "fast", "--wal-method", "stream",
        environ={"PGPASSWORD": one.password},
    )  # fmt: skip
    return base


def go_back(place: Stage, base: Path, moment: str) -> None:
    """Tell the files of a base backup to which moment they are to be brought when they are next started."""
    with (base / "postgresql.auto.conf").open("a") as settings:
        settings.write(
            f"restore_command = 'cp {place.folder}/archive/%f %p'\n"
            f"recovery_target_time = '{moment}'\nrecovery_target_action = 'promote'\n"
        )
    (base / "recovery.signal").touch(mode=0o600)
    place.give(base / "recovery.signal")


def add(vault: Vault) -> str:
    """One record; its id."""
    table = vault.records("purchases")
    name = table.new_id()
    table.apply({name: table.check(next(goods.purchases(1)))})
    return name


def asked(one: Instance, query: str) -> list[str]:
    """The first column of what it answers."""
    with psycopg.connect(one.url(), autocommit=True) as connection:
        return [str(row[0]) for row in connection.execute(query).fetchall()]


def vrm(place: Stage, url: str, *command: str) -> str:
    """A command as an operator types it."""
    environ = {
        "VRM_DATABASE_URL": url, "VRM_DATA_DIR": str(place.folder / "node"), "PYTHONPATH": str(servers.ROOT),
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "vrm", *command],
        cwd=place.folder,
        env=os.environ | environ,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"vrm {' '.join(command)}: {done.stderr}")
    return done.stdout


def trial() -> dict[str, object]:
    """All of it."""
    with stage.set_up() as place:
        one = archiving(place)
        world = World(place.folder / "node", servers.free_port(), _ours(one.url()))
        vault = world.vault("alice", 10)
        world.connect(vault)
        written = [add(vault)]
        base = base_backup(place, one)
        written.append(add(vault))
        (moment,) = asked(one, "SELECT clock_timestamp()")
        time.sleep(1)
        written.append(add(vault))
        asked(one, "SELECT pg_switch_wal()")
        world.close()
        one.end()
        go_back(place, base, moment)
        one.files = base
        one.begin()
        stage.until("it takes writes", lambda: asked(one, "SELECT pg_is_in_recovery()") == ["False"])
        there = set(asked(one, "SELECT record FROM records"))
        asked_for = {name: record in there for name, record in zip(STAGES, written, strict=True)}
        return {"there": asked_for, **_carried_on(place, one)}


def _ours(url: str) -> str:
    return url.replace("postgresql://", "postgresql+psycopg://", 1)


def _carried_on(place: Stage, one: Instance) -> dict[str, object]:
    """The state of grants before and after `vrm backup` and `vrm restore` into an empty database."""
    states = "SELECT state FROM grants"
    before = asked(one, states)
    file = str(place.folder / "back.vrm")
    vrm(place, _ours(one.url()), "backup", file)
    asked(one, "SELECT 1")
    with psycopg.connect(one.url(), autocommit=True) as connection:
        connection.execute("CREATE DATABASE anew TEMPLATE template0 ENCODING 'UTF8'")
    vrm(place, _ours(one.url("anew")), "restore", file)
    with psycopg.connect(one.url("anew")) as connection:
        after = [str(state) for (state,) in connection.execute(states).fetchall()]
        tokens = connection.execute("SELECT count(*) FROM tokens").fetchone()
    check = json.loads(vrm(place, _ours(one.url("anew")), "check", "--json"))
    return {
        "grants": before,
        "grants after vrm restore": after,
        "tokens": tokens and tokens[0],
        "ok": check["ok"],
    }


def main() -> int:
    """Run it and print what it found."""
    if wanting := stage.missing("initdb"):
        print(f"error: not here: {wanting[0]}\nhint: apt-get install {wanting[0]}", file=sys.stderr)
        return 2
    print(json.dumps(trial()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
