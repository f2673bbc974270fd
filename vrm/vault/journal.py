"""The sealed chain of changes: what the vault's newest state must look like.

Each entry lists (collection, record, revision, hash of the stored body) and is sealed with the hash of
the entry before it as associated data; the head is sealed apart. A dropped, edited or swapped entry, a
cut tail and an old envelope put back are found by `walk`; a cut tail already by `check_head`. The head is
there from the vault's first moment, so a journal cut to nothing is found as well. Whoever can put back the
*whole* database can go back in time: only a copy kept elsewhere tells. A rotation writes the chain anew from
the newest states; it counts on, so that no position comes twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from vrm.errors import TamperedError
from vrm.vault import compact, crypto
from vrm.vault.crypto import Purpose
from vrm.vault.engine import Engine, Transaction
from vrm.vault.envelope import pad
from vrm.vault.generations import blame_renewal, require_current
from vrm.vault.keyring import Keyring

TABLES = (  # each in one tree, so that a change writes one page of it
    "CREATE TABLE journal (vault TEXT NOT NULL, seq INTEGER NOT NULL, sealed BLOB NOT NULL,"
    " PRIMARY KEY (vault, seq)) WITHOUT ROWID",
    "CREATE TABLE journal_heads (vault TEXT PRIMARY KEY, sealed BLOB NOT NULL) WITHOUT ROWID",
)
STEPS = (  # of 0.1.0, where they had two
    "CREATE TABLE journal_before AS SELECT vault, seq, sealed FROM journal",
    "CREATE TABLE journal_heads_before AS SELECT vault, sealed FROM journal_heads",
    "DROP TABLE journal",
    "DROP TABLE journal_heads",
    *TABLES,
    "INSERT INTO journal (vault, seq, sealed) SELECT vault, seq, sealed FROM journal_before",
    "INSERT INTO journal_heads (vault, sealed) SELECT vault, sealed FROM journal_heads_before",
    "DROP TABLE journal_before",
    "DROP TABLE journal_heads_before",
)
_FIRST = bytes(32)
_BATCH = 500  # changes in one entry
_BUCKET = 256  # bytes: the length of an entry tells little about how much changed


class Noted(NamedTuple):
    """One change: revision 0 and no hash where the record was removed."""

    collection: str
    record: str
    revision: int
    body_hash: str


def body_hash(body: bytes) -> str:
    """32 hex digits that tell this stored body from any other."""
    return crypto.digest(body)[:16].hex()


class Place(NamedTuple):
    """Where a chain stands: the newest entry's number and hash; entries up to `base` are gone for good."""

    seq: int
    link: bytes
    base: int = 0


class State(NamedTuple):
    """The generation of a vault's root, whether its records are watched, the sealed head of its journal."""

    generation: int
    watched: int
    head: bytes | None


