"""The consent page: what it shows, what it withholds, and what it does not do."""

import json
from urllib.parse import parse_qs, urlsplit

import pytest
from flask import Flask

from tests.conftest import SettableClock
from tests.web.actors import Customer, Page
from tests.web.conftest import CALLBACK, RECOMMEND, Ask, part, purchase
from vrm.consent.service import Consent
from vrm.consent.vendors import Vendor
from vrm.vault.vault import Vault
from vrm.web.pages import requests

APPROVE = ("decision", "approve")
DECLINE = ("decision", "decline")
LOOK = ("decision", "look")


def decide(alice: Customer, handle: str, button: tuple[str, str] = APPROVE, **rest: object) -> Page:
    page = alice.get(f"/requests/{handle}")
    return alice.submit(page.form(handle), button, follow=False, **rest)  # type: ignore[arg-type]


def answer(page: Page) -> dict[str, str]:
    assert page.status == 303
    return {name: values[0] for name, values in parse_qs(urlsplit(page.location).query).items()}


def seen_by_vendor(consent: Consent, opened: Vault) -> list[dict[str, object]]:
    (grant,) = consent.grants.listing(opened)
    return [document for _, _, document in consent.grants.leaving(opened, grant.id)]


@pytest.mark.meets("rfc9700-72")
def test_without_a_session_only_the_number_is_shown_and_no_way_in(customer: Customer, ask: Ask) -> None:
    handle = ask()
    page = customer.get(f"/requests/{handle}")
    assert page.status == 200
    assert "waits for you" in page.text
    assert "Corner Books" not in page.html
    assert page.forms == []
    assert not [link for link in page.links() if link not in {"#main", "/"}]
    assert "password" not in page.html


@pytest.mark.parametrize("handle", ["nosuch", "vrm_rq_" + "A" * 43])
def test_not_even_an_error_about_a_request_offers_a_way_in(customer: Customer, handle: str) -> None:
    pages = [
        customer.get(f"/requests/{handle}"),
        customer.post(f"/requests/{handle}", {}),
        customer.post(f"/requests/{handle}", {}, headers={"Origin": "https://shop.example"}),
    ]
    for page in pages:
        assert page.status in {403, 404}
        assert page.forms == []
        assert not [link for link in page.links() if link not in {"#main", "/"}]


def test_a_request_opened_before_the_log_in_waits_on_home(alice: Customer, ask: Ask, shelf: object) -> None:
    alice.submit(alice.get("/me").form("/logout"))
    handle = ask()
    alice.get(f"/requests/{handle}")
    assert "One request waits" in alice.get("/").text
    home = alice.log_in()
    assert "Corner Books asks to see part of your vault" in home.text
    assert f"/requests/{handle}" in home.links()
    assert f"/requests/{handle}" in alice.get("/requests").links()


def test_a_request_of_another_browser_is_not_listed(alice: Customer, ask: Ask) -> None:
    ask()
    assert "Corner Books" not in alice.get("/").text


def test_the_page_shows_the_very_rows_and_what_stays(
    alice: Customer, ask: Ask, shelf: dict[str, str]
) -> None:
    page = alice.get(f"/requests/{ask()}")
    for title in ("Piranesi", "The Hobbit"):
        assert title in page.text
    for title in ("A Gift Indeed", "Nobody Knows", "Long Ago"):
        assert title not in page.text
    assert "1 gift" in page.text
    assert "1 not sorted yet" in page.text
    assert "1 older than the limit" in page.text
    assert "Share 2 things" in page.text
    assert "Share nothing" in page.text
    assert "cornerbooks.example" in page.text
    assert "To recommend products to you" in page.text
    assert "New to you" in page.text


def test_nothing_is_ticked_that_she_did_not_tick(alice: Customer, ask: Ask, shelf: object) -> None:
    form = alice.get(handle_path := f"/requests/{ask()}").form(handle_path)
    assert form.offers("optional") == ["1"]
    assert form.values("optional") == []
    assert form.values("for_whom") == ["self"]
    assert form.value("unsorted") == "keep"
    assert form.value("days") == "90"
    assert form.values("exclude") == []


