"""The vendor's reading: token → state check and log entry in one transaction → open rows → splice bytes.

Promises: an answer leaves only after its log entry is durable, and no answer is given whose entry follows
the end of the grant; the path builds no document, runs no schema and asks per page, not per row. Absent,
withheld and not granted look alike. Every page is full; cursors are sealed.
"""

from __future__ import annotations

import base64
import binascii
import logging
from collections.abc import Callable, Container
from dataclasses import replace
from typing import Any

from vrm.clock import Clock, ordinal, rfc3339
from vrm.consent import filters, places
from vrm.consent.access import Access, Opener
from vrm.consent.credentials import bound_to, carried_keys, read_token, split, wrap_cipher
from vrm.consent.disclosures import Disclosures
from vrm.consent.introspection import known
from vrm.consent.pages import NOTHING, Kept, Pages, State
from vrm.consent.policy import Agreement
from vrm.consent.proofs import Proof, jkt_of
from vrm.consent.scopes import ANSWERS
from vrm.consent.selection import Found, PageQuery, Selection
from vrm.consent.tokens import Tokens
from vrm.consent.views import agreement_cipher
from vrm.errors import (
    GrantInactiveError,
    InsufficientScopeError,
    NotInViewError,
    ParameterError,
    ReplayError,
    TamperedError,
    TokenError,
)
from vrm.vault import crypto
from vrm.vault.catalog import CATALOG_BY_NAME
from vrm.vault.crypto import Cipher, Key, Purpose
from vrm.vault.engine import Ask, Engine, Row, Step, T, Transaction, Work, performed
from vrm.vault.envelope import unpack
from vrm.vault.serverkey import ServerKey

_LOG = logging.getLogger("vrm.reader")
_ALL, _SHOWN = (
    f"SELECT seq, item, updated, sealed FROM views WHERE grant_id = ? AND shelf = ? AND seq > ?{kept}"
    " AND updated >= ? ORDER BY seq LIMIT ?"
    for kept in ("", " AND sealed IS NOT NULL")
)
_LIVE = "grant_id = ? AND state = 'live' AND expires > ?"
_USE = f"UPDATE grants SET last_used = ?, reads = reads + 1 WHERE {_LIVE}"


