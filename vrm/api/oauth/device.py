"""`/oauth/device_authorization` (RFC 8628): a program of the customer's own asks to be let in.

For the one client that is built in, which names itself and proves nothing: what it gets is decided by her, at
her vault, with her passphrase. Promises: an answer is sealed to the device code (`vrm.vault.pairing`) and
leaves once; who polls hears the words of section 3.5. Refuses every registered vendor with
`unauthorized_client`, whoever names neither with `invalid_client`, and any scope but `vault:manage`.
"""

from __future__ import annotations

import json
from typing import Any

from authlib.consts import default_json_headers
from authlib.oauth2.rfc6749 import (
    AccessDeniedError,
    BaseGrant,
    InvalidGrantError,
    InvalidScopeError,
    TokenEndpointMixin,
    UnauthorizedClientError,
)
from flask import Response, request

from vrm.api.oauth.clients import METHODS
from vrm.api.oauth.parameters import StrictRequest, from_form, refuse_repeated, required
from vrm.api.oauth.polling import AuthorizationPendingError, ExpiredTokenError, SlowDownError
from vrm.api.oauth.token import Answer
from vrm.consent.counting import Counting, network
from vrm.consent.credentials import read_token, write_token
from vrm.device import DEVICE, MANAGE, TOOL
from vrm.errors import PairingError
from vrm.vault import pairing
from vrm.vault.engine import Work
from vrm.vault.pacing import INTERVAL
from vrm.vault.pairing import Pairings, shown

PAGE = "/device"  # where she types the code
OF_ONE = 30  # questions of one network in an hour
_PROOFS = frozenset({"client_secret", "client_assertion", "client_assertion_type"})
REFUSALS = {
    pairing.WAITING: AuthorizationPendingError,
    pairing.SLOW: SlowDownError,
    pairing.EXPIRED: ExpiredTokenError,
    pairing.DECLINED: AccessDeniedError,
}


def require_tool(server: Any, asked: StrictRequest) -> None:
    """Refuse all but the built-in client; a vendor that proves itself hears that this is not for vendors."""
    sent = asked.payload.data
    proves = asked.authorization is not None or _PROOFS & sent.keys()
    if sent.get("client_id") == TOOL and not proves:
        return
    server.authenticate_client(asked, METHODS)
    raise UnauthorizedClientError(description="only the customer's own programs come in this way")


class Asking:
    """The endpoint."""

    def __init__(self, server: Any, pairings: Pairings, counting: Counting) -> None:
        self._server = server
        self._pairings = pairings
        self._counting = counting

    def ask(self) -> Response:
        """Section 3.2; RateLimitedError, BusyError."""
        parameters = from_form(request)
        refuse_repeated(parameters)
        require_tool(self._server, StrictRequest(request.environ, self._server.public_url, parameters))
        if parameters.data.get("scope", MANAGE) != MANAGE:
            raise InvalidScopeError(f"the scope of such a program is {MANAGE}")
        address = request.remote_addr or ""
        self._counting.count("device", (network(address), OF_ONE))
        begun = self._pairings.begin(address)
        page, code = self._server.public_url + PAGE, shown(begun.user_code)
        body = {
            "device_code": write_token("device", begun.device),
            "user_code": code,
            "verification_uri": page,
            "verification_uri_complete": f"{page}?user_code={code}",
            "expires_in": pairing.LIFE,
            "interval": INTERVAL,
        }
        return Response(json.dumps(body), content_type="application/json")


class DeviceGrant(BaseGrant, TokenEndpointMixin):
    """grant_type=urn:ietf:params:oauth:grant-type:device_code (section 3.4)."""

    GRANT_TYPE = DEVICE
    request: StrictRequest

    def validate_token_request(self) -> None:
        refuse_repeated(self.request.payload)
        require_tool(self.server, self.request)

    def create_token_response(self) -> Work[Answer]:  # type: ignore[override]
        yield from ()
        device = read_token("device", required(self.request.payload, "device_code"))
        pairings: Pairings = self.server.pairings
        try:
            polled = pairings.poll(device or b"")
        except PairingError:
            raise InvalidGrantError("the device code is not good, or no longer") from None
        if polled.outcome != pairing.APPROVED:
            raise REFUSALS[polled.outcome]()
        body: dict[str, object] = {
            "access_token": write_token("tool", polled.secret),
            "token_type": "Bearer",
            "expires_in": max(1, polled.expires - self.server.consent.clock.now()),
            "scope": MANAGE,
        }
        return 200, body, default_json_headers
