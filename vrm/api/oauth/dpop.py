"""DPoP (RFC 9449) at the authorization server: the proof beside a request for tokens or a pushed one.

Promises: where a proof comes it is checked before anything is spent, against the public address of the
endpoint and a nonce of ours; what it proves is bound to code and tokens by `vrm.consent.tokens`. Every
refusal is `invalid_dpop_proof`, or `use_dpop_nonce` with the nonce to use; an answer brings a new nonce
before the old one ends. Refuses several proofs: a server joins repeated headers by a comma, which no proof
contains.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from authlib.oauth2 import OAuth2Error

from vrm import jose
from vrm.api.oauth.authorize import CheckedRequest
from vrm.api.oauth.parameters import StrictRequest
from vrm.consent.proofs import Proof
from vrm.errors import NonceError, ProofError

ALGORITHMS = list(jose.ALGORITHMS)
NONCE_HEADER = "DPoP-Nonce"


class InvalidDpopProofError(OAuth2Error):
    """RFC 9449 section 5."""

    error = "invalid_dpop_proof"


class UseDpopNonceError(OAuth2Error):
    """RFC 9449 section 8."""

    error = "use_dpop_nonce"
    description = "the proof needs the nonce in DPoP-Nonce"

    def __init__(self, nonce: str) -> None:
        super().__init__()
        self._nonce = nonce

    def get_headers(self) -> list[tuple[str, str]]:
        return [*super().get_headers(), (NONCE_HEADER, self._nonce)]


def presented(server: Any, request: StrictRequest) -> Proof | None:
    """The proof that came with this request, not spent yet; None where there is none."""
    if request.proof is None:
        return None
    with proof_errors():
        proof: Proof = server.consent.proofs.check(request.proof, request.method, request.uri, nonce=True)
    return proof


def bound(asked: CheckedRequest, proof: Proof | None) -> CheckedRequest:
    """The request, its code bound to the key of a proof that came with it (RFC 9449 section 10.1)."""
    if proof is None:
        return asked
    if asked.extras.get("jkt", proof.jkt) != proof.jkt:
        raise InvalidDpopProofError("dpop_jkt names another key than the proof's")
    return replace(asked, extras={**asked.extras, "jkt": proof.jkt})


def nonce_header(proof: Proof | None) -> list[tuple[str, str]]:
    """For the answer: the nonce that comes next, where the proof's own will soon end."""
    return [(NONCE_HEADER, proof.fresh_nonce)] if proof is not None and proof.fresh_nonce else []


@contextmanager
def proof_errors() -> Iterator[None]:
    """Consent's refusals of a proof in OAuth's words."""
    try:
        yield
    except NonceError as error:
        raise UseDpopNonceError(error.nonce) from None
    except ProofError as error:
        raise InvalidDpopProofError(str(error)) from None
