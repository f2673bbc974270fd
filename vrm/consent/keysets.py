"""The public keys by which a vendor proves who it is (JWK Set, RFC 7517 section 5).

Promises: a set that is taken holds 1 to 20 keys that `vrm.jose` can verify with; keys of kinds that are not
used here are passed over, so that a vendor may publish one set for everybody. A set at an address is kept for
an hour at most and fetched anew, once a minute at most, when a token names a key that is not in it: so keys
are exchanged without asking anybody. What is kept carries a MAC under the server key. Refuses a set with
anything secret in it: whoever published that has to make new keys, and should hear so at once.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from vrm import jose
from vrm.clock import Clock
from vrm.consent.fetching import HOLD_BACK, Fetching
from vrm.errors import JoseError, OutboundError, ValidationError
from vrm.vault import crypto
from vrm.vault.engine import Engine
from vrm.vault.envelope import pack
from vrm.vault.serverkey import ServerKey

if TYPE_CHECKING:
    from vrm.consent.vendors import Vendor

TABLES = (
    "CREATE TABLE key_sets (client_id TEXT PRIMARY KEY, uri TEXT NOT NULL, keys TEXT NOT NULL,"
    " expires INTEGER NOT NULL, tried INTEGER NOT NULL, mac BLOB NOT NULL)",
    "CREATE INDEX key_sets_tried ON key_sets (tried)",
)
MAX_SET = 16 * 1024  # characters
MAX_KEYS = 20
_HOUR = 3600  # seconds: how long a set is kept, and how long it outlasts an outage of its address
_ANEW = 60  # seconds between two fetches for keys that are not in a set
_SECRET = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})


@dataclass(frozen=True, slots=True)
class _Held:
    """What was fetched; no keys where that failed."""

    keys: str
    expires: int
    tried: int


class KeySets:
    """The keys of all vendors."""

    def __init__(self, engine: Engine, server_key: ServerKey, clock: Clock, fetching: Fetching) -> None:
        self._engine = engine
        self._server_key = server_key
        self._clock = clock
        self._fetching = fetching

    def of(self, vendor: Vendor, kid: object = None) -> Sequence[Mapping[str, Any]]:
        """A vendor's public keys; fetched anew where `kid` names one that is not among those at hand.

        None at all where it has none. OutboundError where they cannot be had, BusyError.
        """
        if vendor.jwks or not vendor.jwks_uri:
            return keys_in(vendor.jwks) if vendor.jwks else ()
        held, now = self._held(vendor), self._clock.now()
        keys = keys_in(held.keys) if held and held.keys and now < held.expires + _HOUR else ()
        missing = kid is not None and all(key.get("kid") != kid for key in keys)
        if (
            held
            and keys
            and now < held.expires <= now + _HOUR
            and not (missing and now >= held.tried + _ANEW)
        ):
            return keys
        if held and 0 <= now - held.tried < HOLD_BACK:
            return _at_hand(keys, "the keys could not be fetched a moment ago")
        try:
            return self._fetched(vendor)
        except OutboundError as error:
            self._keep(vendor, held.keys if held else "", held.expires if held else 0)
            return _at_hand(keys, str(error))

    def _fetched(self, vendor: Vendor) -> Sequence[Mapping[str, Any]]:
        fetched = self._fetching.json(vendor.jwks_uri, most=MAX_SET, known=vendor.verified, longest=_HOUR)
        try:
            keys = keys_in(fetched.text)
        except ValidationError as error:
            raise OutboundError("the set of keys " + error.fields["jwks"][0]) from None
        self._keep(vendor, fetched.text, self._clock.now() + fetched.keep)
        return keys

    def _keep(self, vendor: Vendor, keys: str, expires: int) -> None:
        mac = self._mac(vendor, keys, expires)
        with self._engine.write() as transaction:
            transaction.execute(
                "INSERT INTO key_sets (client_id, uri, keys, expires, tried, mac) VALUES (?, ?, ?, ?, ?, ?)"
                " ON CONFLICT (client_id) DO UPDATE SET uri = excluded.uri, keys = excluded.keys,"
                " expires = excluded.expires, tried = excluded.tried, mac = excluded.mac",
                (vendor.client_id, vendor.jwks_uri, keys, expires, self._clock.now(), mac),
            )

    def _held(self, vendor: Vendor) -> _Held | None:
        row = self._engine.one(
            "SELECT keys, expires, tried, mac FROM key_sets WHERE client_id = ? AND uri = ?",
            (vendor.client_id, vendor.jwks_uri),
        )
        if row is None or not isinstance(row[0], str) or not isinstance(row[1], int):
            return None
        return _Held(*row[:3]) if crypto.equal(self._mac(vendor, row[0], row[1]), row[3]) else None

    def _mac(self, vendor: Vendor, keys: str, expires: int) -> bytes:
        digest = crypto.digest(pack(vendor.client_id, vendor.jwks_uri, crypto.digest(keys.encode()), expires))
        return self._server_key.vouch_keys(digest)

    def sweep(self) -> None:
        """Forget what is too old to be used."""
        with self._engine.write() as transaction:
            old = self._clock.now() - _HOUR
            transaction.execute("DELETE FROM key_sets WHERE expires < ? AND tried < ?", (old, old))


def _at_hand(keys: Sequence[Mapping[str, Any]], why: str) -> Sequence[Mapping[str, Any]]:
    if not keys:
        raise OutboundError(why)
    return keys


def method_of(jwks: str, jwks_uri: str, *, public: bool) -> str:
    """The method of who has these keys to prove itself with; ValidationError where that cannot be."""
    if not jwks and not jwks_uri:
        return "none" if public else "client_secret_basic"
    if public:
        raise ValidationError(fields={"jwks": ["a public client has no keys"]})
    if jwks and jwks_uri:
        raise ValidationError(fields={"jwks": ["either the keys or their address, not both"]})
    if jwks:
        keys_in(jwks)
    return "private_key_jwt"


@lru_cache(maxsize=256)
def keys_in(text: str) -> Sequence[Mapping[str, Any]]:
    """The keys of a set that can verify; ValidationError for what is no such set, which is not kept."""
    try:
        found = json.loads(text) if len(text) <= MAX_SET else None
    except (ValueError, RecursionError):
        found = None
    keys = found.get("keys") if isinstance(found, dict) else None
    if not isinstance(keys, list) or not all(isinstance(key, dict) for key in keys):
        raise ValidationError(fields={"jwks": ["is not a JWK Set"]})
    if any(_SECRET & key.keys() for key in keys):
        raise ValidationError(fields={"jwks": ["holds a private or symmetric key"]})
    usable = tuple(key for key in keys if _can_verify(key))
    if not 1 <= len(usable) <= MAX_KEYS:
        raise ValidationError(fields={"jwks": [f"needs 1 to {MAX_KEYS} keys for ES256, PS256 or EdDSA"]})
    return usable


def _can_verify(key: Mapping[str, Any]) -> bool:
    try:
        jose.public_key(key)
    except JoseError:
        return False
    return True
