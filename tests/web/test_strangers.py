"""A company that nobody vouches for is its address; what it calls itself is a claim, and says so."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.web.actors import Customer
from tests.web.conftest import Ask
from vrm.consent.service import Consent
from vrm.consent.vendors import DOCUMENT, REGISTERED, Vendor
from vrm.vault.sqlite import SqliteEngine

DOUBT = "Nobody has checked who they are"


@pytest.fixture
def stranger(consent: Consent, engine: SqliteEngine, vendor: Vendor) -> Vendor:
    """Says that it is somebody whom she trusts."""
    made = replace(
        vendor,
        client_id="https://xn--mazon-3ve.example/vrm.json",
        redirect_uris=("https://xn--mazon-3ve.example/cb",),
        public=True,
        auth_method="none",
        origin=DOCUMENT,
        claimed="Your Bank",
    )
    with engine.write() as transaction:
        consent.vendors.put(transaction, made, None)
    return consent.vendors.get(made.client_id)


def test_the_page_names_the_domain_as_the_network_spells_it(
    alice: Customer, ask: Ask, stranger: Vendor, shelf: object
) -> None:
    handle = ask(vendor=stranger)
    page = alice.get(f"/requests/{handle}")
    assert "<h1><bdi>xn--mazon-3ve.example</bdi></h1>" in page.html
    assert "<title>xn--mazon-3ve.example asks" in page.html
    assert DOUBT in page.text
    assert "They call themselves" in page.text
    assert page.html.count("Your Bank") == 1
    assert "<q><bdi>Your Bank</bdi></q>" in page.html
    for path in ("/", "/requests"):
        shown = alice.get(path)
        assert "xn--mazon-3ve.example" in shown.html
        assert "Your Bank" not in shown.html


def test_what_she_approved_is_kept_under_the_domain(
    alice: Customer, ask: Ask, stranger: Vendor, shelf: object
) -> None:
    handle = ask(vendor=stranger)
    form = alice.get(f"/requests/{handle}").form(handle)
    assert alice.submit(form, ("decision", "approve"), follow=False).status == 303
    for path in ("/companies", "/log", "/"):
        shown = alice.get(path)
        assert "xn--mazon-3ve.example" in shown.html
        assert "Your Bank" not in shown.html


def test_one_without_a_name_claims_none(
    alice: Customer, ask: Ask, stranger: Vendor, consent: Consent, engine: SqliteEngine, shelf: object
) -> None:
    made = replace(stranger, client_id="vrm_client_r", origin=REGISTERED, claimed="")
    with engine.write() as transaction:
        consent.vendors.put(transaction, made, None)
    page = alice.get(f"/requests/{ask(vendor=consent.vendors.get('vrm_client_r'))}")
    assert DOUBT in page.text
    assert "They call themselves" not in page.text
    assert "<h1><bdi>xn--mazon-3ve.example</bdi></h1>" in page.html


def test_one_that_the_host_vouches_for_is_its_name(alice: Customer, ask: Ask, shelf: object) -> None:
    page = alice.get(f"/requests/{ask()}")
    assert "<h1><bdi>Corner Books</bdi></h1>" in page.html
    assert DOUBT not in page.text
