"""Load that remembers what it was told: each acknowledged write, and when writes and reads were answered."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import count, pairwise
from typing import Self

import psycopg

Act = Callable[[], Generator[None]]  # one connection's life: a step for each answer, an error where it broke
TABLE = "CREATE TABLE ledger (writer INTEGER, number INTEGER, PRIMARY KEY (writer, number))"


@dataclass
class Answers:
    """When one kind of request was answered, and how often it was not."""

    times: list[float] = field(default_factory=list)
    failures: int = 0

    def since(self, moment: float) -> int:
        """How many came lately, after that moment."""
        return sum(one > moment for one in self.times[-200:])

    def away(self, since: float) -> float:
        """The longest time without an answer after that moment, in seconds."""
        later = [since, *(one for one in self.times if one > since)]
        return max((after - before for before, after in pairwise(later)), default=float("inf"))


class Load:
    """Writers and readers, each a thread that begins again when it breaks."""

    broken: tuple[type[Exception], ...] = (psycopg.Error,)

    def __init__(self, pause: float = 0.01) -> None:
        self._pause = pause
        self.written, self.read = Answers(), Answers()
        self._ended = threading.Event()
        self._threads: list[threading.Thread] = []

    def lives(self) -> Sequence[tuple[Act, Answers]]:
        """What each thread does."""
        raise NotImplementedError

    def lost(self, url: str) -> int:
        """How much of what was acknowledged is not in that database."""
        raise NotImplementedError

    def told(self) -> dict[str, object]:
        """How much was acknowledged, and what else there is to say."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        self._threads = [threading.Thread(target=self._live, args=life) for life in self.lives()]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def _live(self, act: Act, answers: Answers) -> None:
        while not self._ended.is_set():
            try:
                with closing(act()) as steps:
                    for _ in steps:
                        answers.times.append(time.monotonic())
                        if self._ended.wait(self._pause):
                            return
            except self.broken:
                answers.failures += 1
                self._ended.wait(0.1)


class PlainLoad(Load):
    """psycopg and one table.

    A write counts as acknowledged when its COMMIT has returned without a warning. PostgreSQL answers a COMMIT
    whose wait for the second member was cut short (by pg_cancel_backend, say) with success and a warning:
    that is not counted, and whoever keeps promises must not count it either.
    """

    def __init__(self, url: str, writers: int = 3) -> None:
        super().__init__()
        self._url, self._writers = url, writers
        self._acknowledged: set[tuple[int, int]] = set()
        self._doubtful: Counter[str] = Counter()  # the warnings with which commits came back
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(TABLE)

    def lives(self) -> Sequence[tuple[Act, Answers]]:
        writing: list[tuple[Act, Answers]] = [
            (self._writing(at), self.written) for at in range(self._writers)
        ]
        return [*writing, (self._reading, self.read)]

    def _writing(self, writer: int) -> Act:
        numbers = count()

        def act() -> Generator[None]:
            warned: list[str] = []
            with psycopg.connect(self._url, autocommit=True) as connection:
                connection.add_notice_handler(lambda said: warned.append(said.message_primary or ""))
                for number in numbers:
                    connection.execute("INSERT INTO ledger VALUES (%s, %s)", (writer, number))
                    if warned:
                        self._doubtful.update(warned)
                        warned.clear()
                    else:
                        self._acknowledged.add((writer, number))
                        yield

        return act

    def _reading(self) -> Generator[None]:
        with psycopg.connect(self._url, autocommit=True) as connection:
            while True:
                connection.execute("SELECT count(*) FROM ledger WHERE writer = 0 AND number < 10").fetchone()
                yield

    def lost(self, url: str) -> int:
        with psycopg.connect(url) as connection:
            there = set(connection.execute("SELECT writer, number FROM ledger").fetchall())
        return len(self._acknowledged - there)

    def told(self) -> dict[str, object]:
        failed = self.written.failures + self.read.failures
        return {"writes": len(self._acknowledged), "doubtful": dict(self._doubtful), "refused": failed}
