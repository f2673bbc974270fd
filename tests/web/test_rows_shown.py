"""The consent page shows what leaves, or says how much of it is not shown."""

import html
import json
from typing import Any

import pytest

from tests.web.actors import Customer, Page
from tests.web.conftest import Ask, part, purchase
from vrm.consent.service import Consent
from vrm.vault.vault import Vault
from vrm.web.pages import requests

SHOW = ("decision", "show")


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page that lists little, so that few purchases are many."""
    monkeypatch.setattr(requests, "FIRST_ROWS", 2)
    monkeypatch.setattr(requests, "ROWS_MOST", 4)
    monkeypatch.setattr(requests, "JSON_ROWS", 3)


@pytest.fixture
def much(opened: Vault) -> None:
    """More purchases than a page lists, and what she has said about herself."""
    records = opened.records("purchases")
    for number in range(1, 8):
        no_taste = {"for": "self", "use_for_taste": False}
        records.put(purchase(f"Book {number}", ordered=f"2026-05-0{number}", context=no_taste))
    opened.records("profile").put({"diet": {"allergies": ["peanuts"]}})
    for topic in ("tea", "jazz", "moss"):
        opened.records("preferences").put({"statement": {"topic": topic, "strength": "like"}})


def shown(alice: Customer, handle: str) -> Page:
    """The page with what leaves as computers read it."""
    page = alice.get(f"/requests/{handle}")
    if ("aware", "yes") in page.form(handle).buttons:
        page = alice.submit(page.form(handle), ("aware", "yes"))
    return alice.submit(page.form(handle), SHOW)


def as_json(page: Page) -> list[list[dict[str, Any]]]:
    texts = [text.partition(">")[2].partition("</pre>")[0] for text in page.html.split("<pre")[1:]]
    return [json.loads(html.unescape(text)) for text in texts]


@pytest.mark.usefixtures("much")
def test_what_is_no_purchase_is_shown_at_once_however_many_purchases_leave(alice: Customer, ask: Ask) -> None:
    page = shown(alice, ask(part("purchases.item"), part("profile.diet"), part("preferences.statement")))
    at_once = page.html.partition("leaves")[2].partition("<details")[0]
    for words in ("About you", "peanuts", "tea", "jazz", "moss", "Book 7", "Book 6"):
        assert words in at_once
    assert "Book 5" not in at_once
    (rows,) = as_json(page)
    assert [list(row) for row in rows] == [["diet"], *[["statement"]] * 3, *[["item"]] * 3]


@pytest.mark.usefixtures("much")
def test_the_page_says_how_many_purchases_leave_without_being_listed(alice: Customer, ask: Ask) -> None:
    page = shown(alice, ask(part("purchases.item"), part("preferences.statement")))
    assert "Share 10 things" in page.text
    assert "See 7 of them" in page.text
    assert "3 more purchases would leave that are not listed here." in page.text
    assert "and 4 more purchases" in page.text
    assert "Book 3" not in page.text


@pytest.mark.usefixtures("much")
def test_a_page_that_lists_all_says_of_nothing_that_it_is_missing(
    alice: Customer, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requests, "ROWS_MOST", 7)
    monkeypatch.setattr(requests, "JSON_ROWS", 7)
    page = shown(alice, ask(part("purchases.item"), part("preferences.statement")))
    assert "See all 10" in page.text
    assert "not listed" not in page.text
    assert "more purchase" not in page.text


@pytest.mark.usefixtures("much")
def test_answers_and_rows_are_each_shown_in_their_own_place(alice: Customer, ask: Ask) -> None:
    handle = ask(part("answers.corrections"), part("preferences.statement"))
    (rows,) = as_json(shown(alice, handle))
    assert len(rows) == 3, "the rows are there while there is no answer yet"
    page = alice.get(f"/requests/{handle}")
    page = alice.submit(page.form(handle), SHOW, tick=[("sellers", "amazon.com")])
    answers, rows = as_json(page)
    assert [set(answer) for answer in answers] == [{"order", "item", "use_for_taste"}] * 3
    assert [set(row) for row in rows] == [{"statement"}] * 3
    assert "3 more answers would leave that are not listed here." in page.text
    assert "and 4 more answers" in page.text
    assert "Share 10 entries" in page.text, "seven answers and three rows"


@pytest.mark.usefixtures("much")
def test_things_are_not_counted_as_answers_because_corrections_are_asked_for_too(
    alice: Customer, ask: Ask
) -> None:
    page = alice.get(f"/requests/{ask(part('answers.corrections'), part('purchases.item'))}")
    assert "They would see 7 things" in page.text
    assert "Share 7 things" in page.text


def test_every_fact_of_a_row_can_be_read_before_and_after_she_agrees(
    alice: Customer, ask: Ask, opened: Vault, consent: Consent
) -> None:
    title = "The Long Title " * 12
    item = {"title": title, "category": "books", "brand": "An Author " * 18, "isbn": "9780141439587"}
    opened.records("purchases").put(purchase("x", "self") | {"item": item})
    handle = ask(part("purchases.item", "purchases.order"))
    page = alice.get(f"/requests/{handle}")
    alice.submit(page.form(handle), ("decision", "approve"), follow=False)
    (grant,) = consent.grants.listing(opened)
    for seen in (page, alice.get(f"/companies/{grant.id}")):
        words = seen.html.partition('<div class="what">')[2].partition("</div>")[0]
        for said in (title.strip(), "9780141439587", "order number: 11-x"):
            assert said in words


def test_a_row_that_is_seen_whole_has_nothing_one_tap_down(alice: Customer, ask: Ask, opened: Vault) -> None:
    opened.records("purchases").put(purchase("Emma", "self"))
    row = alice.get(f"/requests/{ask()}").html.partition('<div class="what">')[2].partition("</div>")[0]
    assert "11-Emma" in row
    assert "details" not in row
