"""Every form pressed twice, and forms of a megabyte: one effect, and plain pages only."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import pytest

from tests.conftest import SettableClock
from tests.hostile.web.crawl import crawl
from tests.web.actors import PASSPHRASE, Customer, Page
from tests.web.conftest import Ask
from vrm.consent.service import Consent
from vrm.vault.vault import Vault, Vaults

HISTORY = b"""\
Order ID,Order Date,Currency,Unit Price,Total Owed,ASIN,Quantity,Order Status,Shipping Address,Product Name
111-1,2026-01-03T04:05:06Z,USD,10.00,10.00,0131103628,1,Closed,Alice 1 Main St,The C Programming Language
111-2,2026-02-03T04:05:06Z,USD,10.00,10.00,0345339681,1,Closed,Alice 1 Main St,The Hobbit
"""


def plain(page: Page) -> None:
    assert page.status < 500, page.text
    assert "<h1" in page.html
    assert "Traceback" not in page.html


def twice(customer: Customer, page: Page, ending: str, **values: Any) -> tuple[Page, Page]:
    form = page.form(ending)
    first, second = (customer.submit(form, **values) for _ in range(2))
    plain(first)
    plain(second)
    return first, second


def test_a_vault_is_made_once(customer: Customer, vaults: Vaults) -> None:
    form = customer.get("/create").form("/create")
    for _ in range(2):
        plain(customer.submit(form, username="alice", passphrase=PASSPHRASE, again=PASSPHRASE))
    assert [entry.username for entry in vaults.listing()] == ["alice"]


def test_a_record_is_deleted_once_and_comes_back_once(
    alice: Customer, opened: Vault, shelf: dict[str, str]
) -> None:
    record = shelf["Piranesi"]
    first, second = twice(alice, alice.get(f"/things/{record}/delete"), "/delete")
    assert second.form("/undo").value("held") == first.form("/undo").value("held")
    assert len(opened.records("purchases").ids()) == len(shelf) - 1
    twice(alice, second, "/undo")
    assert len(opened.records("purchases").ids()) == len(shelf)
    assert opened.records("purchases").get(record)["item"]["title"] == "Piranesi"


def test_a_request_is_declined_once(alice: Customer, shelf: dict[str, str], ask: Ask) -> None:
    handle = ask()
    form = alice.get(f"/requests/{handle}").form(handle)
    first = alice.submit(form, ("decision", "decline"), follow=False)
    assert "error=access_denied" in first.location
    second = alice.submit(form, ("decision", "decline"))
    plain(second)
    assert second.status == 404
    assert "decided already" in second.text


def test_declined_after_it_was_approved_it_stays_approved(
    alice: Customer, opened: Vault, shelf: dict[str, str], ask: Ask, consent: Consent
) -> None:
    handle = ask()
    form = alice.get(f"/requests/{handle}").form(handle)
    assert "code=" in alice.submit(form, ("decision", "approve"), follow=False).location
    assert alice.submit(form, ("decision", "decline")).status == 404
    assert [grant.state for grant in consent.grants.listing(opened)] == ["live"]


def test_a_permission_is_narrowed_and_stopped_once(
    alice: Customer, opened: Vault, shelf: dict[str, str], ask: Ask, consent: Consent
) -> None:
    handle = ask()
    alice.submit(alice.get(f"/requests/{handle}").form(handle), ("decision", "approve"), follow=False)
    grant = consent.grants.listing(opened)[0]
    path = f"/companies/{grant.id}"
    form = next(one for one in alice.get(path).forms if "exclude" in one.names())
    for _ in range(2):
        plain(alice.submit(form, tick=[("exclude", shelf["Piranesi"])]))
    assert consent.grants.get(opened, grant.id).rows == grant.rows - 1
    twice(alice, alice.get(f"{path}/stop"), "/stop")
    events = [step.event for step in consent.grants.history(opened, grant.id)]
    assert events.count("revoked") == 1


def test_a_history_is_imported_once(alice: Customer, opened: Vault) -> None:
    form = alice.get("/import").form("/import")
    for _ in range(2):
        files = {"csrf_token": form.value("csrf_token"), "files": (BytesIO(HISTORY), "orders.csv")}
        page = alice.post("/import", files, content_type="multipart/form-data")
        plain(page)
    assert "2" in page.text
    assert len(opened.records("purchases").ids()) == 2


def test_a_passphrase_is_changed_once_and_the_second_press_says_why_not(
    alice: Customer, vaults: Vaults
) -> None:
    fresh = "another four unconnected words"
    form = alice.get("/me").form("/me/passphrase")
    plain(alice.submit(form, old=PASSPHRASE, new=fresh, again=fresh))
    second = alice.submit(form, old=PASSPHRASE, new=fresh, again=fresh)
    plain(second)
    assert second.status == 403
    vaults.unlock("alice", fresh)


def test_logging_out_twice_is_a_plain_page(alice: Customer) -> None:
    form = alice.get("/me").form("/logout")
    plain(alice.submit(form))
    plain(alice.submit(form))


def test_every_form_of_every_page_sent_twice_is_a_plain_page(
    alice: Customer, shelf: dict[str, str], ask: Ask, clock: SettableClock
) -> None:
    """Whatever the order: forms stay on a page while others change what they speak of."""
    pages = crawl(alice, "/", f"/requests/{ask()}")
    sent = 0
    power = {"/logout", "/me/logout-everywhere", "/language"}
    for page in pages.values():
        for form in page.forms:
            if form.action in power:
                continue
            for button in [*form.buttons[:3], None]:
                for _ in range(2):
                    answer = alice.submit(form, button, follow=False)
                    assert answer.status < 500, (form.action, button, answer.text[:200])
                    sent += 1
    assert sent > 60


# ---- too much -------------------------------------------------------------------------------------------

MEGABYTE = 2**20


@pytest.mark.parametrize(
    "path",
    [
        "/things/new",
        "/preferences/new",
        "/profile",
        "/things",
        "/sort",
        "/me/passphrase",
        "/recovery-code/new",
    ],
)
def test_a_text_of_a_megabyte_is_refused_by_every_form(alice: Customer, opened: Vault, path: str) -> None:
    token = alice.get("/me").form("/me/passphrase").value("csrf_token")
    page = alice.post(path, {"csrf_token": token, "item.title": "x" * MEGABYTE, "words": "y" * 9})
    plain(page)
    assert page.status == 413
    assert not opened.records("purchases").ids()


def test_a_text_beyond_its_field_is_named_and_stays_typed(alice: Customer, opened: Vault) -> None:
    form = alice.get("/things/new").form("/things/new")
    for length in (1001, 700_000):
        page = alice.submit(form, **{"item.title": "x" * length})
        plain(page)
        assert page.status == 400
        assert page.form("/things/new").value("item.title") == "x" * length
    assert not opened.records("purchases").ids()


STRANGE = [
    "\0",
    "a\0b",
    "\x1b[2J",
    "\u202egnp",
    "\u2066a",
    "\ufffd",
    "\r\nX: y",
    "9" * 5000,
    "1e999",
    "NaN",
    "\u00b2",
    "\u0663",
]


def test_no_field_of_any_form_fails_over_strange_text(
    alice: Customer, shelf: dict[str, str], ask: Ask
) -> None:
    paths = ["/things/new", "/preferences/new", "/profile", "/sort", "/things", f"/requests/{ask()}"]
    paths += [f"/things/{shelf['Piranesi']}", f"/things/{shelf['Piranesi']}/delete", "/import"]
    forms = [form for path in paths for form in alice.get(path).forms]
    for value in STRANGE:
        for form in forms:
            fields = [(name, sent if name == "csrf_token" else value) for name, sent in form.fields]
            fields += [(name, value) for name in form.names() if name != "csrf_token"]
            answer = alice.post(form.action, fields)
            assert answer.status < 500, (form.action, value, answer.text[:200])
            assert not answer.response.headers.get("X")
