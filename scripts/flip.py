"""Takes each defence of tests/defences.toml away, one at a time, and shows that its tests notice.

A defence is a change of a few lines that removes it, and the tests that must then fail: by an assertion,
not because something no longer imports. All happens in copies of this checkout below the temp folder. Before
that the same tests must pass with nothing removed. Exit code 1 where a defence can be removed unnoticed.
"""

from __future__ import annotations

import argparse
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

ROOT = Path(__file__).resolve().parent.parent
TABLE = ROOT / "tests" / "defences.toml"
COPIED = ("vrm", "tests", "clients", "scripts", "bench", "docs", "conftest.py", "pyproject.toml")
LEFT_OUT = shutil.ignore_patterns("__pycache__", ".*_cache", "node_modules")
LONGEST = 600  # seconds for the tests of one defence, or for ten tests with every defence in place
BY_ASSERTION = ("assert", "AssertionError", "Failed:")


@dataclass(frozen=True, slots=True)
class Change:
    """A place in a file, which must be there exactly once, and what stands there without the defence."""

    file: str
    old: str
    new: str

    def apply(self, root: Path) -> None:
        """Write the file without the defence; ValueError where the place is not there exactly once."""
        path = root / self.file
        text = path.read_text(encoding="utf-8")
        if text.count(self.old) != 1:
            raise ValueError(f"{self.file}: the place is there {text.count(self.old)} times")
        path.write_text(text.replace(self.old, self.new), encoding="utf-8")


@dataclass(frozen=True, slots=True)
class Defence:
    """One row of the table."""

    name: str
    claim: str
    row: str  # how the first cell of its row in docs/threat-model.md begins
    changes: tuple[Change, ...]
    tests: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of it: `unnoticed` is empty where all is well."""

    defence: Defence
    unnoticed: str
    seconds: float


def load(path: Path = TABLE) -> list[Defence]:
    """The table."""
    rows: list[dict[str, Any]] = tomllib.loads(path.read_text(encoding="utf-8"))["defence"]
    return [_defence(row) for row in rows]


def _defence(row: dict[str, Any]) -> Defence:
    alone = [{name: row[name] for name in ("file", "old", "new")}] if "file" in row else []
    changes = tuple(Change(**change) for change in [*alone, *row.get("also", [])])
    return Defence(row["name"], row["claim"], row["row"], changes, tuple(row["tests"]))


def copy(target: Path) -> Path:
    """A copy of what the tests need."""
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, target / name, ignore=LEFT_OUT)
        elif source.exists():
            shutil.copy2(source, target / name)
    return target


@contextmanager
def without(defence: Defence, root: Path) -> Iterator[None]:
    """The copy with the defence removed; put back afterwards."""
    kept = {change.file: (root / change.file).read_bytes() for change in defence.changes}
    try:
        for change in defence.changes:
            change.apply(root)
        _forget_compiled(root, kept)
        yield
    finally:
        for file, content in kept.items():
            (root / file).write_bytes(content)
        _forget_compiled(root, kept)


def _forget_compiled(root: Path, files: Iterable[str]) -> None:
    """Python tells compiled files apart by size and second; that is not enough here."""
    for file in files:
        path = root / file
        for compiled in (path.parent / "__pycache__").glob(f"{path.stem}.*"):
            compiled.unlink()


def run(root: Path, tests: Iterable[str]) -> dict[str, list[str]]:
    """Test → how each of its cases ended: "" for a pass, else the first words of why not."""
    report = root / "report.xml"
    report.unlink(missing_ok=True)
    paths = (root, root / "clients" / "python", root / "clients" / "bookshop")
    outside = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, paths)),
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",  # none is needed, and loading them takes long
        "TMPDIR": str(root / "temp"),
    }
    (root / "temp").mkdir(exist_ok=True)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}"]
    try:
        subprocess.run(
            [*command, *sorted(set(tests))],
            cwd=root,
            env=outside,
            capture_output=True,
            check=False,
            timeout=LONGEST,
        )
    except subprocess.TimeoutExpired:
        return {}
    finally:
        shutil.rmtree(root / "temp", ignore_errors=True)
    return _ended(report) if report.exists() else {}


def _ended(report: Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for case in ET.parse(report).iter("testcase"):  # noqa: S314 - pytest wrote it
        name = f"{case.get('classname')}.{case.get('name', '').partition('[')[0]}"
        said = [child for child in case if child.tag in {"failure", "error", "skipped"}]
        ended = f"{said[0].tag}: {said[0].get('message', '')}" if said else ""
        found.setdefault(name, []).append(ended)
    return found


def key(test: str) -> str:
    """How pytest's report names a test of the table; a case in brackets counts as its test."""
    return test.partition("[")[0].replace("/", ".").replace(".py::", ".").replace("::", ".")


