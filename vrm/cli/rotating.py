"""`vrm vault rotate`: new keys for a vault, after a device or a copy was lost."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from vrm.cli.frame import (
    add_json,
    add_passphrase,
    command,
    host_of,
    older_copies,
    passphrase_of,
    progress,
    read_passphrase,
    show,
)
from vrm.errors import ConflictError, UnlockError
from vrm.host import Host
from vrm.vault.rotation import Progress, Rotated
from vrm.vault.vault import Vault


def add(group: Any) -> None:
    """The command, in the group `vault`."""
    made = command(
        group,
        "rotate",
        _run,
        "make new keys for a vault, after a device or a copy of the data was lost; goes on where it stopped",
        "vrm vault rotate alice",
        "vrm vault rotate alice --new-passphrase-file new.txt --keep-connections",
    )
    made.add_argument("vault", metavar="NAME", help="whose vault")
    made.add_argument(
        "--new-passphrase-file",
        metavar="PATH",
        help="the passphrase from then on; without it the passphrase stays, and who knows it still gets in",
    )
    made.add_argument(
        "--keep-connections",
        action="store_true",
        help="keep all connections: with an old copy and its keys, their views can still be opened",
    )
    add_passphrase(made)
    add_json(made)


def _run(chosen: argparse.Namespace) -> int:
    host, passphrase = host_of(chosen), passphrase_of(chosen)
    new = None if chosen.new_passphrase_file is None else read_passphrase(chosen.new_passphrase_file)
    unfinished = host.vaults.is_rotating(chosen.vault)
    vault = _unlock(host, chosen.vault, passphrase)
    rotated, ended = Rotated(vault.keyring.generation, (), 0), 0
    if not unfinished or new is not None:
        rotated, ended = host.consent.rotate(vault, passphrase, new, keep_connections=chosen.keep_connections)
    _finish(vault)
    host.consent.at_unlock(vault)
    values = {
        "vault": vault.id,
        "generation": rotated.generation,
        "resumed": unfinished,
        "sessions_ended": rotated.sessions,
        "connections_ended": ended,
        "dropped": [{"keyslot": one.slot, "kind": one.kind} for one in rotated.dropped],
    }
    if unfinished and new is None:
        told = [
            f"The keys that were being renewed are in force for everything (generation {rotated.generation})."
        ]
    else:
        told = _lines(rotated, ended, renamed=new is not None)
    older = older_copies(host.settings)
    values["copies"] = older
    told += [f"The old keys still open this copy of the data; delete it: {path}" for path in older]
    show(chosen, values, "\n".join(told))
    return 0


def _unlock(host: Host, name: str, passphrase: str) -> Vault:
    try:
        return host.vaults.unlock(name, passphrase)
    except UnlockError as error:
        error.hint = "check the name (vrm vault list) and the passphrase"
        raise


def _finish(vault: Vault) -> None:
    """To the end; ConflictError where another process is at it and holds it up."""
    shown = sys.stderr.isatty()

    def tell(now: Progress) -> None:
        progress("renewing", now.done, now.total)

    left = vault.go_on_rotating(tell=tell if shown else None)
    if shown:
        print(file=sys.stderr)
    if left is not None:
        raise ConflictError(
            "the new keys are in force, and another process is sealing the rest anew",
            hint="nothing is left to do; run it again to see that it has finished",
        )


def _lines(rotated: Rotated, ended: int, *, renamed: bool) -> list[str]:
    lines = [
        f"New keys are in force (generation {rotated.generation}).",
        f"Ended: sessions {rotated.sessions}, connections {ended}.",
    ]
    lines += [f"Dropped, because it was altered: keyslot {one.slot} ({one.kind})." for one in rotated.dropped]
    if any(one.kind == "recovery" for one in rotated.dropped):
        lines.append("The recovery code opens nothing any more: make a new one under Me.")
    if not renamed:
        lines.append("The passphrase is the same: should anybody know it, change it now.")
    return lines
