"""What lies on the disk: the data folder, the server key, the database, copies and backups.

Nothing is opened in another account's folder: the files that SQLite makes beside a database would lock
its own server out.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from vrm.clock import SystemClock
from vrm.consent.service import Consent
from vrm.doctor import machine, server
from vrm.doctor.findings import Finding, fail, ok, warn
from vrm.doctor.machine import Machine
from vrm.errors import SettingsError, StorageError
from vrm.host import SCHEMAS, open_engine
from vrm.settings import Settings, holds_password, read_toml
from vrm.vault import copies, lifting, serverkey, ways
from vrm.vault.engine import Engine
from vrm.vault.serverkey import ServerKey
from vrm.vault.sqlite import SqliteEngine
from vrm.vault.vault import Vaults

_MIB = 2**20
_LEAST = 64 * _MIB  # bytes free below which writing may stop any moment
_SPARE = 256 * _MIB  # beside as much again as the database
_WAL = 64 * _MIB  # of a write-ahead log that should long have been emptied
_BACKUP = 8 * 86_400  # seconds: a weekly backup and a day
_UNSENT = 600  # seconds after which an event that no worker has looked at shows that there is none
_OFTEN = 5  # failures in a row: half an hour of them
_HEADER = b"SQLite format 3\0"


def examine(settings: Settings, here: Machine) -> Iterator[Finding]:
    """The folder first; what is in it only where it is ours to open."""
    found = folder(settings, here)
    yield found
    yield space(settings)
    yield from _key(settings)
    if settings.on_postgresql:
        yield from _on_server(settings, here)
        return
    present = settings.database_path.is_file()
    if found.level == "FAIL" or not present:
        told = "none yet; the first start makes one" if not present else "not opened: see data folder"
        yield fail("database", *_FOLDER) if settings.database_path.is_dir() else ok("database", told)
        return
    yield from database(settings, here)
    yield kept(settings, here)
    yield backup(settings, here)


def settings_file(path: Path) -> Iterator[Finding]:
    """The one secret that it may hold, a database's password, is not for everybody; nothing for no file."""
    if not path.is_file():
        return
    if holds_password(str(read_toml(path).get("database_url", ""))) and path.stat().st_mode & stat.S_IROTH:
        told = f"everybody on this machine can read the database's password in {path}"
        yield warn("settings file", told, f"chmod o-r {path}, or leave it to ~/.pgpass")
    else:
        yield ok("settings file", f"{path} shows no password to others")


_FOLDER = ("is a folder", "VRM_DATABASE_URL names a file: sqlite:///PATH")


def folder(settings: Settings, here: Machine) -> Finding:
    """Private, ours, writable, and so is what is in it."""
    path = settings.data_dir
    if not path.exists():
        return _absent(path)
    if not path.is_dir():
        return fail("data folder", f"{path} is not a folder", "VRM_DATA_DIR names the folder")
    owner, mode = path.stat().st_uid, stat.S_IMODE(path.stat().st_mode)
    if owner != here.account:
        do = f"run commands and server as its owner (sudo -u '#{owner}' vrm …), never as somebody else"
        return fail("data folder", f"{path} belongs to another account ({owner})", do)
    if not os.access(path, os.W_OK | os.X_OK):
        return fail("data folder", f"{path} cannot be written to", "mount or unlock it for writing")
    if mode & 0o077:
        return fail("data folder", f"{path} is open to others ({mode:o})", f"chmod 700 {path}")
    wide = [
        one for one in sorted(path.iterdir()) if one.is_file() and stat.S_IMODE(one.stat().st_mode) & 0o077
    ]
    if wide:
        told = f"others may read {', '.join(one.name for one in wide)}"
        return fail("data folder", told, f"chmod 600 {' '.join(map(str, wide))}")
    return ok("data folder", f"{path} is private")


def _absent(path: Path) -> Finding:
    above = next(one for one in path.absolute().parents if one.exists())
    if above.is_dir() and os.access(above, os.W_OK | os.X_OK):
        return ok("data folder", f"{path} is made at the first start")
    return fail("data folder", f"{path} cannot be made in {above}", "VRM_DATA_DIR names another folder")


