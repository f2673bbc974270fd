"""The document is valid, whole, derived, and the server answers as it says."""

from __future__ import annotations

import re
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from tests.api.actors import Customer, Shop, connect
from vrm.api import openapi, problems
from vrm.consent.scopes import SCOPES
from vrm.settings import Settings
from vrm.vault import schemas
from vrm.vault.catalog import CATALOG


def test_the_document_is_valid_openapi(client: FlaskClient) -> None:
    document = client.get("/openapi.json").get_json()
    assert document["openapi"].startswith("3.1")
    assert list(OpenAPIV31SpecValidator(document).iter_errors()) == []


def test_the_command_gives_what_the_address_gives(client: FlaskClient, settings: Settings) -> None:
    assert client.get("/openapi.json").get_json() == openapi.document(settings)


def test_every_path_for_programs_is_in_it(app: Flask, settings: Settings) -> None:
    described = set(openapi.document(settings)["paths"])
    served = {
        re.sub(r"<(\w+)>", r"{\1}", rule.rule)
        for rule in app.url_map.iter_rules()
        if rule.rule.startswith(("/oauth/", "/.well-known/"))
        or rule.rule in ("/openapi.json", "/healthz", "/readyz")
    }
    assert served <= described
    api = {path for path in described if path.startswith("/api/")}
    expected = {"/api/v1/grant", "/api/v1/answers/corrections"}
    expected |= {f"/api/v1/tools/{name}" for name in ("self", "imports", "connections", "connections/{id}")}
    for collection in CATALOG:
        listed = f"/api/v1/{collection.name}"
        expected |= {listed, f"{listed}/{{id}}"}
        if any(facet.shareable for facet in collection.facets):
            expected |= {f"{listed}/changes"}
    assert api == expected


def test_every_path_in_it_is_served(app: Flask, settings: Settings) -> None:
    adapter = app.url_map.bind("localhost")
    for path, methods in openapi.document(settings)["paths"].items():
        for method in methods:
            adapter.match(path.replace("{id}", "abc"), method=method.upper())


def test_what_is_never_shareable_is_not_described(settings: Settings) -> None:
    record = openapi.document(settings)["components"]["schemas"]["PurchasesRecord"]
    assert "item" in record["properties"]
    assert not {"payment", "notes"} & record["properties"].keys()


def test_every_field_has_a_shape(settings: Settings) -> None:
    shapes = openapi.document(settings)["components"]["schemas"]
    for collection in CATALOG:
        for facet in collection.facets:
            if facet.shareable:
                found = shapes[f"{collection.name.title()}{facet.name.title()}"]["properties"]
                assert found.keys() == {field.name for field in facet.fields}
                assert all(shape["type"] and shape["title"] for shape in found.values())


SENT = [
    {"item": {"title": "Emma"}},
    {"item": {"title": "", "asin": "0807083690"}},
    {"item": {"title": "Emma", "isbn": None}, "order": None},
    {"item": {"isbn": "978-0-8070-8369-7"}, "order": {"ordered": "", "status": None}},
    {"item": {"gtin": "4006381333931", "url": " https://shop.example/1"}, "recipient": {}},
    *(
        {"item": {"title": "Emma"}, "price": {"quantity": value}}
        for value in (0, 2, 2.0, "2", "", None, 10**6)
    ),
    *({"item": {"title": "Emma"}, "price": {"quantity": value}} for value in (2.5, -1, "x", True, 10**6 + 1)),
    *({"item": {"title": "Emma"}, "price": {"quantity": value}} for value in ("1000000", "1000001", "-1")),
    *(
        {"item": {"title": "Emma"}, "price": {"unit_price": value}}
        for value in ("", "1.5", " 1.5 ", 1.5, "1,5")
    ),
    *(
        {"item": {"title": "Emma"}, "price": {"currency": value}}
        for value in ("EUR", "eur", "eu", "", "€", 7)
    ),
    *({"item": {"title": "Emma", "url": value}} for value in ("", "shop.example", "http:///x")),
    *({"item": {"title": "Emma", "isbn": value}} for value in ("12", "978080708369X", "x")),
    *({"item": {"title": "Emma", "gtin": value}} for value in ("12", "123456789", "x")),
    *({"item": {"title": "Emma"}, "order": value} for value in ({"status": "x"}, {"seller": 1}, [], "", 0)),
    *(
        {"item": value}
        for value in (None, {}, {"title": ""}, {"title": " "}, {"title": None}, {"brand": "x"})
    ),
    *({"item": {"title": value}} for value in (7, ["x"], "x" * 1001)),
    *({}, {"order": {}}, {"item": {"title": "Emma", "colour": "red"}}, {"item": {"title": "Emma"}, "x": {}}),
]


