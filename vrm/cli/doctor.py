"""`vrm doctor`."""

from __future__ import annotations

import argparse
from typing import Any

from vrm import doctor
from vrm.cli.frame import add_json, command, settings_of, show


def add(commands: Any) -> None:
    """The command `doctor`."""
    made = command(
        commands,
        "doctor",
        _run,
        "look whether this host is set up well; exit code 1 where something fails",
        "vrm doctor",
        "vrm doctor --json",
    )
    add_json(made)


def _run(chosen: argparse.Namespace) -> int:
    found = list(doctor.examine(settings_of(chosen), doctor.Machine.here()))
    bad = any(one.level == "FAIL" for one in found)
    checks = [{"check": one.check, "level": one.level, "what": one.what, "do": one.do} for one in found]
    show(chosen, {"ok": not bad, "checks": checks}, "\n".join(one.line() for one in found))
    return int(bad)