class Journal:
    """One vault's journal."""

    def __init__(self, engine: Engine, keyring: Keyring) -> None:
        self._engine = engine
        self._keyring = keyring
        self._vault = keyring.vault
        self._entries = keyring.cipher(Purpose.JOURNAL)
        self._heads = keyring.cipher(Purpose.JOURNAL_HEAD)

    def _head(self) -> Place:
        row = self._engine.one("SELECT sealed FROM journal_heads WHERE vault = ?", (self._vault,))
        return self._place(row[0] if row else None)

    def _place(self, sealed: bytes | None) -> Place:
        if sealed is None:
            raise TamperedError()
        try:
            seq, link, *base = compact.loads(self._heads.unseal(sealed))
        except TamperedError:
            blame_renewal(self._engine, self._keyring)
            raise
        return Place(int(seq), bytes.fromhex(link), int(base[0]) if base else 0)

    def begin(self, transaction: Transaction) -> None:
        """Seal the head of an empty journal, in the transaction that makes the vault."""
        self._seal_head(transaction, Place(0, _FIRST))

    def append(self, transaction: Transaction, changes: Sequence[Noted]) -> None:
        """Note the changes, in the transaction that makes them.

        SessionExpiredError where the root was replaced since the vault was opened.
        """
        require_current(self._engine, self._keyring)
        self._write(transaction, self._head(), changes)

    def append_to(self, transaction: Transaction, state: State, changes: Sequence[Noted]) -> None:
        """`append` to what `state` has just read in the same transaction."""
        if state.generation != self._keyring.generation:
            require_current(self._engine, self._keyring)
        self._write(transaction, self._place(state.head), changes)

    def state(self) -> State:
        """What a change of records asks of its vault first; a vault that is gone is one of no generation."""
        row = self._engine.one(
            "SELECT v.generation, v.watched, h.sealed FROM vaults v"
            " LEFT JOIN journal_heads h ON h.vault = v.vault WHERE v.vault = ?",
            (self._vault,),
        )
        return State(*row) if row else State(0, 0, None)

    def _write(self, transaction: Transaction, place: Place, changes: Sequence[Noted]) -> None:
        seq, link, base = place
        for at in range(0, len(changes), _BATCH):
            seq += 1
            text = compact.dumps([list(change) for change in changes[at : at + _BATCH]])
            sealed = self._entries.seal(pad(text, _BUCKET), seq, link)
            transaction.send(
                "INSERT INTO journal (vault, seq, sealed) VALUES (?, ?, ?)", (self._vault, seq, sealed)
            )
            link = crypto.digest(sealed)
        self._seal_head(transaction, Place(seq, link, base))

    def _seal_head(self, transaction: Transaction, place: Place) -> None:
        values = [place.seq, place.link.hex(), *([place.base] if place.base else [])]
        head = self._heads.seal(compact.dumps(values))
        transaction.send(
            "INSERT INTO journal_heads (vault, sealed) VALUES (?, ?)"
            " ON CONFLICT (vault) DO UPDATE SET sealed = excluded.sealed",
            (self._vault, head),
        )

    def take_over(self, transaction: Transaction, before: Keyring) -> None:
        """Seal the head of the root before under this one: from now on only who holds it goes on."""
        self._seal_head(transaction, Journal(self._engine, before)._head())  # noqa: SLF001 - a journal

    def renew(self, transaction: Transaction, newest: Sequence[Noted]) -> None:
        """A fresh chain that says of every record what its newest state is; the positions go on."""
        seq = self._head().seq
        for table in ("journal", "journal_marks"):
            transaction.execute(f"DELETE FROM {table} WHERE vault = ?", (self._vault,))
        self._write(transaction, Place(seq, _FIRST, seq), newest)

    def position(self) -> int:
        """A number that grows with every entry: the same number means that no record has changed."""
        return self._head().seq

    def between(self, since: int, until: int) -> list[Noted]:
        """The changes noted after position `since`, up to `until`; none where they are gone for good.

        TamperedError where one of them does not follow from the entry before it.
        """
        with self._engine.read():
            base = self._head().base
            rows = self._engine.all(
                "SELECT seq, sealed FROM journal WHERE vault = ? AND seq BETWEEN ? AND ? ORDER BY seq",
                (self._vault, max(since, base), until),
            )
        link, found = _FIRST, []
        for seq, sealed in rows if since >= base else ():
            if seq > since:
                found += [Noted(*one) for one in compact.loads(self._entries.unseal(sealed, seq, link))]
            link = crypto.digest(sealed)
        return found

    def check_head(self) -> bool:
        """Whether the newest entry is the one the head names (one row read)."""
        with self._engine.read():
            try:
                seq, link, base = self._head()
            except TamperedError:
                return False
            row = self._engine.one(
                "SELECT seq, sealed FROM journal WHERE vault = ? ORDER BY seq DESC LIMIT 1", (self._vault,)
            )
        if row is None:
            return seq == base
        return int(row[0]) == seq and crypto.equal(crypto.digest(row[1]), link)

    def walk(self) -> Iterator[Noted]:
        """Every change from the first; TamperedError at the first break of the chain."""
        yield from self.follow(None)[0]

    def follow(self, known: Place | None) -> tuple[list[Noted], Place]:
        """The changes since `known` (None: since the first), and the place where the chain now stands."""
        with self._engine.read():
            end = self._head()
            again = known is not None and known.base == end.base
            place = known if known is not None and again else Place(end.base, _FIRST)
            rows = self._engine.all(
                "SELECT seq, sealed FROM journal WHERE vault = ? AND seq > ? ORDER BY seq",
                (self._vault, place.seq if again else -(1 << 62)),
            )
        seq, link, found = place.seq, place.link, []
        for expected, (seq, sealed) in enumerate(rows, start=place.seq + 1):
            if seq != expected:
                raise TamperedError()
            found += [Noted(*one) for one in compact.loads(self._entries.unseal(sealed, seq, link))]
            link = crypto.digest(sealed)
        if seq != end.seq or not crypto.equal(link, end.link):
            raise TamperedError()
        return found, end


class Newest:
    """What the journal says of every record, kept up as it grows."""

    def __init__(self, journal: Journal) -> None:
        self.states: dict[tuple[str, str], tuple[int, str]] = {}  # (collection, record) → (revision, hash)
        self._journal = journal
        self._place: Place | None = None

    def follow(self) -> None:
        """Take in what was noted since; TamperedError where the chain is broken."""
        noted, self._place = self._journal.follow(self._place)
        for one in noted:
            self.states[one.collection, one.record] = (one.revision, one.body_hash)

    def noted(self) -> list[Noted]:
        """The newest state of every record that is not removed, in the order of the ids."""
        states = sorted(self.states.items())
        return [Noted(*key, *state) for key, state in states if state[0]]
