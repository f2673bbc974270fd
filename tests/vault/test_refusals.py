"""What SQLite says where the disk is full is not always that it is full."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from types import SimpleNamespace

import pytest

from vrm.vault.refusals import refused

FULL = "the disk is full; nothing was changed"


def failed(code: int) -> sqlite3.Error:
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = code
    return error


@pytest.mark.parametrize(
    ("disk", "full"),
    [
        ({}, False),
        ({"f_bavail": 100}, True),
        ({"f_favail": 0}, True),
        ({"f_files": 0, "f_favail": 0}, False),  # a file system that counts none
        ({"f_bavail": 0, "f_flag": os.ST_RDONLY}, False),
    ],
)
@pytest.mark.parametrize("code", [sqlite3.SQLITE_IOERR_SHMSIZE, sqlite3.SQLITE_CANTOPEN])
def test_a_full_disk_is_said_whatever_sqlite_makes_of_it(
    code: int, disk: dict[str, int], full: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = {"f_bavail": 10_000, "f_frsize": 4096, "f_files": 9, "f_favail": 9, "f_flag": 0} | disk
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(**there))
    told = refused(failed(code), disk=tmp_path / "vrm.db")
    assert (str(told) == FULL) is full
    assert ("make room" in told.hint) is full
    assert "disk I/O error" in told.hint


def test_where_no_disk_is_known_nothing_is_guessed(tmp_path: Path) -> None:
    for disk in (None, tmp_path / "nowhere" / "vrm.db"):
        assert str(refused(failed(sqlite3.SQLITE_IOERR), disk=disk)) != FULL
