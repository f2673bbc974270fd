"""Answers that a vendor polls for: the customer decides later, perhaps on another device.

A vendor that pushes such a request gets a *ticket*. What is approved is sealed to a key pair that only the
ticket makes, under what only the PKCE verifier gives: without both nobody opens it, and the server, which
has neither, could seal it while the vendor was away. Nothing is told to who does not hold the ticket, is
another vendor, has another verifier or another key. Tokens leave once; of many polls at once one gets them.
Refuses to answer faster than it said (RFC 8628 section 3.5): every poll that comes too soon makes it slower.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from vrm.clock import Clock
from vrm.consent.credentials import challenge_of, read_token, write_token
from vrm.consent.proofs import Proof, jkt_of
from vrm.consent.scopes import Part
from vrm.consent.tokens import Tokens, TokenSet
from vrm.consent.vendors import Vendor
from vrm.consent.views import GrantKeys
from vrm.errors import CodeError, TamperedError
from vrm.vault import crypto
from vrm.vault.crypto import Cipher, Key, Purpose
from vrm.vault.engine import Engine, Transaction
from vrm.vault.pacing import INTERVAL, slowed
from vrm.vault.serverkey import ServerKey

TABLES = (
    "CREATE TABLE polls (lookup BLOB PRIMARY KEY, expires INTEGER NOT NULL, state TEXT NOT NULL,"
    " polled INTEGER NOT NULL, pace INTEGER NOT NULL, sealed BLOB NOT NULL)",
    "CREATE INDEX polls_expires ON polls (expires)",
)
WAITING, ANSWERED, DECLINED, REDIRECTED = "waiting", "answered", "declined", "redirected"
SLOW, EXPIRED = "slow", "expired"  # outcomes beside the states
KIND = "ticket"  # of the row in `tokens` that holds an answer
PICK_UP = 600  # seconds for which an answer waits to be fetched
FORGET = 3600  # seconds after its end for which a ticket is told how its request ended


@dataclass(frozen=True, slots=True)
class Poll:
    """Where an answer goes: the ticket's lookup id, and the public key that it makes."""

    lookup: bytes
    public: bytes


@dataclass(frozen=True, slots=True)
class Polled:
    """How it stands: a state, SLOW or EXPIRED; `tokens` where it is ANSWERED."""

    outcome: str
    tokens: TokenSet | None = None


