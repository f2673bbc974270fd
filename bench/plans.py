"""What a load generator sends: one kind of request, over and over, to either server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Plan:
    """Requests that differ in path or body only; a generator takes turns through both.

    In a body, `{fresh}` becomes 32 hex digits that never come twice, and `{token}` a token of a chain:
    each answer's own `refresh_token` takes the place of the one that was sent.
    """

    method: str
    paths: Sequence[str]
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str = ""
    chain: Sequence[str] = ()  # the first tokens; more than there are connections
    expect: int = 200  # the status of a good answer
    proofs: Sequence[str] = ()  # values of the DPoP header, one for each request, for the first path


@dataclass(frozen=True, slots=True)
class Load:
    """What a generator saw in one window; latencies in µs."""

    requests: int
    wrong: int  # answers with another status, and broken connections
    seconds: float
    p50: float
    p99: float

    @property
    def per_second(self) -> float:
        """Good and wrong answers in a second."""
        return self.requests / self.seconds
