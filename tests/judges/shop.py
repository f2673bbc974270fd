"""A vendor's program as small as it can be, for what the judges' own cannot send."""

from __future__ import annotations

import base64
import hashlib
import secrets
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import urlencode

import httpx

from tests.judges.stage import CALLBACK, SCOPE, Town, answer_in

MANY = 16
T = TypeVar("T")


def at_once(act: Callable[[int], T], count: int = MANY) -> list[T]:
    """What `count` threads that start together get."""
    barrier = threading.Barrier(count)

    def run(number: int) -> T:
        barrier.wait(timeout=30)
        return act(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))


@dataclass
class Shop:
    """One with a secret."""

    town: Town
    given: dict[str, Any]
    verifier: str = field(default_factory=lambda: secrets.token_urlsafe(32))

    @property
    def question(self) -> dict[str, str]:
        digest = hashlib.sha256(self.verifier.encode()).digest()
        return {
            "response_type": "code",
            "client_id": self.given["client_id"],
            "redirect_uri": CALLBACK,
            "scope": SCOPE,
            "state": "st4te",
            "code_challenge": base64.urlsafe_b64encode(digest).rstrip(b"=").decode(),
            "code_challenge_method": "S256",
        }

    def address(self, **parameters: str) -> str:
        return f"{self.town.issuer}/oauth/authorize?{urlencode(parameters or self.question)}"

    def post(self, path: str, **fields: str) -> httpx.Response:
        pair = (self.given["client_id"], self.given["client_secret"])
        return httpx.post(self.town.issuer + path, data=fields, auth=pair, timeout=60)

    def push(self) -> str:
        answer = self.post("/oauth/par", **self.question)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["request_uri"])

    def code(self) -> str:
        return answer_in(self.town.alice.decide(self.address()))["code"]

    def redeem(self, code: str, **more: str) -> httpx.Response:
        fields = {"grant_type": "authorization_code", "code": code, "redirect_uri": CALLBACK, **more}
        return self.post("/oauth/token", **fields, code_verifier=self.verifier)

    def refresh(self, token: str) -> httpx.Response:
        return self.post("/oauth/token", grant_type="refresh_token", refresh_token=token)

    def read(self, token: str) -> int:
        headers = {"Authorization": f"Bearer {token}"}
        return httpx.get(self.town.issuer + "/api/v1/purchases", headers=headers, timeout=60).status_code
