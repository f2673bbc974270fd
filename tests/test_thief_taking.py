"""The private copy that the thief robs: it holds what was named and no more, and outlives no ending."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from vrm import thief
from vrm.host import open_host
from vrm.settings import Settings
from vrm.thief.taking import ending_in_order, second_copy

ROOT = Path(__file__).parents[1]


@pytest.fixture
def data(folder: Path) -> Path:
    open_host(Settings(data_dir=folder)).engine.close()
    return folder


@pytest.fixture
def heard() -> Iterator[None]:
    """What is started hears of the end of its terminal, though who runs the tests may not."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("heard")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_robbery_that_a_signal_ends_leaves_no_copy_of_keys(
    number: signal.Signals, data: Path, tmp_path: Path
) -> None:
    (data / "much").write_bytes(os.urandom(1 << 24))
    (lair := tmp_path / "lair").mkdir()
    command = [sys.executable, "-m", "vrm", "thief", data, *(f"--look-for=some text {n}" for n in range(99))]
    environ = {**os.environ, "TMPDIR": str(lair)}
    with subprocess.Popen(command, cwd=ROOT, env=environ, stderr=subprocess.PIPE) as robbing:
        while not list(lair.glob("vrm-thief-*/copy/server.key")):
            assert robbing.poll() is None
            time.sleep(0.002)
        robbing.send_signal(number)
        _, told = robbing.communicate(timeout=60)
    assert robbing.returncode == 128 + number
    assert not told
    assert not list(lair.iterdir())


def test_a_command_that_was_told_to_outlive_its_terminal_does() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with ending_in_order():
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_of_a_database_alone_only_what_belongs_to_it_is_taken(data: Path, tmp_path: Path) -> None:
    (beside := tmp_path / "copies").mkdir()
    for name in ("vrm[1]", "vrm[1]-wal", "vrm[1]-journal", "vrm[1].before-0.1.0", "vrm1", "vrm[1]-key"):
        shutil.copy(data / "vrm.db", beside / name)
    os.mkfifo(beside / "vrm[1]-shm")
    with second_copy(beside / "vrm[1]") as (folder, left_out):
        assert {path.name for path in folder.iterdir()} == {"vrm[1]", "vrm[1]-wal", "vrm[1]-journal"}
        assert left_out == ["vrm[1]-shm"]
    assert not folder.exists()


def test_pipes_and_links_to_nothing_are_left_out_with_a_word(data: Path) -> None:
    (data / "under").mkdir()
    os.mkfifo(data / "under" / "pipe")
    (data / "link").symlink_to("nowhere")
    report = thief.rob(data)
    assert sorted(report.left_out) == ["link", "under/pipe"]
    assert "left out, being no files: " in report.text()


def test_a_file_of_no_text_is_no_credential(data: Path, tmp_path: Path) -> None:
    (tmp_path / "token").write_bytes(b"\xff" * 9)
    done = _robbed(data, "--token-file", tmp_path / "token")
    assert (done.returncode, done.stderr) == (1, "error: token is not UTF-8 text\n")


def test_a_robbery_whose_report_nobody_reads_ends_as_it_would(data: Path) -> None:
    command = ["sh", "-c", 'exec "$0" -m vrm thief "$1" >&-', sys.executable, str(data)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def _robbed(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "vrm", "thief", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