def space(settings: Settings, free: int | None = None) -> Finding:
    """Room to write, to upgrade and to back up."""
    above = next(one for one in (settings.data_dir, *settings.data_dir.absolute().parents) if one.exists())
    free = shutil.disk_usage(above).free if free is None else free
    size = settings.database_path.stat().st_size if _has_file(settings) else 0
    told = f"{free // _MIB} MiB are free"
    told += "" if settings.on_postgresql else f", the database has {size // _MIB} MiB"
    if free < _LEAST:
        return fail("disk", told, "make room: nothing can be written when it is full")
    if free < 2 * size + _SPARE:
        return warn("disk", told, "make room: an upgrade copies the database first")
    return ok("disk", told)


def _has_file(settings: Settings) -> bool:
    return not settings.on_postgresql and settings.database_path.is_file()


def _key(settings: Settings) -> Iterator[Finding]:
    path = settings.server_key_path
    if not path.exists():
        if _has_file(settings):
            do = "restore it from your copy before the next start, or vendors must be registered anew"
            yield fail("server key", f"{path} is missing, but there is data", do)
        elif settings.on_postgresql:
            do = "copy it from a machine that serves this database; the first of all makes one at its start"
            yield warn("server key", f"{path} is missing", do)
        else:
            yield ok("server key", "none yet; the first start makes one")
        return
    try:
        serverkey.load(path)
    except SettingsError as error:
        yield fail("server key", str(error), error.hint)
        return
    beside = not settings.on_postgresql and path.parent == settings.database_path.parent
    if beside and not settings.on_loopback:
        told = f"{path} lies beside the database: a backup of that folder takes both"
        yield warn("server key", told, "keep it apart (VRM_SERVER_KEY_FILE), or back up with vrm backup")
    else:
        yield ok("server key", f"{path} is private")


def database(settings: Settings, here: Machine) -> Iterator[Finding]:
    """Whole, of a version that this one opens, written with this server key, and not ahead of the clock."""
    path = settings.database_path
    with path.open("rb") as opened:
        if path.stat().st_size and opened.read(len(_HEADER)) != _HEADER:
            do = _restoring(settings, "restore it: vrm restore, see docs/self-hosting.md")
            yield fail("database", f"{path} is not a database", do)
            return
    engine = SqliteEngine(path)
    try:
        yield from _opened(engine, settings, here)
        log = path.with_name(path.name + "-wal")
        yield from unemptied(log.stat().st_size if log.exists() else 0)
    except StorageError as error:
        do = _restoring(settings, "see docs/self-hosting.md, restore")
        yield fail("database", f"cannot be read: {error.hint or error}", do)
    finally:
        engine.close()


def _restoring(settings: Settings, do: str) -> str:
    """What to do about data that cannot be read: where the disk is full, that may be all that is wrong."""
    full = not settings.on_postgresql and shutil.disk_usage(settings.database_path.parent).free < _LEAST
    return "make room first, then look again: nothing need be lost" if full else do


def _on_server(settings: Settings, here: Machine) -> Iterator[Finding]:
    """A database that is no file: whether it can be reached, and keeps what it acknowledges."""
    try:
        engine = open_engine(settings)
    except SettingsError as error:
        yield fail("database", str(error), error.hint)
        return
    try:
        yield from server.examine(engine)
        yield from _opened(engine, settings, here)
    except StorageError as error:
        yield fail("database", str(error), error.hint)
    finally:
        engine.close()


def _opened(engine: Engine, settings: Settings, here: Machine) -> Iterator[Finding]:
    wrong = engine.integrity()
    if wrong:
        do = _restoring(settings, "stop the server and restore: docs/self-hosting.md")
        yield fail("database", f"damaged: {wrong[0]}", do)
        return
    found = _versions(engine)
    yield found
    if found.level == "ok":
        yield machine.clock(here, _newest(engine))
        yield _events(engine, here)
        with suppress(SettingsError):  # a key that is none was told already
            if settings.server_key_path.exists():
                yield _fits(engine, serverkey.load(settings.server_key_path))


