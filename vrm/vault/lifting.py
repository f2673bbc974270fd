"""Before data of an older version is lifted: a copy of the database file, kept beside it for the way back.

Promises: the copy is what was committed, whole or not there, on the disk before the lifting begins, and as
private as the database. It is a copy of everything: what a customer deletes or ends afterwards still stands
in it. So it goes by itself after `KEEP`, and `vrm doctor` names it. Refuses to start where there is no room.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

from vrm import __version__
from vrm.errors import StorageError
from vrm.vault.wholefile import sync

KEEP = 14 * 86_400  # seconds that a copy stays
_MARK = ".before-"
_SPARE = 16 * 2**20  # bytes that must be left for what else runs


def keep(database: Path) -> Path:
    """Copy the database to `NAME.before-VERSION`; StorageError where that cannot be done.

    The caller holds the write lock and has written nothing yet. A copy of the same name is replaced: it is
    of a try that did not end, or of a time before the host went back and came again.
    """
    target = database.with_name(f"{database.name}{_MARK}{__version__}")
    part = target.with_name(target.name + ".part")
    _require_room(database)
    try:
        os.close(os.open(part, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600))
        with closing(sqlite3.connect(database)) as source, closing(sqlite3.connect(part)) as copy:
            source.backup(copy)
        part.replace(target)
        sync(target.parent)
    except (OSError, sqlite3.Error) as error:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise StorageError(
            "the data is of an older version and could not be copied before the upgrade; nothing was changed",
            hint=f"{error}; make room beside {database}, then start again",
        ) from error
    return target


def kept(database: Path) -> list[Path]:
    """The copies beside a database, the oldest first."""
    found = database.parent.glob(f"{database.name}{_MARK}*")
    return sorted(found, key=lambda path: path.stat().st_mtime)


def older(database: Path) -> list[Path]:
    """Copies from before upgrades and restores: they still hold what was deleted since."""
    return [*kept(database), *sorted(database.parent.glob("before-restore-*"))]


def forget(database: Path, now: int) -> list[Path]:
    """Delete the copies that are older than `KEEP`; returns which."""
    old = [path for path in kept(database) if path.stat().st_mtime < now - KEEP]
    for path in old:
        path.unlink(missing_ok=True)
    return old


def _require_room(database: Path) -> None:
    """Room for the copy, for as much again in the write-ahead log, and some to spare."""
    beside = database.with_name(database.name + "-wal")
    size = database.stat().st_size + (beside.stat().st_size if beside.exists() else 0)
    free = shutil.disk_usage(database.parent).free
    if free < 2 * size + _SPARE:
        raise StorageError(
            "the data is of an older version, and there is no room to upgrade it; nothing was changed",
            hint=f"{(2 * size + _SPARE) >> 20} MiB must be free beside {database}; {free >> 20} MiB are",
        )
