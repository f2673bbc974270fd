"""One row of a view: the parts that leave under each scope, sealed under that scope's key, and opened again.

Promises: a row opens only at its place in its grant, for who holds the key of a part; the table names
neither collection nor scope; a part says until which day it may be read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from vrm.consent import policy
from vrm.errors import TamperedError
from vrm.vault import crypto, envelope
from vrm.vault.crypto import Cipher, Key, Purpose
from vrm.vault.engine import Row

Sealing = tuple[bytes, tuple[Cipher, bytes, bytes]]  # of a part: its packed label, for `crypto.seal_all`
_BUCKET = 256  # bytes: as coarse as the records', so that lengths do not join a view to the store
_DAY = 4  # bytes of the last day before the text
_ENDLESS = policy.FOREVER.to_bytes(_DAY, "big")


def shelf(common: Key, stream: str) -> bytes:
    """8 bytes under which a stream's rows stand, so that the table does not name the collection."""
    return crypto.mac(common, Purpose.SHELF, stream)[:8]


def padded(verdict: policy.Verdict) -> list[tuple[str, bytes]]:
    """(scope, last day ‖ JSON, padded) of what leaves."""
    return [
        (scope, envelope.pad(verdict.ends[scope].to_bytes(_DAY, "big") + text, _BUCKET))
        for scope, text in verdict.scopes.items()
    ]


def sealed_rows(rows: Sequence[Sequence[Sealing]]) -> list[bytes]:
    """The stored bytes of rows of these parts, all sealed at once."""
    blobs = iter(crypto.seal_all([one for row in rows for _, one in row]))
    return [b"".join([envelope.headed(head, next(blobs)) for head, _ in row]) for row in rows]


class RowCiphers:
    """Seals and opens the parts of some scopes in one grant's view."""

    def __init__(self, grant_id: str, common: Key, keys: Mapping[str, Key]) -> None:
        self._begin(grant_id, {scope: (shelf(common, scope).hex(), key) for scope, key in keys.items()})

    @classmethod
    def labelled(cls, grant_id: str, keys: Mapping[str, tuple[str, Key]]) -> RowCiphers:
        """The same from (label, key) of each scope."""
        self = cls.__new__(cls)
        self._begin(grant_id, keys)
        return self

    def _begin(self, grant_id: str, keys: Mapping[str, tuple[str, Key]]) -> None:
        self._parts = {
            scope: (label, Cipher(key, Purpose.VIEW, grant_id, scope)) for scope, (label, key) in keys.items()
        }
        self._heads = {scope: envelope.lp(label) for scope, (label, _) in self._parts.items()}
        self._only: tuple[str, Cipher, bytes] | None = None  # if one is all: with the head of its part
        if len(self._parts) == 1:
            ((scope, (_, cipher)),) = self._parts.items()
            self._only = (scope, cipher, self._heads[scope])

    def seal_all(self, rows: Sequence[tuple[policy.Verdict, bytes, int]]) -> list[bytes]:
        """Each (what leaves, item, seq) as it is stored: per scope an envelope of last day ‖ padded JSON."""
        places = envelope.pack_places([(item, seq) for _, item, seq in rows])
        parts = self._parts
        return sealed_rows(
            [
                [(self._heads[scope], (parts[scope][1], text, place)) for scope, text in padded(verdict)]
                for (verdict, _, _), place in zip(rows, places, strict=True)
            ]
        )

    def open(self, sealed: bytes, item: bytes, seq: int) -> dict[str, tuple[int, bytes]]:
        """Scope → (last day, JSON) of a row, for these scopes; TamperedError for one moved or altered."""
        place, found = envelope.pack_place(item, seq), {}
        for scope, cipher, blob in self._mine(sealed):
            found[scope] = opened_part(cipher.unseal_packed(blob, place))
        return found

    def open_only(self, rows: Sequence[Row], day: int) -> list[bytes | None] | None:
        """JSON of each (seq, item, updated, sealed) if all are of our one scope alone; else None.

        None, too, for a row that may not be read any more on `day`.

        Most tokens open one part of a row, and most rows are that: no call is made for each.
        """
        if self._only is None:
            return None
        _, cipher, head = self._only
        places = envelope.pack_places([(item, seq) for seq, item, _, _ in rows])
        texts = cipher.unseal_all([sealed for _, _, _, sealed in rows], head, places)
        if texts is None:  # there are other parts beside ours, or instead of it
            return None
        if {text[:_DAY] for text in texts} == {_ENDLESS}:
            return [text[_DAY:].rstrip() for text in texts]
        return [text if in_period(last, day) else None for last, text in map(opened_part, texts)]

    def _mine(self, sealed: bytes) -> list[tuple[str, Cipher, bytes]]:
        """(scope, cipher, envelope) of every part that these scopes open."""
        if self._only is not None:  # one scope: most rows hold its part and nothing else
            scope, cipher, head = self._only
            blob = envelope.sole(sealed, head)
            if blob is not None:
                return [(scope, cipher, blob)]
        named = envelope.unpack_named(sealed)
        return [(one, cipher, named[label]) for one, (label, cipher) in self._parts.items() if label in named]

    def holds(self, sealed: bytes, item: bytes, seq: int, verdict: policy.Verdict) -> bool:
        """Whether a row says exactly this; an altered one does not."""
        try:
            wanted = {scope: (verdict.ends[scope], text) for scope, text in verdict.scopes.items()}
            return (
                len(envelope.unpack_named(sealed)) == len(wanted) and self.open(sealed, item, seq) == wanted
            )
        except TamperedError:
            return False

    def sealed_parts(self, sealed: bytes) -> bytes:
        """The envelopes of these scopes, for an ETag."""
        return b"".join([blob for _, _, blob in self._mine(sealed)])


def opened_part(text: bytes) -> tuple[int, bytes]:
    """(last day, JSON) of what a part's envelope held."""
    return int.from_bytes(text[:_DAY], "big"), text[_DAY:].rstrip()


def in_period(last: int, day: int) -> bool:
    """Whether a part whose last day is `last` may still be read on `day`."""
    return last in (policy.FOREVER, day) or last > day
