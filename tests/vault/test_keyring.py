"""Subkeys of a root: one for each use, none for two."""

import pytest

from vrm.errors import TamperedError
from vrm.vault.catalog import CATALOG
from vrm.vault.crypto import Key, Purpose
from vrm.vault.keyring import Keyring

ROOT = Key(b"the root key of this very vault!")


def test_every_facet_has_a_key_of_its_own() -> None:
    ring = Keyring("v", ROOT)
    ciphers = [cipher for item in CATALOG for _, cipher in ring.record_ciphers(item.name)]
    sealed = [cipher.seal(b"text") for cipher in ciphers]
    for at, cipher in enumerate(ciphers):
        assert cipher.unseal(sealed[at]) == b"text"
        for other in (blob for number, blob in enumerate(sealed) if number != at):
            with pytest.raises(TamperedError):
                cipher.unseal(other)


def test_the_same_root_in_another_vault_opens_nothing() -> None:
    one, other = Keyring("v", ROOT), Keyring("w", ROOT)
    for purpose in (Purpose.JOURNAL, Purpose.ROSTER, Purpose.GRANT_WRAP):
        with pytest.raises(TamperedError):
            other.cipher(purpose).unseal(one.cipher(purpose).seal(b"text"))
    assert one.log_private() != other.log_private()
    assert one.pairwise("vendor", "purchases", "r") != other.pairwise("vendor", "purchases", "r")
    assert one.fingerprint("line") != other.fingerprint("line")


def test_no_two_vendors_know_a_record_by_the_same_id() -> None:
    ring = Keyring("v", ROOT)
    ids = {
        ring.pairwise(vendor, stream, record)
        for vendor in ("a", "b", "ab")
        for stream in ("purchases", "answers.corrections")
        for record in ("r1", "r2")
    }
    assert len(ids) == 12
    assert {len(one) for one in ids} == {16}
    assert {ring.pairwise_ids("a", "purchases")(record) for record in ("r1", "r2")} == {
        ring.pairwise("a", "purchases", record) for record in ("r1", "r2")
    }


def test_fingerprints_tell_parts_apart() -> None:
    ring = Keyring("v", ROOT)
    assert ring.fingerprint("ab", "c") != ring.fingerprint("a", "bc")
    assert ring.fingerprint("ab", "c") == ring.fingerprint("ab", "c")


def test_ciphers_are_made_once_and_the_ring_hides_its_keys() -> None:
    ring = Keyring("v", ROOT)
    assert ring.record_ciphers("purchases") is ring.record_ciphers("purchases")
    assert "the root key" not in repr(ring) + repr(vars(ring))
    assert ring.root() == ROOT


def test_a_ring_knows_its_own_generation_and_the_one_before_only() -> None:
    before = Keyring("v", ROOT)
    ring = Keyring("v", Key(bytes(32)), 2, before=before)
    assert ring.of(2) is ring
    assert ring.of(1) is before
    for of, generation in ((ring, 3), (before, 2)):
        with pytest.raises(TamperedError):
            of.of(generation)
    assert before.alone() is before
    assert ring.alone().before is None


def test_the_ring_before_opens_what_is_sealed_later_anew_and_never_vouches() -> None:
    before = Keyring("v", ROOT)
    ring = Keyring("v", Key(bytes(32)), 2, before=before)
    assert ring.cipher(Purpose.RESERVE).unseal(before.cipher(Purpose.RESERVE).seal(b"text")) == b"text"
    for purpose in (Purpose.ROSTER, Purpose.JOURNAL_HEAD, Purpose.LOG_HEADS, Purpose.HEIRLOOMS):
        with pytest.raises(TamperedError):
            ring.cipher(purpose).unseal(before.cipher(purpose).seal(b"text"))
    with pytest.raises(TamperedError):
        before.cipher(Purpose.RESERVE).unseal(ring.cipher(Purpose.RESERVE).seal(b"text"))
