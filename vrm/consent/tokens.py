"""Codes, access tokens and refresh tokens: each carries the keys that it opens.

The server keeps a lookup id and a wrap, both derived from the token and salted by the host's pepper; who
has the tables alone opens nothing. Promises: a code and a refresh token are spent by one conditional
update in the transaction that inserts what follows from them, so of many tries at once exactly one wins;
reuse commits the end of the grant before it is answered; a lost refresh answer can be fetched again for
a short while by the same client.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from vrm.clock import Clock
from vrm.consent import endings, narrowing
from vrm.consent.disclosures import Disclosures
from vrm.consent.endings import ELSEWHERE
from vrm.consent.policy import HERE, Agreement
from vrm.consent.scopes import Part
from vrm.consent.vendors import Vendor
from vrm.consent.views import GrantKeys, agreement_cipher
from vrm.errors import CodeError, TamperedError, TargetError
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
PREFIXES = {
    "code": "vrm_ac_",
    "access": "vrm_at_",
    "refresh": "vrm_rt_",
    "request": "vrm_rq_",
    "reference": "vrm_rr_",
    "link": "vrm_rl_",
    "ticket": "vrm_tk_",
}
CODE_LIFE = 60  # seconds
REFRESH_IDLE = 90 * 86_400  # seconds
_PIECE = 60_000  # bytes of one part in what a token carries


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


def write_token(kind: str, raw: bytes) -> str:
    """Prefix ‖ base64url(32 bytes ‖ CRC-32): the checksum lets a scanner tell a token from noise."""
    prefix = PREFIXES[kind]
    check = zlib.crc32(prefix.encode() + raw).to_bytes(4, "big")
    return prefix + base64.urlsafe_b64encode(raw + check).decode()


def written(kind: str) -> str:
    """As which kind a token is written: for the vendor, one for another resource server is like any other."""
    return "access" if kind == ELSEWHERE else kind


def read_token(kind: str, text: str) -> bytes | None:
    """The 32 bytes, or None for anything that is not such a token."""
    prefix = PREFIXES[kind]
    if len(text) != len(prefix) + 48 or not text.startswith(prefix) or not text.isascii():
        return None
    try:
        blob = base64.urlsafe_b64decode(text[len(prefix) :])
    except (binascii.Error, ValueError):
        return None
    raw, check = blob[:32], blob[32:]
    if zlib.crc32(prefix.encode() + raw).to_bytes(4, "big") != check or write_token(kind, raw) != text:
        return None
    return raw


def split(kind: str, raw: bytes, pepper: bytes) -> tuple[bytes, Key]:
    """(lookup id, wrapping key) of a token."""
    return crypto.split_secret(raw, pepper, Purpose.TOKEN, kind)


def wrap_cipher(wrapping: Key, kind: str, lookup: bytes, grant_id: str, expires: int) -> Cipher:
    """Seals what the token carries, bound to all that the table says of it in clear."""
    return Cipher(wrapping, Purpose.TOKEN_WRAP, kind, lookup, grant_id, expires)


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
    ) -> None:
        self._engine = engine
        self._pepper = server_key.pepper
        self._log = log
        self._clock = clock
        self._access_life = access_life
        self._grace = grace

    def issue_code(
        self, transaction: Transaction, keys: GrantKeys, vendor: Vendor, redirect_uri: str, challenge: str
    ) -> str:
        """A code for a grant that was inserted in this transaction."""
        carried = pack(keys.key.reveal(), vendor.client_id, redirect_uri, challenge)
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
    ) -> TokenSet:
        """Exchange a code (RFC 6749 §4.1.3, RFC 7636 §4.6). CodeError tells nothing about why.

        `resource`: which of those granted the access token is for (RFC 8707 §2.2); TargetError for others.
        `details`: the granted parts, or less, that it is for (RFC 9396 §6); DetailsError for more.

        A code that comes a second time ends the grant (RFC 9700 §4.5): either the first or the second
        bearer is not the vendor.
        """
        raw = read_token("code", code)
        row, wrapping = self._find("code", raw)
        lookup, grant_id, spent = row[0], row[1], row[4]
        if spent is not None:
            self._end_after_reuse(grant_id, "code-reused", spent)
            raise CodeError()
        key, client, uri, challenge = self._carried("code", row, wrapping)
        seen = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode("utf-8", "replace")).digest()).rstrip(
            b"="
        )
        good = (
            crypto.equal(client, vendor.client_id.encode())
            and crypto.equal(uri, redirect_uri.encode("utf-8", "replace"))
            and crypto.equal(challenge, seen)
        )
        if not good:
            raise CodeError()
        keys = GrantKeys(grant_id, Key(key))
        with self._engine.write() as transaction:
            self._spend(transaction, lookup)
            answer = self.first_pair(transaction, keys, vendor, resource=resource, details=details)
        self._engine.purge()
        return answer

    def first_pair(
        self,
        transaction: Transaction,
        keys: GrantKeys,
        vendor: Vendor,
        *,
        resource: str | None = None,
        details: Sequence[Part] | None = None,
    ) -> TokenSet:
        """The first tokens of a grant, for the vendor that just showed what carries its key."""
        answer = self._new_pair(
            transaction, keys, vendor, scope=None, parent=None, resource=resource, details=details
        )
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
    ) -> TokenSet:
        """A new pair for a refresh token; CodeError, or ScopeError and TargetError for more than was granted.

        The same client may fetch a lost answer again while `grace` lasts and the new pair is unused; any
        other use of a spent token ends the grant.
        """
        raw = read_token("refresh", refresh_token)
        row, wrapping = self._find("refresh", raw)
        if row[4] is None:
            answer = self._rotate(row, wrapping, vendor, scope, resource, details)
            if answer is not None:
                self._engine.purge()
                return answer
            row, wrapping = self._find("refresh", raw)  # somebody else was faster: this is now a retry
            if row[4] is None:  # or nobody: it ran out since the first look, which is no reuse
                raise CodeError()
        return self._again(row, wrapping, vendor, resource)

    def _rotate(
        self,
        row: tuple[Any, ...],
        wrapping: Key,
        vendor: Vendor,
        scope: str | None,
        resource: str | None = None,
        details: Sequence[Part] | None = None,
    ) -> TokenSet | None:
        lookup, grant_id = row[0], row[1]
        key, client = self._carried("refresh", row, wrapping)
        if not crypto.equal(client, vendor.client_id.encode()):
            raise CodeError()
        keys = GrantKeys(grant_id, Key(key))
        with self._engine.write() as transaction:
            if not self._try_spend(transaction, lookup):
                return None
            answer = self._new_pair(
                transaction, keys, vendor, scope=scope, parent=lookup, resource=resource, details=details
            )
            if self._grace:
                replay = self._seal_replay(wrapping, lookup, vendor, answer)
                transaction.execute("UPDATE tokens SET replay = ? WHERE lookup = ?", (replay, lookup))
            if row[6] is not None:
                self.first_use(transaction, lookup, row[6])
            self._log.note(
                transaction, self._vault_of(grant_id), "refreshed", grant_id=grant_id, **_named(vendor)
            )
        return answer

    def _again(self, row: tuple[Any, ...], wrapping: Key, vendor: Vendor, resource: str | None) -> TokenSet:
        lookup, grant_id, _, _, spent, replay = row[:6]
        if replay is not None and abs(self._clock.now() - (spent or 0)) <= self._grace:
            client, answer = unpack(Cipher(wrapping, Purpose.REPLAY, lookup).unseal(replay))
            if crypto.equal(client, vendor.client_id.encode()):
                found = TokenSet(**json.loads(answer))
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

    def _new_pair(
        self,
        transaction: Transaction,
        keys: GrantKeys,
        vendor: Vendor,
        *,
        scope: str | None,
        parent: bytes | None,
        resource: str | None,
        details: Sequence[Part] | None,
    ) -> TokenSet:
        now = self._clock.now()
        vault, agreement = self._agreed(keys, now)
        ends = agreement.expires
        scope = scope if details is None else narrowing.by_details(agreement.parts, details)
        audience = _audience(agreement, resource)
        granted = agreement.granted if audience == HERE else agreement.scopes
        scopes = narrowing.by_scope(granted, scope)
        parts = narrowing.cut(agreement.parts, scopes)
        told = agreement.public_id or keys.grant_id
        access_ends = min(now + self._access_life, ends)
        if audience == HERE:
            kind, about = "access", _with_keys(keys, now, scopes)
        else:
            kind, about = ELSEWHERE, _without_keys(audience, now, scopes, parts, told)
        carried = pack(vault, vendor.client_id, *about)
        access = self._mint(kind, keys.grant_id, access_ends, carried, parent)
        refresh_ends = min(now + REFRESH_IDLE, ends)
        refresh_carried = pack(keys.key.reveal(), vendor.client_id)
        refresh = self._mint("refresh", keys.grant_id, refresh_ends, refresh_carried, parent)
        self._insert(transaction, access)
        self._insert(transaction, refresh)
        return TokenSet(access.text, refresh.text, access_ends - now, " ".join(scopes), parts, told, audience)

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


def _with_keys(keys: GrantKeys, issued: int, scopes: tuple[str, ...]) -> list[str | bytes]:
    """What an access token for this vault carries: the keys of its scopes."""
    carried: list[str | bytes] = [keys.common.reveal(), pack(issued)]
    for name in scopes:
        carried += [name, keys.scope_key(name).reveal()]
    return carried


def _without_keys(
    audience: str, issued: int, scopes: tuple[str, ...], parts: list[Part], grant_id: str
) -> list[str | bytes]:
    """What one for another resource server carries: whom it is for and what was agreed. It opens nothing."""
    told = json.dumps({"scopes": scopes, "authorization_details": parts, "grant_id": grant_id}).encode()
    return [audience, pack(issued), *(told[at : at + _PIECE] for at in range(0, len(told), _PIECE))]


def made_at(kind: str, carried: list[bytes]) -> int | None:
    """When an access token was made; None where it does not say: one of 0.1.0, or a refresh token."""
    if kind == "refresh" or (kind == "access" and len(carried) % 2):
        return None
    return int.from_bytes(unpack(carried[3])[0], "big")


def carried_keys(carried: list[bytes]) -> dict[str, Key]:
    """Scope → key in what an access token carries; one of 0.1.0 does not say when it was made."""
    first = 4 if len(carried) % 2 == 0 else 3
    return {
        name.decode(): Key(key) for name, key in zip(carried[first::2], carried[first + 1 :: 2], strict=True)
    }


def _audience(agreement: Agreement, resource: str | None) -> str:
    """Whom the access token is for: if the vendor does not say, this vault, else the first it had named."""
    allowed = agreement.audiences
    if resource is None:
        return HERE if HERE in allowed else allowed[0]
    if resource not in allowed:
        raise TargetError()
    return resource
