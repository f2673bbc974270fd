"""`/oauth/register` (RFC 7591) and a registration's own address (RFC 7592), where the host opened them.

Promises: closed unless `VRM_REGISTRATION` is `open`, and then not in the metadata either; JSON is read
strictly and the answer says what is registered, which may be less than what was sent; who registers itself
is shown to customers by its domain. A registration is read, changed and ended by its own token and by
nothing else; a wrong token, an unknown vendor and a blocked one are one and the same answer. Refuses
software statements (nobody is believed in their name), and members that only this server may set.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from authlib.oauth2 import OAuth2Error
from flask import Blueprint, Response, request
from werkzeug.exceptions import UnsupportedMediaType

from vrm import strict_json
from vrm.api.gate import presented
from vrm.api.oauth.clients import METHODS
from vrm.api.oauth.parameters import MAX_REQUEST
from vrm.api.oauth.server import OAuthServer
from vrm.consent import claims
from vrm.consent.registrations import Registrations
from vrm.consent.vendors import Vendor
from vrm.errors import ParameterError, TokenError, ValidationError

REGISTER = "/oauth/register"
_OURS = (
    "registration_access_token",
    "registration_client_uri",
    "client_secret_expires_at",
    "client_id_issued_at",
)


class InvalidClientMetadataError(OAuth2Error):
    """RFC 7591 section 3.2.2."""

    error = "invalid_client_metadata"


class InvalidRedirectUriError(OAuth2Error):
    """RFC 7591 section 3.2.2."""

    error = "invalid_redirect_uri"


class UnapprovedSoftwareStatementError(OAuth2Error):
    """RFC 7591 section 3.2.2."""

    error = "unapproved_software_statement"
    description = "no software statement is believed here"


class ClosedError(OAuth2Error):
    """The host takes no registrations."""

    error = "access_denied"
    description = "this vault takes no registrations; a metadata document needs none"
    status_code = 403


class InvalidTokenError(OAuth2Error):
    """RFC 6750 section 3.1, as RFC 7592 section 2 asks."""

    error = "invalid_token"
    description = "not the token of this registration"
    status_code = 401

    def get_headers(self) -> list[tuple[str, str]]:
        challenge = ("WWW-Authenticate", 'Bearer realm="vrm", error="invalid_token"')
        return [*super().get_headers(), challenge]


class Registering:
    """The endpoint."""

    def __init__(self, server: OAuthServer, registrations: Registrations, *, is_open: bool) -> None:
        self._server = server
        self._registrations = registrations
        self._is_open = is_open
        self._methods = server.profile.allowed(METHODS)

    def add_to(self, routes: Blueprint) -> None:
        """Its two addresses."""
        one = REGISTER + "/<client_id>"
        routes.add_url_rule(REGISTER, "register", self._guarded(self._add), methods=["POST"])
        routes.add_url_rule(one, "registration", self._guarded(self._show), methods=["GET"])
        routes.add_url_rule(one, "change_registration", self._guarded(self._change), methods=["PUT"])
        routes.add_url_rule(one, "end_registration", self._guarded(self._end), methods=["DELETE"])

    def _guarded(self, act: Callable[..., Response]) -> Callable[..., Response]:
        def answer(**names: str) -> Response:
            if not self._is_open:
                raise ClosedError()
            try:
                return act(**names)
            except (TokenError, ParameterError):
                raise InvalidTokenError() from None
            except ValidationError as error:
                raise _as_told(error) from None

        return answer

    def _add(self) -> Response:
        told = self._claims(_sent())
        vendor, secret, token = self._registrations.add(told, request.remote_addr or "")
        return self._answer(vendor, secret, token, 201)

    def _show(self, client_id: str) -> Response:
        token = _token()
        return self._answer(self._registrations.find(client_id, token), None, token)

    def _change(self, client_id: str) -> Response:
        token = _token()
        self._registrations.find(client_id, token)
        sent = _sent()
        self._check_own(sent, client_id)
        vendor, secret, fresh = self._registrations.change(client_id, token, self._claims(sent))
        return self._answer(vendor, secret, fresh)

    def _end(self, client_id: str) -> Response:
        self._registrations.find(client_id, _token())
        self._server.consent.forget(client_id)
        return Response(status=204)

    def _claims(self, sent: Mapping[str, Any]) -> claims.Claims:
        if "software_statement" in sent:
            raise UnapprovedSoftwareStatementError()
        return claims.read(sent, self._methods, self._methods[0])

    def _check_own(self, sent: Mapping[str, Any], client_id: str) -> None:
        """RFC 7592 section 2.2: what a change must repeat, and what it must leave out."""
        if sent.get("client_id") != client_id:
            raise InvalidClientMetadataError("client_id must be the one of this registration")
        if any(member in sent for member in _OURS):
            raise InvalidClientMetadataError("a member is sent that only this server sets")
        secret = sent.get("client_secret")
        if secret is not None and not self._is_secret(client_id, secret):
            raise InvalidClientMetadataError("client_secret is not the one of this registration")

    def _is_secret(self, client_id: str, secret: object) -> bool:
        vendors = self._server.consent.vendors
        return isinstance(secret, str) and vendors.check_secret(vendors.get(client_id), secret)

    def _answer(self, vendor: Vendor, secret: str | None, token: str, status: int = 200) -> Response:
        """RFC 7591 section 3.2.1: all that is registered."""
        told: dict[str, object] = {
            "client_id": vendor.client_id,
            "client_id_issued_at": vendor.created,
            "registration_access_token": token,
            "registration_client_uri": f"{self._server.public_url}{REGISTER}/{vendor.client_id}",
            "redirect_uris": list(vendor.redirect_uris),
            "token_endpoint_auth_method": vendor.auth_method,
            "grant_types": ["authorization_code", "refresh_token"],
            "response_types": ["code"],
            "dpop_bound_access_tokens": vendor.dpop_bound,
        }
        if secret is not None:
            told |= {"client_secret": secret, "client_secret_expires_at": 0}
        said = {"client_name": vendor.claimed, "jwks_uri": vendor.jwks_uri, "events_uri": vendor.events_uri}
        told |= {name: value for name, value in said.items() if value}
        if vendor.jwks:
            told["jwks"] = json.loads(vendor.jwks)
        return Response(json.dumps(told), status=status, content_type="application/json")


def _token() -> str:
    scheme, token = presented(request) or ("", "")
    if scheme != "bearer":
        raise TokenError()
    return token


def _sent() -> dict[str, Any]:
    """The JSON object in the body, and nothing in the address."""
    if request.query_string:
        raise InvalidClientMetadataError("what is registered belongs in the body")
    if request.mimetype != "application/json":
        raise UnsupportedMediaType()
    request.max_content_length = MAX_REQUEST
    try:
        sent = strict_json.loads(request.get_data())
    except ValueError:
        sent = None
    if not isinstance(sent, dict):
        raise InvalidClientMetadataError("the body must be a JSON object with unique keys")
    return sent


def _as_told(error: ValidationError) -> OAuth2Error:
    """What cannot be registered, in the words of RFC 7591 section 3.2.2."""
    why = "; ".join(f"{name} {reason}" for name, reasons in error.fields.items() for reason in reasons)
    kind = InvalidRedirectUriError if "redirect_uri" in "".join(error.fields) else InvalidClientMetadataError
    return kind(why)
