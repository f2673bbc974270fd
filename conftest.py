"""What the suites need from beyond the checkout: order histories of others, never kept in it."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def others() -> Path:
    """The folder VRM_TEST_DATA, by default ../shared/data; the test is skipped without it."""
    beside = Path(__file__).parent.parent / "shared" / "data"
    folder = Path(os.environ.get("VRM_TEST_DATA") or beside).resolve()
    if not folder.is_dir():
        pytest.skip("data of others is not here; VRM_TEST_DATA names its folder")
    return folder
