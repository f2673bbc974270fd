"""Every released version's data folder, as it was frozen then, unpacked anew for each test."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import CHEAP, SettableClock
from vrm.app import create_app
from vrm.host import Host, open_host
from vrm.settings import Settings

RELEASES = Path(__file__).parents[1] / "fixtures" / "releases"


@dataclass
class Release:
    """A frozen data folder, and what must be found in it."""

    folder: Path
    told: dict[str, Any]
    clock: SettableClock

    @property
    def database(self) -> Path:
        return self.folder / "vrm.db"

    def open(self) -> Host:
        """Today's code on it, half a minute after the last thing that happened there."""
        settings = Settings(data_dir=self.folder, public_url="http://127.0.0.1:8600")
        host = open_host(settings, clock=self.clock, limits=CHEAP)
        create_app(settings, host=host)
        return host


def unpack(version: str, folder: Path) -> Release:
    """The frozen folder of a release under `folder`."""
    source = RELEASES / version
    told = json.loads((source / "manifest.json").read_text(encoding="utf-8"))
    with tarfile.open(source / "data.tar.xz") as archive:
        # Python before 3.11.4 knows no filters, and newer ones want one
        archive.extractall(folder, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
    folder.chmod(0o700)
    return Release(folder, told, SettableClock(told["at"] + 30))


@pytest.fixture(params=sorted(path.name for path in RELEASES.iterdir()))
def release(request: pytest.FixtureRequest, folder: Path) -> Release:
    return unpack(request.param, folder)


@pytest.fixture
def host(release: Release) -> Iterator[Host]:
    opened = release.open()
    yield opened
    opened.engine.close()
