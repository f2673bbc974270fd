"""Signed JSON tokens (JWS compact form, RFC 7515): the only module that touches `joserfc`.

Promises: a token is taken to pieces in one way only (three parts of canonical base64url, JSON objects
without a key twice); the algorithm is one of our short list and fits the key; `read` takes no key out of the
token itself, and none is ever fetched. Refuses: `none`, MACs, RSA with PKCS #1 v1.5, private or symmetric
keys where public ones belong, RSA below 2048 bits, curves besides P-256 and Ed25519, `crit` and `b64`
(RFC 7797), tokens that are too long. Every refusal is a JoseError, which repeats nothing of the token.

joserfc's own `deserialize_compact` is not used: it ignores characters that are no base64url, takes the last
of two equal keys, and bounds headers below the size of an RSA key. It is loaded with the first token: a
server that waited for it would start a tenth later.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from vrm import strict_json
from vrm.errors import JoseError

if TYPE_CHECKING:
    from joserfc.jwk import ECKey, Key, OKPKey, RSAKey

__all__ = [
    "ALGORITHMS",
    "JoseError",
    "Signed",
    "private_key",
    "public_key",
    "read",
    "read_with_own_key",
    "sign",
    "thumbprint",
    "unverified",
]

ALGORITHMS = ("ES256", "PS256", "EdDSA", "Ed25519")  # EdDSA is RFC 8037's name of what RFC 9864 calls Ed25519
MAX_TOKEN = 16 * 1024  # characters
_MAX_KEYS = 20  # of one set that are tried for a token without a key id
_RSA_BITS = (2048, 4096)
_COMPACT = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)")
_PRIVATE = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
_ABOUT = ("kid", "alg", "use")  # what is kept of a key beside its numbers
_RSA, _EC, _OKP = ("kty", "n", "e"), ("kty", "crv", "x", "y"), ("kty", "crv", "x")
_SHAPES = {("RSA", ""): _RSA, ("EC", "P-256"): _EC, ("OKP", "Ed25519"): _OKP}
_WORDS = ("kty", "crv")
_P256_DER = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d03010703420004")  # RFC 5480, then x and y
_P25519 = 2**255 - 19
_SMALL = {  # the y of the points of small order: anybody can make signatures that fit them
    *(0, 1, _P25519 - 1),
    0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826,
    0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7,
}
_FITS = {"RSA": ("PS256",), "EC": ("ES256",), "OKP": ("EdDSA", "Ed25519")}  # the first is what we sign with

Json = dict[str, Any]


@cache
def _models() -> dict[str, Any]:
    """What signs and verifies, by algorithm."""
    from joserfc.jws import JWSRegistry

    known = JWSRegistry.algorithms
    found = {name: known[name] for name in ("ES256", "PS256", "Ed25519")}
    return {**found, "EdDSA": known["Ed25519"]}  # the same signature; joserfc's own EdDSA takes Ed448 as well


@cache
def _kinds() -> dict[str, type[ECKey | OKPKey | RSAKey]]:
    from joserfc.jwk import ECKey, OKPKey, RSAKey

    return {"EC": ECKey, "OKP": OKPKey, "RSA": RSAKey}


@dataclass(frozen=True, slots=True)
class Signed:
    """A token whose signature was verified."""

    header: Json
    claims: Json


def unverified(token: str) -> tuple[Json, Json]:
    """(header, claims) of a token that anybody may have written; to find out whose keys to ask for."""
    header, claims, _, _ = _pieces(token)
    return header, claims


def read(token: str, keys: Sequence[Mapping[str, Any]], *, typ: str | None = None) -> Signed:
    """The token, if one of these public keys verifies it; JoseError otherwise.

    `typ`: what must stand in the header (RFC 8725 section 3.11); None if anything may. Where the header
    names a key (`kid`), only keys of that name are tried.
    """
    header, claims, message, signature = _pieces(token)
    algorithm = _algorithm(header, typ)
    for key in _candidates(keys, header.get("kid"), algorithm):
        if _models()[algorithm].verify(message, signature, key):
            return Signed(header, claims)
    raise JoseError("no key verifies the signature")


def read_with_own_key(token: str, typ: str) -> tuple[Json, str]:
    """The claims of a token that brings the public key it is verified by, and that key's thumbprint.

    The key is `jwk` in the header (RFC 7515 section 4.1.3). That proves that whoever made the token holds the
    private key, not who that is.
    """
    header, claims, message, signature = _parts(token)
    algorithm, key, print_ = _own_key(header, typ)
    if not _models()[algorithm].verify(message, signature, key):
        raise JoseError("the key does not verify the signature")
    return _object(claims), print_


@lru_cache(maxsize=256)
def _own_key(part: str, typ: str) -> tuple[str, Key, str]:
    """(algorithm, key, thumbprint) of a header, as it is written: a pure function of public bytes.

    Who reads often sends one header again and again, and OpenSSL verifies by a key it has used before in half
    the time. What is refused is not kept.
    """
    header = _object(part) if len(part) <= MAX_TOKEN // 4 else {}
    algorithm = _algorithm(header, typ)
    if not isinstance(header.get("jwk"), dict):
        raise JoseError("the header brings no key")
    told, key = _checked(header["jwk"])
    if not _fits(told, algorithm):
        raise JoseError("the key is not one for this algorithm")
    return algorithm, key, _thumbprint(told)


def public_key(jwk: Mapping[str, Any]) -> Json:
    """The key with nothing but its numbers, `kid`, `alg` and `use`; JoseError unless it may verify for us.

    Refuses private parts, symmetric keys, weak ones, other curves, numbers not in their one canonical form
    (so that one key has one thumbprint), and keys meant for something else.
    """
    return _checked(jwk)[0]


def _checked(jwk: Mapping[str, Any]) -> tuple[Json, Key]:
    names = _SHAPES.get((str(jwk.get("kty")), str(jwk.get("crv", ""))))
    if names is None or _PRIVATE & jwk.keys():
        raise JoseError("not a public key of a kind that is accepted here")
    found = {name: _text(jwk, name) for name in (*names, *(name for name in _ABOUT if name in jwk))}
    operations = jwk.get("key_ops", ["verify"])
    if found.get("use", "sig") != "sig" or not isinstance(operations, list) or "verify" not in operations:
        raise JoseError("the key is not one for signatures")
    if "alg" in found and found["alg"] not in _FITS[found["kty"]]:
        raise JoseError("the key is for an algorithm that is not accepted here")
    numbers = [_decoded(found[name]) for name in names if name not in _WORDS]
    _check_numbers(found["kty"], numbers)
    return found, _usable(names, tuple(found[name] for name in names), b"".join(numbers))


@lru_cache(maxsize=256)
def _usable(names: tuple[str, ...], values: tuple[str, ...], numbers: bytes) -> Key:
    """The key of these numbers: a pure function of public bytes, kept as `_own_key` is; refusals are not."""
    from joserfc.errors import JoseError as JoserfcError

    try:
        if names is _EC:  # reading it from DER takes half as long, for the same check that it is on the curve
            return _kinds()["EC"].import_key(_P256_DER + numbers)
        return _kinds()[values[0]].import_key(dict(zip(names, values, strict=True)))
    except (JoserfcError, ValueError):
        raise JoseError("not a usable key") from None


def thumbprint(jwk: Mapping[str, Any]) -> str:
    """RFC 7638 with SHA-256, in base64url: the same for every way of writing down one key."""
    return _thumbprint(public_key(jwk))


def _thumbprint(key: Json) -> str:
    names = sorted(_SHAPES[key["kty"], key.get("crv", "")])
    text = json.dumps({name: key[name] for name in names}, separators=(",", ":"))
    return _encoded(sha256(text.encode()).digest()).decode()


def sign(claims: Mapping[str, Any], private_jwk: Mapping[str, Any], header: Mapping[str, Any]) -> str:
    """A token in compact form. `alg` is the key's own and need not be given; `header` holds the rest."""
    key = dict(private_jwk)
    kind = _kinds()[key["kty"]].import_key(key)
    algorithm = header.get("alg") or key.get("alg") or _FITS[key["kty"]][0]
    if algorithm not in _FITS[key["kty"]]:
        raise ValueError("the key is not one for this algorithm")
    parts = (_written({"alg": algorithm, **header}), _written(claims))
    message = b".".join(parts)
    return b".".join((*parts, _encoded(_models()[algorithm].sign(message, kind)))).decode()


