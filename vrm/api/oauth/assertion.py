"""`private_key_jwt`: a vendor proves who it is by a token that it signs.

RFC 7523 section 3, OpenID Connect Core section 9, FAPI 2.0 section 5.3.2. Promises: an assertion counts
once, among all processes, and within an hour of now; it is for us alone: its audience is the issuer, as one
string. The profile `baseline` takes the token endpoint and `/oauth/par` as well (RFC 9126 section 2), and a
list of nothing but these, which clients in use still send. One that names anybody else besides could be
passed on by them, so it is refused. Refuses algorithms besides ES256, PS256 and EdDSA, an assertion of one
vendor beside the name of another, and tokens of another type. Which of these it was, and whether there is
such a vendor, is not told.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any

from authlib.oauth2.rfc6749 import InvalidRequestError

from vrm import jose
from vrm.api.oauth.clients import OAuthClient, Query, UnknownClientError
from vrm.api.oauth.parameters import StrictRequest
from vrm.consent.service import Consent
from vrm.errors import JoseError, OutboundError
from vrm.vault.envelope import pack

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
SKEW = 10  # seconds that two clocks may differ (FAPI 2.0 section 5.3.2.1)
LONGEST = 3600  # seconds from now to the end, or from the beginning to now
MAX_JTI = 200  # characters
_TYPES = frozenset({"jwt", "client-authentication+jwt"})
_log = logging.getLogger("vrm.oauth")


class ByAssertion:
    """The method, as Authlib calls it."""

    def __init__(self, consent: Consent, issuer: str, also: Sequence[str] = ()) -> None:
        """`also`: addresses that count as the issuer does; without any, a list counts for nothing."""
        self._consent = consent
        self._audiences = frozenset((issuer, *also))
        self._strict = not also

    def __call__(self, query_client: Query, request: StrictRequest) -> OAuthClient | None:
        """The vendor that signed; None where there is no assertion at all."""
        sent = request.payload.data
        if "client_assertion" not in sent and "client_assertion_type" not in sent:
            return None
        if "client_secret" in sent:
            raise InvalidRequestError("more than one way of client authentication")
        if "client_assertion" not in sent or "client_assertion_type" not in sent:
            raise InvalidRequestError("client_assertion and client_assertion_type belong together")
        if sent["client_assertion_type"] != ASSERTION_TYPE:
            raise UnknownClientError()
        try:
            return self._proven(sent["client_assertion"], sent.get("client_id"), query_client)
        except JoseError:
            raise UnknownClientError() from None

    def _proven(self, assertion: str, named: str | None, query_client: Query) -> OAuthClient:
        header, claims = jose.unverified(assertion)
        client_id = claims.get("sub")
        if not isinstance(client_id, str) or claims.get("iss") != client_id:
            raise UnknownClientError()
        if named not in (None, client_id) or str(header.get("typ", "JWT")).lower() not in _TYPES:
            raise UnknownClientError()
        client = query_client(client_id)
        if client is None:
            raise UnknownClientError()
        jose.read(assertion, self._keys(client, header.get("kid")))
        self._check(claims)
        jti = claims.get("jti")
        if not isinstance(jti, str) or not 1 <= len(jti) <= MAX_JTI:
            raise UnknownClientError()
        over = math.ceil(claims["exp"]) + SKEW
        if not self._consent.once.claim("client-assertion", pack(client_id, jti), over):
            raise UnknownClientError()
        return client

    def _keys(self, client: OAuthClient, kid: object) -> Sequence[Mapping[str, Any]]:
        try:
            return self._consent.keys.of(client.vendor, kid)
        except OutboundError as error:
            _log.warning("the keys of %s: %s", client.vendor.client_id, error)
            raise UnknownClientError() from None

    def _check(self, claims: Mapping[str, Any]) -> None:
        """Audience and times; a token without an end is none."""
        now = self._consent.clock.now()
        end, begin, made = (_moment(claims, name) for name in ("exp", "nbf", "iat"))
        told = claims.get("aud")
        audiences = told if isinstance(told, list) and not self._strict else [told]
        if not audiences or not all(isinstance(one, str) and one in self._audiences for one in audiences):
            raise UnknownClientError()
        if end is None or not now - SKEW < end <= now + LONGEST + SKEW:
            raise UnknownClientError()
        if begin is not None and begin > now + SKEW:
            raise UnknownClientError()
        if made is not None and not now - LONGEST - SKEW <= made <= now + SKEW:
            raise UnknownClientError()


def _moment(claims: Mapping[str, Any], name: str) -> float | None:
    """A NumericDate (RFC 7519 section 2), None where it is missing."""
    value = claims.get(name)
    if name not in claims:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 2**40:
        raise UnknownClientError()
    return value
