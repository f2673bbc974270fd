"""Kills a change of keys at every write, or lets the disk fill there.

`python -m tests.faults.keys KIND FAULT FOLDER STRIDE`: the act runs in a fork of this process and dies there.
Afterwards every way in that is good at that point must open everything, nothing may be amiss, and going on
must finish. FOLDER holds a prepared data folder; a line is printed for each distinct state that was found.
"""

from __future__ import annotations

import os
import resource
import shutil
import signal
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from tests.conftest import CHEAP, PASSPHRASE, SettableClock
from vrm.consent.service import Consent
from vrm.errors import UnlockError, VrmError
from vrm.host import SCHEMAS
from vrm.vault import keyslots, rotation, serverkey
from vrm.vault.engine import Engine
from vrm.vault.sqlite import SqliteEngine
from vrm.vault.vault import Vault, Vaults

OTHER = "a passphrase for the time after"
WRITES = ("INSERT", "UPDATE", "DELETE", "REPLACE", "BEGIN IMMEDIATE", "COMMIT", "PRAGMA wal_checkpoint")
_connect = sqlite3.connect


@contextmanager
def host(folder: Path) -> Iterator[tuple[Vaults, Consent]]:
    """The data of a folder, with everybody who must seal something anew."""
    with closing(SqliteEngine(folder / "vrm.db")) as engine:
        engine.install(SCHEMAS)
        clock = SettableClock()
        vaults = Vaults(engine, serverkey.load(folder / "server.key"), clock=clock, limits=CHEAP)
        yield vaults, Consent(engine, vaults, clock)


# ---- acts -----------------------------------------------------------------------------------------


def rotate(folder: Path) -> None:
    with host(folder) as (vaults, consent):
        opened = vaults.unlock("alice", PASSPHRASE)
        consent.rotate(opened, PASSPHRASE, keep_connections=True)
        opened.go_on_rotating()


def lose_a_device(folder: Path) -> None:
    """With another passphrase, and every connection ended."""
    with host(folder) as (vaults, consent):
        opened = vaults.unlock("alice", PASSPHRASE)
        consent.rotate(opened, PASSPHRASE, OTHER)
        opened.go_on_rotating()


def change(folder: Path) -> None:
    with host(folder) as (vaults, _):
        vaults.unlock("alice", PASSPHRASE).change_passphrase(PASSPHRASE, OTHER)


def renew(folder: Path) -> None:
    with host(folder) as (vaults, _):
        vaults.unlock("alice", PASSPHRASE).new_recovery_code(PASSPHRASE)


def recover(folder: Path) -> None:
    """With a code that a rotation has handed the new root to."""
    with host(folder) as (vaults, _):
        vaults.recover("alice", code_of(folder), OTHER)


def unlock(folder: Path) -> None:
    """Where a rotation is not finished, it goes on with it."""
    with host(folder) as (vaults, _):
        assert vaults.unlock("alice", PASSPHRASE).records("purchases").count()


ACTS = {
    "unlock": unlock,
    "rotate": rotate,
    "lose": lose_a_device,
    "change": change,
    "renew": renew,
    "recover": recover,
}


def code_of(folder: Path) -> str:
    return (folder / "code.txt").read_text()


# ---- faults ---------------------------------------------------------------------------------------


def forked(act: Callable[[], object]) -> bool:
    """Run in a child; whether it came to its end."""
    child = os.fork()
    if not child:
        try:
            act()
        except VrmError:
            os._exit(3)
        except BaseException:  # noqa: BLE001 - the child must never go on as its parent
            sys.excepthook(*sys.exc_info())
            os._exit(4)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, 3, -signal.SIGKILL), "the act failed of itself"
    return code == 0


def killed(act: Callable[[], object], last: int) -> bool:
    """Killed before its `last` write, after the one before it."""
    left = last

    def step(sql: str) -> None:
        nonlocal left
        left -= sql.lstrip().startswith(WRITES)
        if left <= 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def connect(*arguments: Any, **rest: Any) -> sqlite3.Connection:
        raw: sqlite3.Connection = _connect(*arguments, **rest)
        raw.set_trace_callback(step)
        return raw

    def run() -> None:
        sqlite3.connect = connect  # type: ignore[assignment]
        act()

    return forked(run)


