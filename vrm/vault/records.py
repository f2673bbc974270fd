"""Records over a keyring: sealed (`vrm.vault.facets`), journalled, watched.

Promises: every change of records, journal and watchers' views is one transaction; an import shows nothing
until `publish`.
Refuses: documents that are not valid, writes against another revision, and any write of a vault with
live grants while nobody keeps their views.
"""

from __future__ import annotations

import secrets
import struct
from collections.abc import Callable, Collection, Container, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from vrm.clock import Clock
from vrm.errors import ConflictError, RecordNotFoundError, TamperedError
from vrm.vault import crypto
from vrm.vault.bookmarks import Bookmark
from vrm.vault.catalog import STAMPED
from vrm.vault.changes import Change, Watcher
from vrm.vault.engine import Engine, Step, Transaction, Work
from vrm.vault.facets import Facets
from vrm.vault.generations import require_current
from vrm.vault.journal import Journal, Noted, body_hash
from vrm.vault.keyring import Keyring

if TYPE_CHECKING:
    from vrm.vault.schemas import Document

TABLES = (
    "CREATE TABLE records (vault TEXT NOT NULL, collection TEXT NOT NULL, record TEXT NOT NULL,"
    " revision INTEGER NOT NULL, import INTEGER NOT NULL, fingerprint BLOB, body BLOB NOT NULL,"
    " PRIMARY KEY (vault, collection, record))",
    "CREATE INDEX records_import ON records (vault, import) WHERE import > 0",
    "CREATE INDEX records_fingerprint ON records (vault, fingerprint) WHERE fingerprint IS NOT NULL",
    "CREATE TABLE imports (vault TEXT NOT NULL, import INTEGER NOT NULL, PRIMARY KEY (vault, import))",
    "CREATE TABLE staged (vault TEXT NOT NULL, import INTEGER NOT NULL, collection TEXT NOT NULL,"
    " record TEXT NOT NULL, revision INTEGER NOT NULL, body BLOB NOT NULL,"
    " PRIMARY KEY (vault, import, collection, record))",
)
# A row of an import that did not finish is as if it were not there.
_VISIBLE = (
    "vault = ? AND collection = ?"
    " AND (import = 0 OR import NOT IN (SELECT i.import FROM imports i WHERE i.vault = records.vault))"
)
_BATCH = 500  # records handed to the watcher at once
_LEAST_REVISION = 1 << 29  # up to twice this, all numbers take the same room in the database


def _first_revisions(count: int) -> list[int]:
    """Where records start to count: at random, so that no number tells how often one was touched.

    What she has not sorted yet, and what she first sorted wrongly, would show otherwise.
    """
    drawn = struct.unpack(f"={count}I", crypto.random_bytes(4 * count))
    return [_LEAST_REVISION + number % _LEAST_REVISION for number in drawn]


def _arriving(document: Document, now: int) -> Document:
    return {**document, "notes": {**document["notes"], "arrived": now}} if now else document


