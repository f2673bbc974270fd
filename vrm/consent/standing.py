"""What it takes to keep a vault's live views in step, of all its grants under one seal: the *standing* note.

Promises: what the note says of each grant is what opening it says, or the note does not open: it is bound
to the very bytes that it was made from, the roster and the row of every live grant. Whatever was planted,
altered, put back, narrowed or added since makes it worthless; then each grant is opened as the root vouches
for it, and the note is made anew. It lies under the root only, and goes with the end of any of the grants
and with the root.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import date
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NoReturn

from vrm.consent import events
from vrm.consent.policy import AT_ONCE, Agreement, Leaving, Reserve, Rules
from vrm.consent.rows import RowCiphers, Sealing, shelf
from vrm.consent.scopes import is_reading
from vrm.errors import TamperedError
from vrm.vault import compact, crypto, envelope
from vrm.vault.crypto import Cipher, Key, Purpose
from vrm.vault.engine import Engine, Row, Transaction
from vrm.vault.keyring import Keyring

if TYPE_CHECKING:
    from vrm.consent.views import OpenGrant

TABLES = ("CREATE TABLE standing (vault TEXT PRIMARY KEY, sealed BLOB NOT NULL) WITHOUT ROWID",)
_OF_LIVE = "FROM grants WHERE vault = ? AND state = 'live'"
BOUND = f"SELECT grant_id, wrapped, agreement, reserve, expires {_OF_LIVE}"  # what a note is bound to
_LIVE = f"SELECT grant_id, wrapped, agreement, reserve, expires, seq, {events.JOINED} {_OF_LIVE}"
_NOTE = "SELECT v.roster, s.sealed FROM vaults v LEFT JOIN standing s ON s.vault = v.vault WHERE v.vault = ?"
_WRITE = (
    "INSERT INTO standing (vault, sealed) VALUES (?, ?)"
    " ON CONFLICT (vault) DO UPDATE SET sealed = excluded.sealed"
)
_Scope = tuple[str, str, str]  # label of its parts, what they are bound to, their key; the last two in hex


class Kept:
    """One live view within a transaction, and what keeping it takes."""

    __slots__ = (
        *("_ciphers", "_scopes", "_sealing", "_shelves"),
        *("grant_id", "rules", "seq", "start", "told", "vendor"),
    )

    def __init__(self, rules: Rules, view: Sequence[Any], seq: int, told: object) -> None:
        """`view` as the note has it; `seq` is the position of its newest row."""
        _, self.grant_id, self.vendor, self._shelves, self._scopes = view
        self.rules = rules
        self.seq = self.start = seq
        self.told = told  # whether its vendor is about to be told of changes anyway
        self._sealing: dict[str, tuple[bytes, Cipher]] = {}
        self._ciphers: RowCiphers | None = None

    def shelf(self, stream: str) -> bytes:
        """Where the rows of a stream stand."""
        return bytes.fromhex(self._shelves[stream])

    @property
    def shelves(self) -> list[bytes]:
        """Where its rows stand."""
        return list(map(bytes.fromhex, self._shelves.values()))

    def sealing(self, parts: Iterable[tuple[str, bytes]], item: bytes) -> list[Sealing]:
        """What is to be sealed of a row at the newest position, for `sealed_rows`."""
        place, found = envelope.pack_place(item, self.seq), []
        for scope, text in parts:
            head, cipher = self._sealing.get(scope) or self._of(scope)
            found.append((head, (cipher, text, place)))
        return found

    def _of(self, scope: str) -> tuple[bytes, Cipher]:
        label, bound, key = self._scopes[scope]
        cipher = Cipher.within(Key(bytes.fromhex(key)), bytes.fromhex(bound))
        found = self._sealing[scope] = envelope.lp(label), cipher
        return found

    @property
    def ciphers(self) -> RowCiphers:
        """What opens its rows, too."""
        if self._ciphers is None:
            keys = {
                scope: (label, Key(bytes.fromhex(key))) for scope, (label, _, key) in self._scopes.items()
            }
            self._ciphers = RowCiphers.labelled(self.grant_id, keys)
        return self._ciphers

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("what holds keys is neither pickled nor copied")


class Standing:
    """The notes of one host's vaults."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def kept(
        self, transaction: Transaction, keyring: Keyring, day: date, opened: Callable[[], Sequence[OpenGrant]]
    ) -> list[Kept]:
        """Every live view, in the transaction of a change; `opened` opens the grants where the note does not.

        Grants that the root does not vouch for are ended by then.
        """
        found = self._engine.one(_NOTE, (keyring.vault,))
        roster, sealed = found or (None, None)
        rows, cipher = self._live(keyring), keyring.cipher(Purpose.STANDING)
        try:
            text = cipher.unseal(sealed, mark(roster, rows))
        except TamperedError:
            text = _written(grants := opened())
            rows = [row for row in self._live(keyring) if row[0] in {grant.grant_id for grant in grants}]
            with suppress(TamperedError):  # a roster that is none
                note = cipher.seal(text, mark(roster, rows))
                transaction.execute(_WRITE, (keyring.vault, note))
        return _read(text, day, {row[0]: row[5:] for row in rows})

    def one(self, grant: OpenGrant, day: date) -> Kept:
        """The same of one grant, live or not."""
        row = self._engine.one(
            f"SELECT seq, {events.JOINED} FROM grants WHERE grant_id = ?", (grant.grant_id,)
        )
        return _read(_written([grant]), day, {grant.grant_id: row or (0, False)})[0]

    def _live(self, keyring: Keyring) -> list[Row]:
        return self._engine.all(_LIVE, (keyring.vault,))


