"""A vendor as FAPI 2.0 wants one: it signs who it is, pushes what it asks, proves its key with each call.

Written for the tests alone, on joserfc and httpx, so that it can also send what no library would.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import time
from dataclasses import dataclass, field
from typing import Any

import httpx
from joserfc import jws
from joserfc.jwk import Key

from tests.judges.stage import CALLBACK, SCOPE, Town, answer_in, new_key
from vrm.consent.vendors import Vendor

ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
EVERY = ["ES256", "PS256", "RS256", "EdDSA", "Ed25519"]
Json = dict[str, Any]


def encoded(blob: bytes) -> str:
    return base64.urlsafe_b64encode(blob).rstrip(b"=").decode()


def digest(text: str) -> str:
    return encoded(hashlib.sha256(text.encode()).digest())


def signed(header: Json, claims: Json, key: Key) -> str:
    """In compact form; what is None is left out. `alg` none has no signature."""
    header = {name: value for name, value in header.items() if value is not None}
    claims = {name: value for name, value in claims.items() if value is not None}
    if header.get("alg") in (None, "none"):
        parts = [encoded(json.dumps(part).encode()) for part in (header, claims)]
        return ".".join([*parts, ""])
    registry = jws.JWSRegistry(algorithms=EVERY, strict_check_header=False)
    return jws.serialize_compact(header, json.dumps(claims), key, registry=registry)


@dataclass
class FapiVendor:
    """One registered vendor, its key, and the key of its proofs."""

    town: Town
    vendor: Vendor
    key: Key
    algorithm: str = "ES256"
    proof_key: Key = field(default_factory=new_key)
    verifier: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    nonce: str | None = None

    @classmethod
    def register(cls, town: Town, algorithm: str = "ES256", **more: Any) -> FapiVendor:
        key = new_key(algorithm)
        jwks = json.dumps({"keys": [key.as_dict(private=False)]})
        vendor, _ = town.vendor(jwks=jwks, **more)
        return cls(town, vendor, key, algorithm)

    # ---- what it signs

    def assertion(self, key: Key | None = None, header: Json | None = None, **changes: Any) -> str:
        """Who it is, for five minutes, for this server alone."""
        now, client_id = int(time.time()), self.vendor.client_id
        claims = {"iss": client_id, "sub": client_id, "aud": self.town.issuer, "jti": secrets.token_hex(16)}
        claims |= {"iat": now, "exp": now + 300}  # type: ignore[dict-item]
        mine = {"alg": self.algorithm, "kid": self.key.kid, **(header or {})}
        return signed(mine, {**claims, **changes}, key or self.key)

    def proof(
        self,
        method: str,
        url: str,
        token: str = "",
        key: Key | None = None,
        header: Json | None = None,
        **changes: Any,
    ) -> str:
        """That it holds its key, for one call."""
        key = key or self.proof_key
        mine = {"typ": "dpop+jwt", "alg": "ES256", "jwk": key.as_dict(private=False), **(header or {})}
        claims = {"htm": method, "htu": url, "jti": secrets.token_hex(16), "iat": int(time.time())}
        claims |= {"ath": digest(token) if token else None, "nonce": self.nonce}
        return signed(mine, {**claims, **changes}, key)

    # ---- what it sends

    def post(self, path: str, fields: Json, proof: Json | None = None) -> httpx.Response:
        """With an assertion unless `fields` hold one; `proof` are changes of a proof, None is without one."""
        url = self.town.issuer + path
        for _ in range(2):
            form = {
                "client_id": self.vendor.client_id,
                "client_assertion_type": ASSERTION,
                "client_assertion": fields.get("client_assertion", self.assertion()),
                **fields,
            }
            form = {name: value for name, value in form.items() if value is not None}
            headers = {} if proof is None else {"DPoP": self.proof("POST", url, **proof)}
            answer = httpx.post(url, data=form, headers=headers, timeout=60)
            if "client_assertion" in fields or not self.asked_for_nonce(answer):
                break
        return answer

    def asked_for_nonce(self, answer: httpx.Response) -> bool:
        """Whether the server wants its nonce in the next proof; it is kept either way."""
        self.nonce = answer.headers.get("DPoP-Nonce", self.nonce)
        said = answer.text + answer.headers.get("WWW-Authenticate", "")
        return answer.status_code in {400, 401} and "use_dpop_nonce" in said

    def question(self, **changes: Any) -> Json:
        usual = {
            "response_type": "code",
            "redirect_uri": CALLBACK,
            "scope": SCOPE,
            "state": "st4te",
            "code_challenge": digest(self.verifier),
            "code_challenge_method": "S256",
        }
        return {**usual, **changes}

    def push(self, proof: Json | None = None, **changes: Any) -> httpx.Response:
        return self.post("/oauth/par", self.question(**changes), proof)

    def pushed(self, proof: Json | None = None, **changes: Any) -> str:
        answer = self.push(proof, **changes)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["request_uri"])

    def address(self, request_uri: str, **beside: str) -> str:
        parameters = {"client_id": self.vendor.client_id, "request_uri": request_uri, **beside}
        return str(httpx.URL(self.town.issuer + "/oauth/authorize", params=parameters))

    def approved(self, request_uri: str, **beside: str) -> dict[str, str]:
        """What came back to it after she approved."""
        return answer_in(self.town.alice.decide(self.address(request_uri, **beside)))

    def code(self, proof: Json | None = None, **changes: Any) -> str:
        return self.approved(self.pushed(proof, **changes))["code"]

    def redeem(self, code: str, proof: Json | None = None, **changes: Any) -> httpx.Response:
        usual = {"grant_type": "authorization_code", "code": code, "redirect_uri": CALLBACK}
        return self.post("/oauth/token", {**usual, "code_verifier": self.verifier, **changes}, proof)

    def tokens(self) -> Json:
        """Tokens bound to its key."""
        answer = self.redeem(self.code(), {})
        assert answer.status_code == 200, answer.text
        found: Json = answer.json()
        return found

    def refresh(self, token: str, proof: Json | None = None, **changes: Any) -> httpx.Response:
        fields = {"grant_type": "refresh_token", "refresh_token": token, **changes}
        return self.post("/oauth/token", fields, proof)

    def read(self, token: str, proof: Json | None = None, path: str = "/api/v1/purchases") -> httpx.Response:
        """A reading with a proof."""
        url = self.town.issuer + path
        for _ in range(2):
            changes = {"token": token, **(proof or {})}
            method = changes.pop("method", "GET")
            made = self.proof(method, changes.pop("url", url.partition("?")[0]), **changes)
            answer = self.get(token, [("DPoP", made)], path)
            if not self.asked_for_nonce(answer):
                break
        return answer

    def get(
        self,
        token: str,
        headers: list[tuple[str, str]],
        path: str = "/api/v1/purchases",
        scheme: str = "DPoP",
    ) -> httpx.Response:
        """Exactly these headers beside the token."""
        sent = [("Authorization", f"{scheme} {token}"), *headers]
        return httpx.get(self.town.issuer + path, headers=sent, timeout=60)


def refused(answer: httpx.Response, error: str, status: int = 400) -> None:
    """An OAuth error in JSON."""
    assert (answer.status_code, answer.json()["error"]) == (status, error), answer.text


def soon(seconds: int) -> int:
    """A moment so many seconds from now."""
    return int(time.time()) + seconds
