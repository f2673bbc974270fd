"""Hands events out to whoever sends them, and keeps what came of each.

Promises: an event that is in the table is sent until its vendor answers, or three days of tries have passed
(many tries, so that a clock that jumps loses nothing). One vendor's events go out one at a time, in the order
in which they happened, however many workers there are; a worker that dies keeps nobody waiting for longer
than its lease. A vendor that does not answer is left alone for a minute, then two, up to six hours. What
somebody wrote into the table is not believed: an event says that a grant ended only where it has.

A vendor's events wait in its queue under a keyed tag, so that the table names nobody. Whoever takes the queue
writes its own name into it by a conditional update; only under that name are events handed out.
"""

from __future__ import annotations

import json
import secrets
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from vrm.clock import Clock
from vrm.consent import events
from vrm.consent.disclosures import Disclosures
from vrm.consent.notices import Notice
from vrm.consent.vendors import Vendor, Vendors
from vrm.errors import TamperedError, VendorNotFoundError
from vrm.vault import crypto
from vrm.vault.engine import Engine, Row, Transaction
from vrm.vault.serverkey import ServerKey

LEASE = 60  # seconds; longer than one exchange may take
FIRST_PAUSE, LONGEST_PAUSE = 60, 6 * 3600  # seconds
GIVE_UP = 3 * 86_400  # seconds after which an event is no longer sent
ENOUGH = 12  # failures in a row without which none is given up: a day of them
_BATCH = 200  # new events that are looked at in one transaction
_FEW = 20  # events that are looked at for one that can be sent
_QUEUE = "events"  # in place of a vault: a vendor's queue holds events of many

ACKNOWLEDGED: Final = "acknowledged"
REFUSED: Final = "refused"
GIVEN_UP: Final = "given-up"
STATES = (events.WAITING, ACKNOWLEDGED, REFUSED, GIVEN_UP)
# What a confirmation is in the customer's log, which outlives this table.
_LOGGED = {events.REVOKED: "end-confirmed", events.EXPIRED: "end-confirmed", events.ERASE: "erase-confirmed"}


@dataclass(frozen=True, slots=True)
class Turn:
    """A vendor's queue, taken for a while."""

    queue: bytes
    holder: bytes


@dataclass(frozen=True, slots=True)
class Sending:
    """An event to send now."""

    grant_id: str  # here; its vendor may know it by another name
    uri: str
    notice: Notice
    vault: str
    vendor_name: str


@dataclass(frozen=True, slots=True)
class Told:
    """What came of one event, for the customer; times are None where nothing happened yet."""

    kind: str
    at: int
    state: str
    begun: int | None
    answered: int | None


