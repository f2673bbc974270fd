"""A disk that forgets what was not synced: the file calls of a program, replayed up to a loss of power.

`record` runs a program under strace and returns its file calls below a folder. A `Disk` takes them one by
one and can be asked at any point what would be found after the power came back. The rules are stricter than
any real file system's: bytes are safe only after an fsync or fdatasync of their file, a name only after one
of its folder; of everything else none, all, or any part (single 512-byte sectors) may have arrived. Names
change in order, as in a journal. Shared memory (`-shm`) is not on the disk. After a sync that failed the
system takes for written what is not: no later sync writes it.
"""

from __future__ import annotations

import codecs
import os
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
SECTOR = 512  # bytes that a disk writes whole or not at all
NAMES = {"open", "openat", "creat", "mkdir", "mkdirat", "unlink", "unlinkat", "rmdir", "link", "linkat"}
NAMES |= {"rename", "renameat", "renameat2"}
BYTES = {"write", "pwrite64", "ftruncate", "truncate", "lseek"}
SYNCS = {"fsync", "fdatasync", "sync", "syncfs"}
FAILED = "failed sync"
_CALL = re.compile(r"^(\d+) +(\w+)\((.*)\) += (-?\d+)")
_BEGUN = re.compile(r"^(\d+) +(\w+)\((.*) <unfinished \.\.\.>$")
_RESUMED = re.compile(r"^(\d+) +<\.\.\. \w+ resumed>(.*)$")
_FD = re.compile(r"^(\d+)<(.*?)>(\(deleted\))?(?:, |$)", re.DOTALL)
_TEXT = re.compile(r'"((?:[^"\\]|\\.)*)"')


def strace() -> str:
    """The program; without it, or where the machine forbids it, the test is skipped with the remedy."""
    found = shutil.which("strace")
    if found and subprocess.run([found, "-o", "/dev/null", "true"], capture_output=True).returncode == 0:
        return found
    said = "no strace that works here: run 'sudo make system' (in a container: --cap-add SYS_PTRACE)"
    if os.environ.get("VRM_TEST_STRICT") == "1":
        pytest.fail(said, pytrace=False)
    pytest.skip(said)


class Call(NamedTuple):
    """One finished call: its name, paths or text, numbers, and what it returned."""

    name: str
    path: str  # of the descriptor, or the first path argument
    other: str  # the second path of rename and link
    text: bytes
    number: int  # offset or length
    flags: str
    descriptor: int


def record(folder: Path, program: Sequence[str], trace: Path, failing: str = "") -> list[Call]:
    """Run `python -m program…` under strace; its calls, and its lines on standard output as `tell`.

    `failing` says which syncs fail ("3", "3..5").
    """
    out = trace.with_suffix(".out")
    watched = ",".join(sorted(NAMES | BYTES | SYNCS))
    with out.open("wb") as told:
        tracer = [strace(), "-f", "--seccomp-bpf", "-y", "-s", "99999999", "-e", f"trace={watched}"]
        if failing:
            tracer += ["-e", f"inject=fdatasync:error=EIO:when={failing}"]
        done = subprocess.run(
            [*tracer, "-o", trace, sys.executable, "-m", *program],
            cwd=ROOT,
            stdout=told,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(ROOT)},
        )
    assert done.returncode == 0, done.stderr
    with trace.open("r", encoding="latin-1", newline="\n") as lines:
        return list(_calls(lines, str(folder), str(out)))


def _calls(lines: Iterator[str], folder: str, out: str) -> Iterator[Call]:
    begun: dict[str, str] = {}
    for raw in lines:
        line = raw
        half = _BEGUN.match(line)
        if half:
            begun[half[1]] = f"{half[1]} {half[2]}({half[3]}"
            continue
        rest = _RESUMED.match(line)
        if rest:
            line = begun.pop(rest[1]) + rest[2].lstrip()
        found = _CALL.match(line)
        if found and (int(found[4]) >= 0 or found[2] in SYNCS):
            call = _read(found[2], found[3], int(found[4]))
            if call.path == out:
                if call.name == "write":
                    yield call._replace(name="tell")
            elif call.path.startswith(folder):
                yield call


def _read(name: str, arguments: str, result: int) -> Call:
    held = _FD.match(arguments) if name in BYTES | SYNCS else None
    path, other, text, number, flags = "", "", b"", 0, ""
    if held:
        path = "" if held[3] else held[2]
        rest = arguments[held.end() :]
        if name in {"write", "pwrite64"}:
            quoted = _TEXT.match(rest)
            assert quoted
            text = codecs.escape_decode(quoted[1].encode("latin-1"))[0]
            number = int(rest[quoted.end() :].split(",")[-1]) if name == "pwrite64" else -1
            assert len(text) == result, "a short write"
        elif name == "ftruncate":
            number = int(rest)
        elif name == "lseek":
            number = result
        return Call(FAILED if result < 0 else name, path, other, text, number, flags, int(held[1]))
    paths = [codecs.escape_decode(one.encode("latin-1"))[0].decode() for one in _TEXT.findall(arguments)]
    path, other, *_ = [*paths, "", ""]
    return Call(name, path, other, text, number, arguments, result)


