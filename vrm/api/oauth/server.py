"""The authorization server: Authlib's, with our grants, our strict requests and our client authentication.

Promises: the issuer and every address come from the settings, never from a Host header; redirects are 303
(RFC 9700 section 4.12); no refusal becomes a 5xx; Authlib's logger stays above DEBUG, where it would print
tokens.
"""

from __future__ import annotations

import json
import logging
from typing import Any

from authlib.integrations.flask_oauth2 import AuthorizationServer
from authlib.oauth2 import OAuth2Error
from authlib.oauth2.rfc6749 import InvalidClientError
from flask import Response, request

from vrm.api.oauth.assertion import ByAssertion
from vrm.api.oauth.clients import OAuthClient, UnknownClientError, by_basic, by_name
from vrm.api.oauth.device import DeviceGrant
from vrm.api.oauth.introspect import Introspecting
from vrm.api.oauth.parameters import StrictRequest, ascii_only, from_form, from_query
from vrm.api.oauth.polling import TicketGrant
from vrm.api.oauth.profile import Profile
from vrm.api.oauth.revoke import Revocation
from vrm.api.oauth.token import CodeGrant, RefreshGrant, refuse_missing_grant_type
from vrm.consent.documents import is_address
from vrm.consent.service import Consent
from vrm.errors import VendorNotFoundError
from vrm.vault.pairing import Pairings


class OAuthServer(AuthorizationServer):
    """One per application; holds no state of its own."""

    def __init__(
        self, consent: Consent, public_url: str, profile: Profile, pairings: Pairings | None = None
    ) -> None:
        """`pairings`: where programs of customers may come in."""
        super().__init__()
        self.consent = consent
        self.profile = profile
        self.tokens = consent.tokens
        self.public_url = public_url
        self.register_client_auth_method("client_secret_basic", by_basic)
        self.register_client_auth_method("private_key_jwt", self._by_assertion())
        self.register_client_auth_method("none", by_name)
        self.register_grant(CodeGrant)
        self.register_grant(RefreshGrant)
        self.register_grant(TicketGrant)
        self.pairings = pairings
        if pairings is not None:
            self.register_grant(DeviceGrant)
        self.register_endpoint(Revocation)
        self.register_endpoint(Introspecting)
        logging.getLogger("authlib").setLevel(logging.INFO)

    def _by_assertion(self) -> ByAssertion:
        """For whom an assertion may be signed says assertion.py."""
        paths = () if self.profile.name == "fapi2" else ("/oauth/token", "/oauth/par")
        return ByAssertion(self.consent, self.public_url, [self.public_url + path for path in paths])

    def query_client(self, client_id: str) -> OAuthClient | None:  # type: ignore[override]
        """The vendor of that id; unknown and blocked alike are none.

        InvalidClientError says what is wrong with a document that is a client id.
        """
        try:
            if is_address(client_id):
                vendor = self.consent.documents.vendor(client_id, request.remote_addr or "")
            else:
                vendor = self.consent.vendors.get(client_id)
        except VendorNotFoundError as error:
            if not is_address(client_id):
                return None
            raise InvalidClientError(f"client_id is no document that can be used ({error})") from None
        return None if vendor.blocked else OAuthClient(vendor, self.consent.vendors.check_secret)

    def authenticate_client(self, request: Any, methods: Any, endpoint: str = "token") -> OAuthClient:
        try:
            client = super().authenticate_client(request, self.profile.allowed(methods), endpoint)
        except InvalidClientError:
            raise UnknownClientError() from None
        assert isinstance(client, OAuthClient)
        return client

    def create_oauth2_request(self, request_: object = None) -> Any:  # noqa: ARG002 - Flask's is used
        parameters = from_form(request) if request.method == "POST" else from_query(request)
        return StrictRequest(request, self.public_url, parameters)

    def save_token(self, token: object, request: object) -> None:  # noqa: ARG002 - Authlib's signature
        raise RuntimeError("tokens are made in vrm.consent.tokens only")

    def generate_token(self, *args: object, **kwargs: object) -> dict[str, str | int]:  # noqa: ARG002
        raise RuntimeError("tokens are made in vrm.consent.tokens only")

    def send_signal(self, name: str, *args: object, **kwargs: object) -> None:
        """Nothing listens; Authlib's signals would carry tokens around."""

    def token(self) -> Response:
        """The whole of `/oauth/token`."""
        refuse_missing_grant_type(from_form(request))
        response: Response = self.create_token_response()  # type: ignore[assignment]
        return response

    def revoke(self) -> Response:
        """The whole of `/oauth/revoke`."""
        response: Response = self.create_endpoint_response("revocation")  # type: ignore[no-untyped-call]
        return response

    def introspect(self) -> Response:
        """The whole of `/oauth/introspect`."""
        response: Response = self.create_endpoint_response("introspection")  # type: ignore[no-untyped-call]
        return response

    @staticmethod
    def body(error: OAuth2Error) -> list[tuple[str, str]]:
        """What an authorization answer carries of an error."""
        return [(str(name), str(value)) for name, value in error.get_body()]

    def handle_response(self, status_code: int, payload: Any, headers: Any) -> Response:
        body = json.dumps(payload) if isinstance(payload, dict) else payload
        return Response(body, status=status_code, headers=headers)

    def refusal(self, error: OAuth2Error) -> Response:
        """An OAuth error as JSON, with a description in the characters that the RFC allows."""
        status, body, headers = error(None)
        description = error.get_error_description()
        if description:
            body["error_description"] = ascii_only(description)
        return self.handle_response(status, body, headers)

    def handle_error_response(self, request: object, error: OAuth2Error) -> Response:  # noqa: ARG002
        return self.refusal(error)
