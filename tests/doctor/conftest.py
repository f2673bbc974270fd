"""A machine on which all is well, for checks to be shown a worse one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vrm.clock import SystemClock
from vrm.doctor import Finding, Machine
from vrm.host import open_host
from vrm.settings import Settings


@pytest.fixture
def here() -> Machine:
    return Machine(
        python=(3, 12, 1),
        sqlite=(3, 45, 0),
        memory=4 * 2**30,
        cores=4,
        account=os.geteuid(),
        environ={"PATH": "/usr/bin", "VRM_PORT": "8600", "VRM_TEST_STRICT": "1"},
        now=SystemClock().now(),
        core_size=0,
        swaps=(),
    )


@pytest.fixture
def settings(folder: Path) -> Settings:
    """A data folder as the first start makes it."""
    made = Settings(data_dir=folder, public_url="http://127.0.0.1:8600")
    open_host(made).engine.close()
    return made


def said(found: Finding) -> tuple[str, str]:
    """(level, text); whatever is not well says what to do."""
    assert bool(found.do) == (found.level != "ok")
    return found.level, f"{found.what} — {found.do}"
