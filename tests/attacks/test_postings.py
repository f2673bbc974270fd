"""Attacks on postings: by who has the disk, who has a token, who writes in the database, and by chance."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.attacks.actors import Customer, Vendor, part
from tests.attacks.posted import FIELDS, LEFT, columns, filtered, in_view, plainly, stored, told
from tests.beside import only_sqlite
from tests.conftest import SettableClock
from vrm.clock import rfc3339
from vrm.consent import postings, selection
from vrm.consent.access import Access
from vrm.consent.filters import FILTERED, Filtered, Wanted
from vrm.consent.reader import Reader
from vrm.consent.service import Consent
from vrm.errors import GrantInactiveError
from vrm.vault import crypto
from vrm.vault.sqlite import SqliteEngine

BOTH = part("purchases.item", "purchases.order")
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


def test_a_filtered_list_goes_on_from_bucket_to_bucket(
    customer: Customer,
    vendor: Vendor,
    consent: Consent,
    things: list[str],
    engine: SqliteEngine,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(postings, "ROWS", 16)
    monkeypatch.setattr(postings, "_LONGEST_STEP", 5)
    tokens = vendor.connect(customer, BOTH)
    agree(vendor, customer, tokens.access_token)
    for record in things[:40]:
        customer.change(record, "context", **{"for": "gift"})
    agree(vendor, customer, tokens.access_token)
    with engine.write() as transaction:  # a gap, and what stands under another start
        transaction.execute("DELETE FROM postings WHERE bucket = 3")
        transaction.execute("UPDATE postings SET packed = ? WHERE bucket = 9", (bytes(16 + 96),))
    rows, access = vendor.read(tokens.access_token), enter(consent, tokens.access_token)
    for wanted in ASKED:
        found = filtered(consent.reader, access, wanted)
        assert [row for row in plainly(rows, wanted) if row in found] == found
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
        transaction.execute("UPDATE grants SET edition = 0")
    agree(vendor, customer, tokens.access_token)
    assert stored(engine, tokens.grant_id) == {}
    consent.at_unlock(customer.vault)
    assert len(stored(engine, tokens.grant_id)) == 1 + MANY
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
        consent.grants.revoke(customer.vault, tokens.grant_id)
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
    assert stored(engine, tokens.grant_id) == {}


def test_a_view_without_such_fields_is_not_posted(
    customer: Customer, vendor: Vendor, consent: Consent, engine: SqliteEngine
) -> None:
    customer.put({"statement": {"topic": "tea", "category": "food"}}, "preferences")
    tokens = vendor.connect(customer, part("preferences.statement"))
    record = customer.vault.records("preferences").ids()[0]
    customer.put({"statement": {"topic": "coffee"}}, "preferences", record)
    consent.at_unlock(customer.vault)
    assert stored(engine, tokens.grant_id) == {}


# --- who has the disk


def test_equal_values_give_no_equal_bytes(
    customer: Customer, vendor: Vendor, consent: Consent, engine: SqliteEngine
) -> None:
    for number in range(40):
        customer.buy(f"Book {number}")
    grants = [vendor.connect(customer, BOTH).grant_id for _ in range(2)]

    def seen() -> list[bytes]:
        packed = [row[0] for row in engine.all("SELECT packed FROM postings")]
        starts, parts = zip(*map(columns, packed), strict=True)
        return [*starts, *(part for each in parts for part in each)]

    before = seen()
    customer.change(customer.vault.records("purchases").ids()[0], "item", title="Changed")
    consent.at_unlock(customer.vault)  # another edition
    pieces = [blob[at : at + 6] for blob in before + seen() for at in range(0, len(blob) - 5, 2)]
    assert len(pieces) > 2 * 2 * 40
    assert len(pieces) == len(set(pieces))
    assert len(grants) == len(set(grants))


def test_lengths_of_postings_tell_nothing_of_what_is_filled_in_or_leaves(
    customer: Customer, vendor: Vendor, engine: SqliteEngine
) -> None:
    customer.buy("Full")
    customer.put({"item": {"title": "Bare"}, "context": {"for": "self"}})
    customer.put({"item": {"title": "Half", "category": "toys"}, "context": {"for": "self"}})
    for shared in (BOTH, part("purchases.item"), part("purchases.order", fields=["ordered"])):
        tokens = vendor.connect(customer, shared)
        assert list(stored(engine, tokens.grant_id)) == [0, 1, 2, 3]
    assert engine.all("SELECT DISTINCT length(packed) FROM postings") == [(16 + 4 * 2 * FIELDS,)]


@only_sqlite
def test_postings_of_a_revoked_grant_are_nowhere_on_the_disk(
    customer: Customer, vendor: Vendor, consent: Consent, books: list[str], engine: SqliteEngine, folder: Path
) -> None:
    tokens = vendor.connect(customer, BOTH)
    [(packed,)] = engine.all("SELECT packed FROM postings")
    assert on_disk(folder, [packed]) == [packed]
    consent.grants.revoke(customer.vault, tokens.grant_id)
    assert stored(engine, tokens.grant_id) == {}
    assert not on_disk(folder, [packed[at : at + 8] for at in range(0, len(packed), 8)])


def test_narrowing_leaves_no_posting_of_what_left(
    customer: Customer, vendor: Vendor, consent: Consent, books: list[str], engine: SqliteEngine, folder: Path
) -> None:
    tokens = vendor.connect(customer, BOTH)

    def of_her() -> set[int]:
        return told(engine, consent.grants.open(customer.vault, tokens.grant_id))

    before = list(stored(engine, tokens.grant_id).values())
    assert of_her() == in_view(engine, tokens.grant_id) == {1, 2, 3}
    consent.grants.narrow(customer.vault, tokens.grant_id, exclude=frozenset(books[:1]))
    assert of_her() == in_view(engine, tokens.grant_id)
    assert len(of_her()) == 2
    assert not set(before) & set(stored(engine, tokens.grant_id).values())
    assert not on_disk(folder, before)
    consent.grants.narrow(customer.vault, tokens.grant_id, drop=frozenset({"purchases.order:read"}))
    assert len(of_her()) == 2
    consent.grants.narrow(customer.vault, tokens.grant_id, drop=frozenset({"purchases.item:read"}))
    assert stored(engine, tokens.grant_id) == {}


def test_a_row_that_leaves_is_posted_nowhere_at_once(
    customer: Customer, vendor: Vendor, consent: Consent, books: list[str], engine: SqliteEngine
) -> None:
    tokens = vendor.connect(customer, BOTH)
    customer.change(books[0], "context", **{"for": "gift"})
    customer.change(books[1], "item", title="Changed")  # stands elsewhere now, and is not posted there
    customer.change(books[1], "item", title="Changed again")
    assert sum(row == LEFT for row in stored(engine, tokens.grant_id).values()) == 2
    left = told(engine, consent.grants.open(customer.vault, tokens.grant_id))
    assert len(left) == 1
    assert left < in_view(engine, tokens.grant_id)


# --- who has a token and the disk


def found_with(access: Access, engine: SqliteEngine) -> Iterator[str]:
    """The fields whose postings the keys of a token read, tried on every field."""
    [(packed,)] = engine.all("SELECT packed FROM postings WHERE grant_id = ?", (access.grant_id,))
    start, parts = columns(packed)
    values = {"category": "books", "seller": "books.example", "ordered": "2026-05-01"}
    for key in (*access.keys.values(), access.common):
        for field, codes in zip(FILTERED, parts, strict=True):
            mask = postings.keys_of([field], {field.scope: key})[field]
            wanted = field.code(values[field.name]).to_bytes(2, "big")
            if crypto.masked(mask, start, codes) == bytes(2) + 3 * wanted:
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
        found: list[Any] = [len(stored(engine, tokens.grant_id))]
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


@pytest.mark.parametrize("seed", range(3))
def test_altered_postings_hide_rows_at_most(
    customer: Customer, vendor: Vendor, consent: Consent, things: list[str], engine: SqliteEngine, seed: int
) -> None:
    tokens = vendor.connect(customer, BOTH)
    access, draw = enter(consent, tokens.access_token), random.Random(seed)
    with engine.write() as transaction:
        for bucket, packed in engine.all("SELECT bucket, packed FROM postings"):
            blob = bytearray(packed)
            for _ in range(400):
                blob[draw.randrange(len(blob))] = draw.choice([0, 5, draw.randrange(256), 255])
            end = draw.choice([30, 9000])
            blob = blob[: draw.randrange(len(blob))] if seed == 1 else blob + blob[16:end]
            change = "UPDATE postings SET packed = ? WHERE bucket = ?"
            transaction.execute(change, (bytes(blob), bucket))
            transaction.execute(
                "INSERT INTO postings (grant_id, bucket, packed) VALUES (?, ?, ?), (?, ?, ?)",
                (tokens.grant_id, 1, bytes(blob), tokens.grant_id, 7, b"short"),
            )
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


def test_a_title_that_looks_like_a_value_is_none(
    customer: Customer, vendor: Vendor, consent: Consent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows are judged by looking for a member in their bytes: no text can pretend to be one."""
    for title in ('","category":"toys', '"category":"toys"', '\\","category":"toys","x":"', 'toys"}'):
        customer.put({"item": {"title": title, "category": 'to"ys'}, "context": {"for": "self"}})
    monkeypatch.setattr(Filtered, "code", lambda *_: 1)  # as if every row might fit
    access = enter(consent, vendor.connect(customer, part("purchases.item")).access_token)
    assert filtered(consent.reader, access, TOYS) == []
    assert len(filtered(consent.reader, access, Wanted(category='to"ys'))) == 4
    assert filtered(consent.reader, access, Wanted(category="to")) == []
