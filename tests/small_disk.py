"""A disk of a few MiB for one command: a tmpfs in a mount namespace of its own, which needs no root."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

_MOUNT = 'mount -t tmpfs -o size="$0" none "$1" && shift && exec "$@"'


def on_small_disk(folder: Path, size: str, *command: object) -> subprocess.CompletedProcess[str]:
    """Run a command that finds `folder` empty on a disk of this size; skips where that cannot be."""
    folder.mkdir(exist_ok=True)
    within = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", _MOUNT, size, str(folder)]
    try:
        tried = subprocess.run([*within, "true"], capture_output=True)
    except FileNotFoundError:
        tried = None
    if tried is None or tried.returncode:
        pytest.skip("no mount namespaces here; util-linux's unshare and user namespaces give them")
    return subprocess.run([*within, *map(str, command)], capture_output=True, text=True)
