"""A vendor as the vault meets one: over HTTP, through Flask's test client, with real PKCE."""

from __future__ import annotations

import base64
import hashlib
import secrets
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from vrm.consent.requests import Choices
from vrm.consent.service import Consent
from vrm.consent.vendors import Vendor
from vrm.vault.vault import Vault

CALLBACK = "https://books.example/cb"
FORM = "application/x-www-form-urlencoded"


def query_of(response: TestResponse) -> dict[str, str]:
    """The parameters of the address that a redirect goes to."""
    return dict(parse_qsl(urlsplit(response.headers["Location"]).query, keep_blank_values=True))


def handle_of(response: TestResponse) -> str:
    """The handle of the stored request."""
    assert response.status_code == 303, response.get_data(as_text=True)
    path = urlsplit(response.headers["Location"]).path
    assert path.startswith("/requests/")
    return path.removeprefix("/requests/")


@dataclass
class Customer:
    """Decides on requests in her unlocked vault."""

    vault: Vault
    consent: Consent

    def approve(self, handle: str, **choices: Any) -> str:
        """The code that the vendor's browser redirect would carry."""
        chosen = Choices(**choices)
        preview = self.consent.requests.preview(self.vault, handle, chosen)
        decision = self.consent.requests.approve(self.vault, handle, chosen, preview.digest)
        assert decision.code
        return decision.code


@dataclass
class Shop:
    """One registered vendor and its HTTP calls."""

    client: FlaskClient
    vendor: Vendor
    secret: str | None
    redirect_uri: str = CALLBACK
    verifier: str = field(default_factory=lambda: secrets.token_urlsafe(32))

    @property
    def challenge(self) -> str:
        digest = hashlib.sha256(self.verifier.encode()).digest()
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()

    @property
    def basic(self) -> dict[str, str]:
        if self.secret is None:
            return {}
        pair = f"{self.vendor.client_id}:{self.secret}".encode()
        return {"Authorization": "Basic " + base64.b64encode(pair).decode()}

    def question(self, **changes: str | None) -> dict[str, str]:
        """The parameters of a good request, with changes; None takes one out."""
        usual: dict[str, str | None] = {
            "response_type": "code",
            "client_id": self.vendor.client_id,
            "redirect_uri": self.redirect_uri,
            "scope": "purchases.item:read",
            "state": "st4te",
            "code_challenge": self.challenge,
            "code_challenge_method": "S256",
        }
        return {name: value for name, value in {**usual, **changes}.items() if value is not None}

    def ask(self, **changes: str | None) -> TestResponse:
        return self.client.get("/oauth/authorize", query_string=self.question(**changes))

    def form(self, **fields: str | None) -> dict[str, str]:
        if self.secret is None:
            fields.setdefault("client_id", self.vendor.client_id)
        return {name: value for name, value in fields.items() if value is not None}

    def redeem(self, code: str, /, **changes: str | None) -> TestResponse:
        usual: dict[str, str | None] = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self.redirect_uri,
            "code_verifier": self.verifier,
        }
        return self.post("/oauth/token", **{**usual, **changes})

    def refresh(self, token: str, /, **changes: str | None) -> TestResponse:
        usual: dict[str, str | None] = {"grant_type": "refresh_token", "refresh_token": token}
        return self.post("/oauth/token", **{**usual, **changes})

    def revoke(self, token: str, /, **changes: str | None) -> TestResponse:
        usual: dict[str, str | None] = {"token": token}
        return self.post("/oauth/revoke", **{**usual, **changes})

    def post(self, path: str, **fields: str | None) -> TestResponse:
        return self.client.post(path, data=self.form(**fields), headers=self.basic)

    def read(self, path: str, token: str, **rest: Any) -> TestResponse:
        headers = {"Authorization": f"Bearer {token}", **rest.pop("headers", {})}
        return self.client.get("/api/v1" + path, headers=headers, **rest)


def connect(shop: Shop, customer: Customer, **question: str | None) -> dict[str, Any]:
    """From the question to a token set."""
    code = customer.approve(handle_of(shop.ask(**question)))
    answer = shop.redeem(code)
    assert answer.status_code == 200, answer.get_data(as_text=True)
    found: dict[str, Any] = answer.get_json()
    return found


def problem(response: TestResponse, status: int, slug: str) -> dict[str, Any]:
    """The problem document, checked for status, type and media type."""
    assert response.status_code == status, response.get_data(as_text=True)
    assert response.content_type == "application/problem+json"
    found: dict[str, Any] = response.get_json()
    assert found["type"] == f"/problems/{slug}"
    return found


def refused(response: TestResponse, status: int, error: str) -> dict[str, Any]:
    """An OAuth error in JSON that no cache keeps."""
    assert response.status_code == status, response.get_data(as_text=True)
    found: dict[str, Any] = response.get_json()
    assert found["error"] == error
    assert response.headers["Cache-Control"] == "no-store"
    return found


def sent_back(response: TestResponse, error: str, redirect_uri: str = CALLBACK) -> None:
    """A refusal that goes to the vendor, with state and issuer."""
    assert response.status_code == 303, response.get_data(as_text=True)
    location = urlsplit(response.headers["Location"])
    assert f"{location.scheme}://{location.netloc}{location.path}" == redirect_uri
    found = parse_qs(location.query)
    assert found["error"] == [error]
    assert found["state"] == ["st4te"]
    assert len(found["iss"]) == 1
    assert "code" not in found


def no_redirect(response: TestResponse) -> None:
    """A page for the person, and nowhere to go."""
    assert response.status_code == 400, response.headers
    assert "Location" not in response.headers
    assert response.mimetype == "text/html"
    assert "books.example" not in response.get_data(as_text=True)
