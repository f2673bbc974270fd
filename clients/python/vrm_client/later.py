"""A question that the customer answers later, perhaps on another device: you show a link, and poll.

Show `link` and `number` only on your own page, to who is asking, while they look at it: whoever got them in a
message would share *their* things with the session that asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import cast

from vrm_client.errors import DeclinedError, ProtocolError, RefusedError
from vrm_client.transport import Answer, Json, problem_of

GRANT_TYPE = "urn:vrm:oauth:grant-type:ticket"
SLOWER = 5  # seconds more between two polls, whenever the vault says so


@dataclass(frozen=True, slots=True)
class Pending:
    """A question on its way. Keep `to_json()` on your server, with the session that asked."""

    link: str  # what she opens, on any device; a code to scan, for one
    number: str  # show it beside the link: she types it
    link_until: float  # Unix time by which she must have opened it
    interval: int  # seconds between two polls, at least
    issuer: str
    ticket: str = field(repr=False)
    verifier: str = field(repr=False)

    def to_json(self) -> dict[str, Json]:
        """For the session. Contains secrets: keep it on the server."""
        return asdict(self)

    @classmethod
    def from_json(cls, stored: Mapping[str, Json]) -> Pending:
        """What `to_json` made."""
        return cls(**stored)  # type: ignore[arg-type]  # the types are those of to_json


def pending(answer: Mapping[str, Json], *, issuer: str, verifier: str, now: float) -> Pending:
    """Read what the vault says to a question with `answer_mode=poll`."""
    link, ticket, number = (answer.get(name) for name in ("link", "ticket", "number"))
    life, interval = answer.get("link_expires_in"), answer.get("interval")
    texts = (link, ticket)
    if not all(isinstance(text, str) and text for text in texts) or not isinstance(number, str | int):
        raise ProtocolError("the vault took the question and gave no link or ticket for it")
    if not isinstance(life, int) or not isinstance(interval, int) or interval < 1:
        raise ProtocolError("the vault does not say how long the link is good and how often to ask")
    return Pending(
        cast("str", link), str(number), now + life, interval, issuer, cast("str", ticket), verifier
    )


def still_waits(answer: Answer) -> int | None:
    """By how many seconds to slow down while she has not answered; None for an answer with tokens.

    DeclinedError, RefusedError (`expired_token`, `invalid_grant`).
    """
    if answer.status != 400:
        return None
    code, message, problem = problem_of(answer)
    if code == "authorization_pending":
        return 0
    if code == "slow_down":
        return SLOWER
    kind = DeclinedError if code == "access_denied" else RefusedError
    raise kind(message, code=code, status=answer.status, problem=problem)
