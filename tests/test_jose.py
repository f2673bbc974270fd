"""Signed tokens: what is taken, and every way of writing one that is not."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
from typing import Any

import pytest
from joserfc.jwk import ECKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

from vrm import jose
from vrm.errors import JoseError

EC = jose.private_key(b"e" * 32)
ED = jose.private_key(b"d" * 32, "Ed25519")
P25519 = 2**255 - 19
ORDER_8 = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
WEAK = [0, 1, P25519 - 1, P25519, P25519 + 1, 2**255 - 1, ORDER_8, P25519 - ORDER_8]
RSA: dict[str, Any] = dict(RSAKey.generate_key(2048).as_dict(private=True))
PRIVATE = ("d", "p", "q", "dp", "dq", "qi")


def public(key: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {name: value for name, value in key.items() if name not in PRIVATE} | more


def b64(value: object) -> str:
    blob = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(blob).rstrip(b"=").decode()


def raw(header: object, claims: object, key: dict[str, Any] = EC) -> str:
    """A token as an attacker writes it: any header and any claims, well signed."""
    message = f"{header if isinstance(header, str) else b64(header)}.{b64(claims)}"
    name, kind = {"EC": ("ES256", ECKey), "OKP": ("Ed25519", OKPKey), "RSA": ("PS256", RSAKey)}[key["kty"]]
    signature = JWSRegistry.algorithms[name].sign(message.encode(), kind.import_key(key))
    return f"{message}.{b64(signature)}"


@pytest.mark.parametrize(
    ("key", "algorithm"), [(EC, "ES256"), (RSA, "PS256"), (ED, "EdDSA"), (ED, "Ed25519")]
)
def test_what_was_signed_is_read(key: dict[str, Any], algorithm: str) -> None:
    token = jose.sign({"sub": "é"}, key, {"alg": algorithm, "typ": "x+jwt"})
    found = jose.read(token, [public(key)], typ="x+jwt")
    assert (found.header, found.claims) == ({"alg": algorithm, "typ": "x+jwt"}, {"sub": "é"})
    assert jose.unverified(token) == (found.header, found.claims)


@pytest.mark.parametrize(("key", "algorithm"), [(EC, "ES256"), (RSA, "PS256"), (ED, "EdDSA")])
def test_the_algorithm_is_the_keys_own(key: dict[str, Any], algorithm: str) -> None:
    assert jose.unverified(jose.sign({}, key, {}))[0] == {"alg": algorithm}
    with pytest.raises(ValueError, match="not one for this algorithm"):
        jose.sign({}, key, {"alg": "HS256"})


def test_a_key_is_found_by_its_name_or_tried() -> None:
    others = [public(jose.private_key(os.urandom(32)), kid=f"k{n}") for n in range(3)]
    keys = [{"kty": "oct", "k": "AAAA"}, *others, public(EC, kid="ours", alg="ES256"), public(RSA), {}]
    assert jose.read(jose.sign({}, EC, {"kid": "ours"}), keys)
    assert jose.read(jose.sign({}, EC, {}), keys)
    with pytest.raises(JoseError, match="no key"):
        jose.read(jose.sign({}, EC, {"kid": "k1"}), keys)
    with pytest.raises(JoseError, match="no key"):
        jose.read(jose.sign({}, EC, {"kid": ["ours"]}), keys)
    with pytest.raises(JoseError, match="more keys"):
        jose.read(jose.sign({}, EC, {}), others * 7)


def test_a_token_that_brings_its_key_is_read_by_it_alone() -> None:
    token = jose.sign({"a": 1}, EC, {"typ": "dpop+jwt", "jwk": public(EC)})
    found, key = jose.read_with_own_key(token, "dpop+jwt")
    assert (found, key) == ({"a": 1}, jose.thumbprint(public(EC)))
    other = jose.private_key(os.urandom(32))
    for header in (
        {"alg": "ES256", "typ": "dpop+jwt"},
        {"alg": "ES256", "typ": "dpop+jwt", "jwk": "key"},
        {"alg": "ES256", "typ": "dpop+jwt", "jwk": public(other)},
        {"alg": "ES256", "typ": "dpop+jwt", "jwk": EC},
        {"alg": "ES256", "typ": "dpop+jwt", "jwk": public(RSA)},
        {"alg": "ES256", "typ": "JWT", "jwk": public(EC)},
        {"alg": "Ed25519", "typ": "dpop+jwt", "jwk": public(ED, alg="EdDSA")},
    ):
        with pytest.raises(JoseError):
            jose.read_with_own_key(raw(header, {}, EC), "dpop+jwt")
    with pytest.raises(JoseError, match="no key"):
        jose.read(token, [])


@pytest.mark.parametrize(
    "header",
    [
        {},
        {"alg": "none"},
        {"alg": "HS256"},
        {"alg": "RS256"},
        {"alg": "ES384"},
        {"alg": "PS256"},
        {"alg": "Ed448"},
        {"alg": ["ES256"]},
        {"alg": None},
        {"alg": "ES256", "crit": ["exp"]},
        {"alg": "ES256", "crit": []},
        {"alg": "ES256", "b64": False},
        {"alg": "ES256", "typ": "other+jwt"},
        {"alg": "ES256", "typ": None},
        {"alg": "ES256", "typ": "X+JWT"},
    ],
)
def test_a_header_that_is_not_ours_is_refused(header: dict[str, Any]) -> None:
    with pytest.raises(JoseError):
        jose.read(raw({"typ": "x+jwt", **header}, {}), [public(EC), public(RSA)], typ="x+jwt")


def test_a_public_key_is_no_secret_of_a_mac() -> None:
    """The old trick: HS256, with the public key as the secret."""
    message = f"{b64({'alg': 'HS256'})}.{b64({})}"
    for secret in (json.dumps(public(EC)).encode(), b"AAAA"):
        mac = hmac.digest(secret, message.encode(), hashlib.sha256)
        with pytest.raises(JoseError, match="algorithm"):
            jose.read(f"{message}.{b64(mac)}", [public(EC), {"kty": "oct", "k": b64(secret)}])


def test_an_unsigned_token_is_refused() -> None:
    for token in (f"{b64({'alg': 'none'})}.{b64({})}.", f"{b64({'alg': 'none'})}.{b64({})}.AA"):
        with pytest.raises(JoseError):
            jose.read(token, [public(EC)])


GOOD = jose.sign({"a": 1}, ED, {})
HEAD, BODY, SIGNATURE = GOOD.split(".")


@pytest.mark.parametrize(
    "token",
    [
        "",
        "..",
        "a.b",
        f"{HEAD}.{BODY}",
        f"{GOOD}.",
        f"{GOOD}.{SIGNATURE}",
        f" {GOOD}",
        f"{GOOD}\n",
        f"{GOOD}=",
        f"{GOOD}==",
        f"{HEAD}.{BODY}.{SIGNATURE[:-1]}",
        f"{HEAD}.{BODY}.{SIGNATURE[:-1]}{'B' if SIGNATURE[-1] == 'A' else 'A'}",
        f"{HEAD}.{BODY}.{SIGNATURE}A",
        f"{HEAD}.{b64({'a': 2})}.{SIGNATURE}",
        f"{HEAD}.{BODY}.{SIGNATURE[:4]}\u00e9{SIGNATURE[5:]}",
        f"{HEAD}.{BODY}.{b64(bytes(64))}",
        f"{HEAD}.{BODY}.{b64(bytes(4000))}",
        GOOD + "A" * jose.MAX_TOKEN,
        "A" * 5 + f".{BODY}.{SIGNATURE}",
    ],
)
def test_what_is_not_the_token_that_was_signed_is_refused(token: str) -> None:
    with pytest.raises(JoseError):
        jose.read(token, [public(ED)])


@pytest.mark.parametrize(
    ("header", "claims"),
    [
        (b'{"alg":"ES256","alg":"ES256"}', b"{}"),
        (b'{"alg":"ES256"}', b'{"a":1,"a":2}'),
        (b'{"alg":"ES256"}', b'{"a":{"b":1,"b":2}}'),
        (b'{"alg":"ES256"}', b"[]"),
        (b'["alg"]', b"{}"),
        (b'{"alg":"ES256"}', b'{"a":NaN}'),
        (b'{"alg":"ES256"}', b'{"a":'),
        (b'{"alg":"ES256"}', b"\xff\xfe"),
        (b'{"alg":"ES256"}', b'{"a":' + b"[" * 5000),
        (b'{"alg":"ES256"}', b'{"a":' + b"9" * 6000 + b"}"),
        (b'{"alg":"ES256"}', b'{"a":"\\ud83d"}'),
        (b'{"alg":"ES256"}', b'{"\\uDE00\\uD83D":1}'),
        (b'{"alg":"ES256","kid":"\\udfff"}', b"{}"),
    ],
)
def test_json_that_reads_in_two_ways_is_refused(header: bytes, claims: bytes) -> None:
    with pytest.raises(JoseError):
        jose.read(raw(header, claims), [public(EC)])


def test_a_character_may_be_written_as_an_escape() -> None:
    assert jose.read(raw(b'{"alg":"ES256"}', b'{"a":"\\ud83d\\ude00"}'), [public(EC)]).claims == {
        "a": "\U0001f600"
    }


def other_coordinate(key: dict[str, Any], name: str, blob: bytes) -> dict[str, Any]:
    return public(key) | {name: b64(blob)}


@pytest.mark.meets("oauch-TokenEndpoint/ClientKeySecureTest")
@pytest.mark.parametrize(
    "key",
    [
        {},
        EC,
        ED,
        RSA,
        {"kty": "oct", "k": "AAAA"},
        public(EC, k="AAAA"),
        public(RSA) | {"n": b64(b"\xff" * 128)},
        public(RSA) | {"e": "Aw"},
        public(RSA) | {"n": b64(b"\0" + base64.urlsafe_b64decode(RSA["n"] + "=="))},
        public(RSA) | {"n": b64(b"\xff" * 513)},
        public(RSA) | {"n": RSA["n"] + "=="},
        public(EC) | {"crv": "P-384"},
        public(EC) | {"crv": "secp256k1"},
        public(EC) | {"crv": ["P-256"]},
        public(EC) | {"y": EC["x"]},
        public(EC) | {"x": EC["x"] + "A"},
        public(EC) | {"x": EC["x"] + "="},
        public(EC) | {"x": ""},
        public(EC) | {"x": 7},
        public(EC) | {"x": "A" * 2000},
        public(EC) | {"x": b64(bytes(31))},
        public(ED) | {"crv": "Ed448"},
        *(public(ED) | {"x": b64(y.to_bytes(32, "little"))} for y in WEAK),
        *(public(ED) | {"x": b64((y | 1 << 255).to_bytes(32, "little"))} for y in WEAK),
        public(ED) | {"crv": "X25519"},
        public(ED) | {"kty": "EC"},
        {"kty": "EC", "crv": "P-256", "x": EC["x"]},
        public(EC, use="enc"),
        public(EC, key_ops=["sign"]),
        public(EC, key_ops="verify"),
        public(EC, alg="RS256"),
        public(EC, kid=7),
        public(EC, kty=["EC"]),
    ],
)
def test_a_key_that_may_not_verify_for_us_is_refused(key: dict[str, Any]) -> None:
    with pytest.raises(JoseError):
        jose.public_key(key)


def test_of_a_key_only_what_is_known_is_kept() -> None:
    told = public(EC, kid="1", alg="ES256", use="sig", key_ops=["verify"], x5u="https://evil.example", n="x")
    assert jose.public_key(told) == public(EC, kid="1", alg="ES256", use="sig")


def test_thumbprints_are_those_of_the_standards() -> None:
    rfc7638 = {
        "kty": "RSA",
        "n": (
            "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZ"
            "CiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8K"
            "JZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xB"
            "niIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"
        ),
        "e": "AQAB",
        "alg": "RS256",
        "kid": "2011-04-29",
    }
    rsa = {name: rfc7638[name] for name in ("kty", "n", "e")}
    assert jose.thumbprint(rsa) == "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"
    ed = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}  # RFC 8037 A.3
    assert jose.thumbprint(ed) == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
    ec = {  # RFC 9449 section 6.1, the key of its examples
        "kty": "EC",
        "x": "l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs",
        "y": "9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA",
        "crv": "P-256",
    }
    assert jose.thumbprint({**ec, "kid": "x"}) == "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"


def test_a_seed_makes_one_key() -> None:
    for curve in ("P-256", "Ed25519"):
        assert jose.private_key(b"s" * 32, curve) == jose.private_key(b"s" * 32, curve)
        assert jose.private_key(b"t" * 32, curve) != jose.private_key(b"s" * 32, curve)
    with pytest.raises(ValueError, match="32 bytes"):
        jose.private_key(b"short")
