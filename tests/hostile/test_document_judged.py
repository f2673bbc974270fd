"""schemathesis tries a served vault against its own OpenAPI document, with what fits it and what does not.

`tests/api/test_openapi_judged.py` does the same inside the process and per operation; here the requests go
over the network, so that what the server below the application does is judged as well: methods that the
document does not name, headers and paths that are none, bodies that do not fit. No answer may be a 5xx, and
whatever is answered stands in the document, in status, type and shape.
"""

from __future__ import annotations

import os
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as limits
from schemathesis import GenerationMode
from schemathesis.config import SchemathesisConfig
from schemathesis.specs.openapi.checks import positive_data_acceptance

from tests.hostile.conftest import Town
from vrm.api import openapi
from vrm.plain import FORM
from vrm.settings import Settings

LONG = os.environ.get("VRM_TEST_LONG") == "1"
DOCUMENT = openapi.document(Settings())
OPERATIONS = [(method, path) for path, methods in DOCUMENT["paths"].items() for method in methods]


def can_misfit(method: str, path: str) -> bool:
    """Whether anything can be sent that the document does not allow: of a bare string, all is allowed."""
    found = DOCUMENT["paths"][path][method]
    schemas = [parameter["schema"] for parameter in found.get("parameters", []) if "schema" in parameter]
    for kind, body in found.get("requestBody", {}).get("content", {}).items():
        fields = body["schema"].get("properties", {}).values()
        if kind != FORM or "required" in body["schema"] or not fields:
            return True
        schemas += [{name: field[name] for name in field if name != "description"} for field in fields]
    return any(schema != {"type": "string"} for schema in schemas)


TRIED = [(*operation, GenerationMode.NEGATIVE) for operation in OPERATIONS if can_misfit(*operation)]
if LONG:  # otherwise left to the tests inside the process
    TRIED += [(*operation, GenerationMode.POSITIVE) for operation in OPERATIONS]


@pytest.fixture(scope="module")
def document(town: Town) -> Any:
    """The document as the server hands it out."""
    refusals = ["400", "401", "403", "404", "405", "409", "411", "412", "413", "415", "422", "428", "429"]
    told = {"checks": {"negative_data_rejection": {"expected-statuses": refusals}}}
    return schemathesis.openapi.from_url(
        f"{town.served.url}/openapi.json", config=SchemathesisConfig.from_dict(told)
    )


@pytest.mark.parametrize(("method", "path", "mode"), TRIED, ids=str)
def test_whatever_is_sent_the_answer_is_one_of_the_document(
    town: Town, document: Any, method: str, path: str, mode: GenerationMode
) -> None:
    headers = {"Authorization": f"Bearer {town.shop.access}"} if path.startswith("/api/") else {}
    written = len(town.served.log)

    @limits(
        max_examples=200 if LONG else 6,
        deadline=None,
        database=None,
        derandomize=not LONG,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=document[path][method.upper()].as_strategy(generation_mode=mode))
    def tried(case: Any) -> None:
        case.call_and_validate(headers=headers, excluded_checks=[positive_data_acceptance])

    tried()
    assert "Traceback" not in town.served.log[written:]
