"""What a token is, told to who may know (RFC 7662): its own vendor, and the resource server that it is for.

Promises: told are the limits that both sides know, and who the customer is to this vendor; nothing that is
only hers. Looking spends nothing, opens no row and writes nothing, so that a try takes as long as any other.
Everybody else is told nothing, whatever the token is: unknown, another vendor's, spent, expired, of a grant
that has ended.
"""

from __future__ import annotations

import json
from collections.abc import Container
from dataclasses import dataclass
from typing import Any, NamedTuple

from vrm.clock import Clock
from vrm.consent import narrowing
from vrm.consent.credentials import (
    carried_scopes,
    made_and_bound,
    read_token,
    split,
    wrap_cipher,
    written,
)
from vrm.consent.endings import ELSEWHERE
from vrm.consent.policy import HERE, Agreement
from vrm.consent.scopes import Part
from vrm.consent.vendors import Vendor
from vrm.consent.views import GrantKeys, agreement_cipher
from vrm.errors import TamperedError
from vrm.vault.crypto import Key
from vrm.vault.engine import Engine, Row
from vrm.vault.envelope import unpack
from vrm.vault.serverkey import ServerKey

REFRESH = "refresh"


class Told(NamedTuple):
    """A live token. `audience` as in `Agreement.resources`; `made` is None where it does not say."""

    kind: str
    client_id: str
    grant_id: str
    subject: str
    audience: str
    scopes: tuple[str, ...]
    parts: tuple[Part, ...]
    made: int | None
    expires: int
    jkt: str = ""


class _Said(NamedTuple):
    """What a token is good for."""

    grant_id: str
    scopes: tuple[str, ...]
    parts: tuple[Part, ...]
    ends: int


@dataclass(slots=True, repr=False)
class _Found:
    """A live token of a live grant, opened."""

    kind: str
    vault: str
    grant_id: str
    expires: int
    agreement: bytes
    carried: list[bytes]
    client_id: str
    audience: str


class Introspection:
    """Looks at tokens for vendors that proved who they are."""

    def __init__(self, engine: Engine, server_key: ServerKey, clock: Clock) -> None:
        self._engine = engine
        self._server_key = server_key
        self._clock = clock

    def look(self, token: str, asker: Vendor) -> Told | None:
        """What `asker` may know of a token; None in every other case, and no reason."""
        for kind in ("access", ELSEWHERE, REFRESH):
            raw = read_token(written(kind), token)
            if raw is None:
                continue
            lookup, wrapping = split(kind, raw, self._server_key.pepper)
            row = self._row(kind, lookup)
            if row is None:
                continue
            found = _opened(kind, lookup, wrapping, row)
            return self._told(found, asker) if found and _may_know(asker, found) else None
        return None

    def _row(self, kind: str, lookup: bytes) -> Row | None:
        """(vault, grant, expires, agreement, wrapped) of a live token of a live grant."""
        now = self._clock.now()
        return self._engine.one(
            "SELECT g.vault, t.grant_id, t.expires, g.agreement, t.wrapped FROM tokens t"
            " JOIN grants g ON g.grant_id = t.grant_id AND g.state = 'live' AND g.expires > ?"
            " WHERE t.lookup = ? AND t.kind = ? AND t.expires > ? AND t.wrapped IS NOT NULL",
            (now, lookup, kind, now),
        )

    def _told(self, found: _Found, asker: Vendor) -> Told | None:
        said = _said_elsewhere(found) if found.kind == ELSEWHERE else self._said_here(found)
        if said is None:
            return None
        others = [] if asker.client_id == found.client_id else [asker.client_id]
        made, jkt = made_and_bound(found.kind, found.carried)
        return Told(
            kind=found.kind,
            client_id=found.client_id,
            grant_id=said.grant_id,
            subject=self._server_key.subject(found.vault, found.client_id, *others),
            audience=found.audience,
            scopes=said.scopes,
            parts=said.parts,
            made=made,
            expires=min(found.expires, said.ends),
            jkt=jkt,
        )

    def _said_here(self, found: _Found) -> _Said | None:
        """By the agreement as it is now; None where that was altered, or has ended as sealed in it."""
        carried, refresh = found.carried, found.kind == REFRESH
        common = GrantKeys(found.grant_id, Key(carried[0])).common if refresh else Key(carried[2])
        try:
            agreement = Agreement.decode(agreement_cipher(common, found.grant_id).unseal(found.agreement))
        except TamperedError:
            return None
        if self._clock.now() >= agreement.expires:
            return None
        scopes, parts = known(agreement, agreement.granted if refresh else carried_scopes(carried))
        return _Said(agreement.public_id or found.grant_id, scopes, parts, agreement.expires)


def known(agreement: Agreement, scopes: Container[str]) -> tuple[tuple[str, ...], tuple[Part, ...]]:
    """What of an agreement, as it is now, is told by a token of these scopes: scopes and parts."""
    granted = agreement.granted
    mine = tuple([scope for scope in granted if scope in scopes])
    return mine, agreement.parts if mine == granted else tuple(narrowing.cut(agreement.parts, mine))


def _opened(kind: str, lookup: bytes, wrapping: Key, row: Row) -> _Found | None:
    vault, grant_id, expires, agreement, wrapped = row
    try:
        carried = unpack(wrap_cipher(wrapping, kind, lookup, grant_id, expires).unseal(wrapped))
    except TamperedError:
        return None
    audience = carried[2].decode() if kind == ELSEWHERE else HERE
    return _Found(kind, vault, grant_id, expires, agreement, carried, carried[1].decode(), audience)


def _may_know(asker: Vendor, found: _Found) -> bool:
    """Whose token it is, and the resource server that it is for."""
    its_own = asker.client_id == found.client_id
    return its_own or (found.audience != HERE and asker.resource == found.audience)


def _said_elsewhere(found: _Found) -> _Said:
    """By the token itself, which ends when the agreement becomes less."""
    said: dict[str, Any] = json.loads(b"".join(found.carried[4:]))
    parts = tuple(said["authorization_details"])
    return _Said(said["grant_id"], tuple(said["scopes"]), parts, found.expires)
