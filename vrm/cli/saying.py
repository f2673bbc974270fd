"""What is loaded before any command: how it is parsed, what it opened is closed, what goes wrong is told.

It imports nothing that takes long: who stops a command in its first moments is understood as well.
"""

from __future__ import annotations

import argparse
import sys
from typing import NoReturn


class Parser(argparse.ArgumentParser):
    """Complains of wrong usage in the same two lines as of everything else."""

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(2, f"error: {message}\nhint: {self.prog} --help\n")


def readable(text: str) -> str:
    """The text without what would steer the terminal: names of files are strangers' words."""
    return "".join(mark if mark.isprintable() or mark == "\n" else "\ufffd" for mark in text)


def close(chosen: argparse.Namespace) -> None:
    """Give back what this command opened: nobody waits for it until memory is tidied up."""
    for host in getattr(chosen, "opened", ()):
        host.engine.close()
