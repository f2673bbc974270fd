"""docs/scaling.md: its trials exist, its tables are what the model reckons, its steps can be typed."""

from __future__ import annotations

import importlib
import os
import re
import shutil
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from bench import sizing
from bench.cluster import stage
from tests.docs.pages import DOCS, Block, blocks
from vrm import settings as settings_module
from vrm.settings import Settings

TEXT = (DOCS / "scaling.md").read_text(encoding="utf-8")
ROOT = Path(__file__).parents[2]


def console() -> list[Block]:
    return [block for block in blocks("scaling.md") if block.kind == "console"]


def test_every_trial_is_on_the_page_and_every_one_on_the_page_exists() -> None:
    named = set(re.findall(r"python -m (bench\.[\w.]+)", TEXT))
    trials = {
        f"bench.cluster.{path.stem}"
        for path in (ROOT / "bench" / "cluster").glob("*.py")
        if '__name__ == "__main__"' in path.read_text(encoding="utf-8")
    }
    assert named == trials | {"bench.sizing"}
    assert all(importlib.import_module(name).main for name in named)


def test_the_tables_are_what_the_model_reckons() -> None:
    assert f"<!-- sizing -->\n{sizing.tables()}\n<!-- /sizing -->" in TEXT, "python -m bench.sizing --docs"


def test_every_setting_that_the_page_names_exists_and_its_address_is_one() -> None:
    known = {item.metadata["env"] for item in fields(Settings)}
    assert set(re.findall(r"\bVRM_(?!TEST_)[A-Z_]+[A-Z]\b", TEXT)) <= known
    (address,) = re.findall(r"^VRM_DATABASE_URL=(\S+,\S+)$", TEXT, re.MULTILINE)
    assert settings_module.load(environ={"VRM_DATABASE_URL": address}).on_postgresql


def test_every_block_that_is_not_run_says_why() -> None:
    assert {block.why_not.split()[0] for block in console() if block.why_not} <= {"needs", "installs"}


def test_what_fills_a_members_settings_leaves_no_word_of_the_template(tmp_path: Path) -> None:
    shutil.copy(stage.TEMPLATE, tmp_path)
    environ = {**os.environ, "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "PYTHONPATH": str(ROOT)}
    run = [command for block in console() if not block.why_not for command, _ in block.commands()]
    assert len(run) >= 3
    script = "set -euo pipefail\n" + "\n".join(run)
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    filled = tmp_path / "member0" / "patroni.yml"
    assert re.findall(r"\b[A-Z]{4,}\b|\b[A-Z]+_[A-Z]+\b", filled.read_text()) == []
    assert "hosts: 10.0.0.1:2379,10.0.0.2:2379,10.0.0.3:2379" in filled.read_text()
    assert filled.stat().st_mode & 0o77 == 0


@pytest.mark.parametrize("word", ["synchronous_mode_strict", "ttl"])
def test_what_the_page_says_of_a_members_settings_stands_there(word: str) -> None:
    assert word in TEXT
    assert f"{word}: " in stage.TEMPLATE.read_text()
