"""The gate of the vendor API: from a request to an opened access token.

Promises: the token comes from exactly one `Authorization` header, by the scheme that is right for it:
`Bearer`, or `DPoP` with a proof of the key that it is bound to (RFC 9449 section 7); a proof counts once, in
the transaction of what the token is used for, and where there is none, before the answer leaves; a refusal
that did nothing uses none up. Every 401
names the schemes that would do. Refuses tokens in the address (RFC 9700 section 4.3.2), a bound token without
its key and, where a proof came, a token that is bound to none.
"""

from __future__ import annotations

import re

from flask import Request, Response, g, request

from vrm import jose
from vrm.api import problems
from vrm.api.failures import one_too_many
from vrm.consent.access import Access
from vrm.consent.proofs import Proof
from vrm.consent.service import Consent
from vrm.errors import (
    InsufficientScopeError,
    NonceError,
    ParameterError,
    ProofError,
    TokenError,
    VrmError,
)

REALM = "vrm"
NONCE_HEADER = "DPoP-Nonce"
OPENED = "vrm.opened"  # in an environ: the token of this request, opened and counted before Flask was asked
_TOKEN = re.compile(r"(bearer|dpop) +([A-Za-z0-9._~+/-]{1,512}=*)", re.IGNORECASE)
_ALGS = ("algs", " ".join(jose.ALGORITHMS))
_CODES: tuple[tuple[type[VrmError], str], ...] = (
    (InsufficientScopeError, "insufficient_scope"),
    (ParameterError, "invalid_request"),
    (NonceError, "use_dpop_nonce"),
    (ProofError, "invalid_dpop_proof"),
)


def presented(sent: Request) -> tuple[str, str] | None:
    """What `token_in` finds in a request; ParameterError where a token stands in its address."""
    if "access_token" in sent.args:
        raise ParameterError("an access token belongs in the Authorization header")
    return token_in(sent.headers.get("Authorization", ""))


def token_in(authorization: str) -> tuple[str, str] | None:
    """(scheme in small letters, token) of the one Authorization header; None where it is no access token.

    A server joins repeated headers with a comma, which no token contains: two headers are refused here too.
    """
    found = _TOKEN.fullmatch(authorization)
    return (found[1].lower(), found[2]) if found else None


class Gate:
    """One for each application."""

    def __init__(self, consent: Consent, public_url: str) -> None:
        self._reader = consent.reader
        self._proofs = consent.proofs
        self._permits = consent.permits
        self._public_url = public_url
        self._constrained = consent.constrained  # only bound tokens count, with a nonce of ours in the proof

    def access(self, sent: Request) -> Access:
        """The token of this request, opened.

        Raises TokenError, ProofError, ParameterError, RateLimitedError.
        """
        access: Access = sent.environ.pop(OPENED, None) or self._opened(
            presented(sent), sent.headers.get("DPoP", ""), sent.method, sent.path
        )
        g.proof = access.proof
        return access

    def opened(self, authorization: str, proved: str, path: str) -> Access:
        """The same for a GET that Flask has not seen; its reader spends the proof."""
        return self._opened(token_in(authorization), proved, "GET", path)

    def _opened(self, found: tuple[str, str] | None, proved: str, method: str, path: str) -> Access:
        if found is None:
            raise TokenError("no access token in the Authorization header")
        scheme, token = found
        proof = None
        if scheme != "bearer":
            address = self._public_url + path
            proof = self._proofs.check(proved, method, address, token=token, nonce=self._constrained)
        access = self._reader.authenticate(token, proof)
        self._permits.reading(access.client_id)
        return access

    def settle(self, response: Response) -> Response:
        """Spend what nothing else did; ReplayError. Brings a new nonce before the old one ends."""
        proof: Proof | None = g.pop("proof", None)
        if proof is None:
            return response
        if response.status_code < 400:
            proof.spend()
        if proof.fresh_nonce:
            response.headers[NONCE_HEADER] = proof.fresh_nonce
        return response

    def finish(self, response: Response) -> Response:
        """`settle`, for every answer of a blueprint; nothing leaves where that cannot be noted."""
        try:
            return self.settle(response)
        except VrmError as error:
            return self.refusal(request, error)

    def refusal(self, sent: Request, error: VrmError, scope: str = "") -> Response:
        """The answer to a refused request, with its challenges; who failed too often is told to wait."""
        error = one_too_many(self._permits, code_of(sent, error)) or error
        response = problems.answer(error)
        if response.status_code in (400, 401, 403):
            told = self.challenges(sent, error, scope if response.status_code == 403 else "")
            response.headers.extend(told)
        return response

    def challenges(self, sent: Request, error: VrmError, scope: str = "") -> list[tuple[str, str]]:
        """The headers that say what would do: RFC 6750 section 3, RFC 9449 sections 7.1 and 9.

        The scheme of the request comes first, with what was wrong; without any credential in the request no
        error code is given (RFC 6750 section 3.1).
        """
        about = [("resource_metadata", f"{self._public_url}/.well-known/oauth-protected-resource")]
        told = [("error", code_of(sent, error)), ("scope", scope)]
        used = sent.headers.get("Authorization", "").partition(" ")[0].lower()
        schemes = ["DPoP"] if self._constrained else ["Bearer", "DPoP"]
        schemes.sort(key=lambda scheme: scheme.lower() != used)
        found = []
        for number, scheme in enumerate(schemes):
            parts = [*(told if number == 0 else []), *([_ALGS] if scheme == "DPoP" else []), *about]
            found.append(("WWW-Authenticate", _challenge(scheme, parts)))
        return [*found, (NONCE_HEADER, error.nonce)] if isinstance(error, NonceError) else found


def code_of(sent: Request, error: VrmError) -> str:
    """The error code of RFC 6750 section 3.1 or RFC 9449, "" where the request showed no credential."""
    for kind, code in _CODES:
        if isinstance(error, kind):
            return code
    return "invalid_token" if "Authorization" in sent.headers else ""


def _challenge(scheme: str, parts: list[tuple[str, str]]) -> str:
    return f"{scheme} " + ", ".join(
        f'{name}="{value}"' for name, value in [("realm", REALM), *parts] if value
    )
