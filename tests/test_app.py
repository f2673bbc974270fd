"""What the wiring adds of its own: the sweep that goes on whatever happens to it."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any, cast

import pytest

from vrm import app
from vrm.errors import StorageError


@pytest.mark.parametrize("trouble", [StorageError(), RuntimeError("our own mistake")])
def test_the_sweep_goes_on_after_any_trouble(trouble: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "SWEEP_EVERY", 0.001)
    sessions: list[int] = []
    again = threading.Event()

    def consent_sweep() -> None:
        if len(sessions) > 1:
            again.set()
            return  # so that nothing of this thread is heard later
        raise trouble

    def vaults_sweep() -> None:
        sessions.append(1)

    host: Any = SimpleNamespace(
        consent=SimpleNamespace(sweep=consent_sweep), vaults=SimpleNamespace(sweep=vaults_sweep)
    )
    app.start_sweeper(cast(app.Host, host))
    assert again.wait(10)
