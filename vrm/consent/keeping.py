"""What a changed record does to the views that are kept: rows enter, take another place, or leave.

Promises: a row whose bytes do not change is not touched; one that changed goes to the end of its view, one
that left stays as *gone*; all that is new is written at once. A record that was not there before can stand in
a view as gone only, and is looked for nowhere else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vrm.consent import events, places, policy, postings
from vrm.consent.rows import Sealing, padded, sealed_rows
from vrm.consent.standing import Kept
from vrm.vault import envelope
from vrm.vault.changes import Change
from vrm.vault.engine import Engine, Row, Transaction
from vrm.vault.keyring import Keyring

_Entered = tuple[Kept, bytes, int, bytes, policy.Verdict, list[Sealing]]  # shelf, seq, item, what leaves
Judged = tuple[str, bytes, policy.Verdict, Sequence[tuple[str, bytes]]]  # stream, name, what leaves, padded


class Keeping:
    """Changes of some views within one transaction; `finish` ends them."""

    def __init__(self, engine: Engine, transaction: Transaction, views: Sequence[Kept], now: int) -> None:
        self._engine = engine
        self._transaction = transaction
        self._views = views
        self._now = now
        self._entered: list[_Entered] = []  # rows that are sealed and written at the end
        self._left: dict[str, list[int]] = {}  # grant → positions that rows left
        self._recent: dict[str, dict[bytes, int]] = {}  # grant → id → position of what is not noted

    def follow(self, keyring: Keyring, change: Change) -> None:
        """Bring every view in step with a record. What several grants say alike is judged once."""
        judged: dict[int, list[Judged]] = {}
        for view in self._views:
            rules = view.rules
            known = judged.get(id(rules))
            if known is None:
                known = judged[id(rules)] = _judged(rules, change)
            for stream, name, verdict, parts in known:
                item, shelf = keyring.pairwise_packed(view.vendor, name), view.shelf(stream)
                if change.fresh:
                    self._enter(view, shelf, item, verdict, parts)
                else:
                    self.set(view, shelf, item, verdict)

    def _enter(
        self,
        view: Kept,
        shelf: bytes,
        item: bytes,
        verdict: policy.Verdict,
        parts: Sequence[tuple[str, bytes]],
    ) -> None:
        view.seq += 1
        self._entered.append((view, shelf, view.seq, item, verdict, view.sealing(parts, item)))

    def set(self, view: Kept, shelf: bytes, item: bytes, verdict: policy.Verdict) -> None:
        """Store, replace or retire one row; nothing happens where the same bytes would leave."""
        row = self._found(view, shelf, item)
        if row is None and not verdict.scopes:
            return
        if row is not None:
            if _unchanged(view, row, item, verdict):
                return
            place = (view.grant_id, shelf, row[0])
            self._transaction.execute("DELETE FROM views WHERE grant_id = ? AND shelf = ? AND seq = ?", place)
            self._left.setdefault(view.grant_id, []).append(row[0])
        view.seq += 1
        sealed = sealed_rows([view.sealing(padded(verdict), item)])[0] if verdict.scopes else None
        stored = (view.grant_id, shelf, view.seq, item, self._now, sealed)
        self._transaction.execute(places.STORE, stored)
        if view.grant_id in self._recent:
            self._recent[view.grant_id][item] = view.seq

    def _found(self, view: Kept, shelf: bytes, item: bytes) -> Row | None:
        """(position, sealed) of the row of a record."""
        grant_id = view.grant_id
        row = places.noted(self._engine, grant_id, item, shelf)
        if row is not None:
            return row[0], row[3]
        if grant_id not in self._recent:
            self._recent[grant_id] = places.recent(self._engine, grant_id, view.shelves, view.start)
        sql = "SELECT seq, sealed FROM views WHERE grant_id = ? AND shelf = ? AND seq = ?"
        seq = self._recent[grant_id].get(item)
        return None if seq is None else self._engine.one(sql, (grant_id, shelf, seq))

    def finish(self) -> None:
        """Write what is new, and the positions of views that changed; their vendors are told of it."""
        transaction = self._transaction
        if self._entered:
            self._write()
        for grant_id, positions in self._left.items():
            postings.take_back(self._engine, transaction, grant_id, positions)
        moved = [view for view in self._views if view.seq != view.start]
        if moved:
            for steps in {view.seq - view.start for view in moved}:  # mostly as many in each
                names = [view.grant_id for view in moved if view.seq - view.start == steps]
                marks = ", ".join("?" * len(names))
                sql = f"UPDATE grants SET seq = seq + ? WHERE grant_id IN ({marks})"
                transaction.execute(sql, (steps, *names))
            for view in moved:
                if places.due(view.grant_id, view.start, view.seq):
                    places.note(transaction, view.grant_id, view.shelves, view.start)
            untold = [view.grant_id for view in moved if not view.told]
            events.note_changes(transaction, untold, self._now)

    def _write(self) -> None:
        """Rows of records that were not there; where one of them stands as gone, it takes another place."""
        gone, new = places.gone(self._engine, [entered[3] for entered in self._entered]), []
        for entered in self._entered:
            view, shelf, _, item, verdict, _ = entered
            if (view.grant_id, item) in gone:
                self.set(view, shelf, item, verdict)
            else:
                new.append(entered)
        rows = zip(new, sealed_rows([entered[5] for entered in new]), strict=True)
        self._transaction.executemany(
            places.STORE,
            [
                (view.grant_id, shelf, seq, item, self._now, text)
                for (view, shelf, seq, item, *_), text in rows
            ],
        )


def _judged(rules: policy.Rules, change: Change) -> list[Judged]:
    found: list[Judged] = []
    for stream in rules.streams(change.collection):
        verdict = policy.Verdict("removed")
        if change.document is not None:
            verdict = rules.decide(stream, change.record, change.document)
        if verdict.scopes or not change.fresh:
            found.append((stream, envelope.pack(stream, change.record), verdict, padded(verdict)))
    return found


def _unchanged(view: Kept, row: Sequence[Any], item: bytes, verdict: policy.Verdict) -> bool:
    seq, sealed = row
    if sealed is None or not verdict.scopes:
        return sealed is None and not verdict.scopes
    return view.ciphers.holds(sealed, item, seq, verdict)
