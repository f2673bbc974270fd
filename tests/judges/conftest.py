"""One served vault for all judges of a run, and Node with the clients that its lock names.

A judge that cannot be had is skipped with one line naming the remedy; with VRM_TEST_STRICT=1 that fails.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from tests.judges.fapi import FapiVendor
from tests.judges.stage import Judge, Town, open_town

ROOT = Path(__file__).parents[2]


def absent(said: str) -> NoReturn:
    """Skip with one line; fail where nothing may be skipped."""
    if os.environ.get("VRM_TEST_STRICT") == "1":
        pytest.fail(said, pytrace=False)
    pytest.skip(said)


@pytest.fixture(scope="session")
def from_npm() -> None:
    """What scripts/judges finds or fetches."""
    search = subprocess.run([ROOT / "scripts" / "judges"], capture_output=True, text=True)
    if search.returncode:
        absent(search.stdout.strip() or search.stderr)


@pytest.fixture(scope="session")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    """A served vault with its customer logged in."""
    open_to_all = {"VRM_REGISTRATION": "open", "VRM_OUTBOUND_ALLOW": "127.0.0.1/32"}
    opened = open_town(tmp_path_factory.mktemp("judged"), **open_to_all)
    yield opened
    opened.close()


@pytest.fixture
def judge(from_npm: None, town: Town) -> Callable[[str], Judge]:
    """A client from npm, by the name of its program."""
    return lambda program: Judge(town, program)


@pytest.fixture(scope="session")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    """The same with the profile of FAPI 2.0."""
    opened = open_town(tmp_path_factory.mktemp("fapi"), VRM_PROFILE="fapi2")
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def client(strict: Town) -> FapiVendor:
    """One vendor for all that leaves nothing behind."""
    return FapiVendor.register(strict)


@pytest.fixture
def other(strict: Town) -> FapiVendor:
    """The second client of the plan."""
    return FapiVendor.register(strict)
