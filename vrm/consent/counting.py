"""How often something may be done: counted in the database, so for all workers of all nodes together.

Promises: of many at once, no more than allowed pass; whom a count is about is stored as a keyed hash only.
What is dear or rare is counted one by one (`Counting`). Of what is cheap and frequent a worker takes a share
from the database and hands it out without asking again (`Permits`): shares get smaller as the limit comes
near, and never make more than it, but what a worker took and did not use is nobody's until the next minute.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from typing import Final

from vrm import meters
from vrm.clock import Clock
from vrm.errors import RateLimitedError
from vrm.vault.engine import Engine, Schema
from vrm.vault.serverkey import ServerKey

TABLES = (
    "CREATE TABLE counts (tag BLOB NOT NULL, ends INTEGER NOT NULL, count INTEGER NOT NULL,"
    " PRIMARY KEY (ends, tag)) WITHOUT ROWID",  # what is over stands together
)
LOGINS_SCHEMA: Final = Schema("web-limits", 2, (), steps={2: ("DROP TABLE tries",)})  # among `counts` since
HOUR: Final = 3600  # seconds
MINUTE: Final = 60
_SHARES: Final = 16  # a share is this part of what is left
_COUNTS = "counts"  # of what a write is that counts: it holds up none of a vault
_KEPT: Final = 4096  # subjects of one kind of which a worker knows its share

Limited = tuple[bytes, int]  # the tag of what is counted, and how many may pass


class Counting:
    """Counts in windows of time."""

    def __init__(self, engine: Engine, server_key: ServerKey, clock: Clock) -> None:
        self._engine = engine
        self._server_key = server_key
        self._clock = clock

    def count(self, kind: str, *limits: tuple[str, int]) -> None:
        """Count one more of this hour for each subject, "" for all together; RateLimitedError.

        What is refused counts for nobody.
        """
        self.spend([(self.tag("strangers", kind, subject), most) for subject, most in limits], HOUR)

    def tag(self, *parts: str) -> bytes:
        """What is counted, of whom, as it is stored."""
        return self._server_key.limit_key(*parts)

    def spend(self, limited: Sequence[Limited], window: int) -> None:
        """Count one more of each, or none: RateLimitedError where one has enough in this window (seconds)."""
        ends = self._ends(window)
        with self._engine.write(of=_COUNTS) as transaction:
            for tag, most in limited:
                row = transaction.execute(
                    "INSERT INTO counts (tag, ends, count) VALUES (?, ?, 1) ON CONFLICT (tag, ends)"
                    " DO UPDATE SET count = counts.count + 1 RETURNING count",
                    (tag, ends),
                ).fetchone()
                if row[0] > most:  # rolls back: what is refused does not count further
                    raise RateLimitedError(retry_after=ends - self._clock.now())

    def give_back(self, limited: Sequence[Limited], window: int) -> None:
        """It does not count after all."""
        ends = self._ends(window)
        with self._engine.write(of=_COUNTS) as transaction:
            for tag, _ in limited:
                transaction.execute(
                    "UPDATE counts SET count = count - 1 WHERE tag = ? AND ends = ? AND count > 0",
                    (tag, ends),
                )

    def share(self, limited: Limited, ends: int) -> int:
        """Take a part of what may still pass in the window that ends then; 0 where nothing is left."""
        tag, most = limited
        with self._engine.write(of=tag.hex()) as transaction:
            row = transaction.execute(
                "SELECT count FROM counts WHERE tag = ? AND ends = ?", (tag, ends)
            ).fetchone()
            left = most - (row[0] if row else 0)
            part = min(left, -(-left // _SHARES))
            if part > 0:
                transaction.execute(
                    "INSERT INTO counts (tag, ends, count) VALUES (?, ?, ?) ON CONFLICT (tag, ends)"
                    " DO UPDATE SET count = counts.count + excluded.count",
                    (tag, ends, part),
                )
        return max(part, 0)

    def sweep(self) -> None:
        """Delete what is over."""
        with self._engine.write() as transaction:
            transaction.execute("DELETE FROM counts WHERE ends <= ?", (self._clock.now(),))

    def _ends(self, window: int) -> int:
        return (self._clock.now() // window + 1) * window


@dataclass(frozen=True, slots=True)
class Rates:
    """What may be done in a minute; 0: as often as one likes. A vendor's night is ten thousand readings."""

    readings: int = 12_000  # of one vendor
    tokens: int = 6_000  # of one vendor
    introspections: int = 12_000  # of one vendor or resource server
    logins: int = 120  # of one address
    failures: int = 600  # of one address: credentials of vendors and programs that are no good


@dataclass(slots=True)
class _Share:
    """What a worker may still hand out in the minute that ends then; less than 0: all is gone."""

    ends: int
    left: int


class Permits:
    """Hands out what `Rates` allow; in the usual case without the database."""

    def __init__(self, counting: Counting, clock: Clock, rates: Rates) -> None:
        self._counting = counting
        self._clock = clock
        self._rates = rates
        self._lock = threading.Lock()
        self._shares: dict[str, dict[str, _Share]] = {}  # by kind, then subject

    def reading(self, client_id: str) -> None:
        """One reading of a vendor; RateLimitedError."""
        self._take("readings", client_id, self._rates.readings)

    def token(self, client_id: str) -> None:
        """One token, fetched or renewed by a vendor; RateLimitedError."""
        self._take("tokens", client_id, self._rates.tokens)

    def introspection(self, client_id: str) -> None:
        """One question about a token; RateLimitedError."""
        self._take("introspections", client_id, self._rates.introspections)

    def login(self, address: str) -> None:
        """One log-in from an address, right or wrong; RateLimitedError."""
        self._take("logins", network(address), self._rates.logins)

    def failure(self, address: str) -> None:
        """One credential that is no good, from an address; RateLimitedError."""
        self._take("failures", network(address), self._rates.failures)

    def _take(self, kind: str, subject: str, most: int) -> None:
        if not most:
            return
        now = self._clock.now()
        while True:
            with self._lock:
                share = self._shares.get(kind, {}).get(subject)
                if share is not None and now < share.ends <= now + MINUTE:  # or the clock was put back
                    if share.left > 0:
                        share.left -= 1
                        return
                    if share.left < 0:
                        meters.RATE_LIMITED.add()
                        raise RateLimitedError(retry_after=share.ends - now)
            self._fetch(kind, subject, most, (now // MINUTE + 1) * MINUTE)

    def _fetch(self, kind: str, subject: str, most: int, ends: int) -> None:
        part = self._counting.share((self._counting.tag("permits", kind, subject), most), ends)
        meters.LEASES.add()
        with self._lock:
            shares = self._shares.setdefault(kind, {})
            if len(shares) >= _KEPT:
                kept = {one: share for one, share in shares.items() if share.ends >= ends}
                shares = self._shares[kind] = kept if len(kept) < _KEPT else {}  # who is forgotten asks anew
            share = shares.get(subject)
            if share is None or share.ends != ends:
                share = shares[subject] = _Share(ends, 0)
            if part:
                share.left = max(share.left, 0) + part
            elif not share.left:
                share.left = -1


def network(address: str) -> str:
    """The address; of IPv6 the /64, which one household has to itself."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return "unknown"
    if isinstance(parsed, IPv6Address):
        return str(parsed.ipv4_mapped) if parsed.ipv4_mapped else parsed.exploded[:19]
    return str(parsed)
