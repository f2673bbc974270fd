"""The hazmat line: the only module that touches `cryptography`.

It promises: every seal binds a purpose and its context as associated data; every failed open is one
exception without a message (no oracle); keys never show in repr, str, pickles or copies. It refuses:
unknown envelope versions and suites, purposes outside the table, stored KDF costs outside the bounds.
It cannot wipe memory (Python copies freely); see docs/threat-model.md.

Primitives: AES-256-GCM (random 96-bit nonces, at most 2³² seals a key), HKDF-SHA256 (RFC 5869),
Argon2id (RFC 9106), HPKE base mode DHKEM(X25519)/HKDF-SHA256/AES-256-GCM (RFC 9180), HMAC-SHA256.
"""

from __future__ import annotations

import hmac
import ipaddress
import os
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import ClassVar, Final, NoReturn

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher as BlockCipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import CTR
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from vrm.errors import TamperedError
from vrm.vault import envelope
from vrm.vault.envelope import Part
from vrm.vault.purpose import Purpose as Purpose  # noqa: PLC0414 - everybody finds it here

KEY_BYTES: Final = 32
_HPKE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
_NONCE = slice(envelope.HEADER, envelope.HEADER + envelope.NONCE)  # where it stands in an envelope
_SEALED = slice(_NONCE.stop, None)
_SMALLEST = envelope.SMALLEST
_FIRST = envelope.header(1)  # of the first generation
MASK: Final = 16  # bytes of the start of a mask: a block of AES
_HASH_BLOCK = 64  # bytes of a block of SHA-256
_INNER, _OUTER = (bytes(byte ^ pad for byte in range(256)) for pad in (0x36, 0x5C))  # of HMAC
_HPKE_SUITE = b"\x01"  # first byte of every sealed-to-a-public-key blob, so that a hybrid KEM can follow


_NAMED: Final = {purpose: envelope.lp("vrm/1/" + purpose) for purpose in Purpose}


class Key:
    """32 secret bytes that hide themselves. `reveal` is called where a key must be wrapped."""

    __slots__ = ("__bytes",)

    def __init__(self, value: bytes) -> None:
        if len(value) != KEY_BYTES:
            raise ValueError("a key has 32 bytes")
        self.__bytes = value

    def reveal(self) -> bytes:
        """The bytes themselves, for wrapping and for the primitives of this module."""
        return self.__bytes

    def __repr__(self) -> str:
        return "<Key>"

    __str__ = __repr__

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a key is neither pickled nor copied")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Key) and equal(self.__bytes, other.reveal())

    __hash__ = None  # type: ignore[assignment]  # keys are never dictionary keys or cached by value


def random_bytes(count: int) -> bytes:
    """Bytes from the operating system's generator."""
    return os.urandom(count)


def random_key() -> Key:
    """A fresh uniform key."""
    return Key(os.urandom(KEY_BYTES))


def equal(one: object, other: object) -> bool:
    """Compare without telling by time where they differ; what is no bytes, as a column may be, is not."""
    return isinstance(one, bytes) and isinstance(other, bytes) and hmac.compare_digest(one, other)


def digest(blob: bytes) -> bytes:
    """SHA-256; TamperedError for what is no bytes: whoever writes to a database may store text."""
    envelope.require_bytes(blob)
    return sha256(blob).digest()


def context(purpose: Purpose, *parts: Part) -> bytes:
    """Info and associated data: lp("vrm/1/<purpose>") ‖ lp of each part."""
    return _NAMED[purpose] + envelope.pack(*parts)


def derive(key: Key, purpose: Purpose, *parts: Part) -> Key:
    """A subkey of a uniform key by HKDF-Expand-SHA256."""
    return Key(_expand(key, context(purpose, *parts)))


def _expand(key: Key, info: bytes) -> bytes:
    """HKDF-Expand (RFC 5869, section 2.3) of as many bytes as the hash has: that is its first block."""
    return _hmac(key.reveal(), info + b"\x01")


