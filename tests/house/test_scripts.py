"""The doors of the house: make's targets, the scripts behind them, the locks, the licence."""

import hashlib
import re
import socket
import subprocess
import sys
import tomllib
from contextlib import suppress
from pathlib import Path

import pytest

from vrm import __version__

ROOT = Path(__file__).parents[2]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
RECIPES = re.findall(r"^([a-z]+):.*## .*\n\t@(\S+)\n(?!\t)", MAKEFILE, re.MULTILINE)
LOCKS = [ROOT / "requirements" / name for name in ("run.txt", "postgresql.txt", "dev.txt", "embedded.txt")]
APACHE_2 = "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30"


def tracked() -> list[str]:
    listing = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listing.returncode:
        pytest.skip("not a git checkout")
    return listing.stdout.splitlines()


def test_every_target_is_one_line_that_calls_a_script() -> None:
    targets = re.search(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)
    assert targets
    assert [target for target, _ in RECIPES] == targets[1].split()
    for target, script in RECIPES:
        assert (ROOT / script).stat().st_mode & 0o111, target


def test_help_names_every_target() -> None:
    told = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert re.findall(r"^  make (\w+)", told, re.MULTILINE) == [target for target, _ in RECIPES]


@pytest.mark.parametrize(
    "script", sorted(path.name for path in (ROOT / "scripts").iterdir() if path.is_file() and not path.suffix)
)
def test_scripts_stop_at_the_first_failure(script: str) -> None:
    text = (ROOT / "scripts" / script).read_text(encoding="utf-8")
    assert text.startswith("#!/usr/bin/env bash\n# ")
    assert "\nset -euo pipefail\n" in text
    subprocess.run(["bash", "-n", ROOT / "scripts" / script], check=True)


def test_only_one_script_uses_apt_or_root() -> None:
    said = re.compile(r"^#.*$|\"[^\"\n]*\"", re.MULTILINE)  # comments, and hints in quotes
    scripts = {
        path.name: path.read_text(encoding="utf-8") for path in (ROOT / "scripts").iterdir() if path.is_file()
    }
    using = [name for name, text in scripts.items() if re.search(r"\b(apt-get|sudo)\b", said.sub("", text))]
    assert using == ["system"]


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_locks_carry_hashes_and_name_no_registry(lock: Path) -> None:
    text = lock.read_text(encoding="utf-8")
    assert "://" not in text
    assert not re.search(r"^\s*--(?!hash=)", text, re.MULTILINE)
    for requirement in re.split(r"\n(?=\w)", text)[1:]:
        assert "--hash=sha256:" in requirement, requirement.splitlines()[0]


@pytest.mark.parametrize("folder", ["requirements/browser", "tests/judges"])
def test_locks_of_packages_from_npm_name_no_registry(folder: str) -> None:
    lock = (ROOT / folder / "package-lock.json").read_text(encoding="utf-8")
    assert '"resolved"' not in lock
    assert lock.count('"integrity"') == lock.count('"node_modules/')


def test_the_locks_hold_every_dependency_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needed = {re.match(r"[\w-]+", line)[0].lower() for line in project["dependencies"]}  # type: ignore[index]
    for lock in LOCKS[:3]:
        assert needed <= set(re.findall(r"^([\w-]+)==", lock.read_text(encoding="utf-8"), re.MULTILINE))


def test_setting_up_again_changes_nothing() -> None:
    def setup(*arguments: str) -> subprocess.CompletedProcess[bytes]:
        command = [ROOT / "scripts" / "setup", *arguments]
        return subprocess.run(command, env={"PATH": "/usr/bin:/bin"}, capture_output=True)

    if setup("--check").returncode:
        pytest.skip("this environment is not as scripts/setup would make it")
    before = (ROOT / ".venv" / "stamp").stat().st_mtime_ns
    again = setup()
    assert (again.returncode, again.stdout, again.stderr) == (0, b"", b"")
    assert (ROOT / ".venv" / "stamp").stat().st_mtime_ns == before


def test_the_licence_is_apache_2_word_for_word() -> None:
    assert hashlib.sha256((ROOT / "LICENSE").read_bytes()).hexdigest() == APACHE_2


def test_nothing_made_or_secret_is_kept_in_the_repository() -> None:
    made = re.compile(
        r"(^|/)(\.venv|\.tools|\.demo|dist|node_modules|__pycache__|\.env)/|\.(pyc|db|db-wal|key|pem|sqlite3?)$"
    )
    assert [path for path in tracked() if made.search(path)] == []


def test_the_version_is_one_and_the_changelog_knows_every_release() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert declared == __version__
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    told = re.findall(r"^## \[([^\]]+)\]", changelog, re.MULTILINE)
    assert told[0] == "Unreleased"
    frozen = {path.name for path in (ROOT / "tests" / "fixtures" / "releases").iterdir()}
    assert frozen == set(told[1:])
    assert "dev" in __version__ or __version__ in frozen


def test_the_story_is_told_to_no_server_but_its_own() -> None:
    with socket.socket() as other:
        with suppress(OSError):  # perhaps somebody listens there already
            other.bind(("127.0.0.1", 8600))
            other.listen()
        told = subprocess.run(
            [sys.executable, "scripts/demo.py"], cwd=ROOT, capture_output=True, text=True, timeout=60
        )
    assert told.returncode == 1
    assert told.stdout == ""
    error, hint = told.stderr.splitlines()
    assert error == "error: port 8600 is taken"
    assert "make demo ONCE=1" in hint
