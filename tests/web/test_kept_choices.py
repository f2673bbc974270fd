"""What she chose on a request waits with it: for her vault, for that request, and never wider."""

from __future__ import annotations

import secrets

import pytest
from flask import Flask

from tests.conftest import SettableClock
from tests.web.actors import Customer, Page
from tests.web.conftest import CALLBACK, Ask, part
from vrm.consent.service import Consent
from vrm.vault.vault import Vault
from vrm.web import sealed

COOKIE = "vrm-choices"
LOOK, LATER, APPROVE = (("decision", name) for name in ("look", "later", "approve"))
LOST, UNKEPT = "What you chose here before could not be kept", "Your choices hold on this page only"


@pytest.fixture
def handle(ask: Ask) -> str:
    return ask()


def limit(alice: Customer, handle: str, out: str, button: tuple[str, str] = LOOK) -> Page:
    """Take a row out, a year back, thirty days."""
    form = alice.get(f"/requests/{handle}").form(handle)
    return alice.submit(form, button, tick=[("exclude", out), ("period", "P1Y"), ("days", "30")])


def stands(page: Page, handle: str) -> tuple[list[str], str, str]:
    form = page.form(handle)
    return form.values("exclude"), form.value("period"), form.value("days")


FIRST: tuple[list[str], str, str] = ([], "", "90")


@pytest.mark.parametrize("button", [LOOK, LATER])
def test_what_she_chose_stands_there_when_she_decides_later(
    alice: Customer,
    shelf: dict[str, str],
    handle: str,
    button: tuple[str, str],
    consent: Consent,
    opened: Vault,
) -> None:
    out = shelf["Piranesi"]
    page = limit(alice, handle, out, button)
    assert page.path == ("/" if button == LATER else f"/requests/{handle}?look=again")
    (link,) = {link for link in alice.get("/").links() if handle in link}
    again = alice.get(link)
    assert stands(again, handle) == ([out], "P1Y", "30")
    assert LOST not in again.text
    alice.submit(again.form(handle), APPROVE, follow=False)
    (grant,) = consent.grants.listing(opened)
    assert [record for _, record, _ in consent.grants.leaving(opened, grant.id)] == [shelf["The Hobbit"]]


def test_they_outlast_the_session_and_a_refused_approval(
    alice: Customer, shelf: dict[str, str], handle: str, opened: Vault, clock: SettableClock
) -> None:
    form = alice.get(f"/requests/{handle}").form(handle)
    opened.records("preferences").put({"statement": {"topic": "tea"}})
    refused = alice.submit(form, APPROVE, tick=[("exclude", shelf["Piranesi"])])
    assert refused.status == 409
    clock.forward(31 * 60)
    alice.log_in()
    assert alice.get(f"/requests/{handle}").form(handle).values("exclude") == [shelf["Piranesi"]]


def test_nothing_of_them_stands_in_an_address_or_can_be_read_in_the_browser(
    alice: Customer, shelf: dict[str, str], handle: str
) -> None:
    page = limit(alice, handle, shelf["Piranesi"])
    cookie = alice.client.get_cookie(COOKIE)
    assert cookie is not None
    assert cookie.http_only
    for said in (shelf["Piranesi"], "P1Y", "exclude"):
        assert said not in page.path
        assert said not in cookie.value


def test_another_vault_in_that_browser_gets_none_of_them(
    app: Flask, alice: Customer, shelf: dict[str, str], handle: str
) -> None:
    limit(alice, handle, shelf["Piranesi"])
    bob = Customer(app.test_client())
    bob.create("bob")
    bob.client.set_cookie(COOKIE, alice.client.get_cookie(COOKIE).value)  # type: ignore[union-attr]
    page = bob.get(f"/requests/{handle}")
    assert stands(page, handle) == FIRST
    assert LOST not in page.text, "nor is he told that somebody chose something"


def test_another_request_of_the_same_company_begins_with_the_least(
    alice: Customer, shelf: dict[str, str], handle: str, ask: Ask
) -> None:
    other = ask()
    form = alice.get(f"/requests/{handle}").form(handle)
    alice.submit(form, LOOK, tick=[("optional", "1"), ("for_whom", "gift")])
    begun = alice.get(f"/requests/{other}").form(other)
    assert (begun.values("optional"), begun.values("for_whom")) == ([], ["self"])
    limit(alice, other, shelf["Piranesi"])
    assert alice.get(f"/requests/{handle}").form(handle).values("optional") == ["1"], "each has its own"


def test_what_changes_a_grant_that_was_changed_meanwhile_begins_anew_and_says_so(
    alice: Customer, shelf: dict[str, str], handle: str, ask: Ask, consent: Consent, opened: Vault
) -> None:
    alice.submit(alice.get(f"/requests/{handle}").form(handle), APPROVE, follow=False)
    (live,) = consent.grants.listing(opened)
    asked = part("purchases.item", "purchases.order", "purchases.price")
    change = ask(asked, action="replace", grant_id=live.public_id)
    form = alice.get(f"/requests/{change}").form(change)
    alice.submit(form, LOOK, tick=[("days", "365")])
    assert alice.get(f"/requests/{change}").form(change).value("days") == "365"
    consent.grants.narrow(opened, live.id, exclude=frozenset({shelf["Piranesi"]}))
    page = alice.get(f"/requests/{change}")
    assert page.form(change).value("days") == "90"
    assert page.form(change).values("exclude") == [shelf["Piranesi"]]
    assert LOST in page.text


