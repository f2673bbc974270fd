"""`vrm vault create`, `vrm vault list`, `vrm vault vouch`."""

from __future__ import annotations

import argparse
from typing import Any

from vrm.cli import inviting, moving, rotating
from vrm.cli.frame import (
    add_json,
    add_passphrase,
    command,
    group_of,
    host_of,
    new_host_of,
    passphrase_of,
    show,
    show_once,
)
from vrm.clock import rfc3339
from vrm.host import adopt
from vrm.vault.naming import normal_username


def add(commands: Any) -> None:
    """The group `vault`."""
    group = group_of(commands, "vault", "create, list, move, re-key and delete vaults, invite others")
    made = command(
        group,
        "create",
        _run_create,
        "create a vault and print its recovery code, once",
        "vrm vault create alice",
        "vrm vault create alice --passphrase-file - --json < passphrase.txt",
    )
    made.add_argument("username", metavar="NAME", help="2 to 40 letters, digits, dots, dashes or underscores")
    add_passphrase(made)
    add_json(made)
    add_json(command(group, "list", _run_list, "list the vaults of this host", "vrm vault list"))
    add_json(
        command(
            group,
            "vouch",
            _run_vouch,
            "take the vaults over under another server key, as they stand",
            "vrm vault vouch",
        )
    )
    moving.add_to_vault(group)
    rotating.add(group)
    inviting.add(group)


def _run_create(chosen: argparse.Namespace) -> int:
    normal_username(chosen.username)  # refuses before a passphrase is typed
    vault, code = new_host_of(chosen).vaults.create(chosen.username, passphrase_of(chosen, twice=True))
    values = {"vault": vault.id, "username": vault.username, "recovery_code": code}
    show_once(
        chosen,
        values,
        f"Vault {vault.username} is ready.\n\n"
        "Recovery code, shown once; write it down and keep it away from here:\n\n"
        f"    {code}\n\nWith it you get in when the passphrase is lost. Without both, nobody can.",
        made=f"vault {vault.username} was made",
        lost="its recovery code",
        hint="log in with the passphrase and make a new one under Me",
    )
    return 0


def _run_vouch(chosen: argparse.Namespace) -> int:
    left = adopt(host_of(chosen).vaults)
    lines = [f"{name} has two ways in of one kind, one may be planted: it was left out." for name in left]
    text = "\n".join([*lines, "At the next log-in the server vouches for the keys of each vault."])
    show(chosen, {"left_out": left}, text)
    return 1 if left else 0


def _run_list(chosen: argparse.Namespace) -> int:
    entries = host_of(chosen).vaults.listing()
    values = [{"vault": one.id, "username": one.username, "created": rfc3339(one.created)} for one in entries]
    lines = [f"{one['username']:<24} since {one['created'][:10]}  {one['vault']}" for one in values]
    show(chosen, values, "\n".join(lines) or "No vaults yet. Make one: vrm vault create NAME")
    return 0
