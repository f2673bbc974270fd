"""Reading: full pages, sealed cursors, ETags that change with the bytes, and nothing of anybody else's."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.attacks.actors import Customer, Vendor, part
from tests.conftest import SettableClock
from vrm.consent import policy
from vrm.consent.access import Access
from vrm.consent.grants import DAY
from vrm.consent.selection import PageQuery
from vrm.consent.service import Consent
from vrm.errors import (
    CodeError,
    GrantInactiveError,
    InsufficientScopeError,
    NotInViewError,
    ParameterError,
    TokenError,
)
from vrm.vault.engine import Work
from vrm.vault.sqlite import SqliteEngine


def enter(consent: Consent, token: str) -> Access:
    return consent.reader.authenticate(token)


@pytest.fixture
def many(customer: Customer) -> list[str]:
    """Every second one leaves its period within a month."""
    days = ("2026-10-01", "2025-11-25")
    return [customer.buy(f"Book {number:02}", order={"ordered": days[number % 2]}) for number in range(20)]


@pytest.mark.parametrize("token", ["", "x", "vrm_at_" + "A" * 48, "vrm_rt_" + "A" * 48])
def test_an_unknown_token_is_refused(token: str, consent: Consent) -> None:
    with pytest.raises(TokenError):
        enter(consent, token)


def test_pages_are_full_and_hold_every_row_once(
    customer: Customer, vendor: Vendor, consent: Consent, many: list[str]
) -> None:
    access = enter(consent, vendor.connect(customer).access_token)
    cursor, sizes, ids = None, [], []
    while True:
        page, cursor = consent.reader.page(access, "purchases", limit=7, cursor=cursor)
        sizes.append(len(page))
        ids += [json.loads(text)["id"] for text in page]
        if cursor is None:
            break
    assert sizes == [7, 7, 6]
    assert len(set(ids)) == 20


def test_pages_stay_full_while_rows_leave_their_period(
    customer: Customer, vendor: Vendor, consent: Consent, many: list[str], clock: SettableClock
) -> None:
    tokens = vendor.connect(customer, part("purchases.item", period="P1Y"))
    clock.forward(20 * DAY)
    access = enter(consent, vendor.refresh(tokens.refresh_token).access_token)
    sizes, cursor = [], None
    while True:
        page, cursor = consent.reader.page(access, "purchases", limit=3, cursor=cursor)
        sizes.append(len(page))
        if cursor is None:
            break
    assert sum(sizes) == 10
    assert set(sizes[:3]) == {3}
    assert consent.views.count(tokens.grant_id) == 20


def test_a_part_whose_period_ended_leaves_its_row(
    customer: Customer, vendor: Vendor, consent: Consent, clock: SettableClock
) -> None:
    customer.buy("Kindred", order={"ordered": "2026-08-25"})
    tokens = vendor.connect(
        customer, part("purchases.item", period="P3M"), part("purchases.price", period="P2Y")
    )
    access = enter(consent, tokens.access_token)
    [text] = consent.reader.page(access, "purchases")[0]
    record = json.loads(text)["id"]
    before = consent.reader.one(access, "purchases", record)[1]
    clock.forward(10 * DAY)
    access = enter(consent, vendor.refresh(tokens.refresh_token).access_token)
    [text] = consent.reader.page(access, "purchases")[0]
    assert set(json.loads(text)) == {"id", "updated_at", "price"}
    assert consent.reader.one(access, "purchases", record)[1] != before
    narrow = enter(consent, vendor.connect(customer, part("purchases.item", period="P3M")).access_token)
    assert consent.reader.page(narrow, "purchases") == ([], None)


def test_one_that_left_its_period_is_not_in_view(
    customer: Customer, vendor: Vendor, consent: Consent, clock: SettableClock
) -> None:
    customer.buy("Kindred", order={"ordered": "2026-08-25"})
    tokens = vendor.connect(customer, part("purchases.item", period="P3M"))
    record = vendor.read(tokens.access_token)[0]["id"]
    clock.forward(10 * DAY)
    access = enter(consent, vendor.refresh(tokens.refresh_token).access_token)
    with pytest.raises(NotInViewError):
        consent.reader.one(access, "purchases", record)


def test_only_what_changed_since_is_given(
    customer: Customer, vendor: Vendor, consent: Consent, many: list[str], clock: SettableClock
) -> None:
    access = enter(consent, vendor.connect(customer).access_token)
    clock.forward(60)
    customer.change(many[3], "item", title="Changed")
    page, _ = consent.reader.page(access, "purchases", updated_since=clock.now())
    assert [json.loads(text)["item"]["title"] for text in page] == ["Changed"]
    assert json.loads(page[0])["updated_at"] == "2026-11-18T11:07:40Z"
    assert consent.reader.page(access, "purchases", updated_since=clock.now() + 1) == ([], None)


def test_a_row_changed_between_two_pages_is_given_again(
    customer: Customer, vendor: Vendor, consent: Consent, many: list[str]
) -> None:
    access = enter(consent, vendor.connect(customer).access_token)
    page, cursor = consent.reader.page(access, "purchases", limit=10)
    seen = {json.loads(text)["item"]["title"] for text in page}
    record = next(
        one for one in many if customer.vault.records("purchases").get(one)["item"]["title"] in seen
    )
    customer.change(record, "item", title="Changed")
    rest, _ = consent.reader.page(access, "purchases", limit=500, cursor=cursor)
    assert len(rest) == 11
    assert json.loads(rest[-1])["item"]["title"] == "Changed"


def _etag(customer: Customer, consent: Consent, access: Access, vendor: Vendor, record: str) -> str:
    item = customer.vault.keyring.pairwise(vendor.registered.client_id, "purchases", record).hex()
    return consent.reader.one(access, "purchases", item)[1]


def test_readings_at_one_moment_open_their_token_once_and_each_asks_whether_it_may(
    customer: Customer, vendor: Vendor, consent: Consent, books: list[str]
) -> None:
    tokens = vendor.connect(customer)
    reader, seen = consent.reader, list[Access]()

    def at_once() -> Work[None]:
        seen.append(reader.authenticate(tokens.access_token))
        yield from reader.reading_list(seen[0], "purchases", PageQuery())
        consent.grants.revoke(customer.vault, tokens.grant_id)
        seen.append(reader.authenticate(tokens.access_token))
        yield from reader.reading_list(seen[1], "purchases", PageQuery())

    with pytest.raises((GrantInactiveError, TokenError)):
        reader.perform(at_once())
    if isinstance(consent.engine, SqliteEngine):
        assert seen[0] is seen[1]
    with pytest.raises(TokenError):
        reader.authenticate(tokens.access_token)
    other = vendor.connect(customer).access_token
    assert reader.authenticate(other) is not reader.authenticate(other)


def test_an_etag_changes_only_with_the_bytes_that_this_grant_may_see(
    customer: Customer, vendor: Vendor, consent: Consent, books: list[str], clock: SettableClock
) -> None:
    access = enter(consent, vendor.connect(customer, part("purchases.item", fields=["title"])).access_token)
    first = _etag(customer, consent, access, vendor, books[0])
    rows = consent.reader.page(access, "purchases")
    clock.forward(60)
    customer.change(books[0], "price", total="1.00")
    customer.change(books[0], "item", brand="Another")
    customer.change(books[1], "context", motive="a reason")
    assert _etag(customer, consent, access, vendor, books[0]) == first
    assert consent.reader.page(access, "purchases") == rows
    customer.change(books[0], "item", title="Kindred, second edition")
    second = _etag(customer, consent, access, vendor, books[0])
    assert second != first
    assert second.startswith('"')
    assert second.endswith('"')


def test_a_row_that_comes_back_is_read_again(customer: Customer, vendor: Vendor, books: list[str]) -> None:
    tokens = vendor.connect(customer)
    before = {row["id"] for row in vendor.read(tokens.access_token)}
    customer.change(books[0], "context", **{"for": "gift"})
    assert len(vendor.read(tokens.access_token)) == 2
    customer.change(books[0], "context", **{"for": "self"})
    assert {row["id"] for row in vendor.read(tokens.access_token)} == before


@pytest.mark.parametrize(("word", "rows"), [("self", 3), ("gift", 2)])
def test_a_purchase_that_is_put_back_after_it_was_deleted_is_read_if_it_is_shared(
    customer: Customer, vendor: Vendor, books: list[str], word: str, rows: int
) -> None:
    tokens = vendor.connect(customer, fresh=policy.AT_ONCE)
    purchases = customer.vault.records("purchases")
    held = purchases.get(books[0])
    purchases.remove(books[0])
    assert len(vendor.read(tokens.access_token)) == 2
    purchases.put({**held, "context": {"for": word}}, books[0], revision=0)
    assert len(vendor.read(tokens.access_token)) == rows
    assert customer.consent.grants.differences(customer.vault) == []


def test_ids_of_another_stream_are_not_in_view(customer: Customer, vendor: Vendor, consent: Consent) -> None:
    customer.buy("Kindred", order={"order_number": "7"})
    customer.change(customer.vault.records("purchases").ids()[0], "context", use_for_taste=False)
    customer.put({"statement": {"topic": "tea"}}, "preferences")
    parts = [part("purchases.item"), part("preferences.statement"), part("answers.corrections")]
    tokens = vendor.connect(customer, *parts, sellers=("books.example",))
    access = enter(consent, tokens.access_token)
    book, topic = (vendor.read(tokens.access_token, name)[0]["id"] for name in ("purchases", "preferences"))
    record = customer.vault.records("purchases").ids()[0]
    answer = customer.vault.keyring.pairwise(vendor.registered.client_id, "answers.corrections", record).hex()
    for collection, item in (("preferences", book), ("purchases", topic), ("purchases", answer)):
        with pytest.raises(NotInViewError):
            consent.reader.one(access, collection, item)
    assert len(json.loads(consent.reader.answer(access, "corrections"))) == 1


@pytest.mark.parametrize("name", ["nothing", "", "answers", "answers.other", "requests"])
def test_an_unknown_collection_or_question_is_not_in_view(
    name: str, customer: Customer, vendor: Vendor, consent: Consent
) -> None:
    access = enter(consent, vendor.connect(customer).access_token)
    with pytest.raises(NotInViewError):
        consent.reader.page(access, name)
    with pytest.raises(NotInViewError):
        consent.reader.answer(access, name)


def test_an_answer_is_no_collection(customer: Customer, vendor: Vendor, consent: Consent) -> None:
    customer.buy("Gift", "gift", order={"order_number": "7"}, item={"asin": "A1"})
    customer.change(customer.vault.records("purchases").ids()[0], "context", use_for_taste=False)
    asked = part("answers.corrections", purpose="Personalisation")
    access = enter(consent, vendor.connect(customer, asked, sellers=("books.example",)).access_token)
    assert len(json.loads(consent.reader.answer(access, "corrections"))) == 1
    for act in (
        lambda: consent.reader.page(access, "answers.corrections"),
        lambda: consent.reader.changes(access, "answers.corrections"),
        lambda: consent.reader.one(access, "answers.corrections", "0" * 32),
    ):
        with pytest.raises(NotInViewError):
            act()


def test_what_the_token_does_not_carry_is_refused_and_she_sees_it(
    customer: Customer, vendor: Vendor, consent: Consent
) -> None:
    access = enter(consent, vendor.connect(customer).access_token)
    for act in (
        lambda: consent.reader.page(access, "profile"),
        lambda: consent.reader.one(access, "profile", "0" * 32),
        lambda: consent.reader.answer(access, "corrections"),
    ):
        with pytest.raises(InsufficientScopeError):
            act()
    entries = [one for one in consent.log.read(customer.vault) if one.event == "refused"]
    assert [one.detail for one in entries] == ["answers.corrections", "profile", "profile"]


@pytest.mark.parametrize("cursor", ["", "x", "AAAA", "ü", "=" * 8])
def test_a_cursor_that_is_none_is_refused(
    cursor: str, customer: Customer, vendor: Vendor, consent: Consent
) -> None:
    access = enter(consent, vendor.connect(customer).access_token)
    with pytest.raises(ParameterError) as caught:
        consent.reader.page(access, "purchases", cursor=cursor)
    assert set(caught.value.fields) == {"cursor"}


def test_a_list_takes_no_cursor_of_the_feed_nor_the_feed_of_a_list(
    customer: Customer, vendor: Vendor, consent: Consent, books: list[str]
) -> None:
    access = enter(consent, vendor.connect(customer).access_token)
    _, of_list = consent.reader.page(access, "purchases", limit=1)
    _, of_feed, _ = consent.reader.changes(access, "purchases", limit=1)
    with pytest.raises(ParameterError):
        consent.reader.changes(access, "purchases", cursor=of_list)
    with pytest.raises(ParameterError):
        consent.reader.page(access, "purchases", cursor=of_feed)
    assert consent.reader.page(access, "purchases", cursor=of_list)[0]
    assert consent.reader.changes(access, "purchases", cursor=of_feed)[0]


def test_the_told_limits_are_told_and_the_private_ones_are_not(
    customer: Customer, vendor: Vendor, consent: Consent, books: list[str]
) -> None:
    parts = [part("purchases.item", "purchases.price", period="P2Y"), part("preferences.statement")]
    tokens = vendor.connect(
        customer, *parts, exclude=frozenset({books[0]}), for_whom=frozenset({"self", "work"})
    )
    told = consent.reader.grant(enter(consent, tokens.access_token))
    assert set(told) == {"grant_id", "scope", "authorization_details", "created", "expires"}
    assert [one["datatypes"] for one in told["authorization_details"]] == [one["datatypes"] for one in parts]
    text = json.dumps(told)
    assert books[0] not in text
    assert "work" not in text
    narrow = vendor.refresh(tokens.refresh_token, "preferences.statement:read")
    limited: dict[str, Any] = consent.reader.grant(enter(consent, narrow.access_token))
    assert limited["scope"] == "preferences.statement:read"
    assert [one["datatypes"] for one in limited["authorization_details"]] == [["preferences.statement"]]


def test_first_use_of_a_new_token_takes_the_lost_answer_away(
    customer: Customer, vendor: Vendor, consent: Consent, books: list[str]
) -> None:
    tokens = vendor.connect(customer)
    fresh = vendor.refresh(tokens.refresh_token)
    kept = "SELECT count(*) FROM tokens WHERE replay IS NOT NULL"
    assert customer.vault.engine.one(kept) == (1,)
    vendor.read(fresh.access_token)
    assert customer.vault.engine.one(kept) == (0,)


def test_asking_what_it_may_is_a_first_use_of_a_new_token_too(
    customer: Customer, vendor: Vendor, consent: Consent, books: list[str]
) -> None:
    tokens = vendor.connect(customer)
    fresh = vendor.refresh(tokens.refresh_token)
    consent.reader.grant(enter(consent, fresh.access_token))
    with pytest.raises(CodeError):
        vendor.refresh(tokens.refresh_token)
    assert customer.events()[0] == "token-reused"


def test_a_narrowed_token_is_told_what_introspection_tells_of_it(
    customer: Customer, vendor: Vendor, consent: Consent, books: list[str]
) -> None:
    fields = ["title", "brand", "total", "currency"]
    asked = part("purchases.item", "purchases.price", fields=fields), part("preferences.statement")
    tokens = vendor.connect(customer, *asked)
    narrow = vendor.refresh(tokens.refresh_token, "purchases.item:read")
    told = consent.reader.grant(enter(consent, narrow.access_token))
    assert list(told["authorization_details"]) == narrow.authorization_details
    [left] = told["authorization_details"]
    assert (left["datatypes"], left["fields"]) == (["purchases.item"], ["title", "brand"])
    seen = consent.introspection.look(narrow.access_token, vendor.registered)
    assert seen
    assert (told["scope"], told["authorization_details"]) == (" ".join(seen.scopes), seen.parts)


@pytest.mark.parametrize("record", ["", "0", "z" * 32, "ü" * 32, "0" * 31, "0" * 33, "0" * 32])
def test_an_id_that_is_none_is_not_in_view(
    record: str, customer: Customer, vendor: Vendor, consent: Consent, books: list[str]
) -> None:
    access = enter(consent, vendor.connect(customer).access_token)
    with pytest.raises(NotInViewError):
        consent.reader.one(access, "purchases", record)


class TestChanges:
    """The feed: everything in view first, then only what changed, and what left by name."""

    @staticmethod
    def take(consent: Consent, access: Access, cursor: str | None = None, limit: int = 100) -> Any:
        rows, following, more = consent.reader.changes(access, "purchases", limit=limit, cursor=cursor)
        return [json.loads(row) for row in rows], following, more

    def test_begins_with_everything_and_goes_on_with_what_changed(
        self, customer: Customer, vendor: Vendor, consent: Consent, books: list[str]
    ) -> None:
        access = enter(consent, vendor.connect(customer).access_token)
        rows, cursor, more = self.take(consent, access)
        assert len(rows) == 3
        assert not more
        assert self.take(consent, access, cursor)[0] == []
        customer.vault.table("purchases").update({"item": {"title": "Emma, annotated"}}, doc_ids=[books[2]])
        [changed], cursor, more = self.take(consent, access, cursor)
        assert changed["item"]["title"] == "Emma, annotated"
        assert not more
        assert self.take(consent, access, cursor)[0] == []

    def test_comes_in_pages_that_miss_nothing(
        self, customer: Customer, vendor: Vendor, consent: Consent, many: list[str]
    ) -> None:
        access = enter(consent, vendor.connect(customer).access_token)
        cursor, ids, more = None, [], True
        while more:
            rows, cursor, more = self.take(consent, access, cursor, limit=7)
            ids += [row["id"] for row in rows]
        assert len(ids) == len(set(ids)) == 20

    def test_names_what_left_to_who_had_it_and_to_nobody_else(
        self, customer: Customer, vendor: Vendor, consent: Consent, books: list[str]
    ) -> None:
        access = enter(consent, vendor.connect(customer).access_token)
        rows, cursor, _ = self.take(consent, access)
        customer.vault.table("purchases").update({"context": {"for": "gift"}}, doc_ids=[books[0]])
        customer.buy("A gift from the start", context={"for": "gift"})
        [left], later, _ = self.take(consent, access, cursor)
        assert set(left) == {"id", "updated_at", "gone"}
        assert left["gone"] is True
        assert left["id"] in {row["id"] for row in rows}
        assert len(self.take(consent, access)[0]) == 2  # who begins anew is told of no row that it never had
        assert self.take(consent, access, later)[0] == []

    def test_edits_that_show_nothing_new_leave_no_trace(
        self, customer: Customer, vendor: Vendor, consent: Consent, books: list[str]
    ) -> None:
        access = enter(consent, vendor.connect(customer).access_token)
        cursor = self.take(consent, access)[1]
        customer.vault.table("purchases").update({"notes": {"text": "hers"}}, doc_ids=books)
        assert self.take(consent, access, cursor)[0] == []

    def test_a_cursor_of_another_grant_is_refused(
        self, customer: Customer, vendor: Vendor, consent: Consent, books: list[str]
    ) -> None:
        first = enter(consent, vendor.connect(customer).access_token)
        second = enter(consent, vendor.connect(customer).access_token)
        cursor = self.take(consent, first)[1]
        with pytest.raises(ParameterError):
            self.take(consent, second, cursor)

    def test_is_refused_and_noted_where_the_collection_is_not_granted(
        self, customer: Customer, vendor: Vendor, consent: Consent, books: list[str]
    ) -> None:
        access = enter(consent, vendor.connect(customer).access_token)
        with pytest.raises(InsufficientScopeError):
            consent.reader.changes(access, "profile")
        assert consent.log.read(customer.vault, 1)[0].event == "refused"