def decided(alice: Customer, handle: str, button: str) -> None:
    form = alice.get(f"/requests/{handle}").form(handle)
    alice.submit(form, ("decision", button), follow=False)


@pytest.mark.parametrize("button", ["approve", "decline"])
def test_they_go_with_the_decision(
    alice: Customer, shelf: dict[str, str], handle: str, ask: Ask, button: str
) -> None:
    other, third = ask(), ask()
    limit(alice, handle, shelf["Piranesi"])
    limit(alice, other, shelf["The Hobbit"])
    decided(alice, handle, button)
    assert alice.get(f"/requests/{other}").form(other).values("exclude") == [shelf["The Hobbit"]]
    decided(alice, other, button)
    assert alice.client.get_cookie(COOKIE) is None
    decided(alice, third, button)
    assert alice.client.get_cookie(COOKIE) is None, "nothing is kept of what is decided at once"


def test_what_is_too_much_to_keep_holds_on_the_page_and_is_said_to_be_lost_afterwards(
    alice: Customer, shelf: dict[str, str], handle: str, ask: Ask
) -> None:
    other = ask()
    limit(alice, other, shelf["The Hobbit"])
    form = alice.get(f"/requests/{handle}").form(handle)
    out = [shelf["Piranesi"], *(secrets.token_hex(16) for _ in range(200))]
    many = [("exclude", record) for record in out]
    for button in (LOOK, LATER):
        page = alice.submit(form, button, tick=many)
        assert (page.status, page.path) == (200, f"/requests/{handle}")
        assert UNKEPT in page.text
        assert shelf["Piranesi"] in page.form(handle).values("exclude")
    page = alice.get(f"/requests/{handle}")
    assert LOST in page.text
    assert stands(page, handle) == FIRST
    assert stands(alice.get(f"/requests/{other}"), other)[0] == [shelf["The Hobbit"]], "drives nothing out"
    limit(alice, handle, shelf["Piranesi"])
    assert LOST not in alice.get(f"/requests/{handle}").text


def test_the_oldest_give_way_and_their_page_says_so(alice: Customer, shelf: dict[str, str], ask: Ask) -> None:
    handles = [ask() for _ in range(4)]
    for handle in handles:
        form = alice.get(f"/requests/{handle}").form(handle)
        alice.submit(form, LOOK, tick=[("exclude", secrets.token_hex(16)) for _ in range(30)])
    assert len(alice.client.get_cookie(COOKIE).value) <= sealed.COOKIE_MOST  # type: ignore[union-attr]
    assert LOST in alice.get(f"/requests/{handles[0]}").text
    assert len(alice.get(f"/requests/{handles[-1]}").form(handles[-1]).values("exclude")) == 0  # none is hers
    assert LOST not in alice.get(f"/requests/{handles[-1]}").text


@pytest.mark.parametrize("made_up", ["x", "ü", "A" * 200, "=" * 3_000])
def test_what_this_host_did_not_seal_is_no_choice(
    alice: Customer, shelf: dict[str, str], handle: str, made_up: str
) -> None:
    shown = limit(alice, handle, shelf["Piranesi"])
    alice.client.set_cookie(COOKIE, made_up)
    assert stands(alice.get(f"/requests/{handle}"), handle) == FIRST
    assert LOST in alice.get(shown.path).text, "she had chosen something"


def test_looking_with_other_choices_leads_to_a_page_that_can_be_asked_for_again(
    alice: Customer, shelf: dict[str, str], handle: str
) -> None:
    form = alice.get(f"/requests/{handle}").form(handle)
    shown = alice.submit(form, ("decision", "show"), tick=[("exclude", shelf["Piranesi"])])
    assert shown.path == f"/requests/{handle}?look=show"
    assert "<pre" in shown.html
    assert shown.form(handle).values("exclude") == [shelf["Piranesi"]]
    plain = alice.submit(shown.form(handle), LOOK)
    assert "<pre" not in plain.html


def test_that_she_was_told_of_delicate_things_is_kept_too(alice: Customer, handle: str, ask: Ask) -> None:
    handle = ask(part("purchases.context"))
    page = alice.submit(alice.get(f"/requests/{handle}").form(handle), ("aware", "yes"))
    assert page.path == f"/requests/{handle}?look=again"
    assert "They would see" in page.text
    assert "They would see" in alice.submit(page.form(handle), LOOK).text


def test_a_typed_number_is_not_kept(
    alice: Customer, shelf: dict[str, str], consent: Consent, app: Flask
) -> None:
    vendor = consent.vendors.add("Till", [CALLBACK], purpose="ProvideProductRecommendations")[0]
    pushed = consent.requests.push(
        vendor, [part("purchases.item")], redirect_uri=CALLBACK, state="", code_challenge="c" * 43, poll=True
    )
    form = alice.get(f"/requests/{pushed.link}").form(pushed.link)
    page = alice.submit(form, LOOK, number="4711", days="30")
    assert (page.status, page.form(pushed.link).value("number")) == (200, "4711")
    again = alice.get(f"/requests/{pushed.link}").form(pushed.link)
    assert (again.value("number"), again.value("days")) == ("", "30")
