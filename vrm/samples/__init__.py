"""Alice's order history, invented, in the layout in which a big shop hands one out.

`write` lays the files down as if she had asked for them on a given day: every date moves by the same
number of days, so "the last two years" holds the same purchases whenever it is tried. `truth` is what
only she knows: which line was for whom, and the one book she keeps to herself. Names, addresses, order
numbers and product numbers are made up; ISBNs are demo numbers in 978-69, a range assigned to nobody.

Made by `scripts/make_sample.py`. Nothing here reads the clock.
"""

from __future__ import annotations

import json
import re
from datetime import date, timedelta
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

DRAWN_UP = date(2026, 11, 16)  # the day on which the shipped files say they were made
DATE = re.compile(rb"\b(\d{4}-\d\d-\d\d)(?=T\d\d:)")


def path() -> Traversable:
    """The folder with the shipped files, dated as of `DRAWN_UP`."""
    return files("vrm.samples").joinpath("Your Orders")


def write(folder: Path, today: date) -> list[Path]:
    """Lay the export down in `folder` as of `today` and return the files in the order of their names."""
    shift = today - DRAWN_UP
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for source in sorted(path().iterdir(), key=lambda file: file.name):
        target = folder / source.name
        target.write_bytes(_moved(source.read_bytes(), shift))
        written.append(target)
    return written


def truth() -> dict[str, Any]:
    """What only Alice knows.

    `lines`: `[{"order", "asin", "title", "for", "occasion"}]`, one for each line of the export;
    `decisions`: the few answers by which she sorts them all, in order; `taken_out`: the book she keeps
    to herself; `expect`: the numbers that follow.
    """
    text = files("vrm.samples").joinpath("alice.json").read_text(encoding="utf-8")
    alice: dict[str, Any] = json.loads(text)
    return alice


def _moved(content: bytes, shift: timedelta) -> bytes:
    def move(found: re.Match[bytes]) -> bytes:
        return (date.fromisoformat(found[1].decode()) + shift).isoformat().encode()

    return DATE.sub(move, content)
