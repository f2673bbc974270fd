"""A vendor with a key: it proves by DPoP (RFC 9449) that its tokens are its own."""

from __future__ import annotations

import base64
import hashlib
import secrets
from dataclasses import dataclass, field
from typing import Any

from joserfc.jwk import ECKey, OKPKey
from joserfc.jws import JWSRegistry
from werkzeug.test import TestResponse

from tests.api.actors import Customer, Shop, handle_of
from vrm import jose
from vrm.clock import Clock

URL = "http://127.0.0.1:8600"
TOKEN = f"{URL}/oauth/token"
PRIVATE = frozenset({"d", "p", "q", "dp", "dq", "qi"})
ABSENT: Any = object()


def public(key: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in key.items() if name not in PRIVATE}


def b64(blob: bytes) -> str:
    return base64.urlsafe_b64encode(blob).rstrip(b"=").decode()


def hash_of(token: str) -> str:
    return b64(hashlib.sha256(token.encode()).digest())


def signed(header: dict[str, Any], claims: dict[str, Any], key: dict[str, Any]) -> str:
    """A token with any header, whether or not it is one that a decent library would write."""
    message = f"{jose._written(header).decode()}.{jose._written(claims).decode()}"
    name, kind = {"EC": ("ES256", ECKey), "OKP": ("Ed25519", OKPKey)}[key["kty"]]
    return f"{message}.{b64(JWSRegistry.algorithms[name].sign(message.encode(), kind.import_key(key)))}"


@dataclass
class Prover:
    """Makes proofs; `nonce` is the newest that a server gave."""

    clock: Clock
    key: dict[str, Any] = field(default_factory=lambda: jose.private_key(secrets.token_bytes(32)))
    nonce: str | None = None

    @property
    def jkt(self) -> str:
        return jose.thumbprint(public(self.key))

    def proof(
        self, method: str, url: str, token: str = "", header: dict[str, Any] | None = None, **claims: Any
    ) -> str:
        """A good proof, with changes; ABSENT takes something out."""
        said = {"htm": method, "htu": url, "iat": self.clock.now(), "jti": secrets.token_urlsafe(16)}
        said |= {"ath": hash_of(token)} if token else {}
        said |= {"nonce": self.nonce} if self.nonce else {}
        alg = "ES256" if self.key["kty"] == "EC" else "EdDSA"
        head = {"typ": "dpop+jwt", "alg": alg, "jwk": public(self.key)} | (header or {})
        kept = [
            {name: value for name, value in part.items() if value is not ABSENT}
            for part in (head, said | claims)
        ]
        return signed(kept[0], kept[1], self.key)

    def headers(self, method: str, path: str, token: str, **claims: Any) -> dict[str, str]:
        """Those of a request for a resource."""
        proof = self.proof(method, URL + path, token, **claims)
        return {"Authorization": f"DPoP {token}", "DPoP": proof}

    def read(self, shop: Shop, path: str, token: str, **claims: Any) -> TestResponse:
        at = "/api/v1" + path
        return shop.client.get(at, headers=self.headers("GET", at.partition("?")[0], token, **claims))

    def post(
        self, shop: Shop, proof: str | None = None, path: str = "/oauth/token", **fields: Any
    ) -> TestResponse:
        """A request of the vendor with a proof, sent again once if the server wants its nonce."""
        sent = self.proof("POST", URL + path) if proof is None else proof
        answer = shop.client.post(path, data=shop.form(**fields), headers={**shop.basic, "DPoP": sent})
        if "DPoP-Nonce" in answer.headers:
            self.nonce = answer.headers["DPoP-Nonce"]
        if proof is None and answer.status_code == 400 and answer.get_json()["error"] == "use_dpop_nonce":
            return self.post(shop, self.proof("POST", URL + path), path, **fields)
        return answer

    def redeem(self, shop: Shop, code: str, proof: str | None = None) -> TestResponse:
        fields = {"code": code, "redirect_uri": shop.redirect_uri, "code_verifier": shop.verifier}
        return self.post(shop, proof, grant_type="authorization_code", **fields)

    def refresh(self, shop: Shop, token: str, proof: str | None = None, **fields: Any) -> TestResponse:
        return self.post(shop, proof, grant_type="refresh_token", refresh_token=token, **fields)

    def connect(self, shop: Shop, customer: Customer, **question: str | None) -> dict[str, Any]:
        """From the question to a token set that is bound to this key."""
        answer = self.redeem(shop, customer.approve(handle_of(shop.ask(**question))))
        assert answer.status_code == 200, answer.get_data(as_text=True)
        found: dict[str, Any] = answer.get_json()
        return found
