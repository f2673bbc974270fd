"""Leaving something in a customer's vault: purchases, messages; saying it anew; taking it back.

A deposit is sealed for the customer and filed when she next opens her vault: what comes back is its state,
never her data. Every deposit has a key of its own, so that a lost answer can be asked for again: one deposit,
however often it is sent.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from urllib.parse import quote

from vrm_client.errors import ProtocolError, UnreachableError
from vrm_client.records import moment
from vrm_client.transport import Answer, Json, require_success

Status = Literal["pending", "filed", "refused", "withdrawn"]
Facets = Mapping[str, Mapping[str, Json]]
STATUSES: tuple[Status, ...] = ("pending", "filed", "refused", "withdrawn")
PAGE = 500  # states per request: the most a vault gives


@dataclass(frozen=True, slots=True)
class Deposit:
    """What became of something you left. Keep `id` and `tag` with the order that it is about."""

    id: str
    status: Status
    updated_at: datetime
    tag: str  # the ETag that a change must name; empty in lists
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Request:
    """One request to the vault, for whoever holds the token to send."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes | None = None
    query: Mapping[str, str] | None = None


class Deposits:
    """What one grant left in one collection ("purchases" or "inbox")."""

    def __init__(self, send: Callable[[Request], Answer], collection: str) -> None:
        self._send = send
        self._path = f"/api/v1/{quote(collection, safe='')}"

    def leave(self, facets: Facets, *, key: str = "") -> Deposit:
        """Leave something; the facets and fields that are the seller's to say.

        `key` names this very deposit among yours (an order number, say; no comma in it); without one, a
        random one is made.
        RefusedError names what the vault does not take; BusyError where too much waits already.
        """
        headers = {"Idempotency-Key": key or secrets.token_urlsafe(24), "Content-Type": "application/json"}
        request = Request("POST", self._path, headers, _encoded(facets))
        try:
            answer = self._send(request)
        except UnreachableError as error:
            if type(error) is not UnreachableError:  # the vault answered, that it cannot now
                raise
            answer = self._send(request)  # the same key: if the first one arrived, this is its answer
        return _deposit(require_success(answer, 202))

    def replace(self, deposit: Deposit, facets: Facets) -> Deposit:
        """Say it anew. RefusedError with status 412 where it changed since: ask for `state` again."""
        headers = {"If-Match": deposit.tag, "Content-Type": "application/json"}
        answer = self._send(Request("PUT", self._one(deposit.id), headers, _encoded(facets)))
        return _deposit(require_success(answer, 202))

    def withdraw(self, deposit: Deposit) -> Deposit:
        """Take it back; once it is filed, this marks the order as cancelled."""
        answer = self._send(Request("DELETE", self._one(deposit.id), {"If-Match": deposit.tag}))
        return _deposit(require_success(answer, 202))

    def state(self, deposit_id: str) -> Deposit:
        """What became of it; NotFoundError for one that was taken back."""
        return _deposit(require_success(self._send(Request("GET", self._one(deposit_id), {}))))

    def __iter__(self) -> Iterator[Deposit]:
        """The states of all, page by page; only with a token that does not read the collection as well."""
        query = {"limit": str(PAGE)}
        seen: set[str] = set()
        while True:
            page = require_success(self._send(Request("GET", self._path, {}, query=query))).json_object()
            items, following = page.get("items"), page.get("next")
            if not isinstance(items, list):
                raise ProtocolError("a page has no list of items")
            yield from (_parsed(item, "") for item in items)
            if following is None:
                return
            if not isinstance(following, str) or following in seen:
                raise ProtocolError("the vault's pages do not end")
            seen.add(following)
            query["cursor"] = following

    def _one(self, deposit_id: str) -> str:
        return f"{self._path}/{quote(deposit_id, safe='')}"


def _encoded(facets: Facets) -> bytes:
    return json.dumps({name: dict(values) for name, values in facets.items()}, ensure_ascii=False).encode()


def _deposit(answer: Answer) -> Deposit:
    return _parsed(answer.json_object(), answer.headers.get("etag", ""))


def _parsed(document: Json, tag: str) -> Deposit:
    if not isinstance(document, dict):
        raise ProtocolError("a deposit is not an object")
    identifier, status, reason = document.get("id"), document.get("status"), document.get("reason", "")
    if not isinstance(identifier, str) or not identifier or not isinstance(reason, str):
        raise ProtocolError("a deposit has no id")
    for known in STATUSES:
        if status == known:
            return Deposit(identifier, known, moment(document.get("updated_at")), tag, reason)
    raise ProtocolError("a deposit has no status that is known")
