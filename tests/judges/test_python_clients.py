"""Clients for Python that vendors use: requests-oauthlib, httpx-oauth, and Authlib's own."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import secrets
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from authlib.integrations.base_client.errors import OAuthError
from authlib.integrations.requests_client import OAuth2Session as AuthlibSession
from httpx_oauth.exceptions import HTTPXOAuthError
from httpx_oauth.oauth2 import OAuth2
from oauthlib.oauth2 import AccessDeniedError, InvalidGrantError, MismatchingStateError
from requests.auth import HTTPBasicAuth
from requests_oauthlib import OAuth2Session

from tests.judges.stage import BOOKS, SCOPE, Town, answer_in, confidential, public


@pytest.fixture(autouse=True)
def plain_http(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both libraries insist on https unless they are told that this is a test on loopback."""
    monkeypatch.setenv("OAUTHLIB_INSECURE_TRANSPORT", "1")
    monkeypatch.setenv("AUTHLIB_INSECURE_TRANSPORT", "1")


def titles(answer: Any) -> list[str]:
    assert answer.status_code == 200, answer.text
    return sorted(row["item"]["title"] for row in answer.json()["items"])


class TestRequestsOAuthlib:
    @staticmethod
    def session(given: dict[str, Any]) -> OAuth2Session:
        return OAuth2Session(
            given["client_id"], redirect_uri=given["redirect_uri"], scope=SCOPE.split(), pkce="S256"
        )

    @staticmethod
    def ask(town: Town, session: OAuth2Session, decision: str = "approve") -> str:
        address, _ = session.authorization_url(town.issuer + "/oauth/authorize")
        return town.alice.decide(address, decision)

    @pytest.mark.parametrize("kind", [confidential, public])
    def test_it_goes_all_the_way(self, town: Town, kind: Any) -> None:
        given = kind(town)
        session = self.session(given)
        proof: dict[str, Any] = {"auth": None, "include_client_id": True}
        if "client_secret" in given:
            proof = {"auth": HTTPBasicAuth(given["client_id"], given["client_secret"])}
        token_url = town.issuer + "/oauth/token"
        session.fetch_token(token_url, authorization_response=self.ask(town, session), **proof)
        assert titles(session.get(town.issuer + "/api/v1/purchases")) == BOOKS
        first = session.token["access_token"]
        more = {} if "client_secret" in given else {"client_id": given["client_id"]}
        session.refresh_token(token_url, auth=proof["auth"], **more)
        assert session.token["access_token"] != first
        assert titles(session.get(town.issuer + "/api/v1/purchases")) == BOOKS

    def test_an_answer_to_another_question_is_thrown_away(self, town: Town) -> None:
        given = confidential(town)
        session, other = self.session(given), self.session(given)
        other.authorization_url(town.issuer + "/oauth/authorize")
        with pytest.raises(MismatchingStateError):
            other.fetch_token(
                town.issuer + "/oauth/token",
                authorization_response=self.ask(town, session),
                client_secret=given["client_secret"],
            )

    def test_its_errors_are_the_servers(self, town: Town) -> None:
        given = confidential(town)
        session = self.session(given)
        proof = HTTPBasicAuth(given["client_id"], given["client_secret"])
        back = self.ask(town, session)
        session.fetch_token(town.issuer + "/oauth/token", authorization_response=back, auth=proof)
        with pytest.raises(InvalidGrantError):
            session.fetch_token(town.issuer + "/oauth/token", authorization_response=back, auth=proof)

    def test_declining_is_an_error_that_it_knows(self, town: Town) -> None:
        session = self.session(confidential(town))
        back = self.ask(town, session, "decline")
        with pytest.raises(AccessDeniedError):
            session.fetch_token(town.issuer + "/oauth/token", authorization_response=back)


class TestHttpxOAuth:
    def test_it_goes_all_the_way(self, town: Town) -> None:
        with ThreadPoolExecutor(1) as own:  # a browser's tests, run before, leave a loop in this thread
            own.submit(lambda: asyncio.run(self.whole(town))).result()

    async def whole(self, town: Town) -> None:
        given = confidential(town)
        client = OAuth2(
            given["client_id"],
            given["client_secret"],
            town.issuer + "/oauth/authorize",
            town.issuer + "/oauth/token",
            town.issuer + "/oauth/token",
            town.issuer + "/oauth/revoke",
            token_endpoint_auth_method="client_secret_basic",
            revocation_endpoint_auth_method="client_secret_basic",
        )
        verifier = secrets.token_urlsafe(32)
        digest = hashlib.sha256(verifier.encode()).digest()
        address = await client.get_authorization_url(
            given["redirect_uri"],
            "st4te",
            SCOPE.split(),
            code_challenge=base64.urlsafe_b64encode(digest).rstrip(b"=").decode(),
            code_challenge_method="S256",
        )
        back = answer_in(town.alice.decide(address))
        assert back["state"] == "st4te"
        first = await client.get_access_token(back["code"], given["redirect_uri"], verifier)
        assert not first.is_expired()
        second = await client.refresh_token(first["refresh_token"])
        headers = {"Authorization": f"Bearer {second['access_token']}"}
        async with httpx.AsyncClient(base_url=town.issuer + "/api/v1", headers=headers) as http:
            assert titles(await http.get("/purchases")) == BOOKS
            await client.revoke_token(second["refresh_token"], "refresh_token")
            assert (await http.get("/purchases")).status_code == 401
        with pytest.raises(HTTPXOAuthError) as caught:
            await client.refresh_token(second["refresh_token"])
        assert caught.value.response.json()["error"] == "invalid_grant"  # type: ignore[attr-defined]


class TestAuthlib:
    @staticmethod
    def session(given: dict[str, Any]) -> AuthlibSession:
        return AuthlibSession(
            given["client_id"],
            given.get("client_secret"),
            token_endpoint_auth_method="client_secret_basic" if "client_secret" in given else "none",
            scope=SCOPE,
            redirect_uri=given["redirect_uri"],
            code_challenge_method="S256",
        )

    @pytest.mark.parametrize("kind", [confidential, public])
    def test_it_goes_all_the_way(self, town: Town, kind: Any) -> None:
        given = kind(town)
        with self.session(given) as session:
            verifier = secrets.token_urlsafe(32)
            token_url = town.issuer + "/oauth/token"
            address, state = session.create_authorization_url(
                town.issuer + "/oauth/authorize", code_verifier=verifier
            )
            back = town.alice.decide(address)
            token = session.fetch_token(
                token_url, authorization_response=back, state=state, code_verifier=verifier
            )
            assert titles(session.get(town.issuer + "/api/v1/purchases")) == BOOKS
            again = session.refresh_token(token_url, token["refresh_token"])
            assert titles(session.get(town.issuer + "/api/v1/purchases")) == BOOKS
            ended = session.revoke_token(town.issuer + "/oauth/revoke", again["refresh_token"])
            assert (ended.status_code, ended.json()) == (200, {})
            with pytest.raises(OAuthError, match="invalid_grant"):
                session.refresh_token(token_url, again["refresh_token"])
