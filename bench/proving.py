"""A vendor's key, and what it signs by the thousand: by `cryptography` itself, which is quick."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import time

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256


class Prover:
    """A key on P-256, as most vendors' libraries make it."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        at = self._key.public_key().public_numbers()
        self.public = {"kty": "EC", "crv": "P-256", "x": _b64(_32(at.x)), "y": _b64(_32(at.y))}

    def proof(self, method: str, url: str, token: str = "") -> str:
        """One that was never used."""
        ath = {"ath": _b64(hashlib.sha256(token.encode()).digest())} if token else {}
        return self._signed({"typ": "dpop+jwt", "jwk": self.public}, {"htm": method, "htu": url, **ath})

    def assertion(self, client_id: str, issuer: str) -> str:
        """Who asks (private_key_jwt), said once."""
        claims = {"iss": client_id, "sub": client_id, "aud": issuer, "exp": int(time.time()) + 120}
        return self._signed({}, claims)

    def _signed(self, header: dict[str, object], claims: dict[str, object]) -> str:
        said = {"iat": int(time.time()), "jti": secrets.token_urlsafe(16), **claims}
        message = ".".join(_b64(json.dumps(one).encode()) for one in ({"alg": "ES256", **header}, said))
        pair = decode_dss_signature(self._key.sign(message.encode(), ec.ECDSA(SHA256())))
        return f"{message}.{_b64(b''.join(map(_32, pair)))}"


def _32(number: int) -> bytes:
    return number.to_bytes(32, "big")


def _b64(blob: bytes) -> str:
    return base64.urlsafe_b64encode(blob).rstrip(b"=").decode()
