"""`/oauth/token` for who polls: a ticket becomes a token set once the customer said yes.

The vendor's own grant type; words and pace are those of RFC 8628 section 3.5. Promises: who polls proves
itself as for a code, by its client authentication, the PKCE verifier and, where the request named one, its
key; then it hears `authorization_pending`, `slow_down`, `access_denied` or `expired_token`, or gets tokens,
once. Refuses all else with `invalid_grant` and no reason.
"""

from __future__ import annotations

from authlib.oauth2 import OAuth2Error
from authlib.oauth2.rfc6749 import AccessDeniedError, InvalidGrantError

from vrm.api.oauth.clients import TICKET, OAuthClient
from vrm.api.oauth.parameters import required
from vrm.api.oauth.pkce import verifier
from vrm.api.oauth.token import AtomicGrant
from vrm.consent import polling
from vrm.consent.tokens import Tokens, TokenSet
from vrm.vault.engine import Work


class AuthorizationPendingError(OAuth2Error):
    """She has not answered yet."""

    error = "authorization_pending"


class SlowDownError(OAuth2Error):
    """The vendor polls faster than it was told; from now on five seconds more lie between."""

    error = "slow_down"


class ExpiredTokenError(OAuth2Error):
    """The request, or its answer, waited too long."""

    error = "expired_token"


REFUSALS = {
    polling.WAITING: AuthorizationPendingError,
    polling.SLOW: SlowDownError,
    polling.EXPIRED: ExpiredTokenError,
    polling.DECLINED: AccessDeniedError,
}


class TicketGrant(AtomicGrant):
    """grant_type=urn:vrm:oauth:grant-type:ticket."""

    GRANT_TYPE = TICKET

    def exchange(self, tokens: Tokens, client: OAuthClient) -> Work[TokenSet]:  # noqa: ARG002 - a shape
        parameters = self.request.payload
        yield from ()
        ticket, secret = required(parameters, "ticket"), verifier(parameters)
        polled: polling.Polled = self.server.consent.polls.poll(
            ticket,
            client.vendor,
            secret,
            proof=self.proof,
            scope=self.scope(),
            resource=self.resource(),
            details=self.details(),
        )
        if polled.tokens is not None:
            return polled.tokens
        if polled.outcome == polling.REDIRECTED:
            raise InvalidGrantError("she answered in the browser that you sent: the code went there")
        raise REFUSALS[polled.outcome]()
