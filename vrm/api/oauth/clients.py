"""OAuth's word for a vendor, and how one proves who it is.

Promises: each vendor authenticates by its one method: `client_secret_basic` (RFC 6749 section 2.3.1),
`private_key_jwt` (assertion.py), or, being public, by naming itself (`none`); every endpoint that asks who
calls has the one list of methods. Secrets are compared in constant time, in `consent.vendors`. Refuses
secrets in the form, two methods at once, a confidential vendor without its proof and a public one with any.
Unknown, blocked and wrong are one and the same answer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import SplitResult, urlsplit

from authlib.consts import default_json_headers
from authlib.oauth2.rfc6749 import ClientMixin, InvalidClientError, InvalidRequestError

from vrm.api.oauth.parameters import StrictRequest
from vrm.consent.vendors import Vendor

METHODS = ["client_secret_basic", "private_key_jwt", "none"]
TICKET = "urn:vrm:oauth:grant-type:ticket"  # what a vendor that polls presents (vrm.api.oauth.polling)
GRANT_TYPES = frozenset({"authorization_code", "refresh_token", TICKET})
_LOOPBACK = frozenset({"127.0.0.1", "::1"})
_ELSEWHERE = frozenset({"client_secret", "client_assertion", "client_assertion_type"})


class UnknownClientError(InvalidClientError):
    """401 with the challenge that RFC 6749 section 5.2 and RFC 7617 ask for, alike in every case."""

    status_code = 401
    description = "client authentication failed"

    def get_headers(self) -> list[tuple[str, str]]:
        return [*default_json_headers, ("WWW-Authenticate", 'Basic realm="vrm", charset="UTF-8"')]


class OAuthClient(ClientMixin):
    """A vendor as Authlib wants to see one."""

    def __init__(self, vendor: Vendor, check_secret: Callable[[Vendor, str], bool]) -> None:
        self.vendor = vendor
        self._check_secret = check_secret

    def get_client_id(self) -> str:
        return str(self.vendor.client_id)

    def get_allowed_scope(self, scope: Any) -> str:
        return str(scope or "")  # vrm.consent.scopes decides, not a list per client

    def check_redirect_uri(self, redirect_uri: str) -> bool:
        return redirect_matches(self.vendor, redirect_uri)

    def check_client_secret(self, client_secret: str) -> bool:
        return self._check_secret(self.vendor, client_secret)

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:  # noqa: ARG002 - Authlib's signature
        return method == self.vendor.auth_method

    def check_response_type(self, response_type: str) -> bool:  # noqa: ARG002 - Authlib's signature
        return True  # authorize.py refuses all but `code`; Authlib would repeat what was sent


def redirect_matches(vendor: Vendor, redirect_uri: str) -> bool:
    """Simple string comparison (RFC 9700 section 4.1.3).

    A public vendor's registered loopback address may carry another port (RFC 8252 section 7.3): a native
    program takes whichever is free. By number only: the name `localhost` may resolve elsewhere.
    """
    if redirect_uri in vendor.redirect_uris:
        return True
    asked = _loopback(redirect_uri) if vendor.public else None
    return asked is not None and any(asked == _loopback(known) for known in vendor.redirect_uris)


def _loopback(uri: str) -> SplitResult | None:
    """The address without its port if it is plain http on a loopback number, else None."""
    try:
        parts = urlsplit(uri)
        port = parts.port
    except ValueError:
        return None
    host = parts.hostname or ""
    shown = f"[{host}]" if ":" in host else host
    spelled = shown if port is None else f"{shown}:{port}"
    # The exact spelling excludes user-info, empty and zero-padded ports, and what urlsplit strips.
    if parts.scheme != "http" or host not in _LOOPBACK or parts.netloc != spelled:
        return None
    if parts.geturl() != uri or parts.fragment:
        return None
    return parts._replace(netloc=shown)


Query = Callable[[str], OAuthClient | None]
Way = Callable[[Query, StrictRequest], OAuthClient | None]


def by_basic(
    query_client: Query, request: StrictRequest, shared: Callable[[], dict[object, Any]]
) -> OAuthClient | None:
    """`client_secret_basic`; the form may repeat the client id, but no other.

    What proves itself at one moment by the same secret is looked for once (`Engine.shared`).
    """
    if request.authorization is None:
        return None
    sent = request.payload.data
    if _ELSEWHERE & sent.keys():
        raise InvalidRequestError("more than one way of client authentication")
    credentials = request.basic
    if credentials is None:
        raise UnknownClientError()
    if sent.get("client_id", credentials[0]) != credentials[0]:
        raise InvalidRequestError("two different client ids")
    proven = shared()
    client: OAuthClient | None = proven.get(credentials)
    if client is None:
        client = query_client(credentials[0])
        if client is None or not client.check_client_secret(credentials[1]):
            raise UnknownClientError()
        proven[credentials] = client
    return client


def by_name(query_client: Query, request: StrictRequest) -> OAuthClient | None:
    """`none`, for public vendors; whoever sends a secret in the form is not one."""
    sent = request.payload.data
    if _ELSEWHERE & sent.keys() or "client_id" not in sent:
        return None
    return query_client(sent["client_id"])
