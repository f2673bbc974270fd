"""The authorization server: Authlib's, with our grants, our strict requests and our client authentication.

Promises: the issuer and every address come from the settings, never from a Host header; redirects are 303
(RFC 9700 section 4.12); no refusal becomes a 5xx; Authlib's logger stays above DEBUG, where it would print
tokens.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import Any, cast

from authlib.integrations.flask_oauth2 import AuthorizationServer
from authlib.oauth2 import OAuth2Error
from authlib.oauth2.rfc6749 import InvalidClientError
from flask import Response, request

from vrm.api.oauth.assertion import ByAssertion
from vrm.api.oauth.clients import OAuthClient, UnknownClientError, Way, by_basic, by_name
from vrm.api.oauth.device import DeviceGrant
from vrm.api.oauth.introspect import Introspecting
from vrm.api.oauth.parameters import StrictRequest, ascii_only
from vrm.api.oauth.polling import TicketGrant
from vrm.api.oauth.profile import Profile
from vrm.api.oauth.revoke import Revocation
from vrm.api.oauth.token import TOKEN, Answer, AtomicGrant, CodeGrant, RefreshGrant, refuse_missing_grant_type
from vrm.consent.documents import is_address
from vrm.consent.service import Consent
from vrm.errors import VendorNotFoundError
from vrm.vault import compact
from vrm.vault.engine import Work
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
        self._ways: dict[str, Way] = {
            "client_secret_basic": partial(by_basic, shared=consent.engine.shared),
            "private_key_jwt": self._by_assertion(),
            "none": by_name,
        }
        self.register_grant(CodeGrant)
        self.register_grant(RefreshGrant)
        self.register_grant(TicketGrant)
        self.pairings = pairings
        if pairings is not None:
            self.register_grant(DeviceGrant)
        self._revocation = Revocation(self)
        self._introspection = Introspecting(self)
        logging.getLogger("authlib").setLevel(logging.INFO)

    def _by_assertion(self) -> ByAssertion:
        """For whom an assertion may be signed says assertion.py."""
        paths = () if self.profile.name == "fapi2" else (TOKEN, "/oauth/par")
        return ByAssertion(self.consent, self.public_url, [self.public_url + path for path in paths])

    def query_client(self, client_id: str, address: str | None = None) -> OAuthClient | None:  # type: ignore[override]
        """The vendor of that id; unknown and blocked alike are none. `address`: of who names it.

        InvalidClientError says what is wrong with a document that is a client id.
        """
        try:
            if is_address(client_id):
                caller = request.remote_addr if address is None else address
                vendor = self.consent.documents.vendor(client_id, caller or "")
            else:
                vendor = self.consent.vendors.get(client_id)
        except VendorNotFoundError as error:
            if not is_address(client_id):
                return None
            raise InvalidClientError(f"client_id is no document that can be used ({error})") from None
        return None if vendor.blocked else OAuthClient(vendor, self.consent.vendors.check_secret)

    def authenticate_client(self, request: Any, methods: Any, endpoint: str = "token") -> OAuthClient:
        """The vendor that this request proves to come from, by the one method that is its own."""
        query = partial(self.query_client, address=request.address)
        try:
            for method in self.profile.allowed(methods):
                client = self._ways[method](query, request)
                if client is not None and client.check_endpoint_auth_method(method, endpoint):
                    return client
        except InvalidClientError:
            raise UnknownClientError() from None
        raise UnknownClientError()

    def save_token(self, token: object, request: object) -> None:  # noqa: ARG002 - Authlib's signature
        raise RuntimeError("tokens are made in vrm.consent.tokens only")

    def generate_token(self, *args: object, **kwargs: object) -> dict[str, str | int]:  # noqa: ARG002
        raise RuntimeError("tokens are made in vrm.consent.tokens only")

    def send_signal(self, name: str, *args: object, **kwargs: object) -> None:
        """Nothing listens; Authlib's signals would carry tokens around."""

    def token(self, request: StrictRequest) -> Work[Answer]:
        """The whole of `/oauth/token`.

        OAuth2Error where it is refused.
        """
        refuse_missing_grant_type(request.payload)
        grant = cast("AtomicGrant", self.get_token_grant(request))  # or the device's, which is of that shape
        grant.validate_token_request()
        return (yield from grant.create_token_response())

    def revoke(self, request: StrictRequest) -> Work[Answer]:
        """The whole of `/oauth/revoke`.

        OAuth2Error where it is refused.
        """
        yield from ()
        return self._revocation.create_endpoint_response(request)

    def introspect(self, request: StrictRequest) -> Work[Answer]:
        """The whole of `/oauth/introspect`.

        OAuth2Error where it is refused.
        """
        yield from ()
        return self._introspection.create_endpoint_response(request)

    @staticmethod
    def body(error: OAuth2Error) -> list[tuple[str, str]]:
        """What an authorization answer carries of an error."""
        return [(str(name), str(value)) for name, value in error.get_body()]

    def refusal(self, error: OAuth2Error) -> Response:
        """An OAuth error as JSON, with a description in the characters that the RFC allows."""
        status, body, headers = error(None)
        description = error.get_error_description()
        if description:
            body["error_description"] = ascii_only(description)
        return Response(compact.dumps(body), status=status, headers=headers)
