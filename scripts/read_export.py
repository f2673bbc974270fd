"""Reads what `vrm vault export` wrote, without vrm: prints the vault as JSON on standard output.

    python read_export.py alice.vrm --passphrase-file passphrase.txt > alice.json
    python read_export.py alice.vrm --recovery-code-file code.txt

Needs Python 3.11 and the package `cryptography` 46 or newer; nothing else. Written from docs/format.md. It
refuses a file of which anything is missing, altered or in another place. What it prints is not encrypted.
"""

from __future__ import annotations

import argparse
import getpass
import hashlib
import hmac
import json
import struct
import sys
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

MAGIC = b"vrm vault export"
MOST = 1 << 24  # bytes of a chunk
CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
HPKE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
Part = bytes | str | int


class RefusedError(Exception):
    """The file or the credential is not what it should be."""


# ---- encoding -----------------------------------------------------------------------------------


def lp(part: Part) -> bytes:
    """A length of two bytes, then the bytes."""
    if isinstance(part, str):
        part = unicodedata.normalize("NFC", part).encode()
    elif isinstance(part, int):
        part = struct.pack(">Q", part)
    return struct.pack(">H", len(part)) + part


def pack(*parts: Part) -> bytes:
    """The parts one after the other, each with its length."""
    return b"".join(map(lp, parts))


def unpack(blob: bytes) -> list[bytes]:
    """The parts of `pack`."""
    parts, at = [], 0
    while at < len(blob):
        (size,) = struct.unpack_from(">H", blob, at)
        parts.append(blob[at + 2 : at + 2 + size])
        at += 2 + size
    if at != len(blob):
        raise RefusedError("the file is damaged")
    return parts


def context(purpose: str, *parts: Part) -> bytes:
    """What a key or a seal is bound to."""
    return pack("vrm/1/" + purpose, *parts)


def named(body: bytes) -> dict[str, bytes]:
    """Named envelopes."""
    found, at = {}, 0
    while at < len(body):
        (long,) = struct.unpack_from(">H", body, at)
        name = body[at + 2 : at + 2 + long].decode()
        (size,) = struct.unpack_from(">I", body, at + 2 + long)
        at += 6 + long
        found[name] = body[at : at + size]
        at += size
    return found


# ---- keys ---------------------------------------------------------------------------------------


