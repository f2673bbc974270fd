"""A Python that is too old, lacks the libraries or cannot make a .venv is said in `error:` and `hint:`."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.small_disk import on_small_disk
from tests.test_plain_errors import told

ROOT = Path(__file__).parents[1]


def test_an_older_python_is_told_which_one_to_take() -> None:
    older = "import runpy, sys; sys.version_info = (3, 9, 18); runpy.run_module('vrm', run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", older], cwd=ROOT, capture_output=True, text=True)
    error, hint = told(done)
    assert error.startswith("error: vrm needs Python 3.11, 3.12, 3.13 or 3.14; this is 3.9")
    assert "make setup" in hint


def test_a_python_without_the_libraries_is_told_how_to_get_them(tmp_path: Path) -> None:
    bare = [sys.executable, "-S", "-m", "vrm", "vault", "list", "--data-dir", str(tmp_path)]
    done = subprocess.run(bare, cwd=ROOT, env={"PATH": "/usr/bin"}, capture_output=True, text=True)
    error, hint = told(done)
    assert re.fullmatch(r"error: \w+ is not installed for .*", error)
    assert "make setup" in hint


@pytest.mark.parametrize("name", ["__init__.py", "__main__.py"])
def test_what_an_older_python_reads_first_it_can_read(name: str) -> None:
    ast.parse((ROOT / "vrm" / name).read_text(encoding="utf-8"), feature_version=(3, 6))


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """As much of a checkout as setting up needs, before it was set up."""
    target = tmp_path / "checkout"
    for name in ("scripts/setup", "scripts/test", "requirements/dev.txt", "pyproject.toml"):
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, target / name)
    return target


def python(folder: Path, name: str, script: str) -> None:
    """A program of this name."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


def test_setting_up_with_only_an_older_python_says_what_to_install(checkout: Path, tmp_path: Path) -> None:
    python(tmp_path / "bin", "python3", "case $1 in --version) echo Python 3.9.18;; *) exit 1;; esac")
    for name in ("python3.11", "python3.12", "python3.13", "python3.14"):
        python(tmp_path / "bin", name, "exit 1")
    system = Path("/usr/bin/python3").resolve()
    cover = f"mount --bind {tmp_path / 'bin' / 'python3.11'} {system} && cd {checkout} && exec scripts/test"
    run = ["env", f"PATH={tmp_path / 'bin'}:/usr/bin:/bin", "bash", "-c", cover]
    error, hint = told(on_small_disk(tmp_path / "small", "1m", *run))
    assert error == "error: no Python 3.11, 3.12, 3.13 or 3.14 found; python3 is Python 3.9.18"
    assert "VRM_PYTHON=" in hint
    assert not (checkout / ".venv").exists()


def test_setting_up_without_venv_says_what_to_install(checkout: Path, tmp_path: Path) -> None:
    python(tmp_path / "bin", "python3", 'case "$1" in -m) exit 1;; --version) echo Python 3.12.3;; esac')
    environment = {"PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin"}
    done = subprocess.run(["scripts/test"], cwd=checkout, env=environment, capture_output=True, text=True)
    first, *lines = done.stderr.splitlines()
    assert first == "setting up .venv with Python 3.12.3"
    assert [line.split(":")[0] for line in lines] == ["error", "hint"]
    assert "python3-venv" in lines[1]
