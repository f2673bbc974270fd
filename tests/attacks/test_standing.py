"""The note from which live views are kept: it counts only with the very rows that it was made from."""

from __future__ import annotations

import pickle
from datetime import date
from pathlib import Path

import pytest

from tests.attacks.actors import Customer, Thief, Vendor, part
from tests.attacks.test_database_writer import Writer
from tests.conftest import PASSPHRASE
from vrm.consent import policy
from vrm.consent.standing import Standing
from vrm.consent.tokens import TokenSet
from vrm.errors import TokenError
from vrm.vault.sqlite import SqliteEngine
from vrm.vault.vault import Vaults


@pytest.fixture
def writer(folder: Path, engine: SqliteEngine) -> Writer:
    return Writer(folder)


@pytest.fixture
def books(customer: Customer) -> list[str]:
    return [customer.buy(title) for title in ("Kindred", "Beloved", "Emma")]


@pytest.fixture
def tokens(customer: Customer, vendor: Vendor, books: list[str]) -> TokenSet:
    """Of a grant that takes in at once what she buys."""
    return vendor.connect(customer, fresh=policy.AT_ONCE)


@pytest.fixture
def access(tokens: TokenSet) -> str:
    return tokens.access_token


def note(writer: Writer) -> list[bytes]:
    """The notes of all vaults."""
    return [bytes(row[0]) for row in writer.run("SELECT sealed FROM standing ORDER BY vault")]


def test_a_note_is_made_once_and_serves_every_later_change(
    customer: Customer,
    vendor: Vendor,
    writer: Writer,
    tokens: TokenSet,
    books: list[str],
) -> None:
    assert note(writer) == []
    customer.buy("Passing")
    made = note(writer)
    customer.buy("Jazz")
    customer.change(books[0], "item", title="Kindred, again")
    customer.vault.records("purchases").remove(books[1])
    assert note(writer) == made
    assert vendor.titles(tokens.access_token) == ["Emma", "Jazz", "Kindred, again", "Passing"]


@pytest.mark.parametrize(
    "column", ["wrapped = x'00'", "agreement = x'00'", "reserve = x'00'", "expires = expires + 1"]
)
def test_what_was_altered_after_the_note_ends_at_her_next_act(
    column: str,
    customer: Customer,
    vendor: Vendor,
    writer: Writer,
    tokens: TokenSet,
) -> None:
    other = vendor.connect(customer, fresh=policy.AT_ONCE)
    customer.buy("Passing")
    assert len(note(writer)) == 1
    writer.run(f"UPDATE grants SET {column} WHERE grant_id = ?", tokens.grant_id)
    customer.buy("Jazz")
    with pytest.raises(TokenError):
        vendor.read(tokens.access_token)
    assert "Jazz" in vendor.titles(other.access_token)
    assert customer.events().count("revoked") == 1


def test_a_note_put_back_with_its_rows_keeps_nothing_that_the_roster_does_not_know(
    customer: Customer,
    vendor: Vendor,
    writer: Writer,
    tokens: TokenSet,
    books: list[str],
) -> None:
    """Before she took a purchase out: note and grant of then, put back, do not let it in again."""
    customer.buy("Passing")
    older, noted = writer.row("grants", "grant_id", tokens.grant_id), note(writer)[0]
    customer.consent.grants.narrow(customer.vault, tokens.grant_id, exclude=frozenset({books[0]}))
    assert note(writer) == []
    writer.put_back("grants", "grant_id", tokens.grant_id, older)
    writer.put("standing", (customer.vault.id, noted))
    customer.change(books[0], "item", title="Kindred, again")
    with pytest.raises(TokenError):
        vendor.read(tokens.access_token)


@pytest.mark.parametrize("planted", [b"", b"x" * 200])
def test_a_note_that_is_none_is_made_anew(
    planted: bytes,
    customer: Customer,
    vendor: Vendor,
    writer: Writer,
    tokens: TokenSet,
) -> None:
    writer.put("standing", (customer.vault.id, planted))
    customer.buy("Passing")
    assert note(writer) != [planted]
    assert "Passing" in vendor.titles(tokens.access_token)