class Outbox:
    """The events of all vaults."""

    def __init__(
        self, engine: Engine, server_key: ServerKey, vendors: Vendors, log: Disclosures, clock: Clock
    ) -> None:
        self._engine = engine
        self._server_key = server_key
        self._vendors = vendors
        self._log = log
        self._clock = clock

    # -- sending ------------------------------------------------------------------------------------

    def address(self) -> int:
        """Put new events into their vendors' queues; those without an address go. Returns how many."""
        rows = self._engine.all(
            "SELECT jti, grant_id, CAST(routing AS BLOB) FROM events"
            " WHERE state = 'waiting' AND queue IS NULL ORDER BY place LIMIT ?",
            (_BATCH,),
        )
        if not rows:
            return 0
        with self._engine.write() as transaction:
            for jti, grant_id, routing in rows:
                self._address(transaction, jti, self._vendor(grant_id, routing)[1])
        return len(rows)

    def _address(self, transaction: Transaction, jti: str, vendor: Vendor | None) -> None:
        if vendor is None or not vendor.events_uri:
            transaction.execute("DELETE FROM events WHERE jti = ?", (jti,))
            return
        queue = self._server_key.vendor_tag(_QUEUE, vendor.client_id)
        transaction.execute("UPDATE events SET queue = ? WHERE jti = ?", (queue, jti))
        transaction.execute(
            "INSERT INTO event_queues (queue, failures, retry, holder, lease) VALUES (?, 0, 0, x'', 0)"
            " ON CONFLICT (queue) DO NOTHING",
            (queue,),
        )

    def take(self) -> Turn | None:
        """A queue in which something is due and which nobody else holds; None if there is none."""
        now = self._clock.now()
        for (queue,) in self._engine.all(
            "SELECT DISTINCT CAST(q.queue AS BLOB) FROM event_queues q JOIN events e ON e.queue = q.queue"
            f" WHERE e.state = 'waiting' AND {_DUE} AND {_FREE}",
            (*_due(now), *_free(now)),
        ):
            turn = Turn(bytes(queue), crypto.random_bytes(16))
            with self._engine.write() as transaction:
                cursor = transaction.execute(
                    f"UPDATE event_queues AS q SET holder = ?, lease = ? WHERE queue = ? AND {_FREE}",
                    (turn.holder, now + LEASE, turn.queue, *_free(now)),
                )
            if cursor.rowcount == 1:
                return turn
        return None

    def next(self, turn: Turn) -> Sending | None:
        """The queue's first event that is due, with its try counted; None ends the turn."""
        now = self._clock.now()
        with self._engine.write() as transaction:
            cursor = transaction.execute(
                "UPDATE event_queues SET lease = ? WHERE queue = ? AND holder = ?",
                (now + LEASE, turn.queue, turn.holder),
            )
            if cursor.rowcount != 1:
                return None  # it took too long: somebody else goes on
            sending = self._first(transaction, turn.queue, now)
            if sending is None:
                self._release(transaction, turn)
            return sending

    def _first(self, transaction: Transaction, queue: bytes, now: int) -> Sending | None:
        self._give_up(transaction, queue, now)
        for row in self._engine.all(
            f"SELECT {_COLUMNS} WHERE e.queue = ? AND e.state = 'waiting' AND {_DUE}"
            " ORDER BY e.place LIMIT ?",
            (queue, *_due(now), _FEW),
        ):
            jti, grant_id, routing = row[0], row[2], row[5]
            vault, vendor = self._vendor(grant_id, routing)
            if vendor is None or not vendor.events_uri or not _stands(row):
                transaction.execute("DELETE FROM events WHERE jti = ?", (jti,))
                continue
            transaction.execute(
                "UPDATE events SET tries = tries + 1, begun = coalesce(begun, ?) WHERE jti = ?", (now, jti)
            )
            return Sending(
                grant_id, vendor.events_uri, self._notice(row, vault, vendor, now), vault, vendor.name
            )
        return None

    def _notice(self, row: Row, vault: str, vendor: Vendor, now: int) -> Notice:
        jti, kind, grant_id, at, begun, _, _, public_id = row
        subject = self._server_key.subject(vault, vendor.client_id)
        issued = now if begun is None else begun
        return Notice(jti, kind, issued, vendor.client_id, public_id or grant_id, subject, at)

    def acknowledged(self, turn: Turn, sending: Sending) -> None:
        """The vendor has it."""
        self._settled(turn, sending, ACKNOWLEDGED, "")

    def refused(self, turn: Turn, sending: Sending, reason: str) -> None:
        """The vendor will not take it (RFC 8935 section 2.3); it is not sent again."""
        self._settled(turn, sending, REFUSED, reason)

    def failed(self, turn: Turn, sending: Sending, reason: str) -> None:
        """No usable answer: its vendor is left alone for a while, and the turn ends."""
        with self._engine.write() as transaction:
            transaction.execute(
                "UPDATE events SET answer = ? WHERE jti = ? AND state = 'waiting'",
                (reason, sending.notice.jti),
            )
            row = self._engine.one("SELECT failures FROM event_queues WHERE queue = ?", (turn.queue,))
            failures = int(row[0]) + 1 if row else 1
            transaction.execute(
                "UPDATE event_queues SET failures = ?, retry = ?, holder = x'', lease = 0"
                " WHERE queue = ? AND holder = ?",
                (failures, self._clock.now() + pause(failures), turn.queue, turn.holder),
            )

    def _settled(self, turn: Turn, sending: Sending, state: str, answer: str) -> None:
        """Whoever sent it may say so, its turn over or not: the vendor has answered."""
        with self._engine.write() as transaction:
            cursor = transaction.execute(
                "UPDATE events SET state = ?, answered = ?, answer = ?, queue = NULL, routing = x''"
                " WHERE jti = ? AND state = 'waiting'",
                (state, self._clock.now(), answer, sending.notice.jti),
            )
            transaction.execute(
                "UPDATE event_queues SET failures = 0, retry = 0 WHERE queue = ? AND holder = ?",
                (turn.queue, turn.holder),
            )
            if cursor.rowcount == 1:
                _keep_newest_change(transaction, sending)
                if state == ACKNOWLEDGED:
                    self._note(transaction, sending)

    def _note(self, transaction: Transaction, sending: Sending) -> None:
        event = _LOGGED.get(sending.notice.kind)
        if event is None:
            return
        with suppress(TamperedError):  # the vault's log key was altered; `problems` tells her
            self._log.note(
                transaction,
                sending.vault,
                event,
                grant_id=sending.grant_id,
                client_id=sending.notice.client_id,
                vendor_name=sending.vendor_name,
            )

    def release(self, turn: Turn) -> None:
        """End the turn early: somebody else may go on at once."""
        with self._engine.write() as transaction:
            self._release(transaction, turn)

    @staticmethod
    def _release(transaction: Transaction, turn: Turn) -> None:
        transaction.execute(
            "UPDATE event_queues SET holder = x'', lease = 0 WHERE queue = ? AND holder = ?",
            (turn.queue, turn.holder),
        )

    @staticmethod
    def _give_up(transaction: Transaction, queue: bytes, now: int) -> None:
        transaction.execute(
            "UPDATE events SET state = 'given-up', answered = ?, queue = NULL, routing = x''"
            " WHERE queue = ? AND state = 'waiting' AND coalesce(begun, at) <= ?"
            " AND EXISTS (SELECT 1 FROM event_queues q WHERE q.queue = events.queue AND q.failures >= ?)",
            (now, queue, now - GIVE_UP, ENOUGH),
        )

    def _vendor(self, grant_id: str, routing: bytes) -> tuple[str, Vendor | None]:
        """(vault, vendor) of a grant; none where its routing was altered or the vendor is none any more."""
        try:
            vault, client_id, _ = json.loads(self._server_key.routing.unseal(routing, grant_id))
            return vault, self._vendors.get(client_id)
        except (TamperedError, VendorNotFoundError):
            return "", None

    # -- looking ------------------------------------------------------------------------------------

    def told(self, grant_id: str) -> list[Told]:
        """What the vendor of a grant was told or is to be told, the oldest first."""
        rows = self._engine.all(
            "SELECT kind, CAST(at AS INTEGER), state, CAST(begun AS INTEGER), CAST(answered AS INTEGER)"
            " FROM events WHERE grant_id = ? ORDER BY place",
            (grant_id,),
        )
        return [Told(*row) for row in rows]

    def waiting(self) -> int:
        """How many events wait for an answer, of all vaults."""
        row = self._engine.one("SELECT count(*) FROM events WHERE state = 'waiting' AND queue IS NOT NULL")
        return int(row[0]) if row else 0

    def sweep(self) -> None:
        """Delete queues without events."""
        with self._engine.write() as transaction:
            transaction.execute(
                "DELETE FROM event_queues WHERE holder = x'' AND failures = 0"
                " AND NOT EXISTS"
                " (SELECT 1 FROM events e WHERE e.state = 'waiting' AND e.queue = event_queues.queue)"
            )


