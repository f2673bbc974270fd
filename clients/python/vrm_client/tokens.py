"""What the token endpoint answers. Tokens show in no `repr`."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import cast
from urllib.parse import quote_plus

from vrm_client.errors import ProtocolError
from vrm_client.transport import Json

MARGIN = 30.0  # seconds before its end at which a token is renewed; a fifth of a shorter life


@dataclass(frozen=True, slots=True)
class Tokens:
    """One answer of the token endpoint. `renew_at` is a Unix time."""

    access_token: str = field(repr=False)
    refresh_token: str | None = field(repr=False)
    renew_at: float
    scope: str
    details: tuple[Mapping[str, Json], ...] = ()
    grant_id: str = ""

    def to_json(self) -> dict[str, Json]:
        """For your own store. These are secrets: encrypt them, or keep them where only you can read."""
        return {
            "access_token": self.access_token,
            "refresh_token": self.refresh_token,
            "renew_at": self.renew_at,
            "scope": self.scope,
            "details": [dict(part) for part in self.details],
            "grant_id": self.grant_id,
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Json]) -> Tokens:
        """What `to_json` made."""
        return cls(
            access_token=cast("str", stored["access_token"]),
            refresh_token=cast("str | None", stored["refresh_token"]),
            renew_at=cast("float", stored["renew_at"]),
            scope=cast("str", stored["scope"]),
            details=tuple(cast("list[dict[str, Json]]", stored["details"])),
            grant_id=cast("str", stored.get("grant_id", "")),
        )


def parse_tokens(
    answer: Mapping[str, Json], *, now: float, bound: bool = False, previous: Tokens | None = None
) -> Tokens:
    """Read a token response (RFC 6749 §5.1); absent members of a refresh keep their previous value.

    `bound`: a token bound to a key was asked for, so nothing else will do (RFC 9449 §5).
    """
    access, kind, life = answer.get("access_token"), answer.get("token_type"), answer.get("expires_in")
    if not isinstance(access, str) or not access or not (access.isascii() and access.isprintable()):
        raise ProtocolError("the token response holds no usable access token")
    expected = "DPoP" if bound else "Bearer"
    if not isinstance(kind, str) or kind.lower() != expected.lower():
        raise ProtocolError(f"the token response is of another type than {expected}")
    if isinstance(life, bool) or not isinstance(life, int | float) or life <= 0:
        raise ProtocolError("the token response does not say how long the token lives")
    refresh, scope = answer.get("refresh_token"), answer.get("scope")
    details, grant_id = answer.get("authorization_details"), answer.get("grant_id")
    return Tokens(
        access_token=access,
        refresh_token=refresh if isinstance(refresh, str) else previous.refresh_token if previous else None,
        renew_at=now + life - min(MARGIN, life / 5),
        scope=scope if isinstance(scope, str) else previous.scope if previous else "",
        details=_objects(details) if details is not None else previous.details if previous else (),
        grant_id=grant_id if isinstance(grant_id, str) else previous.grant_id if previous else "",
    )


def _objects(value: Json) -> tuple[Mapping[str, Json], ...]:
    if not isinstance(value, list) or not all(isinstance(part, dict) for part in value):
        raise ProtocolError("authorization_details is not a list of objects")
    return tuple(cast("list[dict[str, Json]]", value))


def basic(client_id: str, client_secret: str) -> str:
    """The Authorization header of client_secret_basic; both halves form-encoded (RFC 6749 §2.3.1)."""
    pair = f"{quote_plus(client_id)}:{quote_plus(client_secret)}"
    return f"Basic {b64encode(pair.encode()).decode()}"
