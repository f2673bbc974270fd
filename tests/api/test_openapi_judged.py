"""schemathesis reads the document and tries the server against it, with a live token."""

from __future__ import annotations

from typing import Any

import pytest
import schemathesis
from flask import Flask
from hypothesis import HealthCheck, given
from hypothesis import settings as limits
from schemathesis.specs.openapi.checks import positive_data_acceptance

from tests.api.actors import Customer, Shop, connect
from vrm.api import openapi
from vrm.settings import Settings

OPERATIONS = [
    (method, path) for path, methods in openapi.document(Settings())["paths"].items() for method in methods
]
SCOPES = "purchases:read profile:read answers.corrections:read"  # preferences stay refused


@pytest.mark.parametrize(("method", "path"), OPERATIONS, ids=str)
def test_the_server_answers_as_its_document_says(
    app: Flask, shop: Shop, customer: Customer, method: str, path: str
) -> None:
    token = connect(shop, customer, scope=SCOPES)["access_token"]
    schema = schemathesis.openapi.from_wsgi("/openapi.json", app)
    headers = {"Authorization": f"Bearer {token}"} if path.startswith("/api/") else {}

    @limits(
        max_examples=25,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=schema[path][method.upper()].as_strategy())
    def tried(case: Any) -> None:
        # What is well-formed may still be refused here: cursors are sealed, codes and tokens must be live.
        case.call_and_validate(headers=headers, excluded_checks=[positive_data_acceptance])

    tried()
