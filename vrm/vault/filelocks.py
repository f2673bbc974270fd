"""Locks that processes of one machine hold on files: free again when the process is gone, however it went."""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from vrm.errors import BusyError
from vrm.vault.refusals import refused

_STEP = 0.01  # seconds between two looks at places that are all taken


def touched(path: Path) -> int:
    """A descriptor of the file, made 0600 where it is missing, or empty: what comes is for nobody else."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        found = os.fstat(descriptor)
        if found.st_size == 0 and found.st_mode & 0o077 and found.st_uid == os.geteuid():
            os.fchmod(descriptor, 0o600)
    except OSError as error:
        raise refused(error, path) from error
    return descriptor


def locked(path: Path) -> int:
    """A descriptor that holds the lock of the file that is there; -1 where somebody else holds it."""
    while True:
        descriptor = touched(path)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            return -1
        except FileNotFoundError:  # who held it took it away meanwhile
            pass
        os.close(descriptor)


@contextmanager
def held(path: Path) -> Iterator[bool]:
    """Try to hold the lock of the file; yields whether we do."""
    descriptor = locked(path)
    try:
        yield descriptor >= 0
    finally:
        if descriptor >= 0:
            os.close(descriptor)


@contextmanager
def one_of(places: Callable[[int], AbstractContextManager[bool]], count: int, wait: float) -> Iterator[None]:
    """One of `count` places, whichever is free first; BusyError after `wait` seconds."""
    tries = max(1, int(wait / _STEP))
    pause = threading.Event()
    for turn in range(tries * count):
        with places(turn % count) as mine:
            if mine:
                yield
                return
        if turn % count == count - 1:
            pause.wait(_STEP)
    raise BusyError()
