"""The image and the two containers of compose.yaml: built, started, used through Caddy, started again.

VRM_TEST_COMPOSE names what runs compose files (`docker compose`, `podman compose`, …), which must be able to
have the images that they name; ports 80 and 443 of this machine must be free. Without it this is skipped.
"""

from __future__ import annotations

import http.client
import json
import os
import shlex
import shutil
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NEEDED = ("pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "requirements", "vrm", "deploy")
PATIENCE = 60.0  # seconds until both containers answer
OURS = ("-u", "-c", "print(open('/proc/self/status').read()); open('/written', 'w')")
CALL = shlex.split(os.environ.get("VRM_TEST_COMPOSE", ""))

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CALL, reason="VRM_TEST_COMPOSE does not name what runs compose files"),
]


class Containers:
    """The services of a copy of the checkout."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "deploy" / "compose.yaml"
        self._trusted: ssl.SSLContext

    def compose(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        command = [*CALL, "-p", "vrmtested", "-f", str(self._file), *words]
        return subprocess.run(command, capture_output=True, text=True, check=check)

    def up(self, *words: str) -> None:
        """Start, and wait until Caddy passes on what the server answers."""
        self.compose("up", "-d", *words)
        end = time.monotonic() + PATIENCE
        while True:
            try:
                self._trusted = ssl.create_default_context(cadata=self._authority())
                if self.asked("/readyz")[0] == 200:
                    return
            except (OSError, http.client.HTTPException, subprocess.CalledProcessError):
                if time.monotonic() > end:
                    raise
            assert time.monotonic() < end, self.compose("logs", check=False)
            time.sleep(0.5)

    def _authority(self) -> str:
        """Of the certificate that Caddy makes for this machine's own name."""
        return self.run("caddy", "cat", "/data/caddy/pki/authorities/local/root.crt").stdout

    def run(self, service: str, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.compose("exec", "-T", service, *words, check=check)

    def asked(self, path: str) -> tuple[int, http.client.HTTPMessage]:
        connection = http.client.HTTPSConnection("localhost", timeout=5, context=self._trusted)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            answer.read()
            return answer.status, answer.headers
        finally:
            connection.close()


@pytest.fixture(scope="module")
def containers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Containers]:
    folder = tmp_path_factory.mktemp("checkout")
    for name in NEEDED:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, folder / name)
    example = (folder / "deploy" / "vrm.env.example").read_text()
    chosen = example.replace("https://vault.example", "https://localhost")
    (folder / "deploy" / "vrm.env").write_text(chosen)
    made = Containers(folder)
    try:
        made.up("--build")
        yield made
    finally:
        made.compose("down", "-v", check=False)


def test_the_vault_is_reached_by_its_address_through_caddy(containers: Containers) -> None:
    status, headers = containers.asked("/login")
    assert status == 200
    assert "default-src" in headers["Content-Security-Policy"]


def test_the_server_may_do_nothing_and_write_nowhere_but_in_its_volumes(containers: Containers) -> None:
    tried = containers.run("vrm", "python", *OURS, check=False)
    assert "\nUid:\t10001\t" in tried.stdout
    assert "\nCapEff:\t0000000000000000\n" in tried.stdout
    assert "Read-only file system" in tried.stderr


def test_what_compose_asks_for_health_is_answered(containers: Containers) -> None:
    lines = (ROOT / "deploy" / "compose.yaml").read_text().splitlines()
    (asked,) = [json.loads(line.split("test:")[1]) for line in lines if "test:" in line]
    containers.run("vrm", *asked[1:])


def test_doctor_knows_the_server_that_runs_beside_it(containers: Containers) -> None:
    told = containers.run("vrm", "vrm", "doctor", "--json", check=False).stdout
    said = json.loads(told[told.index("{") : told.rindex("}") + 1])  # some add words of their own
    failed = {one["check"] for one in said["checks"] if one["level"] == "FAIL"}
    assert failed <= {"public address"}, said  # which is another machine there: this name is everybody's own
    assert "vrm serves on 0.0.0.0:8600" in [one["what"] for one in said["checks"]]


def test_a_reload_reaches_the_server_itself(containers: Containers) -> None:
    before = _workers(containers)
    containers.run("vrm", "sh", "-c", "kill -HUP 1")  # of `init: true`, which passes it on
    end = time.monotonic() + PATIENCE
    while len(after := _workers(containers) - before) < len(before):
        assert time.monotonic() < end, (before, after)
        time.sleep(0.2)
    assert containers.asked("/readyz")[0] == 200


def _workers(containers: Containers) -> set[str]:
    """What each leaves in the data folder once it takes requests."""
    names = containers.run("vrm", "ls", "/var/lib/vrm").stdout.split()
    return {name for name in names if name.endswith(".ready")}


def test_what_was_stored_is_there_in_the_next_containers(containers: Containers) -> None:
    containers.run("vrm", "vrm", "vendor", "add", "Bookshop", "--redirect-uri", "https://shop.example/back")
    containers.compose("down")
    containers.up()
    assert "Bookshop" in containers.run("vrm", "vrm", "vendor", "list").stdout
