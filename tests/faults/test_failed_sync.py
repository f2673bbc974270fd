"""A sync fails, and the power goes, or the program ends, some time later.

What was called stored, before it or since, is there then, and what was refused is not.
"""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.disk import FAILED, Call, Disk, record
from tests.faults.doubtful import SHARED
from vrm.vault.sqlite import SqliteEngine

ACTS = 9


def acts(folder: Path, engines: int, failing: str = "") -> list[Call]:
    """The file calls of some acts."""
    (folder / "machine").mkdir(parents=True)
    program = ["tests.faults.doubtful", str(folder / "machine" / "data"), str(ACTS), str(engines)]
    return record(folder / "machine", program, folder / "trace", failing)


def losses(calls: list[Call], folder: Path) -> Iterator[tuple[dict[int, str], set[int]]]:
    """After each act: what was said so far, and what is there where the unsynced is lost, or is not."""
    disk, said = Disk(folder / "machine"), dict[int, str]()
    for call in calls:
        if call.name != "tell":
            disk.take(call)
            continue
        told = json.loads(call.text)
        said[told["number"]] = told["said"]
        for chance in (0.0, 1.0):
            disk.write(folder / "found", chance, random.Random(1))
            engine = SqliteEngine(folder / "found" / "data" / "vrm.db")
            assert engine.integrity() == []
            yield said, {number for (number,) in engine.all("SELECT id FROM notes")}
            engine.close()
            shutil.rmtree(folder / "found")


def first_sync(folder: Path, engines: int) -> int:
    """Which sync is that of the first act; each act has one."""
    calls = acts(folder, engines)
    begin = next(at for at, call in enumerate(calls) if call.name == "tell")
    before, since = (sum(one.name == "fdatasync" for one in part) for part in (calls[:begin], calls[begin:]))
    assert since == ACTS - 1
    return before


# One that fails is made good at once, but an act that syncs within its COMMIT is undone. Where more fail,
# nobody knows; then nothing is done before it is made good. Two engines: each as another process.
@pytest.mark.parametrize(
    ("engines", "many", "step", "expected"),
    [
        (1, 1, 1, {"stored", "refused"}),
        (1, 2, 1, {"stored", "uncertain"}),
        (1, 4, 1, {"stored", "uncertain", "refused"}),
        (2, 4, len(SHARED), {"stored", "uncertain", "refused"}),
    ],
)
def test_what_was_stored_is_there_whichever_syncs_failed(
    tmp_path: Path, engines: int, many: int, step: int, expected: set[str]
) -> None:
    first, words = first_sync(tmp_path / "whole", engines), set[str]()
    for begin in range(first, first + ACTS, step):
        folder = tmp_path / str(begin)
        calls = acts(folder, engines, f"{begin}..{begin + many - 1}")
        assert FAILED in {call.name for call in calls}
        for said, there in losses(calls, folder):
            stored, refused = (
                {number for number, word in said.items() if word == which} for which in ("stored", "refused")
            )
            assert stored <= there, (begin, said)
            assert not there & refused, (begin, said)
        assert len(said) == ACTS
        assert sum(word != "stored" for word in said.values()) <= many, (begin, said)
        words |= set(said.values())
    assert words == expected
