"""How codes and tokens are written, and what each of them carries in its wrap.

A token is a prefix and 32 random bytes with a checksum. Lookup id and wrapping key are derived from it and
from the pepper. What it carries is sealed under that key and bound to its row: whoever edits the table can
neither give a token other keys, nor a longer life, nor free it from the key that its vendor must prove.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import zlib

from vrm.consent.endings import ELSEWHERE
from vrm.consent.scopes import Part
from vrm.consent.views import GrantKeys
from vrm.vault import crypto
from vrm.vault.crypto import Cipher, Key, Purpose
from vrm.vault.envelope import lp, pack_record, unpack

PREFIXES = {
    "code": "vrm_ac_",
    "access": "vrm_at_",
    "refresh": "vrm_rt_",
    "request": "vrm_rq_",
    "reference": "vrm_rr_",
    "link": "vrm_rl_",
    "ticket": "vrm_tk_",
    "device": "vrm_dc_",
    "tool": "vrm_tt_",
}
_PIECE = 60_000  # bytes of one part in what a token carries
_BOUND = {kind: crypto.context(Purpose.TOKEN_WRAP, kind) for kind in (*PREFIXES, ELSEWHERE)}


def write_token(kind: str, raw: bytes) -> str:
    """Prefix ‖ base64url(32 bytes ‖ CRC-32): the checksum lets a scanner tell a token from noise."""
    prefix = PREFIXES[kind]
    return prefix + base64.urlsafe_b64encode(raw + _checksum(prefix, raw)).decode()


def _checksum(prefix: str, raw: bytes) -> bytes:
    return zlib.crc32(prefix.encode() + raw).to_bytes(4, "big")


def written(kind: str) -> str:
    """As which kind a token is written: for the vendor, one for another resource server is like any other."""
    return "access" if kind == ELSEWHERE else kind


def read_token(kind: str, text: str) -> bytes | None:
    """The 32 bytes, or None for anything that is not such a token."""
    prefix = PREFIXES[kind]
    if len(text) != len(prefix) + 48 or not text.startswith(prefix) or "+" in text or "/" in text:
        return None
    try:  # 48 characters are 36 bytes without a bit to spare: there is one way to write them
        blob = base64.urlsafe_b64decode(text[len(prefix) :])
    except (binascii.Error, ValueError):
        return None
    raw, check = blob[:32], blob[32:]
    return raw if _checksum(prefix, raw) == check else None


def challenge_of(verifier: str) -> str:
    """The S256 challenge of a PKCE verifier (RFC 7636 section 4.2)."""
    seen = hashlib.sha256(verifier.encode("utf-8", "replace")).digest()
    return base64.urlsafe_b64encode(seen).rstrip(b"=").decode()


def split(kind: str, raw: bytes, pepper: bytes) -> tuple[bytes, Key]:
    """(lookup id, wrapping key) of a token."""
    return crypto.split_secret(raw, pepper, Purpose.TOKEN, kind)


def wrap_cipher(wrapping: Key, kind: str, lookup: bytes, grant_id: str, expires: int) -> Cipher:
    """Seals what the token carries, bound to all that the table says of it in clear."""
    return Cipher.within(wrapping, _BOUND[kind] + lp(lookup) + pack_record(grant_id, expires))


def with_keys(keys: GrantKeys, made: bytes, scopes: tuple[str, ...]) -> list[str | bytes]:
    """What an access token for this vault carries: the keys of its scopes."""
    carried: list[str | bytes] = [keys.common.reveal(), made]
    for name in scopes:
        carried += [name, keys.scope_key(name).reveal()]
    return carried


def without_keys(
    audience: str, made: bytes, scopes: tuple[str, ...], parts: list[Part], grant_id: str
) -> list[str | bytes]:
    """What one for another resource server carries: whom it is for and what was agreed. It opens nothing."""
    told = json.dumps({"scopes": scopes, "authorization_details": parts, "grant_id": grant_id}).encode()
    return [audience, made, *(told[at : at + _PIECE] for at in range(0, len(told), _PIECE))]


def made_and_bound(kind: str, carried: list[bytes]) -> tuple[int | None, str]:
    """When a token was made, and the thumbprint of the key that it is bound to; None and "" for neither.

    A refresh token and an access token of 0.1.0 do not say when.
    """
    if kind == "refresh":
        return None, b"".join(carried[2:]).decode()  # one of 0.1.0 has no third part
    if kind == "access" and len(carried) % 2:
        return None, ""
    about = unpack(carried[3])
    return int.from_bytes(about[0], "big") if about else None, b"".join(about[1:]).decode()


def bound_to(kind: str, carried: list[bytes]) -> str:
    """The thumbprint of the key that an access or refresh token is bound to; "" for none."""
    return made_and_bound(kind, carried)[1]


def carried_scopes(carried: list[bytes]) -> list[str]:
    """The scopes of an access token."""
    return [name.decode() for name in carried[_first(carried) :: 2]]


def carried_keys(carried: list[bytes]) -> dict[str, Key]:
    """Scope → key in what an access token carries."""
    return dict(zip(carried_scopes(carried), map(Key, carried[_first(carried) + 1 :: 2]), strict=True))


def _first(carried: list[bytes]) -> int:
    """Where the scopes and their keys begin: one of 0.1.0 does not say when it was made."""
    return 3 if len(carried) % 2 else 4
