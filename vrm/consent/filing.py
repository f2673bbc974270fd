"""Filing: at unlock, what vendors left becomes ordinary records, each thing exactly once.

Promises: an item leaves the mailbox in the transaction that stores its record, its note and its new state,
so neither two sessions at once nor a killed process file it twice or lose it; an item that does not open,
was not made with the key of a grant of this customer, comes a second time or is not valid is put aside with
a reason, and all others go on. What was accepted while the grant was live is filed after its end, too.
Long work goes in batches: what is filed is filed, the rest is where it was.
"""

from __future__ import annotations

import json
import math
import time
from dataclasses import dataclass, field, replace
from datetime import date
from typing import TYPE_CHECKING, Any

from vrm.clock import Clock, day_of
from vrm.consent import receipts
from vrm.consent.scopes import WRITES, write_scope
from vrm.consent.views import GRANT_COLUMNS, OpenGrant, open_grant
from vrm.consent.writers import FILED, PENDING, REFUSED, Pen, validated
from vrm.errors import ConflictError, RecordNotFoundError, TamperedError, ValidationError
from vrm.vault.engine import Engine, Transaction
from vrm.vault.mailbox import Item, Mailbox
from vrm.vault.records import Records
from vrm.vault.vault import Vault

if TYPE_CHECKING:
    from vrm.vault.schemas import Document

BATCH = 200  # items in one transaction
A_WHILE = 1.0  # seconds of filing within one log-in or one page; the rest at the next
# Why an item was put aside; the first three are the work of somebody who can write to the database.
FOREIGN, UNREADABLE, AGAIN, INVALID = "foreign", "unreadable", "again", "invalid"
PLANTED = (FOREIGN, UNREADABLE, AGAIN)
COULD_NOT = "could not be filed"  # all that the writer is told


MISFITS = (
    *(ValidationError, TamperedError, LookupError, TypeError, ValueError, ArithmeticError),
    *(AttributeError, OSError, RecursionError),
)  # what an item can raise that fits nothing here; of the storage's errors none


class _StoppedError(Exception):
    """An item that cannot be filed; the text is the reason."""


@dataclass(frozen=True, slots=True)
class Opened:
    """An item that passed: who left it, for which collection, what it says (None: it takes it back)."""

    item: Item
    grant: OpenGrant
    collection: str
    day: date
    document: Document | None


@dataclass(frozen=True, slots=True)
class PutAside:
    """An item that could not be filed, as the customer sees it."""

    origin: str
    number: int
    reason: str
    vendor_name: str  # empty where nobody knows who left it


@dataclass(slots=True)
class _Batch:
    """What one transaction is about to store, by collection."""

    vault: Vault
    changes: dict[str, dict[str, Document | None]] = field(default_factory=dict)
    prints: dict[bytes, str] = field(default_factory=dict)  # fingerprint → new record
    grants: dict[str, OpenGrant | None] = field(default_factory=dict)  # opened once for all of its items

    def records(self, collection: str) -> Records:
        return self.vault.records(collection)

    def read(self, collection: str, record: str) -> Document | None:
        """The record with what this batch changed already; None where there is none."""
        changed = self.changes.get(collection, {})
        if record in changed:
            return changed[record]
        try:
            return self.records(collection).get(record)
        except RecordNotFoundError:
            return None

    def store(self, collection: str, record: str, document: Document) -> None:
        self.changes.setdefault(collection, {})[record] = document


