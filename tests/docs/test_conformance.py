"""docs/conformance.md cannot say more than the tests: every line has a test, or says why it has none."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from scripts.conformance import Checklist, Line, Proof, checklists, marked, marks, problems, state, summary

NONE = Proof(Path("tests/test_none.py"), "test_none")


def test_every_line_is_met_or_says_why_not_and_no_must_is_open() -> None:
    assert problems(checklists(), marks()) == []


def test_a_mark_of_a_parameter_is_that_of_its_test() -> None:
    text = """
import pytest

pytestmark = pytest.mark.meets("all-1")

@pytest.mark.meets("two-1", "two-2")
@pytest.mark.parametrize("x", [pytest.param(1, marks=pytest.mark.meets("one-1")), 2])
def test_one(x): ...

@pytest.mark.meets("class-1")
class TestMore:
    @pytest.mark.meets("in-1")
    def test_in_it(self): ...
"""
    assert sorted(marked(ast.parse(text), "test_file")) == [
        ("all-1", "test_file"),
        ("class-1", "TestMore"),
        ("in-1", "test_in_it"),
        ("one-1", "test_one"),
        ("two-1", "test_one"),
        ("two-2", "test_one"),
    ]


def test_a_line_that_is_made_up_at_run_time_is_refused() -> None:
    with pytest.raises(TypeError, match="literally"):
        list(marked(ast.parse("import pytest\nx = pytest.mark.meets(name)"), "test_file"))


@pytest.mark.parametrize(
    ("line", "met"),
    [
        (Line("a-1", "x"), False),
        (Line("a-1", "x", why_not="y"), True),
        (Line("a-1", "x", open="y"), True),
        (Line("a-1", "x", why_not="y", open="z"), False),
        (Line("a-1", "x", "MUST", open="y"), False),
        (Line("a-1", "x", "MUST NOT", open="y"), False),
    ],
)
def test_a_line_without_a_state_or_with_two_is_a_problem(line: Line, *, met: bool) -> None:
    assert problems([Checklist("a", "A", "", (line,))], {"a-1": [NONE]} if met else {})


def test_a_mark_that_names_no_line_is_a_problem() -> None:
    assert problems([], {"a-2": [NONE]}) == ["tests/test_none.py: test_none names a-2, which is no line"]


def test_what_the_page_says_of_a_line() -> None:
    lines = (Line("a-1", "x"), Line("a-2", "x", why_not="no"), Line("a-3", "x", open="soon"))
    met = {"a-1": [NONE]}
    assert [state(line, met) for line in lines] == [
        "met: [`test_none`](../tests/test_none.py)",
        "not applicable: no",
        "**open**: soon",
    ]
    assert summary(Checklist("a", "A", "", lines)) == "3 lines: 1 met, 1 not applicable, 1 open."
    assert not problems([Checklist("a", "A", "", lines)], met)
