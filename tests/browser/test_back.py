"""Back, in a real browser: it leads to the list that a search found, and after the log-out nowhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.browser.test_pages import PHONE, Place, Walk, place, sort, walk, with_things

__all__ = ["place", "walk"]  # the fixtures


def test_back_from_a_found_thing_leads_to_the_list_and_after_the_log_out_to_nothing_of_hers(
    walk: Callable[..., Walk], place: Place, tmp_path: Path
) -> None:
    alice = with_things(walk(PHONE), place, tmp_path)
    alice.go(f"{place.vault}/things")
    alice.page.fill("#words", "hobbit")
    alice.press("form[role=search] button")
    assert "1 found" in alice.page.inner_text("main")
    assert "hobbit" not in alice.page.url
    alice.press("text=The Hobbit")
    assert alice.page.inner_text("h1") == "The Hobbit"
    alice.page.go_back()
    assert "1 found" in alice.page.inner_text("main")
    assert alice.page.input_value("#words") == "hobbit"
    alice.look()
    alice.go(f"{place.vault}/me")
    alice.press("form[action$='/logout'] button")
    for _ in range(2):
        alice.page.go_back()
        assert alice.page.url == f"{place.vault}/login"
        assert "obbit" not in alice.page.content()


def test_back_on_a_request_sends_no_form_twice_and_what_she_took_out_stays_out(
    walk: Callable[..., Walk], place: Place, tmp_path: Path
) -> None:
    alice = with_things(walk(PHONE), place, tmp_path)
    sort(alice)
    alice.go(place.ask())
    alice.page.check("input[name=exclude] >> nth=0")
    alice.press("text=Take the ticked ones out")
    alice.page.check("[name=days][value='30']", force=True)
    alice.press("text=Show it with these choices")
    for _ in range(2):
        answered = alice.page.go_back()
        assert answered is None or answered.request.method == "GET"
        if "/requests/" in alice.page.url:
            assert "Share 2 books" in alice.page.inner_text("main")
    alice.go(f"{place.vault}/")
    alice.press("a[href*='/requests/vrm_']")
    assert "Share 2 books" in alice.page.inner_text("main")
    assert alice.page.locator("[name=days][value='30']").is_checked()
    alice.press("button[value=later]")
    assert alice.page.url == f"{place.vault}/"
    assert not place.told