def _hmac(key: bytes, text: bytes) -> bytes:
    """HMAC-SHA256 under a key of a block at most, by its definition (RFC 2104), faster than OpenSSL's."""
    block = key.ljust(_HASH_BLOCK, b"\0")
    return sha256(block.translate(_OUTER) + sha256(block.translate(_INNER) + text).digest()).digest()


def split_secret(secret: bytes, salt: bytes, purpose: Purpose, *parts: Part) -> tuple[bytes, Key]:
    """A high-entropy credential becomes (lookup id or check value, 32 bytes; wrapping key).

    The salt has a block at most. The two blocks of HKDF (RFC 5869, sections 2.2 and 2.3) of 64 bytes.
    """
    extracted, info = _hmac(salt, secret), context(purpose, *parts)
    first = _hmac(extracted, info + b"\x01")
    return first, Key(_hmac(extracted, first + info + b"\x02"))


def mac(key: Key, purpose: Purpose, *parts: Part) -> bytes:
    """HMAC-SHA256 over purpose and parts, 32 bytes."""
    return _hmac(key.reveal(), context(purpose, *parts))


def joint(keys: Iterable[Key], purpose: Purpose, *parts: Part) -> Key:
    """A key that only who has all of these uniform keys can make: MACs, each over the one before."""
    made = b""
    for key in keys:
        made = mac(key, purpose, made, *parts)
    return Key(made)


class Begun:
    """HMAC-SHA256 under one key, begun once for many texts: a third of what each costs alone.

    By its definition (RFC 2104) over two hashes; `hmac`'s own objects take twice as long to copy.
    """

    __slots__ = ("_inner", "_outer")

    def __init__(self, key: Key, start: bytes = b"") -> None:
        """`start` is what all texts begin with."""
        block = key.reveal().ljust(_HASH_BLOCK, b"\0")  # a key is never longer than a block
        self._inner = sha256(block.translate(_INNER) + start)
        self._outer = sha256(block.translate(_OUTER))

    def of_packed(self, rest: bytes) -> bytes:
        """Of the text that begins so and goes on with `rest`."""
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(rest)
        outer.update(inner.digest())
        return outer.digest()

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a key is neither pickled nor copied")


class Mac(Begun):
    """`mac` under one key and purpose, for many rows."""

    __slots__ = ()

    def __init__(self, key: Key, purpose: Purpose, *parts: Part) -> None:
        """`parts` are those that all rows begin with."""
        super().__init__(key, context(purpose, *parts))

    def of(self, *parts: Part) -> bytes:
        """What `mac` gives for these parts, after those that all rows begin with."""
        return self.of_packed(envelope.pack(*parts))


def masked(key: Key, start: bytes, text: bytes) -> bytes:
    """`text` under the key stream of AES-256 in counter mode from `start` on: `MASK` random bytes.

    Masked once more, it is the text again. Nothing vouches for it: whoever writes to a database changes it at
    will. The key serves for nothing else.
    """
    return BlockCipher(AES256(key.reveal()), CTR(start)).encryptor().update(text)


