"""Ways into a vault: each slot wraps the same root key under what one credential derives.

Promises: a wrong credential means "try the next slot", a right credential on altered bytes means
tampering and is fatal; nothing is allocated for stored costs outside their bounds. One class per way in,
each with `wrap(root)` and `unwrap(credential)` in terms of a `Slot` row. Passphrases and recovery codes
are never salted with the server key: a vault opens without the host it lived on.

A new root reaches a way in that is not at hand by `hand_over`: sealed to the slot's public key, beside the
wrap of the root that it knew. Anybody can seal to a public key, so the handover carries a proof under a key
of that known root: who writes to the database cannot hand over a root of his own.
"""

from __future__ import annotations

import secrets
import unicodedata
from dataclasses import dataclass, replace

from vrm.errors import TamperedError, UnlockError, ValidationError
from vrm.vault import crypto
from vrm.vault.crypto import Cipher, KdfCost, KdfLimits, Key, Purpose
from vrm.vault.envelope import pack, parse, unpack
from vrm.vault.keyring import Keyring

PASSPHRASE_MAX = 1024  # bytes of NFC UTF-8
PASSPHRASE_MIN = 12  # characters
_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # Crockford base32
_CHECK_ALPHABET = _ALPHABET + "*~$=U"  # its mod-37 check characters
_TYPED = str.maketrans("OIL", "011", "- \t\r\n")
_CODE_BITS = 160
_CODE_DIGITS = _CODE_BITS // 5


@dataclass(frozen=True, slots=True)
class Slot:
    """A row of the table `keyslots`; all of it is public but useless without the credential."""

    vault: str
    slot: str
    kind: str
    params: bytes
    check: bytes  # 32 bytes, compared in constant time
    public: bytes  # X25519, so that a key can be sealed to this way in while it is away
    wrapped: bytes  # envelope of the root key
    generation: int  # of the root in `wrapped`
    handed: bytes = b""  # a later root, sealed to `public`, until the next use of this way in
    public_mac: bytes = b""  # the server's word for `public`, where it stands in a table

    def mark(self) -> str:
        """64 hex digits that tell this row from any other; the roster lists them under the root."""
        row = (
            self.vault,
            self.slot,
            self.kind,
            self.params,
            self.check,
            self.public,
            self.wrapped,
            self.generation,
        )
        return crypto.digest(pack(*row, self.handed) if self.handed else pack(*row)).hex()

    def newest(self) -> int:
        """The generation of the root that this way in opens; true once it was opened."""
        return handover(self.handed)[0] if self.handed else parse(self.wrapped).generation


@dataclass(frozen=True, slots=True)
class Derived:
    """What a credential becomes: value to compare, key that wraps the root, seed of the slot's pair."""

    check: bytes
    wrapping: Key
    pair: Key


def _derived(uniform: bytes, salt: bytes, purpose: Purpose, vault: str, slot: str) -> Derived:
    check, wrapping = crypto.split_secret(uniform, salt, purpose, vault, slot)
    return Derived(check, wrapping, crypto.derive(wrapping, Purpose.SLOT_PAIR, vault, slot))


def _cipher(derived: Derived, vault: str, slot: str, kind: str, params: bytes, generation: int = 1) -> Cipher:
    return Cipher(derived.wrapping, Purpose.ROOT, vault, slot, kind, params, generation=generation)


def _make(
    vault: str, kind: str, params: bytes, derived: Derived, slot: str, root: Key, generation: int
) -> Slot:
    wrapped = _cipher(derived, vault, slot, kind, params, generation).wrap(root)
    return Slot(vault, slot, kind, params, derived.check, crypto.public_of(derived.pair), wrapped, generation)


def _open(row: Slot, derived: Derived) -> Key:
    if not crypto.equal(derived.check, row.check):
        raise UnlockError()
    if not crypto.equal(crypto.public_of(derived.pair), row.public):
        raise TamperedError()
    known = _cipher(derived, row.vault, row.slot, row.kind, row.params).unwrap(row.wrapped)
    return _received(row, derived, known) if row.handed else known


def hand_over(row: Slot, root: Key, generation: int, proof: Key) -> Slot:
    """The slot with a later root for a credential that is absent; `proof` is of the root in `wrapped`.

    The caller has made sure that `public` is this slot's own.
    """
    sealed = crypto.seal_to(row.public, root.reveal(), Purpose.HANDOVER, *_place(row, generation))
    return replace(row, handed=pack(generation, sealed, _proved(proof, row, generation, sealed)))


def _place(row: Slot, generation: int) -> tuple[str, str, str, int]:
    return row.vault, row.slot, row.kind, generation


def _proved(proof: Key, row: Slot, generation: int, sealed: bytes) -> bytes:
    return crypto.mac(proof, Purpose.HANDOVER_PROOF, *_place(row, generation), sealed)


def handover(handed: bytes) -> tuple[int, bytes, bytes]:
    """(generation, the sealed root, its proof) of what a slot was handed; TamperedError."""
    parts = unpack(handed)
    if len(parts) != 3 or len(parts[0]) != 8:
        raise TamperedError()
    return int.from_bytes(parts[0], "big"), parts[1], parts[2]


def _received(row: Slot, derived: Derived, known: Key) -> Key:
    generation, sealed, proof = handover(row.handed)
    of_known = Keyring(row.vault, known).handover_proof(row.slot)
    if not crypto.equal(proof, _proved(of_known, row, generation, sealed)):
        raise TamperedError()
    return Key(crypto.open_sealed(derived.pair, sealed, Purpose.HANDOVER, *_place(row, generation)))


