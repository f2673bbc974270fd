"""kill -9 and a full disk during backup, restore, import and deletion of vaults: whole or not at all."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import stat
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.conftest import CHEAP, PASSPHRASE, SettableClock
from tests.faults.household import Server, free_port
from tests.vault.writers import unlocked
from vrm.consent.service import Consent
from vrm.host import SCHEMAS
from vrm.vault import copies, serverkey
from vrm.vault.sqlite import SqliteEngine
from vrm.vault.vault import Vaults

ROOT = Path(__file__).parents[2]
ENVIRON = {**os.environ, "PYTHONPATH": os.environ.get("PYTHONPATH", str(ROOT))}
LONG = bool(os.environ.get("VRM_TEST_LONG"))


def make(folder: Path, *titles: str) -> Path:
    """A data folder with alice's vault and these purchases, closed."""
    folder.mkdir(mode=0o700)
    with closing(SqliteEngine(folder / "vrm.db")) as engine:
        engine.install(SCHEMAS)
        vaults = Vaults(engine, serverkey.load(folder / "server.key"), clock=SettableClock(), limits=CHEAP)
        if titles:
            vault, _ = vaults.create("alice", PASSPHRASE)
            for title in titles:
                vault.records("purchases").put({"item": {"title": title}})
            with (folder.parent / "export").open("wb") as out:
                Consent(engine, vaults, SettableClock()).moves.export(vault, out)
        copies.take(folder / "vrm.db", SCHEMAS, folder.parent / "backup", 1_795_000_000, force=True)
    return folder


def run(act: str, base: Path, how: object) -> list[Any]:
    """The verdicts of tests/faults/steps.py."""
    told = subprocess.run(
        [sys.executable, "-m", "tests.faults.steps", act, str(base), json.dumps(how)],
        cwd=ROOT,
        env=ENVIRON,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return [json.loads(line) for line in told.stdout.splitlines()]


def stride(everyday: int) -> int:
    return 1 if LONG else everyday


def test_a_restore_killed_at_any_step_leaves_the_old_state_or_the_new(tmp_path: Path) -> None:
    make(tmp_path / "other", "new")
    new = (tmp_path / "backup").read_bytes()
    base = make(tmp_path / "base", "old")
    (tmp_path / "backup").write_bytes(new)
    *killed, last = run("restore", base, stride(23))
    assert last == ["new", True]
    assert {state for state, _ in killed} <= {"old then new", "new then new"}
    assert killed
    (kept,) = (tmp_path / "trial").glob("before-restore-*")
    shutil.copy(base / "server.key", kept)
    vault = unlocked(kept, PASSPHRASE)
    assert [document["item"]["title"] for _, document in vault.records("purchases").scan()] == ["old"]
    assert vault.check() == []
    vault.engine.close()


def test_a_restore_into_an_empty_folder_killed_at_any_step_leaves_nothing_or_all(tmp_path: Path) -> None:
    make(tmp_path / "other", "new")
    base = tmp_path / "base"
    base.mkdir()
    shutil.copy(tmp_path / "other" / "server.key", base)
    *killed, last = run("restore", base, stride(29))
    assert last == ["new", True]
    assert {state for state, _ in killed} <= {"nothing then new", "new then new"}


def test_a_restore_without_room_leaves_the_old_state(tmp_path: Path) -> None:
    make(tmp_path / "other", *(f"new {number}" for number in range(30)))
    new = (tmp_path / "backup").read_bytes()
    base = make(tmp_path / "base", "old")
    (tmp_path / "backup").write_bytes(new)
    verdicts = run("restore", base, [0, 100_000, len(new) - 4096, len(new) + 2**22])
    assert [ended for _, ended in verdicts] == [False, False, False, True]
    assert {state for state, ended in verdicts if not ended} == {"old"}
    assert verdicts[-1][0].count("new") == 30


def test_an_import_of_a_vault_killed_at_any_step_leaves_nothing_or_all(tmp_path: Path) -> None:
    shutil.rmtree(make(tmp_path / "base", "came"))
    base = make(tmp_path / "base")
    *killed, last = run("bring", base, stride(41))
    assert last == ["came", True]
    assert {state for state, _ in killed} <= {"no vault, 0 rows then came", "came then came"}
    assert killed


def test_an_import_of_a_vault_without_room_leaves_nothing(tmp_path: Path) -> None:
    shutil.rmtree(make(tmp_path / "base", *(f"came {number}" for number in range(60))))
    base = make(tmp_path / "base")
    *refused, last = run("bring", base, [0, 20_000, 100_000, 2**24])
    assert refused == [["no vault, 0 rows", False]] * 3
    assert last == [",".join(sorted(f"came {number}" for number in range(60))), True]


def test_a_deletion_killed_at_any_step_leaves_the_vault_or_nothing(tmp_path: Path) -> None:
    base = make(tmp_path / "base", "old")
    *killed, last = run("delete", base, stride(7))
    assert last == ["no vault, 0 rows", True]
    assert {state for state, _ in killed} <= {
        "old then no vault, 0 rows",
        "no vault, 0 rows then no vault, 0 rows",
    }
    assert killed


# --- backups


def start_writers(folder: Path, log: Path, count: int) -> list[subprocess.Popen[bytes]]:
    group: list[subprocess.Popen[bytes]] = []
    for number in range(count):
        with log.open("ab") as out:
            group.append(
                subprocess.Popen(
                    [sys.executable, "-m", "tests.faults.writer", "write", str(folder), f"w{number}"],
                    cwd=ROOT,
                    env=ENVIRON,
                    stdout=out,
                    process_group=group[0].pid if group else 0,
                )
            )
    return group


def told(log: Path) -> list[list[str]]:
    return [line.split() for line in log.read_text().splitlines(keepends=True) if line.endswith("\n")]


def test_a_backup_under_eight_writers_holds_all_that_was_acknowledged_before_it(
    vaults: Vaults, folder: Path, tmp_path: Path
) -> None:
    vaults.create("alice", PASSPHRASE)
    log = tmp_path / "told"
    log.touch()
    group = start_writers(folder, log, 8)
    try:
        taken = []
        for number in range(2 if LONG else 1):
            while len(told(log)) < 60 * (number + 1):
                assert {writer.poll() for writer in group} == {None}, "the writers ended by themselves"
                time.sleep(0.002)  # the processor is the writers'
            before = told(log)
            copies.take(folder / "vrm.db", SCHEMAS, tmp_path / f"b{number}", 1_795_000_000)
            taken.append(before)
    finally:
        os.killpg(group[0].pid, signal.SIGKILL)
        for writer in group:
            writer.wait()
    after = {record for _, record in told(log)}
    for number, before in enumerate(taken):
        there = tmp_path / f"there{number}"
        copies.put_back(tmp_path / f"b{number}", there / "vrm.db", SCHEMAS, 1_795_000_000)
        vault = unlocked(there, PASSPHRASE)
        assert vault.check() == []
        assert vault.engine.integrity() == []
        found = {record: document["item"]["title"] for record, document in vault.records("purchases").scan()}
        inserted = {record for word, record in before if word == "inserted"}
        removed = {record for word, record in before if word == "removed"}
        maybe = {record for word, record in told(log) if word in ("removing", "removed")}
        assert inserted - maybe <= found.keys()
        assert not removed & found.keys()
        assert len(found.keys() - after) <= 8  # acknowledged only after the kill: one for each writer
        vault.engine.close()


def test_a_backup_without_room_leaves_no_file(tmp_path: Path) -> None:
    base = make(tmp_path / "base", *(f"book {number}" for number in range(40)))

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, 150_000))

    target = tmp_path / "out" / "copy"
    target.parent.mkdir()
    answer = subprocess.run(
        [sys.executable, "-m", "vrm", "backup", str(target), "--data-dir", str(base)],
        cwd=tmp_path,
        env=ENVIRON,
        capture_output=True,
        text=True,
        preexec_fn=limit,
    )
    assert answer.returncode == 1
    assert answer.stderr.startswith("error: ")
    assert list(target.parent.iterdir()) == []


