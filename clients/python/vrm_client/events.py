"""What a vault tells you by itself: signed events (RFC 8417), pushed to your address (RFC 8935).

Promises: an event is believed only if the vault's own key signed it (found by the `jwks_uri` of its metadata,
fetched again when a key is new, and after an hour), for you, of this type, and not too long ago; that a grant
has ended stays true, so such an event is never too old. Refuses everything else, with the code that the
standard has for it. An event names a grant and what happened to it, never what is in it:
what changed, you read as always. Needs `pip install 'vrm-client[keys]'`.

The vault sends an event until you answer 202, so one can come twice; act on it, remember its `jti`, then
answer. Answer 400 only with an `EventError`: it is final. Anything else makes the vault try again, for three
days. With several vaults, keep each one's `jti`, grants and subjects apart: they are names of its own making.
"""

from __future__ import annotations

import base64
import binascii
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from threading import Lock
from typing import Any

from vrm_client.discovery import Vault
from vrm_client.errors import BusyError, ProtocolError, VrmClientError
from vrm_client.transport import Json, Transport, require_success

TYPE = "secevent+jwt"
URI = "urn:vrm:event:"
REVOKED = "consent-revoked"
EXPIRED = "consent-expired"
AMENDED = "consent-amended"
ERASE = "erase-requested"
CHANGED = "data-changed"
TEST = "test"
OLDEST = 4 * 86_400.0  # seconds: a vault gives up after three days
AHEAD = 60.0  # seconds by which a vault's clock may be ahead of yours
MAX_BYTES = 16 * 1024
_AGAIN = 60.0  # seconds between two looks for new keys
_KEPT = 3600.0  # seconds after which keys are looked up anew: a vault that lost its key has taken it out


class EventError(VrmClientError):
    """Not an event that you may believe. Answer 400 with `body`, as `application/json`."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code

    @property
    def body(self) -> bytes:
        """What RFC 8935 section 2.3 wants to be said."""
        return json.dumps({"err": self.code, "description": str(self)}).encode()


@dataclass(frozen=True, slots=True)
class Event:
    """What happened. A `kind` that is none of the names above is newer than this program: ignore it."""

    kind: str
    grant_id: str  # as `Connection.grant_id`; empty in a test event
    at: int  # Unix time
    jti: str
    subject: str = ""  # the customer's name towards you: the same for all her grants
    expected_by: int | None = None  # of a wish to erase: by when it should be done
    issuer: str = ""  # the vault that says so: act on what you read there, and on nothing else

    @property
    def ends(self) -> bool:
        """Whether nothing may be kept after it: the grant has ended, or she wants it deleted."""
        return self.kind in (REVOKED, EXPIRED, ERASE)


class Receiver:
    """Reads the events of one vault. Safe to share between threads."""

    def __init__(
        self,
        vault: Callable[[], Vault],
        client_id: str,
        *,
        seen: Callable[[str], bool],
        transport: Transport | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`vault` is your `Vendor.discover`; `seen` says whether you have acted on an event of that `jti`."""
        self._vault = vault
        self._client_id = client_id
        self._seen = seen
        self._transport = transport or Transport()
        self._clock = clock
        self._lock = Lock()
        self._keys: dict[str, Mapping[str, Json]] = {}
        self._looked = float("-inf")

    def receive(self, body: bytes) -> Event | None:
        """The event, or None for one that you acted on before: answer 202 to both.

        EventError for what is none; UnreachableError while the vault's keys cannot be had, or while it seems
        to come from the future, because one of two clocks is wrong: answer 503.
        """
        header, claims, signed, signature = _pieces(body)
        vault = self._vault()
        if claims.get("iss") != vault.issuer:
            raise EventError("invalid_issuer", "the event is of another vault")
        if header.get("typ") != TYPE or header.get("alg") not in ("EdDSA", "Ed25519") or "crit" in header:
            raise EventError("invalid_request", "not a Security Event Token signed with Ed25519")
        if not _verify(self._key(vault, header.get("kid")), signed, signature):
            raise EventError("authentication_failed", "the signature is not the vault's")
        if claims.get("aud") not in (self._client_id, [self._client_id]):
            raise EventError("invalid_audience", "the event is for somebody else")
        event = _event(claims)
        age = self._clock() - event.at
        if age > OLDEST and not event.ends:
            raise EventError("invalid_request", "the event is too old")
        if age < -AHEAD:  # a refusal is final, and a clock can be set right
            raise BusyError("the event is of a time that has not come", status=503, retry_after=int(_AGAIN))
        return None if self._seen(event.jti) else event

    def _key(self, vault: Vault, kid: object) -> Mapping[str, Json]:
        if not isinstance(kid, str):
            raise EventError("invalid_key", "the event does not name its key")
        with self._lock:
            if kid not in self._keys or not 0 <= self._clock() - self._looked < _KEPT:
                self._look(vault)
            found = self._keys.get(kid)
        if found is None:
            raise EventError("invalid_key", "the vault has no such key")
        return found

    def _look(self, vault: Vault) -> None:
        """Fetch the vault's keys, now and then: anybody can make us ask by naming keys that there are not."""
        now = self._clock()
        if 0 <= now - self._looked < _AGAIN:
            raise BusyError(
                "the vault's keys were looked up a moment ago", status=503, retry_after=int(_AGAIN)
            )
        if not vault.jwks_uri:
            raise ProtocolError("the vault publishes no keys")
        found = require_success(self._transport.get(vault.jwks_uri)).json_object().get("keys")
        keys = [key for key in found if isinstance(key, dict)] if isinstance(found, list) else []
        self._looked = now
        self._keys = {
            str(key["kid"]): key
            for key in keys
            if (key.get("kty"), key.get("crv")) == ("OKP", "Ed25519") and "kid" in key and "d" not in key
        }


