"""Me → "Connect a program of yours": a code, what it means, the passphrase; never by somebody's link."""

from __future__ import annotations

import pytest

from tests.conftest import SettableClock
from tests.web.actors import PASSPHRASE, Customer
from vrm.app import create_app
from vrm.consent.service import Consent
from vrm.host import Host
from vrm.settings import Settings
from vrm.vault import pairing
from vrm.vault.pairing import Begun, shown
from vrm.vault.sqlite import SqliteEngine
from vrm.vault.vault import Vault, Vaults

ADDRESS = "192.0.2.7"


@pytest.fixture
def begun(vaults: Vaults) -> Begun:
    return vaults.pairings.begin(ADDRESS)


def outcome(vaults: Vaults, begun: Begun) -> str:
    return vaults.pairings.poll(begun.device).outcome


def test_she_lets_a_program_in(alice: Customer, vaults: Vaults, begun: Begun) -> None:
    page = alice.get("/me")
    assert "/device" in page.links()
    page = alice.submit(alice.get("/device").form("/device"), user_code=shown(begun.user_code).lower())
    assert shown(begun.user_code) in page.text
    assert ADDRESS in page.text
    assert "everything in your vault" in page.text
    page = alice.submit(page.form("/answer"), ("decision", "approve"), passphrase=PASSPHRASE)
    assert "Let in" in page.text
    assert outcome(vaults, begun) == pairing.APPROVED
    page = alice.get("/device")
    assert f"From {ADDRESS}" in page.text
    assert "last used today" in page.text


def test_a_program_that_has_not_fetched_its_credential_is_listed(
    alice: Customer, vaults: Vaults, opened: Vault, begun: Begun, engine: SqliteEngine
) -> None:
    vaults.pairings.approve(opened, begun.user_code, PASSPHRASE)
    with engine.write() as transaction:
        transaction.execute("UPDATE tools SET note = x'00'")
    page = alice.get("/device")
    assert "From an unknown address" in page.text
    assert "not picked up yet" in page.text


def test_she_disconnects_a_program(alice: Customer, vaults: Vaults, opened: Vault, begun: Begun) -> None:
    vaults.pairings.approve(opened, begun.user_code, PASSPHRASE)
    page = alice.submit(alice.get("/device").form("/disconnect"))
    assert "Disconnected" in page.text
    assert "None." in page.text
    assert outcome(vaults, begun) == pairing.DECLINED


def test_she_says_no(alice: Customer, vaults: Vaults, begun: Begun) -> None:
    page = alice.submit(alice.get("/device").form("/device"), user_code=begun.user_code)
    page = alice.submit(page.form("/answer"), ("decision", "decline"))
    assert "Not let in" in page.text
    assert outcome(vaults, begun) == pairing.DECLINED


def test_a_wrong_passphrase_lets_nothing_in(alice: Customer, vaults: Vaults, begun: Begun) -> None:
    page = alice.submit(alice.get("/device").form("/device"), user_code=begun.user_code)
    page = alice.submit(page.form("/answer"), ("decision", "approve"), passphrase="not it, but as long")
    assert page.status == 403
    assert "That is not your passphrase." in page.text
    assert outcome(vaults, begun) == pairing.WAITING


def test_passphrases_are_guessed_no_faster_here(alice: Customer, begun: Begun) -> None:
    form = alice.submit(alice.get("/device").form("/device"), user_code=begun.user_code).form("/answer")
    told = [
        alice.submit(form, ("decision", "approve"), passphrase=f"guess number {n}").status for n in range(7)
    ]
    assert told == [403] * 6 + [429]


@pytest.mark.parametrize("path", ["/device", "/answer"])
def test_codes_are_guessed_a_few_times_only(alice: Customer, begun: Begun, path: str) -> None:
    form = alice.get("/device").form("/device")
    if path == "/answer":
        form = alice.submit(form, user_code=begun.user_code).form("/answer")
    told = [alice.submit(form, user_code=f"BCDFGHJ{letter}").status for letter in pairing.LETTERS]
    assert told == [404] * 10 + [429] * 10
    assert alice.submit(form, user_code=begun.user_code).status == 429


def test_right_codes_do_not_count_as_guesses(alice: Customer, begun: Begun) -> None:
    form = alice.get("/device").form("/device")
    assert {alice.submit(form, user_code=begun.user_code).status for _ in range(12)} == {200}


def test_a_code_that_ended_is_not_found(alice: Customer, begun: Begun, clock: SettableClock) -> None:
    form = alice.submit(alice.get("/device").form("/device"), user_code=begun.user_code).form("/answer")
    clock.forward(pairing.LIFE)
    page = alice.submit(form, ("decision", "approve"), passphrase=PASSPHRASE)
    assert page.status == 404
    assert "No program waits with this code" in page.text


def test_a_link_with_a_code_only_fills_the_field(alice: Customer, vaults: Vaults, begun: Begun) -> None:
    page = alice.get(f"/device?user_code={shown(begun.user_code)}")
    assert page.form("/device").value("user_code") == shown(begun.user_code)
    assert ADDRESS not in page.text
    assert 'type="password"' not in page.html
    assert outcome(vaults, begun) == pairing.WAITING


def test_without_a_session_a_link_leads_to_no_field_at_all(customer: Customer, begun: Begun) -> None:
    page = customer.get(f"/device?user_code={begun.user_code}")
    assert page.status == 200
    assert page.path.startswith("/device")  # not sent on to the log-in
    assert page.forms == []
    assert "/login" not in page.html
    assert begun.user_code not in page.html


@pytest.mark.parametrize("path", ["/device", "/device/answer", "/device/disconnect"])
def test_another_site_sends_no_code(alice: Customer, vaults: Vaults, begun: Begun, path: str) -> None:
    fields = {"user_code": begun.user_code, "decision": "decline"}
    for headers in ({}, {"Sec-Fetch-Site": "cross-site"}):
        assert alice.post(path, fields, headers=headers).status == 403
    assert outcome(vaults, begun) == pairing.WAITING


def test_a_program_of_somebody_else_stays_connected(alice: Customer, vaults: Vaults, begun: Begun) -> None:
    other, _ = vaults.create("bob", PASSPHRASE)
    vaults.pairings.approve(other, begun.user_code, PASSPHRASE)
    (tool,) = vaults.tools.listing(other.keyring)
    page = alice.get("/device")
    assert "None." in page.text
    token = page.form("/device").value("csrf_token")
    alice.post("/device/disconnect", {"csrf_token": token, "tool": tool.id})
    assert outcome(vaults, begun) == pairing.APPROVED


def test_the_strict_profile_has_no_such_page(
    settings: Settings, engine: SqliteEngine, vaults: Vaults, consent: Consent, clock: SettableClock
) -> None:
    strict = Settings(data_dir=settings.data_dir, public_url=settings.public_url, profile="fapi2")
    customer = Customer(create_app(strict, host=Host(strict, engine, vaults, consent, clock)).test_client())
    customer.create()
    assert customer.get("/device").status == 404
    assert "/device" not in customer.get("/me").links()
