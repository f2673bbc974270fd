"""How often somebody may try: counted in the database, so for all workers together.

A try is counted before the costly work begins and given back when it succeeded; so parallel tries
cannot slip past. Names and addresses are stored as keyed hashes only. The limit for one name from one
address is low, for one address higher, for one name from everywhere highest: so a stranger elsewhere
can hardly lock a customer out, and nobody can guess for long.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from vrm import meters
from vrm.consent.counting import Counting, Limited, Permits
from vrm.consent.counting import network as network_of
from vrm.errors import RateLimitedError

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
    """Counts tries; their subjects are stored as tags that tell nothing."""

    def __init__(self, counting: Counting, permits: Permits) -> None:
        self._counting = counting
        self._permits = permits

    def count_entry(self, name: str, address: str) -> None:
        """Count one try to get in; RateLimitedError, with the time to wait, beyond the limits."""
        try:
            self._permits.login(address)
            self._counting.spend(self._entry(name, address), WINDOW)
        except RateLimitedError:
            meters.LOGINS_REFUSED.add()
            raise

    def count_code(self, vault: str, address: str) -> None:
        """Count one try to name a program by its code; RateLimitedError beyond the limits."""
        self._counting.spend(self._code(vault, address), WINDOW)

    def give_code_back(self, vault: str, address: str) -> None:
        """There was a program with that code."""
        self._counting.give_back(self._code(vault, address), WINDOW)

    def give_back(self, name: str, address: str) -> None:
        """The try was the customer's own and succeeded: it counts no more."""
        self._counting.give_back(self._entry(name, address), WINDOW)

    def count_creation(self, address: str) -> None:
        """Count one new vault."""
        self._counting.spend([self._limited(CREATIONS, network_of(address))], WINDOW)

    def _entry(self, name: str, address: str) -> list[Limited]:
        # Case and spaces around it are dropped: variants of one name share their count.
        name, network = name.strip().casefold()[:200], network_of(address)
        return [
            self._limited(PER_PAIR, name, network),
            self._limited(PER_ADDRESS, network),
            self._limited(PER_NAME, name),
        ]

    def _code(self, vault: str, address: str) -> list[Limited]:
        return [self._limited(CODES_OF_VAULT, vault), self._limited(CODES_OF_ADDRESS, network_of(address))]

    def _limited(self, rule: Rule, *subject: str) -> Limited:
        return self._counting.tag(rule.kind, *subject), rule.most
