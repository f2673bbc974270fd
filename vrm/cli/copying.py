"""`vrm copy`: all vaults into another database: from one file into PostgreSQL, back, or elsewhere."""

from __future__ import annotations

import argparse
from typing import Any

from vrm.cli.frame import add_json, command, database_of, host_of, settings_of, show
from vrm.cli.moving import end_progress, shown_progress
from vrm.errors import ConflictError, ValidationError
from vrm.host import SCHEMAS, open_engine
from vrm.settings import Settings, holds_password
from vrm.vault import across
from vrm.vault.wholefile import require_apart


def add(commands: Any) -> None:
    """One database into another."""
    made = command(
        commands,
        "copy",
        _run,
        "copy all vaults into another, empty database, while no server runs",
        "vrm copy postgresql+psycopg://vrm@/vrm",
        "VRM_DATABASE_URL=postgresql+psycopg://vrm@/vrm vrm copy sqlite:////var/lib/vrm/vrm.db",
    )
    made.add_argument("target", metavar="URL", help="where to: as VRM_DATABASE_URL, without a password")
    add_json(made)


def _run(chosen: argparse.Namespace) -> int:
    target = _target(chosen)
    database_of(chosen)
    host = host_of(chosen)  # lifts older data first
    engine = open_engine(target)
    try:
        rows = across.move(host.engine, engine, SCHEMAS, shown_progress())
        engine.purge()
    finally:
        engine.close()
        end_progress()
    values = {"to": target.database_url, "vaults": rows["vaults"], "rows": sum(rows.values()), "tables": rows}
    show(
        chosen,
        values,
        f"{sum(rows.values()):,} rows are in {target.database_url}, each compared with what was read.\n"
        "Nothing was left out: connections with vendors, tokens and sessions go on there.\n"
        f"Set VRM_DATABASE_URL to it. The server key stays the same: {host.settings.server_key_path}\n"
        "Start no server with the old database again: it would not know which tokens are spent, nor who was\n"
        "blocked since. Delete it when all is well: what is deleted or ended from now on still stands in it.",
    )
    return 0


def _target(chosen: argparse.Namespace) -> Settings:
    """Settings that name the destination."""
    if holds_password(chosen.target):
        raise ValidationError(
            "a password in an argument can be read by everybody on this machine",
            hint="leave it out: it is taken from ~/.pgpass, PGPASSFILE or PGPASSWORD",
        )
    target = settings_of(chosen, database_url=chosen.target)
    source = settings_of(chosen)
    if target.on_postgresql and target.database_url == source.database_url:
        raise ConflictError("that is the database itself", hint="name another one")
    if not target.on_postgresql:
        require_apart(target.database_path, source.own_files)
    return target
