"""The inbox, and what the pages say of companies that may put something in."""

from __future__ import annotations

from typing import Any

import pytest

from tests.attacks.actors import Vendor as Actor
from tests.attacks.actors import writing
from tests.web.actors import Customer
from tests.web.conftest import Ask, part
from vrm.consent.requests import Choices
from vrm.consent.service import Consent
from vrm.vault.sqlite import SqliteEngine
from vrm.vault.vault import Vault

LETTER = {"message": {"subject": "Your <b>order</b>", "text": "It is\non its way.", "order_number": "R-1"}}
RECEIPT = {"item": {"title": "Kindred"}, "order": {"order_number": "R-1"}}


@pytest.fixture
def shop(consent: Consent) -> Actor:
    return Actor.register(consent, "Corner Books")


@pytest.fixture
def token(shop: Actor, opened: Vault, consent: Consent) -> str:
    request = shop.ask(writing(), writing("inbox"))
    digest = consent.requests.preview(opened, request.handle, Choices()).digest
    code = consent.requests.approve(opened, request.handle, Choices(), digest).code
    return shop.redeem(code or "").access_token


def poison(engine: SqliteEngine) -> None:
    with engine.write() as transaction:
        transaction.execute("UPDATE mailbox SET mac = zeroblob(32)")


def test_an_empty_inbox_says_how_something_gets_there(alice: Customer) -> None:
    page = alice.get("/inbox")
    assert "No messages" in page.text
    assert "only if you allowed it" in page.text
    assert "/inbox" in alice.get("/companies").links()


def test_looking_at_the_inbox_files_what_has_come(alice: Customer, shop: Actor, token: str) -> None:
    shop.leave(token, LETTER, collection="inbox")
    page = alice.get("/inbox")
    assert "1 message" in page.text
    assert "<b>order</b>" not in page.html
    [link] = [link for link in page.links() if link.startswith("/inbox/")]
    letter = alice.get(link)
    assert "It is on its way." in letter.text
    assert "Corner Books" in letter.text
    assert "Inbox: 1 message" in alice.get("/").text


