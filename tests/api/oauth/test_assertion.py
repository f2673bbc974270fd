"""`private_key_jwt`: an assertion counts once, soon, for us, of whom it names; else there is one answer."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from joserfc.jwk import RSAKey
from werkzeug.test import TestResponse

from tests.api.actors import CALLBACK, Customer, Shop, handle_of, refused
from tests.conftest import SettableClock
from tests.outside import Page, Site, site, way_out
from vrm import jose
from vrm.api.oauth.assertion import ASSERTION_TYPE
from vrm.app import create_app
from vrm.consent.service import Consent
from vrm.consent.vendors import Vendor
from vrm.host import Host
from vrm.settings import Settings
from vrm.vault.sqlite import SqliteEngine
from vrm.vault.vault import Vaults

ISSUER = "http://127.0.0.1:8600"
KEY = {**jose.private_key(b"1" * 32), "kid": "one"}
OTHER = {**jose.private_key(b"2" * 32), "kid": "two"}
ED = {**jose.private_key(b"3" * 32, "Ed25519"), "kid": "ed"}


def public(*keys: dict[str, Any]) -> dict[str, Any]:
    return {"keys": [{name: value for name, value in key.items() if name != "d"} for key in keys]}


class Signing(Shop):
    """A vendor that proves itself by its key."""

    clock: SettableClock
    key: dict[str, Any] = KEY

    def claims(self, **changes: Any) -> dict[str, Any]:
        usual = {
            "iss": self.vendor.client_id,
            "sub": self.vendor.client_id,
            "aud": ISSUER,
            "exp": self.clock.at + 60,
            "iat": self.clock.at,
            "jti": secrets.token_urlsafe(8),
        }
        return {name: value for name, value in {**usual, **changes}.items() if value is not ...}

    def proof(self, **changes: Any) -> dict[str, str]:
        header = {"kid": self.key["kid"], **changes.pop("header", {})}
        signed = jose.sign(self.claims(**changes), changes.pop("key", self.key), header)
        return {"client_assertion_type": ASSERTION_TYPE, "client_assertion": signed}

    def form(self, **fields: str | None) -> dict[str, str]:
        if "client_assertion" not in fields:
            fields |= self.proof()
        return {name: value for name, value in fields.items() if value is not None}

    def give_back(self, **proof: str | None) -> TestResponse:
        """The smallest call that asks who calls."""
        return self.post("/oauth/revoke", token="vrm_at_x", **proof)


@pytest.fixture
def consent(engine: SqliteEngine, vaults: Vaults, clock: SettableClock) -> Consent:
    return Consent(engine, vaults, clock, outbound=way_out())


def signing(client: FlaskClient, vendor: Vendor, clock: SettableClock) -> Signing:
    made = Signing(client, vendor, None)
    made.clock = clock
    return made


@pytest.fixture
def signer(client: FlaskClient, consent: Consent, clock: SettableClock) -> Signing:
    vendor, secret = consent.vendors.add(
        "Corner Books",
        (CALLBACK,),
        purpose="ProvideProductRecommendations",
        jwks=json.dumps(public(KEY, OTHER, ED)),
    )
    assert secret is None
    return signing(client, vendor, clock)


def test_a_signed_assertion_is_enough_for_every_endpoint(signer: Signing, customer: Customer) -> None:
    code = customer.approve(handle_of(signer.ask()))
    tokens = signer.redeem(code).get_json()
    assert signer.read("/purchases", tokens["access_token"]).status_code == 200
    fresh = signer.refresh(tokens["refresh_token"]).get_json()
    assert signer.revoke(fresh["refresh_token"]).status_code == 200
    assert signer.refresh(fresh["refresh_token"]).get_json()["error"] == "invalid_grant"


@pytest.mark.parametrize(
    "key", [KEY, OTHER, ED, {**ED, "alg": "Ed25519"}], ids=["ES256", "other", "EdDSA", "Ed25519"]
)
def test_each_of_its_keys_counts(signer: Signing, key: dict[str, Any]) -> None:
    signer.key = key
    assert signer.give_back().status_code == 200
    assert signer.give_back(client_id=signer.vendor.client_id).status_code == 200


@pytest.mark.meets("fapi2-ensure-signed-client-assertion-with-RS256-fails")
def test_rsa_counts_with_pss_only(client: FlaskClient, consent: Consent, clock: SettableClock) -> None:
    key = {**RSAKey.generate_key(2048).as_dict(private=True), "kid": "rsa"}
    hidden = ("d", "p", "q", "dp", "dq", "qi")
    shown = {name: value for name, value in key.items() if name not in hidden}
    vendor, _ = consent.vendors.add("R", (CALLBACK,), jwks=json.dumps({"keys": [shown]}))
    one = signing(client, vendor, clock)
    one.key = key
    assert one.give_back().status_code == 200


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": ISSUER + "/oauth/token"},
        {"aud": ISSUER + "/oauth/par"},
        {"aud": [ISSUER]},
        {"aud": [ISSUER, ISSUER + "/oauth/token"]},
        {"typ": "x"},
        {"header": {"typ": "JWT"}},
        {"header": {"typ": "client-authentication+jwt"}},
        {"iat": ...},
        {"nbf": 8},
        {"iat": 8},
        {"nbf": -3000},
        {"exp": -5},
        {"exp": 3600},
        {"exp": 60.5},
        {"jti": "x" * 200},
    ],
    ids=str,
)
def test_an_assertion_within_the_rules_is_taken(signer: Signing, changes: dict[str, Any]) -> None:
    assert signer.give_back(**signer.proof(**at(signer, changes))).status_code == 200


def at(signer: Signing, changes: dict[str, Any]) -> dict[str, Any]:
    """Times as seconds from now."""
    times = ("exp", "nbf", "iat")
    numbers = (int, float)
    return {
        name: signer.clock.at + value
        if name in times and isinstance(value, numbers) and not isinstance(value, bool)
        else value
        for name, value in changes.items()
    }


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": ...},
        {"sub": ...},
        {"sub": 7},
        {"iss": "vrm_client_other"},
        {"sub": "vrm_client_other", "iss": "vrm_client_other"},
        {"aud": ...},
        {"aud": []},
        {"aud": [ISSUER, 7]},
        {"aud": [ISSUER, "https://other.example"]},
        {"aud": {"a": ISSUER}},
        {"aud": ISSUER + "/"},
        {"aud": ISSUER + "/oauth/revoke"},
        {"aud": "https://other.example"},
        {"exp": ...},
        {"exp": -10},
        {"exp": -300},
        {"exp": 3700},
        {"exp": "soon"},
        {"exp": True},
        {"exp": None},
        {"nbf": 60},
        {"nbf": 11},
        {"nbf": "x"},
        {"iat": 60},
        {"iat": -3700},
        {"iat": [1]},
        {"jti": ...},
        {"jti": ""},
        {"jti": 7},
        {"jti": "x" * 201},
        {"header": {"typ": "dpop+jwt"}},
        {"header": {"typ": "at+jwt"}},
        {"header": {"typ": 7}},
        {"header": {"kid": "unknown"}},
        {"header": {"crit": ["x"]}},
    ],
    ids=str,
)
def test_any_other_assertion_is_refused_alike(signer: Signing, changes: dict[str, Any]) -> None:
    answer = signer.give_back(**signer.proof(**at(signer, changes)))
    refused(answer, 401, "invalid_client")
    assert answer.get_json()["error_description"] == "client authentication failed"


def test_half_a_character_is_refused_like_any_other_name(signer: Signing) -> None:
    """It is JSON, but no text: neither a table nor a digest takes it."""
    for part in (b'"sub":"\\ud800","iss":"\\ud800"', b'"sub":"%b","iss":"%b","jti":"\\ud800"'):
        claims = b"{" + part.replace(b"%b", signer.vendor.client_id.encode()) + b"}"
        words = [base64.urlsafe_b64encode(one).rstrip(b"=").decode() for one in (b'{"alg":"ES256"}', claims)]
        forged = ".".join([*words, "AAAA"])
        answer = signer.give_back(client_assertion=forged, client_assertion_type=ASSERTION_TYPE)
        refused(answer, 401, "invalid_client")


def test_numbers_of_no_moment_are_refused(signer: Signing) -> None:
    for exp in (-1, 2**41, float("inf")):
        with_it = (
            signer.proof(exp=exp) if exp != float("inf") else {**signer.proof(), "client_assertion": "a.b.c"}
        )
        refused(signer.give_back(**with_it), 401, "invalid_client")


@pytest.mark.meets("oauch-Jwt/IsJwtReplayDetectedTest")
def test_a_replay_is_refused_at_every_endpoint(signer: Signing) -> None:
    proof = signer.proof()
    assert signer.give_back(**proof).status_code == 200
    refused(signer.give_back(**proof), 401, "invalid_client")
    refused(signer.refresh("vrm_rt_x", **proof), 401, "invalid_client")


def test_the_same_id_is_anothers_own(
    signer: Signing, client: FlaskClient, consent: Consent, clock: SettableClock
) -> None:
    vendor, _ = consent.vendors.add("Other", (CALLBACK,), jwks=json.dumps(public(KEY)))
    other = signing(client, vendor, clock)
    assert signer.give_back(**signer.proof(jti="same")).status_code == 200
    assert other.give_back(**other.proof(jti="same")).status_code == 200


def test_a_refused_assertion_does_not_use_its_id_up(signer: Signing) -> None:
    refused(
        signer.give_back(**signer.proof(jti="mine", key=jose.private_key(b"9" * 32))), 401, "invalid_client"
    )
    refused(signer.give_back(**signer.proof(jti="mine", aud="https://other.example")), 401, "invalid_client")
    assert signer.give_back(**signer.proof(jti="mine")).status_code == 200


def test_another_key_does_not_count(signer: Signing) -> None:
    for header in ({"kid": "one"}, {"kid": "x"}):
        forged = signer.proof(key=jose.private_key(b"9" * 32), header=header)
        refused(signer.give_back(**forged), 401, "invalid_client")


def test_an_assertion_of_one_beside_the_name_of_another_is_refused(signer: Signing, shop: Shop) -> None:
    answer = signer.give_back(**signer.proof(), client_id=shop.vendor.client_id)
    refused(answer, 401, "invalid_client")


def test_no_name_alone_is_enough(signer: Signing) -> None:
    fields = {"token": "vrm_at_x", "client_id": signer.vendor.client_id}
    refused(signer.client.post("/oauth/revoke", data=fields), 401, "invalid_client")


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"client_assertion_type": None}, "invalid_request"),
        ({"client_assertion": None}, "invalid_request"),
        ({"client_secret": "x"}, "invalid_request"),
        (
            {"client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:saml2-bearer"},
            "invalid_client",
        ),
        ({"client_assertion_type": ASSERTION_TYPE + " "}, "invalid_client"),
        ({"client_assertion": "nonsense"}, "invalid_client"),
        ({"client_assertion": "a.b.c"}, "invalid_client"),
        ({"client_assertion": "x" * 20_000}, ""),
    ],
    ids=str,
)
def test_a_malformed_proof_is_refused(signer: Signing, fields: dict[str, str | None], error: str) -> None:
    answer = signer.give_back(**{**signer.proof(), **fields})
    assert answer.status_code in (400, 401, 413)
    assert answer.get_json()["error"] in (error, "invalid_request")


@pytest.mark.meets("oauch-Jwt/IsSignatureRequiredTest")
def test_unsigned_and_symmetric_ones_are_refused(signer: Signing) -> None:
    def part(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    for header in ({"alg": "none"}, {"alg": "HS256", "kid": "one"}, {"alg": "RS256", "kid": "one"}):
        for signature in ("", "AAAA"):
            forged = f"{part(header)}.{part(signer.claims())}.{signature}"
            answer = signer.give_back(client_assertion=forged, client_assertion_type=ASSERTION_TYPE)
            refused(answer, 401, "invalid_client")


def test_two_ways_at_once_are_refused(signer: Signing, shop: Shop) -> None:
    fields = {"token": "vrm_at_x", **signer.proof()}
    answer = signer.client.post("/oauth/revoke", data=fields, headers=shop.basic)
    refused(answer, 400, "invalid_request")


def test_who_has_a_secret_cannot_sign_instead(shop: Shop, client: FlaskClient, clock: SettableClock) -> None:
    refused(signing(client, shop.vendor, clock).give_back(), 401, "invalid_client")


def test_a_blocked_vendor_proves_nothing(signer: Signing, consent: Consent) -> None:
    consent.vendors.set_blocked(signer.vendor.client_id, True)
    refused(signer.give_back(), 401, "invalid_client")


# --- keys at an address


@pytest.fixture
def there() -> Iterator[Site]:
    with site() as one:
        yield one


@pytest.fixture
def publishing(client: FlaskClient, consent: Consent, clock: SettableClock, there: Site) -> Signing:
    uri = there.put("/jwks", public(KEY))
    vendor, _ = consent.vendors.add("Corner Books", (CALLBACK,), jwks_uri=uri)
    return signing(client, vendor, clock)


def test_published_keys_are_fetched_once_an_hour(
    publishing: Signing, there: Site, clock: SettableClock
) -> None:
    for _ in range(3):
        assert publishing.give_back().status_code == 200
    assert len(there.seen) == 1
    clock.forward(3601)
    assert publishing.give_back().status_code == 200
    assert len(there.seen) == 2


def test_what_http_says_of_its_age_counts_between_five_minutes_and_an_hour(
    publishing: Signing, there: Site, clock: SettableClock
) -> None:
    for control, least, most in (
        ("max-age=1", 300, 301),
        ("no-store", 300, 301),
        ("max-age=9999999", 3600, 3601),
    ):
        clock.forward(90_000)
        there.put("/jwks", public(KEY), Cache_Control=control)
        assert publishing.give_back().status_code == 200
        before = len(there.seen)
        clock.forward(least - 1)
        assert publishing.give_back().status_code == 200
        assert len(there.seen) == before
        clock.forward(most - least + 1)
        assert publishing.give_back().status_code == 200
        assert len(there.seen) == before + 1


def test_a_new_key_is_found_at_once_and_a_key_that_was_taken_out_counts_no_more(
    publishing: Signing, there: Site, clock: SettableClock
) -> None:
    assert publishing.give_back().status_code == 200
    clock.forward(60)
    there.put("/jwks", public(OTHER))
    publishing.key = OTHER
    assert publishing.give_back().status_code == 200
    publishing.key = KEY
    refused(publishing.give_back(), 401, "invalid_client")
    assert len(there.seen) == 2


def test_unknown_keys_make_this_host_ask_once_a_minute_at_most(
    publishing: Signing, there: Site, clock: SettableClock
) -> None:
    assert publishing.give_back().status_code == 200
    publishing.key = OTHER
    for _ in range(3):
        refused(publishing.give_back(), 401, "invalid_client")
    assert len(there.seen) == 1
    clock.forward(60)
    for _ in range(3):
        refused(publishing.give_back(), 401, "invalid_client")
    assert len(there.seen) == 2


def test_a_clock_that_was_a_year_ahead_keeps_no_keys_for_a_year(
    publishing: Signing, there: Site, clock: SettableClock
) -> None:
    year = 365 * 86_400
    clock.forward(year)
    assert publishing.give_back().status_code == 200
    clock.forward(-year)
    there.put("/jwks", public(OTHER))
    publishing.key = OTHER
    assert publishing.give_back().status_code == 200


def test_an_outage_of_an_hour_is_outlasted(publishing: Signing, there: Site, clock: SettableClock) -> None:
    assert publishing.give_back().status_code == 200
    there.pages.clear()
    clock.forward(3601)
    assert publishing.give_back().status_code == 200
    assert publishing.give_back().status_code == 200
    assert len(there.seen) == 2, "held back after a failed try"
    clock.forward(3600)
    refused(publishing.give_back(), 401, "invalid_client")


BROKEN: dict[str, Callable[[Site], object]] = {
    "is not there": lambda there: there.pages.clear(),
    "is no set": lambda there: there.put("/jwks", {"a": 1}),
    "is a list": lambda there: there.put("/jwks", []),
    "is no JSON": lambda there: (
        there.put("/jwks", 1)
        and there.pages.update({"/jwks": Page(b"{", headers={"Content-Type": "application/json"})})
    ),
    "has a key twice": lambda there: there.pages.update(
        {"/jwks": Page(b'{"keys": [], "keys": []}', headers={"Content-Type": "application/json"})}
    ),
    "holds NaN": lambda there: there.pages.update(
        {"/jwks": Page(b'{"keys": NaN}', headers={"Content-Type": "application/json"})}
    ),
    "is not UTF-8": lambda there: there.pages.update(
        {"/jwks": Page(b'{"\xff": 1}', headers={"Content-Type": "application/json"})}
    ),
    "is nested too deep": lambda there: there.pages.update(
        {"/jwks": Page(b"[" * 9000, headers={"Content-Type": "application/json"})}
    ),
    "is a page": lambda there: there.put("/jwks", public(KEY), Content_Type="text/html"),
    "is too large": lambda there: there.put("/jwks", {**public(KEY), "x": "y" * 17_000}),
    "redirects": lambda there: there.pages.update({"/jwks": Page(b"", 302, {"Location": "/other"})}),
    "holds a private key": lambda there: there.put("/jwks", {"keys": [KEY]}),
}


@pytest.mark.parametrize("broken", BROKEN)
def test_an_address_that_holds_no_keys_proves_nothing_and_is_not_asked_again_at_once(
    publishing: Signing, there: Site, clock: SettableClock, broken: str
) -> None:
    good = dict(there.pages)
    BROKEN[broken](there)
    for _ in range(3):
        refused(publishing.give_back(), 401, "invalid_client")
    assert len(there.seen) == 1
    clock.forward(15)
    there.pages.update(good)
    assert publishing.give_back().status_code == 200


def test_a_set_said_to_be_one_is_taken(publishing: Signing, there: Site) -> None:
    there.put("/jwks", public(KEY), Content_Type="application/jwk-set+json; charset=utf-8")
    assert publishing.give_back().status_code == 200


def test_keys_inside_the_network_are_not_fetched(
    folder: Any, engine: SqliteEngine, vaults: Vaults, clock: SettableClock, there: Site
) -> None:
    guarded = Consent(engine, vaults, clock)
    settings = Settings(data_dir=folder, public_url=ISSUER)
    app: Flask = create_app(settings, host=Host(settings, engine, vaults, guarded, clock))
    vendor, _ = guarded.vendors.add("Evil", (CALLBACK,), jwks_uri=there.put("/jwks", public(KEY)))
    refused(signing(app.test_client(), vendor, clock).give_back(), 401, "invalid_client")
    assert there.seen == []


@pytest.mark.parametrize(
    "change",
    [
        "keys = ?",
        "keys = CAST(? AS BLOB)",
        "expires = expires + 1, keys = coalesce(keys, ?)",
        "expires = 'x' || ?",
    ],
)
def test_keys_that_somebody_wrote_into_the_database_are_fetched_anew(
    publishing: Signing, there: Site, engine: SqliteEngine, change: str
) -> None:
    assert publishing.give_back().status_code == 200
    with engine.write() as transaction:
        transaction.execute(f"UPDATE key_sets SET {change}", (json.dumps(public(OTHER)),))
    publishing.key = OTHER
    refused(publishing.give_back(), 401, "invalid_client")
    publishing.key = KEY
    assert publishing.give_back().status_code == 200
    assert len(there.seen) == 2


def test_keys_are_never_fetched_inside_a_transaction(
    publishing: Signing, consent: Consent, engine: SqliteEngine, there: Site
) -> None:
    with pytest.raises(RuntimeError, match="transaction"), engine.write():
        consent.keys.of(publishing.vendor)
    assert there.seen == []

    def write_meanwhile() -> None:
        with engine.write():
            pass

    there.at_call = write_meanwhile  # in the server's thread: waits where the caller holds a transaction
    assert publishing.give_back().status_code == 200


def test_old_keys_are_forgotten(
    publishing: Signing, consent: Consent, engine: SqliteEngine, clock: SettableClock
) -> None:
    assert publishing.give_back().status_code == 200
    consent.keys.sweep()
    assert len(engine.all("SELECT client_id FROM key_sets")) == 1
    clock.forward(7201)
    consent.sweep()
    assert engine.all("SELECT client_id FROM key_sets") == []


def test_a_vendor_without_keys_has_none(consent: Consent, shop: Shop) -> None:
    assert consent.keys.of(shop.vendor) == ()