class Records(Facets):
    """The records of one collection of an unlocked vault."""

    def __init__(
        self,
        engine: Engine,
        keyring: Keyring,
        collection: str,
        watcher: Watcher | None,
        clock: Clock,
    ) -> None:
        super().__init__(engine, keyring, collection)
        self._vault = keyring.vault
        self._journal = Journal(engine, keyring)
        self._watcher = watcher
        self._clock = clock

    def new_id(self) -> str:
        """A random record id, 32 hex digits: it tells neither time nor order."""
        return secrets.token_hex(16)

    def new_ids(self, count: int) -> list[str]:
        """So many of them, drawn in one call."""
        drawn = secrets.token_hex(16 * count)
        return [drawn[at : at + 32] for at in range(0, len(drawn), 32)]

    def transaction(self) -> AbstractContextManager[Transaction]:
        """A durable transaction that several calls can share."""
        return self._engine.write(of=self._vault)

    def read(self, record: str) -> tuple[Document, int]:
        """(document, revision); RecordNotFoundError."""
        row = self._engine.one(
            f"SELECT revision, body FROM records WHERE {_VISIBLE} AND record = ?",
            (self._vault, self.name, record),
        )
        if row is None:
            raise RecordNotFoundError()
        return self.unseal(record, row[0], row[1]), row[0]

    def get(self, record: str) -> Document:
        """The document; RecordNotFoundError."""
        return self.read(record)[0]

    def is_newest(self, record: str) -> bool:
        """Whether what is stored was written last: an old state put back, or a removed one, was not."""
        bookmark = Bookmark(self._engine, self._keyring)
        with self._engine.read():
            row = self._engine.one(
                f"SELECT revision, body FROM records WHERE {_VISIBLE} AND record = ?",
                (self._vault, self.name, record),
            )
            try:
                newest = (row[0], body_hash(row[1])) if row else (0, "")
                found = newest == bookmark.state(self.name, record)
            except TamperedError:
                return False
        bookmark.keep_up()
        return found

    def contains(self, record: str) -> bool:
        """Whether there is such a record."""
        sql = f"SELECT 1 FROM records WHERE {_VISIBLE} AND record = ?"
        return self._engine.one(sql, (self._vault, self.name, record)) is not None

    def count(self) -> int:
        """How many records there are."""
        row = self._engine.one(f"SELECT count(*) FROM records WHERE {_VISIBLE}", (self._vault, self.name))
        return int(row[0]) if row else 0

    def by_fingerprint(self, fingerprint: bytes) -> str | None:
        """The imported record that is this line, if it shows."""
        row = self._engine.one(
            f"SELECT record FROM records WHERE {_VISIBLE} AND fingerprint = ?",
            (self._vault, self.name, fingerprint),
        )
        return None if row is None else str(row[0])

    def ids(self) -> list[str]:
        """The ids of all records."""
        rows = self._engine.all(f"SELECT record FROM records WHERE {_VISIBLE}", (self._vault, self.name))
        return [row[0] for row in rows]

    def scan(self, facets: Collection[str] = ()) -> Iterator[tuple[str, Document]]:
        """Every (id, document), opened some at a time from one state of the database (`opener`)."""
        return self.unseal_each(self.stored(), facets)

    def readable(
        self, facets: Collection[str] = (), among: Container[str] | None = None
    ) -> Iterator[tuple[str, Document]]:
        """The same without what was altered: one record must not keep the others from being seen.

        With `among`, these records only.
        """
        unseal = self.opener(facets)
        for record, revision, body in self.stored():
            if among is None or record in among:
                with suppress(TamperedError):
                    yield record, unseal(record, revision, body)

    def stored(self) -> Iterator[tuple[str, int, bytes]]:
        """(id, revision, sealed body) of every record, a few in memory at a time; to be used up at once."""
        with self._engine.read() as transaction:
            yield from transaction.each(
                f"SELECT record, revision, body FROM records WHERE {_VISIBLE}", (self._vault, self.name)
            )

    def put(
        self, document: Mapping[str, Any], record: str | None = None, *, revision: int | None = None
    ) -> str:
        """Store a new record, or a new state of `record`; returns its id.

        With `revision`, ConflictError unless that is the stored one. ValidationError names the fields.
        """
        record = record or self.new_id()
        expected = {} if revision is None else {record: revision}
        self.apply({record: self.check(document)}, expected=expected)
        return record

    def remove(self, record: str, *, revision: int | None = None) -> None:
        """Remove a record; RecordNotFoundError, ConflictError."""
        if not self.contains(record):
            raise RecordNotFoundError()
        self.apply({record: None}, expected={} if revision is None else {record: revision})

    def check(self, document: Mapping[str, Any]) -> Document:
        """A valid, complete document; ValidationError names the fields."""
        from vrm.vault import schemas

        return schemas.validate(self.name, document)

    def apply(
        self,
        changes: Mapping[str, Document | None],
        *,
        expected: Mapping[str, int] | None = None,
        fingerprints: Mapping[str, bytes] | None = None,
    ) -> None:
        """Make all changes (None removes) with journal and views in one transaction.

        `fingerprints` are those of new records, by which a later import knows them again.

        Documents must be valid already (`put` and the tables validate); ConflictError where a revision
        differs from the expected one.
        """
        self._engine.perform(self.applying(changes, expected or {}, fingerprints or {}))

    def changed(self, since: int, until: int) -> list[str]:
        """The records that changed between these positions of the vault, in the order of their changes."""
        return [one.record for one in self._journal.between(since, until) if one.collection == self.name]

    def applying(
        self,
        changes: Mapping[str, Document | None],
        expected: Mapping[str, int],
        fingerprints: Mapping[str, bytes],
    ) -> Work[None]:
        """`apply` as a work."""

        def act(transaction: Transaction) -> None:
            self._apply(transaction, changes, expected, fingerprints)

        yield Step(act, self._vault)

    def _apply(
        self,
        transaction: Transaction,
        changes: Mapping[str, Document | None],
        expected: Mapping[str, int],
        fingerprints: Mapping[str, bytes],
    ) -> None:
        state = self._journal.state()
        now = self._stamping(watched=bool(state.watched))
        noted: list[Noted] = []
        told: list[Change] = []
        for record, given in changes.items():
            new = given is not None and expected.get(record) == 0  # then the table says whether it is
            present = 0 if new else self._require(record, expected)
            document = self._stamped(record, given, now, present) if now and given is not None else given
            noted.append(self._write(transaction, record, document, present, fingerprints.get(record)))
            told.append(Change(self.name, record, document, fresh=not present))
        self._journal.append_to(transaction, state, noted)
        if state.watched:
            self._tell(transaction, told)

    def _stamping(self, *, watched: bool) -> int:
        """The time at which new records come in; 0 where nobody asks when: before any grant is made."""
        return self._clock.now() if self.name == STAMPED and watched else 0

    def _stamped(self, record: str, document: Document, now: int, present: int) -> Document:
        """The document with when it came in: what is stored counts, an edit moves nothing."""
        notes = dict(document["notes"])
        arrived = self.get(record)["notes"].get("arrived") if present else notes.get("arrived", now)
        notes.pop("arrived", None)
        return {**document, "notes": notes if arrived is None else {**notes, "arrived": arrived}}

    def _require(self, record: str, expected: Mapping[str, int]) -> int:
        """The revision that is stored, 0 where there is none; ConflictError where another is expected."""
        row = self._engine.one(
            f"SELECT revision FROM records WHERE {_VISIBLE} AND record = ?", (self._vault, self.name, record)
        )
        present = int(row[0]) if row else 0
        if expected.get(record, present) != present:
            raise ConflictError()
        return present

    def _write(
        self,
        transaction: Transaction,
        record: str,
        document: Document | None,
        present: int,
        fingerprint: bytes | None,
    ) -> Noted:
        key = (self._vault, self.name, record)
        if document is None:
            transaction.execute("DELETE FROM records WHERE vault = ? AND collection = ? AND record = ?", key)
            return Noted(self.name, record, 0, "")
        revision = present + 1 if present else _first_revisions(1)[0]
        body = self.seal(record, revision, document)
        written = transaction.execute(
            "UPDATE records SET revision = ?, body = ? WHERE vault = ? AND collection = ? AND record = ?"
            if present
            else "INSERT INTO records (revision, body, vault, collection, record, import, fingerprint)"
            " VALUES (?, ?, ?, ?, ?, 0, ?) ON CONFLICT (vault, collection, record) DO NOTHING",
            (revision, body, *key) if present else (revision, body, *key, fingerprint),
        )
        if written.rowcount != 1:
            raise ConflictError()
        return Noted(self.name, record, revision, body_hash(body))

    def _watched(self) -> bool:
        return bool(self._journal.state().watched)

    def _tell(self, transaction: Transaction, changes: Sequence[Change]) -> None:
        if self._watcher is None:
            raise RuntimeError("this vault has live grants and nobody keeps their views")
        self._watcher.changed(transaction, self._keyring, changes)

    def require_no_import(self) -> None:
        """ConflictError while an import of this vault runs; call it inside a `write` block.

        What an import that begins after the block brings is stamped as of then.
        """
        if self._engine.one("SELECT 1 FROM imports WHERE vault = ?", (self._vault,)):
            with self._engine.exclusive("import", of=self._vault) as mine:
                if not mine:  # else it was killed, and nothing of it will ever show
                    raise ConflictError("an import is running", hint="wait until it has finished")

    @contextmanager
    def staging(self) -> Iterator[Staging]:
        """An import into hiding; nothing shows, and nothing stays, unless `publish` is called.

        ConflictError while another import of this vault runs.
        """
        with self._engine.exclusive("import", of=self._vault) as mine:
            if not mine:
                raise ConflictError("another import is running", hint="wait until it has finished")
            self._sweep()
            with self._engine.write(of=self._vault) as transaction:
                row = transaction.execute(
                    "SELECT coalesce(max(import), 0) + 1 FROM records WHERE vault = ? AND import > 0",
                    (self._vault,),
                ).fetchone()
                number = int(row[0])
                transaction.execute("INSERT INTO imports VALUES (?, ?)", (self._vault, number))
            staging = Staging(self, number)
            try:
                yield staging
            finally:
                if not staging.published:
                    self._sweep()

    def _sweep(self) -> None:
        """Delete what imports left that did not finish; the caller holds the import lock."""
        with self._engine.write(of=self._vault) as transaction:
            for (number,) in self._engine.all("SELECT import FROM imports WHERE vault = ?", (self._vault,)):
                for table in ("records", "staged", "imports"):
                    transaction.execute(
                        f"DELETE FROM {table} WHERE vault = ? AND import = ?", (self._vault, number)
                    )


