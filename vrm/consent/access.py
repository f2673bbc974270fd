"""What an access token opens: its vault, grant and scopes, and the rows of its streams, written as JSON.

Promises: it lasts as long as a request; a row shows what stands in its period and in these scopes, nothing
else of it, not even that there is more.
"""

from __future__ import annotations

from binascii import hexlify
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from vrm.clock import rfc3339
from vrm.consent.filters import Fits
from vrm.consent.pages import PageCipher
from vrm.consent.proofs import Proof
from vrm.consent.rows import RowCiphers, in_period, shelf
from vrm.consent.scopes import SCOPES, member_of, stream_of
from vrm.vault import crypto
from vrm.vault.crypto import Key, Purpose
from vrm.vault.engine import Row


@dataclass(slots=True, repr=False)
class Access:
    """An opened access token: whose, for what, and the keys of exactly that."""

    vault: str
    grant_id: str
    client_id: str
    scopes: tuple[str, ...]
    keys: Mapping[str, Key]
    common: Key
    lookup: bytes
    parent: bytes | None
    jkt: str = ""  # thumbprint of the key that it is bound to; empty: a bearer token
    proof: Proof | None = None  # of that key, for this one request
    openers: dict[str, Opener] = field(default_factory=dict)  # by stream; they last no longer than this

    @property
    def writes(self) -> bool:
        """Whether it may leave something, too."""
        return bool([scope for scope in self.scopes if scope[-6:] == ":write"])

    def stream_scopes(self, stream: str) -> list[str]:
        """The token's scopes in one collection or answer."""
        return [scope for scope in self.scopes if stream_of(scope.removesuffix(":read")) == stream]


class Opener:
    """Opens the rows of one stream for one token and writes them as JSON."""

    def __init__(self, access: Access, stream: str, scopes: Sequence[str], day: int) -> None:
        self.stream = stream
        self.scopes = scopes
        self.shelf = shelf(access.common, stream)
        self.day = day
        self._grant_id = access.grant_id
        self._keys = {scope: access.keys[scope] for scope in scopes}
        self.ciphers = RowCiphers(access.grant_id, access.common, self._keys)

    @cached_property
    def pages(self) -> PageCipher:
        """Of whole pages, which take the keys of all scopes that show in them."""
        about = (self._grant_id, self.stream, *self.scopes)
        return PageCipher(crypto.joint(self._keys.values(), Purpose.PAGE, *about))

    def row(
        self, seq: int, item: bytes, updated: int, sealed: bytes, *, fits: Fits | None = None
    ) -> bytes | None:
        """The record as it leaves, or None where nothing of it is in period and in these scopes.

        None, too, where what would leave does not fit.
        """
        opened = self.ciphers.open(sealed, item, seq)
        kept = {scope: text for scope, (last, text) in opened.items() if in_period(last, self.day)}
        if not kept or (fits is not None and not fits(kept)):
            return None
        parts = [_MEMBERS[scope] + text for scope, text in kept.items()]
        return b'{"id":"%b","updated_at":"%b"%b}' % (hexlify(item), _time(updated), b"".join(parts))

    def rows(self, rows: Sequence[Row]) -> list[bytes]:
        """`row` of each where it is not None."""
        return [text for text in self.each(rows) if text is not None]

    def each(self, rows: Sequence[Row], fits: Fits | None = None) -> list[bytes | None]:
        """`row` of each; in few steps where one part is all that the rows are."""
        if not rows:
            return []
        texts = self.ciphers.open_only(rows, self.day)
        if texts is None:
            return [self.row(*row, fits=fits) for row in rows]
        scope = self.scopes[0]
        moments = {updated for _, _, updated, _ in rows}
        middles = {when: b'","updated_at":"%b"%b' % (_time(when), _MEMBERS[scope]) for when in moments}
        return [
            b'{"id":"' + hexlify(item) + middles[updated] + text + b"}"
            if text is not None and (fits is None or fits({scope: text}))
            else None
            for (_, item, updated, _), text in zip(rows, texts, strict=True)
        ]

    def row_or_gone(self, seq: int, item: bytes, updated: int, sealed: bytes | None) -> bytes:
        """The record as it leaves, or that it has left."""
        row = None if sealed is None else self.row(seq, item, updated, sealed)
        if row is not None:
            return row
        return b'{"id":"%b","updated_at":"%b","gone":true}' % (hexlify(item), _time(updated))

    def bare(self, seq: int, item: bytes, sealed: bytes) -> bytes | None:
        """An answer's row: the bytes themselves."""
        parts = self.ciphers.open(sealed, item, seq)
        return next((text for _, text in parts.values()), None)


def _time(updated: int) -> bytes:
    return rfc3339(updated).encode()


_MEMBERS = {  # what stands before the text of a scope in a row
    scope: b',"%s":' % member_of(scope).encode() for scope in SCOPES
}
