"""Backup and restore of a host: what they refuse, what they say, and that nobody uses the data meanwhile."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import sqlite3
import stat
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.beside import only_sqlite
from tests.conftest import PASSPHRASE
from tests.vault.writers import unlocked
from vrm.cli import main
from vrm.errors import ConflictError, DataNewerError, FormatError, StorageError
from vrm.host import SCHEMAS
from vrm.vault import copies
from vrm.vault.occupied import Occupied
from vrm.vault.sqlite import SqliteEngine
from vrm.vault.vault import Vault, Vaults
from vrm.vault.wholefile import whole_file

pytestmark = only_sqlite
NOW = 1_795_000_000
Restore = Callable[..., copies.PutBack]


@pytest.fixture
def backup(vault: Vault, folder: Path, tmp_path: Path) -> Path:
    vault.records("purchases").put({"item": {"title": "Dune"}})
    copies.take(folder / "vrm.db", SCHEMAS, tmp_path / "copy", NOW)
    return tmp_path / "copy"


@pytest.fixture
def there(tmp_path: Path) -> Path:
    return tmp_path / "there" / "vrm.db"


def test_a_backup_is_one_private_file_whatever_the_umask(vault: Vault, folder: Path, tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        taken = copies.take(folder / "vrm.db", SCHEMAS, tmp_path / "out", NOW)
    finally:
        os.umask(before)
    assert taken == copies.Taken(tmp_path / "out", (tmp_path / "out").stat().st_size, 1, NOW)
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == 0o600
    assert {path.name for path in tmp_path.iterdir()} == {"out", "data"}


def test_a_backup_may_have_a_name_that_is_no_text(vault: Vault, folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "by\udcff.backup"
    taken = copies.take(folder / "vrm.db", SCHEMAS, target, NOW)
    assert taken.vaults == 1
    assert {os.fsencode(path.name) for path in tmp_path.iterdir()} == {b"by\xff.backup", b"data"}


def test_a_backup_replaces_no_file_unless_told_to(backup: Path, folder: Path) -> None:
    content = backup.read_bytes()
    with pytest.raises(ConflictError, match="there already"):
        copies.take(folder / "vrm.db", SCHEMAS, backup, NOW)
    assert backup.read_bytes() == content
    copies.take(folder / "vrm.db", SCHEMAS, backup, NOW + 1, force=True)
    assert backup.read_bytes() != content
    with pytest.raises(ConflictError, match="folder"):
        copies.take(folder / "vrm.db", SCHEMAS, folder, NOW, force=True)


def test_a_file_that_came_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    target = tmp_path / "out"
    writing = whole_file(target, force=False)
    writing.__enter__().write_bytes(b"mine")
    target.write_bytes(b"theirs")
    with pytest.raises(ConflictError):
        writing.__exit__(None, None, None)
    assert target.read_bytes() == b"theirs"
    assert list(tmp_path.iterdir()) == [target]


def test_two_backups_to_one_name_do_not_mix(tmp_path: Path) -> None:
    with whole_file(tmp_path / "out", force=True) as part:
        part.write_bytes(b"first")
        with pytest.raises(ConflictError, match="another command"), whole_file(tmp_path / "out", force=True):
            pass
    assert (tmp_path / "out").read_bytes() == b"first"


def test_a_link_planted_as_the_unfinished_file_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").write_bytes(b"precious")
    (tmp_path / "out.part").symlink_to(tmp_path / "precious")
    with pytest.raises(OSError, match=r"out\.part"), whole_file(tmp_path / "out", force=True):
        pass
    assert (tmp_path / "precious").read_bytes() == b"precious"


def test_a_restored_host_holds_the_same_vaults(backup: Path, there: Path) -> None:
    back = copies.put_back(backup, there, SCHEMAS, NOW + 5)
    assert back == copies.PutBack(1, NOW, None)
    assert {path.name for path in there.parent.iterdir()} == {"vrm.db", "vrm.db.open.lock"}
    assert stat.S_IMODE(there.stat().st_mode) == 0o600
    vault = unlocked(there.parent, PASSPHRASE)
    assert [document["item"] for _, document in vault.records("purchases").scan()] == [{"title": "Dune"}]
    assert copies.restored(vault.engine, vault.id) == copies.Restored(NOW, NOW + 5)
    copies.was_told(vault.engine, vault.id)
    assert copies.restored(vault.engine, vault.id) is None
    vault.engine.close()


def test_a_database_in_the_way_is_kept_aside_and_never_deleted(backup: Path, there: Path) -> None:
    for turn in range(3):
        if turn:
            with pytest.raises(ConflictError, match="a database already"):
                copies.put_back(backup, there, SCHEMAS, NOW)
        back = copies.put_back(backup, there, SCHEMAS, NOW, force=True)
        assert (back.aside is not None) == bool(turn)
    aside = sorted(path.name for path in there.parent.glob("before-restore-*"))
    assert aside == ["before-restore-20261118T110640Z", "before-restore-20261118T110640Z-2"]


def test_what_the_write_ahead_log_holds_is_kept_aside_too(backup: Path, there: Path) -> None:
    copies.put_back(backup, there, SCHEMAS, NOW)
    raw = sqlite3.connect(there)
    raw.execute("PRAGMA journal_mode=WAL")
    raw.execute("PRAGMA wal_autocheckpoint=0")
    raw.execute("INSERT INTO restored VALUES ('late', 1, 1)")
    raw.commit()
    wal, shm = there.with_name("vrm.db-wal"), there.with_name("vrm.db-shm")
    log = wal.read_bytes()
    raw.close()
    wal.write_bytes(log)  # as a kill leaves it
    shm.unlink(missing_ok=True)
    back = copies.put_back(backup, there, SCHEMAS, NOW, force=True)
    assert back.aside is not None
    with closing(sqlite3.connect(back.aside / "vrm.db")) as old:
        assert old.execute("SELECT count(*) FROM restored WHERE vault = 'late'").fetchone() == (1,)
    assert not wal.exists()
    with closing(sqlite3.connect(there)) as new:
        assert new.execute("SELECT count(*) FROM restored WHERE vault = 'late'").fetchone() == (0,)


def test_a_damaged_database_is_kept_aside_as_it_is(backup: Path, there: Path, folder: Path) -> None:
    there.parent.mkdir()
    there.write_bytes(b"no database")
    there.with_name("vrm.db-wal").write_bytes(b"no log")
    back = copies.put_back(backup, there, SCHEMAS, NOW, force=True)
    assert back.aside is not None
    assert (back.aside / "vrm.db").read_bytes() == b"no database"
    assert (back.aside / "vrm.db-wal").read_bytes() == b"no log"
    assert back.changed is None
    shutil.copy(folder / "server.key", there.parent)
    assert unlocked(there.parent, PASSPHRASE).check() == []


def test_a_second_name_that_a_killed_restore_left_is_taken_away(backup: Path, there: Path) -> None:
    copies.put_back(backup, there, SCHEMAS, NOW)
    left = there.parent / "before-restore-20200101T000000Z"
    left.mkdir()
    os.link(there, left / "vrm.db")
    back = copies.put_back(backup, there, SCHEMAS, NOW, force=True)
    assert list(there.parent.glob("before-restore-*")) == [back.aside]


def test_a_file_system_without_links_is_good_enough(
    backup: Path, there: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("os.link", refuse)
    copies.take(folder / "vrm.db", SCHEMAS, tmp_path / "second", NOW)
    copies.put_back(tmp_path / "second", there, SCHEMAS, NOW)
    back = copies.put_back(tmp_path / "second", there, SCHEMAS, NOW, force=True)
    assert back.aside is not None
    assert stat.S_IMODE((back.aside / "vrm.db").stat().st_mode) == 0o600
    monkeypatch.undo()  # the server key is made with a link
    shutil.copy(folder / "server.key", there.parent)
    assert unlocked(there.parent, PASSPHRASE).check() == []


def test_an_unfinished_file_that_another_one_finished_meanwhile_is_not_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = fcntl.flock

    def late(descriptor: int, how: int) -> None:
        taken(descriptor, how)
        (tmp_path / "out.part").rename(tmp_path / "out")

    monkeypatch.setattr("fcntl.flock", late)
    with pytest.raises(ConflictError), whole_file(tmp_path / "out", force=True):
        pytest.fail("wrote into what another one had finished")


def test_progress_is_told_of_backup_and_restore(
    backup: Path, there: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copies, "_STEPS", 1)
    told: list[tuple[str, int, int]] = []
    copies.take(folder / "vrm.db", SCHEMAS, tmp_path / "b", NOW, progress=lambda *step: told.append(step))
    copies.put_back(tmp_path / "b", there, SCHEMAS, NOW, progress=lambda *step: told.append(step))
    assert {step for step, _, _ in told} == {"copying", "restoring"}
    assert all(done <= total for _, done, total in told)


def test_a_database_that_cannot_be_read_gives_no_backup(tmp_path: Path) -> None:
    (tmp_path / "vrm.db").write_bytes(b"no database at all, but long enough to be looked at" * 100)
    with pytest.raises(StorageError):
        copies.take(tmp_path / "vrm.db", SCHEMAS, tmp_path / "out", NOW)
    assert not list(tmp_path.glob("out*"))


def test_a_place_that_cannot_be_taken_is_a_fault_of_the_storage(tmp_path: Path) -> None:
    with pytest.raises(StorageError):
        Occupied(tmp_path / "missing" / "vrm.db")


# --- what is no backup


def test_other_files_are_refused_and_change_nothing(
    vault: Vault, folder: Path, there: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    for content in (b"", b"PK\x03\x04", b"SQLite format 3\0", (folder / "vrm.db").read_bytes()):
        other.write_bytes(content)
        with pytest.raises(FormatError):
            copies.put_back(other, there, SCHEMAS, NOW)
    assert not there.exists()


@pytest.mark.parametrize(
    ("spoil", "error"),
    [
        ("UPDATE backup SET format = 2", DataNewerError),
        ("UPDATE schemas SET version = 99 WHERE name = 'vault'", DataNewerError),
        ("INSERT INTO schemas VALUES ('unknown', 1)", DataNewerError),
        ("DELETE FROM backup", StorageError),
        ("DROP TABLE backup", StorageError),
        ("UPDATE backup SET taken = 'yesterday'", StorageError),
        ("CREATE TRIGGER t AFTER INSERT ON sessions BEGIN DELETE FROM vaults; END", StorageError),
        ("CREATE VIEW v AS SELECT * FROM vaults", StorageError),
        ("DROP TABLE schemas", StorageError),
    ],
)
def test_a_backup_that_vrm_did_not_write_so_is_refused(
    backup: Path, there: Path, spoil: str, error: type[Exception]
) -> None:
    with closing(sqlite3.connect(backup)) as raw:
        raw.execute(spoil)
        raw.commit()
    with pytest.raises(error):
        copies.put_back(backup, there, SCHEMAS, NOW)
    assert not there.exists()
    assert not (there.parent / "restoring").exists()


def test_a_damaged_backup_is_refused(backup: Path, there: Path) -> None:
    content = bytearray(backup.read_bytes())
    content[4096 * 3 : 4096 * 9] = os.urandom(4096 * 6)
    backup.write_bytes(content)
    with pytest.raises(StorageError, match="damaged"):
        copies.put_back(backup, there, SCHEMAS, NOW)
    backup.write_bytes(content[: len(content) // 2])
    with pytest.raises(StorageError, match="damaged"):
        copies.put_back(backup, there, SCHEMAS, NOW)
    assert not there.exists()


# --- nobody uses it meanwhile


def test_a_restore_waits_for_nobody_and_replaces_nothing_in_use(backup: Path, folder: Path) -> None:
    content = (folder / "vrm.db").read_bytes()
    with pytest.raises(ConflictError, match="in use"):
        copies.put_back(backup, folder / "vrm.db", SCHEMAS, NOW, force=True)
    assert (folder / "vrm.db").read_bytes() == content


def test_nothing_opens_data_that_is_being_replaced(backup: Path, there: Path) -> None:
    copies.put_back(backup, there, SCHEMAS, NOW)
    with Occupied(there, alone=True):
        with pytest.raises(StorageError, match="being replaced"):
            SqliteEngine(there)
        with pytest.raises(ConflictError):
            Occupied(there, alone=True)
    SqliteEngine(there).close()


def test_an_engine_that_was_forgotten_holds_nothing(there: Path) -> None:
    there.parent.mkdir()
    engine = SqliteEngine(there)
    del engine
    with Occupied(there, alone=True):
        pass


# --- the commands


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "passphrase").write_text(PASSPHRASE + "\n")
    return tmp_path


@pytest.fixture
def host(vault: Vault, engine: SqliteEngine, folder: Path) -> Path:
    """A data folder that nobody has open."""
    vault.records("purchases").put({"item": {"title": "Dune"}})
    engine.close()
    return folder


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, list[str]]:
    code = main([str(one) for one in arguments])
    told = capsys.readouterr()
    return code, told.out, told.err.splitlines()


def test_the_commands_back_up_and_restore(host: Path, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "backup", "copy", "--data-dir", host, "--json")
    values = json.loads(out)
    assert (code, err) == (0, [])
    assert values == {
        "path": "copy",
        "bytes": (here / "copy").stat().st_size,
        "vaults": 1,
        "taken": values["taken"],
    }
    code, out, err = run(capsys, "restore", "copy", "--data-dir", host, "--force", "--json")
    again = json.loads(out)
    assert (code, err) == (0, [])
    assert again == {
        "vaults": 1,
        "taken": values["taken"],
        "aside": again["aside"],
        "server_key": "same",
        "vendors": [],
    }
    assert (Path(again["aside"]) / "vrm.db").exists()
    code, out, _ = run(
        capsys, "check", "--data-dir", host, "--vault", "alice", "--passphrase-file", "passphrase", "--json"
    )
    assert (code, json.loads(out)["problems"]) == (0, [])


def test_the_backup_says_that_the_server_key_is_kept_apart(
    host: Path, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, out, _ = run(capsys, "backup", "copy", "--data-dir", host)
    assert f"The server key is not in it: keep a copy of {host / 'server.key'} apart from it." in out


@pytest.mark.parametrize(
    ("kind", "told"), [("none", "There is no server key"), ("other", "is another server key")]
)
def test_the_restore_says_whether_the_server_key_fits(
    host: Path, here: Path, capsys: pytest.CaptureFixture[str], kind: str, told: str
) -> None:
    run(capsys, "backup", "copy", "--data-dir", host)
    if kind == "other":
        run(capsys, "vault", "invite", "--data-dir", "there")  # begins a host
    code, out, _ = run(capsys, "restore", "copy", "--data-dir", "there", "--force")
    assert code == 0
    assert told in out
    assert (here / "there" / "server.key").exists() == (kind == "other")


def test_the_restore_says_whom_the_host_had_blocked(
    host: Path, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    at = ("--data-dir", host)
    added = ("vendor", "add", "Emma's Books", "--redirect-uri", "https://books.example/cb", "--json")
    client = json.loads(run(capsys, *added, *at)[1])["client_id"]
    run(capsys, "backup", "copy", *at)
    assert run(capsys, "vendor", "block", client, *at)[0] == 0
    code, out, err = run(capsys, "restore", "copy", "--force", *at)
    assert (code, err) == (0, [])
    assert f"Vendors: Emma's Books ({client}) was blocked since, and stays blocked." in out
    assert json.loads(run(capsys, "vendor", "list", "--json", *at)[1])[0]["blocked"]
    for path in host.glob("vrm.db*"):
        path.write_bytes(b"no database")
    _, out, _ = run(capsys, "restore", "copy", "--force", *at)
    assert "The database that was there cannot be read: if you blocked vendors since" in out
    _, out, _ = run(capsys, "restore", "copy", "--data-dir", "there")
    assert "There was no database here: if you blocked vendors since" in out


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("backup", "copy", "--data-dir", "nowhere"), "there is no database"),
        (("backup", "passphrase"), "there already"),
        (("restore", "passphrase"), "not a backup"),
        (("restore", "missing"), "missing"),
        (("vault", "import", "passphrase", "--passphrase-file", "passphrase"), "not an export"),
        (("vault", "import", "missing"), "missing"),
        (
            ("vault", "export", "alice", "-o", "passphrase", "--passphrase-file", "passphrase"),
            "there already",
        ),
        (("vault", "delete", "bob", "--passphrase-file", "passphrase"), "no such vault"),
        (("vault", "delete", "alice", "--passphrase-file", "passphrase"), "nothing was deleted"),
        (("vault", "delete", "alice", "--without-passphrase", "--yes", "bob"), "nothing was deleted"),
    ],
    ids=lambda value: " ".join(value[:3]) if isinstance(value, tuple) else "",
)
def test_the_commands_complain_in_one_line(
    host: Path, here: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], error: str
) -> None:
    chosen = arguments if "--data-dir" in arguments else (*arguments, "--data-dir", str(host))
    code, out, err = run(capsys, *chosen)
    assert (code, out) == (1, "")
    assert err[0].startswith("error: ")
    assert error in err[0]
    assert len(err) <= 2


def test_the_commands_move_a_vault(host: Path, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    at, asked = ("--data-dir", host), ("--passphrase-file", "passphrase")
    code, out, err = run(capsys, "vault", "export", "alice", "-o", "a.vrm", "--json", *at, *asked)
    written = json.loads(out)
    assert (code, err, written["records"], written["username"]) == (0, [], 1, "alice")
    assert written["bytes"] == (here / "a.vrm").stat().st_size
    assert stat.S_IMODE((here / "a.vrm").stat().st_mode) == 0o600
    code, out, err = run(
        capsys, "vault", "delete", "alice", "--without-passphrase", "--yes", "alice", "--json", *at
    )
    deleted = json.loads(out)
    assert (code, err, deleted["username"], deleted["deleted"]["records"]) == (0, [], "alice", 1)
    code, out, err = run(capsys, "vault", "import", "a.vrm", "--as", "Alice-2", "--json", *at, *asked)
    came = json.loads(out)
    assert (code, err) == (0, [])
    assert came == {
        "vault": written["vault"],
        "username": "alice-2",
        "taken": came["taken"],
        "records": 1,
    }
    assert run(capsys, "check", "--vault", "alice-2", *at, *asked)[0] == 0


def test_a_recovery_code_from_a_file_brings_a_vault(
    vaults: Vaults, engine: SqliteEngine, folder: Path, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, code = vaults.create("carol", PASSPHRASE)
    engine.close()
    (here / "code").write_text(code.lower() + "\n")
    asked = ("--data-dir", folder, "--passphrase-file", "passphrase")
    assert run(capsys, "vault", "export", "carol", "-o", "c.vrm", *asked)[0] == 0
    said = run(capsys, "vault", "import", "c.vrm", "--recovery-code-file", "code", "--data-dir", "there")
    assert said[0] == 0
    assert "carol" in said[1]
    (here / "code").write_text("0000\n")
    said = run(capsys, "vault", "import", "c.vrm", "--recovery-code-file", "code", "--data-dir", "other")
    assert said[0] == 1
    assert said[2][0] == "error: this does not open the export"


def test_a_wrong_passphrase_deletes_nothing(
    host: Path, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "wrong").write_text("wrong wrong wrong")
    asked = ("--data-dir", host, "--passphrase-file", "wrong")
    assert run(capsys, "vault", "delete", "alice", "--yes", "alice", *asked)[0] == 1
    vault = unlocked(host, PASSPHRASE)
    assert vault.check() == []
    vault.engine.close()