def test_the_enter_key_only_looks_again(alice: Customer, ask: Ask, shelf: object) -> None:
    form = alice.get(handle_path := f"/requests/{ask()}").form(handle_path)
    assert form.buttons[0] == LOOK
    assert form.buttons[-3:] == [APPROVE, DECLINE, ("decision", "later")]


@pytest.mark.meets("rfc9700-5", "rfc9700-75", "oauch-AuthEndpoint/StatePresentTest")
def test_approving_sends_code_state_and_issuer_to_the_vendor(
    alice: Customer, ask: Ask, shelf: object, consent: Consent, opened: Vault
) -> None:
    page = decide(alice, ask())
    assert page.location.startswith("https://cornerbooks.example/cb?from=vault&")
    said = answer(page)
    assert said["from"] == "vault"
    assert said["state"] == "a b&c"
    assert said["iss"] == "http://localhost:8600"
    assert said["code"]
    assert sorted(row["item"]["title"] for row in seen_by_vendor(consent, opened)) == [  # type: ignore[index]
        "Piranesi",
        "The Hobbit",
    ]
    assert all("price" not in row for row in seen_by_vendor(consent, opened))


@pytest.mark.meets("fapi2-user-rejects-authentication")
def test_declining_shares_nothing_and_says_only_that(
    alice: Customer, ask: Ask, shelf: object, consent: Consent, opened: Vault
) -> None:
    handle = ask(state="")
    said = answer(decide(alice, handle, DECLINE))
    assert said == {"from": "vault", "error": "access_denied", "iss": "http://localhost:8600"}
    assert consent.grants.listing(opened) == []
    assert alice.get(f"/requests/{handle}").status == 404


def test_a_ticked_extra_leaves_and_a_row_taken_out_does_not(
    alice: Customer, ask: Ask, shelf: dict[str, str], consent: Consent, opened: Vault
) -> None:
    handle = ask()
    form = alice.get(f"/requests/{handle}").form(handle)
    shown = alice.submit(form, LOOK, tick=[("optional", "1"), ("exclude", shelf["Piranesi"])])
    assert "Share 1 thing" in shown.text
    assert "1 taken out by you" in shown.text
    assert shown.form(handle).values("exclude") == [shelf["Piranesi"]]
    alice.submit(shown.form(handle), APPROVE, follow=False)
    (row,) = seen_by_vendor(consent, opened)
    assert row["item"]["title"] == "The Hobbit"  # type: ignore[index]
    assert row["price"] == {"total": "12.99", "currency": "EUR"}


