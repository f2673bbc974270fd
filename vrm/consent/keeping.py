"""What a changed record does to the views that are kept: rows enter, take another place, or leave.

Promises: a row whose bytes do not change is not touched; one that changed goes to the end of its view, one
that left stays as *gone*; all that is new is written at once. A record that was not there before is put in
without looking whether it was: the table's own key says so, and then it is looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vrm.consent import events, policy, postings
from vrm.consent.rows import padded
from vrm.consent.standing import Kept
from vrm.vault import envelope
from vrm.vault.changes import Change
from vrm.vault.engine import Engine, Transaction
from vrm.vault.keyring import Keyring

STORE = (
    "INSERT INTO views (grant_id, shelf, seq, item, updated, sealed) VALUES (?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (grant_id, item) DO NOTHING"
)
Judged = tuple[str, bytes, policy.Verdict, Sequence[tuple[str, bytes]]]  # stream, name, what leaves, padded


class Keeping:
    """Changes of some views within one transaction; `finish` ends them."""

    def __init__(self, engine: Engine, transaction: Transaction, views: Sequence[Kept], now: int) -> None:
        self._engine = engine
        self._transaction = transaction
        self._views = views
        self._now = now
        self._new: list[tuple[Any, ...]] = []  # rows that are written at the end
        self._entered: list[tuple[Kept, str, bytes, policy.Verdict]] = []  # what they are
        self._left: dict[str, list[int]] = {}  # grant → positions that rows left

    def follow(self, keyring: Keyring, change: Change) -> None:
        """Bring every view in step with a record. What several grants say alike is judged once."""
        judged: dict[int, list[Judged]] = {}
        for view in self._views:
            rules = view.rules
            known = judged.get(id(rules))
            if known is None:
                known = judged[id(rules)] = _judged(rules, change)
            for stream, name, verdict, parts in known:
                item = keyring.pairwise_packed(view.vendor, name)
                if change.fresh:
                    self._enter(view, stream, item, verdict, parts)
                else:
                    self.set(view, stream, item, verdict)

    def _enter(
        self,
        view: Kept,
        stream: str,
        item: bytes,
        verdict: policy.Verdict,
        parts: Sequence[tuple[str, bytes]],
    ) -> None:
        view.seq += 1
        sealed = view.seal(parts, item)
        self._new.append((view.grant_id, view.shelf(stream), view.seq, item, self._now, sealed))
        self._entered.append((view, stream, item, verdict))

    def set(self, view: Kept, stream: str, item: bytes, verdict: policy.Verdict) -> None:
        """Store, replace or retire one row; nothing happens where the same bytes would leave."""
        key = (view.grant_id, item)
        row = self._engine.one("SELECT shelf, seq, sealed FROM views WHERE grant_id = ? AND item = ?", key)
        if row is None and not verdict.scopes:
            return
        if row is not None:
            if _unchanged(view, row, item, verdict):
                return
            self._transaction.execute("DELETE FROM views WHERE grant_id = ? AND item = ?", key)
            self._left.setdefault(view.grant_id, []).append(row[1])
        view.seq += 1
        sealed = view.seal(padded(verdict), item) if verdict.scopes else None
        shelf = row[0] if row else view.shelf(stream)
        self._transaction.execute(STORE, (view.grant_id, shelf, view.seq, item, self._now, sealed))

    def finish(self) -> None:
        """Write what is new, and the positions of views that changed; their vendors are told of it."""
        transaction, new = self._transaction, self._new
        if new and transaction.executemany(STORE, new).rowcount < len(new):
            for entered in self._entered:  # a row of one of these records was there, perhaps as gone
                self.set(*entered)
        for grant_id, positions in self._left.items():
            postings.take_back(self._engine, transaction, grant_id, positions)
        moved = [view for view in self._views if view.seq != view.start]
        if moved:
            for steps in {view.seq - view.start for view in moved}:  # mostly as many in each
                names = [view.grant_id for view in moved if view.seq - view.start == steps]
                marks = ", ".join("?" * len(names))
                sql = f"UPDATE grants SET seq = seq + ? WHERE grant_id IN ({marks})"
                transaction.execute(sql, (steps, *names))
            untold = [view.grant_id for view in moved if not view.told]
            events.note_changes(transaction, untold, self._now)


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
    _, seq, sealed = row
    if sealed is None or not verdict.scopes:
        return sealed is None and not verdict.scopes
    return view.ciphers.holds(sealed, item, seq, verdict)
