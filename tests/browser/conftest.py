"""A real browser for the tests beside this file.

`browser` is one Chromium for the whole run, driven by Playwright. Where there is none the tests are skipped
with one line naming the remedy; with VRM_TEST_STRICT=1 they fail instead. All are marked `browser`.
"""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

HERE = Path(__file__).parent
FLAGS = [
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--no-first-run",
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session")
def executable() -> str:
    """The browser that scripts/browser finds or fetches."""
    search = subprocess.run([HERE.parents[1] / "scripts" / "browser"], capture_output=True, text=True)
    said = search.stdout.strip()
    if search.returncode:
        if os.environ.get("VRM_TEST_STRICT") == "1":
            pytest.fail(said or search.stderr, pytrace=False)
        pytest.skip(said or search.stderr)
    return said


@pytest.fixture(scope="session")
def browser(executable: str) -> Iterator[Browser]:
    """One running Chromium; a test opens its own context in it."""
    flags = [*FLAGS, *(["--no-sandbox"] if os.geteuid() == 0 else [])]  # Chromium refuses its sandbox to root
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=executable, args=flags)
        yield chromium
        chromium.close()