@pytest.mark.parametrize("body", SENT, ids=str)
def test_what_may_be_sent_by_the_document_is_what_is_taken(
    shop: Shop, customer: Customer, settings: Settings, body: dict[str, Any]
) -> None:
    whole = {"$ref": "#/components/schemas/LeftPurchases", **openapi.document(settings)}
    token = connect(shop, customer, scope="purchases:write")["access_token"]
    headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": "one"}
    answer = shop.client.post("/api/v1/purchases", json=body, headers=headers)
    assert answer.status_code == (202 if Draft202012Validator(whole).is_valid(body) else 422), answer.text


def test_a_number_of_two_is_two_however_it_is_written() -> None:
    written = [
        schemas.validate("purchases", {"price": {"quantity": value}})["price"] for value in (2, 2.0, "2")
    ]
    assert written == [{"quantity": 2}] * 3
    assert not any(isinstance(one["quantity"], float) for one in written)


def test_a_request_by_form_is_in_it(settings: Settings) -> None:
    both = openapi.document(settings)["paths"]["/oauth/authorize"]
    form = both["post"]["requestBody"]["content"]["application/x-www-form-urlencoded"]["schema"]
    assert form["properties"].keys() == {one["name"] for one in both["get"]["parameters"]}


def test_every_scope_is_in_the_flow(settings: Settings) -> None:
    schemes = openapi.document(settings)["components"]["securitySchemes"]
    assert schemes["grant"]["flows"]["authorizationCode"]["scopes"].keys() == SCOPES.keys()


def test_the_page_says_what_the_document_says(client: FlaskClient, settings: Settings) -> None:
    page = client.get("/docs").get_data(as_text=True)
    document = openapi.document(settings)
    assert all(path in page for path in document["paths"])
    assert all(name in page for name in document["components"]["schemas"])
    assert all(scope in page for scope in SCOPES)
    assert all(slug in page for slug in problems.explanations())


def test_the_page_runs_nothing_and_fetches_nothing(client: FlaskClient) -> None:
    answer = client.get("/docs")
    page = answer.get_data(as_text=True)
    assert answer.mimetype == "text/html"
    assert "<script" not in page
    assert "http" not in page.replace("http (", "").split("</style>")[0]
    assert "src=" not in page
    assert "script-src" not in answer.headers["Content-Security-Policy"]
    assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'; style-src 'sha256-")


@pytest.mark.parametrize("slug", sorted(problems.explanations()))
def test_every_problem_is_explained_at_its_type(client: FlaskClient, slug: str) -> None:
    answer = client.get(problems.TYPE_PREFIX + slug)
    assert answer.status_code == 200
    assert slug in answer.get_data(as_text=True)


def test_an_unknown_problem_is_not_explained(client: FlaskClient) -> None:
    answer = client.get("/problems/<script>")
    assert answer.status_code == 404
    assert "<script" not in answer.get_data(as_text=True)


def test_writing_is_described_from_what_is_the_sellers_to_say(settings: Settings) -> None:
    made = openapi.document(settings)
    item = made["components"]["schemas"]["LeftPurchasesItem"]["properties"]
    assert "title" in item
    assert "category_basis" not in item
    body = made["components"]["schemas"]["LeftPurchases"]["properties"]
    assert set(body) == {"item", "order", "price", "payment", "recipient"}
    post = made["paths"]["/api/v1/inbox"]["post"]
    assert post["security"] == [{"grant": ["inbox:write"]}]
    assert set(made["paths"]["/api/v1/inbox/{id}"]) == {"get", "put", "delete"}
    listing = made["paths"]["/api/v1/purchases"]["get"]
    assert {"grant": ["purchases:write"]} in listing["security"]