@dataclass
class _File:
    """What is safe, and what is under way: (offset, bytes), or (length, None) for a truncation."""

    safe: bytearray = field(default_factory=bytearray)
    pending: list[tuple[int, bytes | None]] = field(default_factory=list)

    def length(self) -> int:
        """As the running program sees it."""
        now = len(self.safe)
        for at, text in self.pending:
            now = at if text is None else max(now, at + len(text))
        return now

    def sync(self) -> None:
        for at, text in self.pending:
            _put(self.safe, at, text)
        self.pending.clear()

    def after(self, chance: float, draw: random.Random) -> bytes:
        """What is found where each sector under way had this chance of arriving."""
        found = bytearray(self.safe)
        for at, text in self.pending:
            if text is None:
                if draw.random() < chance:
                    _put(found, at, None)
                continue
            for start in range(0, len(text), SECTOR):
                if draw.random() < chance:
                    _put(found, at + start, text[start : start + SECTOR])
        return bytes(found)


def _put(content: bytearray, at: int, text: bytes | None) -> None:
    if text is None:
        del content[at:]
        content.extend(bytes(at - len(content)))
        return
    if len(content) < at:
        content.extend(bytes(at - len(content)))
    content[at : at + len(text)] = text


@dataclass
class _Naming:
    """One change of names: path → file number or None, whole or not at all."""

    changes: dict[str, int | None]
    safe: bool = False


FOLDER = -1


class Disk:
    """The files below one folder, which itself is safe."""

    def __init__(self, root: Path) -> None:
        self._root = str(root)
        self._files: list[_File] = []
        self._names: dict[str, int] = {}
        self._namings: list[_Naming] = []
        self._places: dict[int, int] = {}  # descriptor → where the next `write` goes

    def take(self, call: Call) -> None:
        """What one call does."""
        if call.name in SYNCS:
            self._sync(call)
        elif call.name == FAILED:
            self._files[self._names[call.path]].pending.clear()
        elif call.name in BYTES:
            self._bytes(call)
        else:
            self._name(call)

    def _sync(self, call: Call) -> None:
        number = self._names.get(call.path)
        if number is not None and number != FOLDER:
            self._files[number].sync()
        for naming in self._namings:
            naming.safe |= any(path.rpartition("/")[0] == call.path for path in naming.changes)

    def _bytes(self, call: Call) -> None:
        number = self._names.get(call.path)
        if number is None or number == FOLDER:
            return
        if call.name == "lseek":
            self._places[call.descriptor] = call.number
        elif call.name == "ftruncate":
            self._files[number].pending.append((call.number, None))
        else:
            at = self._places.get(call.descriptor, 0) if call.number < 0 else call.number
            self._files[number].pending.append((at, call.text))
            if call.number < 0:
                self._places[call.descriptor] = at + len(call.text)

    def _name(self, call: Call) -> None:
        if call.name in {"open", "openat", "creat"}:
            self._places[call.descriptor] = 0
            if call.path not in self._names and "O_CREAT" in call.flags:
                self._files.append(_File())
                self._change({call.path: len(self._files) - 1})
            number = self._names.get(call.path, FOLDER)
            if number != FOLDER and "O_TRUNC" in call.flags:
                self._files[number].pending.append((0, None))
            if number != FOLDER and "O_APPEND" in call.flags:
                self._places[call.descriptor] = self._files[number].length()
        elif call.name.startswith("mkdir"):
            self._change({call.path: FOLDER})
        elif call.name.startswith(("unlink", "rmdir")):
            self._change({call.path: None})
        elif call.name.startswith("link"):
            self._change({call.other: self._names[call.path]})
        else:
            self._change({call.other: self._names[call.path], call.path: None})

    def _change(self, changes: dict[str, int | None]) -> None:
        self._namings.append(_Naming(changes))
        _rename(self._names, changes)

    def write(self, target: Path, chance: float, draw: random.Random) -> None:
        """Write into `target` what is found after the power came back.

        `chance` is that of each sector under way: 0 loses all that was not synced, 1 nothing.
        """
        for path, number in self._found_names(chance, draw).items():
            place = target / os.path.relpath(path, self._root)
            if number == FOLDER:
                place.mkdir(mode=0o700, parents=True, exist_ok=True)
            elif not path.endswith("-shm") and place.parent.is_dir():
                place.touch(mode=0o600)
                place.write_bytes(self._files[number].after(chance, draw))

    def _found_names(self, chance: float, draw: random.Random) -> dict[str, int]:
        lost = [naming for naming in self._namings if not naming.safe]
        arrived = {id(naming) for naming in lost[: draw.randint(0, len(lost))]} if 0 < chance < 1 else set()
        names: dict[str, int] = {}
        for naming in self._namings:
            if naming.safe or chance == 1 or id(naming) in arrived:
                _rename(names, naming.changes)
        return names


def _rename(names: dict[str, int], changes: dict[str, int | None]) -> None:
    for path, number in changes.items():
        if number is None:
            names.pop(path, None)
        else:
            names[path] = number
