"""The people of tests/web, under attack."""

from tests.web.conftest import *  # noqa: F403 - the fixtures
