"""The addresses of the authorization server.

Promises: every answer is out of caches and frames; every refusal is OAuth's JSON, or at `/oauth/authorize`,
where a person looks, a redirect to the vendor or a plain page. Refuses nothing itself: the files beside it
do.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import cache

from authlib.oauth2 import OAuth2Error
from flask import Blueprint, Response, request
from werkzeug.exceptions import HTTPException, default_exceptions

from vrm.api import guards, problems
from vrm.api.failures import one_too_many
from vrm.api.leaf import note
from vrm.api.oauth import calls, metadata
from vrm.api.oauth.authorize import CheckedRequest, checked_request, is_vouched_for
from vrm.api.oauth.device import Asking
from vrm.api.oauth.issuer import answer_address
from vrm.api.oauth.management import GRANTS, Management
from vrm.api.oauth.par import PAR, InvalidRequestUriError, TooManyWaitError, bring, is_reference, push
from vrm.api.oauth.parameters import from_form, from_query
from vrm.api.oauth.profile import PROFILES
from vrm.api.oauth.registration import Registering
from vrm.api.oauth.server import OAuthServer
from vrm.consent import scopes
from vrm.consent.asking import StoredRequest
from vrm.consent.counting import network
from vrm.consent.notices import Signer
from vrm.consent.service import Consent
from vrm.device import DEVICE_AUTHORIZATION
from vrm.errors import BusyError, VrmError
from vrm.settings import LOOPBACK, Settings
from vrm.vault.vault import Vaults

AUTHORIZE = "/oauth/authorize"
FROM_ONE = 300  # requests in an hour that one network brings by its browsers


def server_of(consent: Consent, vaults: Vaults, settings: Settings) -> OAuthServer:
    """The authorization server of one application."""
    pairings = vaults.pairings if settings.tools else None
    return OAuthServer(consent, settings.issuer, PROFILES[settings.profile], pairings)


def blueprint(server: OAuthServer, vaults: Vaults, settings: Settings) -> Blueprint:
    """All routes under /oauth and the two discovery documents."""
    consent, profile = server.consent, server.profile
    routes = Blueprint("oauth", __name__)
    routes.add_url_rule(AUTHORIZE, "authorize", lambda: authorize(server), methods=["GET", "POST"])
    routes.add_url_rule(PAR, "par", lambda: push(server), methods=["POST"])
    for address, act in calls.answered_by(server).items():
        routes.add_url_rule(address, act.__name__, calls.left_over(act), methods=["POST"])
    if settings.tools:
        asking = Asking(server, vaults.pairings, consent.counting)
        routes.add_url_rule(DEVICE_AUTHORIZATION, "device", asking.ask, methods=["POST"])
    managed = Management(consent, settings.issuer)
    routes.add_url_rule(f"{GRANTS}/<grant_id>", "grant", managed.query)
    routes.add_url_rule(f"{GRANTS}/<grant_id>", "give_back", managed.revoke, methods=["DELETE"])
    is_open = settings.registration == "open"
    Registering(server, consent.registrations, is_open=is_open).add_to(routes)
    known = sorted(scopes.SCOPES)
    routes.add_url_rule("/oauth/jwks.json", "jwks", _keys(consent.signer))
    described = metadata.authorization_server(
        settings.issuer, known, profile, registration=is_open, tools=settings.tools
    )
    for name, document in (
        ("oauth-authorization-server", described),
        (
            "oauth-protected-resource",
            metadata.protected_resource(settings.issuer, known, constrained=consent.constrained),
        ),
    ):
        routes.add_url_rule(f"/.well-known/{name}", name, _published(document))
    routes.before_request(calls.refused_before)
    routes.after_request(_protect)
    routes.register_error_handler(OAuth2Error, lambda error: refuse(server, error))
    routes.register_error_handler(VrmError, refuse_ours)
    for code in default_exceptions:  # by code: otherwise the app's own pages for that code come first
        routes.register_error_handler(code, refuse_http)
    return routes


def authorize(server: OAuthServer) -> Response:
    """Check, store, and send the browser to the customer's side."""
    parameters = from_form(request) if request.method == "POST" else from_query(request)
    if is_reference(parameters):
        return _see_other(f"{server.public_url}/requests/{bring(server, parameters).handle}")
    asked = checked_request(server, parameters)
    try:
        stored = submit(server, asked)
    except OAuth2Error as error:
        error.state = asked.state or None
        error.redirect_uri = asked.redirect_uri if is_vouched_for(asked.client) else None
        return refuse(server, error)
    return _see_other(f"{server.public_url}/requests/{stored.handle}")


