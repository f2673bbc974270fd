"""Rules of the house that no linter holds: sizes, words, and a test for every error."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from vrm import errors

ROOT = Path(__file__).parents[2]
SOURCES = sorted([*ROOT.glob("vrm/**/*.py"), *ROOT.glob("clients/**/*.py"), *ROOT.glob("scripts/*.py")])
LONGEST_FILE = 500
LONGEST_FUNCTION = 40
VAGUE = re.compile(
    r"(user|owner|manager|handler|helpers?|utils?|process|data|info)"  # says nothing
    r"|\w+(Manager|Handler|Helper|Utils?|Info|_manager|_handler|_helper|_utils?)"
    r"|(process|handle)_\w+"
)
GIVEN = {"handle_starttag", "handle_endtag", "handle_startendtag", "handle_data"}  # html.parser's
FAMILIES = {errors.VrmError, errors.VaultError, errors.ConsentError}

Function = ast.FunctionDef | ast.AsyncFunctionDef


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def functions(path: Path) -> Iterator[Function]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, Function):
            yield node


def length(function: Function) -> int:
    """Lines of a function, without its docstring."""
    first = function.body[1 if ast.get_docstring(function) is not None and len(function.body) > 1 else 0]
    return (function.end_lineno or 0) - first.lineno + 1


def defined(path: Path) -> Iterator[str]:
    """The names that a file gives to its module, classes and functions."""
    yield path.stem
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name


def test_no_file_is_longer_than_one_can_hold_in_mind() -> None:
    lengths = {name_of(path): len(path.read_text(encoding="utf-8").splitlines()) for path in SOURCES}
    assert {name: lines for name, lines in lengths.items() if lines > LONGEST_FILE} == {}


def test_no_function_is_longer_than_a_screen() -> None:
    found = [
        f"{name_of(path)}:{function.lineno} {function.name} ({length(function)} lines)"
        for path in SOURCES
        for function in functions(path)
        if length(function) > LONGEST_FUNCTION
    ]
    assert found == []


def test_every_module_says_what_it_is_for() -> None:
    silent = [
        name_of(path)
        for path in SOURCES
        if path.name != "__init__.py" and not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert silent == []


def test_names_say_more_than_that_something_is_handled() -> None:
    oauth = ROOT / "vrm" / "api" / "oauth"  # has OAuth's own words
    found = [
        f"{name_of(path)}: {name}"
        for path in SOURCES
        for name in defined(path)
        if VAGUE.fullmatch(name) and name not in GIVEN and oauth not in path.parents
    ]
    assert found == []


def test_nothing_is_left_to_do_in_a_comment() -> None:
    left = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
    places = [*SOURCES, *ROOT.glob("tests/**/*.py"), *ROOT.glob("vrm/web/templates/**/*.html")]
    found = [
        name_of(path) for path in places if path != Path(__file__) and left.search(path.read_text("utf-8"))
    ]
    assert found == []


def test_our_own_code_is_never_mocked() -> None:
    mocks = re.compile(r"unittest\.mock|monkeypatch\.setattr\(\s*[\"']vrm|\bmocker\b")
    found = [
        name_of(path)
        for path in ROOT.glob("tests/**/*.py")
        if path != Path(__file__) and mocks.search(path.read_text("utf-8"))
    ]
    assert found == []


@pytest.mark.parametrize(
    "error",
    [
        cls
        for cls in vars(errors).values()
        if isinstance(cls, type) and issubclass(cls, errors.VrmError) and cls not in FAMILIES
    ],
)
def test_every_error_is_provoked_by_a_test(error: type[errors.VrmError]) -> None:
    # A test names the class where it expects it raised, or the slug where it expects it answered.
    named = re.compile(rf"\b{error.__name__}\b|[\"'/]{re.escape(error.slug)}[\"']")
    tests = [path for path in ROOT.glob("tests/**/test_*.py") if path != Path(__file__)]
    assert any(named.search(path.read_text(encoding="utf-8")) for path in tests)
