"""Files of attackers, brought in by a process whose memory is measured: a reason, and nothing left behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import CHEAP, PASSPHRASE
from tests.hostile.importers import trying
from tests.hostile.importers.files import (
    CELLS,
    GOOD,
    LINE,
    NAME,
    NAMED,
    REFUSED,
    STRICT,
    history,
    plain,
    zip_of,
)
from vrm.host import open_host
from vrm.settings import Settings

USUAL = 48 * 2**20  # bytes that refusing a file may take
ROWS = 400 * 2**20  # bytes that as many rows take as an import may have (limits.lines)
PATIENCE = 60  # seconds


@dataclass
class Importer:
    """A child process with Alice's vault open."""

    process: subprocess.Popen[str]
    folder: Path
    temporary: Path

    def take(self, path: Path) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{path}\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, "it died"
        assert not list(self.temporary.iterdir()), "something was left in the temp folder"
        found: dict[str, Any] = json.loads(line)
        return found


@pytest.fixture(scope="module")
def importer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Importer]:
    folder = tmp_path_factory.mktemp("importer")
    temporary = folder / "tmp"
    temporary.mkdir()
    host = open_host(Settings(data_dir=folder / "data"), limits=CHEAP)
    host.vaults.create("alice", PASSPHRASE)
    host.engine.close()
    root = Path(__file__).parents[3]
    process = subprocess.Popen(
        [sys.executable, trying.__file__, str(folder / "data")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(temporary), "PYTHONPATH": str(root)},
    )
    assert process.stdin is not None
    process.stdin.write(PASSPHRASE + "\n")
    yield Importer(process, folder, temporary)
    process.stdin.close()
    assert process.stdout is not None
    process.stdout.close()
    assert process.wait(PATIENCE) == 0


TRIED = REFUSED | (STRICT if os.environ.get("VRM_TEST_LONG") == "1" else {})


@pytest.mark.parametrize("name", TRIED)
def test_it_is_refused_with_a_reason_in_bounded_memory_and_nothing_is_stored(
    importer: Importer, tmp_path: Path, name: str
) -> None:
    make, reason = TRIED[name]
    said = importer.take(make(tmp_path))
    assert said["error"], said
    assert reason in said["error"], said
    assert said["slug"] in {"unknown-format", "import-too-large"}
    assert said["records"] == said["staged"] == 0
    assert said["peak"] < (ROWS if name == "too many rows" else USUAL), said
    assert said["seconds"] < PATIENCE


@pytest.mark.parametrize("name", NAMED)
def test_a_part_of_a_zip_that_is_none_is_named_and_nothing_is_stored(
    importer: Importer, tmp_path: Path, name: str
) -> None:
    said = importer.take(NAMED[name](tmp_path))
    assert said["rejected"] == ["its name promises purchases, but this is not a format I know"]
    assert said["records"] == said["staged"] == 0
    assert said["peak"] < USUAL


@pytest.mark.parametrize("name", CELLS)
def test_a_cell_out_of_its_range_is_rejected_by_line_and_reason(
    importer: Importer, tmp_path: Path, name: str
) -> None:
    line, reason = CELLS[name]
    said = importer.take(plain(NAME, history(line))(tmp_path))
    assert said["error"] == ""
    assert said["rejected"] == [reason]
    assert said["records"] == 0


def test_names_that_climb_out_of_a_zip_write_nothing_anywhere(tmp_path: Path) -> None:
    host = open_host(Settings(data_dir=tmp_path / "data"), limits=CHEAP)
    vault, _ = host.vaults.create("alice", PASSPHRASE)
    names = [
        "../../../climbed.csv",
        "/climbed.csv",
        "C:\\climbed.csv",
        "a/../../climbed.csv",
        "\x1b[2Jclimbed.csv",
    ]
    path = zip_of(*((name, history(LINE.format(at))) for at, name in enumerate(names)))(tmp_path)
    before = {file for file in tmp_path.rglob("*") if "data" not in file.parts}
    with path.open("rb") as file:
        trying.bring_in(vault, [(path.name, file)])
    assert {file for file in tmp_path.rglob("*") if "data" not in file.parts} == before
    assert not list(Path("/").glob("climbed.csv"))
    assert len(vault.records("purchases").ids()) == len(names)
    host.engine.close()


TRAPS = [
    ('"A ""quoted"" title"', 'A "quoted" title'),
    ('"a, comma"', "a, comma"),
    ('"two\nlines"', "two lines"),
    ('"two\r\nlines"', "two lines"),
    ("'single', quotes", None),
    ('a "quote" inside', 'a "quote" inside'),
    ("back\\slash", "back\\slash"),
    ('""', ""),
    ("=cmd|' /C calc'!A0", "=cmd|' /C calc'!A0"),
    ("@SUM(1+1)*cmd|' /C calc'!A0", "@SUM(1+1)*cmd|' /C calc'!A0"),
    ("+1+cmd", "+1+cmd"),
    ("-2+3+cmd", "-2+3+cmd"),
    ("x\u202egnp.exe", "x gnp.exe"),
]


def test_quoting_traps_and_formulas_are_text_like_any_other(tmp_path: Path) -> None:
    host = open_host(Settings(data_dir=tmp_path / "data"), limits=CHEAP)
    vault, _ = host.vaults.create("alice", PASSPHRASE)
    lines = [LINE.format(at).rpartition(",")[0] + "," + cell for at, (cell, _) in enumerate(TRAPS)]
    path = plain(NAME, history(*lines))(tmp_path)
    with path.open("rb") as file:
        (report,) = trying.bring_in(vault, [(path.name, file)])
    titles = {
        document["order"]["order_number"]: document["item"].get("title", "")
        for _, document in vault.records("purchases").scan()
    }
    wanted = {f"111-{at}": title for at, (_, title) in enumerate(TRAPS) if title is not None}
    assert titles == wanted
    assert [one.reason for one in report.rejected] == ["more values than columns"]
    host.engine.close()


# ---- the same by the command --------------------------------------------------------------------------


def command(folder: Path, *paths: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "vrm",
            "import",
            "--vault",
            "alice",
            "--passphrase-file",
            "-",
            *map(str, paths),
        ],
        input=PASSPHRASE,
        capture_output=True,
        text=True,
        env={**os.environ, "VRM_DATA_DIR": str(folder / "data"), "TMPDIR": str(folder / "tmp")},
        timeout=PATIENCE,
    )


def test_the_command_says_error_and_hint_and_takes_none_of_the_files(
    importer: Importer, tmp_path: Path
) -> None:
    good = plain(NAME, GOOD)(tmp_path)
    bomb = REFUSED["a zip bomb"][0](tmp_path)
    tried = command(importer.folder, good, bomb)
    assert tried.returncode == 1
    assert tried.stdout == ""
    first, *rest = tried.stderr.splitlines()
    assert first.startswith("error: ")
    assert all(line.startswith("hint: ") for line in rest)
    assert importer.take(plain("empty.csv", b"")(tmp_path))["records"] == 0


def test_the_command_prints_no_control_characters_of_a_file(importer: Importer, tmp_path: Path) -> None:
    path = plain("\x1b[31mred\u202egnp.csv", b"a,b\n1,2\n")(tmp_path)
    tried = command(importer.folder, path)
    assert tried.returncode == 1
    assert "\x1b" not in tried.stderr
    assert "\u202e" not in tried.stderr
