"""Searches that Back finds again: where they wait, to whom they open, and what is too much to keep."""

from __future__ import annotations

import secrets

import pytest
from flask import Flask

from tests.conftest import SettableClock
from tests.web.actors import Customer, Page
from tests.web.conftest import purchase
from vrm.vault.vault import Vault
from vrm.web import sealed, searches

COOKIE = "vrm-searches"


def look_for(alice: Customer, **wanted: str) -> Page:
    return alice.submit(alice.get("/things").form("/things"), **wanted)


def test_the_list_of_a_search_has_an_address_that_shows_it_again_and_says_nothing(
    alice: Customer, shelf: dict[str, str]
) -> None:
    page = look_for(alice, words="hobbit", year="2026")
    for _ in range(2):
        again = alice.get(page.path)
        assert "1 found" in again.text
        assert again.form("/things").value("words") == "hobbit"
        assert again.form("/things").value("year") == "2026"
    for secret in ("hobbit", "2026"):
        assert secret not in page.path
        assert secret not in alice.client.get_cookie(COOKIE).value  # type: ignore[union-attr]


def test_each_list_of_two_tabs_is_found_again_and_the_oldest_are_forgotten(
    alice: Customer, shelf: dict[str, str]
) -> None:
    first, second = look_for(alice, words="hobbit"), look_for(alice, words="piranesi")
    assert look_for(alice, words="hobbit").path == first.path, "the same search is the same list"
    assert "The Hobbit" in alice.get(first.path).text
    assert "Piranesi" in alice.get(second.path).text
    for number in range(searches.MOST):
        look_for(alice, words=f"other {number}")
    assert "5 things, newest first" in alice.get(first.path).text


def store_sixty_books(opened: Vault) -> None:
    """Two pages of the list."""
    records = opened.records("purchases")
    for number in range(60):
        records.put(purchase(f"Book {number:02}", "self"))


def test_the_pages_of_a_list_have_addresses_too(alice: Customer, opened: Vault) -> None:
    store_sixty_books(opened)
    first = look_for(alice, words="book")
    second = alice.submit(first.forms[-1], ("page", "2"))
    assert second.path == f"{first.path}&page=2"
    assert "Page 2 of 2" in alice.get(second.path).text
    plain = alice.submit(alice.get("/things").forms[-1], ("page", "2"))
    assert plain.path == "/things?page=2"


def test_it_opens_to_no_session_but_the_one_in_which_it_was_typed(
    app: Flask, alice: Customer, shelf: dict[str, str]
) -> None:
    page = look_for(alice, words="hobbit")
    kept = alice.client.get_cookie(COOKIE)
    assert kept is not None
    other = Customer(app.test_client())
    other.log_in()
    other.client.set_cookie(COOKIE, kept.value)
    again = other.get(page.path)
    assert "5 things, newest first" in again.text
    assert "hobbit" not in again.html


def test_it_goes_with_the_log_out_and_with_the_next_log_in(
    alice: Customer, shelf: dict[str, str], clock: SettableClock
) -> None:
    look_for(alice, words="hobbit")
    alice.submit(alice.get("/me").form("/logout"))
    assert alice.client.get_cookie(COOKIE) is None
    alice.log_in()
    look_for(alice, words="hobbit")
    clock.forward(31 * 60)
    alice.log_in()
    assert alice.client.get_cookie(COOKIE) is None


def test_what_is_too_long_to_be_kept_is_found_at_once_and_drives_nothing_out(
    alice: Customer, shelf: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    short = look_for(alice, words="hobbit")
    monkeypatch.setattr(sealed, "COOKIE_MOST", len(alice.client.get_cookie(COOKIE).value))  # type: ignore[union-attr]
    page = look_for(alice, words="piranesi and much that does not fit into the cookie, such as 0123456789")
    assert page.path == "/things"
    assert "0 found" in page.text
    assert "The Hobbit" in alice.get(short.path).text


def test_the_oldest_make_room_for_a_long_one(alice: Customer, shelf: dict[str, str]) -> None:
    first = look_for(alice, words="hobbit")
    for _ in range(6):
        fields = {name: secrets.token_hex(100) for name in ("words", "category", "seller")}
        paths = [look_for(alice, **fields).path]
    assert alice.get(paths[-1]).form("/things").value("words")
    assert "5 things, newest first" in alice.get(first.path).text
    assert len(alice.client.get_cookie(COOKIE).value) <= sealed.COOKIE_MOST  # type: ignore[union-attr]


@pytest.mark.parametrize("made_up", ["", "x", "ü", "A" * 200, "=" * 3_000])
def test_what_this_host_did_not_seal_is_no_search(
    alice: Customer, shelf: dict[str, str], made_up: str
) -> None:
    page = look_for(alice, words="hobbit")
    alice.client.set_cookie(COOKIE, made_up)
    assert "5 things, newest first" in alice.get(page.path).text
    assert "1 found" in look_for(alice, words="hobbit").text


def test_a_thing_that_was_found_leads_back_to_where_it_was_found(alice: Customer, opened: Vault) -> None:
    store_sixty_books(opened)
    first = look_for(alice, words="book")
    second = alice.submit(first.forms[-1], ("page", "2"))
    link = next(link for link in second.links() if link.startswith("/things/") and "search=" in link)
    page = alice.get(link)
    assert page.links().count(second.path) == 2, "All things, and Cancel"
    address = link.partition("?")[0].removeprefix("/things")
    form = next(form for form in page.forms if address in form.action)
    saved = alice.submit(form, **{"item.brand": "Inkwell"})
    assert saved.path == second.path
    assert "Saved." in saved.text
    assert "60 found" in saved.text
    delete = next(link for link in page.links() if "/delete" in link)
    deleted = alice.submit(alice.get(delete).forms[-1])
    assert second.path in deleted.links()


def test_a_thing_of_the_whole_list_leads_back_to_its_page(alice: Customer, opened: Vault) -> None:
    store_sixty_books(opened)
    second = alice.submit(alice.get("/things").forms[-1], ("page", "2"))
    link = next(link for link in second.links() if link.endswith("?page=2"))
    assert "/things?page=2" in alice.get(link).links()


@pytest.mark.parametrize("address", ["search=hobbit%20book", "search=//evil.example", "page=x", "page=-1"])
def test_what_is_no_name_of_a_search_is_not_carried_on(
    alice: Customer, shelf: dict[str, str], address: str
) -> None:
    page = alice.get(f"/things/{shelf['Piranesi']}?{address}")
    assert "/things" in page.links()
    assert not [link for link in page.links() if "evil" in link or "hobbit" in link]
