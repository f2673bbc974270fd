"""What a load generator sends: one kind of request, over and over, to either server."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

FRESH, TOKEN, ONCE, ALSO = "{fresh}", "{token}", "{once}", "{also}"
_MARKS = re.compile(f"({'|'.join(map(re.escape, (FRESH, TOKEN, ONCE, ALSO)))})")


@dataclass(frozen=True, slots=True)
class Plan:
    """Requests that differ in path, one header or body only; a generator takes turns through all of these.

    In a body, `{fresh}` becomes 32 hex digits that never come twice, and `{token}` a token of a chain:
    each answer's own `refresh_token` takes the place of the one that was sent. In one header or in the body
    `{once}` becomes the next of the values of `once`, and `{also}` of those of `also`, in the path's turns.
    """

    method: str
    paths: Sequence[str]
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str = ""
    chain: Sequence[str] = ()  # the first tokens; more than there are connections
    expect: int = 200  # the status of a good answer
    once: Sequence[str] = ()
    also: Sequence[str] = ()  # as many as `once`
    holds: str = ""  # what the body of a good answer holds

    def marked(self) -> str:
        """The name of the header that holds a mark; empty where none does."""
        return next((name for name, value in self.headers.items() if _MARKS.search(value)), "")


def pieces(text: str) -> list[str]:
    """The text cut at its marks, marks included."""
    return [piece for piece in _MARKS.split(text) if piece]


@dataclass(frozen=True, slots=True)
class Load:
    """What a generator saw in one window; latencies in µs."""

    requests: int
    wrong: int  # answers with another status or text, and broken connections
    seconds: float
    p50: float
    p99: float
    status: int = 0  # of a wrong answer

    @property
    def per_second(self) -> float:
        """Good and wrong answers in a second."""
        return self.requests / self.seconds