def forget(transaction: Transaction, vault: str) -> None:
    """Delete a vault's note, where what it tells must be gone."""
    transaction.execute("DELETE FROM standing WHERE vault = ?", (vault,))


def forget_of(transaction: Transaction, grant_id: str) -> None:
    """The same by one of the vault's grants."""
    transaction.execute(
        "DELETE FROM standing WHERE vault = (SELECT vault FROM grants WHERE grant_id = ?)", (grant_id,)
    )


def mark(roster: Any, rows: Iterable[Row]) -> bytes:
    """What tells this roster with these live grants from any other; TamperedError for no such cells.

    A row begins with id, wrapped key, agreement, reserve and end.
    """
    try:
        told = [b"%d " % len(roster), roster]
        for row in sorted(rows):
            grant_id, wrapped, agreement, reserve, expires = row[:5]
            sizes = f"{grant_id} {expires} {len(wrapped)} {len(agreement)} {len(reserve)} "
            told += (sizes.encode(), wrapped, agreement, reserve)
        return crypto.digest(b"".join(told))
    except (TypeError, ValueError):
        raise TamperedError() from None


def _written(grants: Sequence[OpenGrant]) -> bytes:
    """The text of a note, in the order of the ids. What several grants have alike stands there once."""
    parts: list[Any] = []
    rules: list[Any] = []
    views = []
    for grant in sorted(grants, key=attrgetter("grant_id")):
        agreement, reserve = grant.agreement, grant.reserve.values()
        del reserve["vendor_name"]
        since = 0 if grant.reserve.fresh == AT_ONCE else agreement.created  # nothing asks for it then
        rule = _place(rules, [_place(parts, list(agreement.parts)), since, reserve])
        shelves = {stream: shelf(grant.keys.common, stream).hex() for stream in agreement.streams}
        scopes = {scope: _scope(grant, scope) for scope in filter(is_reading, agreement.scopes)}
        views.append([rule, grant.grant_id, agreement.vendor, shelves, scopes])
    return compact.dumps([parts, rules, views])


def _scope(grant: OpenGrant, scope: str) -> _Scope:
    bound = crypto.context(Purpose.VIEW, grant.grant_id, scope)
    label = shelf(grant.keys.common, scope).hex()
    return label, bound.hex(), grant.keys.scope_key(scope).reveal().hex()


def _place(known: list[Any], one: Any) -> int:
    if one not in known:
        known.append(one)
    return known.index(one)


def _read(text: bytes, day: date, places: Mapping[str, Row]) -> list[Kept]:
    """The views of a note, each at its place: where it stands, and whether it is told anyway."""
    parts, rules, views = compact.loads(text)
    leaving = [Leaving(some, day) for some in parts]
    judging = [
        Rules(Agreement("", "", parts[asked], since, 0), Reserve.of(reserve), day, leaving[asked])
        for asked, since, reserve in rules
    ]
    return [Kept(judging[view[0]], view, *places[view[1]]) for view in views]
