"""Frozen postings: labels, buckets and places of a filtered list, read by what docs/format.md says alone."""

import json
import sqlite3
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from tests.vectors import reader
from vrm.consent import postings
from vrm.consent.filters import FILTERED, Wanted
from vrm.consent.postings import Labels
from vrm.consent.selection import Place
from vrm.vault.crypto import Key
from vrm.vault.sqlite import SqliteEngine

VECTORS: dict[str, Any] = json.loads((Path(__file__).parent / "postings.json").read_text(encoding="utf-8"))
KEYS = {scope: Key(bytes.fromhex(key)) for scope, key in VECTORS["keys"].items()}
SIZES = {"category": [0], "seller": [0], "ordered": [1, 8, 64, 512]}


def label(scope: str, field: str, size: int, value: str, number: int, edition: int) -> bytes:
    """By the letter of the format: AES of one block, no stream, none of the project's code."""
    text = value if size == 0 else ""
    info = reader.context("posting", edition, field, size, text)
    key = reader.expand(bytes.fromhex(VECTORS["keys"][scope]), info, 32)
    if size and value:
        block = date.fromisoformat(value).toordinal() // size
        block = min(max(block, 1422), 1461) if size == 512 else block
        number += (block + 1) << 64
    aes = Cipher(algorithms.AES256(key), modes.ECB()).encryptor()
    return aes.update(number.to_bytes(16, "big"))[:12]


@pytest.mark.parametrize("case", VECTORS["labels"], ids=lambda case: case["name"])
def test_labels_are_the_frozen_ones(case: dict[str, Any]) -> None:
    field = next(one for one in FILTERED if one.name == case["field"])
    terms = {term[1]: term for term in field.terms(case["value"])}
    assert list(terms) == SIZES[case["field"]]
    for size, frozen in case["labels"].items():
        labels = Labels("grant", VECTORS["edition"], KEYS)
        found = labels.take(field.scope, terms[int(size)], case["number"], 1)[0]
        assert found.hex() == frozen
        arguments = (field.scope, field.name, int(size), case["value"], case["number"], VECTORS["edition"])
        assert label(*arguments).hex() == frozen


def test_a_view_is_laid_down_in_the_frozen_buckets(tmp_path: Path) -> None:
    engine = SqliteEngine(tmp_path / "vrm.db")
    rows = [
        (seq, {scope: json.dumps(values).encode() for scope, values in texts.items()})
        for seq, texts in enumerate(VECTORS["rows"], 1)
    ]
    with engine.write() as transaction:
        transaction.execute(postings.TABLES[0])
        labels = Labels("grant", VECTORS["edition"], KEYS)
        beside = postings.lay(transaction, labels, ((FILTERED, seq, texts) for seq, texts in rows))
    stored = engine.all("SELECT bucket, packed FROM postings ORDER BY bucket")
    assert {str(bucket): packed.hex() for bucket, packed in stored} == VECTORS["buckets"]
    assert [beside[seq].hex() for seq, _ in rows] == VECTORS["posted"]
    engine.close()


def looked_up(case: dict[str, Any]) -> int | None:
    """A posting found by what the format says; None where there is none."""
    arguments = (case["scope"], case["field"], case["size"], case["value"], case["number"])
    wanted = label(*arguments, case.get("edition", VECTORS["edition"]))
    bits = min(24, (VECTORS["edition"] // 8).bit_length())
    packed = bytes.fromhex(VECTORS["buckets"].get(str(int.from_bytes(wanted[:3], "big") >> (24 - bits)), ""))
    entries = {packed[at : at + 12]: packed[at + 12 : at + 16] for at in range(0, len(packed), 16)}
    return int.from_bytes(entries[wanted], "big") if wanted in entries else None


@pytest.mark.parametrize("case", VECTORS["lookups"], ids=lambda case: case["name"])
def test_a_row_is_found_by_its_own_terms_and_by_nothing_else(case: dict[str, Any]) -> None:
    assert looked_up(case) == case["expect"]


def test_a_place_and_what_a_cursor_is_bound_to_are_the_frozen_ones() -> None:
    for case in VECTORS["places"]:
        place = Place(case["seq"], case["edition"], case["driver"], tuple(case["passed"]))
        assert place.encode(case["room"]).hex() == case["bytes"]
        assert Place.decode(bytes.fromhex(case["bytes"]))[:3] == place[:3]
    for case in VECTORS["bound"]:
        assert Wanted(**case["wanted"]).bound().hex() == case["bytes"]


def test_the_table_is_the_one_that_is_described() -> None:
    with sqlite3.connect(":memory:") as database:
        database.execute(postings.TABLES[0])
        columns = [row[1] for row in database.execute("PRAGMA table_info(postings)")]
    assert columns == ["grant_id", "bucket", "packed"]