# In which states of a grant its vendor may be told what: whoever writes to the table says nothing untrue.
_ENDED, _LASTS = ("revoked", "expired"), ("live", "replaced")
_STAND = {
    events.REVOKED: _ENDED,
    events.EXPIRED: _ENDED,
    events.ERASE: _ENDED,
    events.AMENDED: _LASTS,
    events.CHANGED: _LASTS,
}
_COLUMNS = (
    "e.jti, e.kind, e.grant_id, CAST(e.at AS INTEGER), CAST(e.begun AS INTEGER), CAST(e.routing AS BLOB),"
    " g.state, g.public_id"
    " FROM events e LEFT JOIN grants g ON g.grant_id = e.grant_id"
)
# A lease or a pause that ends later than any could was made before the clock was put back.
_DUE = "(e.due <= ? OR e.due > ?)"
_FREE = "(q.lease <= ? OR q.lease > ?) AND (q.retry <= ? OR q.retry > ?)"


def _due(now: int) -> tuple[int, ...]:
    return now, now + events.APART


def _free(now: int) -> tuple[int, ...]:
    return now, now + LEASE, now, now + 2 * LONGEST_PAUSE


def _stands(row: Row) -> bool:
    """Whether the grant is in a state in which its vendor may be told this."""
    return isinstance(row[0], str) and row[6] in _STAND.get(row[1], ())


def _keep_newest_change(transaction: Transaction, sending: Sending) -> None:
    """Of changes that were told, one is enough to remember."""
    if sending.notice.kind == events.CHANGED:
        transaction.execute(
            "DELETE FROM events WHERE grant_id = ? AND kind = 'data-changed' AND state <> 'waiting'"
            " AND jti <> ?",
            (sending.grant_id, sending.notice.jti),
        )


def pause(failures: int) -> int:
    """Seconds to leave a vendor alone after so many failures in a row: doubled each time, jittered."""
    longest = min(FIRST_PAUSE * 2 ** min(failures - 1, 20), LONGEST_PAUSE)
    return int(longest * (75 + secrets.randbelow(51)) // 100)  # spread, so that all do not come at once
