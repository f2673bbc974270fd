"""What it takes to keep a vault's live views in step, of all its grants under one seal: the *standing* note.

Promises: what the note says of each grant is what opening it says, or the note does not open: it is bound
to the very bytes that it was made from, the roster and the row of every live grant. Whatever was planted,
altered, put back, narrowed or added since makes it worthless; then each grant is opened as the root vouches
for it, and the note is made anew. It lies under the root only, and goes with the end of any of the grants
and with the root.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from vrm.consent import events
from vrm.consent.policy import AT_ONCE, Agreement, Leaving, Reserve, Rules
from vrm.consent.rows import RowCiphers, shelf
from vrm.consent.scopes import is_reading
from vrm.errors import TamperedError
from vrm.vault import compact, crypto
from vrm.vault.crypto import Key, Purpose
from vrm.vault.engine import Engine, Row, Transaction
from vrm.vault.keyring import Keyring

if TYPE_CHECKING:
    from vrm.consent.views import OpenGrant

TABLES = ("CREATE TABLE standing (vault TEXT PRIMARY KEY, sealed BLOB NOT NULL)",)
_LIVE = (
    f"SELECT grant_id, wrapped, agreement, reserve, expires, seq, {events.JOINED} FROM grants"
    " WHERE vault = ? AND state = 'live'"
)
_NOTE = "SELECT v.roster, s.sealed FROM vaults v LEFT JOIN standing s ON s.vault = v.vault WHERE v.vault = ?"
_WRITE = (
    "INSERT INTO standing (vault, sealed) VALUES (?, ?)"
    " ON CONFLICT (vault) DO UPDATE SET sealed = excluded.sealed"
)


class Kept(NamedTuple):
    """What keeping one live view takes."""

    grant_id: str
    vendor: str
    rules: Rules
    shelves: dict[str, bytes]  # stream → where its rows stand
    ciphers: Callable[[], RowCiphers]


class Place(NamedTuple):
    """Where a view stands: the position of its newest row; whether its vendor is about to be told anyway."""

    seq: int
    told: bool


class Standing:
    """The notes of one host's vaults."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def kept(
        self, transaction: Transaction, keyring: Keyring, day: date, opened: Callable[[], Sequence[OpenGrant]]
    ) -> list[tuple[Kept, Place]]:
        """Every live view, in the transaction of a change; `opened` opens the grants where the note does not.

        Grants that the root does not vouch for are ended by then.
        """
        found = self._engine.one(_NOTE, (keyring.vault,))
        roster, sealed = found or (None, None)
        rows, cipher = self._live(keyring), keyring.cipher(Purpose.STANDING)
        try:
            text = cipher.unseal(sealed, _mark(roster, rows))
        except TamperedError:
            text = _written(opened())
            rows = self._live(keyring)
            transaction.execute(_WRITE, (keyring.vault, cipher.seal(text, _mark(roster, rows))))
        places = {row[0]: Place(row[5], bool(row[6])) for row in rows}
        return [(kept, places[kept.grant_id]) for kept in _read(text, day)]

    def one(self, grant: OpenGrant, day: date) -> tuple[Kept, Place]:
        """The same of one grant, live or not."""
        row = self._engine.one(
            f"SELECT seq, {events.JOINED} FROM grants WHERE grant_id = ?", (grant.grant_id,)
        )
        (kept,) = _read(_written([grant]), day)
        return kept, Place(row[0], bool(row[1])) if row else Place(0, told=False)

    def _live(self, keyring: Keyring) -> list[Row]:
        return sorted(self._engine.all(_LIVE, (keyring.vault,)))


def forget(transaction: Transaction, vault: str) -> None:
    """Delete a vault's note, where what it tells must be gone."""
    transaction.execute("DELETE FROM standing WHERE vault = ?", (vault,))


def forget_of(transaction: Transaction, grant_id: str) -> None:
    """The same by one of the vault's grants."""
    transaction.execute(
        "DELETE FROM standing WHERE vault = (SELECT vault FROM grants WHERE grant_id = ?)", (grant_id,)
    )


def _mark(roster: Any, rows: Sequence[Row]) -> bytes:
    """What tells this roster with these live grants from any other; TamperedError for no such bytes."""
    try:
        told = [b"%d " % len(roster), roster]
        for grant_id, wrapped, agreement, reserve, expires, *_ in rows:
            sizes = f"{grant_id} {expires} {len(wrapped)} {len(agreement)} {len(reserve)} "
            told += (sizes.encode(), wrapped, agreement, reserve)
        return crypto.digest(b"".join(told))
    except (TypeError, ValueError):
        raise TamperedError() from None


def _written(grants: Sequence[OpenGrant]) -> bytes:
    """The text of a note. Parts and rules that several grants share stand in it once."""
    parts: list[Any] = []
    rules: list[Any] = []
    views = []
    for grant in grants:
        agreement, reserve = grant.agreement, grant.reserve.values()
        del reserve["vendor_name"]
        asked = _place(parts, list(agreement.parts))
        since = 0 if grant.reserve.fresh == AT_ONCE else agreement.created  # nothing asks for it then
        views.append(
            [
                grant.grant_id,
                agreement.vendor,
                _place(rules, [asked, since, reserve]),
                {stream: shelf(grant.keys.common, stream).hex() for stream in agreement.streams},
                {
                    scope: [shelf(grant.keys.common, scope).hex(), grant.keys.scope_key(scope).reveal().hex()]
                    for scope in filter(is_reading, agreement.scopes)
                },
            ]
        )
    return compact.dumps([parts, rules, views])


def _place(known: list[Any], one: Any) -> int:
    if one not in known:
        known.append(one)
    return known.index(one)


def _read(text: bytes, day: date) -> list[Kept]:
    parts, rules, views = compact.loads(text)
    leaving = [Leaving(some, day) for some in parts]
    judging = [
        Rules(Agreement("", "", parts[asked], since, 0), Reserve.of(reserve), day, leaving[asked])
        for asked, since, reserve in rules
    ]
    return [
        Kept(
            grant_id,
            vendor,
            judging[rule],
            {stream: bytes.fromhex(place) for stream, place in shelves.items()},
            partial(_ciphers, grant_id, keys),
        )
        for grant_id, vendor, rule, shelves, keys in views
    ]


def _ciphers(grant_id: str, keys: dict[str, tuple[str, str]]) -> RowCiphers:
    return RowCiphers.labelled(
        grant_id, {scope: (label, Key(bytes.fromhex(key))) for scope, (label, key) in keys.items()}
    )
