"""Credentials: what they become, and that one slot's wrap opens in no other place."""

import unicodedata
from dataclasses import fields, replace

import pytest

from tests.conftest import CHEAP
from vrm.errors import TamperedError, UnlockError, ValidationError
from vrm.vault import crypto, keyslots
from vrm.vault.crypto import Key
from vrm.vault.keyslots import PassphraseSlot, RecoverySlot, SessionSlot

ROOT = Key(b"the root key of this very vault!")
COST = CHEAP.fresh()
STRETCHED = crypto.stretch(b"correct horse battery staple", COST)


def test_two_slots_of_one_passphrase_share_nothing() -> None:
    one, other = (PassphraseSlot.wrap("v", STRETCHED, COST, ROOT, 1) for _ in range(2))
    assert one.slot != other.slot
    assert len({one.check, other.check, one.public, other.public, one.wrapped, other.wrapped}) == 6
    assert PassphraseSlot.unwrap(one, STRETCHED) == PassphraseSlot.unwrap(other, STRETCHED) == ROOT


def test_a_row_shows_neither_root_nor_credential() -> None:
    code = keyslots.new_code()
    for row in (PassphraseSlot.wrap("v", STRETCHED, COST, ROOT, 1), RecoverySlot.wrap("v", code, ROOT, 1)):
        stored = row.params + row.check + row.public + row.wrapped
        assert ROOT.reveal() not in stored
        assert STRETCHED not in stored
        assert keyslots.code_bytes(code) not in stored
        assert "the root key" not in repr(row)


def test_another_credential_is_no_tampering() -> None:
    row = PassphraseSlot.wrap("v", STRETCHED, COST, ROOT, 1)
    with pytest.raises(UnlockError):
        PassphraseSlot.unwrap(row, crypto.stretch(b"another passphrase", COST))
    with pytest.raises(UnlockError):
        RecoverySlot.unwrap(RecoverySlot.wrap("v", keyslots.new_code(), ROOT, 1), keyslots.new_code())


def test_a_later_generation_opens_like_the_first() -> None:
    row = PassphraseSlot.wrap("v", STRETCHED, COST, ROOT, 5)
    assert row.generation == 5
    assert PassphraseSlot.unwrap(row, STRETCHED) == ROOT


def test_every_column_is_in_the_mark() -> None:
    row = replace(PassphraseSlot.wrap("v", STRETCHED, COST, ROOT, 1), handed=b"a later root")
    marks = {row.mark()}
    columns = [column.name for column in fields(row) if column.name != "public_mac"]
    for name in columns:
        value = getattr(row, name)
        marks.add(replace(row, **{name: value + 1 if isinstance(value, int) else value * 2}).mark())
    assert len(marks) == 1 + len(columns)
    assert replace(row, public_mac=b"of another server key").mark() in marks


def test_a_code_has_160_bits_and_a_check_character() -> None:
    code = keyslots.new_code()
    assert len(code) == 8 * 4 + 8 + 1
    assert len(keyslots.code_bytes(code)) == 20


def test_most_mistypings_of_a_code_are_noticed() -> None:
    code = "0123-4567-89AB-CDEF-GHJK-MNPQ-RSTV-WXYZ-" + "U"
    digits = code.replace("-", "")[:-1]
    good = next(mark for mark in keyslots._CHECK_ALPHABET if _reads(digits + mark))
    for at in range(len(digits)):
        for other in keyslots._ALPHABET:
            if other != digits[at]:
                assert not _reads(digits[:at] + other + digits[at + 1 :] + good)


def _reads(code: str) -> bool:
    try:
        keyslots.code_bytes(code)
    except UnlockError:
        return False
    return True


def test_sessions_under_another_pepper_are_other_sessions() -> None:
    secret = crypto.random_bytes(32)
    assert SessionSlot.lookup(secret, b"one host")[0] != SessionSlot.lookup(secret, b"another host")[0]


def test_a_session_is_bound_to_its_end_its_vault_and_its_id() -> None:
    lookup, wrapping = SessionSlot.lookup(crypto.random_bytes(32), b"pepper")
    wrapped = SessionSlot.wrap("v", wrapping, lookup, 100, ROOT, 1)
    assert SessionSlot.unwrap("v", wrapping, lookup, 100, wrapped) == ROOT
    for vault, found, expires in (("w", lookup, 100), ("v", bytes(32), 100), ("v", lookup, 101)):
        with pytest.raises(TamperedError):
            SessionSlot.unwrap(vault, wrapping, found, expires, wrapped)


def test_a_session_wrap_is_no_slot_wrap() -> None:
    lookup, wrapping = SessionSlot.lookup(crypto.random_bytes(32), b"pepper")
    wrapped = SessionSlot.wrap("v", wrapping, lookup, 100, ROOT, 1)
    row = RecoverySlot.wrap("v", keyslots.new_code(), ROOT, 1)
    with pytest.raises(TamperedError):
        SessionSlot.unwrap("v", wrapping, lookup, 100, row.wrapped)
    with pytest.raises(TamperedError):
        crypto.Cipher(wrapping, crypto.Purpose.ROOT, "v").unwrap(wrapped)


@pytest.mark.parametrize("length", [11, 12])
def test_the_least_length_counts_characters_not_bytes(length: int) -> None:
    passphrase = unicodedata.normalize("NFD", "é" * length)
    if length < 12:
        with pytest.raises(ValidationError):
            keyslots.require_good(passphrase)
    else:
        keyslots.require_good(passphrase)


def test_the_greatest_length_counts_bytes() -> None:
    keyslots.require_good("x" * 1024)
    with pytest.raises(ValidationError):
        keyslots.require_good("x" * 1023 + "é")
