"""Views: for each live grant, the very bytes that its vendor may read, sealed under its scopes' keys.

A view row stands under (grant, shelf, seq) with the vendor's own id of the record; `seq` grows with every
change, so a row that changed moves to the end and a row that left stays as *gone* (without content).
Shelves and scopes stand there under blind labels: only who can open something learns what it is.
The initial order is that of the ids, which are random: positions tell nothing about what was withheld.
Rows whose bytes do not change are not touched. Writes happen in the transaction of the change itself.
A grant that does not fit what was noted under the root (planted, altered, an older state put back) is
ended by the customer's next act: its view could not be kept in step, and a removal must never wait.
The rows stand in postings, too (`vrm.consent.postings`), by which a vendor's filters find them.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vrm.clock import Clock, today
from vrm.consent import endings, filters, places, policy, postings
from vrm.consent.keeping import Keeping
from vrm.consent.policy import Agreement, Reserve
from vrm.consent.rows import RowCiphers, in_period, shelf
from vrm.consent.standing import Kept, Standing
from vrm.errors import TamperedError
from vrm.vault import crypto
from vrm.vault.changes import Change
from vrm.vault.crypto import Cipher, Key, Purpose
from vrm.vault.engine import Engine, Transaction
from vrm.vault.keyring import Keyring
from vrm.vault.roster import open_roster

if TYPE_CHECKING:
    from vrm.consent.disclosures import Disclosures  # which reads grants through this module

_MANY, _FEW = 256, 1000  # rows: changed since the last posting; in a view that is posted in no time
_BATCH = 256  # rows that are sealed together
GRANT_COLUMNS = "grant_id, wrapped, agreement, reserve, expires"
LOGGED = "log"  # entry of the roster: from the first grant on, there are sealed heads of the log


class GrantKeys:
    """What a grant's key derives: common key, shelves, scope keys."""

    def __init__(self, grant_id: str, key: Key) -> None:
        self.grant_id = grant_id
        self.key = key

    @functools.cached_property
    def common(self) -> Key:
        """Opens the agreement and seals cursors; every token of the grant carries it."""
        return crypto.derive(self.key, Purpose.COMMON, self.grant_id)

    def scope_key(self, scope: str) -> Key:
        """Opens one scope's parts of the view, and nothing else."""
        return crypto.derive(self.key, Purpose.SCOPE, self.grant_id, scope)


def agreement_cipher(common: Key, grant_id: str) -> Cipher:
    """Seals the agreement under the grant's common key."""
    return Cipher(common, Purpose.AGREEMENT, grant_id)


@dataclass(frozen=True, slots=True)
class OpenGrant:
    """A grant opened with the root: everything needed to keep its view."""

    grant_id: str
    keys: GrantKeys
    agreement: Agreement
    reserve: Reserve

    @property
    def public_id(self) -> str:
        """The name by which the vendor knows it: that of the first of those whose place it took."""
        return self.agreement.public_id or self.grant_id

    @property
    def state(self) -> str:
        """Another text after every change of what was agreed, or of what she keeps back."""
        return crypto.digest(self.agreement.encode() + self.reserve.encode()).hex()

    @property
    def vendor_name(self) -> str:
        """The name that she approved. Whoever holds a token can seal the agreement anew, with another one."""
        return self.reserve.vendor_name or self.agreement.vendor_name

    def item_id(self, keyring: Keyring, stream: str, record: str) -> bytes:
        """The id under which this vendor knows the record."""
        return keyring.pairwise(self.agreement.vendor, stream, record)

    def ciphers(self) -> RowCiphers:
        """What seals and opens its rows, for every granted scope."""
        scopes = self.agreement.scopes
        return RowCiphers(
            self.grant_id, self.keys.common, {scope: self.keys.scope_key(scope) for scope in scopes}
        )


def roster_entry(grant_id: str, agreement: bytes, reserve: bytes) -> str:
    """What the root vouches for: this grant in this state, so that an older one put back is found."""
    return f"{grant_id}:{crypto.digest(crypto.digest(agreement) + crypto.digest(reserve))[:16].hex()}"