def expand(key: bytes, info: bytes, length: int = 32) -> bytes:
    """HKDF-Expand (RFC 5869 §2.3) with SHA-256."""
    out, block = b"", b""
    for number in range(1, -(-length // 32) + 1):
        block = hmac.digest(key, block + info + bytes([number]), "sha256")
        out += block
    return out[:length]


def split(secret: bytes, salt: bytes, info: bytes) -> tuple[bytes, bytes]:
    """HKDF with a salt: a check value and a wrapping key."""
    out = expand(hmac.digest(salt, secret, "sha256"), info, 64)
    return out[:32], out[32:]


def unseal(key: bytes, blob: bytes, bound: bytes) -> bytes:
    """What is in an envelope; RefusedError for any other envelope, key or place."""
    if blob[:2] != b"\x01\x01" or len(blob) < 34:
        raise RefusedError("the file is of another version, or damaged")
    try:
        return AESGCM(key).decrypt(blob[6:18], blob[18:], blob[:6] + bound)
    except InvalidTag:
        raise RefusedError("the file is damaged, cut or altered") from None


def opened(root: bytes, purpose: str, parts: tuple[Part, ...], blob: bytes, *bound: Part) -> bytes:
    """What was sealed under the root's own key for a purpose."""
    where = context(purpose, *parts)
    return unseal(expand(root, where), blob, where + pack(*bound))


def open_sealed(private: bytes, blob: bytes, info: bytes) -> bytes:
    """What was sealed to a public key (HPKE, RFC 9180)."""
    if blob[:1] != b"\x01":
        raise RefusedError("the file is of another version, or damaged")
    try:
        return HPKE.decrypt(blob[1:], X25519PrivateKey.from_private_bytes(private), info=info)
    except (InvalidTag, ValueError):
        raise RefusedError("the file is damaged, cut or altered") from None


def code_bytes(code: str) -> bytes:
    """The 20 bytes of a recovery code; its last character is a check and is left to the slot."""
    digits = code.upper().translate(str.maketrans("OIL", "011", "- \t\r\n"))[:-1]
    if len(digits) != 32 or any(digit not in CROCKFORD for digit in digits):
        raise RefusedError("that is not a recovery code")
    number = 0
    for digit in digits:
        number = number << 5 | CROCKFORD.index(digit)
    return number.to_bytes(20, "big")


def stretched(passphrase: str, params: bytes) -> tuple[bytes, bytes]:
    """(Argon2id of a passphrase, salt); costs outside their bounds are refused before anything is done."""
    memory, passes, lanes, salt = struct.unpack(">III16s", params)
    if not (19 * 1024 <= memory <= 512 * 1024 and 1 <= passes <= 10 and 1 <= lanes <= 8):
        raise RefusedError("the file is damaged")
    kdf = Argon2id(salt=salt, length=32, iterations=passes, lanes=lanes, memory_cost=memory)
    return kdf.derive(unicodedata.normalize("NFC", passphrase).encode()), salt


def root_of(vault: str, rows: list[bytes], kind: str, credential: str) -> bytes:
    """The root key, through the first way in of this kind that the credential opens."""
    for row in rows:
        slot, of_kind, params, check, _, wrapped, _generation, handed = unpack(row)
        if of_kind.decode() != kind:
            continue
        if kind == "passphrase":
            secret, salt = stretched(credential, params)
        else:
            secret, salt = code_bytes(credential), params
        seen, wrapping = split(secret, salt, context(kind, vault, slot))
        if not hmac.compare_digest(seen, check):
            continue
        root = unseal(wrapping, wrapped, context("root", vault, slot, kind, params))
        return received(vault, slot, kind, wrapping, root, handed) if handed else root
    raise RefusedError(f"this {kind} does not open the file")


def received(vault: str, slot: bytes, kind: str, wrapping: bytes, known: bytes, handed: bytes) -> bytes:
    """A later root that was handed to this way in while its credential was away."""
    generation, sealed, proof = unpack(handed)
    place = (vault, slot, kind, generation)
    key = expand(known, context("handover-proof", vault, slot))
    if not hmac.compare_digest(proof, hmac.digest(key, context("handover-proof", *place, sealed), "sha256")):
        raise RefusedError("the file is damaged, cut or altered")
    pair = expand(wrapping, context("slot-pair", vault, slot))
    return open_sealed(pair, sealed, context("handover", *place))


# ---- the file -----------------------------------------------------------------------------------


def exactly(source: BinaryIO, size: int) -> bytes:
    """So many bytes."""
    blob = source.read(size)
    if len(blob) != size:
        raise RefusedError("the file is cut")
    return blob


def chunks(source: BinaryIO, kind: str, credential: str) -> Iterator[tuple[str, bytes, bytes]]:
    """(vault, root, text) of every chunk, the chain followed to its end."""
    if source.read(len(MAGIC)) != MAGIC:
        raise RefusedError("this is not an export of a vault")
    version = exactly(source, 2)
    if version != b"\0\1":
        raise RefusedError("the file is of another version")
    head = lp(exactly(source, struct.unpack(">H", exactly(source, 2))[0]))
    wrapped = lp(exactly(source, struct.unpack(">H", exactly(source, 2))[0]))
    raw, *rows = unpack(head[2:])
    vault = raw.decode()
    root = root_of(vault, rows[:8], kind, credential)
    start = MAGIC + version + head
    key = opened(root, "export", (vault,), wrapped[2:], hashlib.sha256(start).digest())
    link, seq = hashlib.sha256(start + wrapped).digest(), 0
    size = exactly(source, 4)
    while size:
        if len(size) != 4 or struct.unpack(">I", size)[0] > MOST:
            raise RefusedError("the file is damaged")
        sealed = exactly(source, struct.unpack(">I", size)[0])
        size, seq = source.read(4), seq + 1
        bound = context("export-chunk", vault) + pack(seq, link, int(not size))
        yield vault, root, unseal(key, sealed, bound)
        link = hashlib.sha256(sealed).digest()


def cells(text: bytes, at: int, count: int) -> tuple[list[Any], int]:
    """The cells of a row, and where the next row begins."""
    row: list[Any] = []
    for _ in range(count):
        kind, at = text[at], at + 1
        if kind == 1:
            row.append(struct.unpack_from(">q", text, at)[0])
            at += 8
        elif kind in (2, 3):
            size = struct.unpack_from(">I", text, at)[0]
            raw, at = text[at + 4 : at + 4 + size], at + 4 + size
            row.append(raw.decode() if kind == 2 else raw)
        else:
            row.append(None)
    return row, at


def read(source: BinaryIO, kind: str, credential: str) -> dict[str, Any]:
    """The whole export: what it says of itself, and every table's rows."""
    parts = chunks(source, kind, credential)
    vault, root, text = next(parts)
    manifest = json.loads(text)
    names = list(manifest["tables"])
    tables: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for _, _, text in parts:
        at = 0
        while at < len(text):
            name = names[text[at]]
            row, at = cells(text, at + 1, len(manifest["tables"][name]))
            tables[name].append(dict(zip(manifest["tables"][name], row, strict=True)))
    return {"vault": vault, "root": root, "manifest": manifest, "tables": tables}


# ---- what is in it ------------------------------------------------------------------------------


def record(vault: str, root: bytes, row: dict[str, Any]) -> dict[str, Any]:
    """A record as a document of its facets."""
    sealed = named(row["body"])
    names = pack(*sealed)
    document: dict[str, Any] = {"id": row["record"]}
    for facet, blob in sealed.items():
        where = (vault, row["collection"], facet)
        document[facet] = json.loads(
            opened(root, "record", where, blob, row["record"], row["revision"], names)
        )
    return document


def connection(vault: str, root: bytes, row: dict[str, Any]) -> dict[str, Any]:
    """What was agreed with a vendor."""
    grant = row["grant_id"]
    key = opened(root, "grant-wrap", (vault,), row["wrapped"], grant)
    common = expand(key, context("common", grant))
    agreement = json.loads(unseal(common, row["agreement"], context("agreement", grant)))
    plain = {name: row[name] for name in ("state", "created", "expires", "ended", "last_used", "reads")}
    return {"id": grant, **plain, "agreement": agreement}


def log(vault: str, root: bytes, tables: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """The log of disclosures, the oldest entry first."""
    private = expand(root, context("log-pair", vault))
    found = []
    for segment in tables.get("log_segments", []):
        name = segment["segment"]
        key = open_sealed(private, segment["sealed_key"], context("log-segment", vault, name))
        link = bytes(32)
        rows = [row for row in tables.get("log_entries", []) if row["segment"] == name]
        for row in sorted(rows, key=lambda one: int(one["seq"])):
            bound = context("log-entry", vault, name) + pack(row["seq"], link, row["at"])
            found.append({"at": row["at"], **json.loads(unseal(key, row["sealed"], bound))})
            link = hashlib.sha256(row["sealed"]).digest()
    return sorted(found, key=lambda entry: int(entry["at"]))


def plain(export: dict[str, Any]) -> dict[str, Any]:
    """Everything in it that is for people to read."""
    vault, root, tables = export["vault"], export["root"], export["tables"]
    records: dict[str, list[dict[str, Any]]] = {}
    problems: list[str] = []
    for row in tables["records"]:
        for document in opening(problems, f"record {row['record']}", record, vault, root, row):
            records.setdefault(row["collection"], []).append(document)
    connections = [
        found
        for row in tables.get("grants", [])
        for found in opening(problems, f"grant {row['grant_id']}", connection, vault, root, row)
    ]
    entries = opening(problems, "a part of the log", log, vault, root, tables)
    manifest = export["manifest"]
    return {
        "vault": vault,
        "username": manifest["username"],
        "created": manifest["created"],
        "taken": manifest["taken"],
        "records": records,
        "connections": connections,
        "log": entries[0] if entries else [],
        "problems": problems,
    }


def opening(problems: list[str], what: str, read_it: Callable[..., Any], *arguments: Any) -> list[Any]:
    """What it reads, in a list; nothing where that was altered before it was exported, and a problem more."""
    try:
        return [read_it(*arguments)]
    except (RefusedError, ValueError):
        problems.append(f"{what} does not open")
        return []


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description="Print an export of a vault as JSON, without vrm.")
    parser.add_argument("file", type=Path)
    parser.add_argument("--passphrase-file", metavar="PATH", help="- is standard input")
    parser.add_argument("--recovery-code-file", metavar="PATH", help="- is standard input")
    chosen = parser.parse_args()
    kind = "recovery" if chosen.recovery_code_file else "passphrase"
    path = chosen.recovery_code_file or chosen.passphrase_file
    if path is None:
        credential = getpass.getpass("Passphrase: ")
    else:
        text = sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8")
        credential = text.removesuffix("\n").removesuffix("\r")
    try:
        with chosen.file.open("rb") as source:
            found = plain(read(source, kind, credential))
    except RefusedError as refused:
        print(f"error: {refused}", file=sys.stderr)
        return 1
    except (ValueError, KeyError, IndexError, StopIteration, struct.error):
        print("error: the file is damaged", file=sys.stderr)
        return 1
    json.dump(found, sys.stdout, ensure_ascii=False, indent=1)
    print()
    for problem in found["problems"]:
        print(f"error: {problem}", file=sys.stderr)
    return 1 if found["problems"] else 0


if __name__ == "__main__":
    sys.exit(main())
