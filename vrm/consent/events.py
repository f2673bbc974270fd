"""What vendors are to be told of their grants, written in the transaction of what it tells.

Promises: an event says that something happened to a grant, and never what: no title, no count, no reason.
It is there exactly when the change is, also while the vault is locked: no key is needed, because it takes
along the grant's own routing, which only the server key opens. `vrm.consent.outbox` hands events out.

A change of a view is told once for many: later ones join an event that nobody has begun to send, and two
for one grant are a quarter of an hour apart. What a vendor is told later about its grant says all that an
earlier change said, so such events go when another one comes.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Final

from vrm.vault.engine import Transaction

TABLES = (
    "CREATE TABLE events (place INTEGER PRIMARY KEY, jti TEXT NOT NULL UNIQUE, grant_id TEXT NOT NULL,"
    " kind TEXT NOT NULL, at INTEGER NOT NULL, due INTEGER NOT NULL, routing BLOB NOT NULL, queue BLOB,"
    " state TEXT NOT NULL, tries INTEGER NOT NULL, begun INTEGER, answered INTEGER, answer TEXT NOT NULL)",
    "CREATE INDEX events_grant ON events (grant_id)",
    "CREATE INDEX events_waiting ON events (state, queue, due)",
    "CREATE TABLE event_queues (queue BLOB PRIMARY KEY, failures INTEGER NOT NULL, retry INTEGER NOT NULL,"
    " holder BLOB NOT NULL, lease INTEGER NOT NULL)",
)
REVOKED: Final = "consent-revoked"
EXPIRED: Final = "consent-expired"
AMENDED: Final = "consent-amended"
ERASE: Final = "erase-requested"
CHANGED: Final = "data-changed"
TEST: Final = "test"  # never in the table: `vrm worker --test` sends it at once
KINDS = (REVOKED, EXPIRED, AMENDED, ERASE, CHANGED, TEST)
WAITING: Final = "waiting"
SETTLE = 30  # seconds after which a change is told: an import is many of them
_AT_ONCE = 0  # due whatever the clock says
APART = 900  # seconds between two such events for one grant

# Of a row of `grants`: whether what changes now is told with what is about to be told anyway.
JOINED: Final = (
    "EXISTS (SELECT 1 FROM events e WHERE e.grant_id = grants.grant_id AND e.state = 'waiting'"
    " AND e.tries = 0 AND e.kind IN ('data-changed', 'consent-amended'))"
)
_INSERT = (
    "INSERT INTO events (jti, grant_id, kind, at, due, routing, state, tries, answer)"
    " SELECT ?, grant_id, ?, ?, ?, routing, 'waiting', 0, '' FROM grants WHERE grant_id = ?"
)


def note(transaction: Transaction, grant_id: str, kind: str, now: int) -> None:
    """This happened to a grant; its vendor is told as soon as the transaction is durable. ValueError."""
    if kind not in (REVOKED, EXPIRED, AMENDED, ERASE):
        raise ValueError(kind)
    _drop_overtaken(transaction, grant_id)
    transaction.execute(_INSERT, (secrets.token_urlsafe(16), kind, now, _AT_ONCE, grant_id))


def note_erasure(transaction: Transaction, grant_id: str, now: int) -> bool:
    """The customer wants deleted what was read under a grant that has ended. False where she asked before."""
    row = transaction.execute(
        "SELECT 1 FROM grants g WHERE grant_id = ? AND state IN ('revoked', 'expired') AND NOT EXISTS"
        " (SELECT 1 FROM events e WHERE e.grant_id = g.grant_id AND e.kind = 'erase-requested')",
        (grant_id,),
    ).fetchone()
    if row is not None:
        note(transaction, grant_id, ERASE, now)
    return row is not None


def note_changes(transaction: Transaction, grant_ids: Sequence[str], now: int) -> None:
    """The views of these live grants changed, of which none is JOINED to what is about to be told anyway."""
    for grant_id in grant_ids:
        row = transaction.execute(
            "SELECT max(begun) FROM events WHERE grant_id = ? AND kind = 'data-changed'", (grant_id,)
        ).fetchone()
        # A clock that was put back must not silence a vendor for longer than the pause itself.
        due = max(now + SETTLE, min((row[0] or 0) + APART, now + APART))
        transaction.execute(_INSERT, (secrets.token_urlsafe(16), CHANGED, now, due, grant_id))


def _drop_overtaken(transaction: Transaction, grant_id: str) -> None:
    transaction.execute(
        "DELETE FROM events WHERE grant_id = ? AND state = 'waiting'"
        " AND kind IN ('data-changed', 'consent-amended')",
        (grant_id,),
    )
