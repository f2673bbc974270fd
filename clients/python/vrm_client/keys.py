"""Keys that prove who you are: client assertions (RFC 7523) and proofs of possession (RFC 9449).

Promises: ES256 only; a private key shows in no `repr`; every assertion and proof is good once, and for a
minute. Needs `pip install 'vrm-client[keys]'`.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Callable, Mapping
from threading import Lock
from typing import TYPE_CHECKING, cast
from urllib.parse import urlsplit

from vrm_client.errors import ProtocolError, VrmClientError
from vrm_client.transport import Answer, Json, origin

if TYPE_CHECKING:
    from joserfc.jwk import ECKey

ALGORITHM = "ES256"
LIFE = 60  # seconds for which an assertion is good
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


class SigningKey:
    """A private key of yours. Make one, store `to_json()` as the secret it is, publish `public()`."""

    __slots__ = ("_key",)

    def __init__(self, key: ECKey) -> None:
        self._key = key

    @classmethod
    def generate(cls) -> SigningKey:
        """A new key on the curve P-256."""
        return cls(_joserfc().ECKey.generate_key("P-256", private=True))

    @classmethod
    def from_json(cls, stored: Mapping[str, str]) -> SigningKey:
        """What `to_json` made: a private JWK (RFC 7517) on P-256."""
        jwk = dict(stored)
        if jwk.get("kty") != "EC" or jwk.get("crv") != "P-256" or "d" not in jwk:
            raise ValueError("not a private key on P-256")
        return cls(_joserfc().ECKey.import_key({name: jwk[name] for name in ("kty", "crv", "x", "y", "d")}))

    def to_json(self) -> dict[str, str]:
        """The private JWK. A secret: keep it where only you can read."""
        return cast("dict[str, str]", self._key.as_dict(private=True))

    def public(self) -> dict[str, str]:
        """The public JWK with its `kid`, for your `jwks` or `jwks_uri`."""
        bare = self._bare()
        return {**bare, "kid": self.thumbprint, "alg": ALGORITHM, "use": "sig"}

    @property
    def thumbprint(self) -> str:
        """RFC 7638."""
        return str(self._key.thumbprint())

    def _bare(self) -> dict[str, str]:
        jwk = cast("dict[str, str]", self._key.as_dict(private=False))
        return {name: jwk[name] for name in ("kty", "crv", "x", "y")}

    def assertion(self, client_id: str, issuer: str, now: float) -> str:
        """A client assertion for that authorization server (RFC 7523 section 3, FAPI 2.0 section 5.3.3)."""
        claims: dict[str, Json] = {
            "iss": client_id,
            "sub": client_id,
            "aud": issuer,
            "jti": secrets.token_urlsafe(16),
            "iat": int(now),
            "exp": int(now) + LIFE,
        }
        return self._signed({"kid": self.thumbprint}, claims)

    def proof(self, method: str, url: str, now: float, *, nonce: str = "", token: str = "") -> str:
        """A DPoP proof for one request (RFC 9449 section 4.2)."""
        claims: dict[str, Json] = {
            "jti": secrets.token_urlsafe(16),
            "htm": method,
            "htu": urlsplit(url)._replace(query="", fragment="").geturl(),
            "iat": int(now),
        }
        if nonce:
            claims["nonce"] = nonce
        if token:
            digest = hashlib.sha256(token.encode("ascii")).digest()
            claims["ath"] = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        return self._signed({"typ": "dpop+jwt", "jwk": self._bare()}, claims)

    def _signed(self, header: dict[str, object], claims: dict[str, Json]) -> str:
        made = _joserfc().encode({"alg": ALGORITHM, **header}, claims, self._key, algorithms=[ALGORITHM])
        return str(made)

    def __repr__(self) -> str:
        return f"SigningKey({self.thumbprint})"


class _Joserfc:
    """What is used of the optional dependency."""

    def __init__(self) -> None:
        try:
            from joserfc.jwk import ECKey
            from joserfc.jwt import encode
        except ImportError:
            raise VrmClientError("keys need joserfc: pip install 'vrm-client[keys]'") from None
        self.ECKey = ECKey
        self.encode = encode


def _joserfc() -> _Joserfc:
    return _Joserfc()


class Presented:
    """How a token is presented: as a bearer token, or with a proof for each request where there is a key.

    Keeps the newest nonce of each server (RFC 9449 section 8), and sends once more where one is asked for.
    """

    __slots__ = ("_clock", "_key", "_lock", "_nonces")

    def __init__(self, key: SigningKey | None, clock: Callable[[], float]) -> None:
        self._key = key
        self._clock = clock
        self._lock = Lock()
        self._nonces: dict[tuple[str, str, int], str] = {}

    @property
    def bound(self) -> bool:
        """Whether tokens are bound to a key."""
        return self._key is not None

    @property
    def thumbprint(self) -> str:
        """The key's, or nothing."""
        return "" if self._key is None else self._key.thumbprint

    def send(
        self, method: str, url: str, token: str | None, send: Callable[[Mapping[str, str]], Answer]
    ) -> Answer:
        """Send with the headers that prove possession; again where the server wants its newest nonce."""
        answer = self._once(method, url, token, send)
        if self._key is not None and _wants_nonce(answer):
            answer = self._once(method, url, token, send)
        return answer

    def _once(
        self, method: str, url: str, token: str | None, send: Callable[[Mapping[str, str]], Answer]
    ) -> Answer:
        headers: dict[str, str] = {}
        if token is not None:
            headers["Authorization"] = f"{'Bearer' if self._key is None else 'DPoP'} {token}"
        if self._key is not None:
            with self._lock:
                nonce = self._nonces.get(origin(url), "")
            headers["DPoP"] = self._key.proof(method, url, self._clock(), nonce=nonce, token=token or "")
        answer = send(headers)
        if said := answer.headers.get("dpop-nonce"):
            with self._lock:
                self._nonces[origin(url)] = said
        return answer


def _wants_nonce(answer: Answer) -> bool:
    if answer.status == 401:
        return 'error="use_dpop_nonce"' in answer.headers.get("www-authenticate", "")
    if answer.status != 400 or "dpop-nonce" not in answer.headers:
        return False
    try:
        return answer.json_object().get("error") == "use_dpop_nonce"
    except ProtocolError:
        return False


def client_metadata(
    client_id: str, *, name: str, redirect_uris: list[str], key: SigningKey | None = None, **more: Json
) -> dict[str, Json]:
    """The document to serve at `client_id`, an https URL of yours: with it you need to be registered nowhere.

    (draft-ietf-oauth-client-id-metadata-document.) Serve it as `application/json`. With a key you prove by it
    that you are that client; without one you are a public client. `more` adds members such as `client_uri`.
    """
    document: dict[str, Json] = {
        "client_id": client_id,
        "client_name": name,
        "redirect_uris": list(redirect_uris),
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": "none" if key is None else "private_key_jwt",
    }
    if key is not None:
        document["token_endpoint_auth_signing_alg"] = ALGORITHM
        document["jwks"] = {"keys": [dict(key.public())]}
    return document | more
