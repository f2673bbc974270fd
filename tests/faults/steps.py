"""Kills an act at its steps, one after the other, or starves it of room on the disk.

`python -m tests.faults.steps ACT FOLDER STRIDE` (or a JSON list of sizes instead of a stride) prints for
each trial, as JSON, the state that was left, and whether the act came to its end.

A step is a file opened, renamed, linked or removed, a folder made, a database opened, an SQL statement. The
act runs in a fork of this process which kills itself there; then this process looks at what is left.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import sqlite3
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from tests.conftest import CHEAP, PASSPHRASE, SettableClock
from vrm.consent.service import Consent
from vrm.errors import ConflictError, UnlockError, VrmError
from vrm.host import SCHEMAS
from vrm.vault import copies, removal, serverkey
from vrm.vault.moving import Credential
from vrm.vault.sqlite import SqliteEngine
from vrm.vault.vault import Vaults

STEPS = {"open", "os.rename", "os.link", "os.remove", "os.mkdir", "os.rmdir", "sqlite3.connect"}
_connect = sqlite3.connect


class Steps:
    """Counts the steps of this process and kills it at one of them."""

    def __init__(self, last: int) -> None:
        self.left = last

    def __call__(self, event: str, _: object = None) -> None:
        if event in STEPS:
            self.left -= 1
            if self.left <= 0:
                os.kill(os.getpid(), signal.SIGKILL)

    def connect(self, *arguments: Any, **rest: Any) -> sqlite3.Connection:
        """A connection of which every statement is a step."""
        raw = _connect(*arguments, **rest)
        raw.set_trace_callback(lambda _: self("open"))
        return raw


def fork(act: Callable[[], object]) -> bool:
    """Run in a child; whether it came to its end."""
    child = os.fork()
    if not child:
        try:
            act()
        except (VrmError, OSError):
            os._exit(3)
        except BaseException:  # noqa: BLE001 - a child never comes back from here
            sys.excepthook(*sys.exc_info())
            os._exit(4)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    assert os.waitstatus_to_exitcode(status) in (0, 3, -signal.SIGKILL), "the act failed of itself"
    return os.waitstatus_to_exitcode(status) == 0


def killed(act: Callable[[], object], last: int) -> bool:
    """Run in a child that is killed at its `last` step; whether it came to its end before."""

    def run() -> None:
        steps = Steps(last)
        sys.addaudithook(steps)
        sqlite3.connect = steps.connect  # type: ignore[assignment,method-assign]
        act()

    return fork(run)


def starved(act: Callable[[], object], size: int) -> bool:
    """Run in a child that may write no file beyond `size` bytes; whether it came to its end."""

    def run() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
        act()

    return fork(run)


def opened(folder: Path) -> str:
    """What alice's vault holds: the titles, or why it is not whole."""
    database = folder / "vrm.db"
    if not database.exists():
        return "nothing"
    with closing(SqliteEngine(database)) as engine:
        engine.install(SCHEMAS)
        vaults = Vaults(engine, serverkey.load(folder / "server.key"), clock=SettableClock(), limits=CHEAP)
        vaults.adopt()  # as the start of a host does where the key is new
        if not vaults.listing():
            rows = sum(engine.one(f"SELECT count(*) FROM {table}")[0] for table in engine.tables())
            return f"no vault, {rows - len(SCHEMAS)} rows"
        vault = vaults.unlock("alice", PASSPHRASE)
        problems = [
            *vault.check(),
            *Consent(engine, vaults, SettableClock()).problems(vault),
            *engine.integrity(),
        ]
        titles = sorted(document["item"]["title"] for _, document in vault.records("purchases").scan())
        return f"broken: {problems}" if problems else ",".join(titles)


def trials(base: Path, act: Callable[[Path], object], stride: int) -> Iterator[tuple[str, bool]]:
    """(state, whether it came to its end) after a kill at every so many steps of an act on a copy."""
    folder = base.with_name("trial")
    for last in range(1, 100_000, stride):
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(base, folder)
        ended = killed(lambda: act(folder), last)
        state = opened(folder)
        if not ended:  # what a kill left is in nobody's way
            with suppress(ConflictError, UnlockError):
                act(folder)
            state += f" then {opened(folder)}"
        yield state, ended
        if ended:
            return


def hungry(base: Path, act: Callable[[Path], object], sizes: Sequence[int]) -> Iterator[tuple[str, bool]]:
    """The same where no file may grow beyond each of these sizes."""
    folder = base.with_name("trial")
    for size in sizes:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(base, folder)
        ended = starved(lambda: act(folder), size)
        yield opened(folder), ended


def restore(folder: Path) -> None:
    """The backup that lies beside the folder becomes its data."""
    copies.put_back(folder.with_name("backup"), folder / "vrm.db", SCHEMAS, 1_795_000_000, force=True)


def bring(folder: Path) -> None:
    """The export that lies beside the folder becomes a vault of it."""
    with closing(SqliteEngine(folder / "vrm.db")) as engine:
        engine.install(SCHEMAS)
        vaults = Vaults(engine, serverkey.load(folder / "server.key"), clock=SettableClock(), limits=CHEAP)
        with folder.with_name("export").open("rb") as source:
            Consent(engine, vaults, SettableClock()).moves.bring(source, Credential(PASSPHRASE))


def delete(folder: Path) -> None:
    """Alice's vault ends."""
    with closing(SqliteEngine(folder / "vrm.db")) as engine:
        (found,) = engine.all("SELECT vault FROM vaults WHERE username = 'alice'") or [("",)]
        removal.delete(engine, found[0])


ACTS = {"restore": restore, "bring": bring, "delete": delete}

if __name__ == "__main__":
    name, base, strides = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
    run = trials(base, ACTS[name], int(strides)) if strides.isdigit() else None
    for verdict in run or hungry(base, ACTS[name], json.loads(strides)):
        print(json.dumps(verdict), flush=True)
