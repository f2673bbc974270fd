"""How a grant ends: one place, for every reason. It needs no root key.

The row stays as a tombstone, so that nothing deleted can ever widen access; view rows, postings, every
wrap of its tokens and the note that tells of it are deleted in the same transaction. Whoever ends a grant
empties the write-ahead log after it.
"""

from __future__ import annotations

from vrm.consent import events, places, standing
from vrm.vault.engine import Transaction

TABLES = (
    "CREATE TABLE grants (grant_id TEXT PRIMARY KEY, vault TEXT NOT NULL, state TEXT NOT NULL,"
    " created INTEGER NOT NULL, expires INTEGER NOT NULL, ended INTEGER, last_used INTEGER,"
    " reads INTEGER NOT NULL, seq INTEGER NOT NULL, vendor_tag BLOB NOT NULL, wrapped BLOB NOT NULL,"
    " agreement BLOB NOT NULL,"
    " reserve BLOB NOT NULL, routing BLOB NOT NULL, edition INTEGER NOT NULL DEFAULT 0,"
    " public_id TEXT NOT NULL DEFAULT '')",
    "CREATE INDEX grants_vault ON grants (vault, state)",
    "CREATE INDEX grants_expires ON grants (state, expires)",
    "CREATE INDEX grants_public ON grants (public_id) WHERE public_id <> ''",
)
STATES = ("live", "paused", "revoked", "expired", "replaced")
_TOLD = {"revoked": events.REVOKED, "expired": events.EXPIRED, "replaced": events.AMENDED}
ELSEWHERE = "elsewhere"  # the kind of an access token that opens nothing here
# Done to every copy: a grant that was live in it has neither tokens nor a view there, and ends at the next
# unlock.
PAUSE = "UPDATE grants SET state = 'paused' WHERE state = 'live'"


def end_tokens(transaction: Transaction, grant_id: str) -> None:
    """Delete every wrap of a grant's tokens; the rows stay, so that the customer is told of later tries."""
    transaction.execute(
        "UPDATE tokens SET wrapped = NULL, replay = NULL, parent = NULL, spent = coalesce(spent, 0)"
        " WHERE grant_id = ?",
        (grant_id,),
    )


def end_elsewhere(transaction: Transaction, grant_id: str) -> None:
    """Delete the wraps of tokens for other resource servers: they tell what was agreed when made."""
    transaction.execute(
        "UPDATE tokens SET wrapped = NULL, spent = coalesce(spent, 0) WHERE grant_id = ? AND kind = ?",
        (grant_id, ELSEWHERE),
    )


def end(transaction: Transaction, grant_id: str, state: str, now: int, *, tell: bool = True) -> bool:
    """End a live or paused grant; False where it had ended before. The state changes first.

    Its vendor is told by an event, unless it ended the grant itself.
    """
    cursor = transaction.execute(
        "UPDATE grants SET state = ?, ended = ? WHERE grant_id = ? AND state IN ('live', 'paused')",
        (state, now, grant_id),
    )
    if cursor.rowcount != 1:
        return False
    if tell:
        events.note(transaction, grant_id, _TOLD[state], now)
    end_tokens(transaction, grant_id)
    places.clear(transaction, grant_id)
    transaction.execute(
        "DELETE FROM deposits WHERE vault = (SELECT vault FROM grants WHERE grant_id = ?) AND grant_id = ?",
        (grant_id, grant_id),
    )
    transaction.execute("DELETE FROM postings WHERE grant_id = ?", (grant_id,))
    standing.forget_of(transaction, grant_id)
    return True
