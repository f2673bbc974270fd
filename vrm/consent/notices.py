"""Events as vendors get them: Security Event Tokens (RFC 8417), signed with the host's own key.

Promises: a token says who speaks (`iss`), to whom (`aud`), which grant, what kind of event and when; `jti`
is the same at each try, and so is every byte. Nothing of the customer's stands in one: her name towards this
vendor (`sub`) is a digest that no two vendors can compare. It has neither `exp` nor `nonce` and a `typ` of
its own, so that it passes for no other kind of token (RFC 8417 section 4).
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any, Final

from vrm import jose
from vrm.consent import events
from vrm.vault import crypto
from vrm.vault.serverkey import ServerKey

TYPE: Final = "secevent+jwt"
MEDIA_TYPE: Final = "application/secevent+jwt"
URI: Final = "urn:vrm:event:"  # and the kind
ALGORITHM: Final = "EdDSA"
ERASE_WITHIN = 30 * 86_400  # seconds: the month of GDPR Art. 12(3), at its shortest but for February


@dataclass(frozen=True, slots=True)
class Notice:
    """One event and whom it concerns; the last three are missing in a test event."""

    jti: str
    kind: str
    issued: int  # when it was first sent
    client_id: str
    grant_id: str = ""
    subject: str = ""
    at: int = 0  # when it happened


class Signer:
    """Signs notices, and publishes what verifies them."""

    def __init__(self, server_key: ServerKey) -> None:
        self._seed = server_key.signing

    def __repr__(self) -> str:
        return "<Signer>"

    def jwks(self) -> dict[str, list[dict[str, Any]]]:
        """The JWK Set (RFC 7517) that verifies our signatures: one key, with its thumbprint as `kid`."""
        return {"keys": [self._public()]}

    def sign(self, notice: Notice, issuer: str) -> bytes:
        """The token, as it is pushed."""
        claims: dict[str, Any] = {
            "iss": issuer,
            "aud": notice.client_id,
            "iat": notice.issued,
            "jti": notice.jti,
            "events": {URI + notice.kind: _about(notice)},
        }
        if notice.subject:
            claims |= {"sub": notice.subject, "toe": notice.at}
        public = self._public()
        header = {"typ": TYPE, "alg": ALGORITHM, "kid": public["kid"]}
        private = {**public, "d": _base64url(self._seed.reveal())}
        return jose.sign(claims, private, header).encode()

    def _public(self) -> dict[str, Any]:
        key = {"kty": "OKP", "crv": "Ed25519", "x": _base64url(crypto.verifier_of(self._seed))}
        return {**key, "kid": jose.thumbprint(key), "use": "sig", "alg": ALGORITHM}


def _about(notice: Notice) -> dict[str, Any]:
    if not notice.grant_id:
        return {}
    about: dict[str, Any] = {"grant_id": notice.grant_id}
    if notice.kind == events.ERASE:
        about["expected_by"] = notice.issued + ERASE_WITHIN
    return about


def _base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
