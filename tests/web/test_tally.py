"""Home counts her purchases once for each state of the vault, and never says numbers of another state."""

from __future__ import annotations

from typing import Any

import pytest

from tests.web.actors import Customer
from vrm.vault.records import Records
from vrm.vault.sqlite import SqliteEngine
from vrm.vault.vault import Vault
from vrm.web import tally


@pytest.fixture
def opened_bodies(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The ids of the purchases of which something was opened."""
    found: list[str] = []
    unsealed = Records._unsealed

    def noting(self: Records, places: Any, named: Any, record: str, revision: int, body: bytes) -> object:
        found.append(record)
        return unsealed(self, places, named, record, revision, body)

    monkeypatch.setattr(Records, "_unsealed", noting)
    return found


def test_home_counts_again_only_after_a_change(
    alice: Customer, opened: Vault, shelf: dict[str, str], opened_bodies: list[str]
) -> None:
    first = alice.get("/").text
    assert sorted(opened_bodies) == sorted(shelf.values())
    opened_bodies.clear()
    assert alice.get("/").text == first
    assert opened_bodies == []
    opened.records("purchases").put({"item": {"title": "A Lamp"}})
    opened_bodies.clear()
    assert alice.get("/").text != first
    assert len(opened_bodies) == len(shelf) + 1


def test_a_purchase_taken_away_from_outside_is_counted_out(
    alice: Customer, shelf: dict[str, str], engine: SqliteEngine, opened_bodies: list[str]
) -> None:
    alice.get("/")
    with engine.write() as transaction:
        transaction.execute("DELETE FROM records WHERE record = ?", (shelf["Piranesi"],))
    opened_bodies.clear()
    alice.get("/")
    assert len(opened_bodies) == len(shelf) - 1


def test_a_purchase_that_does_not_open_is_said_at_every_look(
    alice: Customer, shelf: dict[str, str], engine: SqliteEngine
) -> None:
    with engine.write() as transaction:
        transaction.execute(
            "UPDATE records SET body = zeroblob(length(body)) WHERE record = ?", (shelf["Piranesi"],)
        )
    for _ in range(2):
        assert "changed from outside" in alice.get("/").text


def test_a_journal_whose_end_was_altered_is_said_and_keeps_no_page_away(
    alice: Customer, shelf: dict[str, str], engine: SqliteEngine
) -> None:
    with engine.write() as transaction:
        transaction.execute("UPDATE journal_heads SET sealed = zeroblob(length(sealed))")
    for _ in range(2):
        assert "changed from outside" in alice.get("/").text


def test_few_vaults_are_remembered(
    opened: Vault, shelf: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tally, "MOST", 0)
    counts = iter([tally.Counted(len(shelf), 0, len(shelf))] * 2)
    kept = tally.Tally()
    for _ in range(2):
        kept.of(opened, lambda: next(counts))
    assert next(counts, None) is None