class Filing:
    """Files the mailboxes of all vaults, each with its own root at hand."""

    def __init__(self, engine: Engine, clock: Clock, *, batch: int = BATCH) -> None:
        self._batch = batch
        self._engine = engine
        self._clock = clock
        self._mailbox = Mailbox(engine)

    def left(self, vault: Vault) -> int:
        """How many items wait."""
        return self._mailbox.count_waiting(vault.id)

    def run(self, vault: Vault, seconds: float = math.inf) -> int:
        """File what waits; returns how many items were. While an import runs, everything stays.

        So does where the marks were altered, which `problems` of the vault names. After `seconds` no new
        batch is begun.
        """
        filed, end = 0, time.monotonic() + seconds
        while batch := self._mailbox.waiting(vault.id, self._batch):
            try:
                done, gone = self._file(vault, batch)
            except (ConflictError, TamperedError):
                return filed
            filed += done
            # another session has them, or nothing can move them, or it is long enough: no reason to stay
            if not gone or time.monotonic() >= end:
                return filed
        self._forget(vault)
        return filed

    def _file(self, vault: Vault, items: list[Item]) -> tuple[int, int]:
        """File these; (how many were, how many wait no more)."""
        marks = self._marks(vault)
        batch = _Batch(vault)
        opened = [self._judge(batch, item, marks) for item in items]
        with self._engine.write(of=vault.id) as transaction:
            vault.records("purchases").require_no_import()
            marks = self._marks(vault)
            pairs = zip(items, opened, strict=True)
            gone = sum(self._take(transaction, batch, marks, item, found) for item, found in pairs)
            for collection, changes in batch.changes.items():
                prints = {record: fingerprint for fingerprint, record in batch.prints.items()}
                batch.records(collection).apply(changes, fingerprints=prints)
            self._mailbox.set_marks(transaction, vault.keyring, marks)
        return sum(isinstance(found, Opened) for found in opened), gone

    def _marks(self, vault: Vault) -> dict[str, int]:
        """TamperedError where they were altered: then nothing is filed."""
        return self._mailbox.marks(vault.keyring)

    # ---- judging: keys and bytes, nothing stored ----------------------------------------------------

    def _judge(self, batch: _Batch, item: Item, marks: dict[str, int]) -> Opened | str:
        """The item opened, or why it is put aside."""
        try:
            return self._open(batch, item, marks)
        except _StoppedError as stopped:
            return str(stopped)
        except MISFITS:
            return INVALID

    def _open(self, batch: _Batch, item: Item, marks: dict[str, int]) -> Opened:
        vault = batch.vault
        try:
            text = self._mailbox.open(vault.keyring, item)
        except TamperedError:
            raise _StoppedError(UNREADABLE) from None
        grant = self._grant_of(batch, item)
        if grant is None:
            raise _StoppedError(FOREIGN)
        made = [one for one in WRITES if self._genuine(vault, item, text, _pen(vault.id, grant, one))]
        if not made:
            raise _StoppedError(FOREIGN)
        if item.number <= marks.get(item.origin, 0):
            raise _StoppedError(AGAIN)
        said, [collection] = json.loads(text), made
        document = None if "withdrawn" in said else validated(collection, said["document"])
        return Opened(item, grant, collection, day_of(int(said["at"])), document)

    def _genuine(self, vault: Vault, item: Item, text: bytes, pen: Pen) -> bool:
        return self._mailbox.genuine(vault.id, item, text, pen.deposit_key)

    def _grant_of(self, batch: _Batch, item: Item) -> OpenGrant | None:
        if item.origin not in batch.grants:
            batch.grants[item.origin] = self._grant(batch.vault, item.origin)
        return batch.grants[item.origin]

    def _grant(self, vault: Vault, grant_id: str) -> OpenGrant | None:
        row = self._engine.one(
            f"SELECT {GRANT_COLUMNS} FROM grants WHERE vault = ? AND grant_id = ?", (vault.id, grant_id)
        )
        try:
            return open_grant(vault.keyring, row) if row else None
        except TamperedError:
            return None

    # ---- taking: inside the transaction -------------------------------------------------------------

    def _take(
        self,
        transaction: Transaction,
        batch: _Batch,
        marks: dict[str, int],
        item: Item,
        found: Opened | str,
    ) -> bool:
        """Let the item's word take effect and delete it, or put it aside; False where it was gone already."""
        vault = batch.vault
        if isinstance(found, str):
            stopped = self._mailbox.stop(transaction, vault.id, item, found)
            if stopped and found == INVALID:
                self._tell(transaction, batch, item, REFUSED)
            return stopped
        if not self._mailbox.holds(vault.id, item):
            return False
        try:
            self._apply(transaction, batch, found)
        except MISFITS:  # it fits nothing, or its record was altered; nothing was written yet
            return self._mailbox.stop(transaction, vault.id, item, INVALID)
        self._mailbox.take(transaction, vault.id, item)
        marks[item.origin] = max(marks.get(item.origin, 0), item.number)
        self._tell(transaction, batch, item, FILED if found.document is not None else "")
        return True

    def _apply(self, transaction: Transaction, batch: _Batch, found: Opened) -> None:
        origin, item, collection = found.item.origin, found.item.item, found.collection
        vault, at = batch.vault, found.day
        note = self._note(vault, origin, item)
        if note is not None and note["collection"] != collection:
            raise ValueError("of another collection than what it follows")
        if found.document is None:
            if note is None:
                return  # taken back before it was filed
            newer = receipts.taken_back(collection, note["said"], at)
        else:
            newer = receipts.facts(collection, found.document, found.grant.vendor_name, at)
            newer = newer if note is None else receipts.again(collection, newer, note["said"], at)
        record, current = self._place(batch, found, note, newer)
        if current is None and note is not None:
            return  # she removed it: it does not come back
        if current is None and collection == "purchases":
            newer = receipts.as_new(newer, found.grant.vendor_name)
        if current is None or receipts.brought(collection, newer):
            merged, said = receipts.merge(current or {}, note["said"] if note else {}, newer)
        else:
            shop = receipts.is_the_shop(current, found.grant.reserve.sellers)
            merged, said = receipts.moved_on(current, newer) if shop else current, newer
        if merged != current:
            batch.store(collection, record, receipts.complete(collection, merged))
        noted = {"collection": collection, "record": record, "said": said}
        self._mailbox.set_note(transaction, vault.keyring, origin, item, noted)

    def _note(self, vault: Vault, origin: str, item: bytes) -> dict[str, Any] | None:
        try:
            return self._mailbox.note(vault.keyring, origin, item)
        except TamperedError:
            return None  # then it comes as something new

    def _place(
        self, batch: _Batch, found: Opened, note: dict[str, Any] | None, newer: Document
    ) -> tuple[str, Document | None]:
        """(record, its document): where it went before, the line that an import knows, or a new one."""
        collection, vault = found.collection, batch.vault
        if note is not None:
            return note["record"], batch.read(collection, note["record"])
        records = batch.records(collection)
        lines = receipts.lines_of(newer) if collection == "purchases" else []
        prints = [vault.keyring.fingerprint(*line) for line in lines]
        for fingerprint in prints:
            known = batch.prints.get(fingerprint) or records.by_fingerprint(fingerprint)
            if known is not None:
                return known, batch.read(collection, known)
        record = records.new_id()
        if prints:
            batch.prints[prints[0]] = record
        return record, None

    def _tell(self, transaction: Transaction, batch: _Batch, item: Item, status: str) -> None:
        """Let the writer see what became of it; "" where nothing is left to see.

        What was taken back shows nothing already, but for a state that an earlier version had left pending.
        """
        row = self._engine.one(
            "SELECT item, CAST(version AS INTEGER), CAST(updated AS INTEGER), CAST(sealed AS BLOB), shelf"
            " FROM deposits WHERE vault = ? AND grant_id = ? AND item = ?",
            (batch.vault.id, item.origin, item.item),
        )
        grant = self._grant_of(batch, item)
        if row is None or row[3] is None or grant is None:
            return
        for collection in WRITES:
            pen = _pen(batch.vault.id, grant, collection)
            if pen.shelf != row[4]:
                continue
            try:
                state = pen.open(*row[:4])
            except TamperedError:
                return
            now = replace(
                state,
                status=status or PENDING,
                updated=self._clock.now(),
                reason=COULD_NOT if status == REFUSED else "",
                ever_filed=state.ever_filed or status == FILED,
            )
            transaction.execute(
                "UPDATE deposits SET updated = ?, sealed = ? WHERE vault = ? AND grant_id = ? AND item = ?",
                (now.updated, pen.seal(now) if status else None, batch.vault.id, item.origin, item.item),
            )

    # ---- what could not be filed --------------------------------------------------------------------

    def put_aside(self, vault: Vault) -> list[PutAside]:
        """What could not be filed, with who left it as far as that is certain."""
        found = []
        for item in self._mailbox.stopped(vault.id):
            grant = self._grant(vault, item.origin) if item.stopped == INVALID else None
            name = grant.vendor_name if grant else ""
            found.append(PutAside(item.origin, item.number, item.stopped, name))
        return found

    def discard(self, vault: Vault, origin: str, number: int) -> bool:
        """Throw away something that was put aside; False where it is gone already."""
        for item in self._mailbox.stopped(vault.id):
            if (item.origin, item.number) == (origin, number):
                with self._engine.write(of=vault.id) as transaction:
                    return self._mailbox.take(transaction, vault.id, item)
        return False

    def problems(self, vault: Vault) -> list[str]:
        """What somebody put into the mailbox who had no right to, as far as filing has met it."""
        planted = [item for item in self._mailbox.stopped(vault.id) if item.stopped in PLANTED]
        return [f"an item of the mailbox was planted or altered (number {item.number})" for item in planted]

    def check(self, vault: Vault) -> list[str]:
        """`problems`, and what still waits, judged without filing it."""
        try:
            marks = self._marks(vault)
        except TamperedError:
            return self.problems(vault)  # the vault itself names this
        batch, found = _Batch(vault), self.problems(vault)
        for item in self._mailbox.waiting(vault.id, 1 << 31):
            if self._judge(batch, item, marks) in PLANTED:
                found.append(f"an item of the mailbox was planted or altered (number {item.number})")
        return found

    def _forget(self, vault: Vault) -> None:
        """Notes of grants that ended: nothing can follow any more."""
        live = {
            row[0]
            for row in self._engine.all(
                "SELECT grant_id FROM grants WHERE vault = ? AND state = 'live'", (vault.id,)
            )
        }
        ended = [origin for origin in self._mailbox.noted_origins(vault.id) if origin not in live]
        if ended:
            with self._engine.write(of=vault.id) as transaction:
                for origin in ended:
                    self._mailbox.forget(transaction, vault.id, origin)


def _pen(vault: str, grant: OpenGrant, collection: str) -> Pen:
    key = grant.keys.scope_key(write_scope(collection))
    return Pen(vault, grant.grant_id, collection, key, grant.keys.common)
