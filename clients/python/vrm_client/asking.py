"""A question to a customer: what, for which purpose, how far back; and the check of her answer.

`Asked` belongs into the visitor's session: it holds the PKCE verifier and the `state` by which the
answer is known to be hers. A callback with another state, another issuer, doubled parameters, or
without a code is refused.
"""

from __future__ import annotations

import hmac
import json
import secrets
from base64 import urlsafe_b64encode
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from typing import Literal
from urllib.parse import parse_qsl, urlsplit

from vrm_client.errors import DeclinedError, ProtocolError, RefusedError
from vrm_client.transport import Json

DETAILS_TYPE = "vrm_access"


@dataclass(frozen=True, slots=True)
class Part:
    """One thing asked for (RFC 9396). An optional part is off until the customer ticks it.

    `datatypes` are scopes without their verb ("purchases.item"); `purpose` is a DPV id
    ("ProvideProductRecommendations"); `period` an ISO 8601 duration ("P2Y": the last two years);
    `retention` says how long you keep what you read.
    """

    datatypes: Sequence[str]
    purpose: str
    necessity: Literal["required", "optional"] = "required"
    actions: Sequence[str] = ("read",)
    fields: Sequence[str] = ()
    filter: Mapping[str, Sequence[str]] = field(default_factory=dict)
    period: str = ""
    retention: str = ""

    def to_json(self) -> dict[str, Json]:
        """The object as it stands in `authorization_details`; what was not said is absent."""
        part: dict[str, Json] = {
            "type": DETAILS_TYPE,
            "datatypes": list(self.datatypes),
            "actions": list(self.actions),
            "purpose": self.purpose,
            "necessity": self.necessity,
        }
        if self.fields:
            part["fields"] = list(self.fields)
        if self.filter:
            part["filter"] = {name: list(values) for name, values in self.filter.items()}
        if self.period:
            part["period"] = self.period
        if self.retention:
            part["retention"] = self.retention
        return part


@dataclass(frozen=True, slots=True)
class Asked:
    """A question on its way. Send the visitor to `url`; keep `to_json()` in her session until she is back."""

    url: str = field(repr=False)
    issuer: str
    redirect_uri: str
    state: str = field(repr=False)
    verifier: str = field(repr=False)

    def to_json(self) -> dict[str, str]:
        """For the session. Contains the verifier: keep it on the server."""
        return asdict(self)

    @classmethod
    def from_json(cls, stored: Mapping[str, str]) -> Asked:
        """What `to_json` made."""
        return cls(**stored)


@dataclass(frozen=True, slots=True)
class Question:
    """A request before it is sent: its parameters, and what is kept to check the answer."""

    parameters: Mapping[str, str] = field(repr=False)
    state: str = field(repr=False)
    verifier: str = field(repr=False)


def question(
    client_id: str, redirect_uri: str, *, parts: Sequence[Part] = (), scope: str = "", **more: str
) -> Question:
    """The request (RFC 6749 §4.1.1, RFC 7636, RFC 9396), with whatever of `more` is not empty."""
    if bool(parts) == bool(scope):
        raise ValueError("ask for parts or for a scope, not both and not nothing")
    state, verifier = secrets.token_urlsafe(32), secrets.token_urlsafe(48)
    query = {
        "response_type": "code",
        "client_id": client_id,
        "redirect_uri": redirect_uri,
        "state": state,
        "code_challenge": challenge(verifier),
        "code_challenge_method": "S256",
    }
    if scope:
        query["scope"] = scope
    else:
        query["authorization_details"] = json.dumps([part.to_json() for part in parts], separators=(",", ":"))
    query |= {name: value for name, value in more.items() if value}
    return Question(query, state, verifier)


def challenge(verifier: str) -> str:
    """The S256 challenge (RFC 7636 §4.2)."""
    return urlsafe_b64encode(sha256(verifier.encode("ascii")).digest()).rstrip(b"=").decode()


def accept(asked: Asked, callback_url: str) -> str:
    """The code in the callback, after every check; DeclinedError when the customer shares nothing."""
    answer = _single_values(callback_url)
    # State first: whatever else an unasked callback says is nobody's answer.
    if not hmac.compare_digest(answer.get("state", "").encode(), asked.state.encode()):
        raise ProtocolError("this answer does not belong to the question asked in this session")
    # RFC 9207 §2.4: another issuer means a mix-up; its code must not be sent to this vault.
    if ("error" not in answer or "iss" in answer) and answer.get("iss") != asked.issuer:
        raise ProtocolError("the answer comes from another issuer than was asked")
    if "error" in answer:
        code = answer["error"]
        message = answer.get("error_description", code)
        raise (DeclinedError if code == "access_denied" else RefusedError)(message, code=code)
    if not answer.get("code"):
        raise ProtocolError("the answer holds neither a code nor an error")
    return answer["code"]


def _single_values(url: str) -> dict[str, str]:
    pairs = parse_qsl(urlsplit(url).query, keep_blank_values=True, max_num_fields=50)
    values = dict(pairs)
    # RFC 6749 §3.1: parameters must not be included more than once.
    if len(values) != len(pairs):
        raise ProtocolError("the answer repeats a parameter")
    return values
