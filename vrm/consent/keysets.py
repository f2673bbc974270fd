"""The public keys by which a vendor proves who it is (JWK Set, RFC 7517 section 5).

Promises: a set that is taken holds 1 to 20 keys that `vrm.jose` can verify with; keys of kinds that are not
used here are passed over, so that a vendor may publish one set for everybody. Refuses a set with anything
secret in it: whoever published that has to make new keys, and should hear so at once.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from vrm import jose
from vrm.errors import JoseError, ValidationError

MAX_SET = 16 * 1024  # characters
MAX_KEYS = 20
_SECRET = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})


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


def keys_in(text: str) -> list[dict[str, Any]]:
    """The keys of a set that can verify; ValidationError for what is no such set."""
    try:
        found = json.loads(text) if len(text) <= MAX_SET else None
    except (ValueError, RecursionError):
        found = None
    keys = found.get("keys") if isinstance(found, dict) else None
    if not isinstance(keys, list) or not all(isinstance(key, dict) for key in keys):
        raise ValidationError(fields={"jwks": ["is not a JWK Set"]})
    if any(_SECRET & key.keys() for key in keys):
        raise ValidationError(fields={"jwks": ["holds a private or symmetric key"]})
    usable = [key for key in keys if _can_verify(key)]
    if not 1 <= len(usable) <= MAX_KEYS:
        raise ValidationError(fields={"jwks": [f"needs 1 to {MAX_KEYS} keys for ES256, PS256 or EdDSA"]})
    return usable


def _can_verify(key: Mapping[str, Any]) -> bool:
    try:
        jose.public_key(key)
    except JoseError:
        return False
    return True
