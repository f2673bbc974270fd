"""What all suites need: no hurry, and order histories of others, which are never kept in the checkout."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# A busy machine is slow; that is no fault of an example.
settings.register_profile(
    "unhurried", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("unhurried")


@pytest.fixture(scope="session")
def others() -> Path:
    """The folder VRM_TEST_DATA, by default ../shared/data; the test is skipped without it."""
    beside = Path(__file__).parent.parent / "shared" / "data"
    folder = Path(os.environ.get("VRM_TEST_DATA") or beside).resolve()
    if not folder.is_dir():
        pytest.skip("data of others is not here; VRM_TEST_DATA names its folder")
    return folder
