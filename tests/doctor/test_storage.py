"""The data folder, the key and the database: each thing that can be wrong is provoked for real."""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from tests.conftest import CHEAP, PASSPHRASE
from tests.doctor.conftest import said
from tests.releases.conftest import unpack
from vrm.doctor import Finding, Machine, storage
from vrm.host import SCHEMAS, open_host
from vrm.settings import Settings
from vrm.vault import copies, lifting

DAY = 86_400


def of(check: str, settings: Settings, here: Machine) -> tuple[str, str]:
    """The worst that is said under this name."""
    found: list[Finding] = [one for one in storage.examine(settings, here) if one.check == check]
    return said(min(found, key=lambda one: ["FAIL", "warn", "ok"].index(one.level)))


def test_a_fresh_folder_is_well_but_for_the_backup(settings: Settings, here: Machine) -> None:
    levels = {one.check: one.level for one in storage.examine(settings, here)}
    assert levels.pop("backup") == "warn"
    assert set(levels.values()) == {"ok"}


def test_before_the_first_start_nothing_is_made(tmp_path: Path, here: Machine) -> None:
    settings = Settings(data_dir=tmp_path / "later" / "vrm")
    assert {one.level for one in storage.examine(settings, here)} == {"ok"}
    assert list(tmp_path.iterdir()) == []


def test_looking_changes_no_byte(settings: Settings, here: Machine) -> None:
    before = settings.database_path.read_bytes()
    list(storage.examine(settings, here))
    assert settings.database_path.read_bytes() == before


@pytest.mark.parametrize(("mode", "words"), [(0o750, "chmod 700"), (0o777, "chmod 700")])
def test_a_folder_open_to_others_fails(settings: Settings, here: Machine, mode: int, words: str) -> None:
    settings.data_dir.chmod(mode)
    level, text = of("data folder", settings, here)
    assert level == "FAIL"
    assert words in text


def test_a_file_that_others_may_read_fails(settings: Settings, here: Machine) -> None:
    settings.database_path.chmod(0o644)
    level, text = of("data folder", settings, here)
    assert level == "FAIL"
    assert "chmod 600" in text


def test_the_folder_of_another_account_is_not_opened(settings: Settings, here: Machine) -> None:
    other = replace(here, account=here.account + 1)
    assert of("data folder", settings, other)[0] == "FAIL"
    assert "not opened" in of("database", settings, other)[1]


def test_a_file_where_the_folder_should_be_fails(tmp_path: Path, here: Machine) -> None:
    (tmp_path / "data").write_text("")
    assert "is not a folder" in of("data folder", Settings(data_dir=tmp_path / "data"), here)[1]
    assert "cannot be made in" in of("data folder", Settings(data_dir=tmp_path / "data" / "vrm"), here)[1]


@pytest.mark.parametrize(("free", "level"), [(10 * 2**20, "FAIL"), (100 * 2**20, "warn"), (2**30, "ok")])
def test_a_disk_that_runs_full_is_said(settings: Settings, free: int, level: str) -> None:
    assert said(storage.space(settings, free))[0] == level


def test_a_missing_key_beside_data_fails(settings: Settings, here: Machine) -> None:
    settings.server_key_path.unlink()
    level, text = of("server key", settings, here)
    assert level == "FAIL"
    assert "restore it" in text


def test_a_key_that_is_none_or_open_to_others_fails(settings: Settings, here: Machine) -> None:
    settings.server_key_path.chmod(0o640)
    assert "chmod 600" in of("server key", settings, here)[1]
    settings.server_key_path.chmod(0o600)
    settings.server_key_path.write_text("something")
    assert "is not a server key" in of("server key", settings, here)[1]


def test_a_key_of_another_database_fails(settings: Settings, here: Machine, tmp_path: Path) -> None:
    host = open_host(settings, limits=CHEAP)
    host.vaults.create("alice", PASSPHRASE)
    host.engine.close()
    other = replace(settings, data_dir=tmp_path / "other")
    open_host(other).engine.close()
    shutil.copy(other.server_key_path, settings.server_key_path)
    level, text = of("server key", settings, here)
    assert level == "FAIL"
    assert "written with another" in text
    assert "vrm vault vouch" in text


def test_a_key_beside_the_database_of_a_public_host_is_said(
    settings: Settings, here: Machine, tmp_path: Path
) -> None:
    public = replace(settings, public_url="https://vault.example")
    level, text = of("server key", public, here)
    assert level == "warn"
    assert "VRM_SERVER_KEY_FILE" in text
    apart = tmp_path / "keys" / "server.key"
    apart.parent.mkdir()
    settings.server_key_path.rename(apart)
    assert of("server key", replace(public, server_key_file=str(apart)), here)[0] == "ok"


def test_a_database_that_is_none_or_damaged_fails(settings: Settings, here: Machine) -> None:
    whole = settings.database_path.read_bytes()
    settings.database_path.write_bytes(b"x" * 9000)
    assert "is not a database" in of("database", settings, here)[1]
    settings.database_path.write_bytes(whole[:8192] + b"\xff" * 4096 + whole[12288:])
    level, text = of("database", settings, here)
    assert level == "FAIL"
    assert "restore" in text
    settings.database_path.unlink()
    settings.database_path.mkdir()
    assert "is a folder" in of("database", settings, here)[1]


