"""The power goes: what was acknowledged is there, and nothing else came back, whatever the disk forgot."""

from __future__ import annotations

import json
import os
import random
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.disk import SYNCS, Call, Disk, record
from tests.faults.ledger import Ledger

LONG = os.environ.get("VRM_TEST_LONG") == "1"
ACTS = 1000 if LONG else 40
LOOKS = 1 << 30 if LONG else 10  # crash points of either kind that are looked at


@pytest.fixture
def lair() -> Iterator[Path]:
    """Where disks are laid out; in memory where there is room, for what is looked at is thrown away."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        yield Path(folder) / "lair"


def lived(tmp_path: Path, acts: int, *flags: str) -> list[Call]:
    """The file calls of a customer's life of so many acts."""
    folder = tmp_path / "machine" / "data"
    folder.parent.mkdir()
    calls = record(
        folder.parent, ["tests.faults.life", str(folder), "7", str(acts), *flags], tmp_path / "trace"
    )
    shutil.rmtree(folder)
    (tmp_path / "trace").unlink()
    return calls


def crashes(calls: list[Call], draw: random.Random) -> Iterator[tuple[int, float]]:
    """(number of calls that were made, chance of a sector under way).

    Each sync, points between, and the moment after the last act of each kind was acknowledged.
    """
    acts = {json.loads(call.text).get("done"): at for at, call in enumerate(calls) if call.name == "tell"}
    yield from ((at + 1, 0.0) for kind, at in acts.items() if kind)
    syncs = [at for at, call in enumerate(calls) if call.name in SYNCS]
    for at in sorted(draw.sample(syncs, min(LOOKS, len(syncs)))):
        yield at, 0.0  # the sync has not come; what was acknowledged before rests on those before it
    between = draw.sample(range(len(calls)), min(LOOKS, len(syncs)))
    yield from ((at, chance) for at in between for chance in (draw.choice([0.5, 0.1, 0.9, 1.0]),))


def looks(calls: list[Call], root: Path, lair: Path, points: list[tuple[int, float]]) -> Iterator[list[str]]:
    """What differs from what was acknowledged, for each crash point."""
    disk, ledger, draw, at = Disk(root), Ledger(), random.Random(3), 0
    for point, chance in sorted(points):
        for call in calls[at:point]:
            if call.name == "tell":
                ledger.take(call.text)
            else:
                disk.take(call)
        at = point
        lair.mkdir()
        disk.write(lair, chance, draw)
        yield [f"call {point}, {chance}: {one}" for one in ledger.differences(lair / "data")]
        shutil.rmtree(lair)


def test_what_was_acknowledged_survives_a_loss_of_power(tmp_path: Path, lair: Path) -> None:
    calls = lived(tmp_path, ACTS)
    acknowledged = sum(b'"done"' in call.text for call in calls if call.name == "tell")
    assert acknowledged > ACTS
    points = list(crashes(calls, random.Random(1)))
    assert len(points) >= 2 * min(ACTS, LOOKS)
    lost = [one for found in looks(calls, tmp_path / "machine", lair, points) for one in found]
    assert lost == []


def test_with_fewer_syncs_acknowledged_acts_would_be_lost(tmp_path: Path, lair: Path) -> None:
    """The simulation sees what `synchronous=FULL` is for."""
    calls = lived(tmp_path, 30, "normal")
    points = [(at, 0.0) for at in range(len(calls) // 2, len(calls), len(calls) // 20)]
    lost = [one for found in looks(calls, tmp_path / "machine", lair, points) for one in found]
    assert lost  # a record, or the whole vault with it
