"""What disks and SQLite refuse, in words that say what to do.

Promises: an error that names the cause and a way out; the machine's own words stand behind it. Refuses to
guess: what is not in the tables is a refusal of the storage, with the machine's words as the hint.
"""

from __future__ import annotations

import errno
import os
import sqlite3
from pathlib import Path

from vrm.errors import StorageError

_LOOK = "run as the account that owns it; `vrm doctor` looks closer"
_RESTORE = "keep these files, then put the last backup back: docs/self-hosting.md, restore"
_FULL = ("the disk is full; nothing was changed", "make room, then try again")

_OF_THE_SYSTEM = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EROFS: (
        "{path} is on a disk that can only be read",
        "mount it for writing, or name another folder",
    ),
    errno.EACCES: ("{path} cannot be opened for writing", _LOOK),
    errno.EPERM: ("{path} cannot be opened for writing", _LOOK),
    errno.EISDIR: ("{path} is a folder, not a file", "VRM_DATABASE_URL names a file: sqlite:///PATH"),
    errno.ENOTDIR: ("{path} leads through something that is no folder", "VRM_DATA_DIR names a folder"),
    errno.EEXIST: ("{path} is no folder", "VRM_DATA_DIR names a folder"),
}
_OF_SQLITE = {
    sqlite3.SQLITE_FULL: _FULL,
    sqlite3.SQLITE_NOTADB: ("{path} is not a database", "name another with --data-dir; or " + _RESTORE),
    sqlite3.SQLITE_CORRUPT: ("the database is damaged", "stop the server; " + _RESTORE),
    sqlite3.SQLITE_BUSY: (
        "another program keeps the database to itself; nothing was changed",
        "end it (an open sqlite3, a program that copies files), then try again",
    ),
    sqlite3.SQLITE_LOCKED: ("the database is locked; nothing was changed", "try again"),
    sqlite3.SQLITE_READONLY: ("{path} cannot be written", _LOOK),
    sqlite3.SQLITE_CANTOPEN: ("{path} cannot be opened", _LOOK),
    sqlite3.SQLITE_PERM: ("{path} cannot be opened", _LOOK),
}

# What SQLite says where there is no room for the files beside a database, or for a page of them.
_PERHAPS_FULL = (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN)
_NOTHING = 2**20  # bytes free; it needs some pages more than it could write


def _is_full(path: Path | None) -> bool:
    """Whether the disk that this file is on, or is to be on, has no room left."""
    if path is None:
        return False
    try:
        there = os.statvfs(path.parent)
    except OSError:
        return False
    written = not there.f_flag & os.ST_RDONLY
    names = not there.f_files or there.f_favail > 0
    return written and (there.f_bavail * there.f_frsize < _NOTHING or not names)


def refused(
    error: OSError | sqlite3.Error, path: Path | None = None, *, disk: Path | None = None
) -> StorageError:
    """The StorageError for what was refused at `path`; `disk`: a file on that disk, where none is told."""
    if isinstance(error, OSError):
        found = _OF_THE_SYSTEM.get(error.errno or 0)
    else:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # without its subtype
        found = _OF_SQLITE.get(code)
        if code in _PERHAPS_FULL and _is_full(path or disk):
            found = _FULL
    if found is None:
        return StorageError(hint=str(error))
    what, do = found
    return StorageError(what.format(path=path or "the database"), hint=f"{do} ({error})")
