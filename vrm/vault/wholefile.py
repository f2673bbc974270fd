"""A new file that is there whole or not at all: written beside, synced, then given its name. Always 0600.

And a folder that is there with all above it, 0700.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from vrm.errors import ConflictError
from vrm.vault.refusals import refused

_DEVICES = "/dev"


def require_apart(target: Path, own: Mapping[Path, str]) -> None:
    """ConflictError where `target` is one of these files (each with what it is), by whatever name."""
    for path, what in own.items():
        there = target.exists() and path.exists()
        if target.samefile(path) if there else os.path.realpath(target) == os.path.realpath(path):
            raise ConflictError(f"{target}: that is {what} itself", hint="name another one")


@contextmanager
def whole_file(target: Path, *, force: bool) -> Iterator[Path]:
    """An empty file beside `target` that takes its place when the block ends well, and is gone otherwise.

    ConflictError where `target` is there and `force` is not given, or another one is writing it. What is no
    regular file is never replaced.
    """
    if target.is_dir():
        raise ConflictError(f"{target} is a folder", hint="name a file in it")
    if (target.exists() and not target.is_file()) or os.path.realpath(target.parent) == _DEVICES:
        raise ConflictError(f"{target} is no regular file", hint="name a file in a folder of yours")
    if target.exists() and not force:
        raise ConflictError(f"{target} is there already", hint="choose another name, or --force replaces it")
    part = target.with_name(f"{target.name}.part")
    with _alone_with(part):
        try:
            yield part
            sync(part)
            _name(part, target, force=force)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        sync(target.parent)


@contextmanager
def _alone_with(part: Path) -> Iterator[None]:
    """The unfinished file is ours: empty and 0600, whatever a killed process left there."""
    descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not part.exists() or not os.path.samestat(os.fstat(descriptor), part.stat()):
            raise BlockingIOError  # another one finished and named it while we waited
        os.ftruncate(descriptor, 0)
        os.fchmod(descriptor, 0o600)
        yield
    except BlockingIOError:
        raise ConflictError(f"another command is writing {part}", hint="wait until it has finished") from None
    finally:
        os.close(descriptor)


def _name(part: Path, target: Path, *, force: bool) -> None:
    if force:
        part.replace(target)
        return
    try:
        os.link(part, target)  # unlike a rename it never replaces what came there meanwhile
        part.unlink()
    except FileExistsError:
        raise ConflictError(f"{target} is there already", hint="choose another name") from None
    except OSError:  # a file system without links
        part.rename(target)


def sync(path: Path) -> None:
    """What was written to this file, or named in this folder, survives a loss of power."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Make a folder (0700) and what is missing above it, so that a loss of power does not take it away."""
    try:
        missing = [one for one in (folder, *folder.parents) if not one.exists()]
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for one in reversed(missing):
            sync(one.parent)
    except OSError as error:
        raise refused(error, folder) from error