def test_what_was_taken_out_stays_out_however_much_it_is(
    alice: Customer,
    ask: Ask,
    shelf: dict[str, str],
    opened: Vault,
    consent: Consent,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(requests, "ROWS_MOST", 1)
    handle = ask()
    form = alice.get(f"/requests/{handle}").form(handle)
    both = [("exclude", shelf["Piranesi"]), ("exclude", shelf["The Hobbit"])]
    shown = alice.submit(form, LOOK, tick=both)
    answer(alice.submit(shown.form(handle), APPROVE, follow=False))
    assert seen_by_vendor(consent, opened) == []


MARK = "you took it out before"


def agree_without(alice: Customer, handle: str, record: str) -> Page:
    """Take this out and approve; the page on which it stood."""
    form = alice.get(f"/requests/{handle}").form(handle)
    page = alice.submit(form, LOOK, tick=[("exclude", record)])
    alice.submit(page.form(handle), APPROVE, follow=False)
    return page


def test_what_she_took_out_before_stays_out_when_they_ask_anew_and_the_page_says_so(
    alice: Customer, ask: Ask, shelf: dict[str, str], consent: Consent, opened: Vault
) -> None:
    page = agree_without(alice, ask(), shelf["Piranesi"])
    assert MARK not in page.text, "only now"
    (first,) = consent.grants.listing(opened)
    consent.grants.narrow(opened, first.id, exclude=frozenset({shelf["The Hobbit"]}))
    consent.grants.revoke(opened, first.id)
    handle = ask(part("purchases.item"))
    page = alice.get(f"/requests/{handle}")
    assert set(page.form(handle).values("exclude")) == {shelf["Piranesi"], shelf["The Hobbit"]}
    assert page.text.count(MARK) == 2
    assert "Share 1 thing" in page.text, "the one that is too old for what they asked before"
    page = alice.submit(page.form(handle), LOOK, untick=[("exclude", shelf["Piranesi"])])
    assert f"Piranesi {MARK}" in page.text, "put in again it is marked still"
    alice.submit(page.form(handle), APPROVE, follow=False)
    grant = next(grant for grant in consent.grants.listing(opened) if grant.state == "live")
    titles = {document["item"]["title"] for _, _, document in consent.grants.leaving(opened, grant.id)}
    assert titles == {"Piranesi", "Long Ago"}


def test_what_she_took_out_of_one_companys_view_is_no_choice_for_another(
    alice: Customer, ask: Ask, shelf: dict[str, str], consent: Consent, opened: Vault
) -> None:
    agree_without(alice, ask(), shelf["Piranesi"])
    other, _ = consent.vendors.add("Other Books", [CALLBACK], purpose=RECOMMEND)
    handle = ask(vendor=other)
    page = alice.get(f"/requests/{handle}")
    assert page.form(handle).values("exclude") == []
    assert MARK not in page.text
    handle = ask(part("profile.sizes"))
    assert alice.get(f"/requests/{handle}").form(handle).values("exclude") == [], "not asked for now"


def test_what_she_took_out_before_stays_out_behind_the_page_for_delicate_things(
    alice: Customer, ask: Ask, shelf: dict[str, str], consent: Consent, opened: Vault
) -> None:
    agree_without(alice, ask(), shelf["Piranesi"])
    handle = ask(part("purchases.item"), part("purchases.context"))
    page = alice.submit(alice.get(f"/requests/{handle}").form(handle), ("aware", "yes"))
    assert page.form(handle).values("exclude") == [shelf["Piranesi"]]


def test_what_she_took_out_of_what_she_says_of_herself_stays_out_when_she_agrees(
    alice: Customer, ask: Ask, opened: Vault, consent: Consent
) -> None:
    diet = opened.records("profile").put({"diet": {"allergies": ["peanuts"]}})
    for taken_out in ([("exclude", diet)], []):  # the second time they ask, it is out already
        handle = ask(part("profile.diet"))
        page = alice.submit(alice.get(f"/requests/{handle}").form(handle), ("aware", "yes"))
        page = alice.submit(page.form(handle), LOOK, tick=taken_out)
        assert "peanuts" not in page.text
        assert page.form(handle).values("exclude") == [diet]
        assert "Taken out by you" in page.text
        alice.submit(page.form(handle), APPROVE, follow=False)
    first, second = consent.grants.listing(opened)
    assert not [*consent.grants.leaving(opened, first.id), *consent.grants.leaving(opened, second.id)]


def test_wider_choices_are_shown_before_they_are_shared(
    alice: Customer, ask: Ask, shelf: object, consent: Consent, opened: Vault
) -> None:
    handle = ask()
    page = decide(alice, handle, tick=[("for_whom", "gift")])
    assert page.status == 409
    assert "Not shared yet" in page.text
    assert "A Gift Indeed" in page.text
    assert consent.grants.listing(opened) == []
    alice.submit(page.form(handle), APPROVE, follow=False)
    assert len(seen_by_vendor(consent, opened)) == 3


def test_a_vault_that_changed_meanwhile_is_shown_again_with_what_changed(
    alice: Customer, ask: Ask, shelf: dict[str, str], consent: Consent, opened: Vault
) -> None:
    handle = ask()
    form = alice.get(f"/requests/{handle}").form(handle)
    opened.records("purchases").put(purchase("A Secret New Book", "self"))
    opened.records("purchases").remove(shelf["Piranesi"])
    page = alice.submit(form, APPROVE, follow=False)
    assert page.status == 409
    assert "These would leave now: A Secret New Book" in page.text
    assert "1 row does not leave any more" in page.text
    assert consent.grants.listing(opened) == []


def test_the_rows_are_shown_as_they_leave(alice: Customer, ask: Ask, shelf: object) -> None:
    handle = ask()
    page = alice.submit(alice.get(f"/requests/{handle}").form(handle), ("decision", "show"))
    text = page.html.partition("<pre")[2].partition(">")[2].partition("</pre>")[0]
    rows = json.loads(text.replace("&#34;", '"').replace("&#39;", "'"))
    assert [row["item"]["title"] for row in rows] == ["Piranesi", "The Hobbit"]
    assert set(rows[0]) == {"item", "order"}


def test_pressing_share_twice_makes_one_grant(
    alice: Customer, ask: Ask, shelf: object, consent: Consent, opened: Vault
) -> None:
    handle = ask()
    form = alice.get(f"/requests/{handle}").form(handle)
    assert alice.submit(form, APPROVE, follow=False).status == 303
    again = alice.submit(form, APPROVE, follow=False)
    assert again.status == 404
    assert "decided already" in again.text
    assert len(consent.grants.listing(opened)) == 1


@pytest.mark.parametrize(
    "fields", [{}, {"decision": "approve"}, {"decision": "approve", "digest": "0" * 32}, {"decision": "yes"}]
)
def test_a_form_without_what_was_shown_shares_nothing(
    alice: Customer, ask: Ask, shelf: object, consent: Consent, opened: Vault, fields: dict[str, str]
) -> None:
    handle = ask()
    token = alice.get(f"/requests/{handle}").form(handle).value("csrf_token")
    page = alice.post(f"/requests/{handle}", {"csrf_token": token, **fields})
    assert page.status in {303, 409}
    assert "Share 2 things" in (page if page.status == 409 else alice.get(page.location)).text
    assert consent.grants.listing(opened) == []


def test_hostile_choices_are_read_as_the_narrow_ones(
    alice: Customer, ask: Ask, shelf: object, consent: Consent
) -> None:
    handle = ask()
    token = alice.get(f"/requests/{handle}").form(handle).value("csrf_token")
    fields = [
        ("csrf_token", token),
        ("days", "99999"),
        ("period", "P999Y"),
        ("for_whom", "everybody"),
        ("unsorted", "yes"),
        ("optional", "0"),
        ("optional", "17"),
        ("exclude", "../../etc"),
        ("decision", "look"),
    ]
    form = alice.get(alice.post(f"/requests/{handle}", fields).location).form(handle)
    assert form.values("for_whom") == []
    assert form.value("unsorted") == "keep"
    assert form.values("optional") == []


def test_however_much_is_taken_out_all_of_it_stays_out(
    alice: Customer, ask: Ask, shelf: dict[str, str]
) -> None:
    handle = ask()
    token = alice.get(f"/requests/{handle}").form(handle).value("csrf_token")
    chosen = [("csrf_token", token), ("days", "30"), ("for_whom", "self"), ("decision", "look")]
    many = [("exclude", str(number)) for number in range(20_000)]
    page = alice.post(f"/requests/{handle}", [*chosen, *many, ("exclude", shelf["Piranesi"])])
    page = alice.get(page.location)
    assert shelf["Piranesi"] in page.form(handle).values("exclude")


@pytest.mark.parametrize("days", ["0", "-1", "1e9", "", "9" * 400, "٣"])
def test_days_that_are_none_never_fail(alice: Customer, ask: Ask, shelf: object, days: str) -> None:
    handle = ask()
    token = alice.get(f"/requests/{handle}").form(handle).value("csrf_token")
    page = alice.post(f"/requests/{handle}", {"csrf_token": token, "days": days})
    assert alice.get(page.location).status == 200


@pytest.mark.meets("rfc9700-2")
def test_the_form_may_end_at_the_vendor_and_nowhere_else(alice: Customer, ask: Ask, shelf: object) -> None:
    policy = alice.get(f"/requests/{ask()}").response.headers["Content-Security-Policy"]
    assert "form-action 'self' https://cornerbooks.example;" in policy
    assert "cornerbooks" not in alice.get("/me").response.headers["Content-Security-Policy"]


def test_an_expired_request_is_gone_and_no_longer_listed(
    alice: Customer, ask: Ask, clock: SettableClock
) -> None:
    handle = ask()
    alice.get(f"/requests/{handle}")
    clock.forward(20 * 60)
    alice.get("/me")
    clock.forward(20 * 60)
    alice.get("/me")
    clock.forward(21 * 60)
    assert alice.get(f"/requests/{handle}").status == 404
    assert "Corner Books" not in alice.get("/requests").text
    assert not alice.client.get_cookie("vrm-waiting")


@pytest.mark.parametrize("handle", ["x", "vrm_rq_" + "A" * 43, "%00", "a" * 5000, "..%2f..%2fme"])
def test_a_handle_that_is_none_opens_nothing(alice: Customer, handle: str) -> None:
    page = alice.get(f"/requests/{handle}")
    assert page.status == 404
    assert "There is nothing here" in page.text


def test_share_nothing_after_it_was_shared_in_another_tab_says_where_to_look(
    alice: Customer, shelf: object, ask: Ask
) -> None:
    handle = ask()
    form = alice.get(f"/requests/{handle}").form(handle)
    alice.submit(form, ("decision", "approve"), follow=False)
    page = alice.submit(form, ("decision", "decline"))
    assert page.status == 404
    assert "What was shared stays shared" in page.text
    assert "/companies" in page.links()


def test_delicate_data_has_a_page_of_its_own_before_the_rows(
    alice: Customer, ask: Ask, opened: Vault, consent: Consent
) -> None:
    opened.records("profile").put({"diet": {"allergies": ["peanuts"]}})
    handle = ask(part("profile.diet"))
    page = alice.get(f"/requests/{handle}")
    assert "this is delicate" in page.text
    assert "peanuts" not in page.text
    unaware = alice.submit(page.form(handle), APPROVE, follow=False)
    assert "this is delicate" in unaware.text
    assert consent.grants.listing(opened) == []
    shown = alice.submit(page.form(handle), ("aware", "yes"))
    assert "peanuts" in shown.text
    assert alice.submit(shown.form(handle), APPROVE, follow=False).status == 303


def test_a_delicate_extra_is_asked_about_when_it_is_ticked(alice: Customer, ask: Ask, shelf: object) -> None:
    handle = ask(part("purchases.item"), part("purchases.context", necessity="optional"))
    form = alice.get(f"/requests/{handle}").form(handle)
    page = alice.submit(form, LOOK, tick=[("optional", "1")])
    assert "this is delicate" in page.text
    shown = alice.submit(page.form(handle), ("aware", "yes"))
    assert shown.form(handle).values("optional") == ["1"]


@pytest.fixture
def big_shop(consent: Consent) -> Vendor:
    return consent.vendors.add("Big Shop", [CALLBACK], purpose=RECOMMEND)[0]


def test_corrections_name_only_orders_of_the_shop_she_ticked(
    alice: Customer, ask: Ask, opened: Vault, big_shop: Vendor, consent: Consent
) -> None:
    records = opened.records("purchases")
    records.put(purchase("Mine From Here", "self", context={"for": "self", "use_for_taste": False}))
    elsewhere = {"seller": "other.example", "order_number": "77", "ordered": "2026-01-01"}
    records.put(
        purchase("From Elsewhere", "gift", context={"for": "gift", "use_for_taste": False}, order=elsewhere)
    )
    records.put(purchase("No Word On It", "gift"))
    handle = ask(part("answers.corrections"), vendor=big_shop)
    page = alice.get(f"/requests/{handle}")
    assert sorted(page.form(handle).offers("sellers")) == ["amazon.com", "other.example"]
    assert page.form(handle).values("sellers") == []
    assert "Mine From Here" not in page.text
    page = alice.submit(page.form(handle), LOOK, tick=[("sellers", "amazon.com")])
    assert "Mine From Here" in page.text
    assert "From Elsewhere" not in page.text
    assert "No Word On It" not in page.text
    assert "Share 1 answer" in page.text
    alice.submit(page.form(handle), APPROVE, follow=False)
    (row,) = seen_by_vendor(consent, opened)
    assert row == {
        "corrections": {"order": "11-Mine From Here", "item": "Mine From Here", "use_for_taste": False}
    }


def test_two_customers_in_two_browsers_do_not_meet(
    app: Flask, alice: Customer, ask: Ask, shelf: object
) -> None:
    handle = ask()
    bob = Customer(app.test_client())
    bob.create("bob")
    page = bob.get(f"/requests/{handle}")
    assert "Piranesi" not in page.text
    form = alice.get(f"/requests/{handle}").form(handle)
    token = page.form(handle).value("csrf_token")
    swapped = bob.submit(form, APPROVE, follow=False, csrf_token=token)
    assert swapped.status == 409, "what alice was shown does not approve for bob"


def test_while_an_import_runs_the_page_says_so_and_keeps_her_choices(
    alice: Customer, opened: Vault, shelf: dict[str, str], ask: Ask, consent: Consent
) -> None:
    handle = ask()
    form = alice.get(f"/requests/{handle}").form(handle)
    with opened.records("purchases").staging():
        page = alice.submit(form, ("decision", "approve"), tick=[("days", "30")], follow=False)
    assert page.status == 409
    assert "an import is still running" in page.text
    again = page.form(handle)
    assert again.values("days") == ["30"]
    assert consent.grants.listing(opened) == []
    alice.submit(again, ("decision", "approve"), follow=False)
    assert len(consent.grants.listing(opened)) == 1


def test_what_they_promise_is_said_in_plain_words(
    alice: Customer, shelf: dict[str, str], ask: Ask, consent: Consent, opened: Vault
) -> None:
    """Every purpose, not the first part's alone; and that no key holds them to it."""
    handle = ask(
        part("purchases.item", terms="SD-BASE-DP", retention="P30D", response_channel="inbox"),
        part("preferences.statement", purpose="CustomerCare", terms="SD-BASE-A", retention="P1Y"),
        part("inbox", actions=["write"]),
    )
    page = alice.get(f"/requests/{handle}")
    for words in (
        "To recommend products to you",
        "To help you with a question",
        "Only to do what you asked them for. No statistics",
        "They give you what they have of you, if you ask.",
        "and for statistics of their own",
        "30 days, 1 year",
        "By a message in your inbox here, and by no other way.",
        "No key can hold them to it.",
    ):
        assert words in page.text
    decide(alice, handle)
    (grant,) = consent.grants.listing(opened)
    first = grant.agreement.parts[0]
    assert (first["terms"], first["response_channel"]) == ("SD-BASE-DP", "inbox")


def test_nothing_is_said_of_promises_that_they_do_not_make(
    alice: Customer, shelf: dict[str, str], ask: Ask
) -> None:
    text = alice.get(f"/requests/{ask()}").text
    assert "Their terms" not in text
    assert "How they answer" not in text
    silent = alice.get(f"/requests/{ask(part('purchases.item', response_channel='none'))}").text
    assert "How they answer Not at all." in silent


def test_an_answer_by_the_inbox_is_agreed_only_with_the_inbox(
    alice: Customer, shelf: dict[str, str], ask: Ask, consent: Consent, opened: Vault
) -> None:
    """She leaves the box unticked: what both sides agreed on must not name a way that is closed."""
    handle = ask(
        part("purchases.item", response_channel="inbox"),
        part("purchases.order"),
        part("inbox", actions=["write"], necessity="optional"),
    )
    decide(alice, handle)
    (grant,) = consent.grants.listing(opened)
    assert [one.get("response_channel") for one in grant.agreement.parts] == ["none", None]
