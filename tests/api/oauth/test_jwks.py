"""The host's public key is where its metadata says, and holds nothing else."""

from __future__ import annotations

import pytest
from flask.testing import FlaskClient

from vrm import jose
from vrm.consent.notices import Notice
from vrm.consent.service import Consent
from vrm.settings import Settings


def published(client: FlaskClient, settings: Settings) -> dict[str, object]:
    named = client.get("/.well-known/oauth-authorization-server").get_json()["jwks_uri"]
    answer = client.get(named.removeprefix(settings.issuer))
    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == "public, max-age=300"
    found: dict[str, object] = answer.get_json()
    return found


def test_the_metadata_leads_to_one_public_key_with_its_thumbprint(
    client: FlaskClient, settings: Settings
) -> None:
    (key,) = published(client, settings)["keys"]  # type: ignore[misc]
    assert set(key) == {"kty", "crv", "x", "kid", "use", "alg"}
    assert (key["kty"], key["crv"], key["use"]) == ("OKP", "Ed25519", "sig")
    assert key["kid"] == jose.thumbprint(key)


@pytest.mark.meets("oauch-Features/CanSignatureBeVerifiedTest")
def test_the_published_key_verifies_what_the_host_signs(
    client: FlaskClient, settings: Settings, consent: Consent
) -> None:
    (key,) = published(client, settings)["keys"]  # type: ignore[misc]
    token = consent.signer.sign(Notice("one", "test", 1, "shop"), settings.issuer).decode()
    signed = jose.read(token, [key], typ="secevent+jwt")
    assert signed.header == {"typ": "secevent+jwt", "alg": "EdDSA", "kid": key["kid"]}
    assert signed.claims == {
        "iss": settings.issuer,
        "aud": "shop",
        "iat": 1,
        "jti": "one",
        "events": {"urn:vrm:event:test": {}},
    }
    assert repr(consent.signer) == "<Signer>"
