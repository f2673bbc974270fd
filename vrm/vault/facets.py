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
from vrm.vault.engine import Engine
from vrm.vault.generations import blame_renewal
from vrm.vault.keyring import Keyring

if TYPE_CHECKING:
    from vrm.vault.schemas import Document

_Opens = tuple[str, Callable[[bytes, bytes], bytes]]  # name of a facet, and what opens its envelope
_EMPTY = {
    facet.bucket: envelope.pad(b"{}", facet.bucket) for collection in CATALOG for facet in collection.facets
}


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
        wanted = [
            (at, facet.name, cipher)
            for at, (facet, cipher) in enumerate(self._ciphers)
            if not facets or facet.name in facets
        ]
        places = [at for at, _, _ in wanted]
        named = [(name, cipher.unseal_packed) for _, name, cipher in wanted]
        return partial(self._unsealed, places, named)

    def _unsealed(
        self, places: Sequence[int], named: Sequence[_Opens], record: str, revision: int, body: bytes
    ) -> Document:
        place, parts = envelope.pack_record(record, revision), self._layout.take(body, places)
        if parts is None:
            return self._unsealed_older(place, body, named)
        bound = place + self._layout.packed
        document: Document = {}
        try:
            for (name, unseal), part in zip(named, parts, strict=True):
                text = unseal(part, bound)
                document[name] = {} if text.startswith(b"{}") else compact.loads(text)
        except TamperedError:
            blame_renewal(self._engine, self._keyring)
            raise
        return document

    def _unsealed_older(self, place: bytes, body: bytes, named: Sequence[_Opens]) -> Document:
        """The same of one that was written when the catalog had fewer facets; later ones are empty."""
        parts = envelope.unpack_named(body)
        if not parts or not parts.keys() <= set(self._layout.names):
            raise TamperedError()
        bound = place + envelope.lp(envelope.pack(*parts))
        try:
            return {
                name: compact.loads(unseal(parts[name], bound)) if name in parts else {}
                for name, unseal in named
            }
        except TamperedError:
            blame_renewal(self._engine, self._keyring)
            raise
