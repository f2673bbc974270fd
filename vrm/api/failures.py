"""Credentials that are no good: how often one address may come with such, whatever they claim to be.

Promises: who fails too often in a minute, from one address on the network, is told to wait (429) instead of
what was wrong; what succeeds is neither counted nor refused, from whichever address. Counted are answers by
the code of their error; where no credential was shown, there is none.
"""

from __future__ import annotations

from typing import Final

from flask import request

from vrm.consent.counting import Permits
from vrm.errors import RateLimitedError
from vrm.settings import LOOPBACK

COUNTED: Final = frozenset({"invalid_client", "invalid_grant", "invalid_token", "invalid_dpop_proof"})


def one_too_many(permits: Permits, code: str) -> RateLimitedError | None:
    """What to refuse the request with instead, where its address has failed too often."""
    address = request.remote_addr or ""
    if code not in COUNTED or address in LOOPBACK:  # a proxy here that is not trusted stands for everybody
        return None
    try:
        permits.failure(address)
    except RateLimitedError as error:
        return error
    return None
