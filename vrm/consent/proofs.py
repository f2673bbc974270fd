"""Proofs of possession (DPoP, RFC 9449): that who sends a token holds the key that it is bound to.

Promises: a proof is for one method and one address of this host, for a token where one comes with it, made
within a minute of now, and counts once among all workers and processes; it proves a public key, by its
thumbprint. Nonces are a MAC of the time under the server key: nothing is stored, every process knows them,
and whoever once had a key cannot make proofs for next week. Refuses everything else with one of three
errors, which say what to mend and repeat nothing of the proof.
"""

from __future__ import annotations

import base64
import math
import re
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any
from urllib.parse import unquote, urlsplit

from vrm import jose
from vrm.clock import Clock
from vrm.consent.once import Once
from vrm.errors import JoseError, NonceError, ProofError, ReplayError
from vrm.vault import crypto
from vrm.vault.engine import Transaction
from vrm.vault.envelope import pack
from vrm.vault.serverkey import ServerKey

TYPE = "dpop+jwt"
AROUND = 60  # seconds that a proof may be older or newer than our clock says
NONCE_STRETCH = 120  # seconds in which one nonce is given; it is taken for as long again
MAX_JTI = 256  # characters
_PORTS = {"https": 443, "http": 80}
_ADDRESS = re.compile(r"(?i:https?)://[\x21-\x7e]{1,2048}")
_ESCAPE = re.compile(r"%[0-9A-Fa-f]{2}")
_UNRESERVED = re.compile(r"[A-Za-z0-9._~-]")


@dataclass(slots=True)
class Proof:
    """A proof that was checked; `spend` makes it count, once."""

    jkt: str  # RFC 7638 thumbprint of its key
    fresh_nonce: str  # what the next proof should bear instead; "" while there is time
    _once: Once = field(repr=False)
    _value: bytes = field(repr=False)
    _ends: int = field(repr=False)
    spent: bool = False

    def spend(self, transaction: Transaction | None = None) -> None:
        """In the transaction of what it is for; ReplayError for all but one of those that try.

        Does nothing where this very request has spent it: reading a page may take several transactions.
        """
        if self.spent:
            return
        if not self._once.claim("dpop", self._value, self._ends, transaction):
            raise ReplayError()
        self.spent = True
        if transaction is not None:
            transaction.on_rollback(self._return)

    def _return(self) -> None:
        self.spent = False


def jkt_of(proof: Proof | None) -> str:
    """The thumbprint of the key that was proved, "" for none."""
    return "" if proof is None else proof.jkt


class Proofs:
    """Checks proofs for one host."""

    def __init__(self, server_key: ServerKey, once: Once, clock: Clock) -> None:
        self._server_key = server_key
        self._once = once
        self._clock = clock

    def check(self, sent: str, method: str, url: str, *, token: str = "", nonce: bool = False) -> Proof:
        """The proof in a `DPoP` header, for a request by this method to this address (RFC 9449 section 4.3).

        `token`: the access token that came with it. `nonce`: whether one is demanded; one that is given must
        be good in any case. Raises ProofError, NonceError. Nothing is spent yet.
        """
        claims, jkt = _signed(sent)
        now = self._clock.now()
        if claims.get("htm") != method or not _same_address(claims.get("htu"), url):
            raise ProofError("the proof is for another method or address")
        made = _moment(claims, "iat", None)
        if not now - AROUND <= made <= now + AROUND or not _moment(claims, "nbf", now) <= now + AROUND:
            raise ProofError("the proof was not made just now")
        if not _moment(claims, "exp", now + 1) > now:
            raise ProofError("the proof has expired")
        if token and not crypto.equal(_bytes(claims.get("ath")), _hash_of(token)):
            raise ProofError("the proof is for another access token")
        jti = claims.get("jti")
        if not isinstance(jti, str) or not 0 < len(jti) <= MAX_JTI:
            raise ProofError("the proof needs an id (jti) of 1 to 256 characters")
        fresh = self._judged(claims.get("nonce"), demanded=nonce)
        value = pack(jkt, jti.encode("utf-8", "surrogatepass"))
        return Proof(jkt, fresh, self._once, value, int(made) + AROUND + 1)

    @property
    def nonce(self) -> str:
        """The one to give now."""
        return self._server_key.nonce(self._stretch)

    @property
    def _stretch(self) -> int:
        return self._clock.now() // NONCE_STRETCH

    def _judged(self, nonce: object, *, demanded: bool) -> str:
        """The nonce to use from now on, "" if that is this one; NonceError for old and foreign ones."""
        if nonce is None and not demanded:
            return ""
        newest, given = self.nonce, _bytes(nonce)
        if crypto.equal(given, newest.encode()):
            return ""
        if not crypto.equal(given, self._server_key.nonce(self._stretch - 1).encode()):
            raise NonceError(newest)
        return newest


def _signed(sent: str) -> tuple[dict[str, Any], str]:
    try:
        return jose.read_with_own_key(sent, TYPE)
    except JoseError as error:
        raise ProofError(f"the proof is not good: {error}") from None


def _moment(claims: dict[str, Any], name: str, otherwise: float | None) -> float:
    """A NumericDate (RFC 7519 section 2); ProofError for what is none, and for one that must be there."""
    value = claims.get(name, otherwise)
    if isinstance(value, bool) or not (
        isinstance(value, int) or (isinstance(value, float) and math.isfinite(value))
    ):
        raise ProofError(f"{name} of the proof is no moment")
    return value


def _bytes(value: object) -> bytes:
    return value.encode("utf-8", "surrogatepass") if isinstance(value, str) else b""


def _hash_of(token: str) -> bytes:
    return base64.urlsafe_b64encode(sha256(token.encode()).digest()).rstrip(b"=")


def _same_address(told: object, url: str) -> bool:
    """Whether `htu` means this address; query and fragment are passed over (RFC 9449 section 4.3)."""
    if not isinstance(told, str):
        return False
    if told == url:
        return True
    normal = _normal(told)
    return normal is not None and normal == _normal(url)


def _normal(url: str) -> tuple[str, str, int | None, str] | None:
    """(scheme, host, port, path) as RFC 3986 sections 6.2.2 and 6.2.3 write them; None for other things."""
    if not _ADDRESS.fullmatch(url):
        return None
    try:
        parts = urlsplit(url)
        port = parts.port or _PORTS[parts.scheme]
    except ValueError:
        return None
    if not parts.hostname or "@" in parts.netloc:
        return None
    return parts.scheme, parts.hostname, port, _without_dots(_ESCAPE.sub(_one_way, parts.path or "/"))


def _one_way(escape: re.Match[str]) -> str:
    """An escaped character in its one form: plain where it needs no escape, else in capitals."""
    plain = unquote(escape[0])
    return plain if _UNRESERVED.fullmatch(plain) else escape[0].upper()


def _without_dots(path: str) -> str:
    """RFC 3986 section 5.2.4, for a path that begins with a slash."""
    kept: list[str] = []
    steps = path.split("/")[1:]
    for step in steps:
        if step == "..":
            del kept[-1:]
        elif step != ".":
            kept.append(step)
    if steps[-1] in (".", ".."):
        kept.append("")
    return "/" + "/".join(kept)