class Staging:
    """Hidden rows of one import: `add` new ones, `replace` known ones, then `publish` all at once."""

    def __init__(self, records: Records, number: int) -> None:
        self._records = records
        self._number = number
        self._noted: list[Noted] = []
        self.published = False

    def known(self) -> dict[bytes, str]:
        """Fingerprint → record id of every imported record that shows."""
        records = self._records
        rows = records._engine.all(
            f"SELECT fingerprint, record FROM records WHERE {_VISIBLE} AND fingerprint IS NOT NULL",
            (records._vault, records.name),
        )
        return {bytes(fingerprint): record for fingerprint, record in rows}

    def add(self, rows: Sequence[tuple[bytes, Document]], ids: Sequence[str] = ()) -> Sequence[str]:
        """Store a batch of new records in one transaction; the documents must be valid. Returns their ids.

        Rows stand on the disk in the order of their ids, so that neighbours in an order are none there.
        Whoever draws the `ids` of all rows of many batches and hands both over in an order that tells
        nothing lets the indexes grow at one end.
        """
        records, number, sealed = self._records, self._number, []
        ids = ids or records.new_ids(len(rows))
        now = records._stamping(watched=records._watched())
        for record, revision, (fingerprint, document) in zip(
            ids, _first_revisions(len(rows)), rows, strict=True
        ):
            body = records.seal(record, revision, _arriving(document, now))
            sealed.append((records._vault, records.name, record, revision, number, fingerprint, body))
            self._noted.append(Noted(records.name, record, revision, body_hash(body)))
        sealed.sort(key=itemgetter(2))
        with records.transaction() as transaction:
            require_current(records._engine, records._keyring)
            transaction.executemany("INSERT INTO records VALUES (?, ?, ?, ?, ?, ?, ?)", sealed)
        return ids

    def replace(self, rows: Sequence[tuple[str, int, Document]]) -> None:
        """Keep (record, revision it was read at, new document) until `publish`."""
        records = self._records
        sealed = [
            (
                records._vault,
                self._number,
                records.name,
                record,
                revision,
                records.seal(record, revision + 1, document),
            )
            for record, revision, document in rows
        ]
        with records.transaction() as transaction:
            require_current(records._engine, records._keyring)
            transaction.executemany("INSERT INTO staged VALUES (?, ?, ?, ?, ?, ?)", sealed)

    def publish(self, merge: Callable[[Document, Document], Document]) -> None:
        """Show everything in one commit: new rows, replaced rows, journal and views.

        `merge(current, newer)` decides where the customer edited a record while the import ran.
        """
        records, number = self._records, self._number
        with records.transaction() as transaction:
            transaction.execute(
                "DELETE FROM imports WHERE vault = ? AND import = ?", (records._vault, number)
            )
            if self._noted:
                records._journal.append(transaction, self._noted)
            if records._watched():
                for at in range(0, len(self._noted), _BATCH):
                    records._tell(transaction, self._brought(self._noted[at : at + _BATCH]))
            self._replace_all(merge)
            transaction.execute("DELETE FROM staged WHERE vault = ? AND import = ?", (records._vault, number))
        self.published = True

    def _brought(self, noted: Sequence[Noted]) -> list[Change]:
        """A batch of new records as they were stored: so many are not held in memory."""
        records, marks = self._records, ", ".join("?" * len(noted))
        rows = records._engine.all(
            "SELECT record, revision, body FROM records"
            f" WHERE vault = ? AND collection = ? AND record IN ({marks})",
            (records._vault, records.name, *(one.record for one in noted)),
        )
        return [Change(records.name, row[0], records.unseal(*row), fresh=True) for row in rows]

    def _replace_all(self, merge: Callable[[Document, Document], Document]) -> None:
        records = self._records
        rows = records._engine.all(
            "SELECT record, revision, body FROM staged WHERE vault = ? AND import = ?",
            (records._vault, self._number),
        )
        for at in range(0, len(rows), _BATCH):
            changes: dict[str, Document | None] = {}
            for record, revision, body in rows[at : at + _BATCH]:
                if not records.contains(record):
                    continue  # the customer removed it meanwhile: her word counts
                newer = records.unseal(record, revision + 1, body)
                current, present = records.read(record)
                changes[record] = newer if present == revision else merge(current, newer)
            records.apply(changes)
