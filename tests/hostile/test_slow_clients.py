"""Slow clients, by Debian's slowhttptest: whoever is not slow is served meanwhile, and all are afterwards.

Bodies that never end keep out other bodies, not readers: only a proxy that takes bodies in whole helps there
(docs/self-hosting.md), so that attack is held against readings only.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from tests.hostile.conftest import Town

LONG = os.environ.get("VRM_TEST_LONG") == "1"
SECONDS, CONNECTIONS = (40, 1500) if LONG else (3, 300)
ATTACKS = {
    "heads": ["-H", "-i", "2"],
    "bodies": ["-B", "-i", "2", "-s", "8192"],
    "readers": ["-X", "-w", "1", "-y", "8", "-n", "3", "-z", "4", "-k", "2"],
    "ranges": ["-R"],
}
WHERE = {"heads": "/login", "bodies": "/oauth/token", "readers": "/openapi.json", "ranges": "/openapi.json"}


@pytest.fixture(scope="module")
def program() -> str:
    found = shutil.which("slowhttptest")
    if found is None:
        said = "no slowhttptest: sudo make system"
        if os.environ.get("VRM_TEST_STRICT") == "1":
            pytest.fail(said)
        pytest.skip(said)
    return found


@pytest.mark.parametrize("attack", list(ATTACKS) if LONG else ["heads", "bodies"])
def test_slow_clients_leave_the_service_available(
    town: Town, program: str, attack: str, tmp_path: Path
) -> None:
    served, access = town.served, town.shop.access
    how = ["-c", str(CONNECTIONS), "-r", str(CONNECTIONS), "-l", str(SECONDS), "-p", "3"]
    command = [program, *ATTACKS[attack], *how, "-u", served.url + WHERE[attack]]
    slow = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=tmp_path)
    try:
        time.sleep(1.5)
        asked = 0
        while slow.poll() is None:
            assert served.bearer("/api/v1/purchases", access).status == 200
            assert served.get("/login").status == 200
            asked += 1
            time.sleep(0.2)
        assert asked
    finally:
        slow.kill()
        slow.wait()
    answer = served.form("/oauth/introspect", f"token={access}", town.shop.basic)
    assert answer.status == 200, answer.text
    assert served.process.poll() is None


def test_a_head_that_never_ends_is_hung_up_on(town: Town) -> None:
    began = time.monotonic()
    answer = town.served.send(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n", patience=20)
    assert answer.status in (0, 408)
    assert 5 < time.monotonic() - began < 18


def test_a_head_without_measure_is_refused(town: Town) -> None:
    lines = b"Connection: close\r\n" + b"".join(b"X-%d: %s\r\n" % (one, b"a" * 4000) for one in range(90))
    answer = town.served.send(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n" + lines + b"\r\n")
    assert answer.status in (0, 400, 431)
    assert town.served.get("/healthz").status == 200
