"""`vrm backup`, `vrm restore`: a whole host. `vrm vault export|import|delete`: one vault."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from vrm.cli.frame import (
    add_json,
    add_passphrase,
    command,
    database_of,
    host_of,
    new_host_of,
    older_copies,
    passphrase_of,
    progress,
    settings_of,
    show,
    unlock,
)
from vrm.clock import SystemClock, rfc3339
from vrm.errors import UnlockError, ValidationError
from vrm.host import SCHEMAS, open_engine
from vrm.settings import Settings
from vrm.vault import copies, export, removal, serverkey
from vrm.vault.moving import Credential
from vrm.vault.naming import normal_username
from vrm.vault.wholefile import make_folder, require_apart, whole_file


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


def add_to_vault(group: Any) -> None:
    """What moves or ends one vault: under `vrm vault`."""
    made = command(
        group,
        "export",
        _run_export,
        "write a vault into one encrypted file, which its passphrase or recovery code opens anywhere",
        "vrm vault export alice -o alice.vrm",
    )
    made.add_argument("vault", metavar="NAME", help="whose vault")
    made.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help="the file to write")
    made.add_argument("--force", action="store_true", help="replace FILE if it is there")
    add_passphrase(made)
    add_json(made)
    made = command(
        group,
        "import",
        _run_import,
        "make a vault of an export, with its passphrase and recovery code",
        "vrm vault import alice.vrm",
        "vrm vault import alice.vrm --as alice2 --recovery-code-file code.txt",
    )
    made.add_argument("file", type=Path, metavar="FILE", help="what `vrm vault export` wrote")
    made.add_argument(
        "--damaged", action="store_true", help="even if something in it was altered before it was exported"
    )
    made.add_argument("--as", dest="name", default="", metavar="NAME", help="another name for the vault here")
    made.add_argument(
        "--recovery-code-file",
        metavar="PATH",
        help="open with the recovery code in a file; - is standard input",
    )
    add_passphrase(made)
    add_json(made)
    _add_delete(group)


def _add_delete(group: Any) -> None:
    made = command(
        group,
        "delete",
        _run_delete,
        "delete a vault and all that is in it, for ever",
        "vrm vault export alice -o alice.vrm && vrm vault delete alice",
        "vrm vault delete alice --without-passphrase --yes alice",
    )
    made.add_argument("vault", metavar="NAME", help="whose vault")
    made.add_argument("--yes", default="", metavar="NAME", help="the same name again, instead of being asked")
    made.add_argument(
        "--without-passphrase", action="store_true", help="a host may end a vault that nobody can open"
    )
    add_passphrase(made)
    add_json(made)


def shown_progress() -> copies.Progress | None:
    """Where progress goes: standard error, if somebody watches."""
    return progress if sys.stderr.isatty() else None


def end_progress() -> None:
    """The line of progress ends."""
    if sys.stderr.isatty():
        print(file=sys.stderr)


def _run_backup(chosen: argparse.Namespace) -> int:
    settings = database_of(chosen)
    require_apart(chosen.target, settings.own_files)
    host = host_of(chosen)  # lifts older data first
    where, now = (SCHEMAS, chosen.target), host.clock.now()
    if settings.on_postgresql:
        taken = copies.take_of_server(host.engine, *where, now, force=chosen.force, progress=shown_progress())
    else:
        taken = copies.take(
            settings.database_path, *where, now, force=chosen.force, progress=shown_progress()
        )
    host.engine.close()
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
    back = _put_back(chosen, settings)
    end_progress()
    key = _server_key(settings)
    values = {
        "vaults": back.vaults,
        "taken": rfc3339(back.taken),
        "aside": str(back.aside) if back.aside else None,
        "server_key": key,
        "vendors": None if back.changed is None or not back.aside else list(back.changed),
    }
    lines = [f"Restored: {_vaults(back.vaults)} as of {values['taken']}."]
    if back.aside:
        lines.append(f"The database that was there is kept in {back.aside}; delete it when you are sure.")
    lines += _about_vendors(back, values["taken"])
    lines += [_KEYS[key].format(path=settings.server_key_path), "Every connection with a vendor has ended."]
    show(chosen, values, "\n".join(lines))
    return 0


def _put_back(chosen: argparse.Namespace, settings: Settings) -> copies.PutBack:
    now, shown = SystemClock().now(), shown_progress()
    if not settings.on_postgresql:
        return copies.put_back(
            chosen.file, settings.database_path, SCHEMAS, now, force=chosen.force, progress=shown
        )
    make_folder(settings.data_dir)
    engine = open_engine(settings)
    try:
        return copies.put_back_to_server(chosen.file, engine, settings.data_dir, SCHEMAS, now, progress=shown)
    finally:
        engine.close()


def _about_vendors(back: copies.PutBack, taken: object) -> list[str]:
    """Who was blocked since the backup: the database that was there knows, or nobody but the host."""
    if back.aside and back.changed is not None:
        return [f"Vendors: {line}." for line in back.changed]
    why = "The database that was there cannot be read" if back.aside else "There was no database here"
    return [f"{why}: if you blocked vendors since {taken}, block them again (vrm vendor block)."]


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
    engine = open_engine(settings)
    try:
        rows = engine.all("SELECT vault, log_public, log_mac FROM vaults")
    finally:
        engine.close()
    return "same" if all(key.vouch(vault, "log", public) == mac for vault, public, mac in rows) else "other"


def _vaults(count: int) -> str:
    return "1 vault" if count == 1 else f"{count} vaults"


def _run_export(chosen: argparse.Namespace) -> int:
    require_apart(chosen.output, settings_of(chosen).own_files)
    host = host_of(chosen)
    vault = unlock(host, chosen)
    with whole_file(chosen.output, force=chosen.force) as part, part.open("wb") as out:
        size, records = host.consent.moves.export(vault, out, shown_progress())
    end_progress()
    values = {
        "path": str(chosen.output),
        "bytes": size,
        "vault": vault.id,
        "username": vault.username,
        "records": records,
    }
    show(
        chosen,
        values,
        f"{chosen.output}: {records} records, {size:,} bytes, encrypted.\n"
        "The passphrase or the recovery code opens it, on any host: vrm vault import FILE\n"
        "Without vrm: scripts/read_export.py of its source prints it as JSON.",
    )
    return 0


def _run_import(chosen: argparse.Namespace) -> int:
    if chosen.name:
        normal_username(chosen.name)  # refuses before a passphrase is typed
    with chosen.file.open("rb") as source:
        export.read_ways(source)  # the same for what is no export
        source.seek(0)
        host = new_host_of(chosen)
        vault, manifest = host.consent.moves.bring(
            source,
            _credential(chosen),
            name=chosen.name,
            damaged=chosen.damaged,
            progress=shown_progress(),
        )
    end_progress()
    values = {
        "vault": vault.id,
        "username": vault.username,
        "taken": rfc3339(manifest.taken),
        "records": manifest.rows.get("records", 0),
    }
    show(
        chosen,
        values,
        f"Vault {vault.username} is here as it was on {values['taken']}: {values['records']} records.\n"
        "Its passphrase and recovery code are the same. Its connections with vendors have ended.",
    )
    return 0


def _credential(chosen: argparse.Namespace) -> Credential:
    if chosen.recovery_code_file is None:
        return Credential(passphrase=passphrase_of(chosen))
    return Credential(code=passphrase_of(argparse.Namespace(passphrase_file=chosen.recovery_code_file)))


def _run_delete(chosen: argparse.Namespace) -> int:
    host = host_of(chosen)
    name = normal_username(chosen.vault)
    found = [one for one in host.vaults.listing() if one.username == name]
    if not found:
        raise UnlockError("there is no such vault", hint="vrm vault list")
    if not chosen.without_passphrase:
        unlock(host, chosen)
    _require_confirmed(chosen, name)
    deleted = removal.delete(host.engine, found[0].id)
    older = older_copies(host.settings)
    values = {"vault": found[0].id, "username": name, "deleted": deleted, "copies": older}
    rows = sum(deleted.values())
    lines = [
        f"Vault {name} is deleted: {deleted.get('records', 0)} records, {rows} rows in all.",
        "Backups and exports that were taken before still hold it.",
        *[f"So does this copy; delete it: {path}" for path in older],
    ]
    show(chosen, values, "\n".join(lines))
    return 0


def _require_confirmed(chosen: argparse.Namespace, name: str) -> None:
    typed = chosen.yes
    if not typed and sys.stdin is not None and sys.stdin.isatty():
        typed = input(f"This cannot be undone. Type {name} to delete the vault: ")
    if typed.strip().casefold() != name:
        raise ValidationError("nothing was deleted", hint=f"confirm with the name: --yes {name}")
