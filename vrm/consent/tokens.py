"""Codes, access tokens and refresh tokens: each carries the keys that it opens.

The server keeps a lookup id and a wrap, both derived from the token and salted by the host's pepper; who
has the tables alone opens nothing. Promises: a code and a refresh token are spent by one conditional
update in the transaction that inserts what follows from them, so of many tries at once exactly one wins;
reuse commits the end of the grant before it is answered; a lost refresh answer can be fetched again for
a short while by the same client. The wrap of what is spent is deleted with it, and leaves the disk with the
next sweep, as the copy of a lost answer does, which opens the same (docs/adr/0033).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from vrm.clock import Clock
from vrm.consent import endings, narrowing
from vrm.consent.credentials import (
    bound_to,
    challenge_of,
    read_token,
    split,
    with_keys,
    without_keys,
    wrap_cipher,
    write_token,
    written,
)
from vrm.consent.disclosures import Disclosures
from vrm.consent.endings import ELSEWHERE
from vrm.consent.policy import HERE, Agreement
from vrm.consent.proofs import Proof
from vrm.consent.scopes import Part
from vrm.consent.vendors import Vendor
from vrm.consent.views import GrantKeys, agreement_cipher
from vrm.errors import CodeError, ProofError, TamperedError, TargetError
from vrm.vault import crypto
from vrm.vault.crypto import Cipher, Key, Purpose
from vrm.vault.engine import Engine, Transaction
from vrm.vault.envelope import pack, unpack
from vrm.vault.serverkey import ServerKey

TABLES = (
    "CREATE TABLE tokens (lookup BLOB PRIMARY KEY, kind TEXT NOT NULL, grant_id TEXT NOT NULL,"
    " expires INTEGER NOT NULL, wrapped BLOB, spent INTEGER, replay BLOB, parent BLOB)",
    "CREATE INDEX tokens_grant ON tokens (grant_id)",
    "CREATE INDEX tokens_parent ON tokens (parent) WHERE parent IS NOT NULL",
    "CREATE INDEX tokens_expires ON tokens (expires)",
)
CODE_LIFE = 60  # seconds
REFRESH_IDLE = 90 * 86_400  # seconds


@dataclass(frozen=True, slots=True, repr=False)
class TokenSet:
    """What a vendor gets; `expires_in` in seconds, `audience` as in `Agreement.resources`."""

    access_token: str
    refresh_token: str
    expires_in: int
    scope: str
    authorization_details: list[Part]
    grant_id: str
    audience: str = HERE
    jkt: str = ""  # thumbprint of the key that the access token is bound to; empty: a bearer token


@dataclass(frozen=True, slots=True, repr=False)
class _For:
    """For whom, and how far, tokens are made."""

    keys: GrantKeys
    vendor: Vendor
    scope: str | None  # None: all that was granted
    resource: str | None
    details: Sequence[Part] | None
    jkt: str


@dataclass(frozen=True, slots=True, repr=False)
class _Minted:
    """A token that exists only in memory until its row is inserted."""

    text: str
    lookup: bytes
    row: tuple[Any, ...]


class Tokens:
    """Mints, redeems, refreshes and ends tokens."""

    def __init__(
        self,
        engine: Engine,
        server_key: ServerKey,
        log: Disclosures,
        clock: Clock,
        *,
        access_life: int = 900,
        grace: int = 20,
        constrained: bool = False,
    ) -> None:
        """`constrained`: only who proves a key gets tokens, and only public vendors' are replaced."""
        self._engine = engine
        self._constrained = constrained
        self._pepper = server_key.pepper
        self._log = log
        self._clock = clock
        self._access_life = access_life
        self._grace = grace

    def issue_code(
        self,
        transaction: Transaction,
        keys: GrantKeys,
        vendor: Vendor,
        redirect_uri: str,
        challenge: str,
        jkt: str = "",
    ) -> str:
        """A code for a grant that was inserted in this transaction; with `jkt`, for who proves that key."""
        carried = pack(keys.key.reveal(), vendor.client_id, redirect_uri, challenge, jkt)
        code = self._mint("code", keys.grant_id, self._clock.now() + CODE_LIFE, carried)
        self._insert(transaction, code)
        return code.text

    def redeem(
        self,
        code: str,
        vendor: Vendor,
        redirect_uri: str,
        verifier: str,
        *,
        resource: str | None = None,
        details: Sequence[Part] | None = None,
        proof: Proof | None = None,
    ) -> TokenSet:
        """Exchange a code (RFC 6749 §4.1.3, RFC 7636 §4.6). CodeError tells nothing about why.

        `resource`: which of those granted the access token is for (RFC 8707 §2.2); TargetError for others.
        `details`: the granted parts, or less, that it is for (RFC 9396 §6); DetailsError for more.
        `proof`: of the key that the tokens are bound to; ProofError where one was due or was used before.

        A code that comes a second time ends the grant (RFC 9700 §4.5): either the first or the second
        bearer is not the vendor.
        """
        self._require_proof(vendor, proof)
        raw = read_token("code", code)
        row, wrapping = self._find("code", raw)
        lookup, grant_id, spent = row[0], row[1], row[4]
        if spent is not None:
            self._end_after_reuse(grant_id, "code-reused", spent)
            raise CodeError()
        key, client, uri, challenge, *bound = self._carried("code", row, wrapping)
        good = (
            crypto.equal(client, vendor.client_id.encode())
            and crypto.equal(uri, redirect_uri.encode("utf-8", "replace"))
            and crypto.equal(challenge, challenge_of(verifier).encode())
            and (not any(bound) or crypto.equal(bound[0], jkt_of(proof).encode()))
        )
        if not good:
            raise CodeError()
        keys = GrantKeys(grant_id, Key(key))
        with self._engine.write() as transaction:
            self._spend(transaction, lookup)
            return self.first_pair(transaction, keys, vendor, resource=resource, details=details, proof=proof)

    def first_pair(
        self,
        transaction: Transaction,
        keys: GrantKeys,
        vendor: Vendor,
        *,
        resource: str | None = None,
        details: Sequence[Part] | None = None,
        proof: Proof | None = None,
    ) -> TokenSet:
        """The first tokens of a grant, for the vendor that just showed what carries its key."""
        self._require_proof(vendor, proof)
        _spend_proof(proof, transaction)
        wanted = _For(keys, vendor, None, resource, details, jkt_of(proof))
        answer = self._new_tokens(transaction, wanted, None)
        vault = self._vault_of(keys.grant_id)
        self._log.note(transaction, vault, "connected", grant_id=keys.grant_id, **_named(vendor))
        return answer

    def refresh(
        self,
        refresh_token: str,
        vendor: Vendor,
        scope: str | None = None,
        *,
        resource: str | None = None,
        details: Sequence[Part] | None = None,
        proof: Proof | None = None,
    ) -> TokenSet:
        """A new pair for a refresh token; CodeError, or ScopeError and TargetError for more than was granted.

        The same client may fetch a lost answer again, by the same key, while `grace` lasts and the new pair
        is unused; any other use of a spent token ends the grant. `proof` as in `redeem`.
        """
        self._require_proof(vendor, proof)
        raw = read_token("refresh", refresh_token)
        row, wrapping = self._find("refresh", raw)
        if row[4] is None:
            wanted = (scope, resource, details)
            answer = self._rotate(row, wrapping, vendor, *wanted, proof=proof, text=refresh_token)
            if answer is not None:
                return answer
            row, wrapping = self._find("refresh", raw)  # somebody else was faster: this is now a retry
            if row[4] is None:  # or nobody: it ran out since the first look, which is no reuse
                raise CodeError()
        return self._again(row, wrapping, vendor, resource, proof)

    def _rotate(
        self,
        row: tuple[Any, ...],
        wrapping: Key,
        vendor: Vendor,
        scope: str | None,
        resource: str | None = None,
        details: Sequence[Part] | None = None,
        *,
        proof: Proof | None = None,
        text: str = "",
    ) -> TokenSet | None:
        """What follows the refresh token `text`; None where somebody else was faster, or it has ended."""
        carried = self._refreshing(row, wrapping, vendor, proof)
        keys = GrantKeys(row[1], Key(carried[0]))
        wanted = _For(keys, vendor, scope, resource, details, jkt_of(proof))
        with self._engine.write() as transaction:
            _spend_proof(proof, transaction)
            return self._replace(transaction, row, wrapping, wanted, text)

    def _refreshing(
        self, row: tuple[Any, ...], wrapping: Key, vendor: Vendor, proof: Proof | None
    ) -> list[bytes]:
        """What an unspent refresh token carries, for the vendor it was given to, by the key it is bound to.

        A public vendor's token is bound to that very key (RFC 9449 section 5); who proves itself otherwise
        may take a new key, but not do without. A try without the key is noted for the customer.
        """
        carried = self._carried("refresh", row, wrapping)
        if not crypto.equal(carried[1], vendor.client_id.encode()):
            raise CodeError()
        bound, given = bound_to("refresh", carried), jkt_of(proof)
        if bound and (bound != given if vendor.public else not given):
            with self._engine.write() as transaction:
                self._log.note_refusal(
                    transaction, self._vault_of(row[1]), row[1], "no key", vendor.client_id
                )
            raise CodeError()
        return carried

    def _replace(
        self, transaction: Transaction, row: tuple[Any, ...], wrapping: Key, wanted: _For, text: str
    ) -> TokenSet | None:
        lookup, vendor = row[0], wanted.vendor
        if self._constrained and not vendor.public:  # bound by client authentication: it stays the same one
            if not self._keep(transaction, row, wrapping, wanted):
                return None
            answer = self._new_tokens(transaction, wanted, None, kept=text)
        else:
            if not self._try_spend(transaction, lookup):
                return None
            answer = self._new_tokens(transaction, wanted, lookup)
            if self._grace:
                replay = self._seal_replay(wrapping, lookup, vendor, answer)
                transaction.execute("UPDATE tokens SET replay = ? WHERE lookup = ?", (replay, lookup))
        if row[6] is not None:
            self.first_use(transaction, lookup, row[6])
        vault = self._vault_of(row[1])
        self._log.note(transaction, vault, "refreshed", grant_id=row[1], **_named(vendor))
        return answer

    def _keep(self, transaction: Transaction, row: tuple[Any, ...], wrapping: Key, wanted: _For) -> bool:
        """Let a refresh token live on for as long as a new one would; False if it is none any more."""
        lookup, grant_id = row[0], row[1]
        expires = self._clock.now() + REFRESH_IDLE
        carried = pack(wanted.keys.key.reveal(), wanted.vendor.client_id, wanted.jkt)
        wrapped = wrap_cipher(wrapping, "refresh", lookup, grant_id, expires).seal(carried)
        cursor = transaction.execute(
            "UPDATE tokens SET wrapped = ?, expires = ? WHERE lookup = ? AND spent IS NULL"
            " AND wrapped IS NOT NULL AND expires > ?",
            (wrapped, expires, lookup, self._clock.now()),
        )
        return bool(cursor.rowcount == 1)

    def _again(
        self,
        row: tuple[Any, ...],
        wrapping: Key,
        vendor: Vendor,
        resource: str | None,
        proof: Proof | None,
    ) -> TokenSet:
        _spend_proof(proof, None)
        lookup, grant_id, _, _, spent, replay = row[:6]
        if replay is not None and abs(self._clock.now() - (spent or 0)) <= self._grace:
            client, answer = unpack(Cipher(wrapping, Purpose.REPLAY, lookup).unseal(replay))
            found = TokenSet(**json.loads(answer))
            if crypto.equal(client, vendor.client_id.encode()) and found.jkt == jkt_of(proof):
                if resource not in (None, found.audience):  # no answer for one place is one for another
                    raise TargetError()
                return found
        self._end_after_reuse(grant_id, "token-reused", spent)
        raise CodeError()

    def _seal_replay(self, wrapping: Key, lookup: bytes, vendor: Vendor, answer: TokenSet) -> bytes:
        values = {name: getattr(answer, name) for name in TokenSet.__slots__}
        return Cipher(wrapping, Purpose.REPLAY, lookup).seal(pack(vendor.client_id, json.dumps(values)))

    def first_use(self, transaction: Transaction, lookup: bytes, parent: bytes) -> None:
        """A token of a new pair was used: the lost-answer copy of the pair is deleted."""
        transaction.execute("UPDATE tokens SET replay = NULL WHERE lookup = ?", (parent,))
        transaction.execute(
            "UPDATE tokens SET parent = NULL WHERE lookup = ? OR parent = ?", (lookup, parent)
        )

    def revoke(self, token: str, vendor: Vendor) -> None:
        """RFC 7009: end an access token, or with a refresh token the grant itself.

        Nothing happens for an unknown token or one of another client.
        """
        for kind in ("refresh", "access", ELSEWHERE):
            raw = read_token(written(kind), token)
            if raw is None:
                continue
            try:
                row, wrapping = self._find(kind, raw)
                carried = self._carried(kind, row, wrapping)
            except CodeError:
                continue
            if crypto.equal(carried[1], vendor.client_id.encode()):
                self._give_back(kind, row[0], row[1], vendor)

    def _give_back(self, kind: str, lookup: bytes, grant_id: str, vendor: Vendor) -> None:
        with self._engine.write() as transaction:
            if kind == "refresh":  # without tokens nobody could use the grant: it ends, and she sees that
                endings.end(transaction, grant_id, "revoked", self._clock.now(), tell=False)
            else:
                transaction.execute("UPDATE tokens SET wrapped = NULL, spent = 0 WHERE lookup = ?", (lookup,))
            self._log.note(
                transaction,
                self._vault_of(grant_id),
                "given-back",
                grant_id=grant_id,
                detail=kind,
                **_named(vendor),
            )
        self._engine.purge()

    def _end_after_reuse(self, grant_id: str, event: str, spent: int | None) -> None:
        """End the grant; where it had ended, say what was tried: 0 is one that never was used but ended."""
        with self._engine.write() as transaction:
            if endings.end(transaction, grant_id, "revoked", self._clock.now()):
                self._log.note(transaction, self._vault_of(grant_id), event, grant_id=grant_id)
            else:
                reason = event if spent else "grant ended"
                self._log.note_refusal(transaction, self._vault_of(grant_id), grant_id, reason)
        self._engine.purge()

    def _find(self, kind: str, raw: bytes | None) -> tuple[tuple[Any, ...], Key]:
        if raw is None:
            raise CodeError()
        lookup, wrapping = split(kind, raw, self._pepper)
        row = self._engine.one(
            "SELECT lookup, grant_id, expires, wrapped, spent, replay, parent FROM tokens"
            " WHERE lookup = ? AND kind = ?",
            (lookup, kind),
        )
        if row is None:
            raise CodeError()
        return row, wrapping

    def _carried(self, kind: str, row: tuple[Any, ...], wrapping: Key) -> list[bytes]:
        lookup, grant_id, expires, wrapped = row[:4]
        if wrapped is None or self._clock.now() >= expires:
            raise CodeError()
        try:
            return unpack(wrap_cipher(wrapping, kind, lookup, grant_id, expires).unseal(wrapped))
        except TamperedError:
            raise CodeError() from None

    def _require_proof(self, vendor: Vendor, proof: Proof | None) -> None:
        if proof is None and (self._constrained or vendor.dpop_bound):
            raise ProofError("a proof of possession (DPoP) is asked for here")

    def _new_tokens(
        self, transaction: Transaction, wanted: _For, parent: bytes | None, kept: str = ""
    ) -> TokenSet:
        """An access token, and a refresh token unless one is kept."""
        now, keys, vendor, details = self._clock.now(), wanted.keys, wanted.vendor, wanted.details
        vault, agreement = self._agreed(keys, now)
        ends = agreement.expires
        scope = wanted.scope if details is None else narrowing.by_details(agreement.parts, details)
        audience = narrowing.by_resource(agreement.audiences, wanted.resource)
        granted = agreement.granted if audience == HERE else agreement.scopes
        scopes = narrowing.by_scope(granted, scope)
        parts = narrowing.cut(agreement.parts, scopes)
        told = agreement.public_id or keys.grant_id
        access_ends = min(now + self._access_life, ends)
        made = pack(now, wanted.jkt)
        if audience == HERE:
            kind, about = "access", with_keys(keys, made, scopes)
        else:
            kind, about = ELSEWHERE, without_keys(audience, made, scopes, parts, told)
        carried = pack(vault, vendor.client_id, *about)
        access = self._mint(kind, keys.grant_id, access_ends, carried, parent)
        self._insert(transaction, access)
        refresh = kept or self._new_refresh(transaction, wanted, min(now + REFRESH_IDLE, ends), parent)
        words, life = " ".join(scopes), access_ends - now
        return TokenSet(access.text, refresh, life, words, parts, told, audience, wanted.jkt)

    def _new_refresh(self, transaction: Transaction, wanted: _For, expires: int, parent: bytes | None) -> str:
        carried = pack(wanted.keys.key.reveal(), wanted.vendor.client_id, wanted.jkt)
        refresh = self._mint("refresh", wanted.keys.grant_id, expires, carried, parent)
        self._insert(transaction, refresh)
        return refresh.text

    def _agreed(self, keys: GrantKeys, now: int) -> tuple[str, Agreement]:
        """(vault, agreement) of a live grant; CodeError."""
        row = self._engine.one(
            "SELECT vault, agreement FROM grants WHERE grant_id = ? AND state = 'live' AND expires > ?",
            (keys.grant_id, now),
        )
        if row is None:
            raise CodeError()
        agreement = _opened(keys, row[1])
        if now >= agreement.expires:  # the sealed end: the column beside it could be edited
            raise CodeError()
        return row[0], agreement

    def _mint(
        self, kind: str, grant_id: str, expires: int, carried: bytes, parent: bytes | None = None
    ) -> _Minted:
        raw = crypto.random_bytes(32)
        lookup, wrapping = split(kind, raw, self._pepper)
        wrapped = wrap_cipher(wrapping, kind, lookup, grant_id, expires).seal(carried)
        return _Minted(
            write_token(written(kind), raw), lookup, (lookup, kind, grant_id, expires, wrapped, parent)
        )

    def _insert(self, transaction: Transaction, minted: _Minted) -> None:
        cursor = transaction.execute(
            "INSERT INTO tokens (lookup, kind, grant_id, expires, wrapped, parent) SELECT ?, ?, ?, ?, ?, ?"
            " FROM grants WHERE grant_id = ? AND state = 'live' AND expires > ?",
            (*minted.row, minted.row[2], self._clock.now()),
        )
        if cursor.rowcount != 1:
            raise CodeError()

    def _try_spend(self, transaction: Transaction, lookup: bytes) -> bool:
        cursor = transaction.execute(
            "UPDATE tokens SET spent = ?, wrapped = NULL WHERE lookup = ? AND spent IS NULL AND expires > ?",
            (self._clock.now(), lookup, self._clock.now()),
        )
        return bool(cursor.rowcount == 1)

    def _spend(self, transaction: Transaction, lookup: bytes) -> None:
        if not self._try_spend(transaction, lookup):
            raise CodeError()

    def _vault_of(self, grant_id: str) -> str:
        row = self._engine.one("SELECT vault FROM grants WHERE grant_id = ?", (grant_id,))
        if row is None:
            raise CodeError()
        return str(row[0])


def _opened(keys: GrantKeys, sealed: bytes) -> Agreement:
    try:
        return Agreement.decode(agreement_cipher(keys.common, keys.grant_id).unseal(sealed))
    except TamperedError:
        raise CodeError() from None


def _named(vendor: Vendor) -> dict[str, str]:
    return {"client_id": vendor.client_id, "vendor_name": vendor.name}


def jkt_of(proof: Proof | None) -> str:
    """The thumbprint of the key that was proved, "" for none."""
    return "" if proof is None else proof.jkt


def _spend_proof(proof: Proof | None, transaction: Transaction | None) -> None:
    if proof is not None:
        proof.spend(transaction)
