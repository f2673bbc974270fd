"""Reading what one customer granted.

Access tokens are renewed shortly before they end, and once at a 401; however many threads read, one renewal
happens. When the vault says that the grant has ended, every call raises RevokedError, without asking again.
Whatever else stands between and refuses (a proxy, a captive portal) ends nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from threading import RLock
from typing import TypedDict
from urllib.parse import quote

from vrm_client.deposits import Deposits, Request
from vrm_client.discovery import Vault
from vrm_client.errors import ProtocolError, RefusedError, RevokedError, UnreachableError
from vrm_client.keys import ASSERTION_TYPE, Presented, SigningKey
from vrm_client.records import Record, parse_record
from vrm_client.tokens import Tokens, basic, parse_tokens
from vrm_client.transport import (
    Answer,
    Json,
    Transport,
    problem_of,
    require_success,
    told_by_vault,
    with_query,
)

PAGE = 500  # records per request: the most a vault gives
_OVER = frozenset({"grant-inactive", "token-invalid"})  # of a 401, after a renewal


def _moment(when: datetime | str) -> str:
    """RFC 3339; a time without a zone is UTC."""
    if isinstance(when, str):
        return when
    zoned = when if when.tzinfo else when.replace(tzinfo=UTC)
    return zoned.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Saved(TypedDict):
    """What to keep between visits. Secret."""

    vault: str
    tokens: dict[str, Json]


class Credentials:
    """How the vendor proves who it is: by a secret, by a key (RFC 7523), or, a public client, by its name.

    What is secret shows nowhere.
    """

    __slots__ = ("_clock", "_key", "_secret", "_transport", "client_id", "presented")

    def __init__(
        self,
        client_id: str,
        secret: str | None,
        transport: Transport,
        presented: Presented,
        *,
        key: SigningKey | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if secret is not None and key is not None:
            raise ValueError("a vendor proves itself by a secret or by a key, not by both")
        self.client_id = client_id
        self.presented = presented
        self._secret = secret
        self._key = key
        self._clock = clock
        self._transport = transport

    def post(self, vault: Vault, url: str, form: Mapping[str, str], *, proof: bool = True) -> Answer:
        """POST to an endpoint of the vault's authorization server as this client."""

        def send(headers: Mapping[str, str]) -> Answer:
            about, also = self._proven(vault)  # anew each time: an assertion is good once
            return self._transport.post_form(url, {**form, **about}, headers={**headers, **also})

        return self.presented.send("POST", url, None, send) if proof else send({})

    def _proven(self, vault: Vault) -> tuple[dict[str, str], dict[str, str]]:
        """(what the form says, headers)."""
        if self._secret is not None:
            return {}, {"Authorization": basic(self.client_id, self._secret)}
        about = {"client_id": self.client_id}
        if self._key is not None:
            about["client_assertion_type"] = ASSERTION_TYPE
            about["client_assertion"] = self._key.assertion(self.client_id, vault.issuer, self._clock())
        return about, {}


@dataclass(frozen=True, slots=True)
class Change:
    """One answer of the changes feed: rows as they came, and the cursor to go on from."""

    rows: Sequence[Mapping[str, Json]]
    cursor: str


