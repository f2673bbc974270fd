"""The host's register: exact addresses, names that are names, secrets that are never stored."""

from __future__ import annotations

import pytest

from vrm.consent.service import Consent
from vrm.consent.vendors import check_redirect_uri
from vrm.errors import ScopeError, ValidationError, VendorNotFoundError
from vrm.vault.engine import SqliteEngine


@pytest.mark.parametrize(
    "uri",
    [
        "https://books.example/cb",
        "https://books.example",
        "https://books.example:8443/cb?shop=1",
        "http://127.0.0.1:8601/cb",
        "http://localhost/cb",
        "http://[::1]:9/cb",
    ],
)
def test_https_and_loopback_addresses_are_taken_as_they_are(uri: str) -> None:
    assert check_redirect_uri(uri) == uri


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "books.example/cb",
        "http://books.example/cb",
        "http://127.0.0.1.books.example/cb",
        "http://localhost.example/cb",
        "https://books.example/cb#",
        "https://books.example/cb#part",
        "https://user@books.example/cb",
        "https://user:secret@books.example/cb",
        "https:///cb",
        "https://books.example:0/cb",
        "https://books.example:99999/cb",
        "https://[books/cb",
        "javascript:alert(1)",
        "data:text/html,x",
        "ftp://books.example",
        "vrm://callback",
        "https://books.example/a b",
        "https://books.example/\u202ecb",
        "https://books.example/\n",
        "https://books.example/" + "x" * 2000,
    ],
)
def test_other_addresses_are_refused(uri: str, consent: Consent) -> None:
    with pytest.raises(ValidationError) as caught:
        consent.vendors.add("Books", [uri])
    assert set(caught.value.fields) == {"redirect_uri"}
    assert consent.vendors.listing() == []


@pytest.mark.parametrize("name", ["", "   ", "x" * 81, "Corner\x00Books", "Corner\u202eBooks", "\u200b"])
def test_names_that_are_none_are_refused(name: str, consent: Consent) -> None:
    with pytest.raises(ValidationError) as caught:
        consent.vendors.add(name, ["https://books.example/cb"])
    assert set(caught.value.fields) == {"name"}


def test_blanks_in_a_name_are_made_one(consent: Consent) -> None:
    assert consent.vendors.add("  Corner \n Books ", ["https://b.example/cb"])[0].name == "Corner Books"


def test_an_address_is_needed_except_by_a_resource_server(consent: Consent) -> None:
    with pytest.raises(ValidationError, match="valid") as caught:
        consent.vendors.add("Books")
    assert caught.value.fields == {"redirect_uri": ["is missing"]}
    vendor, secret = consent.vendors.add("Reader", resource_server=True)
    assert vendor.resource_server
    assert secret


def test_an_unknown_purpose_is_refused(consent: Consent) -> None:
    with pytest.raises(ScopeError):
        consent.vendors.add("Books", ["https://b.example/cb"], purpose="Everything")


def test_a_secret_is_shown_once_and_only_its_keyed_hash_is_stored(
    consent: Consent, engine: SqliteEngine
) -> None:
    vendor, secret = consent.vendors.add("Books", ["https://b.example/cb"], sells_as=["books.example"])
    assert secret
    assert secret.startswith("vrm_cs_")
    assert consent.vendors.check_secret(vendor.client_id, secret)
    [row] = engine.all("SELECT * FROM vendors")
    assert all(secret not in str(value) and secret.encode() != value for value in row)
    assert vendor.sells_as == ("books.example",)


def test_wrong_secrets_and_public_and_unknown_vendors_fail_alike(consent: Consent) -> None:
    vendor, secret = consent.vendors.add("Books", ["https://b.example/cb"])
    other, other_secret = consent.vendors.add("Toys", ["https://t.example/cb"])
    public, none = consent.vendors.add("App", ["http://127.0.0.1/cb"], public=True)
    assert none is None
    assert public.public
    assert not vendor.public
    assert secret
    assert other_secret
    for client, tried in (
        (vendor.client_id, ""),
        (vendor.client_id, secret + "x"),
        (vendor.client_id, other_secret),
        (other.client_id, secret),
        (public.client_id, ""),
        (public.client_id, secret),
        ("unknown", secret),
    ):
        assert not consent.vendors.check_secret(client, tried)


def test_unknown_vendors_are_refused_and_blocked_ones_are_still_listed(consent: Consent) -> None:
    for act in (consent.vendors.get, lambda name: consent.vendors.set_blocked(name, True)):
        with pytest.raises(VendorNotFoundError):
            act("unknown")
    vendor, _ = consent.vendors.add("Books", ["https://b.example/cb"])
    consent.vendors.set_blocked(vendor.client_id, True)
    assert consent.vendors.get(vendor.client_id).blocked
    consent.vendors.set_blocked(vendor.client_id, False)
    assert [(one.name, one.blocked) for one in consent.vendors.listing()] == [("Books", False)]


def test_what_an_altered_vendor_is_set_to_changes_nothing(consent: Consent, engine: SqliteEngine) -> None:
    vendor, _ = consent.vendors.add("Books", ["https://b.example/cb"])
    with engine.write() as transaction:
        transaction.execute("UPDATE vendors SET name = 'Your Bank'")
    consent.vendors.set_blocked(vendor.client_id, False)
    with pytest.raises(VendorNotFoundError):
        consent.vendors.get(vendor.client_id)
