"""How often somebody may try: counted in the database, so for all workers together.

A try is counted before the costly work begins and given back when it succeeded; so parallel tries
cannot slip past. Names and addresses are stored as keyed hashes only. The limit for one name from one
address is low, for one address higher, for one name from everywhere highest: so a stranger elsewhere
can hardly lock a customer out, and nobody can guess for long.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from vrm.clock import Clock
from vrm.consent.counting import network as network_of
from vrm.errors import RateLimitedError
from vrm.vault.engine import Engine, Schema

SCHEMA: Final = Schema(
    "web-limits",
    1,
    (
        "CREATE TABLE tries (tag BLOB NOT NULL, period INTEGER NOT NULL, count INTEGER NOT NULL,"
        " PRIMARY KEY (tag, period)) WITHOUT ROWID",
    ),
    left_out=("tries",),
)

WINDOW: Final = 15 * 60  # seconds


@dataclass(frozen=True, slots=True)
class Rule:
    """At most `most` tries per window for whatever `kind` counts."""

    kind: str
    most: int


PER_PAIR: Final = Rule("name-and-address", 6)
PER_ADDRESS: Final = Rule("address", 40)
PER_NAME: Final = Rule("name", 120)
CREATIONS: Final = Rule("creations", 20)
CODES_OF_VAULT: Final = Rule("codes-of-vault", 10)
CODES_OF_ADDRESS: Final = Rule("codes-of-address", 30)


class Limits:
    """Counts tries; `hash_key` turns their subject into a tag that tells nothing."""

    def __init__(self, engine: Engine, hash_key: Callable[..., bytes], clock: Clock) -> None:
        self._engine = engine
        self._hash_key = hash_key
        self._clock = clock

    def count_entry(self, name: str, address: str) -> None:
        """Count one try to get in; RateLimitedError, with the time to wait, beyond the limits."""
        self._count(self._entry(name, address))

    def count_code(self, vault: str, address: str) -> None:
        """Count one try to name a program by its code; RateLimitedError beyond the limits."""
        self._count(self._code(vault, address))

    def give_code_back(self, vault: str, address: str) -> None:
        """There was a program with that code."""
        self._uncount(self._code(vault, address))

    def give_back(self, name: str, address: str) -> None:
        """The try was the customer's own and succeeded: it counts no more."""
        self._uncount(self._entry(name, address))

    def _uncount(self, tags: list[tuple[bytes, int]]) -> None:
        with self._engine.write() as transaction:
            for tag, _ in tags:
                transaction.execute(
                    "UPDATE tries SET count = count - 1 WHERE tag = ? AND period = ? AND count > 0",
                    (tag, self._period()),
                )

    def count_creation(self, address: str) -> None:
        """Count one new vault."""
        self._count([(self._hash_key(CREATIONS.kind, network_of(address)), CREATIONS.most)])

    def _entry(self, name: str, address: str) -> list[tuple[bytes, int]]:
        # Case and spaces around it are dropped: variants of one name share their count.
        name, network = name.strip().casefold()[:200], network_of(address)
        return [
            (self._hash_key(PER_PAIR.kind, name, network), PER_PAIR.most),
            (self._hash_key(PER_ADDRESS.kind, network), PER_ADDRESS.most),
            (self._hash_key(PER_NAME.kind, name), PER_NAME.most),
        ]

    def _code(self, vault: str, address: str) -> list[tuple[bytes, int]]:
        return [
            (self._hash_key(CODES_OF_VAULT.kind, vault), CODES_OF_VAULT.most),
            (self._hash_key(CODES_OF_ADDRESS.kind, network_of(address)), CODES_OF_ADDRESS.most),
        ]

    def _count(self, tags: list[tuple[bytes, int]]) -> None:
        period = self._period()
        with self._engine.write() as transaction:
            transaction.execute("DELETE FROM tries WHERE period < ?", (period,))
            for tag, most in tags:
                row = transaction.execute(
                    "INSERT INTO tries VALUES (?, ?, 1) ON CONFLICT (tag, period)"
                    " DO UPDATE SET count = tries.count + 1 RETURNING count",
                    (tag, period),
                ).fetchone()
                if row[0] > most:  # rolls back: a refused try does not count further
                    raise RateLimitedError(retry_after=(period + 1) * WINDOW - self._clock.now())

    def _period(self) -> int:
        return self._clock.now() // WINDOW
