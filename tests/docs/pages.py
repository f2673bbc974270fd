"""What the docs show, taken out of them: blocks, and commands with the output that they promise."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"
_BLOCK = re.compile(
    r"^(?:<!-- not run: (?P<why>.+?) -->\n)?```(?P<kind>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)


@dataclass(frozen=True)
class Block:
    """One fenced block and the section that it stands in."""

    section: str
    kind: str
    text: str
    why_not: str  # why it is not run; empty: it is

    def commands(self) -> list[tuple[str, list[str]]]:
        """(command, lines of output that are promised)"""
        found: list[tuple[str, list[str]]] = []
        for line in self.text.replace("\\\n", "").splitlines():
            if line.startswith("$ "):
                found.append((line[2:], []))
            else:
                found[-1][1].append(line)
        return found


def blocks(page: str) -> list[Block]:
    """Every block of a page, in order."""
    text = (DOCS / page).read_text(encoding="utf-8")
    found = []
    for part in re.split(r"^## ", text, flags=re.MULTILINE):
        title = part.splitlines()[0]
        found += [Block(title, one["kind"], one["text"], one["why"] or "") for one in _BLOCK.finditer(part)]
    return found


def promised(line: str) -> re.Pattern[str]:
    """A line of promised output; … stands for anything."""
    return re.compile(".*".join(map(re.escape, line.split("…"))), re.DOTALL)
