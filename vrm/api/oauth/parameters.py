"""Reading OAuth parameters strictly, before Authlib sees them.

Promises: one value per name (RFC 6749 sections 3.1 and 3.2: "MUST NOT be included more than once"; only
`resource` may come several times), an empty value counts as absent, and only the place that the endpoint
allows is read: the query of a GET, the form of a POST. Authlib itself reads query and form as one. Refuses
bodies of another type and oversized requests.
"""

from __future__ import annotations

import binascii
import functools
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import unquote_plus

from authlib.oauth2 import OAuth2Error, OAuth2Request
from authlib.oauth2.rfc6749 import InsecureTransportError, InvalidRequestError, OAuth2Payload
from flask import Request
from werkzeug.exceptions import RequestEntityTooLarge

from vrm.plain import FORM
from vrm.posted import form_pairs

MAX_REQUEST = 16 * 1024  # bytes of a query or a form
REPEATABLE = frozenset({"resource"})  # RFC 8707 section 2: one for each resource


def ascii_only(text: str) -> str:
    """The text in the characters that RFC 6749 allows in an `error_description`."""
    kept = (char if " " <= char <= "~" and char not in '"\\' else "'" for char in text)
    return "".join(kept)[:300]


class Parameters(OAuth2Payload):
    """The parameters of one request, each at most once; `repeated` names those that were not."""

    def __init__(self, pairs: Iterable[tuple[str, str]]) -> None:
        first: dict[str, str] = {}
        self.repeated: set[str] = set()
        self.resources: list[str] = []
        for name, value in pairs:
            if name in first and name not in REPEATABLE:
                self.repeated.add(name)
            if name == "resource" and value:
                self.resources.append(value)
            first.setdefault(name, value)
        self._single = {name: value for name, value in first.items() if value}

    @property
    def data(self) -> dict[str, str]:
        return self._single


class StrictRequest(OAuth2Request):
    """Authlib's request over our parameters; its address is the public one, whatever Host header came."""

    client: Any = None
    user = auth_method = credential = authorization_code = refresh_token = None
    headers: Mapping[str, str] = {}  # Authlib's own readers of credentials are not used
    _body = _scope = None

    def __init__(self, environ: dict[str, Any], public_url: str, parameters: Parameters) -> None:
        """`environ`: of WSGI, so that a request need not have come through Flask.

        Authlib's own constructor would judge the same address anew at every request.
        """
        _require_secure(public_url)
        self.method, self.uri = environ["REQUEST_METHOD"], public_url + environ["PATH_INFO"]
        self.authorization: str | None = environ.get("HTTP_AUTHORIZATION")
        self.basic = basic_credentials(self.authorization or "")
        self.proof: str | None = environ.get("HTTP_DPOP")
        self.address: str = environ.get("REMOTE_ADDR", "")  # of who calls
        self.payload: Parameters = parameters


def basic_credentials(header: str) -> tuple[str, str] | None:
    """Client id and secret of a Basic header; None when it is not exactly one well-formed pair."""
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        pair = binascii.a2b_base64(encoded.strip(" "), strict_mode=True).decode()
    except (binascii.Error, ValueError):
        return None
    client_id, colon, secret = pair.partition(":")
    if not colon or not client_id or not secret:
        return None
    return unquote_plus(client_id), unquote_plus(secret)  # RFC 6749 section 2.3.1: form-encoded first


@functools.lru_cache
def _require_secure(public_url: str) -> None:
    """InsecureTransportError where it is neither https nor on this machine: nothing is asked for there."""
    InsecureTransportError.check(public_url)


def from_query(request: Request) -> Parameters:
    """The parameters of a GET."""
    if len(request.query_string) > MAX_REQUEST:
        raise InvalidRequestError("the request is too long")
    return Parameters(request.args.items(multi=True))


def from_form(request: Request) -> Parameters:
    """The parameters of a POST: the form only, and nothing in the address (they would reach access logs)."""
    if request.query_string:
        raise InvalidRequestError("parameters belong in the form, not in the address")
    if request.mimetype != FORM:
        raise InvalidRequestError(f"the body must be {FORM}")
    request.max_content_length = MAX_REQUEST + 1
    if len(request.get_data()) > MAX_REQUEST:
        raise RequestEntityTooLarge()
    return Parameters(form_pairs(request.get_data()))


def required(parameters: Parameters, name: str) -> str:
    """The value, or `invalid_request` naming what is missing."""
    value = parameters.data.get(name)
    if not value:
        raise InvalidRequestError(f"missing '{name}'")
    return value


def refuse_repeated(parameters: Parameters) -> None:
    """RFC 6749 section 3.2, for every name, known or not."""
    if parameters.repeated:
        raise InvalidRequestError("a parameter is given more than once")


class UnsupportedResponseTypeError(OAuth2Error):
    """Only `code` exists here. Authlib's own class repeats what was sent, in any characters."""

    error = "unsupported_response_type"
    description = "only response_type=code is supported"
