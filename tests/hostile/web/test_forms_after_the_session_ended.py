"""Forms that meet an ended session: nothing is done, nothing is lost, and nobody else sees it."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from tests.conftest import SettableClock
from tests.web.actors import PASSPHRASE, Customer, Form, Page
from vrm.consent.service import Consent
from vrm.vault import crypto
from vrm.vault.crypto import Key, Purpose
from vrm.vault.vault import Vault

CANARY = "nobody may read this canary"


def back_in(customer: Customer, page: Page, name: str = "alice") -> Page:
    return customer.submit(page.form("/login"), username=name, passphrase=PASSPHRASE)


def typed_in_vain(alice: Customer, clock: SettableClock, form: Form, **values: Any) -> Page:
    """Send a form after the session has ended; the log-in that came back."""
    clock.forward(3600)
    page = alice.submit(form, **values)
    assert page.status == 403
    assert "locked itself" in page.text
    return page


def test_a_new_record_is_shown_again_and_stored_once(
    alice: Customer, opened: Vault, clock: SettableClock
) -> None:
    form = alice.get("/things/new").form("/things/new")
    page = typed_in_vain(alice, clock, form, **{"item.title": CANARY, "price.total": "12,50"})
    again = back_in(alice, page)
    assert "Nothing of it was saved" in again.text
    assert not opened.records("purchases").ids()
    filled = again.form("/things/new")
    assert filled.value("item.title") == CANARY
    assert filled.value("price.total") == "12,50"
    alice.submit(filled)
    alice.submit(filled)
    assert [row["item"]["title"] for _, row in opened.records("purchases").scan()] == [CANARY]


@pytest.mark.parametrize("path", ["/profile", "/preferences/new"])
def test_profile_and_preferences_are_shown_again(alice: Customer, clock: SettableClock, path: str) -> None:
    form = alice.get(path).form(path)
    name = next(name for name, _ in form.fields if name in {"name.full", "name.given", "statement.topic"})
    again = back_in(alice, typed_in_vain(alice, clock, form, **{name: CANARY}))
    assert again.form(path).value(name) == CANARY


def test_an_edited_record_is_shown_again_at_the_revision_she_saw(
    alice: Customer, opened: Vault, shelf: dict[str, str], clock: SettableClock
) -> None:
    path = f"/things/{shelf['Piranesi']}"
    page = typed_in_vain(alice, clock, alice.get(path).form(path), **{"item.title": CANARY})
    document = opened.records("purchases").get(shelf["Piranesi"])
    document["experience"]["rating"] = 5
    opened.records("purchases").put(document, shelf["Piranesi"])
    filled = back_in(alice, page).form(path)
    assert filled.value("item.title") == CANARY
    answer = alice.submit(filled)
    assert answer.status == 409, "what another window stored meanwhile is not overwritten unseen"


def test_an_answer_to_a_sorting_question_is_shown_again(
    alice: Customer, opened: Vault, shelf: dict[str, str], clock: SettableClock
) -> None:
    unsorted = shelf["Nobody Knows"]
    nearer = next(one for one in alice.get("/sort").forms if one.id == "nearer")
    found = alice.submit(nearer, button=("near", "lines")).form("/sort")
    clock.forward(3600)
    page = alice.submit(found, tick=[(f"for.{unsorted}", "gift"), (f"taste.{unsorted}", "no")])
    again = back_in(alice, page)
    filled = next(one for one in again.forms if f"for.{unsorted}" in one.names())
    assert (f"for.{unsorted}", "gift") in filled.fields
    assert (f"taste.{unsorted}", "no") in filled.fields
    assert "for" not in opened.records("purchases").get(unsorted)["context"]


@pytest.fixture
def request_path(ask: Callable[..., str]) -> str:
    return f"/requests/{ask()}"


def test_choices_on_a_request_wait_in_her_browser_and_its_page_offers_no_log_in(
    alice: Customer, shelf: dict[str, str], request_path: str, consent: Consent, clock: SettableClock
) -> None:
    form = alice.get(request_path).form(request_path)
    gift = next(value for value in form.offers("for_whom") if value == "gift")
    taken_out = shelf["The Hobbit"]
    clock.forward(1900)
    page = alice.submit(
        form,
        button=("decision", "approve"),
        tick=[("for_whom", gift), ("exclude", taken_out), ("period", "P1Y")],
    )
    assert page.status == 403
    assert "kept in this browser" in page.text
    assert "passphrase" not in {given.get("name") for tag, given in page.tags if tag == "input"}
    assert not [link for link in page.links() if "login" in link]
    alice.log_in()
    again = alice.get(request_path)
    filled = again.form(request_path)
    assert (("for_whom", gift)) in filled.fields
    assert (("exclude", taken_out)) in filled.fields
    assert "Nothing of it was saved" in again.text
    assert not consent.grants.listing(alice_vault(alice))
    assert "Nothing of it was saved" not in alice.get(request_path).text, "it is given once"


def alice_vault(alice: Customer) -> Vault:
    host = alice.client.application.extensions["vrm"]
    vault: Vault = host.vaults.resume(alice.client.get_cookie("vrm").value)  # type: ignore[union-attr]
    return vault


def test_what_she_was_about_to_take_from_a_company_is_shown_again(
    alice: Customer, shelf: dict[str, str], request_path: str, consent: Consent, clock: SettableClock
) -> None:
    form = alice.get(request_path).form(request_path)
    alice.submit(form, button=("decision", "approve"), follow=False)
    grant = consent.grants.listing(alice_vault(alice))[0]
    path = f"/companies/{grant.id}/narrow"
    narrow = next(one for one in alice.get(f"/companies/{grant.id}").forms if "exclude" in one.names())
    clock.forward(3600)
    page = alice.submit(narrow, tick=[("exclude", shelf["Piranesi"])])
    again = back_in(alice, page)
    assert ("exclude", shelf["Piranesi"]) in again.form(path).fields
    assert consent.grants.get(alice_vault(alice), grant.id).rows == grant.rows


# ---- and nobody else ------------------------------------------------------------------------------------


def left_behind(alice: Customer, clock: SettableClock) -> Page:
    form = alice.get("/preferences/new").form("/preferences/new")
    return typed_in_vain(alice, clock, form, **{"statement.topic": CANARY})


def test_another_customer_who_logs_in_there_does_not_see_it(
    app: Flask, alice: Customer, clock: SettableClock
) -> None:
    Customer(app.test_client()).create("bob")
    page = back_in(alice, left_behind(alice, clock), "bob")
    assert page.path == "/"
    assert CANARY not in page.html


def test_a_wrong_passphrase_does_not_lose_it(alice: Customer, clock: SettableClock) -> None:
    page = left_behind(alice, clock)
    for _ in range(2):
        page = alice.submit(page.form("/login"), username="alice", passphrase="a wrong passphrase")
        assert page.status == 403
    assert back_in(alice, page).form("/preferences/new").value("statement.topic") == CANARY


def test_it_is_gone_after_half_an_hour(alice: Customer, clock: SettableClock) -> None:
    page = left_behind(alice, clock)
    clock.forward(30 * 60)
    assert CANARY not in back_in(alice, page).html


def test_it_is_sealed_and_never_stored_or_logged(
    alice: Customer, clock: SettableClock, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(0)
    page = left_behind(alice, clock)
    sealed = page.form("/login").value("kept")
    for text in (page.html.encode(), base64.urlsafe_b64decode(sealed)):
        assert CANARY.encode() not in text
        assert base64.b64encode(CANARY.encode())[4:-4] not in text
    for path in folder.rglob("*"):
        assert not path.is_file() or CANARY.encode() not in path.read_bytes()
    assert CANARY not in caplog.text


def forged(sealed: str, how: str) -> str:
    raw = bytearray(base64.urlsafe_b64decode(sealed))
    raw[len(raw) // 2] ^= 1
    made = {"flipped": base64.urlsafe_b64encode(bytes(raw)).decode(), "cut": sealed[: len(sealed) // 2]}
    return {**made, "noise": "\0\ud7ff" * 99, "empty": "", "long": "A" * 400_000}[how]


@pytest.mark.parametrize("how", ["flipped", "cut", "noise", "empty", "long"])
def test_what_was_not_sealed_here_is_ignored(alice: Customer, clock: SettableClock, how: str) -> None:
    form = left_behind(alice, clock).form("/login")
    sealed = form.value("kept")
    page = alice.submit(form, username="alice", passphrase=PASSPHRASE, kept=forged(sealed, how))
    assert page.path == "/"
    assert page.status == 200


def test_a_form_without_this_customers_token_is_not_shown_to_her(
    alice: Customer, clock: SettableClock
) -> None:
    form = alice.get("/preferences/new").form("/preferences/new")
    for token in ("", "0" * 64, "ä"):
        page = typed_in_vain(alice, clock, form, **{"statement.topic": CANARY, "csrf_token": token})
        assert CANARY not in back_in(alice, page).html


def test_who_knows_the_id_of_her_vault_makes_no_form_that_is_shown_to_her(
    app: Flask, alice: Customer, opened: Vault, clock: SettableClock
) -> None:
    """The id lies open in exports, and the secret of a session that never was is what he likes."""
    secret = "A" * 43
    key = crypto.digest(secret.encode())
    tokens = [
        crypto.mac(Key(key), Purpose.CSRF, "session", *parts).hex()
        for parts in ((opened.id,), (key.hex(), opened.id))
    ]
    typed = dict(alice.get("/preferences/new").form("/preferences/new").fields)
    for token in tokens:
        form = left_behind(alice, clock).form("/login")
        eve = Customer(app.test_client())
        eve.client.set_cookie("vrm", secret)
        posted = {**typed, "statement.topic": CANARY, "csrf_token": token}
        kept = eve.post("/preferences/new", posted).form("/login").value("kept")
        page = alice.submit(form, username="alice", passphrase=PASSPHRASE, kept=kept)
        assert page.status == 200
        assert CANARY not in page.html
        assert "Nothing of it was saved" not in page.text


@pytest.mark.parametrize("headers", [{"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}])
def test_another_site_gets_nothing_kept(
    alice: Customer, clock: SettableClock, headers: dict[str, str]
) -> None:
    form = alice.get("/preferences/new").form("/preferences/new")
    clock.forward(3600)
    page = alice.post(form.action, [*form.fields, ("statement.evil", "x")], headers=headers)
    assert page.status == 403
    assert "kept" not in page.html


@pytest.mark.parametrize("path", ["/me/passphrase", "/logout", "/me/logout-everywhere", "/recovery-code/new"])
def test_what_gives_power_is_never_kept(alice: Customer, clock: SettableClock, path: str) -> None:
    form = alice.get("/me").form("/me/passphrase")
    clock.forward(3600)
    page = alice.post(path, [*form.fields, ("old", CANARY), ("new", CANARY), ("passphrase", CANARY)])
    assert page.status == 403
    assert CANARY not in page.html
    assert 'name="kept"' not in page.html


def test_more_than_can_be_kept_is_given_back_to_copy(alice: Customer, clock: SettableClock) -> None:
    form = alice.get("/preferences/new").form("/preferences/new")
    page = typed_in_vain(alice, clock, form, **{"statement.topic": CANARY, "statement.text": "x" * 300_000})
    assert 'name="kept"' not in page.html
    assert CANARY in page.text


def test_a_record_that_is_gone_meanwhile_leads_home(
    alice: Customer, opened: Vault, shelf: dict[str, str], clock: SettableClock
) -> None:
    path = f"/things/{shelf['Piranesi']}"
    page = typed_in_vain(alice, clock, alice.get(path).form(path), **{"item.title": CANARY})
    opened.records("purchases").remove(shelf["Piranesi"])
    assert back_in(alice, page).path == "/"


def test_a_session_that_ended_elsewhere_keeps_it_too(app: Flask, alice: Customer) -> None:
    form = alice.get("/preferences/new").form("/preferences/new")
    elsewhere = Customer(app.test_client())
    elsewhere.log_in()
    elsewhere.submit(elsewhere.get("/me").form("/me/logout-everywhere"))
    page = alice.submit(form, **{"statement.topic": CANARY})
    assert back_in(alice, page).form("/preferences/new").value("statement.topic") == CANARY
