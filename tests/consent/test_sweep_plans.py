"""What a sweep costs: every statement of one finds what is due by an index, however much there is."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.attacks.actors import Customer, Vendor, part
from tests.beside import ON_POSTGRESQL, Beside, beside
from vrm.consent.service import Consent
from vrm.vault.pglink import Link
from vrm.vault.sqlitelink import Connection
from vrm.vault.vault import Vaults

FEW = {"vendors", "registrations", "event_queues", "sweeps"}  # one for each vendor, or one
Statement = tuple[str, Sequence[Any]]


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> list[Statement]:
    """What is asked of the database, from now on."""
    kind: Any = Link if ON_POSTGRESQL else Connection
    execute, heard = kind.execute, []

    def listen(self: Any, sql: str, parameters: Sequence[Any] = ()) -> Any:
        heard.append((sql, parameters))
        return execute(self, sql, parameters)

    monkeypatch.setattr(kind, "execute", listen)
    return heard


def scanned(database: Beside, sql: str, parameters: Sequence[Any]) -> Iterator[str]:
    """The tables that a statement reads from one end to the other; indexes of few rows are none."""
    if ON_POSTGRESQL:
        database.execute("SET enable_seqscan = off")
        lines = [row[0] for row in database.execute(f"EXPLAIN {sql}", parameters).fetchall()]
        yield from re.findall(r"Seq Scan on (\w+)", "\n".join(lines))
        return
    partial = {
        name
        for name, text in database.execute("SELECT name, sql FROM sqlite_master WHERE type = 'index'")
        if text and " WHERE " in text
    }
    named = dict(re.findall(r"(?:FROM|JOIN|UPDATE) (\w+) (\w)\b", sql))
    for *_, line in database.execute(f"EXPLAIN QUERY PLAN {sql}", parameters):
        found = re.fullmatch(r"SCAN (\w+)(?: USING (?:COVERING )?INDEX (\w+))?", line)
        if found and found[2] not in partial:
            yield next((table for table, short in named.items() if short == found[1]), found[1])


def test_a_sweep_reads_no_table_from_one_end_to_the_other(
    customer: Customer,
    vendor: Vendor,
    consent: Consent,
    vaults: Vaults,
    folder: Path,
    statements: list[Statement],
) -> None:
    customer.buy("A book")
    vendor.connect(customer, part("purchases.item"))
    statements.clear()
    assert consent.sweep()
    vaults.sweep()
    asked = [one for one in statements if re.match(r"SELECT|UPDATE|DELETE", one[0])]
    assert len(asked) > 15
    with beside(folder) as database:
        seen = {sql: set(scanned(database, sql, parameters)) - FEW for sql, parameters in asked}
        assert {sql: tables for sql, tables in seen.items() if tables} == {}
        whole = "DELETE FROM tokens WHERE kind = ?"
        assert set(scanned(database, whole, ("code",))) == {"tokens"}
