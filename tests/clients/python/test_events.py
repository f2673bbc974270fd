"""Events are believed where the vault's key signed them for us, lately; everything else is refused."""

import base64
import json

import pytest
from joserfc.jwk import OKPKey, RSAKey
from joserfc.jws import JWSRegistry

from vrm_client import BusyError, EventError, ProtocolError, UnreachableError, VrmClientError
from vrm_client.events import AHEAD, OLDEST, Event, issuer_of

REVOKED = {"urn:vrm:event:consent-revoked": {"grant_id": "g-1"}}


def encoded(blob):
    return base64.urlsafe_b64encode(blob).rstrip(b"=")


def signed(key, header, claims, *, algorithm="Ed25519"):
    parts = [encoded(one if isinstance(one, bytes) else json.dumps(one).encode()) for one in (header, claims)]
    message = b".".join(parts)
    return b".".join([*parts, encoded(JWSRegistry.algorithms[algorithm].sign(message, key))])


@pytest.fixture(scope="module")
def key():
    return OKPKey.generate_key("Ed25519")


@pytest.fixture
def keys(key, scripted, said):
    """What the vault publishes; a test may change it."""
    found = [{**key.as_dict(private=False), "kid": "one"}]
    scripted.metadata["jwks_uri"] = scripted.url + "/oauth/jwks.json"
    scripted.says("/oauth/jwks.json", lambda _: said({"keys": found}))
    return found


@pytest.fixture
def seen():
    return set()


@pytest.fixture
def receiver(vendor, keys, seen):
    return vendor.receiver(seen.__contains__)


@pytest.fixture
def header():
    return {"typ": "secevent+jwt", "alg": "EdDSA", "kid": "one"}


@pytest.fixture
def claims(scripted, unix):
    return {
        "iss": scripted.url,
        "aud": "corner:books",
        "iat": int(unix()),
        "jti": "event-number-1",
        "sub": "her-name-here",
        "events": REVOKED,
    }


def refused(receiver, body, code):
    with pytest.raises(EventError) as found:
        receiver.receive(body)
    assert found.value.code == code
    assert json.loads(found.value.body) == {"err": code, "description": str(found.value)}


def test_an_event_of_the_vault_is_read(receiver, key, header, claims, unix):
    event = receiver.receive(signed(key, header, claims))
    told = (int(unix()), "event-number-1", "her-name-here", None, claims["iss"])
    assert event == Event("consent-revoked", "g-1", *told)
    assert event.ends
    assert issuer_of(signed(key, header, claims)) == claims["iss"]


@pytest.mark.parametrize(
    ("kind", "about", "ends"),
    [
        ("consent-expired", {"grant_id": "g"}, True),
        ("erase-requested", {"grant_id": "g", "expected_by": 1_800_000_000}, True),
        ("consent-amended", {"grant_id": "g"}, False),
        ("data-changed", {"grant_id": "g"}, False),
        ("something-newer", {"grant_id": "g", "expected_by": "soon"}, False),
        ("test", {}, False),
    ],
)
def test_every_kind_says_whether_a_copy_may_be_kept(receiver, key, header, claims, kind, about, ends):
    claims["events"] = {f"urn:vrm:event:{kind}": about}
    event = receiver.receive(signed(key, header, claims))
    assert (event.kind, event.ends) == (kind, ends)
    assert event.expected_by == (1_800_000_000 if kind == "erase-requested" else None)


def test_one_that_was_acted_on_is_none(receiver, key, header, claims, seen):
    seen.add("event-number-1")
    assert receiver.receive(signed(key, header, claims)) is None


def test_keys_are_asked_for_once_and_again_for_a_new_one_but_not_by_anybodys_wish(
    receiver, key, keys, header, claims, scripted, unix
):
    receiver.receive(signed(key, header, claims))
    receiver.receive(signed(key, header, claims))
    assert len(scripted.to("/oauth/jwks.json")) == 1
    keys[0]["kid"] = "two"
    renamed = signed(key, {**header, "kid": "two"}, claims)
    with pytest.raises(BusyError):  # try again: it may be the vault's next key
        receiver.receive(renamed)
    unix.now += 61
    assert receiver.receive(renamed) is not None
    unix.now += 61
    refused(receiver, signed(key, header, claims), "invalid_key")
    assert len(scripted.to("/oauth/jwks.json")) == 3


def test_forged_ones_are_refused(receiver, header, claims):
    refused(receiver, signed(OKPKey.generate_key("Ed25519"), header, claims), "authentication_failed")


def test_one_changed_byte_is_refused(receiver, key, header, claims):
    head, body, signature = signed(key, header, claims).split(b".")
    claims["events"] = {"urn:vrm:event:erase-requested": {"grant_id": "g-1"}}
    changed = encoded(json.dumps(claims).encode())
    refused(receiver, b".".join([head, changed, signature]), "authentication_failed")
    refused(receiver, b".".join([head, body, encoded(bytes(64))]), "authentication_failed")
    refused(receiver, b".".join([head, body, b""]), "authentication_failed")


@pytest.mark.parametrize("algorithm", ["none", "HS256", "RS256", "ES256", None])
def test_no_other_algorithm_is_taken_whatever_signed_it(receiver, key, header, claims, algorithm):
    refused(receiver, signed(key, {**header, "alg": algorithm}, claims), "invalid_request")


@pytest.mark.parametrize("change", [{"typ": "JWT"}, {"typ": "at+jwt"}, {"typ": None}, {"crit": ["exp"]}])
def test_a_token_of_another_kind_is_no_event(receiver, key, header, claims, change):
    refused(receiver, signed(key, {**header, **change}, claims), "invalid_request")