def test_newer_data_fails_and_older_data_is_announced_but_not_lifted(
    settings: Settings, here: Machine, tmp_path: Path
) -> None:
    with closing(sqlite3.connect(settings.database_path)) as raw:
        raw.execute("UPDATE schemas SET version = 99 WHERE name = 'vault'")
        raw.commit()
    assert of("database", settings, here)[0] == "FAIL"
    older = unpack("0.1.0", tmp_path / "older")
    level, text = of("database", replace(settings, data_dir=older.folder), here)
    assert level == "warn"
    assert "older version" in text
    with closing(sqlite3.connect(older.database)) as raw:
        assert dict(raw.execute("SELECT name, version FROM schemas")) == older.told["schemas"]


def test_a_log_that_is_not_emptied_is_said(settings: Settings, here: Machine) -> None:
    beside = settings.database_path.with_name("vrm.db-wal")
    with beside.open("wb") as out:
        out.truncate(65 * 2**20)  # a hole: no disk is filled
    beside.chmod(0o600)
    found = [one for one in storage.examine(settings, here) if one.check == "write-ahead log"]
    assert [one.level for one in found] in (["warn"], [])  # SQLite may empty what is none at once
    level, text = said(storage.unemptied(65 * 2**20)[0])
    assert level == "warn"
    assert "65 MiB" in text
    assert storage.unemptied(2**20) == []


def test_a_clock_behind_the_data_is_found(settings: Settings, here: Machine) -> None:
    host = open_host(settings)
    host.consent.vendors.add("Corner Books", ["https://x.example/cb"])
    host.engine.close()
    level, text = of("clock", settings, replace(here, now=here.now - 7200))
    assert level == "FAIL"
    assert "behind" in text


def test_copies_from_before_are_named_until_they_are_gone(settings: Settings, here: Machine) -> None:
    copy = lifting.keep(settings.database_path)
    os.utime(copy, (time.time() - 3 * DAY,) * 2)
    level, text = of("copies", settings, here)
    assert level == "warn"
    assert "3 days old" in text
    copy.unlink()
    (settings.data_dir / "before-restore-20261122T010101Z").mkdir(mode=0o700)
    assert "before-restore" in of("copies", settings, here)[1]


def test_the_age_of_the_last_backup_is_known(settings: Settings, here: Machine, tmp_path: Path) -> None:
    assert "never run" in of("backup", settings, here)[1]
    copies.take(settings.database_path, SCHEMAS, tmp_path / "copy", here.now)
    assert of("backup", settings, here)[0] == "ok"
    assert of("backup", settings, replace(here, now=here.now + 9 * DAY))[0] == "warn"


def planted(settings: Settings, sql: str, *values: object) -> None:
    with closing(sqlite3.connect(settings.database_path)) as raw, raw:
        raw.execute(sql, values)


def test_events_that_nobody_sends_are_told(settings: Settings, here: Machine) -> None:
    planted(
        settings,
        "INSERT INTO events (jti, grant_id, kind, at, due, routing, state, tries, answer)"
        " VALUES ('one', 'grant', 'consent-revoked', ?, 0, x'', 'waiting', 0, '')",
        here.now - 599,
    )
    assert of("events", settings, here)[0] == "ok"
    planted(settings, "UPDATE events SET at = at - 1")
    level, text = of("events", settings, here)
    assert (level, "VRM_SEND_EVENTS=1" in text) == ("warn", True)


def test_vendors_that_take_no_events_are_told(settings: Settings, here: Machine) -> None:
    planted(settings, "INSERT INTO event_queues VALUES (x'01', 4, 0, x'', 0)")
    assert of("events", settings, here)[0] == "ok"
    planted(settings, "UPDATE event_queues SET failures = 5")
    level, text = of("events", settings, here)
    assert (level, "--test" in text) == ("warn", True)


# ---- the settings file -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "mode", "level"),
    [
        ("postgresql+psycopg://vrm:hunter2@db/vrm", 0o644, "warn"),
        ("postgresql+psycopg://vrm@db/vrm?password=hunter2", 0o604, "warn"),
        ("postgresql+psycopg://vrm:hunter2@db/vrm", 0o640, "ok"),  # of root and the server's group
        ("postgresql+psycopg://vrm@db/vrm", 0o644, "ok"),
        ("postgresql+psycopg://vrm:hunter2@[db/vrm", 0o644, "warn"),
    ],
)
def test_a_password_in_the_settings_file_is_not_for_everybody(
    tmp_path: Path, url: str, mode: int, level: str
) -> None:
    toml = tmp_path / "vrm.toml"
    assert not list(storage.settings_file(toml))
    toml.write_text(f'database_url = "{url}"\n')
    toml.chmod(mode)
    (found,) = storage.settings_file(toml)
    told = said(found)
    assert told[0] == level
    assert "hunter2" not in told[1]
