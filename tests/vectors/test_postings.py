"""Frozen postings: codes, buckets and what tells them, read by what docs/format.md says alone."""

import hashlib
import json
import sqlite3
from contextlib import closing
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from tests.vectors import reader
from vrm.consent import postings
from vrm.consent.filters import FILTERED, Wanted
from vrm.vault import crypto
from vrm.vault.crypto import Key
from vrm.vault.sqlite import SqliteEngine

VECTORS: dict[str, Any] = json.loads((Path(__file__).parent / "postings.json").read_text(encoding="utf-8"))
KEYS = {scope: Key(bytes.fromhex(key)) for scope, key in VECTORS["keys"].items()}
SCOPES = {
    "category": "purchases.item:read",
    "seller": "purchases.order:read",
    "ordered": "purchases.order:read",
}


def coded(field: str, value: str) -> bytes:
    """By the letter of the format."""
    if not value:
        return b"\0\0"
    if field == "ordered":
        day = date.fromisoformat(value).toordinal() - 693_595
        return min(max(day, 1), 65_535).to_bytes(2, "big")
    return max(hashlib.sha256(value.encode()).digest()[:2], b"\0\1")


def masked(scope: str, field: str, start: bytes, text: bytes) -> bytes:
    """By AES of one block after the other, none of the project's code."""
    key = reader.expand(bytes.fromhex(VECTORS["keys"][scope]), reader.context("posting", field), 32)
    aes = Cipher(algorithms.AES256(key), modes.ECB()).encryptor()
    blocks = range(-(-len(text) // 16))
    numbers = [(int.from_bytes(start, "big") + at) % (1 << 128) for at in blocks]
    stream = b"".join(aes.update(number.to_bytes(16, "big")) for number in numbers)
    return bytes(one ^ other for one, other in zip(text, stream, strict=False))


@pytest.mark.parametrize("case", VECTORS["codes"], ids=lambda case: case["name"])
def test_codes_are_the_frozen_ones(case: dict[str, Any]) -> None:
    field = next(one for one in FILTERED if one.name == case["field"])
    assert field.code(case["value"]).to_bytes(2, "big").hex() == case["code"]
    assert coded(case["field"], case["value"]).hex() == case["code"]


def test_a_view_is_laid_down_in_the_frozen_bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crypto, "random_bytes", lambda count: bytes.fromhex(VECTORS["start"])[:count])
    engine, keys = SqliteEngine(tmp_path / "vrm.db"), postings.keys_of(FILTERED, KEYS)
    rows = [
        (FILTERED, seq, {scope: json.dumps(values).encode() for scope, values in texts.items()})
        for seq, texts in enumerate(VECTORS["rows"], 1)
    ]
    with engine.write() as transaction:
        transaction.execute(postings.TABLES[0])
        postings.lay(transaction, "grant", VECTORS["edition"], keys, rows)
        assert postings.laid(engine, "grant", keys, rows)
        stored = engine.all("SELECT bucket, packed FROM postings")
        postings.take_back(engine, transaction, "grant", VECTORS["left"])
        left = engine.all("SELECT bucket, packed FROM postings")
    assert [(bucket, packed.hex()) for bucket, packed in stored] == [(0, VECTORS["bucket"])]
    assert [(bucket, packed.hex()) for bucket, packed in left] == [(0, VECTORS["bucket_after"])]
    engine.close()


@pytest.mark.parametrize("field", SCOPES)
def test_a_bucket_says_the_codes_of_every_position_to_the_key_of_its_scope(field: str) -> None:
    packed = bytes.fromhex(VECTORS["bucket"])
    size = (len(packed) - 16) // 3
    at = 16 + list(SCOPES).index(field) * size
    said = {scope: masked(scope, field, packed[:16], packed[at : at + size]) for scope in KEYS}
    rows = [b"\0\0", *(coded(field, row.get(SCOPES[field], {}).get(field, "")) for row in VECTORS["rows"])]
    expected = b"".join(rows).ljust(2 * VECTORS["edition"], b"\0")
    assert [scope for scope, codes in said.items() if codes == expected] == [SCOPES[field]]


def test_what_a_cursor_is_bound_to_is_frozen() -> None:
    for case in VECTORS["bound"]:
        assert Wanted(**case["wanted"]).bound().hex() == case["bytes"]


def test_the_table_is_the_one_that_is_described() -> None:
    with closing(sqlite3.connect(":memory:")) as database:
        database.execute(postings.TABLES[0])
        columns = [row[1] for row in database.execute("PRAGMA table_info(postings)")]
    assert columns == ["grant_id", "bucket", "packed"]
