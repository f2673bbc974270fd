"""A reader of a vault written from docs/format.md alone: none of the project's code is imported here."""

import hashlib
import hmac
import json
import struct
import unicodedata
from typing import Any

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def lp(part: bytes | str | int) -> bytes:
    if isinstance(part, str):
        part = unicodedata.normalize("NFC", part).encode("utf-8")
    if isinstance(part, int):
        part = struct.pack(">Q", part)
    return struct.pack(">H", len(part)) + part


def context(purpose: str, *parts: bytes | str | int) -> bytes:
    return b"".join(map(lp, ("vrm/1/" + purpose, *parts)))


def expand(key: bytes, info: bytes, length: int) -> bytes:
    """HKDF-Expand, RFC 5869 §2.3."""
    out, block = b"", b""
    for number in range(1, -(-length // 32) + 1):
        block = hmac.digest(key, block + info + bytes([number]), "sha256")
        out += block
    return out[:length]


def split(secret: bytes, salt: bytes, info: bytes) -> tuple[bytes, bytes]:
    out = expand(hmac.digest(salt, secret, "sha256"), info, 64)
    return out[:32], out[32:]


def unseal(key: bytes, blob: bytes, bound: bytes) -> bytes:
    if blob[:2] != b"\x01\x01":
        raise ValueError("unknown version or suite")
    return AESGCM(key).decrypt(blob[6:18], blob[18:], blob[:6] + bound)


def passphrase_root(row: dict[str, Any], passphrase: str) -> bytes:
    """The root key of a passphrase slot's row."""
    memory, passes, lanes, salt = struct.unpack(">III16s", bytes.fromhex(row["params"]))
    kdf = Argon2id(salt=salt, length=32, iterations=passes, lanes=lanes, memory_cost=memory)
    stretched = kdf.derive(unicodedata.normalize("NFC", passphrase).encode("utf-8"))
    return _root(row, *split(stretched, salt, context("passphrase", row["vault"], row["slot"])))


def recovery_root(row: dict[str, Any], code: str) -> bytes:
    """The root key of a recovery slot's row."""
    number = 0
    for digit in code.replace("-", "")[:-1]:
        number = number * 32 + CROCKFORD.index(digit)
    salt, info = bytes.fromhex(row["params"]), context("recovery", row["vault"], row["slot"])
    return _root(row, *split(number.to_bytes(20, "big"), salt, info))


def _root(row: dict[str, Any], check: bytes, wrapping: bytes) -> bytes:
    if check.hex() != row["check"]:
        raise ValueError("wrong credential")
    bound = context("root", row["vault"], row["slot"], row["kind"], bytes.fromhex(row["params"]))
    return unseal(wrapping, bytes.fromhex(row["wrapped"]), bound)


def received_root(row: dict[str, Any], code: str) -> bytes:
    """The later root that was handed to a recovery slot, once its proof was compared."""
    number = 0
    for digit in code.replace("-", "")[:-1]:
        number = number * 32 + CROCKFORD.index(digit)
    salt, info = bytes.fromhex(row["params"]), context("recovery", row["vault"], row["slot"])
    _, wrapping = split(number.to_bytes(20, "big"), salt, info)
    handed, parts = bytes.fromhex(row["handed"]), []
    while handed:
        (long,) = struct.unpack_from(">H", handed)
        parts.append(handed[2 : 2 + long])
        handed = handed[2 + long :]
    generation, sealed, proof = parts
    place = (row["vault"], row["slot"], row["kind"], generation)
    known = expand(recovery_root(row, code), context("handover-proof", *place[:2]), 32)
    if not hmac.compare_digest(
        proof, hmac.digest(known, context("handover-proof", *place, sealed), "sha256")
    ):
        raise ValueError("somebody else sealed this")
    pair = expand(wrapping, context("slot-pair", *place[:2]), 32)
    suite = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
    private = X25519PrivateKey.from_private_bytes(pair)
    return suite.decrypt(sealed[1:], private, info=context("handover", *place))


def named(body: bytes) -> dict[str, bytes]:
    found, at = {}, 0
    while at < len(body):
        (long,) = struct.unpack_from(">H", body, at)
        name = body[at + 2 : at + 2 + long].decode("utf-8")
        (size,) = struct.unpack_from(">I", body, at + 2 + long)
        at += 6 + long
        found[name] = body[at : at + size]
        at += size
    return found


def record(
    root: bytes, vault: str, collection: str, record: str, revision: int, body: bytes
) -> dict[str, Any]:
    """The document of a stored body."""
    sealed = named(body)
    names = b"".join(map(lp, sealed))
    document = {}
    for facet, blob in sealed.items():
        where = context("record", vault, collection, facet)
        bound = where + lp(record) + lp(revision) + lp(names)
        document[facet] = json.loads(unseal(expand(root, where, 32), blob, bound))
    return document


def journal(root: bytes, vault: str, entries: list[tuple[int, bytes]], head: bytes) -> list[list[Any]]:
    """Every noted change, after the chain was followed to its head."""
    key, link, changes = expand(root, context("journal", vault), 32), bytes(32), []
    for seq, sealed in entries:
        changes += json.loads(unseal(key, sealed, context("journal", vault) + lp(seq) + lp(link)))
        link = hashlib.sha256(sealed).digest()
    where = context("journal-head", vault)
    seq, end, *base = json.loads(unseal(expand(root, where, 32), head, where))
    if (seq, end) != (len(entries) + sum(base), link.hex()):
        raise ValueError("the journal was cut")
    return changes
