"""Files that this process has open."""

from __future__ import annotations

from pathlib import Path


def held_below(place: Path) -> list[str]:
    """Names of those that begin as this path does."""
    found = [str(path.readlink()) for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]
    return [name for name in found if name.startswith(str(place))]
