"""`/oauth/par` (RFC 9126): a vendor pushes its request, and sends the browser with no more than a reference.

Promises: the vendor proves who it is before anything is read; what is stored passed the very checks of
`/oauth/authorize`; the reference is good for 90 seconds, for this vendor, until the request is decided.
A vendor that proves to be the one whose name the customer reads may ask to poll for the answer: then it gets
a ticket beside, and a link and a number for her (`vrm.consent.polling`). Refuses with JSON and never with a
redirect. Refuses `request_uri` inside, and reads nothing beside a reference at `/oauth/authorize` (RFC 9101
section 5).
"""

from __future__ import annotations

import json
from typing import Any

from authlib.oauth2 import OAuth2Error
from authlib.oauth2.rfc6749 import InvalidRequestError, UnauthorizedClientError
from flask import Response, request

from vrm.api.oauth import dpop
from vrm.api.oauth.authorize import CheckedRequest, checked_request
from vrm.api.oauth.clients import METHODS, OAuthClient
from vrm.api.oauth.parameters import Parameters, StrictRequest, from_form, refuse_repeated, required
from vrm.consent.asking import LINK_LIFE, REFERENCE_LIFE, StoredRequest
from vrm.consent.proofs import Proof
from vrm.consent.vendors import Vendor
from vrm.errors import BusyError, RequestNotFoundError
from vrm.vault.pacing import INTERVAL

PAR = "/oauth/par"
URN = "urn:ietf:params:oauth:request_uri:"
ANSWER_MODE = "answer_mode"
ANSWER_MODES = ("redirect", "poll")


class InvalidRequestUriError(OAuth2Error):
    """RFC 9101 section 6.2: unknown, late, decided or another vendor's, and nobody is told which."""

    error = "invalid_request_uri"
    description = "request_uri is not good, or no longer"


class TooManyWaitError(OAuth2Error):
    """RFC 9126 section 2.3 names 429."""

    error = "temporarily_unavailable"
    description = "too many requests wait already"
    status_code = 429


def push(server: Any) -> Response:
    """The whole of `/oauth/par`."""
    try:
        answer = _push(server)
    except OAuth2Error as error:
        error.redirect_uri = error.state = None  # an answer to the vendor's server, not to a browser
        raise
    return Response(json.dumps(answer), status=201, content_type="application/json")


def _push(server: Any) -> dict[str, object]:
    parameters = from_form(request)
    refuse_repeated(parameters)
    sent = StrictRequest(request.environ, server.public_url, parameters)
    client = server.authenticate_client(sent, METHODS, "par")
    required(parameters, "client_id")  # that it is this vendor's, each way of authentication has seen to
    if "request_uri" in parameters.data:
        raise InvalidRequestError("request_uri has no place in a request that is pushed")
    polls = _answer_mode(parameters) == "poll"
    proof = dpop.presented(server, sent)
    asked = dpop.bound(checked_request(server, parameters, client), proof)
    if polls and not _proves_its_name(client.vendor):
        raise UnauthorizedClientError("answer_mode=poll is for who proves to be the one whom she reads")
    with dpop.proof_errors():
        return _store(server, asked, proof, polls=polls)


def _proves_its_name(vendor: Vendor) -> bool:
    """Whether the name that she reads is of the one who polls: no redirect takes the answer to that domain.

    A public vendor is whoever names it, with whatever key. One that registered itself named a domain, and one
    that is a document may be a file that somebody put there: only that answers arrive at it speaks for both.
    """
    return vendor.verified and not vendor.public


def _answer_mode(parameters: Parameters) -> str:
    mode = parameters.data.get(ANSWER_MODE, "redirect")
    if mode not in ANSWER_MODES:
        raise InvalidRequestError(f"{ANSWER_MODE} is redirect or poll")
    return mode


def _store(server: Any, asked: CheckedRequest, proof: Proof | None, *, polls: bool) -> dict[str, object]:
    try:
        pushed = server.consent.requests.push(
            asked.client.vendor,
            asked.parts,
            redirect_uri=asked.redirect_uri,
            state=asked.state,
            code_challenge=asked.code_challenge,
            extras=asked.extras,
            poll=polls,
            proof=proof,
        )
    except BusyError:
        raise TooManyWaitError() from None
    answer: dict[str, object] = {"request_uri": URN + pushed.reference, "expires_in": REFERENCE_LIFE}
    if polls:
        link = f"{server.public_url}/requests/{pushed.link}"
        answer |= {"ticket": pushed.ticket, "interval": INTERVAL}
        answer |= {"link": link, "link_expires_in": LINK_LIFE, "number": pushed.number}
    return answer


def is_reference(parameters: Parameters) -> bool:
    """Whether this authorization request names one that was pushed."""
    return parameters.data.get("request_uri", "").startswith(URN)


def bring(server: Any, parameters: Parameters) -> StoredRequest:
    """The request for which the browser came; beside `client_id` nothing in the address counts."""
    if {"client_id", "request_uri"} & parameters.repeated or "request" in parameters.data:
        raise InvalidRequestError("a pushed request is named once, and by request_uri alone")
    client: OAuthClient | None = server.query_client(required(parameters, "client_id"))
    if client is None:
        raise InvalidRequestUriError()
    reference = parameters.data["request_uri"].removeprefix(URN)
    try:
        stored: StoredRequest = server.consent.requests.bring(reference, client.get_client_id())
    except RequestNotFoundError:
        raise InvalidRequestUriError() from None
    return stored
