"""What a vendor says of itself, in the words of RFC 7591 section 2: read strictly, believed in little.

Promises: what comes out can be stored as it is, and all its addresses belong to one domain, by which
customers see who asks. Refuses shared secrets from outside, addresses of several domains, flows that are
not built, and members of a wrong type. Members that mean nothing here are passed over, as the RFC asks
(section 2). Never taken from a vendor: whose purchases are its own (`sells_as`), a purpose for requests
that name none, a logo.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from vrm.consent import keysets
from vrm.consent.vendors import check_address, check_name, check_redirect_uri
from vrm.errors import ValidationError
from vrm.settings import LOOPBACK

MAX_REDIRECT_URIS = 10
_LABEL = "[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_NETLOC = re.compile(rf"(?=.{{4,100}}$)(?:{_LABEL}\.)+(?=[a-z]){_LABEL}(?::(?!443$)[1-9][0-9]{{0,4}})?")
_BUILT = {
    "grant_types": ("authorization_code", {"authorization_code", "refresh_token"}),
    "response_types": ("code", {"code"}),
}


@dataclass(frozen=True, slots=True)
class Claims:
    """A vendor's own words."""

    name: str
    redirect_uris: tuple[str, ...]
    auth_method: str
    jwks: str
    jwks_uri: str
    dpop_bound: bool
    events_uri: str


def read(told: Mapping[str, Any], methods: Sequence[str], default: str, home: str = "") -> Claims:
    """The claims in a document; ValidationError names the member that cannot be.

    `methods`: of authentication, that such a vendor may choose from; `default`: what it means to name none,
    where it brings no keys; `home`: an address of the origin to which all others must belong ("": any one).
    """
    for member, (needed, built) in _BUILT.items():
        found = _texts(told, member, [needed])
        if needed not in found or not set(found) <= built:
            raise wrong(member, f"must be {needed}" + (", besides refresh_token" if len(built) > 1 else ""))
    jwks = _written(told.get("jwks"))
    jwks_uri = check_address("jwks_uri", _text(told, "jwks_uri"))
    method = _text(told, "token_endpoint_auth_method") or ("private_key_jwt" if jwks or jwks_uri else default)
    if method not in methods:
        raise wrong("token_endpoint_auth_method", "must be one of " + ", ".join(methods))
    keys = ("", "") if method != "private_key_jwt" else (jwks, jwks_uri)
    if method == "private_key_jwt" and keysets.method_of(*keys, public=False) != method:
        raise wrong("jwks", "or jwks_uri is needed for private_key_jwt")
    name = _text(told, "client_name")
    uris = tuple(check_redirect_uri(uri) for uri in _texts(told, "redirect_uris", []))
    events_uri = check_address("events_uri", _text(told, "events_uri"))
    _check_whose(uris, events_uri, home)
    return Claims(
        check_name(name, "client_name") if name else "",
        uris,
        method,
        *keys,
        _truth(told, "dpop_bound_access_tokens"),
        events_uri,
    )


def origin(uri: str) -> tuple[str, str, int]:
    """Scheme, host and port (RFC 6454), whether or not the port was written down."""
    parts = urlsplit(uri)
    return parts.scheme, parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)


def on_loopback(uri: str) -> bool:
    """Whether an address stays on the customer's own machine: that of a program there."""
    parts = urlsplit(uri)
    return parts.scheme == "http" and parts.hostname in LOOPBACK


def wrong(member: str, reason: str) -> ValidationError:
    """A member that cannot be."""
    return ValidationError(f"{member} {reason}", fields={member: [reason]})


def check_host(uri: str, member: str) -> str:
    """An address whose host a customer can read for what it is; ValidationError.

    Small letters, digits and hyphens, as the network spells it: so no letter of another script looks like one
    of these. No number instead of a name, no port that goes without saying, nothing too long for a screen.
    """
    if not _NETLOC.fullmatch(urlsplit(uri).netloc):
        raise wrong(member, "must name a host by its domain, as the network spells it")
    return uri


def _check_whose(uris: Sequence[str], events_uri: str, home: str) -> None:
    """All at one origin; addresses on the customer's own machine (RFC 8252 section 7.3) may stand beside.

    Only beside a `home`, though: there somebody published. Else a domain is proven by nothing but that the
    answers go there, and who names it must not have them sent elsewhere.
    """
    if not 1 <= len(uris) <= MAX_REDIRECT_URIS:
        raise wrong("redirect_uris", f"must name 1 to {MAX_REDIRECT_URIS} addresses")
    abroad = [uri for uri in uris if not on_loopback(uri)]
    whose = {origin(uri) for uri in (home, *abroad) if uri}
    for uri in abroad:
        check_host(uri, "redirect_uris")
    if not home and 0 < len(abroad) < len(uris):
        raise wrong("redirect_uris", "must be either at one domain or all on the customer's own machine")
    if len(whose) > 1:
        raise wrong("redirect_uris", "must all have one origin" + (", that of client_id" if home else ""))
    if events_uri and {origin(events_uri)} != (whose or {origin(uri) for uri in uris}):
        raise wrong("events_uri", "must have the origin of the others")


def _written(jwks: object) -> str:
    """The keys as text, "" for none."""
    try:
        return "" if jwks is None else json.dumps(jwks)
    except RecursionError:  # what was just readable may be too deep to be written
        raise wrong("jwks", "is not a JWK Set") from None


def _text(told: Mapping[str, Any], member: str) -> str:
    value = told.get(member)
    if value is not None and not isinstance(value, str):
        raise wrong(member, "must be a text")
    return value or ""


def _texts(told: Mapping[str, Any], member: str, default: list[str]) -> list[str]:
    value = told.get(member, default)
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise wrong(member, "must be a list of texts")
    return value


def _truth(told: Mapping[str, Any], member: str) -> bool:
    value = told.get(member, False)
    if not isinstance(value, bool):
        raise wrong(member, "must be true or false")
    return value
