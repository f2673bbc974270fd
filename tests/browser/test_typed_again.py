"""A form that meets an ended session, in a real browser: what was typed is there again after the log-in."""

from __future__ import annotations

from collections.abc import Callable

from tests.browser.test_pages import DESK, PASSPHRASE, PHONE, Place, Walk, create, place, walk

__all__ = ["place", "walk"]  # the fixtures

OPEN = "all => all.forEach(one => one.parentElement.open = true)"


def end_every_session(elsewhere: Walk, place: Place) -> None:
    """By logging out everywhere, on another device."""
    log_in(elsewhere, place)
    elsewhere.go(f"{place.vault}/me")
    elsewhere.page.locator("summary").evaluate_all(OPEN)
    elsewhere.press("form[action$='logout-everywhere'] button")


def log_in(walk: Walk, place: Place) -> None:
    walk.go(f"{place.vault}/login")
    walk.page.fill("#username", "alice")
    walk.page.fill("#passphrase", PASSPHRASE)
    walk.press("button:has-text('Open')")


def test_what_was_typed_survives_the_end_of_the_session(walk: Callable[..., Walk], place: Place) -> None:
    alice = walk(PHONE)
    create(alice, place)
    alice.go(f"{place.vault}/preferences/new")
    alice.page.fill("[name='statement.topic']", "Railway novels, “old” ones")
    alice.page.fill("[name='statement.text']", "two\nlines")
    end_every_session(walk(DESK), place)
    alice.press("button:has-text('Save')")
    assert alice.page.inner_text("h1") == "Open your vault"
    assert "Railway" not in alice.page.content()
    alice.page.fill("#username", "alice")
    alice.page.fill("#passphrase", PASSPHRASE)
    alice.press("button:has-text('Open')")
    assert "Nothing of it was saved" in alice.page.inner_text("main")
    assert alice.page.input_value("[name='statement.topic']") == "Railway novels, “old” ones"
    assert alice.page.input_value("[name='statement.text']") == "two\nlines"
    alice.press("button:has-text('Save')")
    assert "Railway novels" in alice.page.inner_text("main")


def test_choices_on_a_request_survive_it_and_no_page_of_the_request_asks_for_a_passphrase(
    walk: Callable[..., Walk], place: Place
) -> None:
    alice = walk(PHONE)
    create(alice, place)
    alice.go(place.ask())
    asked = alice.page.url
    alice.page.locator("summary").evaluate_all(OPEN)
    alice.page.locator("[name=for_whom][value=household]").check(force=True)
    end_every_session(walk(DESK), place)
    alice.press("button[value=approve] >> nth=0")
    assert "kept in this browser" in alice.page.inner_text("main")
    assert alice.page.locator("input[type=password]").count() == 0
    log_in(alice, place)
    alice.go(asked)
    assert alice.page.locator("[name=for_whom][value=household]").is_checked()
    assert not place.told
