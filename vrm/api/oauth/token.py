"""`/oauth/token`: a code or a refresh token becomes a token set.

Promises: redeeming and refreshing are one atomic call each into `vrm.consent.tokens`; Authlib's order (find,
save, delete), which let eight parallel requests have eight tokens, is not used, nor its token generator or
its debug lines that print tokens. Refuses everything that is not the vendor's own, live and unspent, with
`invalid_grant` and no reason.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from authlib.consts import default_json_headers
from authlib.oauth2.rfc6749 import (
    BaseGrant,
    InvalidGrantError,
    InvalidRequestError,
    InvalidScopeError,
    TokenEndpointMixin,
)

from vrm.api.oauth import dpop, resource
from vrm.api.oauth.authorize import InvalidAuthorizationDetailsError, check_scope_syntax, read_details
from vrm.api.oauth.clients import METHODS, OAuthClient
from vrm.api.oauth.extras import InvalidTargetError
from vrm.api.oauth.parameters import StrictRequest, ascii_only, refuse_repeated, required
from vrm.api.oauth.pkce import verifier
from vrm.consent.proofs import Proof
from vrm.consent.scopes import Part
from vrm.consent.tokens import Tokens, TokenSet
from vrm.errors import CodeError, DetailsError, ScopeError, TargetError, TokenError
from vrm.vault.engine import Work

TOKEN = "/oauth/token"
Answer = tuple[int, dict[str, object], list[tuple[str, str]]]


class AtomicGrant(BaseGrant, TokenEndpointMixin, ABC):
    """Authenticate the vendor, read the parameters, make one call, answer."""

    TOKEN_ENDPOINT_AUTH_METHODS = METHODS
    request: StrictRequest
    proof: Proof | None = None

    def validate_token_request(self) -> None:
        parameters = self.request.payload
        refuse_repeated(parameters)
        self.request.client = self.authenticate_token_endpoint_client()
        if {"scope", "authorization_details"} <= parameters.data.keys():
            raise InvalidRequestError("less is asked for by scope or by authorization_details, not by both")
        self.proof = dpop.presented(self.server, self.request)

    def create_token_response(self) -> Work[Answer]:  # type: ignore[override]
        client = self.request.client
        assert isinstance(client, OAuthClient)
        self.server.consent.permits.token(client.vendor.client_id)
        with oauth_errors(), dpop.proof_errors():
            token_set = yield from self.exchange(self.server.tokens, client)
        self.server.consent.remember(client.vendor)
        return 200, token_body(token_set), [*default_json_headers, *dpop.nonce_header(self.proof)]

    @abstractmethod
    def exchange(self, tokens: Tokens, client: OAuthClient) -> Work[TokenSet]:
        """The one call."""

    def scope(self) -> str | None:
        """The scopes, of those granted, that the access token is for (RFC 6749 section 6)."""
        scope: str | None = self.request.payload.data.get("scope")
        if scope is not None:  # one of blanks alone would be all that was granted
            check_scope_syntax(scope)
        return scope

    def details(self) -> list[Part] | None:
        """The parts, within those granted, that the access token is for (RFC 9396 section 6)."""
        text = self.request.payload.data.get("authorization_details")
        return None if text is None else read_details(text, self.server.public_url)

    def resource(self) -> str | None:
        """Which of the granted resources the access token is for (RFC 8707 section 2.2)."""
        return resource.chosen(self.server.consent.vendors, self.server.public_url, self.request.payload)


class CodeGrant(AtomicGrant):
    """grant_type=authorization_code (RFC 6749 section 4.1.3, RFC 7636 section 4.5)."""

    GRANT_TYPE = "authorization_code"

    def exchange(self, tokens: Tokens, client: OAuthClient) -> Work[TokenSet]:
        parameters = self.request.payload
        yield from ()
        return tokens.redeem(
            required(parameters, "code"),
            client.vendor,
            required(parameters, "redirect_uri"),
            verifier(parameters),
            scope=self.scope(),
            resource=self.resource(),
            details=self.details(),
            proof=self.proof,
        )


class RefreshGrant(AtomicGrant):
    """grant_type=refresh_token (RFC 6749 section 6)."""

    GRANT_TYPE = "refresh_token"

    def exchange(self, tokens: Tokens, client: OAuthClient) -> Work[TokenSet]:
        parameters = self.request.payload
        return tokens.refreshing(
            required(parameters, "refresh_token"),
            client.vendor,
            self.scope(),
            resource=self.resource(),
            details=self.details(),
            proof=self.proof,
        )


@contextmanager
def oauth_errors() -> Iterator[None]:
    """Consent's refusals in OAuth's words; none says which of its reasons it was."""
    try:
        yield
    except (CodeError, TokenError):
        raise InvalidGrantError("the code or refresh token is not good, or no longer") from None
    except DetailsError as error:
        raise InvalidAuthorizationDetailsError(ascii_only(str(error))) from None
    except ScopeError:
        raise InvalidScopeError("the scope is unknown, more than was granted or not as before") from None
    except TargetError:
        raise InvalidTargetError("the resource is not among those granted") from None


def token_body(token_set: TokenSet) -> dict[str, object]:
    """RFC 6749 section 5.1 with RFC 9396's `authorization_details` as granted, and the grant's id."""
    return {
        "access_token": token_set.access_token,
        "refresh_token": token_set.refresh_token,
        "token_type": "DPoP" if token_set.jkt else "Bearer",
        "expires_in": token_set.expires_in,
        "scope": token_set.scope,
        "authorization_details": token_set.authorization_details,
        "grant_id": token_set.grant_id,
    }


def refuse_missing_grant_type(parameters: Any) -> None:
    """A missing grant_type is a malformed request, not an unsupported type (RFC 6749 section 5.2)."""
    if "grant_type" not in parameters.data:
        raise InvalidRequestError("missing 'grant_type'")