class Reader:
    """Reads views with what tokens carry."""

    def __init__(
        self,
        engine: Engine,
        server_key: ServerKey,
        tokens: Tokens,
        log: Disclosures,
        clock: Clock,
        pages: Pages,
        *,
        constrained: bool = False,
    ) -> None:
        self._pages = pages
        self._constrained = constrained
        self._engine = engine
        self._pepper = server_key.pepper
        self._tokens = tokens
        self._log = log
        self._clock = clock

    def authenticate(self, bearer: str, proof: Proof | None = None) -> Access:
        """Open an access token, for who proves the key that it is bound to; TokenError.

        A try with a token that ended, or without its key, is noted for the customer. The proof is spent in
        the transaction of what the token is used for.
        """
        shared = self._engine.shared()
        access = shared.get(bearer)
        if access is None:
            access = shared[bearer] = self._opened(bearer)
        if proof is not None:
            access = replace(access, proof=proof)
        if access.jkt != jkt_of(proof) or (self._constrained and not access.jkt):
            if access.jkt:
                self.refuse(access, "no key" if proof is None else "another key", "")
            raise TokenError("the access token is bound to another key, or to none")
        return access

    def _opened(self, bearer: str) -> Access:
        raw = read_token("access", bearer)
        if raw is None:
            raise TokenError()
        lookup, wrapping = split("access", raw, self._pepper)
        row = self._engine.one(
            "SELECT t.grant_id, t.expires, t.wrapped, t.parent, g.vault FROM tokens t"
            " JOIN grants g ON g.grant_id = t.grant_id WHERE t.lookup = ? AND t.kind = 'access'",
            (lookup,),
        )
        if row is None:
            raise TokenError()
        grant_id, expires, wrapped, parent, vault = row
        if wrapped is None or self._clock.now() >= expires:
            self._note_refusal(vault, grant_id, "", "token ended" if wrapped is None else "token expired", "")
            raise TokenError()
        try:
            carried = unpack(wrap_cipher(wrapping, "access", lookup, grant_id, expires).unseal(wrapped))
        except TamperedError:
            raise TokenError() from None
        named = carried_keys(carried)
        scopes = tuple(named)
        return Access(
            carried[0].decode(),
            grant_id,
            carried[1].decode(),
            scopes,
            named,
            Key(carried[2]),
            lookup,
            parent,
            bound_to("access", carried),
        )

    def perform(self, reading: Work[T], like: object = None) -> T:
        """Do a reading from its token to its answer, with those of other threads.

        `like`: by the same token.
        """
        return self._engine.perform(reading, like)

    def refuse(self, access: Access, reason: str, what: str) -> None:
        """Note for the customer that a vendor tried something that it may not."""
        self._note_refusal(access.vault, access.grant_id, access.client_id, reason, what)

    def _note_refusal(self, vault: str, grant_id: str, client_id: str, reason: str, what: str) -> None:
        try:
            with self._engine.write(of=vault) as transaction:
                self._log.note_refusal(transaction, vault, grant_id, reason, client_id, what)
        except TamperedError:  # her log's key was altered: refused is refused all the same, and it is found
            _LOG.error("a refusal could not be noted, the log's key was altered: run `vrm check`")

    def agreement(self, access: Access) -> Agreement:
        """What was agreed, by the grant of this token; GrantInactiveError."""
        row = self._engine.one(
            f"SELECT agreement FROM grants WHERE {_LIVE}", (access.grant_id, self._clock.now())
        )
        if row is None:
            raise self._inactive(access)
        return Agreement.decode(agreement_cipher(access.common, access.grant_id).unseal(row[0]))

    def filters(self, access: Access, collection: str) -> frozenset[str]:
        """The parameters by which this token may filter a list: of fields that leave under its scopes."""
        return filters.open_to(collection, self.agreement(access), access.scopes)

    def grant(self, access: Access) -> dict[str, Any]:
        """The told limits of this token, as introspection has them. GrantInactiveError, ReplayError."""
        agreement = self.agreement(access)
        scopes, parts = known(agreement, access.scopes)
        self.used(access)
        return {
            "grant_id": agreement.public_id or access.grant_id,
            "scope": " ".join(scopes),
            "authorization_details": parts,
            "created": rfc3339(agreement.created),
            "expires": rfc3339(agreement.expires),
        }

    def used(self, access: Access) -> None:
        """A use that reads no row: the copy of a lost answer goes with the first one. ReplayError."""
        if access.parent is not None:
            with self._engine.write(of=access.vault) as transaction:
                self._used(transaction, access)

    def reading_list(self, access: Access, collection: str, asked: PageQuery) -> Work[bytes]:
        """A page as one JSON object: `items`, and the cursor of the `next` page, null at the end.

        What `asked` wants is by what `filters` says is open. One that was asked for before is not made anew
        where nothing changed. Raises InsufficientScopeError, ParameterError (cursor), GrantInactiveError.
        """
        selection = self._selection(access, collection, asked)
        if self._pages.closed:
            return list_of(*(yield from self._page(access, selection)))
        name = selection.name()
        kept = self._pages.look(name)
        if kept is None:
            return list_of(*(yield from self._page(access, selection)))
        state, found = yield from self._settled_page(access, selection, kept)
        cipher = selection.opener.pages
        if found is None:
            return cipher.unseal(kept.sealed, name)
        items, last = found
        body = list_of(items, self._following(access, selection, last))
        self._pages.keep(name, Kept(state, len(items), cipher.seal(body, name)))
        return body

    def page(self, access: Access, collection: str, **asked: Any) -> tuple[list[bytes], str | None]:
        """Such a page, made anew, as its rows and the cursor of the next one; `asked` as in PageQuery."""
        return self.perform(self._page(access, self._selection(access, collection, PageQuery(**asked))))

    def _selection(self, access: Access, collection: str, asked: PageQuery) -> Selection:
        opener, after = self._opener(access, collection), 0
        if asked.cursor is not None:
            after = self._open_cursor(access, collection, asked.cursor, asked.wanted.bound())
        return Selection(self._engine, access, opener, asked, after)

    def _page(self, access: Access, asked: Selection) -> Work[tuple[list[bytes], str | None]]:
        """Rows that need not be judged are opened when they are noted and nobody waits for them."""
        items: list[bytes] = []
        after = asked.after
        if asked.wanted:
            _, found = yield from self._settled_page(access, asked, NOTHING)
            items, last = found or (items, None)
            return items, self._following(access, asked, last)
        while True:
            count = asked.limit - len(items) + 1
            rows = yield from self._take(access, asked.opener, count, after, asked.since)
            shown = rows[: count - 1]
            items += asked.opener.rows(shown)
            if len(rows) == len(shown):
                return items, None
            after = shown[-1][0]
            if len(items) == asked.limit:
                return items, self._following(access, asked, after)

    def _settled_page(self, access: Access, asked: Selection, kept: Kept) -> Work[tuple[State, Found | None]]:
        """A page and the state that it is of; None where it is what is kept.

        Rows are judged before the write lock is taken, and again if any changed since.
        """
        state = self._state(access)
        found = None if kept.state == state else asked.page(state)

        def settle(transaction: Transaction, used: Any) -> tuple[State, Found | None]:
            self._enter(transaction, access, used)
            now = self._state(access)
            shown = found if now == state else asked.page(now)
            self._note_read(transaction, access, asked.opener, kept.rows if shown is None else len(shown[0]))
            return now, shown

        return (yield from self._settled(access, settle))

    def _following(self, access: Access, asked: Selection, last: int | None) -> str | None:
        return None if last is None else self._cursor(access, asked.opener.stream, last, asked.wanted.bound())

    def _state(self, access: Access) -> State:
        """What is another one after every change of what this grant shows."""
        row = self._engine.one(
            "SELECT seq, edition, agreement FROM grants WHERE grant_id = ?", (access.grant_id,)
        )
        return State(*row) if row else State(0, 0, b"")

    def changes(
        self, access: Access, collection: str, *, limit: int = 100, cursor: str | None = None
    ) -> tuple[list[bytes], str, bool]:
        """What changed since `cursor`, oldest first: (JSON bytes, cursor to go on from, more to come).

        Without a cursor, all rows in view. A row that left, for whatever reason, is `{"id", "updated_at",
        "gone": true}`, and only where the vendor had it in view. Raises InsufficientScopeError,
        ParameterError (cursor), GrantInactiveError.
        """
        opener = self._opener(access, collection)
        after = 0 if cursor is None else self._open_cursor(access, collection, cursor)
        taking = self._take(access, opener, limit + 1, after, 0, gone=cursor is not None)
        rows = self._engine.perform(taking)
        items = [opener.row_or_gone(*row) for row in rows[:limit]]
        last = rows[:limit][-1][0] if rows else after
        return items, self._cursor(access, collection, last), len(rows) > limit

    def reading_one(self, access: Access, collection: str, record: str) -> Work[tuple[bytes, str]]:
        """(JSON bytes, ETag) of one record; NotInViewError for whatever is not there to see."""
        opener = self._opener(access, collection)
        try:
            item = bytes.fromhex(record) if len(record) == 32 else b""
        except ValueError:
            item = b""
        found = yield from self._take_one(access, opener, item)
        row = opener.row(*found) if found else None
        if row is None or found is None:
            raise NotInViewError()
        etag = base64.urlsafe_b64encode(
            crypto.digest(row + opener.ciphers.sealed_parts(found[3]))[:15]
        ).decode()
        return row, f'"{etag}"'

    one = performed(reading_one)

    def answer(self, access: Access, question: str) -> bytes:
        """A computed answer as JSON bytes (a list); NotInViewError for an unknown question."""
        stream = f"answers.{question}"
        opener = self._opener(access, stream, ANSWERS)
        rows = self._engine.perform(self._take(access, opener, 1 << 31, 0, 0))
        opened = (opener.bare(seq, item, sealed) for seq, item, _, sealed in rows)
        return b"[" + b",".join(text for text in opened if text is not None) + b"]"

    def _opener(self, access: Access, stream: str, known: Container[str] = CATALOG_BY_NAME.keys()) -> Opener:
        if stream not in known:  # an answer is no collection: its rows have no ids and times for vendors
            raise NotInViewError()
        found = access.openers.get(stream)
        if found is None:
            scopes = access.stream_scopes(stream)
            if not scopes:
                self.refuse(access, "not granted", stream)
                raise InsufficientScopeError()
            found = access.openers[stream] = Opener(access, stream, scopes, ordinal(self._clock))
        return found

    def _use(self, access: Access) -> Ask:
        """What asks whether the grant lives, and counts the reading."""
        now = self._clock.now()
        return _USE, (now, access.grant_id, now)

    def _enter(self, transaction: Transaction, access: Access, cursor: Any) -> None:
        """The state check, by what `_use` found, and the spending of a proof.

        Part of the transaction that writes the log entry.
        """
        if cursor.rowcount != 1:
            raise GrantInactiveError()
        self._used(transaction, access)

    def _used(self, transaction: Transaction, access: Access) -> None:
        if access.proof is not None:
            access.proof.spend(transaction)
        if access.parent is not None:
            self._tokens.first_use(transaction, access.lookup, access.parent)

    def _inactive(self, access: Access) -> GrantInactiveError:
        self.refuse(access, "grant ended", "")
        return GrantInactiveError()

    def _take_one(self, access: Access, opener: Opener, item: bytes) -> Work[Row | None]:
        place = (access.grant_id, item, opener.shelf)

        def take(transaction: Transaction, used: Any, rows: Any) -> Row | None:
            self._enter(transaction, access, used)
            found = rows.fetchone() or places.newest(self._engine, *place)
            shown = found if found and found[-1] is not None else None
            self._note_read(transaction, access, opener, 1 if shown else 0)
            return shown

        return self._settled(access, take, (places.NOTED, place))

    def _take(
        self, access: Access, opener: Opener, count: int, after: int, since: int, *, gone: bool = False
    ) -> Work[list[Row]]:
        place = (access.grant_id, opener.shelf, after, since, count)

        def take(transaction: Transaction, used: Any, found: Any) -> list[Row]:
            self._enter(transaction, access, used)
            rows: list[Row] = found.fetchall()
            self._note_read(transaction, access, opener, min(len(rows), count - 1))
            return rows

        return self._settled(access, take, (_ALL if gone else _SHOWN, place))

    def _settled(self, access: Access, act: Callable[..., T], *asks: Ask) -> Work[T]:
        """What a reading does in its one transaction, given what `_use` and `asks` find.

        A refusal is noted for the customer.
        """
        try:
            result: T = yield Step(act, access.vault, lambda: (self._use(access), *asks))
        except (GrantInactiveError, ReplayError) as error:
            self.refuse(access, "proof used" if isinstance(error, ReplayError) else "grant ended", "")
            raise
        return result

    def _note_read(self, transaction: Transaction, access: Access, opener: Opener, count: int) -> None:
        self._log.note(
            transaction,
            access.vault,
            "read",
            grant_id=access.grant_id,
            client_id=access.client_id,
            stream=opener.stream,
            scopes=opener.scopes,
            count=count,
        )

    def _cursor_cipher(self, access: Access, stream: str) -> Cipher:
        return Cipher(
            crypto.derive(access.common, Purpose.CURSOR, stream), Purpose.CURSOR, access.grant_id, stream
        )

    def _cursor(self, access: Access, stream: str, seq: int, *bound: bytes) -> str:
        sealed = self._cursor_cipher(access, stream).seal(seq.to_bytes(8, "big"), *bound)
        return base64.urlsafe_b64encode(sealed).decode()

    def _open_cursor(self, access: Access, stream: str, cursor: str, *bound: bytes) -> int:
        """The position in a cursor that was given for this grant and stream.

        `bound`: the filter of a list, which may be empty; of the feed of changes it is nothing at all, so
        neither takes a cursor of the other.
        """
        try:
            sealed = base64.urlsafe_b64decode(cursor.encode("ascii"))
            return int.from_bytes(self._cursor_cipher(access, stream).unseal(sealed, *bound), "big")
        except (binascii.Error, ValueError, TamperedError):
            raise ParameterError(fields={"cursor": ["is not one of this list"]}) from None


def list_of(rows: list[bytes], following: str | None) -> bytes:
    """The body of one page."""
    end = b'"%b"' % following.encode() if following else b"null"
    return b'{"items":[%b],"next":%b}' % (b",".join(rows), end)
