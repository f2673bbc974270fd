"""Discovery tells what is built, and every address it names exists."""

from __future__ import annotations

import pytest
from flask import Flask
from flask.testing import FlaskClient

from vrm.consent.scopes import MANAGEMENT, SCOPES
from vrm.settings import Settings


@pytest.mark.meets(
    "rfc9700-16",
    "rfc9700-17",
    "rfc9700-29",
    "rfc9700-60",
    "rfc9700-61",
    "oauch-Features/HasSupportedFlowsTest",
)
def test_the_authorization_server_describes_itself(client: FlaskClient, settings: Settings) -> None:
    answer = client.get("/.well-known/oauth-authorization-server")
    found = answer.get_json()
    assert answer.content_type == "application/json"
    assert found["issuer"] == settings.issuer
    assert found["code_challenge_methods_supported"] == ["S256"]
    assert found["response_types_supported"] == ["code"]
    assert found["response_modes_supported"] == ["query"]
    assert found["grant_types_supported"] == [
        "authorization_code",
        "refresh_token",
        "urn:ietf:params:oauth:grant-type:device_code",
        "urn:vrm:oauth:grant-type:ticket",
    ]
    assert found["require_pushed_authorization_requests"] is False
    methods = ["client_secret_basic", "private_key_jwt", "none"]
    assert found["token_endpoint_auth_methods_supported"] == methods
    assert found["revocation_endpoint_auth_methods_supported"] == methods
    for endpoint in ("token", "revocation"):
        algorithms = found[f"{endpoint}_endpoint_auth_signing_alg_values_supported"]
        assert set(algorithms) == {"ES256", "PS256", "EdDSA", "Ed25519"}
    assert found["authorization_response_iss_parameter_supported"] is True
    assert found["authorization_details_types_supported"] == ["vrm_access"]
    assert set(found["scopes_supported"]) == {*SCOPES, *MANAGEMENT}
    assert found["introspection_endpoint_auth_methods_supported"] == methods[:2]
    actions = ["create", "query", "replace", "merge", "update", "revoke"]
    assert found["grant_management_actions_supported"] == actions
    assert found["grant_management_action_required"] is False


def test_every_endpoint_named_exists(app: Flask, client: FlaskClient, settings: Settings) -> None:
    found = client.get("/.well-known/oauth-authorization-server").get_json()
    paths = {rule.rule for rule in app.url_map.iter_rules()}
    named = {value for name, value in found.items() if name.endswith("_endpoint")}
    assert named
    grants = found["grant_management_endpoint"]
    named = named - {grants} | {f"{grants}/<grant_id>"}
    assert {url.removeprefix(settings.issuer) for url in named} <= paths


def test_nothing_unbuilt_is_named(client: FlaskClient) -> None:
    text = client.get("/.well-known/oauth-authorization-server").get_data(as_text=True)
    for word in ("register", "dpop"):
        assert f"/oauth/{word}" not in text
    assert "plain" not in text


def test_the_resource_is_the_public_address(client: FlaskClient, settings: Settings) -> None:
    found = client.get("/.well-known/oauth-protected-resource").get_json()
    assert found["resource"] == settings.issuer
    assert found["authorization_servers"] == [settings.issuer]
    assert found["bearer_methods_supported"] == ["header"]


@pytest.mark.parametrize("name", ["oauth-authorization-server", "oauth-protected-resource"])
def test_discovery_does_not_follow_the_host_header(client: FlaskClient, name: str) -> None:
    answer = client.get(f"/.well-known/{name}", headers={"Host": "evil.example"})
    assert "evil.example" not in answer.get_data(as_text=True)


def test_an_unknown_well_known_document_is_a_problem(client: FlaskClient) -> None:
    answer = client.get("/.well-known/openid-configuration")
    assert answer.status_code == 404
    assert answer.content_type == "application/problem+json"


@pytest.mark.parametrize(
    "address",
    ["/oauth/jwks.json", "/.well-known/oauth-authorization-server", "/.well-known/oauth-protected-resource"],
)
def test_what_may_be_kept_is_not_forbidden_to_be_kept(client: FlaskClient, address: str) -> None:
    answer = client.get(address)
    assert answer.headers["Cache-Control"] == "public, max-age=300"
    assert "Pragma" not in answer.headers
    assert client.post("/oauth/token").headers["Pragma"] == "no-cache"
