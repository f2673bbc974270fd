"""What vendors' servers ask for by one POST, answered before Flask is asked: tokens, what one is, its end.

Promises: each such request is answered by `OAuthServer`, and from here alone. One that is refused goes on to
Flask with the error that was raised, and what is no form of the right size to our own host goes on as it
came: the routes find the words for both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any, Final

from authlib.consts import default_json_headers
from authlib.oauth2.rfc6749 import InvalidRequestError
from flask import Response, request
from werkzeug.exceptions import NotFound
from werkzeug.http import HTTP_STATUS_CODES

from vrm.api import guards
from vrm.api.oauth.introspect import INTROSPECT
from vrm.api.oauth.parameters import MAX_REQUEST, Parameters, StrictRequest, from_form
from vrm.api.oauth.server import OAuthServer
from vrm.api.oauth.token import TOKEN, Answer
from vrm.consent.documents import is_address
from vrm.plain import Environ, Naming, Plain, Wsgi
from vrm.posted import form_pairs
from vrm.vault import compact
from vrm.vault.engine import Work, one_by_one

Act = Callable[[StrictRequest], Work[Answer]]
REFUSED = "vrm.oauth.refused"  # in an environ: the error that was met with
_TOLD = {name for name, _ in default_json_headers}  # by the endpoints themselves
_PROTECTION: Final = [header for header in guards.SECURITY_HEADERS.items() if header[0] not in _TOLD]


def answered_by(server: OAuthServer) -> dict[str, Act]:
    """Address → what answers it."""
    return {TOKEN: server.token, "/oauth/revoke": server.revoke, INTROSPECT: server.introspect}


class Calls:
    """WSGI middleware right around Flask, within what looks after bodies and proxies."""

    def __init__(self, app: Wsgi, server: OAuthServer, hosts: Iterable[str], named: Naming) -> None:
        """`hosts` are our own names; `named` is told the method and the rule of what was answered."""
        self._app, self._named, self._engine = app, named, server.consent.engine
        self._public_url, self._acts = server.public_url, answered_by(server)
        self._plain = Plain(hosts)

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        address = environ["PATH_INFO"]
        act = self._acts.get(address)
        if act is None or not self._plain.is_form(environ, MAX_REQUEST):
            return self._app(environ, start_response)
        try:
            parameters = Parameters(form_pairs(environ["wsgi.input"].read()))
            request = StrictRequest(environ, self._public_url, parameters)
            status, told, headers = self._do(act, request, address)
            body = compact.dumps(told)
        except Exception as error:  # noqa: BLE001 - whatever it is, Flask answers it
            environ[REFUSED] = error
            return self._app(environ, start_response)
        self._named(environ, "POST", address)
        line = f"{status} {HTTP_STATUS_CODES[status]}"
        start_response(line, [*headers, *_PROTECTION, ("Content-Length", str(len(body)))])
        return [body]

    def _do(self, act: Act, request: StrictRequest, address: str) -> Answer:
        """With what others ask for at this moment, where all wait for one disk and nobody else for long."""
        if address == TOKEN and _renews_by_secret(request):
            return self._engine.perform(act(request))
        return one_by_one(self._engine, act(request))


def _renews_by_secret(request: StrictRequest) -> bool:
    """Whether it is a refresh for which no key and no document is fetched."""
    renews = request.payload.data.get("grant_type") == "refresh_token"
    return renews and request.basic is not None and not is_address(request.basic[0])


def left_over(act: Act) -> Callable[[], Response]:
    """The view at that address, for what was not taken: no form, or none of the right size.

    Flask folds the slashes that a path begins with; elsewhere in a path two are no address of ours, nor here.
    """

    @wraps(act)
    def refuse() -> Response:
        if request.environ["PATH_INFO"].startswith("//"):
            raise NotFound()
        from_form(request)
        raise InvalidRequestError("the request does not say its length")

    return refuse


def refused_before() -> None:
    """Raise what this request was refused for before it came to Flask: it is not tried twice."""
    if REFUSED in request.environ:
        raise request.environ[REFUSED]
