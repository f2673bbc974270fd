"""What the journal said of every record up to a place in its chain, so that one record is judged at once.

Promises: the answer is that of the whole journal, whose chain is opened from that place to its sealed end. A
bookmark that is old, was put back, or is not there costs time and nothing else: it is sealed, names the entry
whose hash it goes on from, and each of its parts only counts as the one that was written last. Refuses, with
TamperedError, a chain that is broken since; breaks before it are found by whoever walks it (`vrm check`).

Records fall into parts by their ids. Only parts of records that changed are written anew, and only once so
much was noted that reading it again costs more than that.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from vrm.errors import TamperedError
from vrm.vault import compact, crypto
from vrm.vault.crypto import Purpose
from vrm.vault.engine import Engine
from vrm.vault.envelope import pad
from vrm.vault.generations import require_current
from vrm.vault.journal import Journal, Noted, Place
from vrm.vault.keyring import Keyring

TABLES = (
    "CREATE TABLE journal_marks (vault TEXT NOT NULL, part INTEGER NOT NULL, sealed BLOB NOT NULL,"
    " PRIMARY KEY (vault, part))",
)
_FAR = 128  # changes that are rather read again than remembered
_FEW = 64  # records of a part where parts are drawn
_MANY = 512  # records of a part where more parts are drawn, the next time
_HEAD = -1  # the part that tells of the others
_BUCKET = 256  # bytes

State = tuple[int, str]  # revision and hash of the body; (0, "") where there is no such record
_NONE: State = (0, "")


class _Mark(NamedTuple):
    """A place in the chain, and for each part where it was written last (0: never)."""

    place: Place
    written: list[int]

    def part_of(self, collection: str, record: str) -> int:
        return int.from_bytes(crypto.digest(_name(collection, record).encode())[:4]) % len(self.written)


class _Seen(NamedTuple):
    """What an answer was made from: the head's row, the bookmark (None: no good one), what was read since."""

    head: bytes | None
    mark: _Mark | None
    noted: list[Noted]
    place: Place


class Bookmark:
    """The newest states of records of one vault: `state`, and then `keep_up`, outside of blocks."""

    def __init__(self, engine: Engine, keyring: Keyring) -> None:
        self._engine = engine
        self._keyring = keyring
        self._vault = keyring.vault
        self._cipher = keyring.cipher(Purpose.JOURNAL_MARK)
        self._journal = Journal(engine, keyring)
        self._seen: _Seen | None = None

    def state(self, collection: str, record: str) -> State:
        """What was written of a record last; TamperedError where the chain is broken since the bookmark."""
        head = self._sealed(_HEAD)
        mark, kept = self._found(head, collection, record)
        noted, place = self._journal.follow(mark.place if mark else None)
        if mark and mark.place.base != place.base:  # the chain was written anew, and all of it was read
            mark, kept = None, _NONE
        self._seen = _Seen(head, mark, noted, place)
        for one in reversed(noted):
            if one.record == record and one.collection == collection:
                return one.revision, one.body_hash
        return kept

    def keep_up(self) -> None:
        """Go on to the end of the chain where the last answer came from far back.

        All is made ready before the lock is taken; whoever else went on meanwhile has done the work.
        """
        seen = self._seen
        if seen is None or len(seen.noted) <= _FAR or self._engine.in_transaction():
            return
        rows = self._gone_on(seen.mark, seen.noted, seen.place) if seen.mark else None
        anew = rows is None
        if rows is None:
            rows = self._anew(*(self._journal.follow(None) if seen.mark else (seen.noted, seen.place)))
        with self._engine.write(of=self._vault) as transaction:
            require_current(self._engine, self._keyring)
            if self._sealed(_HEAD) != seen.head:
                return
            if anew:
                transaction.execute("DELETE FROM journal_marks WHERE vault = ?", (self._vault,))
            transaction.executemany(
                "INSERT INTO journal_marks (vault, part, sealed) VALUES (?, ?, ?)"
                " ON CONFLICT (vault, part) DO UPDATE SET sealed = excluded.sealed",
                [(self._vault, *row) for row in rows],
            )

    def _anew(self, noted: Sequence[Noted], place: Place) -> list[tuple[int, bytes]]:
        """The rows of a bookmark of all there is."""
        records = {(one.collection, one.record) for one in noted}
        return self._gone_on(_Mark(place, [0] * (len(records) // _FEW + 1)), noted, place) or []

    def _gone_on(self, mark: _Mark, noted: Sequence[Noted], place: Place) -> list[tuple[int, bytes]] | None:
        """The rows that change; None where a part is not as it was written, or comes to hold too many."""
        changes: defaultdict[int, list[Noted]] = defaultdict(list)
        for one in noted:
            changes[mark.part_of(one.collection, one.record)].append(one)
        rows = []
        for part, ones in changes.items():
            try:
                states = self._part(mark, part)
            except TamperedError:
                return None
            states.update({_name(one.collection, one.record): (one.revision, one.body_hash) for one in ones})
            states = {name: state for name, state in states.items() if state[0]}
            if len(states) > _MANY:
                return None
            mark.written[part] = place.seq
            rows.append((part, self._cipher.seal(pad(compact.dumps(states), _BUCKET), part, place.seq)))
        head = compact.dumps([place.seq, place.link.hex(), place.base, mark.written])
        return [*rows, (_HEAD, self._cipher.seal(pad(head, _BUCKET), "head"))]

    def _found(self, head: bytes | None, collection: str, record: str) -> tuple[_Mark | None, State]:
        """The bookmark and what it says of a record; None where it is not one of this root, or was harmed."""
        try:
            seq, link, base, written = compact.loads(self._cipher.unseal(_there(head), "head"))
            mark = _Mark(Place(seq, bytes.fromhex(link), base), written)
            states = self._part(mark, mark.part_of(collection, record))
        except TamperedError:
            return None, _NONE
        kept = states.get(_name(collection, record), _NONE)
        return mark, (kept[0], kept[1])

    def _part(self, mark: _Mark, part: int) -> dict[str, State]:
        """The states of a part, as it was written last; TamperedError for any other."""
        written = mark.written[part]
        if not written:
            return {}
        found: dict[str, State] = compact.loads(
            self._cipher.unseal(_there(self._sealed(part)), part, written)
        )
        return found

    def _sealed(self, part: int) -> bytes | None:
        row = self._engine.one(
            "SELECT sealed FROM journal_marks WHERE vault = ? AND part = ?", (self._vault, part)
        )
        return row[0] if row else None


def _there(sealed: bytes | None) -> bytes:
    if sealed is None:
        raise TamperedError()
    return sealed


def _name(collection: str, record: str) -> str:
    return f"{collection}/{record}"
