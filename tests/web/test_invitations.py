"""Sign-up by invitation: a link makes one vault; whatever is no good invitation gets one answer."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from flask import Flask

from tests.conftest import SettableClock
from tests.web.actors import PASSPHRASE, Customer, Page
from vrm.app import create_app
from vrm.consent.service import Consent
from vrm.host import Host
from vrm.settings import Settings
from vrm.vault.invitations import Invitations
from vrm.vault.sqlite import SqliteEngine
from vrm.vault.vault import Vaults

MANY = 16


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return replace(settings, signup="invite")


@pytest.fixture
def invitations(vaults: Vaults) -> Invitations:
    return Invitations.of(vaults)


@pytest.fixture
def invite(invitations: Invitations) -> Callable[[], str]:
    """A fresh code."""
    return lambda: invitations.make(7)[1]


def use(customer: Customer, code: str, name: str = "alice", passphrase: str = PASSPHRASE) -> Page:
    form = customer.get(f"/create?invitation={code}").form("/create")
    return customer.submit(form, username=name, passphrase=passphrase, again=passphrase)


def test_the_link_fills_the_invitation_in_and_makes_a_vault(
    customer: Customer, invite: Callable[[], str], vaults: Vaults
) -> None:
    assert "/create" in customer.get("/").links()
    code = invite()
    assert customer.get(f"/create?invitation={code}").form("/create").value("invitation") == code
    assert 'id="recovery-code"' in use(customer, code).html
    assert [one.username for one in vaults.listing()] == ["alice"]


def test_a_typed_code_may_have_capitals_blanks_and_no_dashes(
    customer: Customer, invite: Callable[[], str], vaults: Vaults
) -> None:
    page = customer.get("/create")
    assert "by invitation" in page.text
    code = invite().upper().replace("-", " ").replace("O", "0").replace("I", "1")
    customer.submit(
        page.form("/create"), invitation=code, username="alice", passphrase=PASSPHRASE, again=PASSPHRASE
    )
    assert len(vaults.listing()) == 1


def test_used_expired_revoked_and_invented_ones_get_the_same_answer(
    customer: Customer, app: Flask, invitations: Invitations, vaults: Vaults, clock: SettableClock
) -> None:
    expired = invitations.make(1)[1]
    clock.forward(86_400)
    used, (taken_back, revoked) = invitations.make(7)[1], invitations.make(7)
    use(customer, used)
    invitations.revoke(taken_back.id)
    pages = []
    for code in (expired, used, revoked, "aaaa-aaaa-aaaa-aaaa-aaaa-aaaa", "nonsense", "ä" * 24, ""):
        stranger = Customer(app.test_client())
        page = use(stranger, code, "eve")
        token = page.form("/create").value("csrf_token")
        typed = f'name="invitation" type="text" value="{code}"'
        assert typed in page.html
        pages.append((page.status, page.html.replace(token, "T").replace(typed, "")))
    assert pages[0][0] == 403
    assert "not an invitation that can be used" in pages[0][1]
    assert set(pages) == {pages[0]}
    assert [one.username for one in vaults.listing()] == ["alice"]


def test_sixteen_at_once_make_one_vault_of_one_invitation(
    app: Flask, invite: Callable[[], str], vaults: Vaults
) -> None:
    code, barrier = invite(), threading.Barrier(MANY)
    forms = [Customer(app.test_client()) for _ in range(MANY)]
    pages = [customer.get(f"/create?invitation={code}") for customer in forms]

    def run(number: int) -> int:
        barrier.wait(timeout=30)
        typed = {"username": f"racer{number}", "passphrase": PASSPHRASE, "again": PASSPHRASE}
        return forms[number].submit(pages[number].form("/create"), **typed).status

    with ThreadPoolExecutor(MANY) as pool:
        statuses = sorted(pool.map(run, range(MANY)))
    assert statuses == [200] + [403] * (MANY - 1)
    assert len(vaults.listing()) == 1


def test_a_taken_name_or_weak_passphrase_spends_no_invitation(
    customer: Customer, app: Flask, invite: Callable[[], str], vaults: Vaults
) -> None:
    use(customer, invite())
    stranger, code = Customer(app.test_client()), invite()
    assert use(stranger, code, "alice").status == 409
    page = use(stranger, code, "bob", "short")
    assert page.status == 400
    assert page.form("/create").value("invitation") == code
    assert use(stranger, code, "bob").status == 200
    assert [one.username for one in vaults.listing()] == ["alice", "bob"]


def test_the_code_stands_in_no_log_no_referrer_and_not_in_the_database(
    customer: Customer, invite: Callable[[], str], engine: SqliteEngine, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    code = invite()
    answer = customer.get(f"/create?invitation={code}")
    assert answer.response.headers["Referrer-Policy"] == "no-referrer"
    use(customer, code)
    assert "POST /create" in caplog.text
    stored = "".join(str(row) for row in engine.all("SELECT hex(lookup), * FROM invitations"))
    for form in (code, code.replace("-", ""), code.upper()):
        assert form not in caplog.text
        assert form not in stored


def test_guesses_are_counted_like_creations(customer: Customer, invitations: Invitations) -> None:
    statuses = [use(customer, "nonsense", f"eve{number}").status for number in range(21)]
    assert statuses == [403] * 20 + [429]


@pytest.mark.parametrize("signup", ["closed", "open"])
def test_an_invitation_means_nothing_where_signup_is_closed_or_open(
    signup: str,
    invite: Callable[[], str],
    engine: SqliteEngine,
    vaults: Vaults,
    consent: Consent,
    settings: Settings,
    clock: SettableClock,
) -> None:
    chosen = replace(settings, signup=signup)
    customer = Customer(create_app(chosen, host=Host(chosen, engine, vaults, consent, clock)).test_client())
    page = customer.get(f"/create?invitation={invite()}")
    if signup == "closed":
        assert page.status == 403
        assert "Ask them to make a vault for you" in page.text
    else:
        assert "invitation" not in page.form("/create").names()
