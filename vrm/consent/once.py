"""Values that count once: the ids of signed proofs and assertions, among all processes on one database.

Promises: of many claims of one value, at one moment or later, in threads, processes or workers, exactly one
is told True, and only if its transaction is durable: the claim is a row with a unique key, inserted in the
transaction of what follows from it where there is one. What is stored is a digest, so the table tells
nobody which ids were used. Refuses to forget a value before it has expired; a copy of the database takes
none along.
"""

from __future__ import annotations

from functools import partial

from vrm.clock import Clock
from vrm.vault import crypto
from vrm.vault.engine import Engine, Transaction
from vrm.vault.envelope import pack

TABLES = (
    "CREATE TABLE once (value BLOB PRIMARY KEY, expires INTEGER NOT NULL) WITHOUT ROWID",  # value: a digest
    "CREATE INDEX once_expires ON once (expires)",
)


class Once:
    """Claims, and their end."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock

    def claim(self, kind: str, value: bytes, expires: int, transaction: Transaction | None = None) -> bool:
        """True for the first and only claim of this value of this kind.

        `expires`: unix seconds from which on nothing that bears this value is accepted anyway; the claim is
        kept until then. Without a transaction the claim is one of its own.
        """
        digest = crypto.digest(pack(kind, value))
        if transaction is None:
            own = partial(self.claim, kind, value, expires)
            return self._engine.together(own, of=digest.hex())
        cursor = transaction.execute(
            "INSERT INTO once (value, expires) VALUES (?, ?) ON CONFLICT DO NOTHING", (digest, expires)
        )
        return bool(cursor.rowcount == 1)

    def sweep(self) -> None:
        """Forget what has expired."""
        with self._engine.write() as transaction:
            transaction.execute("DELETE FROM once WHERE expires <= ?", (self._clock.now(),))
