"""Data of every released version is lifted whole: everything in it is found again, or nothing was changed."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.conftest import SettableClock
from tests.releases.conftest import Release
from tests.small_disk import on_small_disk
from vrm import __version__
from vrm.cli import main
from vrm.consent.vendors import Vendor
from vrm.errors import DataNewerError, StorageError, TokenError
from vrm.host import SCHEMAS, Host, open_host
from vrm.settings import Settings
from vrm.vault import lifting
from vrm.vault.invitations import Invitations

ROOT = Path(__file__).parents[2]
CURRENT = {schema.name: schema.version for schema in SCHEMAS}


def vendor_of(host: Host, release: Release, name: str) -> Vendor:
    return host.consent.vendors.get(release.told["vendors"][name]["client_id"])


def versions(database: Path) -> dict[str, int]:
    with closing(sqlite3.connect(database)) as raw:
        return dict(raw.execute("SELECT name, version FROM schemas"))


def shape(database: Path) -> dict[str, Any]:
    """Tables, columns, indexes and references as SQLite understands them."""
    with closing(sqlite3.connect(database)) as raw:
        rows = raw.execute("SELECT type, name FROM sqlite_master WHERE name NOT LIKE 'sqlite_%'").fetchall()
        found: dict[str, Any] = {}
        for kind, name in rows:
            asked = ("table_xinfo", "foreign_key_list") if kind == "table" else ("index_xinfo",)
            found[f"{kind} {name}"] = [raw.execute(f"PRAGMA {one}({name})").fetchall() for one in asked]
        tables = raw.execute("SELECT name, type, wr, strict FROM pragma_table_list WHERE schema = 'main'")
        return {**found, "kinds": sorted(tables.fetchall())}


def content(database: Path) -> str:
    """Everything in it, as text."""
    with closing(sqlite3.connect(database)) as raw:
        return hashlib.sha256("\n".join(raw.iterdump()).encode()).hexdigest()


# ---- everything is found again ---------------------------------------------------------------------------


def test_every_record_opens_with_the_passphrase(release: Release, host: Host) -> None:
    for name, told in release.told["vaults"].items():
        vault = host.vaults.unlock(name, told["passphrase"])
        assert vault.id == told["vault"]
        for collection, records in told["records"].items():
            assert dict(vault.records(collection).scan()) == records
        assert vault.check() == []


def test_every_record_opens_with_the_recovery_code(release: Release, host: Host) -> None:
    for name, told in release.told["vaults"].items():
        vault = host.vaults.recover(name, told["recovery_code"], "a passphrase for the time after")
        for collection, records in told["records"].items():
            assert dict(vault.records(collection).scan()) == records
        assert host.consent.problems(vault) == []


def test_a_session_goes_on(release: Release, host: Host) -> None:
    told = release.told["session"]
    assert host.vaults.resume(told["secret"]).username == told["vault"]


def test_the_log_reads_as_before(release: Release, host: Host) -> None:
    for name, told in release.told["vaults"].items():
        log = host.consent.log.read(host.vaults.unlock(name, told["passphrase"]), 10_000)
        assert [
            [one.at, one.event, one.grant_id, one.vendor_name, one.stream, one.count, one.reason]
            for one in log
        ] == told["log"]


def test_a_token_still_reads_its_view_and_nothing_else(release: Release, host: Host) -> None:
    told, reader = release.told["reading"], host.consent.reader
    access = reader.authenticate(told["access_token"])
    rows, more = reader.page(access, "purchases", limit=500)
    assert [json.loads(row) for row in rows] == told["rows"]
    assert more is None
    assert " ".join(access.scopes) == told["scope"]


def test_a_cursor_from_before_tells_what_has_gone(release: Release, host: Host) -> None:
    told, reader = release.told["reading"], host.consent.reader
    changes, _, _ = reader.changes(
        reader.authenticate(told["access_token"]), "purchases", cursor=told["cursor"]
    )
    assert [one["id"] for one in map(json.loads, changes) if one.get("gone")] == told["gone"]


def test_an_answer_is_still_given(release: Release, host: Host) -> None:
    told, reader = release.told["correcting"], host.consent.reader
    answer = reader.answer(reader.authenticate(told["access_token"]), "corrections")
    assert told["answer"]
    assert json.loads(answer) == told["answer"]


def test_a_refresh_token_still_gives_a_new_one_once(release: Release, host: Host) -> None:
    vendor, told = vendor_of(host, release, "reading"), release.told["reading"]
    fresh = host.consent.tokens.refresh(told["refresh_token"], vendor)
    rows, _ = host.consent.reader.page(host.consent.reader.authenticate(fresh.access_token), "purchases")
    assert len(rows) == len(told["rows"])


def test_a_code_is_still_good_for_tokens(release: Release, host: Host) -> None:
    told = release.told["code"]
    shop = release.told["vendors"][told["vendor"]]
    vendor = vendor_of(host, release, told["vendor"])
    tokens = host.consent.tokens.redeem(told["code"], vendor, shop["redirect_uri"], shop["verifier"])
    assert tokens.scope == "profile.sizes:read"


def test_a_request_still_waits(release: Release, host: Host) -> None:
    told = release.told["request"]
    assert host.consent.requests.open(told["handle"]).number == told["number"]


def test_an_invitation_is_still_good(release: Release, host: Host) -> None:
    if "invitation" not in release.told:
        pytest.skip(f"{release.told['version']} knew no invitations")
    Invitations.of(host.vaults).require(release.told["invitation"])


def test_what_was_left_is_told_and_what_waits_is_filed(release: Release, host: Host) -> None:
    if "writing" not in release.told:
        pytest.skip(f"{release.told['version']} took nothing in")
    told, deposits = release.told["writing"], host.consent.deposits
    access = host.consent.reader.authenticate(told["access_token"])
    for status in ("filed", "pending"):
        assert deposits.one(access, "purchases", told[status]["id"])[0].status == status
    vault = host.vaults.unlock("alice", release.told["vaults"]["alice"]["passphrase"])
    host.consent.at_unlock(vault)
    assert deposits.one(access, "purchases", told["pending"]["id"])[0].status == "filed"
    titles = [document["item"]["title"] for _, document in vault.records("purchases").scan()]
    for status in ("filed", "pending"):
        assert titles.count(told[status]["title"]) == 1


def test_what_was_revoked_stays_revoked(release: Release, host: Host) -> None:
    with pytest.raises(TokenError):
        host.consent.reader.authenticate(release.told["ended"]["access_token"])


def test_vendors_keep_their_secrets_and_their_blocks(release: Release, host: Host) -> None:
    assert host.consent.vendors.problems() == []
    for name, told in release.told["vendors"].items():
        vendor = vendor_of(host, release, name)
        assert (vendor.name, vendor.blocked) == (told["name"], name == "blocked")
        if told["secret"]:
            assert host.consent.vendors.check_secret(vendor, told["secret"])


def test_the_views_are_what_the_policy_says(release: Release, host: Host) -> None:
    for name, told in release.told["vaults"].items():
        assert host.consent.grants.differences(host.vaults.unlock(name, told["passphrase"])) == []


@pytest.mark.parametrize("years", [1, 20])
def test_years_later_everything_is_found_as_well(release: Release, years: int) -> None:
    release.clock.forward(years * 365 * 86_400)
    host = release.open()
    host.consent.sweep()
    test_every_record_opens_with_the_passphrase(release, host)
    for name, told in release.told["vaults"].items():
        vault = host.vaults.unlock(name, told["passphrase"])
        assert host.consent.at_unlock(vault) == []
        assert host.consent.grants.differences(vault) == []
        assert len(host.consent.log.read(vault, 10_000)) >= len(told["log"])
    host.engine.close()


def test_the_command_that_checks_finds_nothing(
    release: Release, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, told in release.told["vaults"].items():
        (tmp_path / "phrase").write_text(told["passphrase"])
        common = ["--data-dir", str(release.folder), "--passphrase-file", str(tmp_path / "phrase"), "--json"]
        assert main(["check", "--vault", name, *common]) == 0
        assert json.loads(capsys.readouterr().out)["problems"] == []


def test_a_fixture_of_this_version_can_be_frozen(tmp_path: Path) -> None:
    frozen = making().freeze(tmp_path / "now")
    told = Release(tmp_path / "now", frozen, SettableClock(frozen["at"] + 30))
    host = told.open()
    test_every_record_opens_with_the_passphrase(told, host)
    test_the_log_reads_as_before(told, host)
    test_a_token_still_reads_its_view_and_nothing_else(told, host)
    test_an_invitation_is_still_good(told, host)
    test_what_was_left_is_told_and_what_waits_is_filed(told, host)
    host.engine.close()
    assert lifting.kept(told.database) == []


def making() -> ModuleType:
    """scripts/make_release_fixture.py as a module."""
    spec = importlib.util.spec_from_file_location(
        "make_release_fixture", ROOT / "scripts" / "make_release_fixture.py"
    )
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


# ---- what lifting does -----------------------------------------------------------------------------------


def test_lifted_tables_are_those_of_a_fresh_database(release: Release, host: Host, tmp_path: Path) -> None:
    fresh = Settings(data_dir=tmp_path / "fresh", public_url="http://127.0.0.1:8600")
    open_host(fresh).engine.close()
    assert versions(release.database) == versions(fresh.database_path)
    assert shape(release.database) == shape(fresh.database_path)


def test_a_second_start_changes_nothing(release: Release) -> None:
    release.open().engine.close()
    before = content(release.database), [path.stat().st_mtime_ns for path in lifting.kept(release.database)]
    release.open().engine.close()
    after = content(release.database), [path.stat().st_mtime_ns for path in lifting.kept(release.database)]
    assert after == before


def test_the_data_from_before_is_kept_whole_private_and_named_once(
    release: Release, caplog: pytest.LogCaptureFixture
) -> None:
    before = content(release.database)
    release.open().engine.close()
    (copy,) = lifting.kept(release.database)
    assert copy.name == f"vrm.db.before-{__version__}"
    assert copy.stat().st_mode & 0o777 == 0o600
    assert content(copy) == before
    assert [str(copy) in message for message in caplog.messages] == [True]
    release.open().engine.close()
    assert len(caplog.messages) == 1


def test_what_a_running_server_has_not_checkpointed_is_in_the_copy(release: Release) -> None:
    with closing(sqlite3.connect(release.database)) as raw:
        raw.execute("UPDATE vaults SET confirmed = 5")
        raw.commit()
        assert release.database.with_name("vrm.db-wal").stat().st_size
        release.open().engine.close()
    with closing(sqlite3.connect(lifting.kept(release.database)[0])) as raw:
        assert raw.execute("SELECT DISTINCT confirmed FROM vaults").fetchall() == [(5,)]


def test_the_copy_goes_by_itself_after_two_weeks(release: Release) -> None:
    release.open().engine.close()
    (copy,) = lifting.kept(release.database)
    made = int(copy.stat().st_mtime)
    assert lifting.forget(release.database, made + lifting.KEEP - 60) == []
    assert lifting.forget(release.database, made + lifting.KEEP + 60) == [copy]
    assert not copy.exists()
    assert release.database.exists()


def test_deleting_a_vault_or_renewing_its_keys_names_the_copies_that_still_hold_them(
    release: Release, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    phrase = tmp_path / "phrase"
    phrase.write_text(release.told["vaults"]["bob"]["passphrase"])
    common = ["bob", "--data-dir", str(release.folder), "--passphrase-file", str(phrase)]
    assert main(["vault", "rotate", *common]) == 0
    (copy,) = lifting.kept(release.database)
    assert f"The old keys still open this copy of the data; delete it: {copy}" in capsys.readouterr().out
    assert main(["vault", "delete", *common, "--yes", "bob"]) == 0
    assert f"So does this copy; delete it: {copy}" in capsys.readouterr().out
    copy.unlink()
    (tmp_path / "phrase").write_text(release.told["vaults"]["alice"]["passphrase"])
    assert main(["vault", "delete", "alice", *common[1:], "--yes", "alice", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["copies"] == []


def test_the_copy_put_back_is_lifted_again(release: Release) -> None:
    release.open().engine.close()
    (copy,) = lifting.kept(release.database)
    for path in release.folder.glob("vrm.db-*"):
        path.unlink()
    copy.replace(release.database)
    assert versions(release.database) == release.told["schemas"]
    release.open().engine.close()
    assert versions(release.database) == CURRENT


# ---- and where it cannot be done -------------------------------------------------------------------------

STUCK = """
import sys
from dataclasses import replace
from pathlib import Path
from vrm.consent.service import SCHEMA as CONSENT
from vrm.vault.sqlite import SqliteEngine
from vrm.vault.layout import SCHEMA

