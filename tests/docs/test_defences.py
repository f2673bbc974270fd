"""The table of defences: each can still be taken away, its tests exist, and every claim has one."""

from __future__ import annotations

import ast
import importlib.util
import re
import shutil
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.docs.test_threat_model import MODEL, TABLE

ROOT = Path(__file__).parents[2]


def _script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("flip", ROOT / "scripts" / "flip.py")
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    sys.modules["flip"] = made  # its dataclasses look themselves up there
    spec.loader.exec_module(made)
    return made


FLIP = _script()
DEFENCES: list[Any] = FLIP.load()
KEPT = tomllib.loads(FLIP.TABLE.read_text(encoding="utf-8"))["kept"]
ROWS = {  # beginning of a claim → its row in a table of docs/threat-model.md
    row.split("|")[1].strip(): row for rows in TABLE.findall(MODEL) for row in rows.splitlines()
}


@cache
def _names(file: str) -> set[str]:
    """Tests of a file as the table names them: function, or Class::function."""
    found = set()
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.ClassDef):
            found |= {f"{node.name}::{one.name}" for one in node.body if isinstance(one, ast.FunctionDef)}
            if node.bases:  # of a contract: its tests stand elsewhere
                found.add(node.name)
    return found


def _row(beginning: str) -> str:
    matching = [row for claim, row in ROWS.items() if claim.startswith(beginning)]
    assert len(matching) == 1, beginning
    return matching[0]


def test_names_are_unique_and_there_are_many() -> None:
    names = [one.name for one in DEFENCES]
    assert len(set(names)) == len(names) >= 80


@pytest.mark.parametrize("defence", DEFENCES, ids=lambda one: one.name)
def test_each_can_be_taken_away_and_names_tests_of_its_claim(defence: Any, tmp_path: Path) -> None:
    for change in defence.changes:
        text = (ROOT / change.file).read_text(encoding="utf-8")
        assert text.count(change.old) == 1, f"{change.file} has changed: mend tests/defences.toml"
        assert change.old != change.new
        compile(text.replace(change.old, change.new), change.file, "exec")
    assert defence.changes
    assert defence.tests
    for test in defence.tests:
        file, _, name = test.partition("[")[0].partition("::")
        assert {name, name.partition("::")[0]} & _names(file), test
    last = {name for test in defence.tests for name in test.partition("[")[0].split("::")[1:]}
    assert [name for name in last if f"`{name}`" in _row(defence.row)], "its row names none of its tests"


def _names_nothing_unknown(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--no-cache", "--select", "F821"]
    return subprocess.run(
        [*command, "--output-format", "concise", folder], capture_output=True, text=True, check=False
    )


def test_what_is_left_without_one_names_nothing_that_is_not_there(tmp_path: Path) -> None:
    """Else its tests fail for another reason, which no test run tells but that without the defence."""
    for defence in DEFENCES:
        for file in {change.file for change in defence.changes}:
            left = tmp_path / defence.name / file
            left.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / file, left)
        for change in defence.changes:
            left = tmp_path / defence.name / change.file
            left.write_text(
                left.read_text(encoding="utf-8").replace(change.old, change.new), encoding="utf-8"
            )
    found = _names_nothing_unknown(tmp_path)
    assert (found.returncode, found.stdout.strip()) == (0, "All checks passed!")
    (tmp_path / "one.py").write_text("if nowhere:\n    pass\n", encoding="utf-8")
    assert "Undefined name `nowhere`" in _names_nothing_unknown(tmp_path).stdout


def test_every_claim_has_a_defence_or_a_reason_why_none_can_be_taken_away() -> None:
    covered = {_row(one.row) for one in DEFENCES} | {_row(one["row"]) for one in KEPT if one["row"]}
    assert [claim for claim, row in ROWS.items() if row not in covered] == []
    assert all(len(one["reason"]) > 20 for one in KEPT)


def test_a_place_that_is_not_there_once_is_refused(tmp_path: Path) -> None:
    (tmp_path / "some.py").write_text("twice\ntwice\n", encoding="utf-8")
    for old in ("twice", "never"):
        with pytest.raises(ValueError, match="the place is there"):
            FLIP.Change("some.py", old, "new").apply(tmp_path)


@pytest.mark.parametrize(
    ("ended", "said"),
    [
        (["failure: AssertionError: assert 1 == 2"], ""),
        (["failure: Failed: DID NOT RAISE <class 'X'>", ""], ""),
        ([""], "still passes"),
        (["error: ImportError: no"], "by no assertion"),
        (["failure: KeyError: 'x'"], "by no assertion"),
        ([], "did not run"),
    ],
)
def test_only_a_failed_assertion_counts_as_noticed(ended: list[str], said: str) -> None:
    defence = FLIP.Defence("one", "a claim", "a row", (), ("tests/some.py::test_it",))
    assert said in FLIP.judge(defence, {"tests.some.test_it": ended} if ended else {})
    assert bool(said) == bool(FLIP.judge(defence, {"tests.some.test_it": ended}))


def test_a_removed_defence_is_put_back(tmp_path: Path) -> None:
    (tmp_path / "some.py").write_text("if good:\n", encoding="utf-8")
    defence = FLIP.Defence("one", "", "", (FLIP.Change("some.py", "good", "True"),), ())
    with FLIP.without(defence, tmp_path):
        assert (tmp_path / "some.py").read_text() == "if True:\n"
    assert (tmp_path / "some.py").read_text() == "if good:\n"
    assert re.search(r"put back", FLIP.without.__doc__)
