"""What the root key opens: the subkeys of one vault, derived once and kept only in this object."""

from __future__ import annotations

from functools import cached_property

from vrm.vault import crypto
from vrm.vault.catalog import CATALOG_BY_NAME, Facet
from vrm.vault.crypto import Cipher, Key, Purpose


class Keyring:
    """Derived keys of an unlocked vault. Nothing here is stored, cached elsewhere or shown."""

    def __init__(self, vault: str, root: Key, generation: int = 1) -> None:
        self.vault = vault
        self.generation = generation
        self._root = root
        self._records: dict[str, tuple[tuple[Facet, Cipher], ...]] = {}
        self._ciphers: dict[tuple[str, ...], Cipher] = {}

    def __repr__(self) -> str:
        return "<Keyring>"

    def root(self) -> Key:
        """The root itself, for wrapping into a keyslot."""
        return self._root

    def record_ciphers(self, collection: str) -> tuple[tuple[Facet, Cipher], ...]:
        """(facet, cipher) for every facet of a collection, in the catalog's order."""
        found = self._records.get(collection)
        if found is None:
            facets = CATALOG_BY_NAME[collection].facets
            found = tuple((facet, self._record_cipher(collection, facet)) for facet in facets)
            self._records[collection] = found
        return found

    def _record_cipher(self, collection: str, facet: Facet) -> Cipher:
        parts = (self.vault, collection, facet.name)
        return Cipher(self._root, Purpose.RECORD, *parts, generation=self.generation, derive=True)

    def cipher(self, purpose: Purpose, *parts: str) -> Cipher:
        """A cipher for one of the vault's own purposes (journal, roster, grant wraps, reserve, heads)."""
        found = self._ciphers.get((purpose, *parts))
        if found is None:
            found = Cipher(self._root, purpose, self.vault, *parts, generation=self.generation, derive=True)
            self._ciphers[purpose, *parts] = found
        return found

    def log_private(self) -> Key:
        """The private key to which the disclosure log is sealed."""
        return crypto.derive(self._root, Purpose.LOG_PAIR, self.vault)

    @cached_property
    def _pairwise(self) -> Key:
        return crypto.derive(self._root, Purpose.PAIRWISE, self.vault)

    @cached_property
    def _fingerprint(self) -> Key:
        return crypto.derive(self._root, Purpose.FINGERPRINT, self.vault)

    def pairwise(self, vendor: str, stream: str, record: str) -> bytes:
        """16 bytes: the id under which one vendor knows one record; no two vendors share any."""
        return crypto.mac(self._pairwise, Purpose.PAIRWISE, vendor, stream, record)[:16]

    def fingerprint(self, *parts: str) -> bytes:
        """16 bytes that tell whether an imported line is known, and nothing to who lacks the root."""
        return crypto.mac(self._fingerprint, Purpose.FINGERPRINT, *parts)[:16]
