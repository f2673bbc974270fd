"""What vendors leave for a customer: validated as her own forms are, sealed to her mailbox, followed by id.

A write scope carries no reading key. Its key makes the MAC without which nothing is filed, and opens the
*states* of this writer's own deposits (pending, filed, refused), never their content. Promises: what was
acknowledged is on the disk and was stored while the grant was live, with its entry in the log, in one
transaction; the same Idempotency-Key is one deposit; quotas bound what a locked vault takes. Refuses any
field that is not the seller's to say.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from vrm.clock import Clock
from vrm.consent.access import Access
from vrm.consent.disclosures import Disclosures
from vrm.consent.policy import Agreement
from vrm.consent.scopes import WRITES, write_scope
from vrm.consent.tokens import Tokens
from vrm.consent.views import agreement_cipher
from vrm.consent.writers import PENDING, WITHDRAWN, Pen, State, taken
from vrm.errors import (
    ConditionError,
    GrantInactiveError,
    InsufficientScopeError,
    KeyReusedError,
    NotInViewError,
    ParameterError,
    QuotaError,
    ReplayError,
    TamperedError,
)
from vrm.vault import crypto
from vrm.vault.catalog import CATALOG_BY_NAME
from vrm.vault.crypto import Cipher, Purpose
from vrm.vault.engine import Engine, Transaction
from vrm.vault.mailbox import Mailbox
from vrm.vault.vault import Vaults

TABLES = (
    "CREATE TABLE deposits (vault TEXT NOT NULL, grant_id TEXT NOT NULL, item BLOB NOT NULL,"
    " shelf BLOB NOT NULL, seq INTEGER NOT NULL, version INTEGER NOT NULL, created INTEGER NOT NULL,"
    " updated INTEGER NOT NULL, once BLOB, body BLOB, sealed BLOB,"
    " PRIMARY KEY (vault, grant_id, item)) WITHOUT ROWID",
    "CREATE UNIQUE INDEX deposits_once ON deposits (vault, grant_id, once) WHERE once IS NOT NULL",
    "CREATE INDEX deposits_seq ON deposits (vault, grant_id, shelf, seq)",
    "CREATE INDEX deposits_taken_back ON deposits (created) WHERE sealed IS NULL",
    "CREATE INDEX deposits_repeatable ON deposits (created) WHERE once IS NOT NULL",
    "CREATE TABLE deposit_numbers (vault TEXT NOT NULL, grant_id TEXT NOT NULL, number INTEGER NOT NULL,"
    " PRIMARY KEY (vault, grant_id))",
)
ONCE_LIFE = 30 * 86_400  # seconds for which an Idempotency-Key is remembered


@dataclass(frozen=True, slots=True)
class Quota:
    """What may wait in a mailbox, and what one grant may follow. No few grants fill a vault's share."""

    grant_items: int = 2_000
    grant_bytes: int = 8 << 20
    vault_items: int = 20_000
    vault_bytes: int = 80 << 20
    followed: int = 20_000  # deposits of one grant whose state is kept, with those whose key is remembered


