"""Load that remembers what it was told: each acknowledged write, and when writes and reads were answered.

A write counts as acknowledged when its COMMIT has returned without a warning. PostgreSQL answers a COMMIT
whose wait for the second member was cut short (by pg_cancel_backend, say) with success and a warning: that
is not counted, and whoever keeps promises must not count it either.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count, pairwise
from typing import Self

import psycopg

TABLE = "CREATE TABLE ledger (writer INTEGER, number INTEGER, PRIMARY KEY (writer, number))"


@dataclass
class Answers:
    """When one kind of request was answered, and how often it was not."""

    times: list[float] = field(default_factory=list)
    failures: int = 0

    def away(self, since: float) -> float:
        """The longest time without an answer after that moment, in seconds."""
        later = [since, *(one for one in self.times if one > since)]
        return max((after - before for before, after in pairwise(later)), default=float("inf"))


class Load:
    """Writers and one reader, each with a connection that it renews when it breaks."""

    def __init__(self, url: str, writers: int = 3, pause: float = 0.01) -> None:
        self._url, self._pause = url, pause
        self.written, self.read = Answers(), Answers()
        self.acknowledged: set[tuple[int, int]] = set()
        self.doubtful = 0  # commits that came back with a warning
        self._ended = threading.Event()
        self._threads = [
            *(
                threading.Thread(target=self._live, args=(self._writing(at), self.written))
                for at in range(writers)
            ),
            threading.Thread(target=self._live, args=(self._reading, self.read)),
        ]

    def __enter__(self) -> Self:
        with psycopg.connect(self._url, autocommit=True) as connection:
            connection.execute(TABLE)
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def _live(self, act: Callable[[psycopg.Connection], Iterator[None]], answers: Answers) -> None:
        while not self._ended.is_set():
            try:
                with psycopg.connect(self._url, autocommit=True) as connection:
                    for _ in act(connection):
                        answers.times.append(time.monotonic())
                        if self._ended.wait(self._pause):
                            return
            except psycopg.Error:
                answers.failures += 1
                self._ended.wait(0.1)

    def _writing(self, writer: int) -> Callable[[psycopg.Connection], Iterator[None]]:
        numbers = count()

        def act(connection: psycopg.Connection) -> Iterator[None]:
            warned: list[object] = []
            connection.add_notice_handler(warned.append)
            for number in numbers:
                connection.execute("INSERT INTO ledger VALUES (%s, %s)", (writer, number))
                if warned:
                    self.doubtful += 1
                    warned.clear()
                else:
                    self.acknowledged.add((writer, number))
                    yield

        return act

    @staticmethod
    def _reading(connection: psycopg.Connection) -> Iterator[None]:
        while True:
            connection.execute("SELECT count(*) FROM ledger WHERE writer = 0 AND number < 10").fetchone()
            yield

    def lost(self, url: str) -> list[tuple[int, int]]:
        """What was acknowledged and is not there."""
        with psycopg.connect(url) as connection:
            there = set(connection.execute("SELECT writer, number FROM ledger").fetchall())
        return sorted(self.acknowledged - there)
