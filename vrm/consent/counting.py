"""How often strangers may make this host do something: counted in the database, so for all workers together.

Promises: of many at once, no more than allowed pass; whom a count is about is stored as a keyed hash only.
"""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address

from vrm.clock import Clock
from vrm.errors import RateLimitedError
from vrm.vault.engine import Engine
from vrm.vault.serverkey import ServerKey

TABLES = (
    "CREATE TABLE counts (tag BLOB NOT NULL, period INTEGER NOT NULL, count INTEGER NOT NULL,"
    " PRIMARY KEY (tag, period)) WITHOUT ROWID",
)
WINDOW = 3600  # seconds


class Counting:
    """Counts per hour."""

    def __init__(self, engine: Engine, server_key: ServerKey, clock: Clock) -> None:
        self._engine = engine
        self._server_key = server_key
        self._clock = clock

    def count(self, kind: str, *limits: tuple[str, int]) -> None:
        """Count one more for each subject, "" for all together; RateLimitedError where one has enough.

        What is refused counts for nobody.
        """
        now = self._clock.now()
        period = now // WINDOW
        with self._engine.write() as transaction:
            transaction.execute("DELETE FROM counts WHERE period < ?", (period,))
            for subject, most in limits:
                row = transaction.execute(
                    "INSERT INTO counts (tag, period, count) VALUES (?, ?, 1) ON CONFLICT (tag, period)"
                    " DO UPDATE SET count = counts.count + 1 RETURNING count",
                    (self._server_key.limit_key("strangers", kind, subject), period),
                ).fetchone()
                if row[0] > most:
                    raise RateLimitedError(retry_after=(period + 1) * WINDOW - now)


def network(address: str) -> str:
    """The address; of IPv6 the /64, which one household has to itself."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return "unknown"
    if isinstance(parsed, IPv6Address):
        return str(parsed.ipv4_mapped) if parsed.ipv4_mapped else parsed.exploded[:19]
    return str(parsed)
