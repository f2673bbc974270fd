"""kill -9 and a full disk: what was acknowledged is there, what was not is wholly absent."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import PASSPHRASE
from tests.vault.writers import unlocked
from vrm.errors import StorageError, UnlockError
from vrm.vault.sqlite import SqliteEngine
from vrm.vault.vault import Vault, Vaults

ROOT = Path(__file__).parents[2]
ENVIRON = {**os.environ, "PYTHONPATH": os.environ.get("PYTHONPATH", str(ROOT))}
OTHER = "a passphrase for the time after"
STRICT = os.environ.get("VRM_TEST_STRICT") == "1"


def start(kind: str, folder: Path, count: int, log: Path) -> list[subprocess.Popen[bytes]]:
    """A process group of writers whose lines all go into `log`."""
    group: list[subprocess.Popen[bytes]] = []
    for at in range(count):
        with log.open("ab") as out:
            writer = subprocess.Popen(
                [sys.executable, "-m", "tests.faults.writer", kind, folder, f"w{at}"],
                cwd=ROOT,
                env=ENVIRON,
                stdout=out,
                process_group=group[0].pid if group else 0,
            )
        group.append(writer)
    return group


def kill_after(group: list[subprocess.Popen[bytes]], log: Path, lines: int) -> list[list[str]]:
    """Kill the whole group once so many lines were acknowledged; returns the lines."""
    while log.read_bytes().count(b"\n") < lines:
        assert {writer.poll() for writer in group} == {None}, "the writers ended by themselves"
        time.sleep(0.002)  # the processor is the writers'
    os.killpg(group[0].pid, signal.SIGKILL)
    for writer in group:
        writer.wait()
    return [line.split() for line in log.read_text().splitlines(keepends=True) if line.endswith("\n")]


def standing(told: list[list[str]]) -> dict[str, set[str]]:
    """The acknowledged ids by the last word on each; one whose removal was under way is in none."""
    last = {record: word for word, record in told}
    return {
        word: {record for record, said in last.items() if said == word}
        for word in ("inserted", "edited", "removed")
    }


@pytest.mark.parametrize("seed", range(5) if STRICT else range(2))
def test_everything_acknowledged_survives_a_kill(
    vault: Vault, folder: Path, tmp_path: Path, seed: int
) -> None:
    log = tmp_path / "told"
    log.touch()
    group = start("write", folder, 3, log)
    told = standing(kill_after(group, log, random.Random(seed).randrange(40, 160)))
    found = {document.doc_id: document for document in vault.table("purchases")}
    assert told["inserted"] | told["edited"] <= found.keys()
    assert {found[record]["context"].get("for") for record in told["edited"]} <= {"gift"}
    assert not told["removed"] & found.keys()
    unacknowledged = found.keys() - told["inserted"] - told["edited"]
    assert len(unacknowledged) <= 3  # at most the one that each writer was about to tell
    assert vault.check() == []
    assert vault.engine.integrity() == []
    vault.table("purchases").insert({"item": {"title": "after the kill"}})
    assert vault.check() == []


def test_an_import_killed_in_the_middle_shows_nothing_and_is_swept_by_the_next(
    vault: Vault, folder: Path, engine: SqliteEngine, tmp_path: Path
) -> None:
    records = vault.records("purchases")
    kept = records.put({"item": {"title": "before"}})
    log = tmp_path / "told"
    log.touch()
    kill_after(start("bring", folder, 1, log), log, 10)
    hidden = engine.one("SELECT count(*) FROM records WHERE import > 0")
    assert hidden is not None
    assert hidden[0] >= 200
    assert records.ids() == [kept]
    assert vault.check() == []
    with records.staging() as staging:
        assert engine.one("SELECT count(*) FROM records WHERE import > 0") == (0,)
        staging.add([(b"1", records.check({"item": {"title": "after"}}))])
        staging.publish(lambda current, newer: newer)
    assert sorted(document["item"]["title"] for _, document in records.scan()) == ["after", "before"]
    assert vault.check() == []


@pytest.mark.parametrize("changes", [1, 2, 3])
def test_a_change_of_passphrase_killed_anywhere_leaves_one_way_in(
    vaults: Vaults, folder: Path, tmp_path: Path, changes: int
) -> None:
    vault, code = vaults.create("alice", PASSPHRASE)
    record = vault.records("purchases").put({"item": {"title": "Dune"}})
    log = tmp_path / "told"
    log.touch()
    kill_after(start("change", folder, 1, log), log, 1 + changes)
    opening = []
    for passphrase in (PASSPHRASE, OTHER):
        try:
            opening.append(vaults.unlock("alice", passphrase))
        except UnlockError:
            continue
    (opened,) = opening
    assert opened.records("purchases").get(record)["item"] == {"title": "Dune"}
    assert opened.check() == []
    assert vaults.recover("alice", code, PASSPHRASE).check() == []


def test_a_full_disk_stops_no_reading_and_no_later_writing(vault: Vault, engine: SqliteEngine) -> None:
    table = vault.table("purchases")
    stored = [table.insert({"item": {"title": f"before {number}"}}) for number in range(5)]
    row = engine.one("PRAGMA page_count")
    engine.one(f"PRAGMA max_page_count={(row or (0,))[0] + 4}")
    refused = 0
    for number in range(30):
        try:
            stored.append(table.insert({"item": {"title": f"full {number}"}}))
        except StorageError:
            refused += 1
    assert refused
    assert {document.doc_id for document in table} == set(stored)
    assert vault.check() == []
    engine.one("PRAGMA max_page_count=1000000")
    table.update({"notes": {"text": "room again"}})
    assert vault.check() == []


FULL = """
import resource, signal, sys
from pathlib import Path
from tests.conftest import PASSPHRASE
from tests.vault.writers import purchase, unlocked
from vrm.errors import StorageError
vault = unlocked(Path(sys.argv[1]), PASSPHRASE)
table = vault.table("purchases")
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, resource.RLIM_INFINITY))
refused = 0
for number in range(200):
    try:
        print(table.insert(purchase(str(number))), flush=True)
    except StorageError:
        refused += 1
assert refused, "the disk never filled"
try:
    vault.change_passphrase(PASSPHRASE, "a passphrase for the time after")
    print("changed")
except StorageError:
    print("refused")
"""


def test_a_disk_that_takes_no_more_bytes_loses_nothing_acknowledged(vault: Vault, folder: Path) -> None:
    told = subprocess.run(
        [sys.executable, "-c", FULL, folder],
        cwd=ROOT,
        env=ENVIRON,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout.split()
    change = told.pop()
    assert told
    opened = unlocked(folder, OTHER if change == "changed" else PASSPHRASE)
    assert {document.doc_id for document in opened.table("purchases")} == set(told)
    assert opened.check() == []
    opened.table("purchases").insert({"item": {"title": "room again"}})
    assert opened.check() == []
    opened.engine.close()
