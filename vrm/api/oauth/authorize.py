"""`/oauth/authorize`: a vendor's request is checked, stored, and waits for the customer.

Promises: nothing is stored that the customer could not decide on; the browser goes on to
`/requests/{handle}` with 303. A wrong vendor or redirect address gets a plain page and never a redirect
(RFC 6749 section 4.1.2.1: no open redirector); every other refusal goes back to the vendor with `state` and
`iss`. Refuses request objects (RFC 9101), other response types and modes, and unknown parts of
`authorization_details` (RFC 9396 section 5).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from authlib.oauth2 import OAuth2Error
from authlib.oauth2.rfc6749 import (
    AuthorizationEndpointMixin,
    BaseGrant,
    InvalidRequestError,
    InvalidScopeError,
)
from authlib.oauth2.rfc6749.grants.authorization_code import validate_code_authorization_request
from flask import request

from vrm import strict_json
from vrm.api.oauth.clients import OAuthClient
from vrm.api.oauth.management import settled_extras
from vrm.api.oauth.parameters import (
    Parameters,
    StrictRequest,
    UnsupportedResponseTypeError,
    ascii_only,
    refuse_repeated,
)
from vrm.api.oauth.pkce import RequiredS256
from vrm.consent import periods, scopes
from vrm.errors import ScopeError

MAX_STATE = 2000  # characters
Part = dict[str, Any]
_SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+( [\x21\x23-\x5b\x5d-\x7e]+)*")


class RequestNotSupportedError(OAuth2Error):
    """OpenID Connect Core section 3.1.2.6 and RFC 9101: `request` is not read here."""

    error = "request_not_supported"
    description = "request objects are not supported"


class RequestUriNotSupportedError(OAuth2Error):
    """The same for `request_uri`."""

    error = "request_uri_not_supported"
    description = "request objects are not supported"


class InvalidAuthorizationDetailsError(OAuth2Error):
    """RFC 9396 section 5."""

    error = "invalid_authorization_details"


@dataclass(frozen=True, slots=True)
class CheckedRequest:
    """A request on which the customer could decide: what `vrm.consent.requests` stores."""

    client: OAuthClient
    parts: list[Part]
    redirect_uri: str
    state: str
    code_challenge: str
    extras: dict[str, Any]


def checked_request(server: Any, parameters: Parameters, client: OAuthClient | None = None) -> CheckedRequest:
    """The request that these parameters make, whichever way they came; `client` where it proved itself.

    OAuth2Error otherwise, with `state`, and with a redirect address from where that is trusted.
    """
    asked = StrictRequest(request.environ, server.public_url, parameters)
    grant = AuthorizeGrant(asked, server, pushed=client is not None)
    RequiredS256()(grant)
    try:
        grant.validate_no_multiple_request_parameter(asked)
        redirect_uri = grant.validate_consent_request()
    except OAuth2Error as error:
        error.state = parameters.data.get("state")
        if not is_vouched_for(asked.client):
            error.redirect_uri = None
        raise
    sent, named = parameters.data, client or grant.request.client
    assert isinstance(named, OAuthClient)
    return CheckedRequest(
        named,
        grant.parts,
        redirect_uri,
        sent.get("state", ""),
        sent["code_challenge"],
        grant.extras,
    )


def is_vouched_for(client: object) -> bool:
    """Whether the browser may be sent to this client before anybody was asked.

    Who registers by himself could use the vault's good name to lead people to his page, by a request that is
    wrong on purpose (RFC 9700 section 4.11.2): the person reads the reason, and goes where she decides.
    """
    return isinstance(client, OAuthClient) and client.vendor.verified


class AuthorizeGrant(BaseGrant, AuthorizationEndpointMixin):
    """The authorization half of the code grant; the code itself is made when the customer decides."""

    request: StrictRequest

    def __init__(self, request: StrictRequest, server: Any, *, pushed: bool) -> None:
        super().__init__(request, server)
        self.pushed = pushed
        self.parts: list[Part] = []
        self.extras: dict[str, Any] = {}
        self.register_hook("before_validate_authorization_request_payload", check_parameters)

    @staticmethod
    def validate_no_multiple_request_parameter(request: Any) -> None:
        if {"client_id", "redirect_uri"} & request.payload.repeated:
            raise InvalidRequestError("client_id or redirect_uri is given more than once")

    @staticmethod
    def validate_authorization_redirect_uri(request: Any, client: Any) -> str:
        sent: str | None = request.payload.data.get("redirect_uri")
        if sent is None:
            raise InvalidRequestError("missing 'redirect_uri'")
        if not client.check_redirect_uri(sent):
            raise InvalidRequestError("redirect_uri is not one that this vendor registered")
        return sent

    def validate_authorization_request(self) -> str:
        redirect_uri: str = validate_code_authorization_request(self)  # type: ignore[arg-type]
        return redirect_uri

    def validate_requested_scope(self) -> None:
        client = self.server.query_client(self.request.payload.client_id)
        self.parts = requested_parts(self.request.payload, client, self.server.public_url)
        self.extras = settled_extras(self.server, client, self.request.payload)


def check_parameters(grant: AuthorizeGrant, redirect_uri: str) -> None:
    """What may stand in a request at all; runs once vendor and redirect address are known to fit."""
    parameters, profile = grant.request.payload, grant.server.profile
    refuse_repeated(parameters)
    if profile.pushed_only and not grant.pushed:
        raise InvalidRequestError("this vault takes pushed requests only (RFC 9126)")
    if not profile.may_answer_to(redirect_uri, grant.server.public_url):
        raise InvalidRequestError("redirect_uri must be https here")
    sent = parameters.data
    if "request" in sent:
        raise RequestNotSupportedError()
    if "request_uri" in sent:
        raise RequestUriNotSupportedError()
    if "response_type" not in sent:
        raise InvalidRequestError("missing 'response_type'")
    if sent["response_type"] != "code":
        raise UnsupportedResponseTypeError()
    if sent.get("response_mode", "query") != "query":
        raise InvalidRequestError("only response_mode=query is supported")
    if len(sent.get("state", "")) > MAX_STATE:
        raise InvalidRequestError("state is too long")


def requested_parts(parameters: Parameters, client: OAuthClient, here: str) -> list[Part]:
    """The request in RAR's shape, from `scope` (its short form), `authorization_details`, or both."""
    scope = parameters.data.get("scope")
    details = parameters.data.get("authorization_details")
    if scope is None and details is None:
        raise InvalidScopeError("missing 'scope' or 'authorization_details'")
    parts: list[Part] = []
    if scope is not None:
        check_scope_syntax(scope)
        scope = scopes.split_management(scope)[0] or None
    if scope is None and details is None:
        raise InvalidScopeError("grant management alone is nothing to agree to")
    if scope is not None:
        purpose = parameters.data.get("purpose", client.vendor.purpose)
        try:
            parts += scopes.parts_from_scope(scope, purpose)
        except ScopeError as error:
            raise InvalidScopeError(ascii_only(str(error))) from None
    if details is not None:
        parts += read_details(details, here, beside_scope=scope is not None)
    try:
        return periods.require_one_end(scopes.require_channels(parts))
    except ScopeError as error:
        raise InvalidAuthorizationDetailsError(ascii_only(str(error))) from None


def read_details(text: str, here: str, *, beside_scope: bool = True) -> list[Part]:
    """`authorization_details` as clean parts, or the refusal of RFC 9396 section 5."""
    try:
        return scopes.check_details(parse_details(text), beside_scope=beside_scope, here=here)
    except ScopeError as error:
        raise InvalidAuthorizationDetailsError(ascii_only(str(error))) from None


def check_scope_syntax(scope: str) -> None:
    """RFC 6749 section 3.3: printable tokens with one space between; no other white space parts them."""
    if not _SCOPE.fullmatch(scope):
        raise InvalidScopeError("scope is not a list of tokens with single spaces")


def parse_details(text: str) -> object:
    """What the text says, read strictly."""
    try:
        return strict_json.loads(text)
    except ValueError:
        raise InvalidAuthorizationDetailsError("authorization_details is not JSON with unique keys") from None
