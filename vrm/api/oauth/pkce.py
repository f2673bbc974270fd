"""PKCE (RFC 7636) for every vendor, public or confidential, and by S256 only.

Promises: no request is stored without a challenge, no code is redeemed without its verifier. Refuses
`plain`, a missing method (which would mean `plain`) and verifiers or challenges of the wrong form. Authlib's
own extension asks public clients only. That challenge and verifier fit is decided where the code is spent,
in `vrm.consent.tokens`, in the same transaction.
"""

from __future__ import annotations

import re

from authlib.oauth2.rfc6749 import InvalidRequestError
from authlib.oauth2.rfc7636 import CodeChallenge

from vrm.api.oauth.parameters import Parameters, required

_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")  # a SHA-256, base64url without padding
_VERIFIER = re.compile(r"[A-Za-z0-9._~-]{43,128}")


class RequiredS256(CodeChallenge):
    """The check at `/oauth/authorize`, hung into Authlib's code grant."""

    DEFAULT_CODE_CHALLENGE_METHOD = "S256"
    SUPPORTED_CODE_CHALLENGE_METHOD = ["S256"]  # noqa: RUF012 - Authlib's own attribute

    def __call__(self, grant: object) -> None:
        grant.register_hook(  # type: ignore[attr-defined]
            "after_validate_authorization_request_payload", self.validate_code_challenge
        )

    def validate_code_challenge(self, grant: object, redirect_uri: str) -> None:  # noqa: ARG002 - the hook's shape
        check_challenge(grant.request.payload)  # type: ignore[attr-defined]


def check_challenge(parameters: Parameters) -> None:
    """A challenge of S256, said to be one."""
    challenge = required(parameters, "code_challenge")
    if parameters.data.get("code_challenge_method") != "S256":
        raise InvalidRequestError("code_challenge_method must be S256")
    if not _CHALLENGE.fullmatch(challenge):
        raise InvalidRequestError("code_challenge is not an S256 challenge")


def verifier(parameters: Parameters) -> str:
    """The verifier of a token request, checked for its form."""
    sent = required(parameters, "code_verifier")
    if not _VERIFIER.fullmatch(sent):
        raise InvalidRequestError("code_verifier must be 43 to 128 unreserved characters")
    return sent
