"""At every address of the OpenAPI document: `Allow` names what it takes; no page elsewhere may call it."""

from __future__ import annotations

import re

from flask.testing import FlaskClient

from vrm.api import openapi
from vrm.settings import Settings

METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"}


# Taken besides what the document says: the same question as a form (RFC 6749 section 3.1), and a reading of
# a collection that there is not, which is refused like any outside the token's scopes, and noted.
BESIDE = {"/oauth/authorize": {"POST"}, "/api/v1/tools/imports": {"GET", "HEAD"}}


OPEN = {"/.well-known/webfinger", "/.well-known/vrm"}  # to pages of any origin


def told(path: str, operations: dict[str, object]) -> set[str]:
    """The methods that the document has for a path, and those that come with them."""
    named = {name.upper() for name in operations} & METHODS
    return named | {"OPTIONS"} | ({"HEAD"} if "GET" in named else set()) | BESIDE.get(path, set())


def test_every_address_takes_what_the_document_says_and_names_just_that(
    client: FlaskClient, settings: Settings
) -> None:
    paths = openapi.document(settings)["paths"]
    wrong = {}
    for path, operations in paths.items():
        address, expected = re.sub(r"\{[^}]+\}", "x" * 22, path), told(path, operations)
        answers = {method: client.open(address, method=method) for method in sorted(METHODS)}
        found = {method for method, answer in answers.items() if answer.status_code != 405}
        named = {method: answers[method].headers["Allow"] for method in (METHODS - found) | {"OPTIONS"}}
        if found != expected or any(set(allow.split(", ")) != expected for allow in named.values()):
            wrong[path] = found ^ expected, named
    assert len(paths) > 30
    assert wrong == {}


def test_no_address_lets_a_page_elsewhere_call_it(client: FlaskClient, settings: Settings) -> None:
    page = {"Origin": "https://shop.example"}
    asks = {"Access-Control-Request-Headers": "authorization,dpop", "Access-Control-Request-Method": "GET"}
    paths = {re.sub(r"\{[^}]+\}", "x" * 22, path) for path in openapi.document(settings)["paths"]}
    assert paths > OPEN
    for path in paths - OPEN | {"/", "/login", "/requests/x", "/docs", "/openapi.json"}:
        for answer in (
            client.options(path, headers={**page, **asks}),
            client.get(path, headers=page),
            client.post(path, headers=page),
        ):
            assert not [name for name, _ in answer.headers if name.startswith("Access-Control")], path
    for path in OPEN:
        assert client.get(path, headers=page).headers["Access-Control-Allow-Origin"] == "*"
        assert "Access-Control-Allow-Credentials" not in client.get(path, headers=page).headers