def judge(defence: Defence, ended: dict[str, list[str]]) -> str:
    """Empty where every named test failed by an assertion; else what did not."""
    for test in defence.tests:
        cases = ended.get(key(test))
        if not cases:
            return f"{test} did not run"
        if not any(case for case in cases):
            return f"{test} still passes"
        words = [case.removeprefix("failure: ") for case in cases if case.startswith("failure: ")]
        if not any(word.startswith(BY_ASSERTION) for word in words):
            return f"{test} failed, but by no assertion: {next(filter(None, cases))[:120]}"
    return ""


def flip(defence: Defence, root: Path) -> Verdict:
    """Remove one defence and look."""
    begun = time.monotonic()
    try:
        with without(defence, root):
            unnoticed = judge(defence, run(root, defence.tests))
    except ValueError as drifted:
        unnoticed = str(drifted)
    return Verdict(defence, unnoticed, time.monotonic() - begun)


def unflipped(root: Path, defences: list[Defence]) -> list[str]:
    """The named tests that do not pass although nothing was removed."""
    named = sorted({test for defence in defences for test in defence.tests})
    ended: dict[str, list[str]] = {}
    for at in range(0, len(named), 10):
        ended |= run(root, named[at : at + 10])
    return [test for test in named if not ended.get(key(test)) or any(ended[key(test)])]


def flip_all(defences: list[Defence], jobs: int, base: Path) -> Iterator[Verdict]:
    """Every verdict, in the order of the table, each as soon as it is known."""
    idle: queue.SimpleQueue[Path] = queue.SimpleQueue()
    for number in range(jobs):
        idle.put(copy(base / str(number)))

    def one(defence: Defence) -> Verdict:
        root = idle.get()
        try:
            return flip(defence, root)
        finally:
            idle.put(root)

    with ThreadPoolExecutor(jobs) as pool:
        yield from pool.map(one, defences)


def show(verdict: Verdict) -> None:
    """One line of the table."""
    said = "noticed" if not verdict.unnoticed else f"UNNOTICED: {verdict.unnoticed}"
    print(f"{verdict.defence.name:32} {verdict.seconds:6.1f} s  {said}", flush=True)


def main(arguments: list[str]) -> int:
    """Flip what was chosen; 0 if all was noticed."""
    parser = argparse.ArgumentParser(prog="scripts/flip", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", metavar="NAME", action="append", help="only this defence; may be repeated")
    parser.add_argument("--jobs", metavar="N", type=int, default=1, help="copies that work at once")
    parser.add_argument("--list", action="store_true", help="name the defences and what they claim")
    chosen = parser.parse_args(arguments)
    defences = [one for one in load() if not chosen.only or one.name in chosen.only]
    if chosen.list:
        for one in defences:
            print(f"{one.name:32} {one.claim}")
        return 0
    with tempfile.TemporaryDirectory(prefix="vrm-flip-") as folder:
        failing = unflipped(copy(Path(folder) / "whole"), defences)
        if failing:
            print("these do not pass with every defence in place:", *failing, sep="\n  ")
            return 1
        verdicts = []
        for verdict in flip_all(defences, chosen.jobs, Path(folder)):
            show(verdict)
            verdicts.append(verdict)
    missed = [verdict for verdict in verdicts if verdict.unnoticed]
    print(f"{len(verdicts)} defences taken away, {len(verdicts) - len(missed)} noticed")
    return 1 if missed or not verdicts else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
