"""What the root key opens: the subkeys of one vault, derived once and kept only in this object.

While the root is being replaced (`vrm.vault.rotation`) the ring also holds the one before: what is opened
names its generation, what is sealed is always sealed by the newest. Two keys outlive every root, because
what they made is known elsewhere: those of pairwise ids and of import fingerprints, the *heirlooms*.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, cached_property

from vrm.errors import TamperedError
from vrm.vault import crypto, envelope
from vrm.vault.catalog import CATALOG_BY_NAME, Facet
from vrm.vault.crypto import Begun, Cipher, Key, Mac, Purpose

# Sealed anew in the transaction that makes a root: what the root before sealed for them counts no more, or
# whoever holds that one could vouch for other slots, grants and ends of chains while the rest is renewed.
_AT_ONCE = frozenset(
    {
        Purpose.ROSTER,
        Purpose.JOURNAL_HEAD,
        Purpose.JOURNAL_MARK,
        Purpose.LOG_HEADS,
        Purpose.STANDING,
        Purpose.MAILBOX_MARKS,
        Purpose.HEIRLOOMS,
        Purpose.PREVIOUS_ROOT,
    }
)


@cache
def _facets(collection: str) -> tuple[tuple[Facet, bytes], ...]:
    """(facet, what its key is derived for, beside the vault) in the catalog's order."""
    facets = CATALOG_BY_NAME[collection].facets
    return tuple((facet, envelope.pack(collection, facet.name)) for facet in facets)


class Keyring:
    """Derived keys of an unlocked vault. Nothing here is stored, cached elsewhere or shown.

    `heirlooms` is the sealed blob of a vault whose first root was replaced; `before` the ring of the root
    that is being replaced.
    """

    def __init__(
        self,
        vault: str,
        root: Key,
        generation: int = 1,
        *,
        heirlooms: bytes | None = None,
        before: Keyring | None = None,
    ) -> None:
        self.vault = vault
        self.generation = generation
        self.before = before
        self._root = root
        self._sealed_heirlooms = heirlooms
        self._records: dict[str, tuple[tuple[Facet, Cipher], ...]] = {}
        self._ciphers: dict[tuple[str, ...], Cipher] = {}

    def __repr__(self) -> str:
        return "<Keyring>"

    def root(self) -> Key:
        """The root itself, for wrapping into a keyslot."""
        return self._root

    def of(self, generation: int) -> Keyring:
        """This ring, or the one before, by its generation; TamperedError for any other."""
        if generation == self.generation:
            return self
        if self.before is None or generation != self.before.generation:
            raise TamperedError()
        return self.before

    def alone(self) -> Keyring:
        """The same ring without the one before."""
        if self.before is None:
            return self
        return Keyring(self.vault, self._root, self.generation, heirlooms=self._sealed_heirlooms)

    def record_ciphers(self, collection: str) -> tuple[tuple[Facet, Cipher], ...]:
        """(facet, cipher) for every facet of a collection, in the catalog's order."""
        found = self._records.get(collection)
        if found is None:
            start, facets = crypto.context(Purpose.RECORD, self.vault), _facets(collection)
            older = self.before.record_ciphers(collection) if self.before else [(None, None)] * len(facets)
            found = self._records[collection] = tuple(
                (facet, Cipher.within(self._stem, start + packed, self.generation, before))
                for (facet, packed), (_, before) in zip(facets, older, strict=True)
            )
        return found

    def cipher(self, purpose: Purpose, *parts: str) -> Cipher:
        """A cipher for one of the vault's own purposes (journal, roster, grant wraps, reserve, heads)."""
        found = self._ciphers.get((purpose, *parts))
        if found is None:
            older = None if purpose in _AT_ONCE else self.before
            before = older.cipher(purpose, *parts) if older else None
            bound = crypto.context(purpose, self.vault, *parts)
            found = Cipher.within(self._stem, bound, self.generation, before)
            self._ciphers[purpose, *parts] = found
        return found

    @cached_property
    def _stem(self) -> Begun:
        return Begun(self._root)

    def log_private(self) -> Key:
        """The private key to which the disclosure log is sealed."""
        return crypto.derive(self._root, Purpose.LOG_PAIR, self.vault)

    def mailbox_private(self) -> Key:
        """The private key to which the mailbox is sealed."""
        return crypto.derive(self._root, Purpose.MAILBOX_PAIR, self.vault)

    def handover_proof(self, slot: str) -> Key:
        """What proves to a way in that a later root comes from who held this one."""
        return crypto.derive(self._root, Purpose.HANDOVER_PROOF, self.vault, slot)

    def heirlooms(self) -> bytes:
        """The keys that outlive this root, for sealing them under the next one."""
        return envelope.pack(self._pairwise.reveal(), self._fingerprint.reveal())

    @cached_property
    def _inherited(self) -> tuple[Key, Key] | None:
        if self._sealed_heirlooms is None:
            return None
        keys = envelope.unpack(self.cipher(Purpose.HEIRLOOMS).unseal(self._sealed_heirlooms))
        return Key(keys[0]), Key(keys[1])

    @cached_property
    def _pairwise(self) -> Key:
        own = crypto.derive(self._root, Purpose.PAIRWISE, self.vault)
        return self._inherited[0] if self._inherited else own

    @cached_property
    def _fingerprint(self) -> Key:
        own = crypto.derive(self._root, Purpose.FINGERPRINT, self.vault)
        return self._inherited[1] if self._inherited else own

    @cached_property
    def _ids(self) -> Mac:
        return Mac(self._pairwise, Purpose.PAIRWISE)

    @cached_property
    def _lines(self) -> Mac:
        return Mac(self._fingerprint, Purpose.FINGERPRINT)

    def pairwise(self, vendor: str, stream: str, record: str) -> bytes:
        """16 bytes: the id under which one vendor knows one record; no two vendors share any."""
        return self._ids.of(vendor, stream, record)[:16]

    def pairwise_packed(self, vendor: str, packed: bytes) -> bytes:
        """`pairwise` of stream and record that are packed already, once for many vendors."""
        return self._ids.of_packed(envelope.lp(vendor) + packed)[:16]

    def pairwise_ids(self, vendor: str, stream: str) -> Callable[[str], bytes]:
        """`pairwise` for many records of one stream."""
        ids = Mac(self._pairwise, Purpose.PAIRWISE, vendor, stream)
        return lambda record: ids.of_packed(envelope.lp(record))[:16]

    def fingerprint(self, *parts: str) -> bytes:
        """16 bytes that tell whether an imported line is known, and nothing to who lacks the root."""
        return self._lines.of(*parts)[:16]