class Cipher:
    """Seals and unseals under one key and purpose; made once, used for many rows.

    With `derive`, under the key's own subkey for this purpose and these parts. While a root is being
    replaced, `before` opens what an earlier one sealed; nothing is ever sealed by it.
    """

    __slots__ = ("_aead", "_before", "_bound", "_header", "_prefix")

    def __init__(
        self,
        key: Key,
        purpose: Purpose,
        *parts: Part,
        generation: int = 1,
        derive: bool = False,
        before: Cipher | None = None,
    ) -> None:
        self._before = before
        self._prefix = context(purpose, *parts)
        self._aead = AESGCM(_expand(key, self._prefix) if derive else key.reveal())
        self._header = _FIRST if generation == 1 else envelope.header(generation)
        self._bound = self._header + self._prefix

    @classmethod
    def within(
        cls, key: Key | Begun, bound: bytes, generation: int = 1, before: Cipher | None = None
    ) -> Cipher:
        """One whose `context` is packed already; of a key that is begun, under the subkey for it."""
        self = cls.__new__(cls)
        self._before, self._prefix = before, bound
        raw = key.reveal() if isinstance(key, Key) else key.of_packed(bound + b"\x01")  # as `_expand`
        self._aead = AESGCM(raw)
        self._header = _FIRST if generation == 1 else envelope.header(generation)
        self._bound = self._header + bound
        return self

    def seal(self, text: bytes, *parts: Part) -> bytes:
        """An envelope around `text`, bound to this cipher's context and `parts`."""
        return self.seal_packed(text, envelope.pack(*parts))

    def seal_packed(self, text: bytes, packed: bytes) -> bytes:
        """`seal` for parts that are packed already."""
        nonce = os.urandom(envelope.NONCE)
        return self._header + nonce + self._aead.encrypt(nonce, text, self._bound + packed)

    def unseal(self, blob: bytes, *parts: Part) -> bytes:
        """What was sealed; TamperedError for anything else."""
        return self.unseal_packed(blob, envelope.pack_stored(*parts))

    def unseal_packed(self, blob: bytes, packed: bytes) -> bytes:
        """`unseal` for parts that are packed already, once for all ciphers of a row."""
        if type(blob) is bytes and len(blob) >= _SMALLEST and blob.startswith(self._header):
            bound = self._bound
        else:
            header = envelope.parse(blob).header  # refuses all but another generation
            if self._before is not None:
                return self._before.unseal_packed(blob, packed)
            bound = header + self._prefix
        try:
            return self._aead.decrypt(blob[_NONCE], blob[_SEALED], bound + packed)
        except InvalidTag:
            raise TamperedError() from None

    def unseal_all(self, blobs: Sequence[bytes], head: bytes, places: Sequence[bytes]) -> list[bytes] | None:
        """`unseal_packed` of many `envelope.sole` under `head`, each with its own place.

        None, and nothing is unsealed, where one of them is none, or of an earlier generation.
        """
        begins = envelope.sole_from(blobs, head, self._header)
        if not begins:
            return None
        bound, decrypt, at = self._bound, self._aead.decrypt, begins + _NONCE.start
        nonce, sealed = slice(at, at + envelope.NONCE), slice(at + envelope.NONCE, None)
        try:
            each = zip(blobs, places, strict=True)
            return [decrypt(blob[nonce], blob[sealed], bound + packed) for blob, packed in each]
        except (InvalidTag, ValueError):  # ValueError: it ends within its nonce
            raise TamperedError() from None

    def wrap(self, key: Key, *parts: Part) -> bytes:
        """Seal a key."""
        return self.seal(key.reveal(), *parts)

    def unwrap(self, blob: bytes, *parts: Part) -> Key:
        """The key that was wrapped; TamperedError for anything else."""
        return Key(self.unseal(blob, *parts))

    def __repr__(self) -> str:
        return "<Cipher>"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a cipher is neither pickled nor copied")


def seal_all(sealings: Sequence[tuple[Cipher, bytes, bytes]]) -> list[bytes]:
    """Several texts, each under its own cipher and bound to its packed parts: facets of a record, rows.

    Each has a random nonce of its own, all drawn from the system in one call.
    """
    nonces, at, sealed = os.urandom(envelope.NONCE * len(sealings)), 0, []
    for cipher, text, packed in sealings:
        nonce = nonces[at : (at := at + envelope.NONCE)]
        bound = cipher._bound + packed  # noqa: SLF001 - of this file, and without a call for each
        sealed.append(cipher._header + nonce + cipher._aead.encrypt(nonce, text, bound))  # noqa: SLF001
    return sealed


class Lock:
    """One envelope on which many keys are tried: what binds it is put together once. For `vrm thief`."""

    __slots__ = ("bound", "nonce", "sealed")

    def __init__(self, blob: bytes, purpose: Purpose, *parts: Part) -> None:
        """`parts` are those of its cipher, then those of its sealing; TamperedError for no envelope."""
        opened = envelope.parse(blob)
        self.nonce, self.sealed = opened.nonce, opened.sealed
        self.bound = opened.header + context(purpose) + envelope.pack_stored(*parts)


