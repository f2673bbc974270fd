"""A vendor finds a vault from what its customer says, and learns nothing of who lives there."""

from __future__ import annotations

import pytest
from flask.testing import FlaskClient

from tests.api.actors import problem
from vrm.vault.vault import Vault

FINGER = "/.well-known/webfinger"


@pytest.fixture
def issuer(client: FlaskClient) -> str:
    found: str = client.get("/.well-known/oauth-authorization-server").get_json()["issuer"]
    return found


def host_of(issuer: str) -> str:
    return issuer.partition("//")[2]


def test_an_address_leads_to_the_vault(client: FlaskClient, issuer: str, vault: Vault) -> None:
    asked = f"acct:{vault.username}@{host_of(issuer)}"
    answer = client.get(FINGER, query_string={"resource": asked})
    assert answer.content_type == "application/jrd+json"
    assert answer.get_json() == {
        "subject": asked,
        "links": [
            {"rel": "http://openid.net/specs/connect/1.0/issuer", "href": issuer},
            {"rel": "urn:vrm:rel:vault", "href": issuer},
        ],
    }


def test_who_lives_here_and_who_does_not_get_the_same_answer(
    client: FlaskClient, issuer: str, vault: Vault
) -> None:
    answers = []
    for name in (vault.username, "nobody-of-that-name"):
        answer = client.get(FINGER, query_string={"resource": f"acct:{name}@{host_of(issuer)}"})
        headers = {key: value for key, value in answer.headers if key != "Content-Length"}
        answers.append((answer.status_code, headers, answer.get_json().get("links")))
    assert answers[0] == answers[1]


@pytest.mark.parametrize("ending", ["", "/"])
def test_the_host_itself_is_found(client: FlaskClient, issuer: str, ending: str) -> None:
    assert client.get(FINGER, query_string={"resource": issuer + ending}).status_code == 200


def test_only_the_relations_asked_for_are_named(client: FlaskClient, issuer: str) -> None:
    asked = {"resource": issuer, "rel": ["urn:vrm:rel:vault", "http://webfinger.net/rel/avatar"]}
    assert client.get(FINGER, query_string=asked).get_json()["links"] == [
        {"rel": "urn:vrm:rel:vault", "href": issuer}
    ]


@pytest.mark.parametrize(
    "resource",
    [
        "acct:alice@elsewhere.example",
        "acct:alice",
        "acct:@HOST",
        "acct:a b@HOST",
        "acct:ali\u200bce@HOST",
        "mailto:alice@HOST",
        "https://elsewhere.example",
        "nonsense",
    ],
)
def test_what_is_not_here_is_not_found(client: FlaskClient, issuer: str, resource: str) -> None:
    asked = resource.replace("HOST", host_of(issuer))
    problem(client.get(FINGER, query_string={"resource": asked}), 404, "no-such-path")


@pytest.mark.parametrize("asked", [{}, {"resource": ""}, {"resource": ["a", "b"]}, {"resource": "x" * 2001}])
def test_a_question_without_one_resource_is_refused(client: FlaskClient, asked: dict[str, object]) -> None:
    problem(client.get(FINGER, query_string=asked), 400, "invalid-parameter")


def test_what_can_be_asked_here_is_said(client: FlaskClient, issuer: str) -> None:
    about = client.get("/.well-known/vrm").get_json()
    assert about["vault"] == issuer
    assert "purchases.item:read" in about["scopes_supported"]
    for name in ("protected_resource_metadata", "authorization_server_metadata", "documentation"):
        assert client.get(about[name].removeprefix(issuer)).status_code == 200


@pytest.mark.parametrize("path", [FINGER + "?resource=acct:x@y", "/.well-known/vrm"])
def test_pages_of_any_origin_may_look(client: FlaskClient, path: str) -> None:
    answer = client.get(path)
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("path", [FINGER, "/.well-known/vrm"])
def test_nothing_is_written_there(client: FlaskClient, path: str) -> None:
    problem(client.post(path), 405, "method-not-allowed")
