"""Group commit: works of several threads done by one of them, their steps in one transaction.

Whoever finds nobody at work leads: it does all works that wait, its own and the others', and then hands over
to the first of those who came meanwhile. So threads wait for the disk once, and need not wait for the
interpreter in turns, which costs more than most works ("flat combining": Hendler, Incze, Shavit and Tzafrir,
SPAA 2010). Promises: `run` returns what a work returned once its steps are durable, or raises what it raised;
a step that raises takes nobody else's with it; what works share is gone with the leader who did them. Where
the shared transaction itself fails, each step is done once more, alone: so an act may run twice, and its
first run left nothing. Where it cannot even begin, as nobody's could then, all are refused with it.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import partial
from itertools import groupby, islice
from time import perf_counter
from typing import Any, Generic, Protocol, TypeAlias

from vrm.errors import UncertainError
from vrm.vault.engine import Step, T, Transaction, Work, carried_out

_LIGHT = 100e-6  # seconds to begin a work in which it may keep another process from its turn


class Counted(Transaction, Protocol):
    """A transaction that knows how much was written through it; less than nothing where it cannot go on."""

    @property
    def changes(self) -> int: ...


Act: TypeAlias = Callable[[Counted], Any]


class GroupCommit:
    """The works that wait for one database, or for one vault of it, in one process."""

    def __init__(
        self,
        do: Callable[[Act, Sequence[str]], object],
        at_work: Callable[[], AbstractContextManager[object]] = nullcontext,
        turn: Callable[[], AbstractContextManager[object]] = nullcontext,
        *,
        begins_alike: bool = False,
    ) -> None:
        """`do` does an act in a durable transaction, for works of these vaults; `turn` waits until it can.

        `at_work` is around what a leader does. With `begins_alike`, what keeps one transaction from beginning
        keeps each from it, and may take its time: it is found out once.
        """
        self._do, self._at_work, self._turn = do, at_work, turn
        self._begins_alike = begins_alike
        self._guard = threading.Lock()  # held for moments: of who leads and who waits
        self._leader = 0  # identity of the thread that leads; 0: none does
        self._led = False
        self._light = False  # what the last leader began
        self._shared: dict[object, Any] = {}
        self._waiting: deque[_Task[Any]] = deque()

    def run(self, work: Work[T]) -> T:
        """Do `work` with those that wait at the same time; one within another is done at once, alone."""
        if self._leader == threading.get_ident():
            return carried_out(work, self._alone)
        own = _Task(work)
        with self._guard:
            self._waiting.append(own)
            leads, self._led = not self._led, True
        if not leads:
            self._wait(own)
        if not own.done:  # it is our turn to lead
            try:
                self._leader = threading.get_ident()
                with self._at_work():
                    self._lead(own)
            finally:
                self._leader = 0
                self._shared = {}
                self._hand_over(own)
        return own.result()

    def _wait(self, own: _Task[Any]) -> None:
        """Until it is done or our turn to lead; who is interrupted takes neither from anybody."""
        try:
            own.wait()
        except BaseException:
            if own.leads:
                self._hand_over(own)
            else:
                with self._guard, suppress(ValueError):  # or another one has it in hand already
                    self._waiting.remove(own)
            raise

    def shared(self) -> dict[object, Any]:
        """What works that begin at one moment put there for each other; anew for whoever is not at work."""
        return self._shared if self._leader == threading.get_ident() else {}

    @contextmanager
    def at_rest(self) -> Iterator[bool]:
        """Whether nobody leads; then nobody begins to while this lasts."""
        with self._guard:
            idle, self._led = not self._led, True
        try:
            yield idle
        finally:
            if idle:
                self._hand_over()

    def _lead(self, own: _Task[Any]) -> None:
        tasks: list[_Task[Any]] = []
        try:
            with self._turn() if self._light else nullcontext():  # whoever comes until then begins with us
                running = self._begun(tasks)
                if running:
                    self._commit(running)
            while running := [task for task in running if task.goes_on()]:
                self._commit(running)
        except BaseException:  # nothing is known to be durable
            for task in tasks:
                task.interrupt()
            raise
        finally:
            for task in tasks:
                if task is not own:
                    task.finish()

    def _begun(self, tasks: list[_Task[Any]]) -> list[_Task[Any]]:
        """All that wait, each at its first step; those, too, that come meanwhile.

        Only who came before the first of them began shares with it: what it finds is newer than each request.
        """
        running, began = [], perf_counter()
        while found := self._gathered():
            tasks += found
            self._shared = {}
            running += [task for task in found if task.goes_on()]
        self._light = perf_counter() - began < _LIGHT * len(running)
        return running

    def _gathered(self) -> list[_Task[Any]]:
        with self._guard:
            tasks = list(self._waiting)
            self._waiting.clear()
        return tasks

    def _commit(self, tasks: list[_Task[Any]]) -> None:
        begun: list[Counted] = []
        try:
            self._do(partial(_do_all, tasks, begun), [task.step.of for task in tasks])
        except UncertainError as error:  # perhaps it was done: nobody does it again
            for task in tasks:
                task.fail(error)
        except Exception as error:  # noqa: BLE001 - raised in the works that it belongs to
            if len(tasks) > 1 and (begun or not self._begins_alike):
                for task in tasks:
                    self._commit([task])
            else:
                for task in tasks:
                    task.fail(error)

    def _alone(self, step: Step) -> Any:
        return self._do(step.done, [step.of])

    def _hand_over(self, own: _Task[Any] | None = None) -> None:
        with self._guard:
            if own is not None and own in self._waiting:  # it was interrupted before it began
                self._waiting.remove(own)
            self._led = bool(self._waiting)
            if self._led:
                self._waiting[0].leads = True
                self._waiting[0].wake()


def _do_all(tasks: list[_Task[Any]], begun: list[Counted], transaction: Counted) -> None:
    """The step of each, in their order; what those ask that follow each other is asked at once.

    So a step that asks for nothing stands between what was asked before it and after it. Once it is there,
    the transaction is noted in `begun`.
    """
    begun.append(transaction)
    for _, few in groupby(tasks, lambda task: task.step.asks is None):
        asked = [(task, task.step.asks() if task.step.asks else ()) for task in few]
        answers = transaction.ask([ask for _, asks in asked for ask in asks])
        for task, asks in asked:
            task.do(transaction, islice(answers, len(asks)))


class _Task(Generic[T]):
    """One thread's work, how far it is, and what became of it."""

    def __init__(self, work: Work[T]) -> None:
        self._work = work
        self.step: Step
        self._given: Any = None  # what the last step's act returned
        self._error: Exception | None = None  # what it raised instead
        self._results: list[T] = []
        self._asleep = threading.Lock()
        self._asleep.acquire()
        self.wait, self.wake = self._asleep.acquire, self._asleep.release
        self.done = self.leads = False

    def goes_on(self) -> bool:
        """Do the work up to its next step; False where it has ended."""
        try:
            if self._error is None:
                self.step = self._work.send(self._given)
            else:
                self.step = self._work.throw(self._error)
        except StopIteration as end:
            self._results = [end.value]
            return False
        except Exception as error:  # noqa: BLE001 - raised in the thread that it belongs to
            self._error = error
            return False
        return True

    def do(self, transaction: Counted, answers: Iterable[Any]) -> None:
        """Do its step, given the answers to what it asks; raises only where it wrote what must be undone.

        And where it could not ask: what others asked comes from the same answers.
        """
        before = transaction.changes
        self._given, self._error = None, None
        given = tuple(answers)
        try:
            self._given = self.step.act(transaction, *given)
        except Exception as error:
            self._error = error
            if transaction.changes != before:
                raise

    def fail(self, error: Exception) -> None:
        """Note why its step was not done."""
        self._error = error

    def interrupt(self) -> None:
        """Note that it was not done, unless it was."""
        if not self._results:
            self._error = UncertainError()

    def finish(self) -> None:
        """Tell the thread that waits."""
        self.done = True
        self.wake()

    def result(self) -> T:
        """What it returned; raises what went wrong."""
        if self._results:
            return self._results[0]
        assert self._error is not None
        raise self._error
