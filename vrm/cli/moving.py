"""`vrm backup`, `vrm restore`: the whole host in one file, and back."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from vrm.app import SCHEMAS
from vrm.cli.frame import add_json, command, host_of, progress, settings_of, show
from vrm.clock import SystemClock, rfc3339
from vrm.errors import StorageError
from vrm.settings import Settings
from vrm.vault import copies, serverkey
from vrm.vault.engine import SqliteEngine


def add(commands: Any) -> None:
    """Copies of everything, and back."""
    made = command(
        commands,
        "backup",
        _run_backup,
        "write a backup of all vaults into one file, while the server runs",
        "vrm backup /mnt/backups/vrm-monday",
        "vrm backup --force --json latest.backup",
    )
    made.add_argument("target", type=Path, metavar="DEST", help="the file to write")
    made.add_argument("--force", action="store_true", help="replace DEST if it is there")
    add_json(made)
    made = command(
        commands,
        "restore",
        _run_restore,
        "put a backup back as the data of this host",
        "vrm restore /mnt/backups/vrm-monday",
        "vrm restore --force latest.backup",
    )
    made.add_argument("file", type=Path, metavar="FILE", help="what `vrm backup` wrote")
    made.add_argument(
        "--force", action="store_true", help="even if there is data: the present database is kept aside"
    )
    add_json(made)


def shown_progress() -> copies.Progress | None:
    """Where progress goes: standard error, if somebody watches."""
    return progress if sys.stderr.isatty() else None


def end_progress() -> None:
    """The line of progress ends."""
    if sys.stderr.isatty():
        print(file=sys.stderr)


def _run_backup(chosen: argparse.Namespace) -> int:
    settings = settings_of(chosen)
    if not settings.database_path.exists():
        raise StorageError(f"there is no database in {settings.data_dir}", hint="--data-dir names the folder")
    host = host_of(chosen)  # lifts older data first
    taken = copies.take(
        settings.database_path,
        SCHEMAS,
        chosen.target,
        host.clock.now(),
        force=chosen.force,
        progress=shown_progress(),
    )
    end_progress()
    values = {
        "path": str(taken.path),
        "bytes": taken.size,
        "vaults": taken.vaults,
        "taken": rfc3339(taken.taken),
    }
    show(
        chosen,
        values,
        f"{taken.path}: {_vaults(taken.vaults)}, {taken.size:,} bytes.\n"
        f"The server key is not in it: keep a copy of {settings.server_key_path} apart from it.\n"
        "No token, code or session is in it either: after a restore, vendors must ask again.",
    )
    return 0


def _run_restore(chosen: argparse.Namespace) -> int:
    settings = settings_of(chosen)
    back = copies.put_back(
        chosen.file,
        settings.database_path,
        SCHEMAS,
        SystemClock().now(),
        force=chosen.force,
        progress=shown_progress(),
    )
    end_progress()
    key = _server_key(settings)
    values = {
        "vaults": back.vaults,
        "taken": rfc3339(back.taken),
        "aside": str(back.aside) if back.aside else None,
        "server_key": key,
    }
    lines = [f"Restored: {_vaults(back.vaults)} as of {values['taken']}."]
    if back.aside:
        lines.append(f"The database that was there is kept in {back.aside}; delete it when you are sure.")
    lines += [_KEYS[key].format(path=settings.server_key_path), "Every connection with a vendor has ended."]
    show(chosen, values, "\n".join(lines))
    return 0


_KEYS = {
    "same": "The server key fits.",
    "other": "{path} is another server key than that of the backup: put the old one there if you have it,"
    " else register the vendors anew. Records open either way.",
    "none": "There is no server key at {path}: put your copy there before `vrm serve`, else a new one is made"
    " and vendors must be registered anew. Records open either way.",
}


def _server_key(settings: Settings) -> str:
    """Whether the server key at hand is the one that the restored data knows: same, other or none."""
    if not settings.server_key_path.exists():
        return "none"
    key = serverkey.load(settings.server_key_path)
    engine = SqliteEngine(settings.database_path)
    try:
        rows = engine.all("SELECT vault, log_public, log_mac FROM vaults")
    finally:
        engine.close()
    return "same" if all(key.vouch(vault, "log", public) == mac for vault, public, mac in rows) else "other"


def _vaults(count: int) -> str:
    return "1 vault" if count == 1 else f"{count} vaults"
