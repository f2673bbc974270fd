"""Reading OAuth parameters strictly, before Authlib sees them.

Promises: one value per name (RFC 6749 sections 3.1 and 3.2: "MUST NOT be included more than once"; only
`resource` may come several times), an empty value counts as absent, and only the place that the endpoint
allows is read: the query of a GET, the form of a POST. Authlib itself reads query and form as one. Refuses
bodies of another type and oversized requests.
"""

from __future__ import annotations

from authlib.oauth2 import OAuth2Error, OAuth2Request
from authlib.oauth2.rfc6749 import InvalidRequestError, OAuth2Payload
from flask import Request
from werkzeug.datastructures import MultiDict
from werkzeug.exceptions import RequestEntityTooLarge

MAX_REQUEST = 16 * 1024  # bytes of a query or a form
FORM = "application/x-www-form-urlencoded"
REPEATABLE = frozenset({"resource"})  # RFC 8707 section 2: one for each resource


def ascii_only(text: str) -> str:
    """The text in the characters that RFC 6749 allows in an `error_description`."""
    kept = (char if " " <= char <= "~" and char not in '"\\' else "'" for char in text)
    return "".join(kept)[:300]


class Parameters(OAuth2Payload):
    """The parameters of one request, each at most once; `repeated` names those that were not."""

    def __init__(self, values: MultiDict[str, str]) -> None:
        twice = {name for name in values if len(values.getlist(name)) > 1}
        self.repeated = frozenset(twice - REPEATABLE)
        self.resources = [value for value in values.getlist("resource") if value]
        self._single = {name: value for name, value in values.items() if value}

    @property
    def data(self) -> dict[str, str]:
        return self._single


class StrictRequest(OAuth2Request):
    """Authlib's request over our parameters; its address is the public one, whatever Host header came."""

    def __init__(self, request: Request, public_url: str, parameters: Parameters) -> None:
        super().__init__(request.method, public_url + request.path, headers=dict(request.headers))
        self.payload: Parameters = parameters


def from_query(request: Request) -> Parameters:
    """The parameters of a GET."""
    if len(request.query_string) > MAX_REQUEST:
        raise InvalidRequestError("the request is too long")
    return Parameters(request.args)


def from_form(request: Request) -> Parameters:
    """The parameters of a POST: the form only, and nothing in the address (they would reach access logs)."""
    if request.query_string:
        raise InvalidRequestError("parameters belong in the form, not in the address")
    if request.mimetype != FORM:
        raise InvalidRequestError(f"the body must be {FORM}")
    request.max_content_length = MAX_REQUEST + 1
    if len(request.get_data()) > MAX_REQUEST:
        raise RequestEntityTooLarge()
    return Parameters(request.form)


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
