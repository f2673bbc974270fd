"""`/oauth/introspect` (RFC 7662): what a token is, told to its own vendor and to the server that it is for.

Promises: whoever may not know gets `{"active": false}` and nothing beside, whatever the token is (section
2.2); `sub` is the customer's name towards this vendor and no other, and never her username. Refuses who does
not prove who it is: public clients, too, which only say so (section 2.1).
"""

from __future__ import annotations

from typing import Any

from authlib.consts import default_json_headers
from authlib.oauth2.rfc7662 import IntrospectionEndpoint

from vrm.api.oauth.clients import METHODS, OAuthClient
from vrm.api.oauth.parameters import refuse_repeated, required
from vrm.api.oauth.token import Answer
from vrm.consent.introspection import REFRESH, Told
from vrm.consent.policy import HERE

INTROSPECT = "/oauth/introspect"
PROVING = [method for method in METHODS if method != "none"]


class Introspecting(IntrospectionEndpoint):
    """One look instead of Authlib's query; `token_type_hint` is not needed."""

    CLIENT_AUTH_METHODS = PROVING

    def create_endpoint_response(self, request: Any) -> Answer:
        refuse_repeated(request.payload)
        client: OAuthClient = self.authenticate_endpoint_client(request)  # type: ignore[no-untyped-call]
        token = required(request.payload, "token")
        self.server.consent.permits.introspection(client.vendor.client_id)
        told = self.server.consent.introspection.look(token, client.vendor)
        inactive: dict[str, object] = {"active": False}
        body = inactive if told is None else members(told, self.server.public_url)
        return 200, body, default_json_headers


def members(told: Told, public_url: str) -> dict[str, object]:
    """RFC 7662 section 2.2 with RFC 9396 section 9.2, RFC 9449 section 6.2 and the grant's id."""
    body: dict[str, object] = {
        "active": True,
        "scope": " ".join(told.scopes),
        "client_id": told.client_id,
        "exp": told.expires,
        "iss": public_url,
        "aud": public_url if told.audience == HERE else told.audience,
        "sub": told.subject,
        "authorization_details": list(told.parts),
        "grant_id": told.grant_id,
    }
    if told.kind != REFRESH:
        body["token_type"] = "DPoP" if told.jkt else "Bearer"
    if told.made is not None:
        body["iat"] = told.made
    if told.jkt:
        body["cnf"] = {"jkt": told.jkt}
    return body