class Polls:
    """The tickets of all vendors."""

    def __init__(self, engine: Engine, server_key: ServerKey, tokens: Tokens, clock: Clock) -> None:
        self._engine = engine
        self._pepper = server_key.pepper
        self._tokens = tokens
        self._clock = clock

    # ---- the request's side, each in the transaction of what happens to the request ------------------

    def open(
        self, transaction: Transaction, vendor: Vendor, challenge: str, jkt: str, expires: int
    ) -> tuple[str, Poll]:
        """A new ticket, and where its answer will go."""
        raw = crypto.random_bytes(32)
        lookup, key = self._split(raw)
        sealed = self._cipher(key, lookup).seal(json.dumps([vendor.client_id, challenge, jkt]).encode())
        transaction.execute(
            "INSERT INTO polls (lookup, expires, state, polled, pace, sealed) VALUES (?, ?, ?, 0, ?, ?)",
            (lookup, expires, WAITING, INTERVAL, sealed),
        )
        return write_token(KIND, raw), Poll(lookup, crypto.public_of(_private(key)))

    def extend(self, transaction: Transaction, poll: Poll, expires: int) -> None:
        """The request waits longer."""
        transaction.execute("UPDATE polls SET expires = ? WHERE lookup = ?", (expires, poll.lookup))

    def settle(self, transaction: Transaction, poll: Poll, state: str) -> None:
        """The request was decided, and this is what its vendor is told."""
        transaction.execute("UPDATE polls SET state = ? WHERE lookup = ?", (state, poll.lookup))

    def answer(
        self,
        transaction: Transaction,
        poll: Poll,
        keys: GrantKeys,
        challenge: str,
    ) -> None:
        """Seal a new grant's key to the ticket."""
        expires = self._clock.now() + PICK_UP
        place = (poll.lookup, keys.grant_id, expires, challenge)
        sealed = crypto.seal_to(poll.public, keys.key.reveal(), Purpose.TICKET_ANSWER, *place)
        transaction.execute(
            "INSERT INTO tokens (lookup, kind, grant_id, expires, wrapped) VALUES (?, ?, ?, ?, ?)",
            (poll.lookup, KIND, keys.grant_id, expires, sealed),
        )
        self.settle(transaction, poll, ANSWERED)

    # ---- the vendor's side ---------------------------------------------------------------------------

    def poll(
        self,
        ticket: str,
        vendor: Vendor,
        verifier: str,
        *,
        proof: Proof | None = None,
        scope: str | None = None,
        resource: str | None = None,
        details: Sequence[Part] | None = None,
    ) -> Polled:
        """How the request stands, and its tokens where it was approved; CodeError tells nothing about why.

        `proof`, `scope`, `resource` and `details` as in `Tokens.redeem`.
        """
        raw = read_token(KIND, ticket)
        if raw is None:
            raise CodeError()
        lookup, key = self._split(raw)
        challenge = challenge_of(verifier)
        with self._engine.write() as transaction:
            state = self._state(transaction, lookup, key, (vendor.client_id, challenge, jkt_of(proof)))
            if state != ANSWERED:
                return Polled(state)
            keys = self._redeem(transaction, lookup, key, challenge)
            if keys is None:
                return Polled(EXPIRED)
            tokens = self._tokens.first_pair(
                transaction, keys, vendor, proof, scope=scope, resource=resource, details=details
            )
        self._engine.purge()
        return Polled(ANSWERED, tokens)

    def _state(self, transaction: Transaction, lookup: bytes, key: Key, claims: tuple[str, str, str]) -> str:
        sql = "SELECT expires, state, polled, pace, sealed FROM polls WHERE lookup = ?"
        row = self._engine.one(sql, (lookup,))
        if row is None:
            raise CodeError()
        expires, state, polled, pace, sealed = row
        self._require_same(self._cipher(key, lookup), sealed, *claims)
        now = self._clock.now()
        if state != WAITING:
            return str(state)
        if now >= expires:
            return EXPIRED
        slow, pace = slowed(now, polled, pace)
        transaction.execute("UPDATE polls SET polled = ?, pace = ? WHERE lookup = ?", (now, pace, lookup))
        return SLOW if slow else WAITING

    @staticmethod
    def _require_same(cipher: Cipher, sealed: bytes, client_id: str, challenge: str, jkt: str) -> None:
        """The vendor, verifier and key of the request; a key only where the request named one."""
        try:
            client, asked, bound = json.loads(cipher.unseal(sealed))
        except TamperedError:
            raise CodeError() from None
        same = crypto.equal(json.dumps([client, asked]).encode(), json.dumps([client_id, challenge]).encode())
        if not same or (bound and bound != jkt):
            raise CodeError()

    def _redeem(self, transaction: Transaction, lookup: bytes, key: Key, challenge: str) -> GrantKeys | None:
        """The grant's keys, once; None where they waited too long. CodeError for fetched, or ended, ones."""
        now = self._clock.now()
        row = self._engine.one(
            "SELECT grant_id, expires, wrapped, spent FROM tokens WHERE lookup = ? AND kind = ?",
            (lookup, KIND),
        )
        if row is None or row[3] is not None:
            raise CodeError()
        grant_id, expires, wrapped, _ = row
        cursor = transaction.execute(
            "UPDATE tokens SET spent = ?, wrapped = NULL WHERE lookup = ? AND spent IS NULL"
            " AND wrapped IS NOT NULL AND expires > ?",
            (now, lookup, now),
        )
        if cursor.rowcount != 1:
            return None
        place = (lookup, grant_id, expires, challenge)
        try:
            opened = crypto.open_sealed(_private(key), wrapped, Purpose.TICKET_ANSWER, *place)
        except TamperedError:
            raise CodeError() from None
        return GrantKeys(grant_id, Key(opened))

    def sweep(self) -> None:
        """Forget the tickets of requests that ended long ago."""
        with self._engine.write() as transaction:
            transaction.execute("DELETE FROM polls WHERE expires <= ?", (self._clock.now() - FORGET,))

    def _split(self, raw: bytes) -> tuple[bytes, Key]:
        return crypto.split_secret(raw, self._pepper, Purpose.TICKET)

    @staticmethod
    def _cipher(key: Key, lookup: bytes) -> Cipher:
        return Cipher(key, Purpose.TICKET_BODY, lookup)


def _private(key: Key) -> Key:
    """The X25519 key that only the ticket makes."""
    return crypto.derive(key, Purpose.TICKET_PAIR)
