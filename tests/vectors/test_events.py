"""A frozen event: key, name and token made by what docs/format.md says alone, and by us."""

import base64
import hmac
import json
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.vectors import reader
from vrm.consent.notices import Notice, Signer
from vrm.vault.crypto import Key
from vrm.vault.serverkey import ServerKey

FROZEN: dict[str, Any] = json.loads((Path(__file__).parent / "events.json").read_text(encoding="utf-8"))
SECRET = bytes.fromhex(FROZEN["server_key"])


def encoded(blob: bytes) -> str:
    return base64.urlsafe_b64encode(blob).rstrip(b"=").decode()


def decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def test_the_key_and_the_token_are_the_frozen_ones() -> None:
    signer = Signer(ServerKey(Key(SECRET)))
    assert signer.jwks() == FROZEN["jwks"]
    for case in FROZEN["events"]:
        assert signer.sign(Notice(**case["notice"]), FROZEN["issuer"]).decode() == case["token"], case["name"]


def test_the_subject_is_the_frozen_one() -> None:
    vault, client = FROZEN["vault"], FROZEN["client_id"]
    assert ServerKey(Key(SECRET)).subject(vault, client) == FROZEN["subject"]
    subkey = reader.expand(SECRET, reader.context("server", "subjects"), 32)
    made = hmac.digest(subkey, reader.context("server-subject", vault, client), "sha256")[:16]
    assert made.hex() == FROZEN["subject"]


def test_a_reader_without_our_code_verifies_them() -> None:
    own = Ed25519PrivateKey.from_private_bytes(reader.expand(SECRET, reader.context("server", "signing"), 32))
    [published] = FROZEN["jwks"]["keys"]
    assert encoded(own.public_key().public_bytes_raw()) == published["x"]
    for case in FROZEN["events"]:
        message, _, signature = case["token"].rpartition(".")
        own.public_key().verify(decoded(signature), message.encode())
        header, claims = (json.loads(decoded(part)) for part in message.split("."))
        assert header == {"typ": "secevent+jwt", "alg": "EdDSA", "kid": published["kid"]}
        assert claims == case["claims"]
