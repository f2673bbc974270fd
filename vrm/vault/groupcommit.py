"""Group commit: acts of several threads in one transaction, so that they wait for the disk once.

Whoever finds nobody at work leads: it does all that waits, for itself and the others, and then hands over to
the first of those who came meanwhile. Promises: `run` returns what an act returned once that is durable, or
raises what it raised; an act that raises takes nobody else's with it. Where the shared transaction itself
fails, each act is done once more, alone: so an act may run twice, and its first run left nothing.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Generic, Protocol

from vrm.errors import StorageError
from vrm.vault.engine import T, Transaction


class Counted(Transaction, Protocol):
    """A transaction that knows how much was written through it."""

    @property
    def changes(self) -> int: ...


class GroupCommit:
    """The acts that wait for one database, in one process."""

    def __init__(self, write: Callable[[], AbstractContextManager[Counted]]) -> None:
        self._write = write
        self._guard = threading.Lock()  # held for moments: of who leads and who waits
        self._led = False
        self._waiting: deque[_Act[Any]] = deque()

    def run(self, act: Callable[[Transaction], T]) -> T:
        """Do `act` with those that wait at the same time."""
        own = _Act(act)
        with self._guard:
            self._waiting.append(own)
            leads, self._led = not self._led, True
        if not leads:
            own.wait()
        if not own.done:  # it is our turn to lead
            try:
                self._lead(own)
            finally:
                self._hand_over(own)
        return own.result()

    def _lead(self, own: _Act[Any]) -> None:
        acts: list[_Act[Any]] = []
        try:
            with self._write() as transaction:
                acts = self._gathered()
                for act in acts:
                    act.run(transaction)
        except Exception as error:  # noqa: BLE001 - raised in the thread that it belongs to
            if len(acts) > 1:
                self._one_by_one(acts)
            else:
                own.fail(error)
        except BaseException:  # nothing is known to be durable
            for act in acts:
                act.fail(StorageError(hint="it was interrupted"))
            raise
        finally:
            for act in acts:
                if act is not own:
                    act.finish()

    def _gathered(self) -> list[_Act[Any]]:
        """All that wait, those, too, who came while we waited for the database."""
        with self._guard:
            acts = list(self._waiting)
            self._waiting.clear()
        return acts

    def _one_by_one(self, acts: list[_Act[Any]]) -> None:
        for act in acts:
            try:
                with self._write() as transaction:
                    act.run(transaction)
            except Exception as error:  # noqa: BLE001 - raised in the thread that it belongs to
                act.fail(error)

    def _hand_over(self, own: _Act[Any]) -> None:
        with self._guard:
            if own in self._waiting:  # the database never let us in
                self._waiting.remove(own)
            self._led = bool(self._waiting)
            if self._led:
                self._waiting[0].wake()


class _Act(Generic[T]):
    """What one thread wants done, and what became of it."""

    def __init__(self, act: Callable[[Transaction], T]) -> None:
        self._act = act
        self._results: list[T] = []
        self._error: Exception = StorageError()
        self._asleep = threading.Lock()
        self._asleep.acquire()
        self.wait, self.wake = self._asleep.acquire, self._asleep.release
        self.done = False

    def run(self, transaction: Counted) -> None:
        """Do it; raises only where it wrote something that must be undone."""
        before = transaction.changes
        self._results = []
        try:
            self._results = [self._act(transaction)]
        except Exception as error:
            self._error = error
            if transaction.changes != before:
                raise

    def fail(self, error: Exception) -> None:
        """Note why it was not done."""
        self._results, self._error = [], error

    def finish(self) -> None:
        """Tell the thread that waits."""
        self.done = True
        self.wake()

    def result(self) -> T:
        """What it returned; raises what went wrong."""
        if not self._results:
            raise self._error
        return self._results[0]