class Deposits:
    """The deposits of all vendors."""

    def __init__(
        self,
        engine: Engine,
        vaults: Vaults,
        tokens: Tokens,
        log: Disclosures,
        clock: Clock,
        quota: Quota | None = None,
    ) -> None:
        self._engine = engine
        self._vaults = vaults
        self._tokens = tokens
        self._log = log
        self._clock = clock
        self._quota = quota or Quota()
        self._mailbox = Mailbox(engine)

    @staticmethod
    def only_writes(access: Access, collection: str) -> bool:
        """Whether a token can leave something here but reads nothing of the collection."""
        return write_scope(collection) in access.scopes and not access.stream_scopes(collection)

    # ---- leaving ----------------------------------------------------------------------------------

    def submit(self, access: Access, collection: str, given: object, once: str) -> tuple[State, str]:
        """Leave something new; (state, ETag), the same for a repeated request.

        Raises InsufficientScopeError, ValidationError, KeyReusedError, QuotaError, GrantInactiveError.
        """
        pen = self._pen(access, collection)
        document = taken(collection, given)
        body = json.dumps(document, sort_keys=True)
        with self._entered(access, pen) as transaction:
            known = self._repeated(transaction, pen, once, body)
            if known is not None:
                return known, pen.tag(known)
            state = State(crypto.random_bytes(16), 1, self._clock.now(), PENDING)
            number = self._leave(transaction, access, pen, state, {"document": document})
            transaction.execute(
                "INSERT INTO deposits (vault, grant_id, item, shelf, seq, version, created, updated, once,"
                " body, sealed) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    *(pen.vault, pen.grant_id, state.item, pen.shelf, number, state.version),
                    *(state.updated, state.updated, pen.once(once), pen.once(once, body), pen.seal(state)),
                ),
            )
            self._note(transaction, access, collection, pen, "deposited")
        return state, pen.tag(state)

    def replace(
        self, access: Access, collection: str, item: str, given: object, tags: Sequence[str]
    ) -> tuple[State, str]:
        """Say it anew; `tags` are the ETags one of which must be the newest ("*" is any).

        Raises as `submit`, and NotInViewError, ConditionError.
        """
        pen = self._pen(access, collection)
        document = taken(collection, given)
        with self._entered(access, pen) as transaction:
            before = self._require(pen, item, tags)
            self._mailbox.withdraw(transaction, access.vault, pen.grant_id, before.item)
            after = self._next(before, PENDING)
            number = self._leave(transaction, access, pen, after, {"document": document})
            self._update(transaction, pen, after, number)
            self._note(transaction, access, collection, pen, "replaced")
        return after, pen.tag(after)

    def withdraw(self, access: Access, collection: str, item: str, tags: Sequence[str]) -> State:
        """Take it back: out of the mailbox if it waits there, by a word of its own if it was filed.

        Either way it is gone for the writer at once; the word for the customer cannot be called back.
        """
        pen = self._pen(access, collection)
        with self._entered(access, pen) as transaction:
            before = self._require(pen, item, tags)
            self._mailbox.withdraw(transaction, access.vault, pen.grant_id, before.item)
            after = self._next(before, WITHDRAWN)
            if before.ever_filed:
                self._leave(transaction, access, pen, after, {"withdrawn": True})
            transaction.execute(
                "UPDATE deposits SET sealed = NULL, version = ?, updated = ?"
                " WHERE vault = ? AND grant_id = ? AND item = ?",
                (after.version, after.updated, pen.vault, pen.grant_id, after.item),
            )
            self._note(transaction, access, collection, pen, "taken-back")
        return after

    def _next(self, before: State, status: str) -> State:
        return State(before.item, before.version + 1, self._clock.now(), status, ever_filed=before.ever_filed)

    def _leave(
        self, transaction: Transaction, access: Access, pen: Pen, state: State, said: Mapping[str, Any]
    ) -> int:
        """Seal it into the mailbox as this grant's next item; returns its number."""
        self._require_room(access.vault, pen.grant_id)
        number = self._number(transaction, pen)
        text = json.dumps({"scope": pen.scope, "at": state.updated, **said}, ensure_ascii=False).encode()
        self._mailbox.deposit(
            transaction,
            access.vault,
            self._vaults.mailbox_public(access.vault),
            text,
            origin=pen.grant_id,
            number=number,
            item=state.item,
            key=pen.deposit_key,
        )
        return number

    def _number(self, transaction: Transaction, pen: Pen) -> int:
        """The grant's next number, if it is live in this very transaction."""
        cursor = transaction.execute(
            "INSERT INTO deposit_numbers (vault, grant_id, number) SELECT vault, grant_id, 1 FROM grants"
            " WHERE vault = ? AND grant_id = ? AND state = 'live' AND expires > ?"
            " ON CONFLICT (vault, grant_id) DO UPDATE SET number = deposit_numbers.number + 1",
            (pen.vault, pen.grant_id, self._clock.now()),
        )
        row = self._engine.one(
            "SELECT number FROM deposit_numbers WHERE vault = ? AND grant_id = ?", (pen.vault, pen.grant_id)
        )
        if cursor.rowcount != 1 or row is None:
            raise GrantInactiveError()
        return int(row[0])

    def _require_room(self, vault: str, grant_id: str) -> None:
        items, size = self._mailbox.size(vault, grant_id)
        all_items, all_size = self._mailbox.size(vault)
        row = self._engine.one(
            "SELECT count(*) FROM deposits WHERE vault = ? AND grant_id = ?", (vault, grant_id)
        )
        quota = self._quota
        if (
            items >= quota.grant_items
            or size >= quota.grant_bytes
            or all_items >= quota.vault_items
            or all_size >= quota.vault_bytes
            or (row and row[0] >= quota.followed)
        ):
            raise QuotaError()

    def _repeated(self, transaction: Transaction, pen: Pen, once: str, body: str) -> State | None:
        """The first answer to a request that comes again; KeyReusedError where it says something else."""
        row = self._engine.one(
            "SELECT item, created, body FROM deposits WHERE vault = ? AND grant_id = ? AND once = ?",
            (pen.vault, pen.grant_id, pen.once(once)),
        )
        if row is None:
            return None
        item, created, known = row
        if created <= self._clock.now() - ONCE_LIFE:
            transaction.execute(
                "UPDATE deposits SET once = NULL, body = NULL WHERE vault = ? AND grant_id = ? AND item = ?",
                (pen.vault, pen.grant_id, item),
            )
            return None
        if not crypto.equal(known, pen.once(once, body)):
            raise KeyReusedError()
        return State(item, 1, created, PENDING)

    def _update(self, transaction: Transaction, pen: Pen, state: State, number: int) -> None:
        transaction.execute(
            "UPDATE deposits SET seq = ?, version = ?, updated = ?, sealed = ?"
            " WHERE vault = ? AND grant_id = ? AND item = ?",
            (number, state.version, state.updated, pen.seal(state), pen.vault, pen.grant_id, state.item),
        )

    def _require(self, pen: Pen, item: str, tags: Sequence[str]) -> State:
        found = self._find(pen, item)
        if "*" not in tags and pen.tag(found) not in tags:
            raise ConditionError()
        return found

    # ---- following --------------------------------------------------------------------------------

    def one(self, access: Access, collection: str, item: str) -> tuple[State, str]:
        """(state, ETag) of one own deposit; NotInViewError for whatever is not this writer's."""
        pen = self._pen(access, collection)
        with self._entered(access, pen) as transaction:
            try:
                found: State | None = self._find(pen, item)
            except NotInViewError:
                found = None
            self._note(transaction, access, "deposits", pen, "read", count=int(found is not None))
        if found is None:
            raise NotInViewError()
        return found, pen.tag(found)

    def owns(self, access: Access, collection: str, item: str) -> bool:
        """Whether a token with this write scope left the item: then its state is meant, not a record."""
        key = access.keys.get(write_scope(collection))
        if key is None:
            return False
        try:
            self._find(Pen(access.vault, access.grant_id, collection, key, access.common), item)
        except NotInViewError:
            return False
        return True

    def page(
        self, access: Access, collection: str, *, limit: int, cursor: str | None
    ) -> tuple[list[State], str | None]:
        """Own deposits in the order of what was said last, and the cursor of the next page."""
        pen = self._pen(access, collection)
        after = 0 if cursor is None else self._open_cursor(access, pen, cursor)
        with self._entered(access, pen) as transaction:
            rows = self._engine.all(
                "SELECT seq, item, version, updated, sealed FROM deposits"
                " WHERE vault = ? AND grant_id = ? AND shelf = ?"
                " AND seq > ? AND sealed IS NOT NULL ORDER BY seq LIMIT ?",
                (pen.vault, pen.grant_id, pen.shelf, after, limit + 1),
            )
            shown = rows[:limit]
            self._note(transaction, access, "deposits", pen, "read", count=len(shown))
        following = self._cursor(access, pen, shown[-1][0]) if len(rows) > limit else None
        return [pen.open(*row[1:]) for row in shown], following

    def _find(self, pen: Pen, item: str) -> State:
        try:
            raw = bytes.fromhex(item) if len(item) == 32 else b""
        except ValueError:
            raw = b""
        row = self._engine.one(
            "SELECT item, version, updated, sealed FROM deposits"
            " WHERE vault = ? AND grant_id = ? AND item = ? AND shelf = ? AND sealed IS NOT NULL",
            (pen.vault, pen.grant_id, raw, pen.shelf),
        )
        if row is None:
            raise NotInViewError()
        return pen.open(*row)

    def _cursor_cipher(self, access: Access, pen: Pen) -> Cipher:
        key = crypto.derive(access.common, Purpose.CURSOR, pen.scope)
        return Cipher(key, Purpose.CURSOR, access.grant_id, pen.scope)

    def _cursor(self, access: Access, pen: Pen, seq: int) -> str:
        return base64.urlsafe_b64encode(
            self._cursor_cipher(access, pen).seal(seq.to_bytes(8, "big"))
        ).decode()

    def _open_cursor(self, access: Access, pen: Pen, cursor: str) -> int:
        try:
            sealed = base64.urlsafe_b64decode(cursor.encode("ascii"))
            return int.from_bytes(self._cursor_cipher(access, pen).unseal(sealed), "big")
        except (binascii.Error, ValueError, TamperedError):
            raise ParameterError(fields={"cursor": ["is not one of this list"]}) from None

    # ---- gates ------------------------------------------------------------------------------------

    def _pen(self, access: Access, collection: str) -> Pen:
        if collection not in CATALOG_BY_NAME:
            raise NotInViewError()
        key = access.keys.get(write_scope(collection)) if collection in WRITES else None
        if key is None:
            self._refuse(access, "not granted", collection)
            raise InsufficientScopeError()
        return Pen(access.vault, access.grant_id, collection, key, access.common)

    @contextmanager
    def _entered(self, access: Access, pen: Pen) -> Iterator[Transaction]:
        """A transaction in which the grant is live and still has this scope; refusals are noted after it."""
        try:
            with self._engine.write() as transaction:
                self._enter(transaction, access, pen)
                yield transaction
        except GrantInactiveError:
            self._refuse(access, "grant ended", "")
            raise
        except InsufficientScopeError:
            self._refuse(access, "not granted", pen.scope)
            raise
        except ReplayError:
            self._refuse(access, "proof used", "")
            raise
        except QuotaError:
            self._refuse(access, "too much", "")
            raise

    def _enter(self, transaction: Transaction, access: Access, pen: Pen) -> None:
        row = self._engine.one(
            "SELECT agreement FROM grants WHERE grant_id = ? AND state = 'live' AND expires > ?",
            (access.grant_id, self._clock.now()),
        )
        if row is None:
            raise GrantInactiveError()
        agreement = Agreement.decode(agreement_cipher(access.common, access.grant_id).unseal(row[0]))
        if pen.scope not in agreement.scopes:  # taken away since the token was minted
            raise InsufficientScopeError()
        if access.proof is not None:
            access.proof.spend(transaction)
        if access.parent is not None:
            self._tokens.first_use(transaction, access.lookup, access.parent)

    def _refuse(self, access: Access, reason: str, what: str) -> None:
        with self._engine.write() as transaction:
            self._log.note_refusal(transaction, access.vault, access.grant_id, reason, access.client_id, what)

    def _note(
        self, transaction: Transaction, access: Access, stream: str, pen: Pen, event: str, count: int = 1
    ) -> None:
        self._log.note(
            transaction,
            access.vault,
            event,
            grant_id=access.grant_id,
            client_id=access.client_id,
            stream=stream,
            scopes=[pen.scope],
            count=count,
        )

    def sweep(self) -> None:
        """Forget Idempotency-Keys after their time, and what was taken back."""
        old = self._clock.now() - ONCE_LIFE
        with self._engine.write() as transaction:
            transaction.execute("DELETE FROM deposits WHERE sealed IS NULL AND created <= ?", (old,))
            transaction.execute(
                "UPDATE deposits SET once = NULL, body = NULL WHERE once IS NOT NULL AND created <= ?", (old,)
            )
