"""The sealed chain of changes: what the vault's newest state must look like.

Each entry lists (collection, record, revision, hash of the stored body) and is sealed with the hash of
the entry before it as associated data; the head is sealed apart. A dropped, edited or swapped entry, a
cut tail and an old envelope put back are found by `walk`; a cut tail already by `check_head`. The head is
there from the vault's first moment, so a journal cut to nothing is found as well. Whoever can put back the
*whole* database can go back in time: only a copy kept elsewhere tells.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from vrm.errors import TamperedError
from vrm.vault import crypto
from vrm.vault.crypto import Purpose
from vrm.vault.engine import Engine, Transaction
from vrm.vault.envelope import pad
from vrm.vault.keyring import Keyring

TABLES = (
    "CREATE TABLE journal (vault TEXT NOT NULL, seq INTEGER NOT NULL, sealed BLOB NOT NULL,"
    " PRIMARY KEY (vault, seq))",
    "CREATE TABLE journal_heads (vault TEXT PRIMARY KEY, sealed BLOB NOT NULL)",
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


class Journal:
    """One vault's journal."""

    def __init__(self, engine: Engine, keyring: Keyring) -> None:
        self._engine = engine
        self._vault = keyring.vault
        self._entries = keyring.cipher(Purpose.JOURNAL)
        self._heads = keyring.cipher(Purpose.JOURNAL_HEAD)

    def _head(self) -> tuple[int, bytes]:
        row = self._engine.one("SELECT sealed FROM journal_heads WHERE vault = ?", (self._vault,))
        if row is None:
            raise TamperedError()
        seq, link = json.loads(self._heads.unseal(row[0]))
        return int(seq), bytes.fromhex(link)

    def begin(self, transaction: Transaction) -> None:
        """Seal the head of an empty journal, in the transaction that makes the vault."""
        self._seal_head(transaction, 0, _FIRST)

    def append(self, transaction: Transaction, changes: Sequence[Noted]) -> None:
        """Note the changes, in the transaction that makes them."""
        seq, link = self._head()
        for at in range(0, len(changes), _BATCH):
            seq += 1
            text = json.dumps(changes[at : at + _BATCH], separators=(",", ":")).encode()
            sealed = self._entries.seal(pad(text, _BUCKET), seq, link)
            transaction.execute("INSERT INTO journal VALUES (?, ?, ?)", (self._vault, seq, sealed))
            link = crypto.digest(sealed)
        self._seal_head(transaction, seq, link)

    def _seal_head(self, transaction: Transaction, seq: int, link: bytes) -> None:
        head = self._heads.seal(json.dumps([seq, link.hex()]).encode())
        transaction.execute(
            "INSERT INTO journal_heads VALUES (?, ?)"
            " ON CONFLICT (vault) DO UPDATE SET sealed = excluded.sealed",
            (self._vault, head),
        )

    def position(self) -> int:
        """How many entries there are: the same number means that no record has changed."""
        return self._head()[0]

    def check_head(self) -> bool:
        """Whether the newest entry is the one the head names (one row read)."""
        with self._engine.read():
            try:
                seq, link = self._head()
            except TamperedError:
                return False
            row = self._engine.one(
                "SELECT seq, sealed FROM journal WHERE vault = ? ORDER BY seq DESC LIMIT 1", (self._vault,)
            )
        if row is None:
            return seq == 0
        return int(row[0]) == seq and crypto.equal(crypto.digest(row[1]), link)

    def walk(self) -> Iterator[Noted]:
        """Every change from the first; TamperedError at the first break of the chain."""
        with self._engine.read():
            last, end = self._head()
            rows = self._engine.all(
                "SELECT seq, sealed FROM journal WHERE vault = ? ORDER BY seq", (self._vault,)
            )
        link = _FIRST
        for expected, (seq, sealed) in enumerate(rows, start=1):
            if seq != expected:
                raise TamperedError()
            for noted in json.loads(self._entries.unseal(sealed, seq, link)):
                yield Noted(*noted)
            link = crypto.digest(sealed)
        if len(rows) != last or not crypto.equal(link, end):
            raise TamperedError()
