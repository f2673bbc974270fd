"""`vrm check`, `vrm thief`."""

from __future__ import annotations

import argparse
from typing import Any

from vrm import thief
from vrm.cli.frame import add_json, add_passphrase, command, database_of, host_of, show, unlock
from vrm.consent import chains
from vrm.errors import ValidationError
from vrm.host import Host
from vrm.vault import chains as vault_chains
from vrm.vault import ways


def add(commands: Any) -> None:
    """Looking at what is stored, as its keeper and as its thief."""
    made = command(
        commands,
        "check",
        _run_check,
        "check that what is stored is what was written",
        "vrm check",
        "vrm check --vault alice",
    )
    made.add_argument(
        "--vault", metavar="NAME", help="also open this vault and check every envelope and view"
    )
    add_passphrase(made)
    add_json(made)
    made = command(
        commands,
        "thief",
        thief.run,
        "rob a copy of the data directory: try all that a thief could",
        "cp -r ~/.local/share/vrm /tmp/copy && vrm thief /tmp/copy --look-for 'a title you own'",
        settings=False,
    )
    thief.add_arguments(made)


def _run_check(chosen: argparse.Namespace) -> int:
    database_of(chosen)
    if chosen.passphrase_file and not chosen.vault:
        raise ValidationError("a passphrase, but no vault to open", hint="add --vault NAME")
    host = host_of(chosen)
    problems = list(host.engine.integrity()) + host.consent.vendors.problems()
    problems += vault_chains.problems(host.engine) + chains.problems(host.engine)
    strange, waiting = ways.strangers(host.engine, host.vaults.server_key)
    problems += strange
    if chosen.vault:
        vault = unlock(host, chosen)
        problems += vault.check() + host.consent.grants.problems(vault) + host.consent.log.problems(vault)
        problems += host.consent.grants.differences(vault) + host.consent.filing.check(vault)
    values = {
        "ok": not problems,
        "records": _count(host, "records"),
        "logs": _count(host, "log_entries"),
        "problems": problems,
    }
    text = "\n".join(["ok" if not problems else "PROBLEMS", *problems])
    text += f"\n{values['records']} records, {values['logs']} log entries"
    if waiting:
        text += f"\n{len(waiting)} vaults wait for a log-in since the server key was replaced"
    if paused := chains.paused(host.engine):
        text += f"\n{paused} grants of a restored copy are paused; they end when their customers log in"
    show(chosen, values, text)
    return 0 if not problems else 1


def _count(host: Host, table: str) -> int:
    row = host.engine.one(f"SELECT count(*) FROM {table}")
    return int(row[0]) if row else 0
