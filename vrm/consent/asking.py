"""What vendors ask, as it waits for the customer: sealed, few at a time, opened by who holds a handle.

A request is sealed under a key of its own 32 bytes. Three texts are made of them, and each is good for one
way only: the *handle* in the browser that came from the vendor; the *reference* that a vendor pushed its
request for (RFC 9126), to bring that browser within 90 seconds; the *link* of a request whose answer the
vendor polls for, to open on any device within ten minutes. A handle of a pushed request is good once its
browser came; then the request waits as long as any other. Anybody may submit in any vendor's name, so only so
many wait at once; what a vendor of the host's proved to be its own has room that nobody else fills.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vrm.clock import Clock
from vrm.consent.credentials import read_token, write_token
from vrm.consent.polling import Poll, Polls
from vrm.consent.proofs import Proof
from vrm.consent.scopes import Part
from vrm.consent.vendors import Vendor, Vendors
from vrm.consent.views import OpenGrant
from vrm.errors import BusyError, RequestNotFoundError, TamperedError, VendorNotFoundError
from vrm.vault import crypto
from vrm.vault.crypto import Cipher, Key, Purpose
from vrm.vault.engine import Engine, Transaction
from vrm.vault.serverkey import ServerKey

TABLES = (
    "CREATE TABLE requests (lookup BLOB PRIMARY KEY, created INTEGER NOT NULL, expires INTEGER NOT NULL,"
    " spent INTEGER NOT NULL, sealed BLOB NOT NULL, vendor_tag BLOB NOT NULL)",
    "CREATE INDEX requests_expires ON requests (expires)",
    "CREATE INDEX requests_waiting ON requests (spent, vendor_tag, expires)",
)
WAITING_OF_ONE = 1000  # requests of one vendor that wait at once; as many that it proved to be its own
WAITING_OF_ALL = 5000  # of all vendors: a request may have 16 KiB
KEPT_FREE = 1000  # of these, for requests that were proved
REFERENCE_LIFE = 90  # seconds for bringing the browser
LINK_LIFE = 600  # seconds for opening the link: who asked is at the vendor's page now


@dataclass(frozen=True, slots=True)
class StoredRequest:
    """What a vendor asks for, as it waits. `handle` opens it and is shown to nobody but the browser."""

    handle: str = field(repr=False)
    lookup: bytes = field(repr=False)
    number: int
    vendor: Vendor
    parts: tuple[Part, ...]
    redirect_uri: str
    state: str
    code_challenge: str = field(repr=False)
    created: int
    expires: int
    extras: Mapping[str, Any] = field(default_factory=dict)  # what OAuth's extensions said beside
    by_link: bool = False  # opened by its link: who sent that link is not known
    poll: Poll | None = None  # where the answer goes for which the vendor polls
    earlier: OpenGrant | None = field(default=None, repr=False)  # the grant that it wants to change


@dataclass(frozen=True, slots=True)
class PushedRequest:
    """What a vendor gets for a request that it pushed; all but the reference only where it polls."""

    reference: str = field(repr=False)
    number: int
    ticket: str = field(default="", repr=False)
    link: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class _Row:
    """A request as it stands in the table, opened."""

    lookup: bytes
    key: Key
    expires: int
    values: list[Any]

    @property
    def pushed(self) -> bool:
        return self.values[8] is not None

    @property
    def arrived(self) -> bool:
        """Whether the customer's browser has come for it."""
        return not self.pushed or bool(self.values[8][0])

    @property
    def poll(self) -> Poll | None:
        told = self.values[8][1] if self.pushed else None
        return None if told is None else Poll(bytes.fromhex(told[0]), bytes.fromhex(told[1]))