SLOW = "WITH RECURSIVE c (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT 1000000000)" \\
    " UPDATE vaults SET watched = (SELECT max(x) FROM c)"
last = replace(CONSENT, steps={**CONSENT.steps, CONSENT.version: (*CONSENT.steps[CONSENT.version], SLOW)})
SqliteEngine(Path(sys.argv[1])).install([SCHEMA, last])
"""

FULL = """
import resource, signal, sys
from dataclasses import replace
from pathlib import Path
from vrm.consent.service import SCHEMA as CONSENT
from vrm.errors import StorageError
from vrm.vault.sqlite import SqliteEngine
from vrm.vault.layout import SCHEMA

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
BIG = "INSERT INTO sweeps SELECT randomblob(100000), 1 FROM requests, vendors, keyslots"
last = replace(CONSENT, steps={**CONSENT.steps, CONSENT.version: (*CONSENT.steps[CONSENT.version], BIG)})
try:
    SqliteEngine(Path(sys.argv[1])).install([SCHEMA, last])
except StorageError as error:
    print(error, error.hint)
"""


def run(script: str, *arguments: object) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE)


def test_killed_in_the_middle_the_older_data_is_whole(release: Release) -> None:
    before = content(release.database)
    running = run(STUCK, release.database)
    while not lifting.kept(release.database):
        assert running.poll() is None
        time.sleep(0.01)
    time.sleep(0.3)  # the steps are done, the last of them never ends
    assert running.poll() is None
    os.kill(running.pid, signal.SIGKILL)
    running.communicate()
    assert versions(release.database) == release.told["schemas"]
    assert content(release.database) == before
    host = release.open()
    test_every_record_opens_with_the_passphrase(release, host)
    host.engine.close()


@pytest.mark.parametrize("seed", range(20 if os.environ.get("VRM_TEST_LONG") == "1" else 2))
def test_a_command_killed_at_any_moment_leaves_old_or_new_data_whole(
    release: Release, tmp_path: Path, seed: int
) -> None:
    command = [sys.executable, "-m", "vrm", "vault", "list", "--data-dir", str(release.folder)]
    running = subprocess.Popen(command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)})
    beside = release.folder / "vrm.db.write.lock"
    while not beside.exists() and running.poll() is None:  # from here on it works with the data
        time.sleep(0.001)
    time.sleep(random.Random(seed).uniform(0, 0.06))
    running.kill()
    running.communicate()
    assert versions(release.database) in (release.told["schemas"], CURRENT)
    host = release.open()
    test_every_record_opens_with_the_passphrase(release, host)
    test_a_token_still_reads_its_view_and_nothing_else(release, host)
    host.engine.close()


@pytest.mark.parametrize(
    ("bytes_over", "complaint"), [(-50_000, "could not be copied"), (50_000, "storage refused")]
)
def test_on_a_disk_that_takes_no_more_the_older_data_is_whole(
    release: Release, bytes_over: int, complaint: str
) -> None:
    before = content(release.database)
    limit = release.database.stat().st_size + bytes_over
    said, _ = run(FULL, release.database, limit).communicate()
    assert complaint in said.decode()
    assert not list(release.folder.glob("*.part"))
    assert versions(release.database) == release.told["schemas"]
    assert content(release.database) == before


def test_without_room_for_a_copy_nothing_begins(release: Release, tmp_path: Path) -> None:
    small = tmp_path / "small"
    listing = f"{sys.executable} -m vrm vault list --data-dir {small}; ls {small}"
    tried = on_small_disk(small, "8m", "sh", "-c", f"cp -p {release.folder}/* {small} && {listing}")
    assert tried.stderr.count("\n") == 2, tried.stderr
    error, hint = tried.stderr.splitlines()
    assert error.startswith("error: the data is of an older version, and there is no room to upgrade it")
    assert "MiB must be free beside" in hint
    assert [name for name in tried.stdout.split() if "before" in name] == []


def test_without_room_to_spare_nothing_begins(release: Release, monkeypatch: pytest.MonkeyPatch) -> None:
    before = content(release.database)
    monkeypatch.setattr(lifting, "_SPARE", shutil.disk_usage(release.folder).total)
    with pytest.raises(StorageError, match="no room to upgrade") as refused:
        release.open()
    assert str(release.database) in str(refused.value.hint)
    assert lifting.kept(release.database) == []
    assert content(release.database) == before
    assert versions(release.database) == release.told["schemas"]


def test_a_place_where_no_copy_can_be_written_stops_it_before_it_begins(release: Release) -> None:
    """Whatever stands there is not deleted: it is not ours."""
    in_the_way = release.database.with_name(f"{release.database.name}.before-{__version__}.part")
    in_the_way.mkdir()
    before = content(release.database)
    with pytest.raises(StorageError, match="could not be copied") as refused:
        release.open()
    assert "then start again" in str(refused.value.hint)
    assert in_the_way.is_dir()
    assert versions(release.database) == release.told["schemas"]
    assert content(release.database) == before
    in_the_way.rmdir()
    release.open()
    assert versions(release.database) == CURRENT


def test_newer_data_is_refused_and_left_alone(release: Release) -> None:
    with closing(sqlite3.connect(release.database)) as raw:
        raw.execute("UPDATE schemas SET version = 99 WHERE name = 'consent'")
        raw.commit()
    before = content(release.database)
    with pytest.raises(DataNewerError):
        release.open()
    assert content(release.database) == before
    assert lifting.kept(release.database) == []
