"""Grant Management for OAuth 2.0: a vendor looks its grant up, gives it back, or asks to change it.

`/oauth/grants/{grant_id}` takes an access token of that very grant with the scope for the act, because such a
token carries the key of what was agreed: without one, this server could not tell it itself. Promises: no
token is ever told; what is only the customer's is not either; a grant that was given back has ended when 204
is answered, and the customer sees who ended it. Refuses with 401 who has no live token, with 403 a token
without the scope or of another grant, with 404 what is the name of no live grant, with 405 other methods.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from authlib.oauth2 import OAuth2Error
from authlib.oauth2.rfc6749 import InvalidRequestError, InvalidScopeError, UnauthorizedClientError
from flask import Response, json, request

from vrm.api import guards
from vrm.api.gate import Gate, code_of
from vrm.api.oauth import resource
from vrm.api.oauth.clients import OAuthClient
from vrm.api.oauth.extras import InvalidGrantIdError, read_extras
from vrm.api.oauth.parameters import Parameters
from vrm.clock import rfc3339
from vrm.consent import scopes
from vrm.consent.access import Access
from vrm.consent.amendments import MERGE, REPLACE
from vrm.consent.managing import Managed
from vrm.consent.policy import HERE, VENDOR
from vrm.consent.service import Consent
from vrm.errors import (
    ConsentError,
    GrantNotFoundError,
    InsufficientScopeError,
    NotItsGrantError,
    ParameterError,
)

GRANTS = "/oauth/grants"
ACTIONS = ["create", "query", "replace", "merge", "update", "revoke"]
QUERY, REVOKE = scopes.MANAGEMENT


def settled_extras(server: Any, client: OAuthClient, parameters: Parameters) -> dict[str, Any]:
    """What extensions add to an authorization request, as far as this vendor may; OAuth2Error otherwise."""
    found = read_extras(parameters)
    resources = resource.settled(server.consent.vendors, server.public_url, found.pop("resource", []))
    manage = scopes.split_management(parameters.data.get("scope", ""))[1]
    if manage and client.vendor.public:
        raise InvalidScopeError("grant management is for vendors that prove who they are")
    if found.get("action") in (REPLACE, MERGE):
        if client.vendor.public:
            raise UnauthorizedClientError("grant management is for vendors that prove who they are")
        if not server.consent.amendments.is_of(found["grant_id"], client.get_client_id()):
            raise InvalidGrantIdError()
    said = {"resource": resources, "manage": manage}
    return found | {name: value for name, value in said.items() if value}


class Management:
    """The endpoint."""

    def __init__(self, consent: Consent, public_url: str) -> None:
        self._consent = consent
        self._public_url = public_url
        self._gate = Gate(consent, public_url)

    def query(self, grant_id: str) -> Response:
        """What the grant says now."""
        return self._answer(grant_id, self._told)

    def revoke(self, grant_id: str) -> Response:
        """The vendor gives it back."""
        return self._answer(grant_id, self._ended)

    def _told(self, access: Access, grant_id: str) -> Response:
        told = self._consent.managing.look(access, grant_id, QUERY)
        return Response(json.dumps(members(told, self._public_url)), content_type="application/json")

    def _ended(self, access: Access, grant_id: str) -> Response:
        self._consent.managing.give_back(access, grant_id, REVOKE)
        return Response(status=204)

    def _answer(self, grant_id: str, act: Callable[[Access, str], Response]) -> Response:
        try:
            guards.no_body(request)
            access = self._gate.access(request)
            guards.no_parameters(request.args)
            return self._gate.settle(act(access, grant_id))
        except ConsentError as error:
            raise _refusal(error, self._gate) from None


def members(told: Managed, public_url: str) -> dict[str, object]:
    """The grant as section 6.3 has it; `claims` is OpenID Connect's and always empty."""
    agreement = told.agreement
    places = [public_url if one == HERE else one for one in agreement.audiences]
    began = agreement.begun or agreement.created
    return {
        "scopes": [
            {"scope": " ".join(agreement.scopes), "resource": places},
            {"scope": " ".join(agreement.manage), "resource": [public_url]},
        ],
        "claims": [],
        "authorization_details": list(agreement.parts),
        "created_at": rfc3339(began),
        "last_updated_at": rfc3339(agreement.updated or began),
        "expires_at": rfc3339(agreement.expires),
        "updated_by": agreement.updated_by or VENDOR,
    }


class GrantRefusedError(OAuth2Error):
    """RFC 6750 section 3.1, and the section on errors of Grant Management.

    `error` is empty where the request showed no credential: then the body says nothing, as the challenge.
    """

    def __init__(self, status: int, error: str, *challenges: tuple[str, str]) -> None:
        super().__init__(error=error)
        self.status_code = status
        self._challenges = challenges

    def get_body(self) -> list[Any]:
        """The code, if there is one."""
        return [(name, code) for name, code in super().get_body() if code]

    def get_headers(self) -> list[tuple[str, str]]:
        """With the challenges, where a token could be got that is good."""
        return [*super().get_headers(), *self._challenges]


def _refusal(error: ConsentError, gate: Gate) -> OAuth2Error:
    if isinstance(error, GrantNotFoundError):
        return GrantRefusedError(404, "invalid_grant_id")
    if isinstance(error, NotItsGrantError):
        return GrantRefusedError(403, "access_denied")
    if isinstance(error, ParameterError):
        return InvalidRequestError(str(error))
    wanted = {"GET": QUERY, "DELETE": REVOKE}.get(request.method, "")
    lacks = isinstance(error, InsufficientScopeError)
    challenges = gate.challenges(request, error, wanted if lacks else "")
    return GrantRefusedError(403 if lacks else 401, code_of(request, error), *challenges)
