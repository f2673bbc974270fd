"""docs/format.md describes what there is: every purpose, table, column, prefix and bucket."""

import inspect
import re
from pathlib import Path

import pytest

from vrm.consent import credentials
from vrm.consent.service import SCHEMA as CONSENT
from vrm.vault import envelope, journal
from vrm.vault.crypto import Purpose
from vrm.vault.layout import SCHEMA
from vrm.vault.serverkey import ServerKey

TEXT = (Path(__file__).parents[2] / "docs" / "format.md").read_text(encoding="utf-8")
# What the formats do not concern: the host's own register, counters, and the columns of the table of vaults.
ELSEWHERE = {"vendors", "sweeps", "vaults"}
TABLES = {
    found[1]: re.findall(r"(?:\(|, *)([a-z_]+) (?:TEXT|INTEGER|BLOB)", statement)
    for statement in (*SCHEMA.statements, *CONSENT.statements)
    if (found := re.match(r"CREATE TABLE (\w+)", statement))
}


def section(title: str) -> str:
    found = re.search(rf"^## {title}$(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL)
    assert found, title
    return found[1]


def test_the_purposes_listed_are_the_purposes_there_are() -> None:
    listed = re.findall(r"^\| `([a-z-]+)` \|", section("Purposes"), re.MULTILINE)
    assert listed == [purpose.value for purpose in Purpose]


def test_every_subkey_of_the_server_key_is_listed() -> None:
    (row,) = re.findall(r"^\| `server` \|.*$", section("Purposes"), re.MULTILINE)
    made = re.findall(r'secret, (?:Purpose\.SERVER, )?"([a-z-]+)"', inspect.getsource(ServerKey))
    assert sorted(re.findall(r'"([a-z-]+)"', row)) == sorted(made)


def test_the_envelope_has_the_sizes_that_are_told() -> None:
    sizes = [int(size) for size in re.findall(r"^\| (\d+) \|", section("Envelope"), re.MULTILINE)]
    assert sizes == [1, 1, 4, envelope.NONCE, envelope.TAG]
    assert sum(sizes) == envelope.SMALLEST == 34
    assert "fewer than 34 bytes" in section("Envelope")


@pytest.mark.parametrize("table", sorted(TABLES.keys() - ELSEWHERE))
def test_every_table_and_column_is_described(table: str) -> None:
    assert f"`{table}`" in TEXT
    assert [column for column in TABLES[table] if not re.search(rf"\b{column}\b", TEXT)] == []


def test_numbers_in_the_text_are_those_of_the_code() -> None:
    assert f"bucket {journal._BUCKET}" in section("Journal")
    assert f"up to {journal._BATCH} changes" in section("Journal")
    for kind, prefix in credentials.PREFIXES.items():
        assert f"`{prefix}` {kind}" in section("Tokens, codes, requests")