def submit(server: OAuthServer, asked: CheckedRequest) -> StoredRequest:
    """Store a checked request; OAuth2Error where too many wait, RateLimitedError where one network asks.

    Anybody can bring requests here in the name of any vendor; what a vendor pushes is counted as its own.
    """
    address = request.remote_addr or ""
    if address not in LOOPBACK:  # a proxy on this machine that is not trusted would stand for everybody
        server.consent.counting.count("requests", (network(address), FROM_ONE))
    try:
        return server.consent.requests.submit(
            asked.client.vendor,
            asked.parts,
            redirect_uri=asked.redirect_uri,
            state=asked.state,
            code_challenge=asked.code_challenge,
            extras=asked.extras,
        )
    except BusyError:
        raise TooManyWaitError() from None


def refuse(server: OAuthServer, error: OAuth2Error) -> Response:
    """To the vendor with `state` and `iss` where its address is trusted; else to whoever sees this.

    Who failed too often, from one address, is told to wait.
    """
    limited = one_too_many(server.consent.permits, str(error.error))
    if limited is not None:
        return refuse_ours(limited)
    if error.redirect_uri:
        return _see_other(answer_address(error.redirect_uri, server.body(error), server.public_url))
    if isinstance(error, InvalidRequestUriError):
        sentence = (
            "It was answered already, or took too long on its way. Go back to the shop and start again."
        )
        return note("This request has ended", sentence, 400)
    if request.path == AUTHORIZE:
        reason = error.get_error_description() or "the request is not one this vault understands"
        sentence = f"The shop that sent you here made a mistake: {reason.rstrip('.')}."
        return note("This request cannot be shown", sentence, 400)
    return server.refusal(error)


def refuse_ours(error: VrmError) -> Response:
    """What vault or consent refuse on the way; a 5xx tells nothing of the reason."""
    found = problems.answer(error)
    if request.path == AUTHORIZE:
        sentence = "Please go back to the shop and try again later."
        return _with_retry(note("This does not work right now", sentence, found.status_code), found)
    kind = "temporarily_unavailable" if found.status_code in (429, 503) else "server_error"
    return _with_retry(_json({"error": kind}, found.status_code), found)


def refuse_http(error: HTTPException) -> Response:
    """Wrong method, too large and the like, and our own failures, in OAuth's shape."""
    found = problems.http_answer(error)
    status = found.status_code
    busy = "temporarily_unavailable" if status == 503 else "server_error"
    told = {"error": busy if status >= 500 else "invalid_request"}
    if reason := problems.reason(error):
        told["error_description"] = reason
    answer = _json(told, status)
    for name in ("Allow", "Retry-After"):
        if name in found.headers:
            answer.headers[name] = found.headers[name]
    return answer


def _with_retry(answer: Response, found: Response) -> Response:
    if "Retry-After" in found.headers:
        answer.headers["Retry-After"] = found.headers["Retry-After"]
    return answer


def _json(body: Mapping[str, object], status: int = 200) -> Response:
    return Response(json.dumps(body), status=status, content_type="application/json")


def _see_other(address: str) -> Response:
    return Response(status=303, headers={"Location": address})


def _keys(signer: Signer) -> Callable[[], Response]:
    """Our key set, made when it is first asked for: what makes it is loaded then."""
    published = cache(lambda: _published(dict(signer.jwks())))

    def serve() -> Response:
        return published()()

    return serve


def _published(document: dict[str, object]) -> Callable[[], Response]:
    body = json.dumps(document, separators=(",", ":"))

    def serve() -> Response:
        answer = Response(body, content_type="application/json")
        answer.headers["Cache-Control"] = "public, max-age=300"
        return answer

    return serve


def _protect(response: Response) -> Response:
    if not response.cache_control.public:  # it would forbid to old caches what is allowed to new ones
        response.headers.setdefault("Pragma", "no-cache")
    return guards.protect(response)
