"""The people of tests/api, under attack."""

from tests.api.conftest import *  # noqa: F403 - the fixtures
