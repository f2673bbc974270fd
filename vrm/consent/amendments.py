"""Requests that want to change an earlier grant (Grant Management for OAuth 2.0: replace, merge).

A grant that is changed is a new one: with a key and a view of its own, approved like any other, in whose
transaction the earlier one ends with its view and every token (`Grants.make`). The vendor goes on knowing it
by one name. Promises: *replace* is exactly what is asked now, *merge* that and what was agreed before, and
neither more than she approves. Refuses, without telling the vendor which, a grant that is not its own, that
has ended, or that lies in another vault than the one in which it is decided.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from vrm.clock import Clock
from vrm.consent.asking import StoredRequest
from vrm.consent.periods import at_odds, longer
from vrm.consent.policy import HERE, VENDOR, Agreement
from vrm.consent.scopes import Part
from vrm.consent.views import OpenGrant, Views
from vrm.errors import GrantNotFoundError, RequestChangedError, UnfitRequestError
from vrm.vault import crypto
from vrm.vault.engine import Engine
from vrm.vault.serverkey import ServerKey
from vrm.vault.vault import Vault

REPLACE, MERGE = "replace", "merge"
_MOST_PARTS = 40  # of a grant that was merged again and again
_CALLED = "((grant_id = ? AND public_id = '') OR public_id = ?) AND state = 'live' AND expires > ?"


class Amendments:
    """What requests say of earlier grants."""

    def __init__(self, engine: Engine, server_key: ServerKey, views: Views, clock: Clock) -> None:
        self._engine = engine
        self._server_key = server_key
        self._views = views
        self._clock = clock

    def is_of(self, grant_id: str, client_id: str) -> bool:
        """Whether this vendor has a live grant that it knows by this name, in whichever vault."""
        rows = self._engine.all(
            f"SELECT vault, vendor_tag FROM grants WHERE {_CALLED}", (grant_id, grant_id, self._clock.now())
        )
        return any(crypto.equal(tag, self._server_key.vendor_tag(vault, client_id)) for vault, tag in rows)

    def exists(self, grant_id: str) -> bool:
        """Whether any vendor knows a live grant by this name."""
        return bool(
            self._engine.one(f"SELECT 1 FROM grants WHERE {_CALLED}", (grant_id, grant_id, self._clock.now()))
        )

    def read(self, vault: Vault, request: StoredRequest) -> StoredRequest:
        """The request with the grant that it wants to change, and for a merge with what that one says.

        GrantNotFoundError where that grant is not this vendor's, not in this vault, or has ended;
        UnfitRequestError where what is asked and what was agreed cannot be one.
        """
        if request.extras.get("action") not in (REPLACE, MERGE):
            return request
        earlier = self._earlier(vault, request)
        if request.extras["action"] == REPLACE:
            return replace(request, earlier=earlier)
        parts = union(request.parts, earlier.agreement.parts)
        return replace(request, earlier=earlier, parts=parts)

    def _earlier(self, vault: Vault, request: StoredRequest) -> OpenGrant:
        for grant in self._views.live_grants(vault.keyring)[0]:
            agreement = grant.agreement
            named = grant.public_id == request.extras["grant_id"]
            if (
                named
                and agreement.vendor == request.vendor.client_id
                and self._clock.now() < agreement.expires
            ):
                return grant
        raise GrantNotFoundError()

    def same(self, vault: Vault, request: StoredRequest) -> str:
        """In the transaction of the approval: the grant whose place is taken, as it was shown; "" if none.

        RequestChangedError where it was changed since; GrantNotFoundError.
        """
        if request.earlier is None:
            return ""
        now = self._earlier(vault, request)
        if (now.grant_id, now.state) != (request.earlier.grant_id, request.earlier.state):
            raise RequestChangedError()
        return now.grant_id


def in_line(agreement: Agreement, request: StoredRequest) -> Agreement:
    """The agreement with what the request says beside its parts, in the line of the grant that it follows."""
    manage = tuple(request.extras.get("manage", ()))
    resources = tuple(request.extras.get("resource", ()))
    earlier = request.earlier
    if earlier is None:
        return agreement._replace(manage=manage, resources=resources)
    before = earlier.agreement
    if request.extras["action"] == MERGE:
        manage = tuple(dict.fromkeys((*before.manage, *manage)))
        audiences = tuple(dict.fromkeys((*before.audiences, *(resources or (HERE,)))))
        resources = () if audiences == (HERE,) else audiences
    return agreement._replace(
        manage=manage,
        resources=resources,
        public_id=earlier.public_id,
        begun=before.begun or before.created,
        updated=agreement.created,
        updated_by=VENDOR,
    )


def union(asked: tuple[Part, ...], before: tuple[Part, ...]) -> tuple[Part, ...]:
    """What is asked now, in its order, and all of what was agreed before that it does not cover.

    UnfitRequestError where that would be too much to show, or two of them would be at odds.
    """
    found = list(asked)
    for part in before:
        same = [place for place, one in enumerate(found) if _adds_fields(one, part)]
        if same:
            found[same[0]] = _with_fields_of(found[same[0]], part)
        elif not any(_stands_for(one, part) for one in found):
            found.append(part)
    if len(found) > _MOST_PARTS or at_odds(found):
        raise UnfitRequestError()
    return tuple(found)


def within(part: Part, before: Iterable[Part]) -> bool:
    """Whether one of these parts says all that this one does, be it that either was an extra."""
    wanted = _but_for(part, "necessity", "fields")
    return any(
        _covers(_but_for(one, "necessity", "fields"), wanted) and _fields_within(part, one) for one in before
    )


def _adds_fields(one: Part, part: Part) -> bool:
    """Whether both are the same but for fields, so that one part can ask for all of them.

    An extra that asks for more than before stays by itself: what she had taken must not depend on it.
    """
    same = _but_for(one, "fields") == _but_for(part, "fields")
    return same and (one["necessity"] == "required" or _fields_within(one, part))


def _stands_for(one: Part, part: Part) -> bool:
    """Whether `one` leaves nothing of `part` to be said; an extra only where it asks for no more."""
    return _covers(one, part) and (one["necessity"] == "required" or _covers(part, one))


def _fields_within(part: Part, other: Part) -> bool:
    """Without any named, a part has all."""
    return "fields" not in other or ("fields" in part and set(part["fields"]) <= set(other["fields"]))


def _but_for(part: Part, *names: str) -> Part:
    return {name: value for name, value in part.items() if name not in names}


def _with_fields_of(part: Part, other: Part) -> Part:
    """The fields of both; without any named, a part has all."""
    if "fields" not in part or "fields" not in other:
        return _but_for(part, "fields")
    return {**part, "fields": list(dict.fromkeys((*part["fields"], *other["fields"])))}


def _covers(part: Part, other: Part) -> bool:
    """Whether `other` is the same with fewer datatypes or a shorter period."""
    if _but_for(part, "datatypes", "period") != _but_for(other, "datatypes", "period"):
        return False
    if not set(other["datatypes"]) <= set(part["datatypes"]):
        return False
    if "period" not in part or "period" not in other:
        return "period" not in part
    return not longer(other["period"], part["period"])