def private_key(seed: bytes, curve: str = "P-256") -> Json:
    """The private key on P-256 or Ed25519 that a seed of 32 uniform bytes or more stands for."""
    if len(seed) < 32:
        raise ValueError("a seed has 32 bytes or more")
    from joserfc.jwk import ECKey, OKPKey

    made = ECKey.derive_key(seed, curve) if curve == "P-256" else OKPKey.derive_key(seed, "Ed25519")
    return dict(made.as_dict(private=True))


def _parts(token: str) -> tuple[str, str, bytes, bytes]:
    """(header, claims, what is signed, signature)."""
    found = _COMPACT.fullmatch(token) if len(token) <= MAX_TOKEN else None
    if found is None:
        raise JoseError("not a signed token in compact form")
    header, claims, signature = found.groups()
    return header, claims, token[: found.end(2)].encode(), _decoded(signature)


def _pieces(token: str) -> tuple[Json, Json, bytes, bytes]:
    header, claims, message, signature = _parts(token)
    return _object(header), _object(claims), message, signature


def _algorithm(header: Json, typ: str | None) -> str:
    """The algorithm of a header that asks for nothing we do not understand."""
    algorithm = header.get("alg")
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        raise JoseError("signed by an algorithm that is not accepted here")
    if typ is not None and header.get("typ") != typ:
        raise JoseError("a token of another type")
    if "crit" in header or "b64" in header:
        raise JoseError("the header asks for an extension that is not understood")
    return algorithm


