"""The application as it is served, to compare its routes with what the docs say."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask

from vrm.app import create_app
from vrm.host import open_host
from vrm.settings import load


@pytest.fixture(scope="session")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flask]:
    folder: Path = tmp_path_factory.mktemp("docs") / "data"
    settings = load({"data_dir": folder}, environ={})
    host = open_host(settings)
    yield create_app(settings, host=host)
    host.engine.close()
