"""That somebody works with a database: told to all processes by a lock on a file beside it.

Every open engine holds it together with the others; what replaces the whole database holds it alone. The
lock ends with its process, so nothing that was killed stands in the way.
"""

from __future__ import annotations

import fcntl
import os
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from vrm.errors import ConflictError, StorageError
from vrm.vault.refusals import refused


class Occupied:
    """A place at one database, until `leave`, or until the object or its process is gone."""

    def __init__(self, database: Path, *, alone: bool = False) -> None:
        """StorageError while the database is being replaced; if `alone`, ConflictError while it is in use."""
        try:
            descriptor = os.open(
                database.with_name(f"{database.name}.open.lock"), os.O_RDWR | os.O_CREAT, 0o600
            )
        except OSError as error:
            raise refused(error, database) from error
        self._descriptor = descriptor
        self.leave = weakref.finalize(self, os.close, descriptor)
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        except BlockingIOError:
            self.leave()
            if alone:
                raise in_use() from None
            raise StorageError(
                "the data is being replaced by another command", hint="try again when it has finished"
            ) from None

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Alone for a while; ConflictError while the database is in use."""
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            fcntl.flock(self._descriptor, fcntl.LOCK_SH)  # which a failed try gives away
            raise in_use() from None
        try:
            yield
        finally:
            fcntl.flock(self._descriptor, fcntl.LOCK_SH)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.leave()


def in_use() -> ConflictError:
    """What is said to who wants a database alone that others work with."""
    return ConflictError(
        "the data is in use by a server or another command",
        hint="stop `vrm serve` (and what else uses the data), then try again",
    )
