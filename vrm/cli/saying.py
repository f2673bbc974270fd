"""What is loaded before any command: how it is parsed, what it opened is closed, what goes wrong is told.

It imports nothing that takes long: who stops a command in its first moments is understood as well.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from io import TextIOWrapper
from typing import NoReturn


class Parser(argparse.ArgumentParser):
    """Complains of wrong usage in the same two lines as of everything else.

    `command` is set by each command to its own parser: of a flag that it has not, that one complains.
    """

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(2, f"error: {message}\nhint: {self.prog} --help\n")

    def parse_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: None = None
    ) -> argparse.Namespace:
        """What was chosen; the whole command line knows best which command a flag was meant for."""
        chosen, left = self.parse_known_args(args, namespace)
        if left:
            chosen.command.error(f"unrecognized arguments: {' '.join(left)}")
        return chosen


def readable(text: str) -> str:
    """The text without what would steer the terminal: names of files are strangers' words."""
    return "".join(mark if mark.isprintable() or mark == "\n" else "\ufffd" for mark in text)


def close(chosen: argparse.Namespace) -> None:
    """Give back what this command opened: nobody waits for it until memory is tidied up."""
    for host in getattr(chosen, "opened", ()):
        host.engine.close()


def let_go_of_output() -> None:
    """What could not be written is not tried again at the end, which would fail without a word of ours."""
    with suppress(OSError):  # a test's has no number
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def say_every_letter() -> None:
    """What the terminal has no letter for is written by its number; before, it was an exception."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def is_text(words: str, encoding: str = "utf-8") -> bool:
    """Whether this encoding has the words; none has bytes of a name or an argument that are not UTF-8."""
    try:
        words.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


def of_the_system(error: OSError) -> str:
    """What the system refused, and where: not every such error has both."""
    if error.args and isinstance(error.args[0], list):  # shutil.Error: of many files, each with its own
        source, _, why = error.args[0][0]
        return f"{source}: {why}"
    said = error.strerror or str(error) or type(error).__name__
    return said if error.filename is None else f"{error.filename}: {said}"
