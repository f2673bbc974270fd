"""What is built is what runs: the wheel, installed into an empty environment elsewhere, serves pages."""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import venv
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from vrm import __version__

ROOT = Path(__file__).parents[2]
LOCKED = ROOT / "requirements" / "run.txt"
PATIENCE = 60  # seconds for a server to come up on a busy machine

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from the checkout with the locked back end."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    (built,) = folder.glob("vrm-*.whl")
    return built


def lend(environment: Path) -> None:
    """Link what run.txt locks from this environment, where pip put it by the same hashes."""
    (site,) = environment.glob("lib/python*/site-packages")
    for line in LOCKED.read_text().splitlines():
        if not line[:1].isalnum():
            continue
        locked = Requirement(line.rstrip("\\ "))
        if locked.marker is None or locked.marker.evaluate():
            found = distribution(locked.name)
            assert locked.specifier.contains(found.version)
            for top in {Path(file).parts[0] for file in found.files or ()} - {"..", "__pycache__"}:
                (site / top).symlink_to(found.locate_file(top))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of an empty environment that got the locked requirements and the wheel, nothing else.

    In CI pip fetches the requirements anew; every day they are lent, which needs no index.
    """
    folder = tmp_path_factory.mktemp("elsewhere") / "env"
    venv.create(folder)
    pip = [sys.executable, "-m", "pip", "--python", folder / "bin" / "python", "--quiet"]
    pip += ["--disable-pip-version-check", "install", "--no-compile"]
    if os.environ.get("VRM_TEST_STRICT") == "1":
        subprocess.run([*pip, "--require-hashes", "--requirement", LOCKED], check=True)
    else:
        lend(folder)
    subprocess.run([*pip, "--no-deps", wheel], check=True, capture_output=True)
    return folder / "bin"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def serving(bin_folder: Path, home: Path) -> Iterator[str]:
    """`vrm serve` on a free port with nothing in its environment but where its data goes."""
    port = free_port()
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(home), "VRM_DATA_DIR": str(home / "vault")}
    command = [bin_folder / "vrm", "serve", "--port", str(port), "--workers", "1"]
    server = subprocess.Popen(
        command, cwd=home, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        yield awaited(f"http://127.0.0.1:{port}", server)
    finally:
        server.terminate()
        server.communicate(timeout=PATIENCE)


def awaited(address: str, server: "subprocess.Popen[bytes]") -> str:
    """`address`, once it answers."""
    ends = time.monotonic() + PATIENCE
    while time.monotonic() < ends:
        if server.poll() is not None:
            pytest.fail(f"vrm serve ended: {server.communicate()[0].decode()}", pytrace=False)
        try:
            with urllib.request.urlopen(f"{address}/healthz", timeout=5):
                return address
        except OSError:
            time.sleep(0.1)
    raise TimeoutError(address)


def test_the_wheel_carries_what_pages_are_made_of(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        inside = set(archive.namelist())
    kept = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "vrm").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {Path(name).suffix for name in kept} >= {".html", ".css", ".py"}
    assert kept <= inside
    assert {name.removesuffix(".po") + ".mo" for name in kept if name.endswith(".po")} <= inside


def test_the_wheel_carries_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        tops = {name.split("/")[0] for name in archive.namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"vrm"}


def test_the_installed_wheel_serves_pages_outside_the_checkout(installed: Path, tmp_path: Path) -> None:
    with serving(installed, tmp_path) as address:
        for path in ("/healthz", "/", "/create"):
            with urllib.request.urlopen(address + path, timeout=30) as answer:
                assert answer.status == 200
                body = answer.read().decode()
        assert "<form" in body
        with pytest.raises(urllib.error.HTTPError) as refusal:
            urllib.request.urlopen(f"{address}/api/v1/grant", timeout=30)
        assert refusal.value.code == 401
        refusal.value.close()


def test_the_installed_command_names_its_version(installed: Path) -> None:
    told = subprocess.run([installed / "vrm", "--version"], capture_output=True, text=True, check=True).stdout
    assert told.strip() == f"vrm {__version__}"
