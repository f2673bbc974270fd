"""A refused try stays refused when the customer's log was altered and takes no entry."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.actors import Shop, problem
from tests.conftest import SettableClock
from vrm.app import create_app
from vrm.consent.service import Consent
from vrm.host import Host
from vrm.settings import Settings
from vrm.vault.sqlite import SqliteEngine
from vrm.vault.vault import Vaults


@pytest.fixture
def altered(
    shop: Shop,
    tokens: dict[str, Any],
    engine: SqliteEngine,
    vaults: Vaults,
    settings: Settings,
    clock: SettableClock,
) -> Shop:
    """The shop, meeting a server that was started after somebody replaced the log's key in the database."""
    with engine.write() as transaction:
        transaction.execute("UPDATE vaults SET log_public = zeroblob(32)")
    host = Host(settings, engine, vaults, Consent(engine, vaults, clock), clock)
    shop.client = create_app(settings, host=host).test_client()
    return shop


def test_a_dead_token_is_answered_like_any_other(
    altered: Shop, tokens: dict[str, Any], clock: SettableClock, caplog: pytest.LogCaptureFixture
) -> None:
    clock.forward(3600)
    problem(altered.read("/purchases", tokens["access_token"]), 401, "token-invalid")
    assert "run `vrm check`" in caplog.text
    assert "Traceback" not in caplog.text


def test_a_scope_that_is_missing_is_answered_like_any_other(altered: Shop, tokens: dict[str, Any]) -> None:
    problem(altered.read("/preferences", tokens["access_token"]), 403, "insufficient-scope")


def test_what_would_be_read_does_not_leave(altered: Shop, tokens: dict[str, Any]) -> None:
    answer = altered.read("/purchases", tokens["access_token"])
    problem(answer, 503, "unvouched")
    assert "Middlemarch" not in answer.get_data(as_text=True)
