"""`vrm doctor`."""

from __future__ import annotations

import argparse
from typing import Any

from vrm import doctor
from vrm.cli.frame import add_json, command, config_of, settings_of, show
from vrm.errors import SettingsError


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
    found = _found(chosen)
    bad = any(one.level == "FAIL" for one in found)
    checks = [{"check": one.check, "level": one.level, "what": one.what, "do": one.do} for one in found]
    show(chosen, {"ok": not bad, "checks": checks}, "\n".join(one.line() for one in found))
    return int(bad)


def _found(chosen: argparse.Namespace) -> list[doctor.Finding]:
    """Every finding; SettingsError, but where a program reads the answer: that has its usual shape."""
    try:
        settings = settings_of(chosen)
    except SettingsError as error:
        if not chosen.json:
            raise
        return [doctor.Finding("settings", "FAIL", str(error), error.hint)]
    return list(doctor.examine(settings, doctor.Machine.here(), config_of(chosen)))