def new_slot_id() -> str:
    """A random slot id, 16 hex digits."""
    return secrets.token_hex(8)


def passphrase_bytes(passphrase: str) -> bytes:
    """NFC UTF-8, not trimmed; ValidationError above 1,024 bytes or where it is no text."""
    try:
        raw = unicodedata.normalize("NFC", passphrase).encode()
    except UnicodeEncodeError:
        raise ValidationError(fields={"passphrase": ["is not valid text"]}) from None
    if len(raw) > PASSPHRASE_MAX:
        raise ValidationError(fields={"passphrase": ["is longer than 1,024 bytes"]})
    return raw


def require_good(passphrase: str) -> None:
    """What a new passphrase must be: long. No rules about kinds of characters (NIST SP 800-63B)."""
    if len(unicodedata.normalize("NFC", passphrase)) < PASSPHRASE_MIN:
        raise ValidationError(fields={"passphrase": [f"needs at least {PASSPHRASE_MIN} characters"]})
    passphrase_bytes(passphrase)


class PassphraseSlot:
    """Argon2id, then HKDF. The stretch is done by the caller, who bounds how many run at once."""

    kind = "passphrase"

    @staticmethod
    def wrap(vault: str, stretched: bytes, cost: KdfCost, root: Key, generation: int, slot: str = "") -> Slot:
        """A new slot for this stretched passphrase; with the id of an earlier one it is the same way in."""
        slot = slot or new_slot_id()
        derived = _derived(stretched, cost.salt, Purpose.PASSPHRASE, vault, slot)
        return _make(vault, PassphraseSlot.kind, cost.encode(), derived, slot, root, generation)

    @staticmethod
    def unwrap(row: Slot, stretched: bytes) -> Key:
        """The root; UnlockError for another passphrase, TamperedError for altered bytes."""
        cost = KdfCost.decode(row.params)
        return _open(row, _derived(stretched, cost.salt, Purpose.PASSPHRASE, row.vault, row.slot))

    @staticmethod
    def fresh_cost(limits: KdfLimits) -> KdfCost:
        """The cost of a new slot."""
        return limits.fresh()


class RecoverySlot:
    """160 random bits on paper: HKDF only, no stretching needed."""

    kind = "recovery"

    @staticmethod
    def wrap(vault: str, code: str, root: Key, generation: int) -> Slot:
        """A new slot for this recovery code."""
        slot, salt = new_slot_id(), crypto.random_bytes(16)
        derived = _derived(code_bytes(code), salt, Purpose.RECOVERY, vault, slot)
        return _make(vault, RecoverySlot.kind, salt, derived, slot, root, generation)

    @staticmethod
    def unwrap(row: Slot, code: str) -> Key:
        """The root; UnlockError for another or a mistyped code, TamperedError for altered bytes."""
        return _open(row, RecoverySlot._of(row, code))

    @staticmethod
    def rewrap(row: Slot, code: str, root: Key, generation: int) -> Slot:
        """The same way in, wrapping this root itself: after a handover, at the next use."""
        derived = RecoverySlot._of(row, code)
        return _make(row.vault, row.kind, row.params, derived, row.slot, root, generation)

    @staticmethod
    def _of(row: Slot, code: str) -> Derived:
        return _derived(code_bytes(code), row.params, Purpose.RECOVERY, row.vault, row.slot)


def new_code() -> str:
    """160 bits in Crockford base32, eight groups of four and a check character: `XXXX-…-XXXX-C`."""
    number = int.from_bytes(crypto.random_bytes(_CODE_BITS // 8), "big")
    digits = "".join(_ALPHABET[number >> shift & 31] for shift in range(_CODE_BITS - 5, -1, -5))
    groups = [digits[at : at + 4] for at in range(0, _CODE_DIGITS, 4)]
    return "-".join([*groups, _CHECK_ALPHABET[number % 37]])


def code_bytes(code: str) -> bytes:
    """The 20 bytes of a typed code: case, blanks and dashes do not matter, O is 0, I and L are 1.

    Raises UnlockError for a mistyped one, as for a wrong one.
    """
    typed = code.upper().translate(_TYPED)
    digits, check = typed[:-1], typed[-1:]
    if len(digits) != _CODE_DIGITS or any(digit not in _ALPHABET for digit in digits):
        raise UnlockError()
    number = 0
    for digit in digits:
        number = number << 5 | _ALPHABET.index(digit)
    if check != _CHECK_ALPHABET[number % 37]:
        raise UnlockError()
    return number.to_bytes(_CODE_BITS // 8, "big")


class SessionSlot:
    """A browser's cookie. Peppered, because a session lives and dies with its host."""

    kind = "session"

    @staticmethod
    def lookup(secret: bytes, pepper: bytes) -> tuple[bytes, Key]:
        """(id under which the slot is found, wrapping key)."""
        return crypto.split_secret(secret, pepper, Purpose.SESSION)

    @staticmethod
    def wrap(vault: str, wrapping: Key, lookup: bytes, expires: int, root: Key, generation: int) -> bytes:
        """The root wrapped for one session; its end is bound in, so nobody prolongs it in the table."""
        return Cipher(wrapping, Purpose.ROOT, vault, lookup, "session", expires, generation=generation).wrap(
            root
        )

    @staticmethod
    def unwrap(vault: str, wrapping: Key, lookup: bytes, expires: int, wrapped: bytes) -> Key:
        """The root; TamperedError for altered bytes."""
        return Cipher(wrapping, Purpose.ROOT, vault, lookup, "session", expires).unwrap(wrapped)
