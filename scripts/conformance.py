"""What strict judges ask, line by line, and the tests that show it: the table behind docs/conformance.md.

The lines are those of tests/conformance.toml; which tests meet them is read from the marks on the tests,
`@pytest.mark.meets("rfc9700-1")`, without importing one. A line is met, or says why it does not apply, or why
it is still open.
"""

from __future__ import annotations

import ast
import tomllib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TABLE = ROOT / "tests" / "conformance.toml"
DEMANDED = frozenset({"MUST", "MUST NOT", "REQUIRED"})
MARK = "meets"

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


@dataclass(frozen=True, slots=True)
class Proof:
    """A test, a class of tests or a whole file of them that carries a mark."""

    path: Path  # below the root
    name: str

    def link(self) -> str:
        """As docs/conformance.md shows it."""
        return f"[`{self.name}`](../{self.path.as_posix()})"


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a list: what is asked, and what is said of it where no test shows it."""

    id: str
    says: str
    level: str = ""
    section: str = ""
    why_not: str = ""
    open: str = ""


@dataclass(frozen=True, slots=True)
class Checklist:
    """All lines of one judge."""

    name: str
    title: str
    about: str
    lines: tuple[Line, ...]


def checklists(path: Path = TABLE) -> list[Checklist]:
    """The table."""
    found = tomllib.loads(path.read_text(encoding="utf-8"))
    return [
        Checklist(
            name,
            given["title"],
            given["about"],
            tuple(Line(f"{name}-{key}", **said) for key, said in given["lines"].items()),
        )
        for name, given in found.items()
    ]


def marks(tests: Path = ROOT / "tests") -> dict[str, list[Proof]]:
    """Line → the tests that carry its mark, in the order of files and of lines in them."""
    found: dict[str, list[Proof]] = defaultdict(list)
    for path in sorted(tests.rglob("test_*.py")):
        text = path.read_text(encoding="utf-8")
        if f"mark.{MARK}(" in text:
            for line, name in marked(ast.parse(text), path.stem):
                test = Proof(path.relative_to(tests.parent), name)
                if test not in found[line]:
                    found[line].append(test)
    return dict(found)


def marked(tree: ast.AST, name: str) -> Iterator[tuple[str, str]]:
    """(line, name of the nearest class or function around it) for each mark below `tree`.

    A mark that stands in a decorator, also in one parameter of it, is that of what is decorated.
    """
    for node in ast.iter_child_nodes(tree):
        yield from marked(node, node.name if isinstance(node, Definition) else name)
    if isinstance(tree, ast.Call) and isinstance(tree.func, ast.Attribute) and tree.func.attr == MARK:
        for argument in tree.args:
            if not isinstance(argument, ast.Constant):
                raise TypeError(f"{name}: a mark names its lines literally")
            yield str(argument.value), name


def problems(lists: list[Checklist], met: Mapping[str, list[Proof]]) -> list[str]:
    """What is wrong with table and marks, a sentence each."""
    lines = [line for checklist in lists for line in checklist.lines]
    known = {line.id for line in lines}
    found = [
        f"{test.path}: {test.name} names {line}, which is no line"
        for line, tests in met.items()
        if line not in known
        for test in tests
    ]
    for line in lines:
        states = [bool(met.get(line.id)), bool(line.why_not), bool(line.open)]
        if sum(states) != 1:
            found.append(f"{line.id}: must be met by a test, or say why_not, or open; one of them")
        if line.open and line.level in DEMANDED:
            found.append(f"{line.id}: a {line.level} is open")
    return found


def state(line: Line, met: Mapping[str, list[Proof]]) -> str:
    """The last cell of a line."""
    if line.why_not:
        return f"not applicable: {line.why_not}"
    if line.open:
        return f"**open**: {line.open}"
    return "met: " + ", ".join(test.link() for test in met.get(line.id, []))


def summary(checklist: Checklist) -> str:
    """How many lines are met, do not apply, are open."""
    not_applicable = sum(bool(line.why_not) for line in checklist.lines)
    left = sum(bool(line.open) for line in checklist.lines)
    count = len(checklist.lines)
    return (
        f"{count} lines: {count - not_applicable - left} met, {not_applicable} not applicable, {left} open."
    )
