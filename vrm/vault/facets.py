"""The facets of records, sealed one by one and kept as one body.

Promises: a stored record gives away neither which facets are filled nor how much they say: each has an
envelope, padded. The list of facets is part of what each is bound to: none can be dropped, added or moved.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from vrm.errors import TamperedError
from vrm.vault import compact, crypto, envelope
from vrm.vault.catalog import CATALOG, CATALOG_BY_NAME
from vrm.vault.crypto import Cipher
from vrm.vault.engine import Engine
from vrm.vault.generations import blame_renewal
from vrm.vault.keyring import Keyring

if TYPE_CHECKING:
    from vrm.vault.schemas import Document

_Wanted = tuple[Sequence[int], Sequence[tuple[str, Cipher]]]  # places in a body, and what opens each
_EMPTY = {
    facet.bucket: envelope.pad(b"{}", facet.bucket) for collection in CATALOG for facet in collection.facets
}


def _read(text: bytes) -> dict[str, Any]:
    return {} if text.startswith(b"{}") else compact.loads(text)


@cache
def _layout(collection: str) -> envelope.Layout:
    """How the facets of a record stand in its body: usually one bucket each."""
    facets = CATALOG_BY_NAME[collection].facets
    return envelope.Layout(
        [facet.name for facet in facets], [envelope.SMALLEST + facet.bucket for facet in facets]
    )


class Facets:
    """Seals and opens the facets of one collection's records."""

    def __init__(self, engine: Engine, keyring: Keyring, collection: str) -> None:
        self.name = collection
        self._engine = engine
        self._keyring = keyring
        self._ciphers = keyring.record_ciphers(collection)
        self._layout = _layout(collection)

    def seal(self, record: str, revision: int, document: Mapping[str, Mapping[str, Any]]) -> bytes:
        """The stored body: an envelope for every facet, filled or not."""
        texts = []
        for facet, cipher in self._ciphers:
            values, bucket = document.get(facet.name), facet.bucket
            texts.append((cipher, envelope.pad(compact.dumps(values), bucket) if values else _EMPTY[bucket]))
        sealed = crypto.seal_all(texts, envelope.pack_record(record, revision) + self._layout.packed)
        return self._layout.pack(sealed)

    def unseal(self, record: str, revision: int, body: bytes) -> Document:
        """The document of a stored body; TamperedError where anything is not as it was written.

        A facet that came into the catalog after the record was written is empty.
        """
        return self.opener()(record, revision, body)

    def opener(self, facets: Collection[str] = ()) -> Callable[[str, int, bytes], Document]:
        """`unseal` for many bodies; with `facets`, documents of these only: opening is what costs."""
        wanted = {
            at: (facet.name, cipher)
            for at, (facet, cipher) in enumerate(self._ciphers)
            if not facets or facet.name in facets
        }
        return partial(self._unsealed, (tuple(wanted), tuple(wanted.values())))

    def _unsealed(self, wanted: _Wanted, record: str, revision: int, body: bytes) -> Document:
        places, named = wanted
        bound, parts = self._parts(record, revision, body, places)
        try:
            return {
                name: {} if part is None else _read(cipher.unseal_packed(part, bound))
                for (name, cipher), part in zip(named, parts, strict=True)
            }
        except TamperedError:
            blame_renewal(self._engine, self._keyring)
            raise

    def _parts(
        self, record: str, revision: int, body: bytes, places: Sequence[int]
    ) -> tuple[bytes, Sequence[bytes | None]]:
        """What the facets of a body are bound to, and the envelopes of some; None for one it has not."""
        bound, parts = envelope.pack_record(record, revision), self._layout.take(body, places)
        if parts is not None:
            return bound + self._layout.packed, parts
        named = envelope.unpack_named(body)  # written when the catalog had fewer facets
        if not named or not named.keys() <= set(self._layout.names):
            raise TamperedError()
        names = self._layout.names
        return bound + envelope.lp(envelope.pack(*named)), [named.get(names[place]) for place in places]