def test_a_key_in_the_token_itself_counts_for_nothing(receiver, header, claims):
    own = OKPKey.generate_key("Ed25519")
    body = signed(own, {**header, "jwk": own.as_dict(private=False)}, claims)
    refused(receiver, body, "authentication_failed")
    unnamed = {name: value for name, value in header.items() if name != "kid"}
    refused(receiver, signed(own, unnamed, claims), "invalid_key")


@pytest.mark.parametrize("issuer", ["https://other.example", None])
def test_another_vaults_event_is_refused(receiver, key, header, claims, issuer):
    refused(receiver, signed(key, header, {**claims, "iss": issuer}), "invalid_issuer")


@pytest.mark.parametrize("audience", ["other", ["corner:books", "other"], [], None])
def test_an_event_for_somebody_else_is_refused(receiver, key, header, claims, audience):
    refused(receiver, signed(key, header, {**claims, "aud": audience}), "invalid_audience")


def test_an_old_event_is_refused(receiver, key, header, claims, unix):
    claims["events"] = {"urn:vrm:event:data-changed": {"grant_id": "g-1"}}
    body = signed(key, header, claims)
    unix.now += OLDEST
    assert receiver.receive(body) is not None
    unix.now += 1
    refused(receiver, body, "invalid_request")


@pytest.mark.parametrize("kind", ["consent-revoked", "consent-expired", "erase-requested"])
def test_that_a_grant_has_ended_is_taken_in_however_late_it_comes(receiver, key, header, claims, unix, kind):
    claims["events"] = {f"urn:vrm:event:{kind}": {"grant_id": "g-1"}}
    unix.now += 100 * OLDEST
    assert receiver.receive(signed(key, header, claims)).ends


def test_one_of_tomorrow_may_come_again_once_the_clocks_agree(receiver, key, header, claims, unix):
    body = signed(key, header, claims)
    unix.now -= AHEAD + 1
    with pytest.raises(BusyError):
        receiver.receive(body)
    unix.now += 1
    assert receiver.receive(body) is not None


def test_a_key_that_the_vault_took_out_counts_no_more_after_an_hour(
    receiver, key, keys, header, claims, scripted, unix
):
    body = signed(key, header, claims)
    assert receiver.receive(body) is not None
    keys[0]["kid"] = "another"
    unix.now += 3599
    assert receiver.receive(body) is not None
    unix.now += 1
    refused(receiver, body, "invalid_key")
    assert len(scripted.to("/oauth/jwks.json")) == 2


@pytest.mark.parametrize(
    "change",
    [
        {"events": {}},
        {"events": []},
        {"events": {**REVOKED, "urn:vrm:event:test": {}}},
        {"events": {"https://schemas.example/other": {}}},
        {"events": {"urn:vrm:event:consent-revoked": "g-1"}},
        {"events": {"urn:vrm:event:consent-revoked": {}}},
        {"events": {"urn:vrm:event:consent-revoked": {"grant_id": 5}}},
        {"sub": 5},
        {"jti": ""},
        {"jti": 12345678},
        {"jti": "x" * 300},
        {"iat": "now"},
        {"iat": True},
    ],
)
def test_what_is_no_event_is_refused_though_the_vault_signed_it(receiver, key, header, claims, change):
    refused(receiver, signed(key, header, {**claims, **change}), "invalid_request")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"a.b",
        b"a.b.c.d",
        b"!!.e30.AAAA",
        b"e30=.e30.AAAA",
        b"e31.e30.AAAA",
        b"W10.e30.AAAA",
        encoded(b'{"a":1,"a":2}') + b".e30.AAAA",
        encoded(b"\xff") + b".e30.AAAA",
        encoded(b"[" * 9000) + b".e30.AAAA",
        b"e30.e30." + b"A" * 20_000,
        "ü.e30.AAAA".encode(),
    ],
)
def test_what_is_no_token_is_refused_before_anything_is_fetched(receiver, scripted, body):
    refused(receiver, body, "invalid_request")
    assert scripted.calls == []
    with pytest.raises(EventError):
        issuer_of(body)


def test_who_says_nothing_of_itself_is_nobody():
    with pytest.raises(EventError, match="whose"):
        issuer_of(b"e30.e30.AAAA")


def test_other_kinds_of_keys_and_private_ones_are_passed_over(receiver, key, keys, header, claims):
    rsa = RSAKey.generate_key(2048).as_dict(private=False)
    keys[:] = [{**rsa, "kid": "one"}, {**key.as_dict(private=True), "kid": "one"}, {"kty": "OKP"}, "x"]
    refused(receiver, signed(key, header, claims), "invalid_key")


@pytest.mark.parametrize("x", ["short", "", None])
def test_a_broken_key_of_the_vault_is_the_vaults_mistake(receiver, key, keys, header, claims, x):
    keys[0]["x"] = x
    with pytest.raises(ProtocolError):
        receiver.receive(signed(key, header, claims))


def test_while_the_keys_cannot_be_had_nothing_is_decided(receiver, key, header, claims, scripted, said):
    scripted.says("/oauth/jwks.json", said(status=503))
    with pytest.raises(UnreachableError):
        receiver.receive(signed(key, header, claims))
    scripted.says("/oauth/jwks.json", said({"keys": "none"}))
    refused(receiver, signed(key, header, claims), "invalid_key")


def test_a_vault_without_keys_sends_no_events(receiver, key, header, claims, scripted):
    del scripted.metadata["jwks_uri"]
    with pytest.raises(ProtocolError):
        receiver.receive(signed(key, header, claims))


def test_without_the_library_it_says_which_to_install(receiver, key, header, claims, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "joserfc.jws", None)
    with pytest.raises(VrmClientError, match="vrm-client\\[keys\\]"):
        receiver.receive(signed(key, header, claims))