class Asking:
    """The requests of all vendors."""

    def __init__(
        self,
        engine: Engine,
        server_key: ServerKey,
        vendors: Vendors,
        polls: Polls,
        clock: Clock,
        life: int,
    ) -> None:
        self._engine = engine
        self._server_key = server_key
        self._vendors = vendors
        self._polls = polls
        self._clock = clock
        self._life = life

    def submit(
        self,
        vendor: Vendor,
        parts: list[Part],
        *,
        redirect_uri: str,
        state: str,
        code_challenge: str,
        extras: Mapping[str, Any] | None = None,
    ) -> StoredRequest:
        """Store a checked request under a new handle; BusyError where too many wait already.

        `extras`, sealed with it: `jkt` (the key that tokens are bound to), `resource` (RFC 8707), `action`
        and `grant_id` (what becomes of an earlier grant).
        """
        said = [parts, redirect_uri, state, code_challenge]
        with self._engine.write() as transaction:
            raw, _ = self._insert(transaction, vendor, said, extras, self._life, None)
        return self.open(write_token("request", raw))

    def push(
        self,
        vendor: Vendor,
        parts: list[Part],
        *,
        redirect_uri: str,
        state: str,
        code_challenge: str,
        extras: Mapping[str, Any] | None = None,
        poll: bool = False,
        proof: Proof | None = None,
    ) -> PushedRequest:
        """Store a request that its vendor pushed; with `poll` it gets a ticket, and a link to show her.

        A proof that came along is spent; ReplayError where it was before.
        """
        said = [parts, redirect_uri, state, code_challenge]
        life = LINK_LIFE if poll else REFERENCE_LIFE
        ticket, told = "", None
        with self._engine.write() as transaction:
            if proof is not None:
                proof.spend(transaction)
            if poll:
                jkt = str((extras or {}).get("jkt", ""))
                ends = self._clock.now() + life
                ticket, made = self._polls.open(transaction, vendor, code_challenge, jkt, ends)
                told = [made.lookup.hex(), made.public.hex()]
            raw, number = self._insert(transaction, vendor, said, extras, life, [False, told])
        link = write_token("link", raw) if poll else ""
        return PushedRequest(write_token("reference", raw), number, ticket, link)

    def _insert(
        self,
        transaction: Transaction,
        vendor: Vendor,
        said: list[Any],
        extras: Mapping[str, Any] | None,
        life: int,
        pushed: list[Any] | None,
    ) -> tuple[bytes, int]:
        raw, now = crypto.random_bytes(32), self._clock.now()
        lookup, key = self._split(raw)
        number = 1000 + secrets.randbelow(9000)
        values = [number, vendor.client_id, *said, now, dict(extras or {}), pushed]
        proved = pushed is not None and vendor.verified and not vendor.public
        tag = self._server_key.vendor_tag("proved" if proved else "", vendor.client_id)
        self._require_room(tag, now, WAITING_OF_ALL - (0 if proved else KEPT_FREE))
        transaction.execute(
            "INSERT INTO requests (lookup, created, expires, spent, sealed, vendor_tag)"
            " VALUES (?, ?, ?, 0, ?, ?)",
            (lookup, now, now + life, self._seal(key, lookup, now + life, values), tag),
        )
        return raw, number

    def _require_room(self, tag: bytes, now: int, most: int) -> None:
        waiting = "SELECT count(*) FROM requests WHERE spent = 0 AND expires > ?"
        [of_all] = self._engine.one(waiting, (now,)) or (0,)
        [of_one] = self._engine.one(waiting + " AND vendor_tag = ?", (now, tag)) or (0,)
        if of_all >= most or of_one >= WAITING_OF_ONE:
            raise BusyError()

    def open(self, handle: str) -> StoredRequest:
        """The waiting request by its handle or its link; RequestNotFoundError for an unknown or ended one."""
        raw = read_token("request", handle)
        by_link = raw is None
        row = self._row(read_token("link", handle) if by_link else raw)
        if (by_link and row.poll is None) or not (by_link or row.arrived):
            raise RequestNotFoundError()
        return self._shown(handle, row, by_link=by_link)

    def bring(self, reference: str, client_id: str) -> StoredRequest:
        """The browser came with a pushed request's reference (RFC 9126 section 4), for this vendor.

        RequestNotFoundError for one that is unknown, another vendor's, decided, or older than 90 seconds:
        all alike.
        """
        raw = read_token("reference", reference)
        row = self._row(raw)
        late = self._clock.now() >= row.values[6] + REFERENCE_LIFE
        if raw is None or late or not row.pushed or row.values[1] != client_id:
            raise RequestNotFoundError()
        self._arrive(row)
        return self.open(write_token("request", raw))

    def look(self, link: str) -> StoredRequest:
        """The customer, in her open vault, looks at a request by its link: it now waits as others do."""
        found = self.open(link)
        if found.by_link:
            self._arrive(self._row(read_token("link", link)))
            found = self.open(link)
        return found

    def spend(self, transaction: Transaction, request: StoredRequest) -> None:
        """Decide it: of all that try at once one does, the others meet RequestNotFoundError."""
        cursor = transaction.execute(
            "UPDATE requests SET spent = 1 WHERE lookup = ? AND spent = 0 AND expires > ?",
            (request.lookup, self._clock.now()),
        )
        if cursor.rowcount != 1:
            raise RequestNotFoundError()

    def _arrive(self, row: _Row) -> None:
        """From here on it waits as long as others; nothing where another look was faster."""
        if row.arrived:
            return
        expires = self._clock.now() + self._life
        values = [*row.values[:8], [True, row.values[8][1]]]
        with self._engine.write() as transaction:
            cursor = transaction.execute(
                "UPDATE requests SET expires = ?, sealed = ? WHERE lookup = ? AND expires = ? AND spent = 0",
                (expires, self._seal(row.key, row.lookup, expires, values), row.lookup, row.expires),
            )
            if cursor.rowcount == 1 and row.poll is not None:
                self._polls.extend(transaction, row.poll, expires)

    def _row(self, raw: bytes | None) -> _Row:
        if raw is None:
            raise RequestNotFoundError()
        lookup, key = self._split(raw)
        row = self._engine.one("SELECT expires, spent, sealed FROM requests WHERE lookup = ?", (lookup,))
        if row is None or row[1] or self._clock.now() >= row[0]:
            raise RequestNotFoundError()
        try:
            values = json.loads(self._cipher(key, lookup, row[0]).unseal(row[2]))
        except TamperedError:
            raise RequestNotFoundError() from None
        unsaid: list[Any] = [{}, None][len(values) - 7 :]  # what one of 0.1.0 does not say
        return _Row(lookup, key, row[0], values + unsaid)

    def _shown(self, handle: str, row: _Row, *, by_link: bool) -> StoredRequest:
        number, client_id, parts, redirect_uri, state, challenge, created, extras, _ = row.values
        try:
            vendor = self._vendors.get(client_id)
        except VendorNotFoundError:
            raise RequestNotFoundError() from None
        if vendor.blocked:
            raise RequestNotFoundError()
        return StoredRequest(
            handle,
            row.lookup,
            number,
            vendor,
            tuple(parts),
            redirect_uri,
            state,
            challenge,
            created,
            row.expires,
            extras,
            by_link,
            row.poll,
        )

    def _split(self, raw: bytes) -> tuple[bytes, Key]:
        return crypto.split_secret(raw, self._server_key.pepper, Purpose.REQUEST)

    def _seal(self, key: Key, lookup: bytes, expires: int, values: list[Any]) -> bytes:
        return self._cipher(key, lookup, expires).seal(json.dumps(values).encode())

    @staticmethod
    def _cipher(key: Key, lookup: bytes, expires: int) -> Cipher:
        return Cipher(key, Purpose.REQUEST_BODY, lookup, expires)
