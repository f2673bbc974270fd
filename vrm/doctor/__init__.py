"""`vrm doctor`: what stands in the way of a good host, one line for each thing looked at.

Promises: it looks and changes nothing (data of an older version is not lifted), prints no secret, and asks
nobody but this host and its own public address. Refuses to touch the data of another account.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from vrm.doctor import machine, network, storage
from vrm.doctor.findings import Finding
from vrm.doctor.machine import Machine
from vrm.settings import Settings

__all__ = ["Finding", "Machine", "examine"]


def examine(settings: Settings, here: Machine, toml: Path) -> Iterator[Finding]:
    """Everything that was looked at, in the order in which one would mend it; `toml` need not be there."""
    yield machine.software(here)
    yield machine.names(here)
    yield from storage.settings_file(toml)
    yield from storage.examine(settings, here)
    yield machine.memory(settings, here)
    yield machine.workers(settings, here)
    yield machine.swap(here)
    yield machine.core_dumps(here)
    yield from network.examine(settings)