def test_the_note_of_another_vault_is_none(
    customer: Customer,
    vendor: Vendor,
    vaults: Vaults,
    writer: Writer,
    tokens: TokenSet,
) -> None:
    mallory = Customer(vaults.create("mallory", PASSPHRASE)[0], customer.consent)
    his = vendor.connect(mallory, fresh=policy.AT_ONCE)
    customer.buy("Passing")
    mallory.buy("Jazz")
    notes = dict(writer.run("SELECT vault, sealed FROM standing"))
    writer.run("UPDATE standing SET sealed = ? WHERE vault = ?", notes[mallory.vault.id], customer.vault.id)
    customer.buy("Sula")
    assert "Sula" in vendor.titles(tokens.access_token)
    assert vendor.titles(his.access_token) == ["Jazz"]


def test_a_roster_that_is_no_bytes_ends_the_grants_and_not_her_writing(
    customer: Customer,
    vendor: Vendor,
    writer: Writer,
    tokens: TokenSet,
) -> None:
    writer.run("UPDATE vaults SET roster = 'none'")
    customer.buy("Passing")
    assert "Passing" in customer.titles()
    with pytest.raises(TokenError):
        vendor.read(tokens.access_token)


def test_a_note_goes_with_the_end_of_a_grant_and_with_the_root(
    customer: Customer,
    vendor: Vendor,
    writer: Writer,
    tokens: TokenSet,
) -> None:
    """What opens the views of grants that have ended, or lies under a root that was lost, does not stay."""
    vendor.connect(customer)
    customer.buy("Passing")
    assert len(note(writer)) == 1
    customer.consent.grants.revoke(customer.vault, tokens.grant_id)
    assert note(writer) == []
    customer.buy("Jazz")
    [made] = note(writer)
    customer.vault.rotate(PASSPHRASE)
    assert note(writer) == []
    customer.buy("Sula")
    assert note(writer) != [made]


def test_a_purchase_that_comes_back_under_its_id_is_read_again(
    customer: Customer, vendor: Vendor, tokens: TokenSet, books: list[str]
) -> None:
    """Its view holds a row of it that left: it is found when the new one does not fit beside it."""
    records = customer.vault.records("purchases")
    deleted = records.get(books[0])
    records.remove(books[0])
    assert vendor.titles(tokens.access_token) == ["Beloved", "Emma"]
    records.put(deleted, books[0], revision=0)
    customer.buy("Passing")
    assert vendor.titles(tokens.access_token) == ["Beloved", "Emma", "Kindred", "Passing"]
    assert customer.consent.grants.differences(customer.vault) == []


def test_her_rules_are_kept_apart_however_much_grants_share(
    customer: Customer,
    vendor: Vendor,
    writer: Writer,
    tokens: TokenSet,
    books: list[str],
) -> None:
    """Same parts, other rules; same rules, other parts: each view gets what was agreed for it."""
    asked = vendor.connect(customer, fresh=policy.ASK)
    gifts = vendor.connect(customer, for_whom=frozenset({"gift"}), fresh=policy.AT_ONCE)
    priced = vendor.connect(customer, part("purchases.item", "purchases.price"), fresh=policy.AT_ONCE)
    customer.buy("Passing")
    customer.buy("Sula", "gift")
    for _ in range(2):
        assert vendor.titles(tokens.access_token) == ["Beloved", "Emma", "Kindred", "Passing"]
        assert vendor.titles(asked.access_token) == ["Beloved", "Emma", "Kindred"]
        assert vendor.titles(gifts.access_token) == ["Sula"]
        rows = {row["item"]["title"]: row["price"]["total"] for row in vendor.read(priced.access_token)}
        assert rows["Passing"] == "12.99"
        customer.change(books[0], "price", total="13.00")
    assert customer.consent.grants.differences(customer.vault) == []


def test_what_keeps_a_view_is_neither_pickled_nor_shown(
    customer: Customer, tokens: TokenSet, engine: SqliteEngine
) -> None:
    grant = customer.consent.grants.open(customer.vault, tokens.grant_id)
    kept = Standing(engine).one(grant, date(2026, 5, 2))
    with pytest.raises(TypeError):
        pickle.dumps(kept)
    key = grant.keys.scope_key("purchases.item:read").reveal()
    assert key.hex() not in repr(kept)


def test_a_thief_tries_the_note_and_opens_nothing_with_it(
    customer: Customer, thief: Thief, access: str, writer: Writer
) -> None:
    customer.buy("Passing", "gift")
    assert len(note(writer)) == 1
    report = thief.rob(access, look_for=["Passing"])
    assert report.tried["standing key"]
    assert report.safe