def test_what_is_still_to_be_filed_is_said_and_goes_on_page_by_page(
    alice: Customer, shop: Actor, token: str, consent: Consent, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(4):
        shop.leave(token, LETTER, collection="inbox")
    monkeypatch.setattr(consent.filing, "_batch", 1)
    consent.filing_while = 0.0
    assert "3 things left" in alice.get("/").text
    assert "Still filing: 2 things left." in alice.get("/inbox").text
    assert "1 thing left" in alice.get("/").text
    assert "Still filing" not in alice.get("/inbox").text


def test_a_message_leads_to_its_order(alice: Customer, shop: Actor, token: str, opened: Vault) -> None:
    shop.leave(token, LETTER, collection="inbox")
    shop.leave(token, RECEIPT)
    [link] = [link for link in alice.get("/inbox").links() if link.startswith("/inbox/")]
    [(record, _)] = opened.records("purchases").scan()
    assert f"/things/{record}" in alice.get(link).links()


def test_what_was_changed_or_taken_back_says_so(
    alice: Customer, shop: Actor, token: str, consent: Consent
) -> None:
    state, _ = shop.leave(token, LETTER, collection="inbox")
    [link] = [link for link in alice.get("/inbox").links() if link.startswith("/inbox/")]
    access = consent.reader.authenticate(token)
    consent.deposits.replace(access, "inbox", state.item.hex(), {"message": {"text": "Late."}}, ["*"])
    alice.get("/inbox")
    assert "The sender changed this message" in alice.get(link).text
    consent.deposits.withdraw(access, "inbox", state.item.hex(), ["*"])
    assert "taken back by the sender" in alice.get("/inbox").text
    assert "took this message back" in alice.get(link).text


def test_a_deleted_message_can_come_back(alice: Customer, shop: Actor, token: str, opened: Vault) -> None:
    shop.leave(token, LETTER, collection="inbox")
    alice.get("/inbox")
    [record] = opened.records("inbox").ids()
    asked = alice.get(f"/inbox/{record}/delete")
    deleted = alice.submit(asked.form("/delete"))
    assert opened.records("inbox").count() == 0
    back = alice.submit(deleted.form("/undo"))
    assert "It is back." in back.text
    assert opened.records("inbox").ids() == [record]


def test_a_message_that_is_not_there_is_404(alice: Customer) -> None:
    assert alice.get("/inbox/" + "0" * 32).status == 404
    assert alice.get("/inbox?start=999").status == 200
    assert alice.get("/inbox?start=x").status == 200


def test_what_could_not_be_filed_is_named_and_can_be_thrown_away(
    alice: Customer, shop: Actor, token: str, engine: SqliteEngine
) -> None:
    shop.leave(token, RECEIPT)
    poison(engine)
    page = alice.get("/inbox")
    assert "Could not be filed" in page.text
    assert "not left by anybody whom you allowed to" in page.text
    assert "1 thing in your mailbox could not be filed" in alice.get("/").text
    assert "an item of the mailbox was planted or altered" in alice.get("/log").text
    after = alice.submit(page.form("/discard"))
    assert "Thrown away." in after.text
    assert "Could not be filed" not in after.text
    again = alice.submit(page.form("/discard"))
    assert "not there any more" in again.text


def test_what_a_known_company_left_and_does_not_fit_is_named_with_it(
    alice: Customer, shop: Actor, token: str, engine: SqliteEngine
) -> None:
    shop.leave(token, RECEIPT)
    with engine.write() as transaction:
        transaction.execute("UPDATE mailbox SET stopped = 'invalid'")
    assert "1 thing that Corner Books left could not be filed" in alice.get("/").text
    assert "does not fit into your vault" in alice.get("/inbox").text


@pytest.mark.parametrize("number", ["", "x", "1" * 30, "--1"])
def test_a_discard_that_no_page_offers_is_refused(alice: Customer, number: str) -> None:
    csrf = alice.get("/companies").html.partition('name="csrf_token" value="')[2].partition('"')[0]
    csrf = csrf or alice.get("/things/new").form("/things/new").value("csrf_token")
    page = alice.post("/inbox/aside/discard", {"csrf_token": csrf, "origin": "a", "number": number})
    assert page.status == 400


def write(collection: str, **rest: Any) -> dict[str, Any]:
    return part(collection, actions=["write"], **rest)


def test_the_consent_page_says_that_nothing_leaves(alice: Customer, ask: Ask, opened: Vault) -> None:
    page = alice.get("/requests/" + ask(write("purchases"), write("inbox")))
    assert "asks to put something into your vault" in page.text
    assert "Put purchases into your vault" in page.text
    assert "Leave messages in your inbox" in page.text
    assert "Nothing leaves by this" in page.text
    assert "They would see" not in page.text
    assert "Allow it" in page.text


def test_an_optional_writing_part_is_off_unless_she_ticks_it(
    alice: Customer, ask: Ask, opened: Vault, consent: Consent
) -> None:
    handle = ask(part("purchases.item"), write("inbox", necessity="optional"))
    page = alice.get(f"/requests/{handle}")
    form = page.form(f"/requests/{handle}")
    assert form.offers("optional") == ["1"]
    assert "Leave messages in your inbox (nothing leaves)" in page.text
    alice.submit(form, ("decision", "approve"), follow=False)
    [grant] = consent.grants.listing(opened)
    assert grant.writes == []
    handle = ask(part("purchases.item"), write("inbox", necessity="optional"))
    form = alice.get(f"/requests/{handle}").form(f"/requests/{handle}")
    alice.submit(form, ("decision", "approve"), tick=[("optional", "1")], follow=False)
    assert sorted(len(grant.writes) for grant in consent.grants.listing(opened)) == [0, 1]


def test_a_company_page_shows_and_takes_away_what_may_be_put_in(
    alice: Customer, ask: Ask, opened: Vault, consent: Consent
) -> None:
    handle = ask(write("purchases"), write("inbox"))
    form = alice.get(f"/requests/{handle}").form(f"/requests/{handle}")
    alice.submit(form, ("decision", "approve"), follow=False)
    [grant] = consent.grants.listing(opened)
    assert "Put purchases into your vault; Leave messages in your inbox" in alice.get("/companies").text
    page = alice.get(f"/companies/{grant.id}")
    assert "They see nothing." in page.text
    [form] = [form for form in page.forms if "drop" in form.names()]
    alice.submit(form, tick=[("drop", "inbox:write")])
    assert consent.grants.get(opened, grant.id).writes == ["purchases"]


def test_the_log_says_what_was_left(alice: Customer, shop: Actor, token: str) -> None:
    shop.leave(token, LETTER, collection="inbox")
    text = alice.get("/log").text
    assert "Left something for you" in text
    assert "Put purchases into your vault; Leave messages in your inbox" in text  # what she agreed to
