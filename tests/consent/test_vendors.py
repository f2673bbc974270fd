"""The host's register: exact addresses, names that are names, secrets that are never stored."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from vrm import jose
from vrm.consent import keysets
from vrm.consent.service import Consent
from vrm.consent.vendors import check_redirect_uri
from vrm.errors import ScopeError, ValidationError, VendorNotFoundError
from vrm.vault.sqlite import SqliteEngine


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


@pytest.mark.meets("rfc9700-33")
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


@pytest.mark.meets(
    "oauch-TokenEndpoint/ClientSecretEntropyMinReqTest",
    "oauch-TokenEndpoint/ClientSecretEntropySugReqTest",
)
def test_a_secret_is_shown_once_and_only_its_keyed_hash_is_stored(
    consent: Consent, engine: SqliteEngine
) -> None:
    vendor, secret = consent.vendors.add("Books", ["https://b.example/cb"], sells_as=["books.example"])
    assert secret
    assert secret.startswith("vrm_cs_")
    assert consent.vendors.check_secret(consent.vendors.get(vendor.client_id), secret)
    [row] = engine.all("SELECT * FROM vendors")
    assert all(secret not in str(value) and secret.encode() != value for value in row)
    assert vendor.sells_as == ("books.example",)


def test_wrong_secrets_and_public_vendors_fail_alike(consent: Consent) -> None:
    vendor, secret = consent.vendors.add("Books", ["https://b.example/cb"])
    other, other_secret = consent.vendors.add("Toys", ["https://t.example/cb"])
    public, none = consent.vendors.add("App", ["http://127.0.0.1/cb"], public=True)
    assert none is None
    assert public.public
    assert not vendor.public
    assert secret
    assert other_secret
    for client, tried in (
        (vendor, ""),
        (vendor, secret + "x"),
        (vendor, other_secret),
        (other, secret),
        (public, ""),
        (public, secret),
    ):
        assert not consent.vendors.check_secret(consent.vendors.get(client.client_id), tried)


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


@pytest.mark.parametrize("client_id", ["", "https://shop.example/about"])
@pytest.mark.parametrize("before", [False, True])
def test_an_altered_vendor_that_is_blocked_is_vouched_for_as_nothing_but_blocked(
    client_id: str, before: bool, consent: Consent, engine: SqliteEngine
) -> None:
    vendor, secret = consent.vendors.add("Books", ["https://b.example/cb"])
    other, _ = consent.vendors.add("Other", ["https://o.example/cb"])
    client_id = client_id or vendor.client_id
    consent.vendors.set_blocked(vendor.client_id, before)
    with engine.write() as transaction:
        sql = "UPDATE vendors SET name = 'Your Bank', resource = 'https://r.example', client_id = ?"
        transaction.execute(f"{sql} WHERE client_id = ?", (client_id, vendor.client_id))
    assert len(consent.vendors.problems()) == 1
    consent.vendors.set_blocked(client_id, True)
    assert consent.vendors.problems() == []
    found = consent.vendors.get(client_id)
    assert found.blocked
    assert (found.redirect_uris, found.resource, found.events_uri) == ((), "", "")
    assert "Your Bank" not in (found.name, found.claimed)
    assert not consent.vendors.check_secret(found, secret or "")
    assert consent.vendors.get(other.client_id) == other
    assert found.verified is not client_id.startswith("https://")


# --- how a vendor proves itself


KEY = jose.private_key(bytes(32))
PUBLIC = {name: value for name, value in KEY.items() if name != "d"}
SET = json.dumps({"keys": [PUBLIC]})


def test_a_vendor_with_keys_has_no_secret_and_is_not_public(consent: Consent) -> None:
    vendor, secret = consent.vendors.add(
        "Books",
        ["https://b.example/cb"],
        jwks=SET,
        dpop_bound=True,
        events_uri="https://b.example/events",
    )
    assert secret is None
    assert vendor == consent.vendors.get(vendor.client_id)
    assert (vendor.auth_method, vendor.public, vendor.jwks, vendor.jwks_uri) == (
        "private_key_jwt",
        False,
        SET,
        "",
    )
    assert (vendor.dpop_bound, vendor.events_uri, vendor.origin) == (True, "https://b.example/events", "host")
    assert vendor.verified
    assert vendor.shown_name == vendor.name == "Books"
    assert not consent.vendors.check_secret(consent.vendors.get(vendor.client_id), "")


def test_keys_may_stand_at_an_address(consent: Consent) -> None:
    vendor, secret = consent.vendors.add("B", ["https://b.example/cb"], jwks_uri="https://b.example/jwks")
    assert (secret, vendor.auth_method, vendor.jwks_uri) == (
        None,
        "private_key_jwt",
        "https://b.example/jwks",
    )


def test_methods_without_keys_are_named(consent: Consent) -> None:
    with_secret, _ = consent.vendors.add("Books", ["https://b.example/cb"])
    without, _ = consent.vendors.add("App", ["http://127.0.0.1/cb"], public=True)
    assert (with_secret.auth_method, with_secret.public) == ("client_secret_basic", False)
    assert (without.auth_method, without.public) == ("none", True)


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"jwks": SET, "public": True}, "jwks"),
        ({"jwks_uri": "https://b.example/jwks", "public": True}, "jwks"),
        ({"jwks": SET, "jwks_uri": "https://b.example/jwks"}, "jwks"),
        ({"jwks": "{"}, "jwks"),
        ({"jwks": "[" * 5000}, "jwks"),
        ({"jwks": "[]"}, "jwks"),
        ({"jwks": "{}"}, "jwks"),
        ({"jwks": '{"keys": 1}'}, "jwks"),
        ({"jwks": '{"keys": [1]}'}, "jwks"),
        ({"jwks": '{"keys": []}'}, "jwks"),
        ({"jwks": '{"keys": [{"kty": "EC"}]}'}, "jwks"),
        ({"jwks": json.dumps({"keys": [KEY]})}, "jwks"),
        ({"jwks": json.dumps({"keys": [PUBLIC, {"kty": "oct", "k": "AAAA"}]})}, "jwks"),
        ({"jwks": json.dumps({"keys": [PUBLIC] * 21})}, "jwks"),
        ({"jwks": json.dumps({"keys": [PUBLIC], "x": "y" * 17_000})}, "jwks"),
        ({"jwks_uri": "http://b.example/jwks"}, "jwks_uri"),
        ({"jwks_uri": "https://u:p@b.example/jwks"}, "jwks_uri"),
        ({"events_uri": "https://b.example/#x"}, "events_uri"),
    ],
)
def test_keys_and_addresses_that_cannot_be_used_are_refused(
    consent: Consent, fields: dict[str, Any], wrong: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        consent.vendors.add("Books", ["https://b.example/cb"], **fields)
    assert set(caught.value.fields) == {wrong}
    assert consent.vendors.listing() == []


def test_keys_of_other_kinds_are_passed_over() -> None:
    assert keysets.keys_in(json.dumps({"keys": [{"kty": "EC", "crv": "P-521"}, PUBLIC]})) == (PUBLIC,)


@pytest.mark.parametrize(
    "change",
    [
        "auth_method = 'none'",
        "auth_method = ''",
        "jwks = ''",
        "jwks_uri = 'https://writer.example/jwks'",
        "dpop_bound = 0",
        "events_uri = 'https://writer.example/'",
        "origin = 'document'",
        "auth_method = '', jwks = '', jwks_uri = '', dpop_bound = 0, events_uri = '', origin = 'host'",
    ],
)
def test_who_writes_to_the_table_changes_no_proof_address_or_origin(
    consent: Consent, engine: SqliteEngine, change: str
) -> None:
    vendor, _ = consent.vendors.add("Books", ["https://b.example/cb"], jwks=SET, dpop_bound=True)
    with engine.write() as transaction:
        transaction.execute(f"UPDATE vendors SET {change}")
    with pytest.raises(VendorNotFoundError):
        consent.vendors.get(vendor.client_id)


# --- vendors that nobody vouches for


@pytest.mark.parametrize(
    ("origin", "client_id", "shown"),
    [
        ("document", "https://books.example/vrm.json", "books.example"),
        ("document", "https://books.example:8443/vrm.json", "books.example:8443"),
        ("document", "https://xn--bcher-kva.example/vrm.json", "xn--bcher-kva.example"),
        ("registered", "vrm_client_x", "cb.example"),
    ],
)
def test_an_unverified_vendor_is_shown_by_its_domain(
    consent: Consent, engine: SqliteEngine, origin: str, client_id: str, shown: str
) -> None:
    made = replace(
        consent.vendors.add("x", ["https://cb.example/cb"])[0],
        client_id=client_id,
        origin=origin,
        claimed="Your Bank",
        auth_method="none",
        public=True,
    )
    with engine.write() as transaction:
        consent.vendors.put(transaction, made, None)
    found = consent.vendors.get(client_id)
    assert (found.name, found.shown_name, found.claimed, found.verified) == (shown, shown, "Your Bank", False)


# --- resource servers


def test_a_resource_server_is_found_by_its_address_to_the_character(consent: Consent) -> None:
    made, secret = consent.vendors.add(
        "Shelf Service", resource_server=True, resource="https://shelf.example/a"
    )
    assert secret
    assert consent.vendors.get(made.client_id).resource == "https://shelf.example/a"
    assert consent.vendors.of_resource("https://shelf.example/a") == made
    for other in ("https://shelf.example/a/", "https://shelf.example", "https://SHELF.example/a", ""):
        assert consent.vendors.of_resource(other) is None


def test_a_blocked_or_altered_resource_server_is_none(consent: Consent, engine: SqliteEngine) -> None:
    made, _ = consent.vendors.add("Shelf Service", resource_server=True, resource="https://shelf.example")
    consent.vendors.set_blocked(made.client_id, True)
    assert consent.vendors.of_resource("https://shelf.example") is None
    consent.vendors.set_blocked(made.client_id, False)
    with engine.write() as transaction:
        transaction.execute("UPDATE vendors SET resource = 'https://evil.example'")
    assert consent.vendors.of_resource("https://evil.example") is None


@pytest.mark.parametrize(
    "said",
    [
        {"resource_server": False, "redirect_uris": ("https://a.example/cb",)},
        {"resource_server": True, "public": True},
    ],
)
def test_only_a_resource_server_that_proves_itself_has_an_address(
    consent: Consent, said: dict[str, object]
) -> None:
    with pytest.raises(ValidationError):
        consent.vendors.add("Shelf Service", resource="https://shelf.example", **said)  # type: ignore[arg-type]


def test_two_resource_servers_cannot_share_an_address(consent: Consent) -> None:
    consent.vendors.add("Shelf Service", resource_server=True, resource="https://shelf.example")
    with pytest.raises(ValidationError):
        consent.vendors.add("Shelf Thief", resource_server=True, resource="https://shelf.example")