def starved(act: Callable[[], object], size: int) -> bool:
    """May write no file beyond so many pages of the write-ahead log."""

    def run() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        limit = size * 4120
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        act()

    return forked(run)


# ---- what is left ---------------------------------------------------------------------------------


def state(folder: Path, known: set[str]) -> str:
    """What tells one state from another: not the sealed bytes, which differ each time."""
    with closing(_connect(folder / "vrm.db")) as raw:
        tables = [row[0] for row in raw.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        counts = [raw.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables]
        slots = raw.execute(
            "SELECT slot, kind, generation, length(handed) FROM keyslots ORDER BY kind"
        ).fetchall()
        far = raw.execute("SELECT part, after, done FROM rotations").fetchall()
    return repr((counts, [(slot in known, *rest) for slot, *rest in slots], far))


def slots_of(folder: Path) -> set[str]:
    with closing(_connect(folder / "vrm.db")) as raw:
        return {row[0] for row in raw.execute("SELECT slot FROM keyslots")}


def whole(opened: Vault, consent: Consent, engine: Engine) -> str:
    """Nothing if the vault is as it was, else what is not."""
    titles = sorted(document["item"]["title"] for _, document in opened.records("purchases").scan())
    problems = opened.check() + consent.problems(opened) + consent.grants.differences(opened)
    problems += engine.integrity()
    return (
        ""
        if titles == sorted(f"Book {number}" for number in range(len(titles))) and titles and not problems
        else str([titles, problems])
    )


@contextmanager
def unhurried(vaults: Vaults) -> Iterator[None]:
    """An unlock goes on with nothing, so that what is unfinished can be looked at."""
    usual, vaults.at_unlock = vaults.at_unlock, 0
    yield
    vaults.at_unlock = usual


def look(folder: Path, codes: tuple[str, ...]) -> str:
    """Through which ways in the vault opens, each to everything; then after going on to the end."""
    with host(folder) as (vaults, consent):
        with unhurried(vaults):
            [good] = [one for one in (PASSPHRASE, OTHER) if opens(vaults.unlock, "alice", one)]
            opened = vaults.unlock("alice", good)
            unfinished = "unfinished" if opened.rotating() else "finished"
            broken = whole(opened, consent, vaults.engine)
            [code] = [one for one in codes if opens(vaults.recover, "alice", one, good)]
            broken += whole(vaults.recover("alice", code, good), consent, vaults.engine)
        for again in (vaults.unlock("alice", good), vaults.recover("alice", code, good)):
            assert again.go_on_rotating() is None
            broken += whole(again, consent, vaults.engine)
        told = f"generation {again.keyring.generation}, {unfinished}, {good}, {codes.index(code)}"
        return told + (broken and f" BROKEN {broken}")


def opens(act: Callable[..., object], *credential: str) -> bool:
    try:
        act(*credential)
    except UnlockError:
        return False
    return True


def run(kind: str, fault: str, base: Path, stride: int) -> None:
    """Every step in turn on a copy of the folder `base`."""
    trial, seen, fresh = base.with_name("trial"), set(), keyslots.new_code()
    keyslots.new_code = lambda: fresh  # the code that the act will make, so that it can be tried
    at, known = 1, slots_of(base)
    while True:
        shutil.rmtree(trial, ignore_errors=True)
        shutil.copytree(base, trial)
        ended = {"kill": killed, "full": starved}[fault](lambda: ACTS[kind](trial), at)
        found = state(trial, known)
        if found not in seen:
            seen.add(found)
            print(f"{at}: {look(trial, (code_of(base), fresh))}", flush=True)
        if ended:
            return
        at += stride


if __name__ == "__main__":
    rotation.BATCH = 2 if sys.argv[1] in ("rotate", "lose") else 50
    run(sys.argv[1], sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]))
