"""What an import accepts, in one place.

A file is a stranger's bytes until it has been read. Each limit is checked while reading, before the
memory it protects is used, and going beyond one refuses the import with ImportLimitError.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one import; the defaults are about ten times the largest history known."""

    record_bytes: int = 128 * 1024  # bytes of one CSV record; no higher, the csv module stops there too
    columns: int = 512  # columns of a header
    lines: int = 250_000  # rows of all files of one import, about 1.2 KB of memory each
    physical_lines: int = 1_000_000  # lines of all files, blank ones and those inside quotes as well
    rejections: int = 10_000  # rejected rows listed; a file with more is not what it claims to be
    files: int = 10_000  # files inside one ZIP
    directory_bytes: int = 8 * 1024 * 1024  # bytes of a ZIP's table of contents
    packed_bytes: int = 128 * 1024 * 1024  # bytes of a ZIP that cannot be read in place (an upload)
    unpacked_bytes: int = 512 * 1024 * 1024  # bytes read from all files of one import, unpacked
    ratio: int = 200  # unpacked to packed bytes of one file in a ZIP; real exports stay below 20
    ratio_floor: int = 1024 * 1024  # bytes below which the ratio says nothing
