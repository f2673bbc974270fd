"""Codes, access tokens and refresh tokens: each carries the keys that it opens.

The server keeps a lookup id and a wrap, both derived from the token and salted by the host's pepper; who
has the tables alone opens nothing. Promises: a code and a refresh token are spent by one conditional
update in the transaction that inserts what follows from them, so of many tries at once exactly one wins;
reuse commits the end of the grant before it is answered; a lost refresh answer can be fetched again for
a short while by the same client. The wrap of what is spent is deleted with it, and leaves the disk with the
next sweep, as the copy of a lost answer does, which opens the same (docs/adr/0033).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

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
from vrm.consent.proofs import Proof, jkt_of
from vrm.consent.scopes import Part
from vrm.consent.vendors import Vendor
from vrm.consent.views import GrantKeys, agreement_cipher
from vrm.errors import CodeError, ProofError, TamperedError
from vrm.vault import compact, crypto
from vrm.vault.crypto import Cipher, Key, Purpose
from vrm.vault.engine import Engine, Step, Transaction, Work, performed
from vrm.vault.envelope import pack, unpack
from vrm.vault.serverkey import ServerKey

_SWEPT = (  # each holds only what some sweep is about to look at
    "CREATE INDEX tokens_ending ON tokens (expires) WHERE wrapped IS NOT NULL",
    "CREATE INDEX tokens_dead ON tokens (expires) WHERE wrapped IS NULL",
    "CREATE INDEX tokens_replay ON tokens (spent) WHERE replay IS NOT NULL",
)
TABLES = (
    "CREATE TABLE tokens (lookup BLOB PRIMARY KEY, kind TEXT NOT NULL, grant_id TEXT NOT NULL,"
    " expires INTEGER NOT NULL, wrapped BLOB, spent INTEGER, replay BLOB, parent BLOB)",
    "CREATE INDEX tokens_grant ON tokens (grant_id)",
    *_SWEPT,
)
STEPS = ("DROP INDEX tokens_parent", "DROP INDEX tokens_expires", *_SWEPT)
_FIND = (  # the agreement only while the grant is live
    "SELECT t.lookup, t.grant_id, t.expires, t.wrapped, t.spent, t.replay, t.parent, g.vault,"
    " CASE WHEN g.state = 'live' AND g.expires > ? THEN g.agreement END"
    " FROM tokens t JOIN grants g ON g.grant_id = t.grant_id WHERE t.lookup = ? AND t.kind = ?"
)
_INSERT = "INSERT INTO tokens (lookup, kind, grant_id, expires, wrapped, parent) VALUES (?, ?, ?, ?, ?, ?)"
# Of many that try at once, one meets these:
_UNSPENT = "lookup = ? AND spent IS NULL AND expires > ?"
_AS_FOUND = (
    f"{_UNSPENT} AND EXISTS"
    " (SELECT 1 FROM grants WHERE grant_id = ? AND state = 'live' AND expires > ? AND agreement = ?)"
)
_SPEND = f"UPDATE tokens SET spent = ?, wrapped = NULL WHERE {_UNSPENT}"
_REPLACE = f"UPDATE tokens SET spent = ?, wrapped = NULL, replay = ?, parent = NULL WHERE {_AS_FOUND}"
_KEEP = f"UPDATE tokens SET wrapped = ?, expires = ?, parent = NULL WHERE {_AS_FOUND}"
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
    jkt: str
    scope: str | None = None  # None: all that was granted
    resource: str | None = None
    details: Sequence[Part] | None = None


class _Found(NamedTuple):
    """A token as the table has it, whose it is, and what is agreed with its vendor while that is live."""

    lookup: bytes
    grant_id: str
    expires: int
    wrapped: bytes | None
    spent: int | None
    replay: bytes | None
    parent: bytes | None
    vault: str
    agreement: bytes | None


class _Minted(NamedTuple):
    """A token that exists only in memory until its row is inserted."""

    text: str
    row: tuple[Any, ...]


class _Pair(NamedTuple):
    """Tokens that exist only in memory until their rows are inserted."""

    answer: TokenSet
    rows: list[tuple[Any, ...]]


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
        transaction.execute(_INSERT, code.row)
        return code.text

    def redeem(
        self,
        code: str,
        vendor: Vendor,
        redirect_uri: str,
        verifier: str,
        *,
        scope: str | None = None,
        resource: str | None = None,
        details: Sequence[Part] | None = None,
        proof: Proof | None = None,
    ) -> TokenSet:
        """Exchange a code (RFC 6749 §4.1.3, RFC 7636 §4.6). CodeError tells nothing about why.

        `scope`: the granted scopes, or fewer, that the access token is for; ScopeError for more.
        `resource`: which of those granted the access token is for (RFC 8707 §2.2); TargetError for others.
        `details`: the granted parts, or less, that it is for (RFC 9396 §6); DetailsError for more.
        `proof`: of the key that the tokens are bound to; ProofError where one was due or was used before.

        A code that comes a second time ends the grant (RFC 9700 §4.5): either the first or the second
        bearer is not the vendor.
        """
        self._require_proof(vendor, proof)
        raw = read_token("code", code)
        found, wrapping = self._find("code", raw)
        if found.spent is not None:
            self._end_after_reuse(found, "code-reused")
            raise CodeError()
        key, client, uri, challenge, *bound = self._carried("code", found, wrapping)
        good = (
            crypto.equal(client, vendor.client_id.encode())
            and crypto.equal(uri, redirect_uri.encode("utf-8", "replace"))
            and crypto.equal(challenge, challenge_of(verifier).encode())
            and (not any(bound) or crypto.equal(bound[0], jkt_of(proof).encode()))
        )
        if not good:
            raise CodeError()
        keys = GrantKeys(found.grant_id, Key(key))

        def exchange(transaction: Transaction) -> TokenSet:
            now = self._clock.now()
            if transaction.execute(_SPEND, (now, found.lookup, now)).rowcount != 1:
                raise CodeError()
            less = {"scope": scope, "resource": resource, "details": details}
            return self.first_pair(transaction, keys, vendor, proof, **less)

        return self._engine.together(exchange, found.vault)

    def first_pair(
        self, transaction: Transaction, keys: GrantKeys, vendor: Vendor, proof: Proof | None, **less: Any
    ) -> TokenSet:
        """The first tokens of a grant, for the vendor that just showed what carries its key.

        `less`: `scope`, `resource` and `details` as in `redeem`.
        """
        self._require_proof(vendor, proof)
        _spend_proof(proof, transaction)
        wanted = _For(keys, vendor, jkt_of(proof), **less)
        vault, agreement = self._agreed(keys.grant_id)
        pair = self._new_tokens(vault, agreement, wanted, None)
        transaction.executemany(_INSERT, pair.rows)
        self._log.note(transaction, vault, "connected", grant_id=keys.grant_id, **_named(vendor))
        return pair.answer

    def refreshing(
        self,
        refresh_token: str,
        vendor: Vendor,
        scope: str | None = None,
        *,
        resource: str | None = None,
        details: Sequence[Part] | None = None,
        proof: Proof | None = None,
    ) -> Work[TokenSet]:
        """A new pair for a refresh token; CodeError, or ScopeError and TargetError for more than was granted.

        The same client may fetch a lost answer again while `grace` lasts and the new pair is unused, as it
        was; a public vendor by the same key, another by any. Any other use of a spent token ends the grant,
        unless all that lacks is the proof, and the vendor proved itself otherwise. `proof` as in `redeem`.
        """
        self._require_proof(vendor, proof)
        while True:
            found, wrapping = self._find("refresh", read_token("refresh", refresh_token))
            if found.spent is not None:
                # That it is spent may not be on the disk yet, which a transaction waits for.
                yield Step(lambda _: None, found.vault)
                return self._again(found, wrapping, vendor, proof, resource, scope, details)
            answer = yield from self._rotate(
                found, wrapping, vendor, scope, resource, details, proof=proof, text=refresh_token
            )
            if answer is not None:
                return answer

    refresh = performed(refreshing)

    def _rotate(
        self,
        found: _Found,
        wrapping: Key,
        vendor: Vendor,
        scope: str | None,
        resource: str | None = None,
        details: Sequence[Part] | None = None,
        *,
        proof: Proof | None = None,
        text: str = "",
    ) -> Work[TokenSet | None]:
        """What follows the refresh token `text`; None where token or grant are not as they were found.

        All keys are opened and all tokens sealed before the database is asked to wait for the disk.
        """
        carried = self._refreshing(found, wrapping, vendor, proof)
        if found.agreement is None:
            raise CodeError()
        keys = GrantKeys(found.grant_id, Key(carried[0]))
        wanted = _For(keys, vendor, jkt_of(proof), scope, resource, details)
        if self._constrained and not vendor.public:  # bound by client authentication: it stays the same one
            pair = self._new_tokens(found.vault, found.agreement, wanted, None, kept=text)
            change: tuple[Any, ...] = (_KEEP, *self._kept(found, wrapping, wanted))
        else:
            pair = self._new_tokens(found.vault, found.agreement, wanted, found.lookup)
            replay = self._seal_replay(wrapping, found.lookup, vendor, pair.answer) if self._grace else None
            change = (_REPLACE, self._clock.now(), replay)

        def exchange(transaction: Transaction) -> TokenSet | None:
            _spend_proof(proof, transaction)
            if not self._as_found(transaction, found, *change):
                return None
            for row in pair.rows:
                transaction.send(_INSERT, row)
            if found.parent is not None:
                self._answered(transaction, found.parent)
            self._log.note(transaction, found.vault, "refreshed", grant_id=found.grant_id, **_named(vendor))
            return pair.answer

        answer: TokenSet | None = yield Step(exchange, found.vault)
        return answer

    def _as_found(self, transaction: Transaction, found: _Found, change: str, *values: Any) -> bool:
        """Change the token's row, if token and grant are still as they were found."""
        now = self._clock.now()
        same = (found.lookup, now, found.grant_id, now, found.agreement)
        return bool(transaction.execute(change, (*values, *same)).rowcount == 1)

    def _refreshing(self, found: _Found, wrapping: Key, vendor: Vendor, proof: Proof | None) -> list[bytes]:
        """What an unspent refresh token carries, for the vendor it was given to, by the key it is bound to.

        A public vendor's token is bound to that very key (RFC 9449 section 5); who proves itself otherwise
        may take a new key, but not do without, and is told so: its grant is alive (ProofError). Who proved
        nothing learns nothing of the token. A try without the key is noted for the customer.
        """
        carried = self._carried("refresh", found, wrapping)
        if not crypto.equal(carried[1], vendor.client_id.encode()):
            raise CodeError()
        bound, given = bound_to("refresh", carried), jkt_of(proof)
        if bound and (bound != given if vendor.public else not given):
            raise self._without_key(found, vendor)
        return carried

    def _without_key(self, found: _Found, vendor: Vendor) -> CodeError | ProofError:
        """What a vendor is told that came without its key, once it is noted."""
        with self._engine.write(found.vault) as transaction:
            self._log.note_refusal(transaction, found.vault, found.grant_id, "no key", vendor.client_id)
        return CodeError() if vendor.public else ProofError("this refresh token needs a proof (DPoP)")

    def _kept(self, found: _Found, wrapping: Key, wanted: _For) -> tuple[bytes, int]:
        """(wrap, end) of a refresh token that lives on for as long as a new one would."""
        expires = self._clock.now() + REFRESH_IDLE
        carried = pack(wanted.keys.key.reveal(), wanted.vendor.client_id, wanted.jkt)
        cipher = wrap_cipher(wrapping, "refresh", found.lookup, found.grant_id, expires)
        return cipher.seal(carried), expires

    def _again(
        self, found: _Found, wrapping: Key, vendor: Vendor, proof: Proof | None, *asked: Any
    ) -> TokenSet:
        _spend_proof(proof, None)
        if found.replay is not None and abs(self._clock.now() - (found.spent or 0)) <= self._grace:
            lost = Cipher(wrapping, Purpose.REPLAY, found.lookup).unseal(found.replay)
            client, text = unpack(lost)
            answer = TokenSet(**compact.loads(text))
            is_its = crypto.equal(client, vendor.client_id.encode())
            if is_its and answer.jkt and proof is None and not vendor.public:
                raise self._without_key(found, vendor)  # its credentials say who asks, and nothing is given
            if is_its and (answer.jkt == jkt_of(proof) or not vendor.public):  # who may take a new key
                had = (answer.audience, answer.scope.split(), answer.authorization_details)
                narrowing.require_same(*had, *asked)
                return answer
        self._end_after_reuse(found, "token-reused")
        raise CodeError()

    def _seal_replay(self, wrapping: Key, lookup: bytes, vendor: Vendor, answer: TokenSet) -> bytes:
        values = {name: getattr(answer, name) for name in TokenSet.__slots__}
        return Cipher(wrapping, Purpose.REPLAY, lookup).seal(pack(vendor.client_id, compact.dumps(values)))

    def first_use(self, transaction: Transaction, lookup: bytes, parent: bytes) -> None:
        """A token of a new pair was used: the lost-answer copy of the pair is deleted."""
        self._answered(transaction, parent)
        transaction.send("UPDATE tokens SET parent = NULL WHERE lookup = ?", (lookup,))

    @staticmethod
    def _answered(transaction: Transaction, parent: bytes) -> None:
        transaction.send("UPDATE tokens SET replay = NULL WHERE lookup = ? AND replay IS NOT NULL", (parent,))

    def revoke(self, token: str, vendor: Vendor) -> None:
        """RFC 7009: end an access token, or with a refresh token the grant itself.

        Nothing happens for an unknown token or one of another client.
        """
        for kind in ("refresh", "access", ELSEWHERE):
            raw = read_token(written(kind), token)
            if raw is None:
                continue
            try:
                found, wrapping = self._find(kind, raw)
                carried = self._carried(kind, found, wrapping)
            except CodeError:
                continue
            if crypto.equal(carried[1], vendor.client_id.encode()):
                self._give_back(kind, found, vendor)

    def _give_back(self, kind: str, found: _Found, vendor: Vendor) -> None:
        lookup, grant_id = found.lookup, found.grant_id
        with self._engine.write(found.vault) as transaction:
            if kind == "refresh":  # without tokens nobody could use the grant: it ends, and she sees that
                endings.end(transaction, grant_id, "revoked", self._clock.now(), tell=False)
            else:
                transaction.execute("UPDATE tokens SET wrapped = NULL, spent = 0 WHERE lookup = ?", (lookup,))
            self._log.note(
                transaction, found.vault, "given-back", grant_id=grant_id, detail=kind, **_named(vendor)
            )
        self._engine.purge()

    def _end_after_reuse(self, found: _Found, event: str) -> None:
        """End the grant; where it had ended, say what was tried: 0 is one that never was used but ended."""
        vault, grant_id = found.vault, found.grant_id
        with self._engine.write(vault) as transaction:
            if endings.end(transaction, grant_id, "revoked", self._clock.now()):
                self._log.note(transaction, vault, event, grant_id=grant_id)
            else:
                reason = event if found.spent else "grant ended"
                self._log.note_refusal(transaction, vault, grant_id, reason)
        self._engine.purge()

    def _find(self, kind: str, raw: bytes | None) -> tuple[_Found, Key]:
        if raw is None:
            raise CodeError()
        lookup, wrapping = split(kind, raw, self._pepper)
        row = self._engine.one(_FIND, (self._clock.now(), lookup, kind))
        if row is None:
            raise CodeError()
        return _Found(*row), wrapping

    def _carried(self, kind: str, found: _Found, wrapping: Key) -> list[bytes]:
        if found.wrapped is None or self._clock.now() >= found.expires:
            raise CodeError()
        cipher = wrap_cipher(wrapping, kind, found.lookup, found.grant_id, found.expires)
        try:
            return unpack(cipher.unseal(found.wrapped))
        except TamperedError:
            raise CodeError() from None

    def _require_proof(self, vendor: Vendor, proof: Proof | None) -> None:
        if proof is None and (self._constrained or vendor.dpop_bound):
            raise ProofError("a proof of possession (DPoP) is asked for here")

    def _new_tokens(
        self, vault: str, sealed: bytes, wanted: _For, parent: bytes | None, kept: str = ""
    ) -> _Pair:
        """An access token, and a refresh token unless one is kept, by what is sealed as agreed; CodeError."""
        now, keys, vendor, details = self._clock.now(), wanted.keys, wanted.vendor, wanted.details
        agreement = _opened(keys, sealed)
        ends = agreement.expires
        if now >= ends:  # the sealed end: the column beside it could be edited
            raise CodeError()
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
        minted = [self._mint(kind, keys.grant_id, access_ends, carried, parent)]
        if not kept:
            minted.append(self._new_refresh(wanted, min(now + REFRESH_IDLE, ends), parent))
        access, refresh = minted[0].text, kept or minted[1].text
        words, life = " ".join(scopes), access_ends - now
        answer = TokenSet(access, refresh, life, words, parts, told, audience, wanted.jkt)
        return _Pair(answer, [one.row for one in minted])

    def _new_refresh(self, wanted: _For, expires: int, parent: bytes | None) -> _Minted:
        carried = pack(wanted.keys.key.reveal(), wanted.vendor.client_id, wanted.jkt)
        return self._mint("refresh", wanted.keys.grant_id, expires, carried, parent)

    def _agreed(self, grant_id: str) -> tuple[str, bytes]:
        """(vault, what is sealed as agreed) of a live grant; CodeError."""
        row = self._engine.one(
            "SELECT vault, agreement FROM grants WHERE grant_id = ? AND state = 'live' AND expires > ?",
            (grant_id, self._clock.now()),
        )
        if row is None:
            raise CodeError()
        return row[0], row[1]

    def _mint(
        self, kind: str, grant_id: str, expires: int, carried: bytes, parent: bytes | None = None
    ) -> _Minted:
        raw = crypto.random_bytes(32)
        lookup, wrapping = split(kind, raw, self._pepper)
        wrapped = wrap_cipher(wrapping, kind, lookup, grant_id, expires).seal(carried)
        return _Minted(write_token(written(kind), raw), (lookup, kind, grant_id, expires, wrapped, parent))


def _opened(keys: GrantKeys, sealed: bytes) -> Agreement:
    try:
        return Agreement.decode(agreement_cipher(keys.common, keys.grant_id).unseal(sealed))
    except TamperedError:
        raise CodeError() from None


def _named(vendor: Vendor) -> dict[str, str]:
    return {"client_id": vendor.client_id, "vendor_name": vendor.name}


def _spend_proof(proof: Proof | None, transaction: Transaction | None) -> None:
    if proof is not None:
        proof.spend(transaction)
