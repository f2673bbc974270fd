"""Every claim of the threat model names a test; here we see that it exists."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
MODEL = (ROOT / "docs" / "threat-model.md").read_text(encoding="utf-8")
NAME = re.compile(r"^(?:def |class )?([Tt]est\w+)\b", re.MULTILINE)
TABLE = re.compile(r"^\|[^|\n]+\|(?:[^|\n]+\|)? *test *\|\n\|[-|]+\|\n((?:\|.*\n)+)", re.MULTILINE)


def _defined() -> set[str]:
    found: set[str] = set()
    for path in (ROOT / "tests").rglob("test_*.py"):
        found.update(
            re.findall(r"^(?:def |class )?([Tt]est\w+)\b", path.read_text(encoding="utf-8"), re.MULTILINE)
        )
    return found


def test_every_test_that_the_threat_model_names_exists() -> None:
    named = set(re.findall(r"`([Tt]est\w+)`", MODEL))
    assert len(named) >= 45
    assert sorted(named - _defined()) == []


def test_every_row_of_its_tables_of_claims_names_a_test() -> None:
    tables = TABLE.findall(MODEL)
    rows = [row for table in tables for row in table.splitlines()]
    assert len(tables) == 5
    assert len(rows) >= 20
    assert [row for row in rows if "`test_" not in row and "`Test" not in row] == []


def test_every_test_of_what_a_stolen_thing_opens_is_in_the_attack_suite() -> None:
    section = MODEL.split("## What each stolen thing opens")[1].split("\n## ")[0]
    attacks = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").glob("attacks/*.py"))
    attacks += (ROOT / "tests" / "test_thief.py").read_text(encoding="utf-8")
    assert [name for name in re.findall(r"`(test_\w+)`", section) if f"def {name}(" not in attacks] == []
