"""PostgreSQL keeps the contract, and what is its own: a server that goes away, conflicts, refused text."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import postgres
from tests.contract.engine import EngineContract

server = postgres.server


@pytest.fixture(autouse=True)
def database(server: str, tmp_path: Path) -> Iterator[None]:
    postgres.make(tmp_path)
    yield
    postgres.drop(tmp_path)


class TestPostgresEngine(EngineContract):
    opener = staticmethod(postgres.opened)
