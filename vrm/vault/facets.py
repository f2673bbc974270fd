"""The facets of records, sealed one by one and kept as one body.

Promises: a stored record gives away neither which facets are filled nor how much they say: each has an
envelope, padded. The list of facets is part of what each is bound to: none can be dropped, added or moved.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import cache, partial
from itertools import islice
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

Stored = tuple[str, int, bytes]  # id, revision, sealed body
_BATCH = 256  # bodies that are opened together
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
        texts, bound = [], envelope.pack_record(record, revision) + self._layout.packed
        for facet, cipher in self._ciphers:
            values, bucket = document.get(facet.name), facet.bucket
            text = envelope.pad(compact.dumps(values), bucket) if values else _EMPTY[bucket]
            texts.append((cipher, text, bound))
        return self._layout.pack(crypto.seal_all(texts))

    def unseal(self, record: str, revision: int, body: bytes) -> Document:
        """The document of a stored body; TamperedError where anything is not as it was written.

        A facet that came into the catalog after the record was written is empty.
        """
        return self.opener()(record, revision, body)

    def opener(self, facets: Collection[str] = ()) -> Callable[[str, int, bytes], Document]:
        """`unseal` for many bodies; with `facets`, documents of these only: opening is what costs."""
        wanted = self._wanted(facets)
        places = [at for at, _, _ in wanted]
        named = [(name, cipher.unseal_packed) for _, name, cipher in wanted]
        return partial(self._unsealed, places, named)

    def unseal_each(
        self, rows: Iterable[Stored], facets: Collection[str] = ()
    ) -> Iterator[tuple[str, Document]]:
        """(id, what `opener` gives) of many rows; where a body is unusual, it comes some places later."""
        unseal, rows = self.opener(facets), iter(rows)
        while some := list(islice(rows, _BATCH)):
            usual: list[Stored] = []
            others: list[Stored] = []
            for row in some:
                (usual if self._layout.is_usual(row[2]) else others).append(row)
            documents = self._unsealed_together(usual, facets) if usual else []
            if documents is None:
                documents, others = [], some
            yield from documents
            for record, revision, body in others:
                yield record, unseal(record, revision, body)

    def _wanted(self, facets: Collection[str]) -> list[tuple[int, str, Cipher]]:
        """(place, name, cipher) of these facets, or of all."""
        return [
            (at, facet.name, cipher)
            for at, (facet, cipher) in enumerate(self._ciphers)
            if not facets or facet.name in facets
        ]

    def _unsealed_together(
        self, rows: Sequence[Stored], facets: Collection[str]
    ) -> list[tuple[str, Document]] | None:
        """The documents of usual bodies, facet by facet; None where one of them must be looked at alone."""
        wanted, packed, found = self._wanted(facets), self._layout.packed, []
        try:
            bounds = [place + packed for place in envelope.pack_records([row[:2] for row in rows])]
            columns = self._layout.columns([body for _, _, body in rows], [at for at, _, _ in wanted])
            for (_, _, cipher), (head, parts) in zip(wanted, columns, strict=True):
                texts = cipher.unseal_all(parts, head, bounds)
                if texts is None:
                    return None
                found.append([{} if text.startswith(b"{}") else compact.loads(text) for text in texts])
        except TamperedError:
            return None
        names, ids = [name for _, name, _ in wanted], [row[0] for row in rows]
        return [
            (record, dict(zip(names, values, strict=True)))
            for record, *values in zip(ids, *found, strict=True)
        ]

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
