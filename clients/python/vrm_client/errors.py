"""Everything that can go wrong, in one tree.

    VrmClientError
    ├─ UnreachableError       no answer: name, connection, TLS, time out; ask again later
    │  └─ BusyError           the vault answered 429 or 5xx; `retry_after` in seconds where it said so
    ├─ ProtocolError          an answer that the standards do not allow; nothing of it was used
    └─ RefusedError           the vault said no: `code`, `status`, and the RFC 9457 `problem` if there was one
       ├─ DeclinedError       the customer shares nothing
       ├─ RevokedError        the grant has ended: delete what you read
       ├─ NotGrantedError     403 insufficient-scope: the grant does not reach that far
       └─ NotFoundError       404 not-in-view: absent, filtered out and not granted look alike

`EventError` (vrm_client.events) hangs below the root, too: what somebody posted is no event of the vault.

No message, `repr` or attribute holds a token, a code or a client secret.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Problem:
    """An RFC 9457 problem document."""

    type: str = "about:blank"
    title: str = ""
    status: int | None = None
    detail: str = ""
    instance: str = ""
    extensions: Mapping[str, object] = field(default_factory=dict)

    @property
    def slug(self) -> str:
        """The last piece of `type`: the stable name of this kind of problem."""
        return self.type.rstrip("/").replace("#", "/").replace(":", "/").rpartition("/")[2]


def parse_problem(document: Mapping[str, object]) -> Problem:
    """Read a problem document; members of the wrong type count as absent (RFC 9457 §3.1)."""

    def text(name: str, default: str = "") -> str:
        value = document.get(name)
        return value if isinstance(value, str) else default

    status = document.get("status")
    known = {"type", "title", "status", "detail", "instance"}
    return Problem(
        type=text("type", "about:blank"),
        title=text("title"),
        status=status if isinstance(status, int) else None,
        detail=text("detail"),
        instance=text("instance"),
        extensions={name: value for name, value in document.items() if name not in known},
    )


class VrmClientError(Exception):
    """The root of the tree."""


class UnreachableError(VrmClientError):
    """No answer came. Nothing is known about what the vault did; ask again later."""


class BusyError(UnreachableError):
    """The vault cannot answer now."""

    def __init__(self, message: str, *, status: int, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after


class ProtocolError(VrmClientError):
    """The answer is not what the standards say. Do not go on with it."""


class RefusedError(VrmClientError):
    """The vault said no."""

    def __init__(self, message: str, *, code: str, status: int = 0, problem: Problem | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.status = status
        self.problem = problem


class DeclinedError(RefusedError):
    """The customer decided to share nothing."""


class RevokedError(RefusedError):
    """The grant has ended: stopped by the customer, expired, or replaced. Delete what you read."""


class NotGrantedError(RefusedError):
    """The grant does not reach that far."""


class NotFoundError(RefusedError):
    """Absent, filtered out and not granted are one and the same."""
