"""The `vrm` command. Results on standard output (`--json` for scripts), progress on standard error.

Passphrases come from a prompt or `--passphrase-file` (`-` is standard input), never from an argument.
Failure: exit code 1 (2 for wrong usage) with `error:` and `hint:` lines.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module

from vrm import __version__
from vrm.cli.saying import Parser, close, is_text, of_the_system, readable, say_every_letter
from vrm.errors import VrmError

_GROUPS = {  # file of this folder → its commands, in the order of `vrm --help`
    "serving": ("serve", "openapi"),
    "vaults": ("vault",),
    "importing": ("import",),
    "vendors": ("vendor",),
    "working": ("worker",),
    "sandboxing": ("sandbox",),
    "moving": ("backup", "restore"),
    "copying": ("copy",),
    "checking": ("check", "thief"),
    "tooling": ("login", "logout", "connections"),
    "doctor": ("doctor",),
}
_NO_COMMAND = "--version"  # is answered without the half second that loading all of them takes


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    given = sys.argv[1:] if arguments is None else arguments
    chosen = argparse.Namespace()
    try:  # loading a command's file takes half a second, in which it may be stopped
        say_every_letter()
        chosen = parser(*given[:1]).parse_args(given)
        return int(chosen.run(chosen))
    except VrmError as error:
        _complain(error)
    except BrokenPipeError:
        sys.stderr.close()
    except OSError as error:
        print(f"error: {readable(of_the_system(error))}", file=sys.stderr)
    except UnicodeEncodeError:
        settings = [value for name, value in os.environ.items() if name.startswith("VRM_")]
        if all(is_text(words) for words in (*given, *settings)):
            raise
        print("error: an argument or a setting is not UTF-8 text", file=sys.stderr)
    except EOFError:
        print("\nerror: the input ended where a passphrase was expected", file=sys.stderr)
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        return 130
    finally:
        close(chosen)
    return 1


def _complain(error: VrmError) -> None:
    told = [f"{name} {', '.join(reasons)}" for name, reasons in error.fields.items()]
    for line in told or [str(error)]:
        print(f"error: {readable(line)}", file=sys.stderr)
    if error.hint:
        print(f"hint: {readable(error.hint)}", file=sys.stderr)


def parser(command: str = "") -> argparse.ArgumentParser:
    """The whole command line, from which docs/commands.md is made; of one `command`, only its own file."""
    top = Parser(prog="vrm", description="A personal data vault: keep, decide, share, stop.")
    top.add_argument("--version", action="version", version=f"vrm {__version__}")
    commands = top.add_subparsers(title="commands", required=True, metavar="COMMAND")
    if command != _NO_COMMAND:
        for name in [name for name, own in _GROUPS.items() if command in own] or _GROUPS:
            import_module(f"vrm.cli.{name}").add(commands)
    return top
