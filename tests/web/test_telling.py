"""Stop and erase, and what she sees of what companies were told."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.conftest import SettableClock
from tests.web.actors import Customer
from tests.web.conftest import CALLBACK, RECOMMEND, Ask, part
from vrm.consent import outbox
from vrm.consent.grants import DAY, GrantView
from vrm.consent.outbox import Sending, Turn
from vrm.consent.service import Consent
from vrm.consent.vendors import Vendor
from vrm.vault.sqlite import SqliteEngine
from vrm.vault.vault import Vault

Sharing = Callable[[], GrantView]


@pytest.fixture
def vendor(consent: Consent) -> Vendor:
    return consent.vendors.add(
        "Corner Books", [CALLBACK], purpose=RECOMMEND, events_uri="https://cornerbooks.example/events"
    )[0]


@pytest.fixture
def sharing(alice: Customer, opened: Vault, shelf: dict[str, str], ask: Ask, consent: Consent) -> Sharing:
    handle = ask(part("purchases.item", retention="P90D"))
    form = alice.get(f"/requests/{handle}").form(handle)
    alice.submit(form, ("decision", "approve"), follow=False)
    (made,) = consent.grants.listing(opened)
    return lambda: consent.grants.get(opened, made.id)


@pytest.fixture
def sending(consent: Consent) -> Callable[[], tuple[Turn, Sending]]:
    """The next event, as a worker takes it."""

    def go() -> tuple[Turn, Sending]:
        consent.outbox.address()
        turn = consent.outbox.take()
        assert turn is not None
        found = consent.outbox.next(turn)
        assert found is not None
        return turn, found

    return go


Next = Callable[[], tuple[Turn, Sending]]


def stop(alice: Customer, grant: GrantView, *, erase: bool) -> str:
    page = alice.get(f"/companies/{grant.id}/stop")
    tick = [("erase", "yes")] if erase else []
    return alice.submit(page.form("/stop"), tick=tick).text


def kinds(consent: Consent, grant: GrantView) -> list[str]:
    return [one.kind for one in consent.outbox.told(grant.id)]


def test_before_she_stops_she_is_asked_whether_they_should_delete_what_they_have(
    alice: Customer, sharing: Sharing, consent: Consent
) -> None:
    page = alice.get(f"/companies/{sharing().id}/stop")
    form = page.form("/stop")
    assert form.offers("erase") == ["yes"]
    assert form.values("erase") == []  # hers to tick
    for words in ("article 17", "one month", "They said they keep it for 90 days", "this vault cannot see"):
        assert words in page.text
    assert "You asked them to delete" in stop(alice, sharing(), erase=True)
    assert kinds(consent, sharing()) == ["consent-revoked", "erase-requested"]


def test_without_the_tick_they_are_told_of_the_end_only_and_she_can_ask_later(
    alice: Customer, sharing: Sharing, consent: Consent
) -> None:
    stop(alice, sharing(), erase=False)
    assert kinds(consent, sharing()) == ["consent-revoked"]
    page = alice.get(f"/companies/{sharing().id}")
    page = alice.submit(page.form("/erase"))
    assert "They are asked to delete what they have read." in page.text
    assert kinds(consent, sharing()) == ["consent-revoked", "erase-requested"]
    assert not [form for form in page.forms if form.action.endswith("/erase")]


def test_while_it_lives_there_is_nothing_to_erase(
    alice: Customer, sharing: Sharing, consent: Consent
) -> None:
    page = alice.get(f"/companies/{sharing().id}")
    assert "What they were told" not in page.text
    form = page.form("/narrow")
    alice.post(f"/companies/{sharing().id}/erase", {"csrf_token": form.value("csrf_token")})
    assert kinds(consent, sharing()) == []


def test_she_sees_when_they_were_told_and_when_they_confirmed(
    alice: Customer, sharing: Sharing, consent: Consent, sending: Next
) -> None:
    stop(alice, sharing(), erase=True)

    def seen() -> str:
        return alice.get(f"/companies/{sharing().id}").text

    assert "That it has ended not told yet" in seen()
    turn, first = sending()
    assert "That it has ended sent since today" in seen()
    consent.outbox.acknowledged(turn, first)
    assert "That it has ended told today" in seen()
    assert "UTC, confirmed today" in seen()
    second = consent.outbox.next(turn)
    assert second is not None
    consent.outbox.refused(turn, second, "access_denied")
    assert "That you want deleted what they have read told today" in seen()
    assert "they would not take it" in seen()
    assert "told today" in alice.get("/companies").text


def test_she_sees_that_they_could_not_be_reached(
    alice: Customer,
    sharing: Sharing,
    consent: Consent,
    clock: SettableClock,
    sending: Next,
    engine: SqliteEngine,
) -> None:
    stop(alice, sharing(), erase=False)
    turn, found = sending()
    consent.outbox.failed(turn, found, "http-500")
    with engine.write() as transaction:
        transaction.execute("UPDATE event_queues SET failures = ?", (outbox.ENOUGH,))
    clock.forward(outbox.GIVE_UP)
    turn = consent.outbox.take()  # type: ignore[assignment]
    assert consent.outbox.next(turn) is None
    alice.log_in()
    assert "could not be reached for three days" in alice.get(f"/companies/{sharing().id}").text


def test_a_company_without_an_address_is_named_as_not_told(
    alice: Customer, sharing: Sharing, consent: Consent, engine: SqliteEngine
) -> None:
    with engine.write() as transaction:
        transaction.execute("DELETE FROM vendors")
    page = alice.get(f"/companies/{sharing().id}/stop")
    assert page.form("/stop").offers("erase") == []
    assert "They have left no address" in page.text
    stop(alice, sharing(), erase=False)
    consent.outbox.address()
    assert "this vault could not tell them" in alice.get(f"/companies/{sharing().id}").text
    assert "not told: they have left no address" in alice.get("/companies").text


def test_an_end_from_before_there_were_such_messages_says_nothing_untrue(
    alice: Customer, sharing: Sharing, consent: Consent, engine: SqliteEngine
) -> None:
    stop(alice, sharing(), erase=False)
    with engine.write() as transaction:
        transaction.execute("DELETE FROM events")
    listed = alice.get("/companies").text
    assert "told" not in listed
    assert "Ask them to delete it" in alice.get(f"/companies/{sharing().id}").text


def test_an_expired_one_with_everything_asked_says_so(
    alice: Customer, sharing: Sharing, consent: Consent, clock: SettableClock
) -> None:
    for seconds in (0, 91 * DAY, 3601):  # a clock that goes ahead by so much is believed after an hour
        clock.forward(seconds)
        consent.sweep()
    alice.log_in()
    page = alice.get(f"/companies/{sharing().id}")
    assert "That the time has run out not told yet" in page.text
    assert page.form("/erase")


def test_the_tick_outlives_a_session_that_ended(
    alice: Customer, sharing: Sharing, clock: SettableClock
) -> None:
    form = alice.get(f"/companies/{sharing().id}/stop").form("/stop")
    clock.forward(31 * 60)
    page = alice.submit(form, tick=[("erase", "yes")])
    page = alice.submit(page.form("/login"), username="alice", passphrase="four unconnected words here")
    assert page.form("/stop").values("erase") == ["yes"]
    assert sharing().state == "live"
