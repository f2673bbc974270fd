"""`resource` (RFC 8707): for which server a token is asked.

Promises: this vault is its public URL, to the character as in its metadata, or with one slash behind it,
which many programs add; another resource server is the very address under which the host registered it. One
request may name several; each access token is for one of them (section 2.2). Refuses every other address,
paths under these too, with `invalid_target`.
"""

from __future__ import annotations

from collections.abc import Sequence

from vrm.api.oauth.extras import InvalidTargetError, read_resources
from vrm.api.oauth.parameters import Parameters
from vrm.consent.policy import HERE
from vrm.consent.vendors import Vendors


def settled(vendors: Vendors, public_url: str, asked: Sequence[str]) -> list[str]:
    """The audiences of these addresses, each once, as `Agreement.resources` has them; empty: only here."""
    found = list(dict.fromkeys(_audience(vendors, public_url, one) for one in asked))
    return [] if found == [HERE] else found


def chosen(vendors: Vendors, public_url: str, parameters: Parameters) -> str | None:
    """The one audience that a token request names; None where it names none."""
    asked = read_resources(parameters)
    if len(asked) > 1:
        raise InvalidTargetError("a token is for one resource: ask for each by itself")
    return _audience(vendors, public_url, asked[0]) if asked else None


def _audience(vendors: Vendors, public_url: str, address: str) -> str:
    if address in (public_url, public_url + "/"):
        return HERE
    if vendors.of_resource(address) is None:
        raise InvalidTargetError("resource is not one for which this vault gives tokens")
    return address
