"""`/oauth/revoke` (RFC 7009): a vendor gives a token back.

Promises: the answer is `200 {}` whether the token was live, spent, unknown or another vendor's; only the
vendor's own is revoked. Refuses a vendor that does not authenticate.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from authlib.consts import default_json_headers
from authlib.oauth2.rfc7009 import RevocationEndpoint

from vrm.api.oauth.clients import METHODS, OAuthClient
from vrm.api.oauth.parameters import refuse_repeated, required
from vrm.api.oauth.token import Answer
from vrm.errors import CodeError, TokenError


class Revocation(RevocationEndpoint):
    """One atomic call instead of Authlib's query and update; `token_type_hint` is not needed."""

    CLIENT_AUTH_METHODS = METHODS

    def create_endpoint_response(self, request: Any) -> Answer:
        refuse_repeated(request.payload)
        client: OAuthClient = self.authenticate_endpoint_client(request)  # type: ignore[no-untyped-call]
        token = required(request.payload, "token")
        with suppress(CodeError, TokenError):  # RFC 7009 section 2.2: an invalid token is no error
            self.server.tokens.revoke(token, client.vendor)
        return 200, {}, default_json_headers
