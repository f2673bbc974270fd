"""`vrm import`."""

from __future__ import annotations

import argparse
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from vrm.cli import remote
from vrm.cli.frame import add_json, add_passphrase, command, host_of, progress, show, unlock
from vrm.cli.remote import Remote
from vrm.errors import ValidationError
from vrm.vault import intake


def add(commands: Any) -> None:
    """Bringing histories in."""
    made = command(
        commands,
        "import",
        _run_import,
        "import order histories (CSV files or ZIP exports) into a vault",
        'vrm import --vault alice "Your Orders.zip"',
        "vrm import --vault alice --json Retail.OrderHistory.*.csv",
        'vrm import --at https://vault.example "Your Orders.zip"',
    )
    made.add_argument("files", nargs="+", type=Path, metavar="FILE", help="a CSV file or the ZIP")
    whose = made.add_mutually_exclusive_group(required=True)
    whose.add_argument("--vault", metavar="NAME", help="whose vault on this machine")
    whose.add_argument("--at", metavar="URL", help="a vault elsewhere, after vrm login; no passphrase then")
    add_passphrase(made)
    add_json(made)


def _run_import(chosen: argparse.Namespace) -> int:
    for path in chosen.files:
        if path.is_dir():
            raise ValidationError(f"{path} is a folder", hint="name the files in it, or the ZIP")
    values = _elsewhere(chosen) if chosen.at else _here(chosen)
    show(chosen, {"files": values}, "\n".join(map(_file_line, values)))
    return 0


def _elsewhere(chosen: argparse.Namespace) -> list[dict[str, Any]]:
    one = remote.kept(chosen.at)
    found: list[dict[str, Any]] = Remote(one.url).bring_in(one.token, chosen.files)["files"]
    return found


def _here(chosen: argparse.Namespace) -> list[dict[str, Any]]:
    with ExitStack() as stack:
        files = [(path.name, stack.enter_context(path.open("rb"))) for path in chosen.files]
        vault = unlock(host_of(chosen), chosen)
        reports = intake.bring_in(vault, files, progress if sys.stderr.isatty() else None)
    if sys.stderr.isatty():
        print(file=sys.stderr)
    return [report.as_json() for report in reports]


def _file_line(values: dict[str, Any]) -> str:
    lines = [
        f"{values['file']}: {values['format']}, {values['read']} lines: {values['imported']} new,"
        f" {values['updated']} updated, {values['duplicates']} known, {len(values['rejected'])} rejected"
    ]
    lines += [
        f"  line {one['line']}, {one['column'] or 'whole line'}: {one['reason']}"
        for one in values["rejected"]
    ]
    return "\n".join(lines)
