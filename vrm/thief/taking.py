"""The private copy on which a robbery works: made in a folder of its own, and gone however it ends.

Promises: what was named is only read; the copy goes with the command, also where a signal ends it. Refuses
to open what is no file: a pipe would be waited for, for ever.
"""

from __future__ import annotations

import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn

_BESIDE = ("", "-wal", "-shm", "-journal")  # of a database, what SQLite itself keeps beside it
_ENDINGS = (signal.SIGTERM, signal.SIGHUP)


@contextmanager
def second_copy(copy: Path) -> Iterator[tuple[Path, list[str]]]:
    """(a private copy of the copy, deleted afterwards; what was left out because it is no file)."""
    left_out: list[str] = []

    def strange(folder: str, names: list[str]) -> list[str]:
        found = [name for name in names if not _can_be_copied(Path(folder, name))]
        left_out.extend(str(Path(folder, name).relative_to(copy)) for name in found)
        return found

    with tempfile.TemporaryDirectory(prefix="vrm-thief-") as made:  # mode 0700
        folder = Path(made) / "copy"
        if copy.is_dir():
            shutil.copytree(copy, folder, ignore=strange)
        else:
            folder.mkdir()
            for beside in [copy.with_name(copy.name + ending) for ending in _BESIDE]:
                if beside.is_file():
                    shutil.copy(beside, folder)
                elif beside.exists():
                    left_out.append(beside.name)
        yield folder, left_out


def _can_be_copied(path: Path) -> bool:
    return path.is_file() or path.is_dir()


@contextmanager
def ending_in_order() -> Iterator[None]:
    """A signal that ends the command leaves nothing behind: by itself it would, the server key included."""
    before = {number: signal.getsignal(number) for number in _ENDINGS}
    try:
        for number in _ENDINGS:
            if before[number] is not signal.SIG_IGN:  # under nohup it was said to go on
                signal.signal(number, _end)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end(number: int, _frame: FrameType | None) -> NoReturn:
    for one in _ENDINGS:
        signal.signal(one, signal.SIG_IGN)  # a second one would cut the tidying up short
    raise SystemExit(128 + number)