def test_a_backup_killed_in_the_middle_is_in_nobodys_way(tmp_path: Path) -> None:
    base = make(tmp_path / "base", "old")
    target = tmp_path / "copy"
    (tmp_path / "copy.part").write_bytes(b"left by a killed backup")
    (tmp_path / "copy.part").chmod(0o644)
    copies.take(base / "vrm.db", SCHEMAS, target, 1_795_000_000)
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert not (tmp_path / "copy.part").exists()
    copies.put_back(target, tmp_path / "there" / "vrm.db", SCHEMAS, 1_795_000_000)


def test_an_export_to_a_full_disk_leaves_no_file(tmp_path: Path) -> None:
    base = make(tmp_path / "base", *(f"book {number}" for number in range(40)))

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))

    answer = subprocess.run(
        [
            *(sys.executable, "-m", "vrm", "vault", "export", "alice", "-o", str(tmp_path / "a.vrm")),
            *("--data-dir", str(base), "--passphrase-file", "-"),
        ],
        cwd=tmp_path,
        env=ENVIRON,
        input=PASSPHRASE,
        capture_output=True,
        text=True,
        preexec_fn=limit,
    )
    assert answer.returncode == 1
    assert answer.stderr.startswith("error: ")
    assert not list(tmp_path.glob("a.vrm*"))


def command(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "vrm", *map(str, arguments)],
        cwd=ROOT,
        env=ENVIRON,
        capture_output=True,
        text=True,
    )


def test_a_served_host_is_backed_up_but_never_replaced(tmp_path: Path) -> None:
    base = make(tmp_path / "base", "old")
    server = Server(base, free_port())
    try:
        assert command("backup", tmp_path / "served", "--data-dir", base).returncode == 0
        for turn in range(2):
            refused = command("restore", tmp_path / "served", "--data-dir", base, "--force")
            assert refused.returncode == 1
            assert "the data is in use by a server" in refused.stderr
            assert "hint: stop `vrm serve`" in refused.stderr
            if not turn:
                os.kill(server.workers()[0], signal.SIGKILL)  # another takes its place; the place stays taken
        assert not list(base.glob("before-restore-*"))
    finally:
        server.kill()
    back = command("restore", tmp_path / "served", "--data-dir", base, "--force", "--json")
    assert back.returncode == 0, back.stderr
    assert json.loads(back.stdout)["server_key"] == "same"
    vault = unlocked(base, PASSPHRASE)
    assert [document["item"]["title"] for _, document in vault.records("purchases").scan()] == ["old"]
    vault.engine.close()
