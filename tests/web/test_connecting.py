"""From her vault to a company: she sees where she goes, and takes nothing along but an address."""

from __future__ import annotations

import pytest

from tests.web.actors import Customer
from vrm.web.pages.connecting import scannable, site_of


def test_she_is_led_to_the_company_with_her_vaults_address_only(alice: Customer) -> None:
    page = alice.get("/connect")
    page = alice.submit(page.form("/connect"), company="CornerBooks.example")
    assert "https://cornerbooks.example" in page.text
    (link,) = [link for link in page.links() if "vrm-connect" in link]
    assert link.startswith("https://cornerbooks.example/.well-known/vrm-connect?iss=http")
    assert "alice" not in link
    assert "It is told the address of your vault, and nothing else." in page.text


def test_companies_leads_there_and_it_says_her_address(alice: Customer) -> None:
    assert "/connect" in alice.get("/companies").links()
    assert "alice@" in alice.get("/connect").text


def test_a_lookalike_is_shown_as_it_travels(alice: Customer) -> None:
    form = alice.get("/connect").form("/connect")
    page = alice.submit(form, company="c\u043ernerbooks.example")  # the first o is Cyrillic
    assert "https://xn--crnerbooks-" in page.text
    assert "https://cornerbooks.example" not in page.text


def test_what_is_no_site_is_said_and_stays_in_the_field(alice: Customer) -> None:
    form = alice.get("/connect").form("/connect")
    page = alice.submit(form, company="javascript:alert(1)")
    assert page.status == 400
    assert "not the address of a site" in page.text
    assert page.form("/connect").value("company") == "javascript:alert(1)"


def test_the_vaults_address_can_be_scanned_and_says_itself(alice: Customer) -> None:
    drawings = [given.get("class") for tag, given in alice.get("/connect").tags if tag == "svg"]
    assert "scannable" in drawings
    drawn = scannable('https://vault.example/"><script>')
    assert "<script" not in drawn
    assert "<title>https://vault.example/" in drawn
    assert "style=" not in drawn


@pytest.mark.parametrize(
    ("typed", "site"),
    [
        ("cornerbooks.example", "https://cornerbooks.example"),
        ("https://cornerbooks.example/", "https://cornerbooks.example"),
        ("https://cornerbooks.example:8443", "https://cornerbooks.example:8443"),
        ("127.0.0.1:8601", "http://127.0.0.1:8601"),
        ("http://localhost:8601", "http://localhost:8601"),
        ("b\u00fccher.example", "https://xn--bcher-kva.example"),
        ("http://cornerbooks.example", None),
        ("cornerbooks", None),
        ("cornerbooks.example/shop", None),
        ("someone@cornerbooks.example", None),
        ("https://a:b@cornerbooks.example", None),
        ("ftp://cornerbooks.example", None),
        ("//cornerbooks.example", None),
        ("corner books.example", None),
        ("-x.example", None),
        ("x..example", None),
        ("\u3002.example", None),
        ("", None),
        ("a." * 200 + "example", None),
    ],
)
def test_only_sites_are_addresses(typed: str, site: str | None) -> None:
    assert site_of(typed) == site
