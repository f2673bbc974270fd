"""Me → "I lost a device": asked again for the passphrase, all others shut out, progress without a script."""

from __future__ import annotations

import pytest
from flask import Flask

from tests.web.actors import PASSPHRASE, Customer, Page
from tests.web.conftest import Ask
from tests.web.test_entrance import other
from vrm.consent.requests import Choices
from vrm.consent.service import Consent
from vrm.errors import UnlockError
from vrm.vault import rotation
from vrm.vault.vault import Vault, Vaults
from vrm.web.pages import devices

OTHER = "some quite different words"
SURE = [("sure", "on")]


def ask_for_new_keys(alice: Customer, old: str = PASSPHRASE, new: str = "", *more: tuple[str, str]) -> Page:
    form = alice.get("/me/lost-device").form("/me/lost-device")
    return alice.submit(form, old=old, new=new, again=new, tick=[*SURE, *more])


@pytest.fixture
def connected(opened: Vault, shelf: dict[str, str], ask: Ask, consent: Consent) -> str:
    """The id of a live grant."""
    handle = ask()
    digest = consent.requests.preview(opened, handle, Choices()).digest
    grant = consent.requests.approve(opened, handle, Choices(), digest).grant_id
    assert grant
    return grant


def test_the_page_says_what_it_does_and_what_it_does_not(alice: Customer) -> None:
    assert "/me/lost-device" in alice.get("/me").links()
    page = alice.get("/me/lost-device")
    assert "cannot open what is here from now on" in page.text
    assert "new keys take nothing back" in page.text
    assert ("checkbox", "keep", "") not in page.form("/me/lost-device").offered  # nothing to keep


def test_new_keys_shut_everybody_else_out(
    alice: Customer, app: Flask, vaults: Vaults, connected: str, consent: Consent
) -> None:
    elsewhere = other(app)
    elsewhere.log_in()
    page = ask_for_new_keys(alice, PASSPHRASE, OTHER)
    assert page.path == "/me/new-keys"
    assert "in force for everything" in page.text
    assert "No company is connected" in page.text
    assert elsewhere.get("/me").path == "/login"
    with pytest.raises(UnlockError):
        vaults.unlock("alice", PASSPHRASE)
    vault = vaults.unlock("alice", OTHER)
    assert vault.keyring.generation == 2
    assert consent.grants.get(vault, connected).state == "revoked"
    assert vault.check() == []
    assert "You made new keys" in alice.get("/log").text


def test_connections_are_kept_where_she_says_so(
    alice: Customer, vaults: Vaults, connected: str, consent: Consent
) -> None:
    assert "Keep my 1 connection" in alice.get("/me/lost-device").text
    page = ask_for_new_keys(alice, PASSPHRASE, "", ("keep", "on"))
    assert "1 connection goes on" in page.text
    assert consent.grants.get(vaults.unlock("alice", PASSPHRASE), connected).state == "live"


def test_nothing_happens_without_passphrase_and_word(alice: Customer, opened: Vault) -> None:
    assert ask_for_new_keys(alice, "not her passphrase").status == 403
    form = alice.get("/me/lost-device").form("/me/lost-device")
    page = alice.submit(form, old=PASSPHRASE, tick=[("keep", "on")])
    assert page.status == 400
    assert "slip of the finger" in page.text
    assert ask_for_new_keys(alice, PASSPHRASE, "short").status == 400
    form = alice.get("/me/lost-device").form("/me/lost-device")
    assert alice.submit(form, old=PASSPHRASE, new=OTHER, again="other", tick=SURE).status == 400
    assert opened.rotating() is None
    assert opened.records("purchases").count() == 0  # these keys are still the vault's


def test_guessing_is_slowed_down(alice: Customer) -> None:
    answers = [ask_for_new_keys(alice, f"guess number {turn}").status for turn in range(12)]
    assert answers[0] == 403
    assert answers[-1] == 429


def test_progress_shows_and_goes_on_without_a_script(
    alice: Customer, opened: Vault, shelf: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rotation, "BATCH", 1)
    monkeypatch.setattr(devices, "BATCHES", 2)
    page = ask_for_new_keys(alice)
    turns = 0
    while any(given.get("http-equiv") == "refresh" for _, given in page.tags):
        assert "being sealed anew" in page.text
        assert [given for tag, given in page.tags if tag == "progress"]
        assert alice.get("/things").status == 200
        page = alice.get("/me/new-keys")
        turns += 1
    assert turns >= 3
    assert "in force for everything" in page.text


def test_the_next_log_in_goes_on(
    alice: Customer, vaults: Vaults, shelf: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "BATCHES", 0)
    ask_for_new_keys(alice)
    assert vaults.is_rotating("alice")
    alice.submit(alice.get("/me").form("/logout"))
    alice.log_in()
    assert not vaults.is_rotating("alice")


def test_a_code_that_was_altered_is_said_to_be_gone(alice: Customer, opened: Vault) -> None:
    with opened.engine.write() as transaction:
        transaction.execute("UPDATE keyslots SET public_mac = ? WHERE kind = 'recovery'", (bytes(32),))
    assert "recovery code opens nothing any more" in ask_for_new_keys(alice).text


def test_two_at_once_are_one(alice: Customer, opened: Vault) -> None:
    with opened.engine.exclusive("rotation", of=opened.id):
        assert "being sealed anew" in ask_for_new_keys(alice).text
        assert "being sealed anew" in ask_for_new_keys(alice).text
    page = alice.get("/me/new-keys")
    assert "in force for everything" in page.text