class Connection:
    """One customer's grant. Safe to share between threads."""

    def __init__(
        self,
        vault: Vault,
        tokens: Tokens,
        credentials: Credentials,
        transport: Transport,
        *,
        clock: Callable[[], float],
        on_rotated: Callable[[Saved], None] | None,
    ) -> None:
        self._vault = vault
        self._tokens = tokens
        self._credentials = credentials
        self._presented = credentials.presented
        self._transport = transport
        self._clock = clock
        self._on_rotated = on_rotated
        self._lock = RLock()
        self._ended = False

    def __repr__(self) -> str:
        return f"Connection({self._vault.resource!r}, scope={self._tokens.scope!r})"

    @property
    def scope(self) -> str:
        """The granted scopes, separated by blanks: often fewer than you asked for."""
        return self._tokens.scope

    @property
    def grant_id(self) -> str:
        """The vault's name for this grant: no secret. Events name it, and `Vendor.ask` can replace it."""
        return self._tokens.grant_id

    @property
    def details(self) -> tuple[Mapping[str, Json], ...]:
        """The granted parts (RFC 9396 `authorization_details`)."""
        return self._tokens.details

    def saved(self) -> Saved:
        """What `Vendor.resume` needs. Secret: encrypt it, or keep it where only you can read."""
        with self._lock:
            return {"vault": self._vault.resource, "tokens": self._tokens.to_json()}

    # -- reading ------------------------------------------------------------------------------------

    def records(
        self,
        collection: str,
        *,
        limit: int = PAGE,
        updated_since: datetime | str | None = None,
        category: str | None = None,
        seller: str | None = None,
        ordered_from: date | str | None = None,
        ordered_to: date | str | None = None,
    ) -> Iterator[Record]:
        """All records in view that fit, page by page; days as `date` or YYYY-MM-DD, both ends included.

        A filter is open where the field itself was granted: `category` with `purchases.item`, `seller` and
        days with `purchases.order`. Otherwise, and for a value that is none, RefusedError with the code
        `invalid-parameter`.
        """
        filters = {
            "updated_since": _moment(updated_since) if updated_since is not None else None,
            "category": category,
            "seller": seller,
            "ordered_from": ordered_from,
            "ordered_to": ordered_to,
        }
        query = {"limit": str(limit)}
        query |= {name: str(value) for name, value in filters.items() if value is not None}
        seen: set[str] = set()
        while True:
            page = self._get(f"/api/v1/{quote(collection, safe='')}", query).json_object()
            items, following = page.get("items"), page.get("next")
            if not isinstance(items, list):
                raise ProtocolError("a page has no list of items")
            yield from map(parse_record, items)
            if following is None:
                return
            if not isinstance(following, str) or following in seen:
                raise ProtocolError("the vault's pages do not end")
            seen.add(following)
            query["cursor"] = following

    def changes(self, collection: str, *, cursor: str | None = None, limit: int = PAGE) -> Iterator[Change]:
        """What changed since `cursor`, answer by answer; without one, everything in view. See `Copy`."""
        query = {"limit": str(limit)} | ({"cursor": cursor} if cursor else {})
        seen: set[str] = set()
        while True:
            feed = self._get(f"/api/v1/{quote(collection, safe='')}/changes", query).json_object()
            items, following = feed.get("items"), feed.get("next")
            if not isinstance(items, list) or not isinstance(following, str) or following in seen:
                raise ProtocolError("not a feed of changes")
            rows = [row for row in items if isinstance(row, dict)]
            if len(rows) != len(items):
                raise ProtocolError("a change is not an object")
            yield Change(rows, following)
            if feed.get("more") is not True:
                return
            seen.add(following)
            query["cursor"] = following

    def record(self, collection: str, record_id: str) -> Record:
        """One record; NotFoundError when it is not in view."""
        path = f"/api/v1/{quote(collection, safe='')}/{quote(record_id, safe='')}"
        return parse_record(self._get(path).json_object())

    def answers(self, question: str) -> list[dict[str, Json]]:
        """The vault's answer, such as `corrections`: `[{"order", "item", "use_for_taste": false}]`."""
        answer = self._get(f"/api/v1/answers/{quote(question, safe='')}").json()
        if not isinstance(answer, list):
            raise ProtocolError("an answer is not a list")
        rows = [row for row in answer if isinstance(row, dict)]
        if len(rows) != len(answer):
            raise ProtocolError("an answer holds something else than objects")
        return rows

    def deposits(self, collection: str) -> Deposits:
        """What you left there ("purchases" or "inbox"), and where you leave more; needs a write scope."""
        return Deposits(self._write, collection)

    def grant(self) -> dict[str, Json]:
        """What you may do now: the limits you were told."""
        return self._get("/api/v1/grant").json_object()

    # -- ending -------------------------------------------------------------------------------------

    def revoke(self) -> None:
        """Give your tokens back (RFC 7009); they open nothing any more. Delete what you read as well."""
        with self._lock:
            if self._ended:
                return
            kind = "refresh_token" if self._tokens.refresh_token else "access_token"
            token = self._tokens.refresh_token or self._tokens.access_token
            form = {"token": token, "token_type_hint": kind}
            endpoint = self._vault.revocation_endpoint
            require_success(self._credentials.post(self._vault, endpoint, form, proof=False))
            self._ended = True

    # -- tokens -------------------------------------------------------------------------------------

    def _get(self, path: str, query: Mapping[str, str] | None = None) -> Answer:
        url = self._vault.resource + path
        if query:
            url = with_query(url, query)
        return require_success(
            self._exchange("GET", url, lambda headers: self._transport.get(url, headers=headers))
        )

    def _write(self, request: Request) -> Answer:
        url = self._vault.resource + request.path
        if request.query:
            url = with_query(url, request.query)
        return self._exchange(
            request.method,
            url,
            lambda headers: self._transport.send(
                request.method, url, headers={**request.headers, **headers}, body=request.body
            ),
        )

    def _exchange(self, method: str, url: str, send: Callable[[Mapping[str, str]], Answer]) -> Answer:
        """Send with a token, and once more with a new one where the first is not taken."""
        token = self._access_token()
        answer = self._presented.send(method, url, token, send)
        if answer.status == 401 and self._tokens.refresh_token is not None:
            answer = self._presented.send(method, url, self._access_token(rejected=token), send)
        if answer.status == 401 and told_by_vault(answer) in _OVER:
            raise self._end(*problem_of(answer)[:2], status=401)
        return answer

    def _access_token(self, *, rejected: str | None = None) -> str:
        """A token to read with. `rejected` is one that just failed: renew it unless somebody else did."""
        with self._lock:
            if self._ended:
                raise RevokedError("the grant has ended", code="invalid_grant")
            tokens = self._tokens
            if rejected is None and self._clock() < tokens.renew_at:
                return tokens.access_token
            if rejected is not None and rejected != tokens.access_token:
                return tokens.access_token
            return self._refresh()

    def _refresh(self) -> str:
        if self._tokens.refresh_token is None:
            raise self._end("invalid_token", "the access token has ended and there is no refresh token")
        answer = self._post_refresh(self._tokens.refresh_token)
        if answer.status in (400, 401):
            code, message, _ = problem_of(answer)
            # invalid_client is the vendor's own mistake: her grant may well be alive. So may it where what
            # answers is not JSON as RFC 6749 §5.2 has it: then it is not the vault.
            if code == "invalid_grant" and answer.media_type == "application/json":
                raise self._end(code, message, status=answer.status)
            raise RefusedError(message, code=code, status=answer.status)
        self._tokens = parse_tokens(
            require_success(answer).json_object(),
            now=self._clock(),
            bound=self._presented.bound,
            previous=self._tokens,
        )
        if self._on_rotated is not None:
            # Inside the lock: two rotations must be stored in the order in which they happened.
            self._on_rotated(self.saved())
        return self._tokens.access_token

    def _post_refresh(self, token: str) -> Answer:
        """Refresh, and once more if the answer was lost: the vault hands a lost answer out again at once."""
        form = {"grant_type": "refresh_token", "refresh_token": token}
        try:
            return self._credentials.post(self._vault, self._vault.token_endpoint, form)
        except UnreachableError:
            return self._credentials.post(self._vault, self._vault.token_endpoint, form)

    def _end(self, code: str, message: str, *, status: int = 0) -> RevokedError:
        with self._lock:
            self._ended = True
        return RevokedError(message, code=code, status=status)
