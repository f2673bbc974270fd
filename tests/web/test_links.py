"""Requests that she opens by a link: who sent it is not known, so the page asks for what only she can see."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from flask import Flask

from tests.conftest import SettableClock
from tests.web.actors import Customer, Page
from tests.web.conftest import CALLBACK, part
from tests.web.test_requests import APPROVE, DECLINE, LOOK
from vrm.consent.asking import PushedRequest
from vrm.consent.service import Consent
from vrm.consent.vendors import Vendor
from vrm.vault.vault import Vault

Push = Callable[..., PushedRequest]


@pytest.fixture
def push(consent: Consent, vendor: Vendor) -> Push:
    """The vendor pushes a request for whose answer it polls."""

    def pushed(**rest: object) -> PushedRequest:
        parts = [part("purchases.item", "purchases.order", period="P2Y")]
        said = {"redirect_uri": CALLBACK, "state": "s", "code_challenge": "c" * 43, "poll": True}
        while True:
            found = consent.requests.push(vendor, parts, **{**said, **rest})  # type: ignore[arg-type]
            if not 2000 <= found.number <= 2100:  # no year, which may stand on a page
                return found

    return pushed


def decide(alice: Customer, link: str, button: tuple[str, str] = APPROVE, **rest: object) -> Page:
    page = alice.get(f"/requests/{link}")
    return alice.submit(page.form(link), button, follow=False, **rest)  # type: ignore[arg-type]


def test_the_page_warns_and_asks_for_the_number_that_is_not_on_it(
    alice: Customer, push: Push, shelf: dict[str, str]
) -> None:
    pushed = push()
    page = alice.get(f"/requests/{pushed.link}")
    assert "Was it you who asked for this?" in page.text
    assert "Did somebody send you the link" in page.text
    assert str(pushed.number) not in page.text
    form = page.form(pushed.link)
    assert form.value("number") == ""
    assert "form-action 'self';" in page.response.headers["Content-Security-Policy"]  # it ends nowhere else


def test_with_the_number_it_is_shared_and_nobody_is_sent_anywhere(
    alice: Customer, push: Push, shelf: dict[str, str], consent: Consent, opened: Vault
) -> None:
    pushed = push()
    page = decide(alice, pushed.link, number=str(pushed.number))
    assert page.status == 200
    assert "They fetch your answer by themselves" in page.text
    [grant] = consent.grants.listing(opened)
    assert grant.rows == 2
    assert alice.get(f"/requests/{pushed.link}").status == 404


@pytest.mark.parametrize("number", ["", "999", "0000"])
def test_without_the_number_nothing_is_shared_and_the_page_says_why(
    alice: Customer, push: Push, shelf: dict[str, str], consent: Consent, opened: Vault, number: str
) -> None:
    pushed = push()
    page = decide(alice, pushed.link, number=number)
    assert page.status == 422
    assert "Not shared yet: the number is not right." in page.text
    assert "This is not the number of this request" in page.text
    assert str(pushed.number) not in page.text
    assert consent.grants.listing(opened) == []
    again = alice.submit(page.form(pushed.link), APPROVE, number=str(pushed.number))
    assert "They fetch your answer by themselves" in again.text


def test_a_look_with_other_choices_keeps_the_number(
    alice: Customer, push: Push, shelf: dict[str, str]
) -> None:
    pushed = push()
    page = decide(alice, pushed.link, LOOK, number="4711", days="30")
    assert page.form(pushed.link).value("number") == "4711"


def test_declining_needs_no_number(
    alice: Customer, push: Push, shelf: dict[str, str], consent: Consent, opened: Vault
) -> None:
    page = decide(alice, push().link, DECLINE)
    assert page.status == 200
    assert "Nothing was shared" in page.text
    assert consent.grants.listing(opened) == []


def test_without_a_session_not_even_the_number_is_shown_and_no_way_in(customer: Customer, push: Push) -> None:
    pushed = push()
    page = customer.get(f"/requests/{pushed.link}")
    assert page.status == 200
    assert "You will need the number that the company shows you" in page.text
    assert str(pushed.number) not in page.text
    assert "Corner Books" not in page.html
    assert page.forms == []
    assert "password" not in page.html
    assert not [link for link in page.links() if link not in {"#main", "/"}]


def test_a_link_that_was_opened_waits_on_home_until_she_has_logged_in(
    app: Flask, alice: Customer, push: Push, shelf: dict[str, str]
) -> None:
    """On her telephone, where she is not logged in: she logs in by herself, in a tab of her own."""
    pushed = push()
    phone = Customer(app.test_client())
    phone.get(f"/requests/{pushed.link}")
    phone.log_in()
    for path in ("/", "/requests"):
        page = phone.get(path)
        assert f"/requests/{pushed.link}" in page.links()
        assert "by a link" in page.text
        assert str(pushed.number) not in page.text
    assert decide(phone, pushed.link, number=str(pushed.number)).status == 200


def test_a_link_that_is_opened_by_an_open_vault_is_kept_there(
    app: Flask, alice: Customer, push: Push, shelf: dict[str, str]
) -> None:
    """She looks, decides later, and finds it on that device; another browser of hers knows nothing of it."""
    other = Customer(app.test_client())
    other.log_in()
    link = f"/requests/{push().link}"
    other.get(link)
    assert link in other.get("/").links()
    assert link not in alice.get("/").links()


def test_a_request_brought_by_the_browser_is_as_any_other(
    alice: Customer, push: Push, vendor: Vendor, consent: Consent, shelf: dict[str, str]
) -> None:
    pushed = push()
    stored = consent.requests.bring(pushed.reference, vendor.client_id)
    page = alice.get(f"/requests/{stored.handle}")
    assert "Was it you who asked" not in page.text
    answer = decide(alice, stored.handle)
    assert answer.status == 303
    assert answer.location.startswith(CALLBACK)


def test_a_link_is_opened_in_ten_minutes_by_an_open_vault(
    app: Flask, alice: Customer, push: Push, clock: SettableClock, shelf: dict[str, str]
) -> None:
    early, late = push(), push()
    alice.get(f"/requests/{early.link}")
    Customer(app.test_client()).get(f"/requests/{late.link}")  # a mail program that looks at links
    clock.forward(600)
    assert alice.get(f"/requests/{early.link}").status == 200
    assert alice.get(f"/requests/{late.link}").status == 404
