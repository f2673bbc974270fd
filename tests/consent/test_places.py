"""Places: every row of a view is found by its vendor's id, whether its place is noted yet or not."""

from __future__ import annotations

import json

import pytest

from tests.attacks.actors import Customer, Vendor, part
from vrm.consent import places, policy
from vrm.consent.service import Consent
from vrm.consent.tokens import TokenSet
from vrm.errors import NotInViewError
from vrm.vault.engine import Engine
from vrm.vault.schemas import validate

FEW = 8


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """So few rows are noted together."""
    monkeypatch.setattr(places, "RECENT", FEW)
    monkeypatch.setattr(places, "_NEWEST", places._NEWEST.replace("- 128 ", f"- {FEW} "))


@pytest.fixture
def tokens(customer: Customer, vendor: Vendor, books: list[str]) -> TokenSet:
    assert books
    asked = (part("purchases.item"), part("preferences.statement"))
    return vendor.connect(customer, *asked, fresh=policy.AT_ONCE)


def item_of(customer: Customer, vendor: Vendor, record: str, stream: str = "purchases") -> str:
    return customer.vault.keyring.pairwise(vendor.registered.client_id, stream, record).hex()


def title(consent: Consent, tokens: TokenSet, item: str) -> str:
    text, *_ = consent.reader.one(consent.reader.authenticate(tokens.access_token), "purchases", item)
    return str(json.loads(text)["item"]["title"])


def loose(engine: Engine, grant_id: str) -> int:
    """How many rows are not found where their places are noted."""
    [(count,)] = engine.all(
        "SELECT count(*) FROM views v WHERE grant_id = ? AND NOT EXISTS (SELECT 1 FROM places p"
        " WHERE p.grant_id = v.grant_id AND p.item = v.item AND p.shelf = v.shelf AND p.seq = v.seq)",
        (grant_id,),
    )
    return int(count)


def test_what_came_in_later_is_found_edited_and_withdrawn_before_and_after_its_place_is_noted(
    customer: Customer, vendor: Vendor, consent: Consent, engine: Engine, tokens: TokenSet
) -> None:
    seen = set()
    for number in range(3 * FEW):
        record = customer.buy(f"Volume {number}")
        item = item_of(customer, vendor, record)
        assert title(consent, tokens, item) == f"Volume {number}"
        customer.change(record, "item", title=f"Volume {number}, corrected")
        assert title(consent, tokens, item) == f"Volume {number}, corrected"
        if number % 3 == 0:
            customer.change(record, "context", **{"for": "gift"})
            customer.change(record, "item", title="Another")
            with pytest.raises(NotInViewError):
                title(consent, tokens, item)
        customer.put({"statement": {"topic": f"Tea {number}"}}, "preferences")
        seen.add(loose(engine, tokens.grant_id))
    assert 0 in seen
    assert max(seen) < FEW
    items = [row[0] for row in engine.all("SELECT item FROM views")]
    assert len(set(items)) == len(items) == 3 + 2 * 3 * FEW
    assert consent.grants.differences(customer.vault) == []


def test_many_that_come_in_together_are_noted_at_once(
    customer: Customer, vendor: Vendor, consent: Consent, engine: Engine, tokens: TokenSet
) -> None:
    records = customer.vault.records("purchases")
    book = {"item": {"title": "One of many"}, "context": {"for": "self"}}
    made = {records.new_id(): validate("purchases", book) for _ in range(20 * FEW)}
    records.apply(made)
    assert loose(engine, tokens.grant_id) == 0
    assert {title(consent, tokens, item_of(customer, vendor, record)) for record in made} == {"One of many"}
    records.apply(dict.fromkeys(made))
    assert len(vendor.read(tokens.access_token)) == 3
    records.apply(made)  # each of them stood there as gone
    assert consent.grants.differences(customer.vault) == []
    assert engine.one("SELECT count(*) FROM views") == (3 + 20 * FEW,)


def test_a_record_that_comes_back_has_one_row_in_each_view(
    customer: Customer, vendor: Vendor, consent: Consent, engine: Engine, tokens: TokenSet
) -> None:
    other = Vendor.register(consent, "Harbour Records")
    record = customer.buy("Kindred again")
    document = customer.vault.records("purchases").get(record)
    customer.vault.records("purchases").remove(record)
    later = other.connect(customer, fresh=policy.AT_ONCE)  # in whose view it never was
    customer.put(document, record=record)
    for who, token in ((vendor, tokens), (other, later)):
        item = item_of(customer, who, record)
        assert title(consent, token, item) == "Kindred again"
        assert engine.one("SELECT count(*) FROM views WHERE item = ?", (bytes.fromhex(item),)) == (1,)
    assert consent.grants.differences(customer.vault) == []


def test_views_that_grow_together_take_turns(engine: Engine) -> None:
    moments = {name: [seq for seq in range(FEW) if places.due(name, seq, seq + 1)] for name in "abcdefgh"}
    assert sorted(moments.values()) == [[seq] for seq in range(FEW)]
