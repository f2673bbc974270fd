"""Attacks on postings: by who has the disk, who has a token, who writes in the database, and by chance."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.attacks.actors import Customer, Vendor, part
from tests.attacks.posted import entries, filtered, in_view, plainly
from tests.beside import only_sqlite
from tests.conftest import SettableClock
from vrm.clock import rfc3339
from vrm.consent import postings, selection
from vrm.consent.filters import FILTERED, Wanted
from vrm.consent.postings import LABEL, Labels
from vrm.consent.reader import Access, Reader
from vrm.consent.service import Consent
from vrm.errors import GrantInactiveError
from vrm.vault.sqlite import SqliteEngine

BOTH = part("purchases.item", "purchases.order")
PER_ROW = 6  # category, seller, and a day's four blocks
MANY = 420
TOYS = Wanted(category="toys")
ASKED = (
    TOYS,
    Wanted(category="none"),
    Wanted(seller="shop1.example"),
    Wanted(ordered_from="2026-02-03"),
    Wanted(ordered_to="2024-12-31"),
    Wanted(ordered_from="2025-03-05", ordered_to="2025-03-25"),
    Wanted(ordered_from="2023-03-05", ordered_to="2026-03-25"),
    Wanted(category="books", ordered_from="2025-01-01", ordered_to="2025-12-31"),
    Wanted(category="books", seller="shop2.example", ordered_to="2026-01-01"),
)


def thing(number: int, draw: random.Random) -> dict[str, Any]:
    """Something bought within the last four years; of some, a value is not known."""
    item: dict[str, Any] = {"title": f"Thing {number}"}
    order: dict[str, Any] = {"order_number": str(number)}
    if draw.random() < 0.9:
        item["category"] = draw.choice(["books", "books", "toys", "garden"])
        order["ordered"] = (date(2026, 11, 1) - timedelta(days=draw.randrange(1400))).isoformat()
    if draw.random() < 0.9:
        order["seller"] = f"shop{draw.randrange(4)}.example"
    return {"item": item, "order": order, "context": {"for": "self"}}


@pytest.fixture
def things(customer: Customer) -> list[str]:
    held, draw = customer.vault.records("purchases"), random.Random(1)
    with held.staging() as staging:
        ids = staging.add(
            [(number.to_bytes(16, "big"), held.check(thing(number, draw))) for number in range(MANY)]
        )
        staging.publish(lambda current, newer: newer)
    return list(ids)


@pytest.fixture
def books(customer: Customer) -> list[str]:
    """Three that are alike in all that can be asked for."""
    return [customer.buy(f"Book {number}") for number in range(3)]


def enter(consent: Consent, token: str) -> Access:
    return consent.reader.authenticate(token)


def on_disk(folder: Path, blobs: list[bytes]) -> list[bytes]:
    images = [path.read_bytes() for path in folder.iterdir() if path.is_file()]
    return [blob for blob in blobs if any(blob in image for image in images)]


# --- what is found is what a plain filter leaves


def agree(vendor: Vendor, customer: Customer, token: str) -> None:
    access = enter(vendor.consent, token)
    assert vendor.consent.grants.differences(customer.vault) == []
    rows = vendor.read(token)
    for wanted in ASKED:
        for limit in (30, 500):
            assert filtered(vendor.consent.reader, access, wanted, limit) == plainly(rows, wanted)


def test_a_filtered_list_is_the_list_filtered_after_any_edits(
    customer: Customer, vendor: Vendor, consent: Consent, things: list[str]
) -> None:
    tokens = vendor.connect(customer, BOTH)
    agree(vendor, customer, tokens.access_token)
    draw = random.Random(2)
    for record in draw.sample(things, 30):
        customer.put(thing(draw.randrange(1000), draw), record=record)
    for record in draw.sample(things, 10):
        customer.change(record, "context", **{"for": "gift"})
    agree(vendor, customer, tokens.access_token)
    consent.at_unlock(customer.vault)
    agree(vendor, customer, tokens.access_token)


def test_a_term_of_which_all_rows_left_gives_what_came_later(
    customer: Customer, vendor: Vendor, consent: Consent, things: list[str]
) -> None:
    tokens = vendor.connect(customer, BOTH)
    held = customer.vault.records("purchases")
    toys = [record for record, document in held.scan() if document["item"].get("category") == "toys"]
    held.apply({record: {**held.get(record), "context": {"for": "gift"}} for record in toys[1:]})
    customer.change(toys[0], "item", title="The only one")
    access = enter(consent, tokens.access_token)
    assert [row["item"]["title"] for row in filtered(consent.reader, access, TOYS, 1)] == ["The only one"]


@pytest.mark.parametrize("wanted", [ASKED[at] for at in (0, 3, 6, 7)])
def test_pages_go_on_without_gap_or_double_when_the_view_is_posted_anew_between_them(
    customer: Customer, vendor: Vendor, consent: Consent, things: list[str], wanted: Wanted
) -> None:
    access = enter(consent, vendor.connect(customer, BOTH).access_token)
    expected = [row["id"] for row in filtered(consent.reader, access, wanted)]
    page, cursor = consent.reader.page(access, "purchases", limit=2, wanted=wanted)
    assert cursor
    customer.change(things[0], "item", brand="Another")
    consent.at_unlock(customer.vault)
    rest, following = consent.reader.page(access, "purchases", cursor=cursor, limit=500, wanted=wanted)
    assert following is None
    changed = customer.vault.keyring.pairwise(vendor.registered.client_id, "purchases", things[0]).hex()
    seen = [json.loads(text)["id"] for text in page + rest]
    assert [one for one in seen if one != changed] == [one for one in expected if one != changed]


@pytest.mark.parametrize("many", [500, 10])
def test_what_changed_since_is_found_by_looking_through_it_or_by_its_postings(
    customer: Customer,
    vendor: Vendor,
    consent: Consent,
    things: list[str],
    clock: SettableClock,
    monkeypatch: pytest.MonkeyPatch,
    many: int,
) -> None:
    monkeypatch.setattr(selection, "_MANY", many)
    tokens = vendor.connect(customer, BOTH)
    clock.forward(60)
    for record in things[:12]:
        customer.change(record, "item", brand="Another")
    consent.at_unlock(customer.vault)
    access, since = enter(consent, tokens.access_token), clock.now()
    rows = [row for row in vendor.read(tokens.access_token) if row["updated_at"] == rfc3339(since)]
    assert len(rows) == 12
    for wanted in ASKED:
        found = filtered(consent.reader, access, wanted, 2, updated_since=since)
        assert found == plainly(rows, wanted)


def test_a_grant_from_before_there_were_postings_answers_and_is_posted_at_the_next_unlock(
    customer: Customer, vendor: Vendor, consent: Consent, things: list[str], engine: SqliteEngine
) -> None:
    tokens = vendor.connect(customer, BOTH)
    with engine.write() as transaction:
        transaction.execute("DELETE FROM postings")
        transaction.execute("UPDATE views SET posted = NULL")
        transaction.execute("UPDATE grants SET edition = 0")
    agree(vendor, customer, tokens.access_token)
    assert entries(engine, tokens.grant_id) == []
    consent.at_unlock(customer.vault)
    assert len(entries(engine, tokens.grant_id)) == PER_ROW * MANY
    agree(vendor, customer, tokens.access_token)


def test_a_large_view_is_posted_anew_only_after_many_changes(
    customer: Customer,
    vendor: Vendor,
    consent: Consent,
    books: list[str],
    engine: SqliteEngine,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from vrm.consent import views

    monkeypatch.setattr(views, "_FEW", 2)
    monkeypatch.setattr(views, "_MANY", 1)
    vendor.connect(customer, BOTH)

    def edition() -> int:
        consent.at_unlock(customer.vault)
        [(found,)] = engine.all("SELECT edition FROM grants")
        return int(found)

    first = edition()
    customer.change(books[0], "item", title="Changed")
    assert edition() == first
    customer.change(books[1], "item", title="Changed")
    assert edition() == first + 2


def test_a_row_that_leaves_while_a_page_is_read_is_not_in_it(
    customer: Customer, vendor: Vendor, consent: Consent, books: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """She takes it back after the page was judged and before it is written into her log."""
    access = enter(consent, vendor.connect(customer, BOTH).access_token)
    enter_log = Reader._enter

    def and_then(self: Reader, *given: Any) -> None:
        customer.change(books[0], "context", **{"for": "gift"})
        enter_log(self, *given)

    monkeypatch.setattr(Reader, "_enter", and_then)
    page, _ = consent.reader.page(access, "purchases", wanted=Wanted(category="books"))
    assert len(page) == 2
    newest = next(one for one in consent.log.read(customer.vault, 5) if one.event == "read")
    assert newest.count == 2


def test_a_grant_that_ends_while_a_page_is_read_gives_nothing(
    customer: Customer, vendor: Vendor, consent: Consent, books: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = vendor.connect(customer, BOTH)
    access, page = enter(consent, tokens.access_token), selection.Selection.page

    def and_then(self: selection.Selection, *given: Any) -> Any:
        found = page(self, *given)
        stop = threading.Thread(target=consent.grants.revoke, args=(customer.vault, tokens.grant_id))
        stop.start()
        stop.join()
        return found

    monkeypatch.setattr(selection.Selection, "page", and_then)
    with pytest.raises(GrantInactiveError):
        consent.reader.page(access, "purchases", wanted=Wanted(category="books"))
    with pytest.raises(GrantInactiveError):
        consent.reader.filters(access, "purchases")


def test_what_has_ended_is_not_posted_again(
    customer: Customer, vendor: Vendor, consent: Consent, books: list[str], engine: SqliteEngine
) -> None:
    """An unlock that had begun before she stopped it."""
    tokens = vendor.connect(customer, BOTH)
    grant = consent.grants.open(customer.vault, tokens.grant_id)
    consent.grants.revoke(customer.vault, tokens.grant_id)
    with engine.write() as transaction:
        consent.views.post(transaction, grant)
    assert entries(engine, tokens.grant_id) == []


def test_a_view_without_such_fields_is_not_posted(
    customer: Customer, vendor: Vendor, consent: Consent, engine: SqliteEngine
) -> None:
    customer.put({"statement": {"topic": "tea", "category": "food"}}, "preferences")
    tokens = vendor.connect(customer, part("preferences.statement"))
    record = customer.vault.records("preferences").ids()[0]
    customer.put({"statement": {"topic": "coffee"}}, "preferences", record)
    consent.at_unlock(customer.vault)
    assert entries(engine, tokens.grant_id) == []
    assert engine.all("SELECT posted FROM views") == [(None,)]


# --- who has the disk


def test_equal_values_give_no_equal_bytes(
    customer: Customer, vendor: Vendor, consent: Consent, engine: SqliteEngine
) -> None:
    for number in range(40):
        customer.buy(f"Book {number}")
    grants = [vendor.connect(customer, BOTH).grant_id for _ in range(2)]
    seen = [label for grant in grants for label, _ in entries(engine, grant)]
    customer.change(customer.vault.records("purchases").ids()[0], "item", title="Changed")
    consent.at_unlock(customer.vault)  # another edition
    seen += [label for grant in grants for label, _ in entries(engine, grant)]
    assert len(seen) == len(set(seen)) == 4 * 40 * PER_ROW
    pieces = [label[at : at + 6] for label in seen for at in range(LABEL - 5)]
    assert len(pieces) == len(set(pieces))


def test_numbers_of_postings_tell_nothing_of_what_is_filled_in(
    customer: Customer, vendor: Vendor, engine: SqliteEngine
) -> None:
    customer.buy("Full")
    customer.put({"item": {"title": "Bare"}, "context": {"for": "self"}})
    customer.put({"item": {"title": "Half", "category": "toys"}, "context": {"for": "self"}})
    tokens = vendor.connect(customer, BOTH)
    found = entries(engine, tokens.grant_id)
    numbers = [sum(seq == one for _, seq in found) for one in (1, 2, 3)]
    assert numbers == [PER_ROW] * 3
    sizes = engine.all("SELECT length(posted) FROM views")
    assert set(sizes) == {(PER_ROW * LABEL,)}


def test_order_of_postings_tells_nothing(
    customer: Customer, vendor: Vendor, books: list[str], engine: SqliteEngine
) -> None:
    tokens = vendor.connect(customer, BOTH)
    labels = [label for label, _ in entries(engine, tokens.grant_id)]
    assert labels == sorted(labels)
    for (blob,) in engine.all("SELECT posted FROM views"):
        each = [blob[at : at + LABEL] for at in range(0, len(blob), LABEL)]
        assert each == sorted(each)


@only_sqlite
def test_postings_of_a_revoked_grant_are_nowhere_on_the_disk(
    customer: Customer, vendor: Vendor, consent: Consent, books: list[str], engine: SqliteEngine, folder: Path
) -> None:
    tokens = vendor.connect(customer, BOTH)
    labels = [label for label, _ in entries(engine, tokens.grant_id)]
    assert len(on_disk(folder, labels)) == len(labels) == 3 * PER_ROW
    consent.grants.revoke(customer.vault, tokens.grant_id)
    assert entries(engine, tokens.grant_id) == []
    assert not on_disk(folder, labels)


def test_narrowing_leaves_no_posting_of_what_left(
    customer: Customer, vendor: Vendor, consent: Consent, books: list[str], engine: SqliteEngine, folder: Path
) -> None:
    tokens = vendor.connect(customer, BOTH)
    labels = [label for label, _ in entries(engine, tokens.grant_id)]
    consent.grants.narrow(customer.vault, tokens.grant_id, exclude=frozenset(books[:1]))
    found = entries(engine, tokens.grant_id)
    assert len(found) == 2 * PER_ROW
    assert {seq for _, seq in found} == in_view(engine, tokens.grant_id)
    assert not on_disk(folder, labels)
    consent.grants.narrow(customer.vault, tokens.grant_id, drop=frozenset({"purchases.order:read"}))
    assert len(entries(engine, tokens.grant_id)) == 2
    consent.grants.narrow(customer.vault, tokens.grant_id, drop=frozenset({"purchases.item:read"}))
    assert entries(engine, tokens.grant_id) == []


def test_a_row_that_leaves_is_posted_nowhere_at_once(
    customer: Customer, vendor: Vendor, books: list[str], engine: SqliteEngine
) -> None:
    tokens = vendor.connect(customer, BOTH)
    customer.change(books[0], "context", **{"for": "gift"})
    found = entries(engine, tokens.grant_id)
    assert sum(seq == 0 for _, seq in found) == PER_ROW
    assert {seq for _, seq in found} - {0} == in_view(engine, tokens.grant_id)


# --- who has a token and the disk


def found_with(access: Access, engine: SqliteEngine) -> Iterator[str]:
    """The fields whose postings the keys of a token find, tried on every field."""
    [(edition,)] = engine.all("SELECT edition FROM grants WHERE grant_id = ?", (access.grant_id,))
    present = {label for label, _ in entries(engine, access.grant_id)}
    values = {"category": "books", "seller": "books.example", "ordered": "2026-05-01"}
    for key in (*access.keys.values(), access.common):
        for field in FILTERED:
            labels = Labels(access.grant_id, edition, {field.scope: key})
            for term in field.terms(values[field.name]):
                if labels.take(field.scope, term, 0, 1)[0] in present:
                    yield field.name


def test_a_token_finds_postings_of_its_own_scopes_only(
    customer: Customer, vendor: Vendor, consent: Consent, books: list[str], engine: SqliteEngine
) -> None:
    tokens = vendor.connect(customer, BOTH)
    assert set(found_with(enter(consent, tokens.access_token), engine)) == {"category", "seller", "ordered"}
    narrow = vendor.refresh(tokens.refresh_token, "purchases.item:read")
    assert set(found_with(enter(consent, narrow.access_token), engine)) == {"category"}


def test_a_filter_without_the_scope_finds_nothing_even_where_nobody_refuses_it(
    customer: Customer, vendor: Vendor, consent: Consent, books: list[str]
) -> None:
    """The check of parameters taken away: the keys still say no."""
    tokens = vendor.connect(
        customer, part("purchases.item"), part("purchases.order", fields=["order_number"])
    )
    narrow = enter(consent, vendor.refresh(tokens.refresh_token, "purchases.item:read").access_token)
    with pytest.raises(KeyError):
        filtered(consent.reader, narrow, Wanted(seller="books.example"))
    full = enter(consent, vendor.connect(customer, part("purchases.item", fields=["title"])).access_token)
    assert filtered(consent.reader, full, Wanted(category="books")) == []


def test_withheld_rows_leave_no_trace_in_a_filtered_list(
    customer: Customer, vendor: Vendor, consent: Consent, engine: SqliteEngine
) -> None:
    """The same three books, once alone and once among thirty that stay."""
    for number in range(3):
        customer.buy(f"Book {number}")
    asked = [Wanted(category="books"), Wanted(seller="books.example"), Wanted(ordered_from="2026-01-01")]

    def looks() -> list[Any]:
        tokens = vendor.connect(customer, BOTH)
        access = enter(consent, tokens.access_token)
        found: list[Any] = [len(entries(engine, tokens.grant_id))]
        for wanted in asked:
            for limit in (1, 2, 3, 500):
                page, cursor = consent.reader.page(access, "purchases", limit=limit, wanted=wanted)
                found.append((len(page), len(cursor or "")))
        return found

    before = looks()
    for number in range(30):
        customer.buy(f"Secret {number}", ("gift", "work", "household", None)[number % 4])
    assert looks() == before


def test_the_length_of_a_cursor_depends_on_the_filter_only(
    customer: Customer, vendor: Vendor, consent: Consent, things: list[str]
) -> None:
    access = enter(consent, vendor.connect(customer, BOTH).access_token)
    for wanted in (Wanted(category="books", ordered_from="2025-01-01"), Wanted(ordered_to="2026-01-01")):
        sizes, cursor = set(), None
        while True:
            _, cursor = consent.reader.page(access, "purchases", limit=5, cursor=cursor, wanted=wanted)
            if cursor is None:
                break
            sizes.add(len(cursor))
        assert len(sizes) == 1


# --- who writes in the database


@pytest.mark.parametrize("seed", range(2))
def test_altered_postings_hide_rows_at_most(
    customer: Customer, vendor: Vendor, consent: Consent, things: list[str], engine: SqliteEngine, seed: int
) -> None:
    tokens = vendor.connect(customer, BOTH)
    access, draw = enter(consent, tokens.access_token), random.Random(seed)
    with engine.write() as transaction:
        for bucket, packed in engine.all("SELECT bucket, packed FROM postings"):
            blob = bytearray(packed)
            for at in range(LABEL, len(blob), LABEL + 4):
                blob[at : at + 4] = draw.choice([0, 5, draw.randrange(MANY), 2**32 - 1]).to_bytes(4, "big")
            if draw.random() < 0.1:
                blob = blob[: draw.randrange(len(blob))]
            change = "UPDATE postings SET packed = ? WHERE bucket = ?"
            transaction.execute(change, (bytes(blob), bucket))
    rows = vendor.read(tokens.access_token)
    for wanted in ASKED:
        allowed = [row["id"] for row in plainly(rows, wanted)]
        found = [row["id"] for row in filtered(consent.reader, access, wanted, 50)]
        assert len(found) == len(set(found))
        assert set(found) <= set(allowed)
    grant = f"grant {tokens.grant_id}"
    assert consent.grants.differences(customer.vault) == [
        f"{grant}: a posting was altered, so that filters miss rows"
    ]
    for record in things[:20]:
        customer.change(record, "item", title="Changed")
    consent.grants.narrow(customer.vault, tokens.grant_id, exclude=frozenset(things[20:21]))
    agree(vendor, customer, tokens.access_token)


def test_an_entry_is_not_taken_for_bytes_of_two_others() -> None:
    label = b"\x01" * LABEL
    packed = b"\x00" * 8 + b"\x01" * 8 + label + b"\x00\x00\x00\x07"
    assert postings._find(packed, label) == 16
    assert postings._find(packed[:16], label) == -1
    assert postings._find(packed[:16] + b"\x01" * 4 + b"\x00" * 12, label) == -1