def unemptied(size: int) -> list[Finding]:
    """A write-ahead log of so many bytes that cannot be emptied, because somebody reads on and on."""
    if size <= _WAL:
        return []
    do = "restart the server; if it grows again, something reads for hours"
    return [warn("write-ahead log", f"{size // _MIB} MiB that should have been emptied", do)]


def _versions(engine: Engine) -> Finding:
    if "schemas" not in engine.tables():
        return ok("database", "empty; the first start fills it")
    present: dict[str, int] = dict(engine.all("SELECT name, version FROM schemas"))
    if any(present.get(schema.name, 0) > schema.version for schema in SCHEMAS):
        do = "install that version again, or put back the copy from before: docs/self-hosting.md"
        return fail("database", "written by a newer version of vrm", do)
    if any(present.get(schema.name, 0) < schema.version for schema in SCHEMAS):
        do = "back up first (vrm backup of the version before); the next start lifts it"
        return warn("database", "of an older version", do)
    return ok("database", "whole, of this version")


def _fits(engine: Engine, key: ServerKey) -> Finding:
    vaults = Vaults(engine, key, clock=SystemClock())
    strange, waiting = ways.strangers(engine, key)
    if strange or Consent(engine, vaults, SystemClock()).vendors.problems():
        do = (
            "restore the key that belongs to it; if this one is to stay: vrm vault vouch, then let people log"
            " in, and block the vendors that vrm check names (docs/self-hosting.md); records open either way"
        )
        return fail("server key", "some of this database was written with another", do)
    if waiting:
        told = f"{len(waiting)} vaults wait for a log-in since it was replaced"
        return warn("server key", told, "let their customers log in: until then vendors get nothing of them")
    return ok("server key", "fits the database")


def _events(engine: Engine, here: Machine) -> Finding:
    """Whether somebody sends vendors what waits for them, and whether they take it."""
    [waiting] = engine.one(
        "SELECT count(*) FROM events WHERE state = 'waiting' AND queue IS NULL AND at <= ?",
        (here.now - _UNSENT,),
    ) or (0,)
    if waiting:
        do = "start vrm worker, or let vrm serve do it: VRM_SEND_EVENTS=1"
        return warn("events", f"{waiting} wait for vendors, and nobody sends them", do)
    [failing] = engine.one("SELECT count(*) FROM event_queues WHERE failures >= ?", (_OFTEN,)) or (0,)
    if failing:
        do = "standard error names them; try with vrm worker --test CLIENT_ID, and ask them"
        return warn("events", f"{failing} vendors have not taken theirs for a while", do)
    return ok("events", "none waits for long")


def _newest(engine: Engine) -> int:
    """The latest moment that was written down; what lies in the future by right is not looked at."""
    row = engine.one(
        "SELECT max(at) FROM (SELECT max(created) AS at FROM vaults UNION ALL"
        " SELECT max(created) FROM vendors UNION ALL SELECT max(at) FROM log_entries UNION ALL"
        " SELECT max(at) FROM sweeps) AS moments"
    )
    return int(row[0]) if row and row[0] else 0


def kept(settings: Settings, here: Machine) -> Finding:
    """Copies from before an upgrade or a restore hold what was deleted since."""
    found = lifting.older(settings.database_path)
    if not found:
        return ok("copies", "none from before an upgrade or restore")
    days = (here.now - int(min(one.stat().st_mtime for one in found))) // 86_400
    told = f"{', '.join(one.name for one in found)}, up to {days} days old"
    do = "delete them when all is well: what ended or was deleted since is still in them"
    return warn("copies", told, do)


def backup(settings: Settings, here: Machine) -> Finding:
    """When `vrm backup` last finished."""
    at = copies.last_taken(settings.database_path)
    if at is None:
        return warn("backup", "vrm backup has never run here", "set up a timer: docs/self-hosting.md")
    day = datetime.fromtimestamp(at, UTC).date().isoformat()
    if here.now - at > _BACKUP:
        return warn("backup", f"the last one is of {day}", "look at the timer, and at its last run")
    return ok("backup", f"the last one is of {day}")
