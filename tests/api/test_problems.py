"""The error table is whole, and no answer tells more than it may."""

from __future__ import annotations

import inspect
import json
import logging

import pytest
from werkzeug.exceptions import InternalServerError, MethodNotAllowed, NotFound
from werkzeug.test import TestResponse

from tests.api.actors import Shop
from vrm import errors, logs
from vrm.api import problems
from vrm.api.oauth.parameters import ascii_only
from vrm.vault.sqlite import SqliteEngine

CLASSES = [
    cls
    for _, cls in inspect.getmembers(errors, inspect.isclass)
    if issubclass(cls, errors.VrmError) and cls.__module__ == errors.__name__
]


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_every_error_has_its_own_row(cls: type[errors.VrmError]) -> None:
    assert cls in problems.TABLE
    assert 400 <= problems.TABLE[cls].status < 600


def test_slugs_are_unique_and_explained() -> None:
    slugs = [cls.slug for cls in CLASSES]
    assert len(slugs) == len(set(slugs))
    assert set(slugs) <= problems.explanations().keys()


def test_a_client_error_names_type_reason_and_fields() -> None:
    answer = problems.answer(errors.ValidationError("no good", fields={"item.title": ["must be text"]}))
    assert answer.status_code == 422
    assert answer.content_type == "application/problem+json"
    assert json.loads(answer.data) == {
        "type": "/problems/invalid",
        "title": "Something in the input is not valid",
        "status": 422,
        "detail": "no good",
        "errors": {"item.title": ["must be text"]},
    }


@pytest.mark.parametrize("cls", [errors.StorageError, errors.TamperedError, errors.VrmError])
def test_a_failure_on_this_side_tells_no_reason(cls: type[errors.VrmError]) -> None:
    error = cls("/srv/vault.db is full", hint="disk /dev/sda1", fields={"path": ["/srv/vault.db"]})
    text = problems.answer(error).get_data(as_text=True)
    assert "/srv" not in text
    assert "sda1" not in text
    assert "errors" not in json.loads(text)


def test_refusals_that_pass_say_when_to_try_again() -> None:
    assert problems.answer(errors.RateLimitedError(retry_after=17)).headers["Retry-After"] == "17"
    assert problems.answer(errors.StorageError()).headers["Retry-After"] == "5"
    assert "Retry-After" not in problems.answer(errors.TokenError()).headers


def test_a_subclass_without_a_row_is_answered_as_its_base() -> None:
    class LaterTokenError(errors.TokenError):
        slug = "later"

    assert problems.answer(LaterTokenError()).status_code == 401


def test_what_flask_refuses_has_the_same_shape() -> None:
    assert json.loads(problems.http_answer(NotFound()).data)["type"] == "/problems/no-such-path"
    assert json.loads(problems.http_answer(NotFound()).data)["detail"] == "there is nothing at this address"
    refused = problems.http_answer(MethodNotAllowed(valid_methods=["GET", "HEAD"]))
    assert refused.headers["Allow"] == "GET, HEAD"
    failed = problems.http_answer(InternalServerError(original_exception=ValueError("secret")))
    assert failed.status_code == 500
    assert b"secret" not in failed.data
    assert "detail" not in json.loads(failed.data)


@pytest.mark.parametrize("reason", problems.REASONS.values())
def test_a_reason_can_stand_in_an_oauth_error(reason: str) -> None:
    assert ascii_only(reason) == reason


# ---- the log ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", [logs.Plain(), logs.Json()])
def test_where_it_failed_is_in_the_log_with_the_number_that_the_answer_has(
    form: logging.Formatter,
    shop: Shop,
    tokens: dict[str, str],
    engine: SqliteEngine,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def spoil(sql: str, *values: object) -> None:
        with engine.write() as transaction:
            transaction.execute(sql, values)

    def written(answer: TestResponse, status: int) -> str:
        assert answer.status_code == status
        text = form.format([one for one in caplog.records if one.name == "vrm.api"][-1])
        assert f"answered {status}" in text
        assert answer.headers["X-Request-Id"] in text
        assert not [secret for secret in tokens.values() if str(secret) in text]
        return text

    spoil("UPDATE views SET sealed = ?", bytes(64))
    text = written(shop.read("/purchases", tokens["access_token"]), 500)
    assert "TamperedError tampered" in text
    assert "reader.py:" in text
    spoil("DROP TABLE tokens")
    text = written(shop.refresh(tokens["refresh_token"]), 503)
    assert "StorageError storage-unavailable" in text
    assert "tokens.py:" in text