def open_grant(keyring: Keyring, row: Sequence[Any], *, vouched: bool = False) -> OpenGrant:
    """Open a row of GRANT_COLUMNS with the root; TamperedError for a planted or altered one.

    `vouched`: its roster entry is in the roster.
    """
    grant_id = str(row[0])
    keys = GrantKeys(grant_id, keyring.cipher(Purpose.GRANT_WRAP).unwrap(row[1], grant_id))
    sealed = agreement_cipher(keys.common, grant_id).unseal(row[2])
    agreement = Agreement.decode(sealed, vouched=vouched)
    reserve = Reserve.decode(keyring.cipher(Purpose.RESERVE).unseal(row[3], grant_id))
    if row[4] != agreement.expires:
        raise TamperedError()
    return OpenGrant(grant_id, keys, agreement, reserve)


class Views:
    """Keeps views in step with the records: the `Watcher` that every write of a shared vault needs."""

    def __init__(self, engine: Engine, log: Disclosures, clock: Clock) -> None:
        self._engine = engine
        self._log = log
        self._clock = clock
        self._standing = Standing(engine)

    def live_grants(self, keyring: Keyring) -> tuple[list[OpenGrant], list[str]]:
        """The vault's live grants, opened, and the ids of those that are not what the root vouches for.

        A grant past its end is among them until the sweep: should the clock go back, its view is in step.
        """
        try:
            vouched = set(open_roster(self._engine, keyring).grants)
        except TamperedError:
            vouched = set()
        opened, altered = [], []
        for row in self._engine.all(
            f"SELECT {GRANT_COLUMNS} FROM grants WHERE vault = ? AND state = 'live'", (keyring.vault,)
        ):
            try:
                if roster_entry(row[0], row[2], row[3]) not in vouched:
                    raise TamperedError()
                opened.append(open_grant(keyring, row, vouched=True))
            except TamperedError:
                altered.append(str(row[0]))
        return opened, altered

    def keep(self, transaction: Transaction, keyring: Keyring) -> list[OpenGrant]:
        """The live grants; those that are not what the root vouches for end here."""
        opened, altered = self.live_grants(keyring)
        for grant_id in altered:
            endings.end(transaction, grant_id, "revoked", self._clock.now())
            with suppress(TamperedError):  # the log's key was altered, too: that must not keep it alive
                self._log.note(
                    transaction, keyring.vault, "revoked", grant_id=grant_id, reason="altered in storage"
                )
        return opened

    def changed(self, transaction: Transaction, keyring: Keyring, changes: Sequence[Change]) -> None:
        """Bring every live view in step, in the transaction of the change."""
        day = today(self._clock)
        views = self._standing.kept(transaction, keyring, day, lambda: self.keep(transaction, keyring))
        self._follow(self._keeping(transaction, views), keyring, changes)

    def apply(
        self, transaction: Transaction, keyring: Keyring, grant: OpenGrant, changes: Sequence[Change]
    ) -> None:
        """Bring one view in step with these records."""
        view = self._standing.one(grant, today(self._clock))
        self._follow(self._keeping(transaction, [view]), keyring, changes)

    def _keeping(self, transaction: Transaction, views: Sequence[Kept]) -> Keeping:
        return Keeping(self._engine, transaction, views, self._clock.now())

    @staticmethod
    def _follow(keeping: Keeping, keyring: Keyring, changes: Sequence[Change]) -> None:
        for change in changes:
            keeping.follow(keyring, change)
        keeping.finish()

    def build(
        self, transaction: Transaction, grant: OpenGrant, rows: Mapping[str, Mapping[bytes, policy.Verdict]]
    ) -> None:
        """Write a new grant's view: stream → (item id → what leaves)."""
        name, ciphers, now = grant.grant_id, grant.ciphers(), self._clock.now()
        items = [(stream, item, rows[stream][item]) for stream in rows for item in sorted(rows[stream])]
        texts = ((stream, seq, verdict.scopes) for seq, (stream, _, verdict) in enumerate(items, 1))
        _lay(transaction, grant, len(items) + 1, texts)
        shelves = {stream: shelf(grant.keys.common, stream) for stream in rows}
        for first in range(0, len(items), _BATCH):
            some = list(enumerate(items[first : first + _BATCH], first + 1))
            sealed = ciphers.seal_all([(verdict, item, seq) for seq, (_, item, verdict) in some])
            stored = [
                (name, shelves[stream], seq, item, now, blob)
                for (seq, (stream, item, _)), blob in zip(some, sealed, strict=True)
            ]
            transaction.executemany(places.STORE, stored)
        places.note_all(transaction, name)
        transaction.execute(
            "UPDATE grants SET seq = ?, edition = ? WHERE grant_id = ?",
            (len(items), len(items) + 1, grant.grant_id),
        )

    def post_stale(self, keyring: Keyring) -> None:
        """At unlock: views are posted for their vendors' filters where enough has changed."""
        sql = f"SELECT {GRANT_COLUMNS} FROM grants WHERE grant_id = ?"
        for grant_id in [grant.grant_id for grant in self.live_grants(keyring)[0]]:
            with self._engine.write() as transaction:
                for row in self._engine.all(sql, (grant_id,)):  # none, if the vault was deleted meanwhile
                    grant = open_grant(keyring, row)
                    if self.stale(grant):
                        self.post(transaction, grant)

    def post(self, transaction: Transaction, grant: OpenGrant) -> None:
        """Post a view anew; nothing of what had left is left then. Nothing happens to one that has ended."""
        cursor = transaction.execute(
            "UPDATE grants SET edition = seq + 1 WHERE grant_id = ? AND state = 'live'", (grant.grant_id,)
        )
        row = self._engine.one("SELECT edition FROM grants WHERE grant_id = ?", (grant.grant_id,))
        if row is None or cursor.rowcount != 1:
            return
        postings.clear(transaction, grant.grant_id)
        _lay(transaction, grant, row[0], self._texts(grant))

    def _texts(self, grant: OpenGrant) -> Iterator[_Texts]:
        """(stream, seq, scope → JSON) of a view's rows in their order; altered ones are left out."""
        ciphers = grant.ciphers()
        for stream in grant.agreement.streams:
            rows = self._engine.all(
                "SELECT item, seq, sealed FROM views WHERE grant_id = ? AND shelf = ? AND sealed IS NOT NULL"
                " ORDER BY seq",
                (grant.grant_id, shelf(grant.keys.common, stream)),
            )
            for item, seq, sealed in rows:
                with suppress(TamperedError):
                    parts = ciphers.open(sealed, item, seq)
                    yield stream, seq, {scope: text for scope, (_, text) in parts.items()}

    def posted(self, grant: OpenGrant) -> bool:
        """Whether all that was posted is found by its filters; altered postings may hide rows."""
        row = self._engine.one("SELECT edition FROM grants WHERE grant_id = ?", (grant.grant_id,))
        edition = row[0] if row else 0
        rows = (one for one in self._texts(grant) if one[1] < edition)
        return postings.laid(self._engine, grant.grant_id, _posting_keys(grant), _by_fields(grant, rows))

    def stale(self, grant: OpenGrant) -> bool:
        """Whether a view should be posted anew: never posted, or enough has changed to be worth it."""
        row = self._engine.one("SELECT seq, edition FROM grants WHERE grant_id = ?", (grant.grant_id,))
        if row is None or not any(filters.posted(one, grant.agreement) for one in grant.agreement.streams):
            return False
        changed = row[0] + 1 - row[1]
        return row[1] == 0 or changed > _MANY or (changed > 0 and self.count(grant.grant_id) <= _FEW)

    def drop_other_shelves(self, transaction: Transaction, grant: OpenGrant) -> None:
        """After narrowing: rows of collections that are no longer granted are deleted, without a trace.

        The rest is posted anew, so that nothing tells of what left.
        """
        kept = [shelf(grant.keys.common, stream) for stream in grant.agreement.streams]
        places.clear(transaction, grant.grant_id, kept)
        self.post(transaction, grant)

    def retire(self, transaction: Transaction, grant: OpenGrant) -> None:
        """Let parts leave whose period has ended (reading withholds them), and rows that were altered."""
        day = today(self._clock).toordinal()
        view = self._standing.one(grant, today(self._clock))
        ciphers, keeping = grant.ciphers(), self._keeping(transaction, [view])
        rows = self._engine.all(
            "SELECT shelf, item, seq, sealed FROM views WHERE grant_id = ? AND sealed IS NOT NULL",
            (grant.grant_id,),
        )
        for place, item, seq, sealed in rows:
            try:
                parts = ciphers.open(sealed, item, seq)
            except TamperedError:
                parts = {}
            kept = {scope: part for scope, part in parts.items() if in_period(part[0], day)}
            if not kept or len(kept) < len(parts):
                scopes = {scope: text for scope, (_, text) in kept.items()}
                ends = {scope: last for scope, (last, _) in kept.items()}
                keeping.set(view, place, item, policy.Verdict("period", scopes, ends))
        keeping.finish()

    def count(self, grant_id: str) -> int:
        """How many rows the vendor can read."""
        row = self._engine.one(
            "SELECT count(*) FROM views WHERE grant_id = ? AND sealed IS NOT NULL", (grant_id,)
        )
        return int(row[0]) if row else 0

    def holds(self, grant: OpenGrant, keyring: Keyring, record: str) -> bool:
        """Whether the vendor can read anything of this record."""
        for stream in grant.agreement.streams:
            place = grant.grant_id, grant.item_id(keyring, stream, record), shelf(grant.keys.common, stream)
            row = places.noted(self._engine, *place) or places.newest(self._engine, *place)
            if row is not None and row[-1] is not None:
                return True
        return False

    def contents(self, grant: OpenGrant) -> dict[str, dict[bytes, dict[str, bytes]]]:
        """The view as it is read today: stream → item id → scope → JSON; TamperedError for altered rows."""
        day = today(self._clock).toordinal()
        ciphers = grant.ciphers()
        found: dict[str, dict[bytes, dict[str, bytes]]] = {}
        for stream in grant.agreement.streams:
            rows = self._engine.all(
                "SELECT item, seq, sealed FROM views WHERE grant_id = ? AND shelf = ? AND sealed IS NOT NULL"
                " ORDER BY seq",
                (grant.grant_id, shelf(grant.keys.common, stream)),
            )
            opened = ((item, ciphers.open(sealed, item, seq)) for item, seq, sealed in rows)
            found[stream] = {
                item: {scope: text for scope, (last, text) in parts.items() if in_period(last, day)}
                for item, parts in opened
            }
        return found


_Texts = tuple[str, int, Mapping[str, bytes]]  # stream, seq, scope → JSON


def _lay(transaction: Transaction, grant: OpenGrant, edition: int, rows: Iterable[_Texts]) -> None:
    """Post a view's rows."""
    postings.lay(transaction, grant.grant_id, edition, _posting_keys(grant), _by_fields(grant, rows))


def _posting_keys(grant: OpenGrant) -> postings.Keys:
    fields = [
        field for stream in grant.agreement.streams for field in filters.posted(stream, grant.agreement)
    ]
    return postings.keys_of(fields, {field.scope: grant.keys.scope_key(field.scope) for field in fields})


def _by_fields(grant: OpenGrant, rows: Iterable[_Texts]) -> Iterator[postings.Posted]:
    fields = {stream: filters.posted(stream, grant.agreement) for stream in grant.agreement.streams}
    return ((fields[stream], seq, texts) for stream, seq, texts in rows)
