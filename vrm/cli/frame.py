"""Building blocks of the commands: their frame, settings, passphrases, and how results are shown."""

from __future__ import annotations

import argparse
import errno
import getpass
import json
import os
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO

from vrm import settings as settings_module
from vrm.cli.saying import is_text, let_go_of_output, readable
from vrm.errors import SettingsError, StorageError, UnlockError, ValidationError
from vrm.host import Host, open_host
from vrm.settings import Settings
from vrm.vault import lifting
from vrm.vault.keyslots import PASSPHRASE_MAX, PASSPHRASE_MIN
from vrm.vault.vault import Vault

_FLAGS = ("data_dir", "host", "port", "workers", "send_events")  # settings that commands have flags for


def command(
    commands: Any,
    name: str,
    run: Callable[[argparse.Namespace], int],
    what: str,
    *examples: str,
    settings: bool = True,
) -> argparse.ArgumentParser:
    """A command with its description and examples; `run` gets what was chosen and returns the exit code."""
    text = "\n".join(f"  {example}" for example in examples)
    made: argparse.ArgumentParser = commands.add_parser(
        name,
        help=what,
        description=what[0].upper() + what[1:] + ".",
        epilog=f"examples:\n{text}" if examples else "",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.set_defaults(run=run, command=made)
    if settings:
        made.add_argument(
            "--config", type=Path, metavar="FILE", help="settings file (default: vrm.toml, if it exists)"
        )
        made.add_argument("--data-dir", type=Path, metavar="DIR", help="folder of the data (VRM_DATA_DIR)")
    return made


def group_of(commands: Any, name: str, what: str) -> Any:
    """Commands under one word, such as `vrm vault …`."""
    made = commands.add_parser(name, help=what)
    return made.add_subparsers(title="commands", required=True, metavar="COMMAND")


def add_json(made: argparse.ArgumentParser) -> None:
    """`--json`, for scripts."""
    made.add_argument("--json", action="store_true", help="print JSON")


def add_passphrase(made: argparse.ArgumentParser) -> None:
    """`--passphrase-file`: a passphrase is never an argument."""
    made.add_argument(
        "--passphrase-file", metavar="PATH", help="read the passphrase from a file; - is standard input"
    )


def settings_of(chosen: argparse.Namespace, **more: Any) -> Settings:
    """Settings with the flags of this command, and `more` as if it were flags; SettingsError."""
    flags = {name: getattr(chosen, name, None) for name in _FLAGS} | more
    settings = settings_module.load(flags, toml=config_of(chosen))
    if "database_url" not in more and getattr(chosen, "data_dir", None) is not None:
        _require_led_to(settings)
    return settings


def config_of(chosen: argparse.Namespace) -> Path:
    """The settings file, which need not be there unless it was named; SettingsError."""
    toml = Path(settings_module.expanded(chosen.config or "vrm.toml", "--config"))
    if chosen.config and not toml.exists():
        raise SettingsError(f"{chosen.config}: no such file", hint="--config names a file such as vrm.toml")
    return toml


def _require_led_to(settings: Settings) -> None:
    """SettingsError where `--data-dir` was given, and the database is a file elsewhere all the same."""
    if settings.on_postgresql or not settings.database_url:
        return
    database = settings.database_path
    if os.path.realpath(database.parent) != os.path.realpath(settings.data_dir):
        raise SettingsError(
            f"--data-dir {settings.data_dir} leads to no database here: VRM_DATABASE_URL names {database}",
            hint="leave out --data-dir, or VRM_DATABASE_URL (database_url in vrm.toml) for this command",
        )


def database_of(chosen: argparse.Namespace) -> Settings:
    """Settings of a command that makes no database where there is none; StorageError."""
    settings = settings_of(chosen)
    if not settings.on_postgresql and not settings.database_path.exists():
        named = bool(settings.database_url)
        where = f"at {settings.database_path}" if named else f"in {settings.data_dir}"
        what = "VRM_DATABASE_URL names the file" if named else "--data-dir names the folder"
        raise StorageError(
            f"there is no database {where}", hint=f"{what}; vrm vault create or vrm serve begins one"
        )
    return settings


def host_of(chosen: argparse.Namespace) -> Host:
    """The data that this command looks at or changes; closed when the command ends. StorageError for none."""
    return _opened(chosen, database_of(chosen))


def new_host_of(chosen: argparse.Namespace) -> Host:
    """The same for a command with which a host may begin: folder, database and server key are made."""
    return _opened(chosen, settings_of(chosen))


def _opened(chosen: argparse.Namespace, settings: Settings) -> Host:
    host = open_host(settings)
    chosen.opened = [*getattr(chosen, "opened", ()), host]
    return host


def older_copies(settings: Settings) -> list[str]:
    """Copies that an upgrade or a restore left beside a database that is a file."""
    return [] if settings.on_postgresql else [str(path) for path in lifting.older(settings.database_path)]


def passphrase_of(chosen: argparse.Namespace, *, twice: bool = False) -> str:
    """The passphrase from file or prompt; ValidationError."""
    if chosen.passphrase_file is None:
        if sys.stdin is None or not sys.stdin.isatty():  # None: it was closed
            raise ValidationError(
                "no terminal to ask for the passphrase", hint="use --passphrase-file PATH or -"
            )
        least = f" ({PASSPHRASE_MIN} characters or more)" if twice else ""
        typed = getpass.getpass(f"Passphrase{least}: ")
        if twice and getpass.getpass("Again: ") != typed:
            raise ValidationError("the two passphrases differ")
        return typed
    return read_passphrase(chosen.passphrase_file)


def read_passphrase(path: str) -> str:
    """The passphrase in a file, or in standard input for `-`; ValidationError where it is no text."""
    if path == "-" and sys.stdin is None:
        raise ValidationError("standard input is closed", hint="use --passphrase-file PATH")
    with ExitStack() as stack:
        source: BinaryIO = sys.stdin.buffer if path == "-" else stack.enter_context(Path(path).open("rb"))
        raw = source.read(2 * PASSPHRASE_MAX)
    try:
        return raw.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise ValidationError(fields={"passphrase": ["is not UTF-8 text"]}) from None


def unlock(host: Host, chosen: argparse.Namespace) -> Vault:
    """The vault named by `--vault`; UnlockError with a hint."""
    try:
        return host.vaults.unlock(chosen.vault, passphrase_of(chosen))
    except UnlockError as error:
        error.hint = "check the name (vrm vault list) and the passphrase"
        raise


def show(chosen: argparse.Namespace, values: Any, text: str) -> None:
    """The result on standard output: JSON for scripts, else the text."""
    try:
        print(as_json(values) if chosen.json else readable(text), flush=True)
    except OSError:
        let_go_of_output()
        raise


def show_once(chosen: argparse.Namespace, values: Any, text: str, *, made: str, lost: str, hint: str) -> None:
    """`show` what is never shown again; StorageError saying what was made where nobody can have read it."""
    try:
        if sys.stdout is None:
            raise OSError(errno.EBADF, "standard output is closed")
        show(chosen, values, text)
    except OSError as error:
        raise StorageError(f"{made}, but {lost} could not be shown: {error.strerror}", hint=hint) from None


def as_json(values: Any, indent: int | None = None) -> str:
    """JSON in the letters that standard output has; else all but ASCII by number, as JSON writes it."""
    line = json.dumps(values, ensure_ascii=False, indent=indent)
    there = getattr(sys.stdout, "encoding", None) or "utf-8"
    return line if is_text(line, there) else json.dumps(values, indent=indent)


def progress(step: str, done: int, total: int) -> None:
    """One line on standard error, written over and over."""
    share = f"{100 * done // total:3d} %" if total else f"{done:,}"
    print(f"\r{step:<24} {share}  ", end="", file=sys.stderr, flush=True)