class Probe:
    """One key that is tried on many envelopes. It says whether it opens them, never what stands in them."""

    __slots__ = ("_aead", "key")

    def __init__(self, key: Key) -> None:
        self.key = key
        self._aead = AESGCM(key.reveal())

    def opens(self, lock: Lock) -> bool:
        """Whether a cipher of this key would unseal it."""
        try:
            self._aead.decrypt(lock.nonce, lock.sealed, lock.bound)
        except InvalidTag:
            return False
        return True

    def __repr__(self) -> str:
        return "<Probe>"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a key is neither pickled nor copied")


@dataclass(frozen=True, slots=True)
class KdfCost:
    """Argon2id cost as stored beside a passphrase slot."""

    memory: int  # KiB
    passes: int
    lanes: int
    salt: bytes  # 16 bytes

    _LAYOUT: ClassVar = struct.Struct(">III16s")

    def encode(self) -> bytes:
        """28 bytes: u32 memory, u32 passes, u32 lanes, salt."""
        return self._LAYOUT.pack(self.memory, self.passes, self.lanes, self.salt)

    @classmethod
    def decode(cls, blob: bytes) -> KdfCost:
        """Read a stored cost and refuse it *before* anything is allocated when it is out of bounds."""
        envelope.require_bytes(blob)
        if len(blob) != cls._LAYOUT.size:
            raise TamperedError()
        cost = cls(*cls._LAYOUT.unpack(blob))
        if not (19 * 1024 <= cost.memory <= 512 * 1024 and 1 <= cost.passes <= 10 and 1 <= cost.lanes <= 8):
            raise TamperedError()
        return cost


@dataclass(frozen=True, slots=True)
class KdfLimits:
    """What new passphrase slots cost. Production creates nothing below 64 MiB; tests inject less."""

    memory: int = 64 * 1024  # KiB
    passes: int = 3
    lanes: int = 1

    def fresh(self) -> KdfCost:
        """This cost with a new salt."""
        return KdfCost(self.memory, self.passes, self.lanes, os.urandom(16))


def stretch(passphrase: bytes, cost: KdfCost) -> bytes:
    """Argon2id, 32 bytes. The caller bounds how many run at once."""
    return Argon2id(
        salt=cost.salt, length=KEY_BYTES, iterations=cost.passes, lanes=cost.lanes, memory_cost=cost.memory
    ).derive(passphrase)


def public_of(private: Key) -> bytes:
    """The X25519 public key, 32 bytes, of a private key derived by `derive`."""
    return X25519PrivateKey.from_private_bytes(private.reveal()).public_key().public_bytes_raw()


def verifier_of(seed: Key) -> bytes:
    """The Ed25519 public key, 32 bytes, of a seed derived by `derive` (RFC 8032)."""
    return Ed25519PrivateKey.from_private_bytes(seed.reveal()).public_key().public_bytes_raw()


def seal_to(public: bytes, text: bytes, purpose: Purpose, *parts: Part) -> bytes:
    """Seal to an absent key pair (HPKE); the context goes into `info`."""
    receiver = X25519PublicKey.from_public_bytes(public)
    return _HPKE_SUITE + _HPKE.encrypt(text, receiver, info=context(purpose, *parts))


def open_sealed(private: Key, blob: bytes, purpose: Purpose, *parts: Part) -> bytes:
    """What was sealed to our key pair; TamperedError for anything else."""
    envelope.require_bytes(blob)
    if blob[:1] != _HPKE_SUITE:
        raise TamperedError()
    own = X25519PrivateKey.from_private_bytes(private.reveal())
    try:
        return _HPKE.decrypt(blob[1:], own, info=context(purpose, *parts))
    except (InvalidTag, TypeError, ValueError):
        raise TamperedError() from None


def self_signed(host: str) -> tuple[bytes, bytes]:
    """(certificate, key) as PEM for trying TLS on one's own machine; valid for 30 days."""
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    now = datetime.now(UTC)
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(days=30))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(key, SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return certificate.public_bytes(Encoding.PEM), private
