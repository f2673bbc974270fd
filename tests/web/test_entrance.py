"""Creating, logging in and out, recovering: what works, and what is refused."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from flask import Flask

from tests.conftest import SettableClock
from tests.web.actors import PASSPHRASE, Customer, shown_code
from vrm.app import create_app
from vrm.consent.service import Consent
from vrm.host import Host
from vrm.settings import Settings
from vrm.vault.sqlite import SqliteEngine
from vrm.vault.vault import Vaults


def other(app: Flask) -> Customer:
    return Customer(app.test_client())


def test_a_new_vault_shows_its_code_once_and_opens_when_the_code_was_typed(customer: Customer) -> None:
    form = customer.get("/create").form("/create")
    page = customer.submit(form, username="alice", passphrase=PASSPHRASE, again=PASSPHRASE)
    code = shown_code(page)
    assert re.fullmatch(r"(\w{4}-){8}.", code)
    assert "27 characters" in page.text
    assert code not in customer.get("/").html
    home = customer.submit(customer.get("/").form("/recovery-code"), code=code.lower().replace("-", " "))
    assert home.path == "/"
    assert "Hello, alice." in home.text


def test_no_page_of_the_vault_opens_before_the_code_was_typed(customer: Customer) -> None:
    form = customer.get("/create").form("/create")
    customer.submit(form, username="alice", passphrase=PASSPHRASE, again=PASSPHRASE)
    for path in ("/", "/things", "/import", "/companies", "/me", "/log", "/preferences", "/requests"):
        assert customer.get(path).path == "/recovery-code"
    page = customer.submit(customer.get("/").form("/recovery-code"), code="AAAA-BBBB")
    assert page.status == 400
    assert "That is not the code" in page.text


def test_a_lost_first_code_is_replaced_for_the_passphrase_only(customer: Customer) -> None:
    form = customer.get("/create").form("/create")
    first = customer.submit(form, username="alice", passphrase=PASSPHRASE, again=PASSPHRASE)
    refused = customer.submit(customer.get("/").form("/recovery-code/new"), passphrase="not my passphrase")
    assert refused.status == 403
    page = customer.submit(customer.get("/").form("/recovery-code/new"), passphrase=PASSPHRASE)
    assert shown_code(page) != shown_code(first)
    assert customer.submit(page.form("/recovery-code"), code=shown_code(first)).status == 400
    assert customer.submit(page.form("/recovery-code"), code=shown_code(page)).path == "/"


def test_a_new_code_for_a_wrong_passphrase_is_refused_where_it_was_asked_for(alice: Customer) -> None:
    page = alice.submit(alice.get("/me").form("/recovery-code/new"), passphrase="not my passphrase")
    assert page.status == 403
    assert "That is not your passphrase." in page.text
    assert "One step is left" not in page.text
    marked = [given["name"] for tag, given in page.tags if "aria-invalid" in given]
    assert marked == ["passphrase"]
    assert page.form("/me/passphrase").value("old") == "", "the whole page, to go on from"
    assert alice.get("/things").path == "/things", "the code is as good as before"


def recovers(app: Flask, code: str) -> bool:
    stranger = Customer(app.test_client())
    new = "seven new words that nobody knows yet"
    form = stranger.get("/recover").form("/recover")
    return stranger.submit(form, username="alice", code=code, passphrase=new, again=new).path == "/"


def test_a_new_code_that_was_never_typed_leaves_the_old_one_as_it_was(app: Flask, alice: Customer) -> None:
    page = alice.submit(alice.get("/me").form("/recovery-code/new"), passphrase=PASSPHRASE)
    fresh = shown_code(page)
    assert "The code you have works until you have typed the new one here." in page.text
    assert "/me" in page.links()
    for path in ("/companies", "/log", "/me"):
        assert alice.get(path).path == path
    asked = alice.get("/recovery-code")
    assert "Type your new recovery code" in asked.text
    assert fresh not in "".join(asked.text.split())
    assert not recovers(app, fresh)
    assert recovers(app, alice.recovery_code)


def test_a_new_code_is_in_force_once_it_was_typed(app: Flask, alice: Customer) -> None:
    page = alice.submit(alice.get("/me").form("/recovery-code/new"), passphrase=PASSPHRASE)
    fresh = shown_code(page)
    wrong = alice.submit(page.form("/recovery-code"), code=alice.recovery_code)
    assert (wrong.status, "That is not the code." in wrong.text) == (400, True)
    page = alice.submit(wrong.form("/recovery-code"), code=fresh)
    assert page.path == "/me"
    assert "Your new recovery code is in force." in page.text
    assert alice.get("/recovery-code").path == "/"
    assert not recovers(app, alice.recovery_code)
    assert recovers(app, fresh)


def test_a_new_code_that_is_typed_too_late_is_none(app: Flask, alice: Customer, clock: SettableClock) -> None:
    page = alice.submit(alice.get("/me").form("/recovery-code/new"), passphrase=PASSPHRASE)
    fresh = shown_code(page)
    for _ in range(2):  # she does something else meanwhile
        clock.forward(16 * 60)
        alice.get("/me")
    page = alice.submit(page.form("/recovery-code"), code=fresh)
    assert "was not typed in time" in page.text
    assert not recovers(app, fresh)
    assert recovers(app, alice.recovery_code)


def test_a_code_typed_after_the_code_was_confirmed_is_still_compared(alice: Customer) -> None:
    token = alice.get("/me").form("/me/passphrase").value("csrf_token")
    for typed, said in (("garbage", "That is not your recovery code."), (alice.recovery_code, "ready")):
        page = alice.post("/recovery-code", {"csrf_token": token, "code": typed})
        assert page.location == "/"
        assert said in alice.get("/").text
    assert alice.get("/things").path == "/things"


@pytest.mark.parametrize(
    ("passphrase", "reason"),
    [
        ("elevenchars", "at least 12 characters"),
        ("aaaaaaaaaaaaaaaa", "repeats too few"),
        ("alicealicealice1", "little more than your name"),
        ("ä" * 600 + "bcdefgh", "at most 1024 bytes"),
    ],
)
def test_a_weak_passphrase_is_refused_with_advice(customer: Customer, passphrase: str, reason: str) -> None:
    form = customer.get("/create").form("/create")
    page = customer.submit(form, username="alice", passphrase=passphrase, again=passphrase)
    assert page.status == 400
    assert reason in page.text
    assert page.form("/create").value("username") == "alice"
    assert passphrase not in page.html


def test_two_different_passphrases_are_refused(customer: Customer) -> None:
    form = customer.get("/create").form("/create")
    page = customer.submit(form, username="alice", passphrase=PASSPHRASE, again=PASSPHRASE + "x")
    assert page.status == 400
    assert "differ" in page.text


def test_spaces_around_a_passphrase_belong_to_it(customer: Customer, app: Flask) -> None:
    customer.create(passphrase=f"  {PASSPHRASE}  ")
    assert other(app).log_in(passphrase=PASSPHRASE).status == 403
    assert other(app).log_in(passphrase=f"  {PASSPHRASE}  ").path == "/"


@pytest.mark.parametrize("name", ["a", "x" * 41, "two words", "<script>", "a\x00b", "../etc"])
def test_a_name_that_is_none_is_refused(customer: Customer, name: str) -> None:
    form = customer.get("/create").form("/create")
    page = customer.submit(form, username=name, passphrase=PASSPHRASE, again=PASSPHRASE)
    assert page.status == 400
    assert "2 to 40 letters" in page.text


def test_a_taken_name_is_said_to_be_taken(alice: Customer, app: Flask) -> None:
    stranger = other(app)
    form = stranger.get("/create").form("/create")
    page = stranger.submit(form, username="Alice", passphrase=PASSPHRASE, again=PASSPHRASE)
    assert page.status == 409
    assert "taken" in page.text


def test_nobody_creates_a_vault_where_signup_is_closed(
    engine: SqliteEngine,
    vaults: Vaults,
    consent: Consent,
    settings: Settings,
    clock: SettableClock,
) -> None:
    chosen = replace(settings, signup="closed")
    customer = Customer(create_app(chosen, host=Host(chosen, engine, vaults, consent, clock)).test_client())
    assert "/create" not in customer.get("/").links()
    assert customer.get("/create").status == 403
    token = customer.get("/login").form("/login").value("csrf_token")
    page = customer.post(
        "/create", {"csrf_token": token, "username": "eve", "passphrase": PASSPHRASE, "again": PASSPHRASE}
    )
    assert page.status == 403
    assert vaults.listing() == []


def test_an_unknown_name_and_a_wrong_passphrase_get_the_same_bytes(alice: Customer, app: Flask) -> None:
    pages = []
    for name, passphrase in (
        ("alice", "wrong passphrase"),
        ("nosuch", "wrong passphrase"),
        ("a b", PASSPHRASE),
    ):
        stranger = other(app)
        form = stranger.get("/login").form("/login")
        page = stranger.submit(form, username=name, passphrase=passphrase)
        token = form.value("csrf_token")
        pages.append((page.status, page.html.replace(token, "T").replace(f'"{name}"', '"N"')))
    assert pages[0] == pages[1] == pages[2]
    assert pages[0][0] == 403


def test_logging_in_gives_a_new_secret_and_logging_out_ends_it(alice: Customer, app: Flask) -> None:
    first = alice.client.get_cookie("vrm")
    assert first is not None
    page = alice.submit(alice.get("/me").form("/logout"))
    assert page.path == "/login"
    assert "locked" in page.text
    thief = other(app)
    thief.client.set_cookie("vrm", first.value)
    assert thief.get("/things").path == "/login"
    assert alice.log_in().path == "/"
    assert alice.client.get_cookie("vrm").value != first.value  # type: ignore[union-attr]


def test_a_planted_session_cookie_is_not_taken_over_at_log_in(alice: Customer, app: Flask) -> None:
    alice.submit(alice.get("/me").form("/logout"))
    victim = other(app)
    victim.client.set_cookie("vrm", "A" * 43)
    victim.log_in()
    assert victim.client.get_cookie("vrm").value != "A" * 43  # type: ignore[union-attr]


@pytest.mark.parametrize("seconds", [30 * 60 + 60, 13 * 3600])
def test_an_unused_session_locks_itself(alice: Customer, clock: SettableClock, seconds: int) -> None:
    clock.forward(seconds)
    page = alice.get("/things")
    assert page.path == "/login"
    assert "locked itself" in page.text


def test_a_session_in_use_ends_after_twelve_hours(alice: Customer, clock: SettableClock) -> None:
    for _ in range(12 * 3):
        clock.forward(20 * 60)
        alice.get("/me")
    assert alice.get("/me").path == "/login"


def test_what_was_typed_into_an_expired_form_waits_behind_the_log_in(
    alice: Customer, clock: SettableClock
) -> None:
    form = alice.get("/preferences/new").form("/preferences/new")
    clock.forward(3600)
    page = alice.submit(form, **{"statement.topic": "fantasy novels"})
    assert page.status == 403
    assert "locked itself" in page.text
    assert "fantasy novels" not in page.html, "whoever sits before a locked vault reads nothing"
    again = alice.submit(page.form("/login"), username="alice", passphrase=PASSPHRASE)
    assert again.form("/preferences/new").value("statement.topic") == "fantasy novels"


def test_guessing_is_slowed_down_and_says_when_to_go_on(
    alice: Customer, app: Flask, clock: SettableClock
) -> None:
    stranger = other(app)
    for _ in range(6):
        assert stranger.log_in(passphrase="a wrong passphrase").status == 403
    page = stranger.log_in(passphrase=PASSPHRASE)
    assert page.status == 429
    assert int(page.response.headers["Retry-After"]) <= 900
    assert "Try again in" in page.text
    assert alice.get("/things").status == 200, "who is inside stays inside"
    clock.forward(900)
    assert stranger.log_in().path == "/"


def test_variants_of_a_name_share_their_limit(alice: Customer, app: Flask) -> None:
    stranger = other(app)
    for name in ("alice", "ALICE", " alice ", "Alice", "aLICE", "ALICe"):
        assert stranger.log_in(name=name, passphrase="a wrong passphrase").status == 403
    assert stranger.log_in(passphrase=PASSPHRASE).status == 429


def test_one_address_cannot_try_many_names(app: Flask) -> None:
    stranger = other(app)
    statuses = [stranger.log_in(name=f"name{n}", passphrase="x").status for n in range(41)]
    assert statuses[-1] == 429
    assert set(statuses[:-1]) == {403}


def test_right_passphrases_do_not_use_up_the_limit(alice: Customer, app: Flask) -> None:
    for _ in range(9):
        assert other(app).log_in().path == "/"


def test_the_limit_holds_no_name_and_no_address(alice: Customer, app: Flask, folder: Path) -> None:
    other(app).log_in(name="veryspecialname", passphrase="x")
    stored = b"".join(path.read_bytes() for path in folder.iterdir())
    assert b"veryspecialname" not in stored
    assert b"127.0.0.1" not in stored


def test_recovering_sets_a_new_passphrase_and_ends_every_session(alice: Customer, app: Flask) -> None:
    helper = other(app)
    new = "another passphrase entirely"
    form = helper.get("/recover").form("/recover")
    page = helper.submit(form, username="alice", code=alice.recovery_code, passphrase=new, again=new)
    assert page.path == "/"
    assert "recovery code still works" in page.text
    assert alice.get("/things").path == "/login"
    assert other(app).log_in(passphrase=PASSPHRASE).status == 403
    assert other(app).log_in(passphrase=new).path == "/"


def test_a_wrong_code_and_an_unknown_name_recover_nothing_alike(alice: Customer, app: Flask) -> None:
    pages = []
    for name, code in (("alice", "AAAA-BBBB-C"), ("nosuch", alice.recovery_code)):
        stranger = other(app)
        form = stranger.get("/recover").form("/recover")
        page = stranger.submit(form, username=name, code=code, passphrase=PASSPHRASE, again=PASSPHRASE)
        html = page.html.replace(form.value("csrf_token"), "").replace(name, "").replace(code, "")
        pages.append((page.status, html))
    assert pages[0] == pages[1]
    assert pages[0][0] == 403


def test_changing_the_passphrase_needs_the_old_one_and_logs_others_out(alice: Customer, app: Flask) -> None:
    elsewhere = other(app)
    elsewhere.log_in()
    new = "another passphrase entirely"
    form = alice.get("/me").form("/me/passphrase")
    assert alice.submit(form, old="not the old passphrase", new=new, again=new).status == 403
    page = alice.submit(alice.get("/me").form("/me/passphrase"), old=PASSPHRASE, new=new, again=new)
    assert page.path == "/me"
    assert "in force" in page.text
    assert elsewhere.get("/me").path == "/login"


def test_logging_out_everywhere_ends_every_session(alice: Customer, app: Flask) -> None:
    elsewhere = other(app)
    elsewhere.log_in()
    assert alice.submit(alice.get("/me").form("/me/logout-everywhere")).path == "/login"
    assert elsewhere.get("/me").path == "/login"


def test_a_name_of_a_megabyte_is_refused_before_it_is_read(customer: Customer) -> None:
    form = customer.get("/login").form("/login")
    page = customer.submit(form, username="x" * 2**20, passphrase="y")
    assert page.status == 413
    assert "too much at once" in page.text


def test_a_mistyped_passphrase_leaves_the_recovery_code_as_it_was_typed(
    app: Flask, alice: Customer, caplog: pytest.LogCaptureFixture
) -> None:
    stranger, code = other(app), alice.recovery_code.lower()
    typed = {"username": "alice", "code": code, "passphrase": "seven new words that I know"}
    page = stranger.submit(stranger.get("/recover").form("/recover"), **typed, again="mistyped")
    form = page.form("/recover")
    assert (page.status, form.value("code"), form.value("username")) == (400, code, "alice")
    assert (form.value("passphrase"), form.value("again")) == ("", "")
    assert page.response.headers["Cache-Control"] == "no-store"
    page = stranger.submit(form, code=code + "x", passphrase=typed["passphrase"], again=typed["passphrase"])
    assert (page.status, page.form("/recover").value("code")) == (403, code + "x")
    assert code not in caplog.text


def test_a_recovery_code_is_not_shown_again_in_a_form_of_elsewhere(app: Flask, alice: Customer) -> None:
    page = other(app).post("/recover", {"username": "alice", "code": alice.recovery_code})
    assert page.status == 403
    assert alice.recovery_code not in page.html