def issuer_of(body: bytes) -> str:
    """Whose event it claims to be: to find the `Receiver` of that vault, which finds out whether it is."""
    issuer = _pieces(body)[1].get("iss")
    if not isinstance(issuer, str):
        raise EventError("invalid_issuer", "the event does not say whose it is")
    return issuer


def _event(claims: Mapping[str, Any]) -> Event:
    happened, jti, at = claims.get("events"), claims.get("jti"), claims.get("iat")
    if not isinstance(happened, dict) or len(happened) != 1:
        raise EventError("invalid_request", "one event is expected")
    [(uri, about)] = happened.items()
    if not uri.startswith(URI) or not isinstance(about, dict):
        raise EventError("invalid_request", "not an event of a vault")
    if (
        not isinstance(jti, str)
        or not 8 <= len(jti) <= 200
        or isinstance(at, bool)
        or not isinstance(at, int)
    ):
        raise EventError("invalid_request", "an event has a jti and a time")
    kind, by = uri.removeprefix(URI), about.get("expected_by")
    grant_id, subject = about.get("grant_id", ""), claims.get("sub", "")
    if not isinstance(grant_id, str) or not isinstance(subject, str) or (not grant_id and kind != TEST):
        raise EventError("invalid_request", "the event does not name a grant")
    expected_by = by if isinstance(by, int) else None
    return Event(kind, grant_id, at, jti, subject, expected_by, claims["iss"])


def _pieces(body: bytes) -> tuple[dict[str, Any], dict[str, Any], bytes, bytes]:
    """(header, claims, what is signed, signature) of a compact JWS (RFC 7515 section 3.1), read strictly."""
    parts = body.split(b".") if len(body) <= MAX_BYTES else []
    if len(parts) != 3:
        raise EventError("invalid_request", "not a signed token")
    header, claims, signature = (_decoded(part) for part in parts)
    return _object(header), _object(claims), b".".join(parts[:2]), signature


def _decoded(part: bytes) -> bytes:
    try:
        found = base64.b64decode(part + b"=" * (-len(part) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        found = b""
    if base64.urlsafe_b64encode(found).rstrip(b"=") != part:
        raise EventError("invalid_request", "not base64url")
    return found


def _object(text: bytes) -> dict[str, Any]:
    try:
        found = json.loads(text, object_pairs_hook=_unique)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise EventError("invalid_request", "not a JSON object with each name once")
    return found


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name twice")
    return found


def _verify(key: Mapping[str, Json], signed: bytes, signature: bytes) -> bool:
    """Ed25519 (RFC 8037). The algorithm is ours, whatever the token calls it."""
    try:
        from joserfc.errors import JoseError
        from joserfc.jwk import OKPKey
        from joserfc.jws import JWSRegistry
    except ImportError:
        raise VrmClientError("events need joserfc: pip install 'vrm-client[keys]'") from None
    try:
        imported = OKPKey.import_key({"kty": "OKP", "crv": "Ed25519", "x": str(key.get("x"))})
    except (JoseError, ValueError):
        raise ProtocolError("the vault's key cannot be used") from None
    return bool(JWSRegistry.algorithms["Ed25519"].verify(signed, signature, imported))