def _fits(key: Json, algorithm: str) -> bool:
    return algorithm in _FITS[key["kty"]] and key.get("alg", algorithm) == algorithm


def _candidates(keys: Sequence[Mapping[str, Any]], kid: object, algorithm: str) -> list[Key]:
    """The few keys by which the token may be signed; others are passed over (RFC 7517 section 5)."""
    found = []
    for key in keys:
        if kid is not None and key.get("kid") != kid:
            continue
        with suppress(JoseError):
            told, usable = _checked(key)
            if _fits(told, algorithm):
                found.append(usable)
    if len(found) > _MAX_KEYS:
        raise JoseError("more keys than are tried: name one")
    return found


def _check_numbers(kind: str, numbers: list[bytes]) -> None:
    """Canonical forms, and an RSA key neither weak nor slow on purpose."""
    if kind != "RSA":
        if any(len(number) != 32 for number in numbers):
            raise JoseError("a coordinate of 32 bytes is asked for")
        if kind == "OKP":
            _check_point(int.from_bytes(numbers[0], "little") & (1 << 255) - 1)
        return
    modulus, exponent = numbers
    bits = int.from_bytes(modulus, "big").bit_length()
    if not modulus[0] or not _RSA_BITS[0] <= bits <= _RSA_BITS[1] or exponent != b"\x01\x00\x01":
        raise JoseError("an RSA key of 2048 to 4096 bits with the exponent 65537 is asked for")


def _check_point(y: int) -> None:
    """An Ed25519 key written in one way only, and not one by which anybody can sign."""
    if y >= _P25519 or y in _SMALL:
        raise JoseError("not a usable key")


def _text(jwk: Mapping[str, Any], name: str) -> str:
    value = jwk.get(name)
    if not isinstance(value, str) or not value or len(value) > 1024:
        raise JoseError("not a usable key")
    return value


def _object(part: str) -> Json:
    """Strict JSON: an object, no key twice, no NaN, no half of a character, which nothing could store."""
    try:
        text = _decoded(part).decode()
        found = strict_json.loads(text)
        if "\\u" in text:  # only an escape can write half a character
            json.dumps(found, ensure_ascii=False).encode()
    except ValueError:
        raise JoseError("a part of the token is not JSON with unique keys") from None
    if not isinstance(found, dict):
        raise JoseError("a part of the token is not a JSON object")
    return found


def _decoded(text: str) -> bytes:
    """Base64url without padding, in the one form that these bytes have."""
    try:
        found = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError):
        raise JoseError("not base64url") from None
    if _encoded(found) != text.encode():
        raise JoseError("not canonical base64url")
    return found


def _encoded(blob: bytes) -> bytes:
    return base64.urlsafe_b64encode(blob).rstrip(b"=")


def _written(document: Mapping[str, Any]) -> bytes:
    return _encoded(json.dumps(document, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode())
