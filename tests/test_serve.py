"""`vrm serve` as a host lives with it: reloaded, drained, watched."""

from __future__ import annotations

import http.client
import json
import multiprocessing
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.hostile.serving import free_port
from tests.releases.conftest import unpack
from vrm.doctor import network
from vrm.serve import joined
from vrm.settings import Settings

PATIENCE = 60.0  # seconds, on a machine that has other things to do
NUMBER = re.compile(r"^(vrm_[a-z0-9_]+)(\{[^}]*\})? ([0-9.e+-]+)$")


class Running:
    """One `vrm serve` with settings in a file."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port, self.watch = folder, free_port(), free_port()
        self.data = folder / "data"
        self.process: subprocess.Popen[bytes] | None = None

    def write(self, **settings: str | int) -> None:
        lines = [f"{name} = {value!r}" for name, value in settings.items()]
        (self.folder / "vrm.toml").write_text("\n".join(lines))

    def start(self, **environ: str) -> None:
        self.launch(**environ)
        self.until(lambda: self.get("/readyz")[0] == 200)

    def launch(self, **environ: str) -> None:
        environ = {**os.environ, "VRM_DATA_DIR": str(self.data), **environ}
        command = [sys.executable, "-m", "vrm", "serve", "--port", str(self.port)]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, cwd=self.folder, env=environ, stderr=log, stdout=log)

    def until(self, done: Callable[[], bool]) -> None:
        end = time.monotonic() + PATIENCE
        while not done():
            assert time.monotonic() < end, self.log
            time.sleep(0.05)

    def get(self, path: str, port: int | None = None) -> tuple[int, str]:
        """Status and body; status 0 where nobody answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port or self.port}{path}", timeout=20) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as refused:
            with refused:
                return refused.code, refused.read().decode()
        except (OSError, http.client.HTTPException):
            return 0, ""

    def numbers(self) -> dict[str, float]:
        status, text = self.get("/metrics", self.watch)
        assert status == 200
        lines = [line for line in text.splitlines() if not line.startswith("#")]
        assert all(NUMBER.match(line) for line in lines), text
        return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines}

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    @property
    def workers(self) -> set[int]:
        """Those that have told that they serve."""
        assert self.process is not None
        told = {int(path.suffixes[-2][1:]) for path in self.data.glob(f"serve-{self.port}.*.ready")}
        return {pid for pid in told if Path(f"/proc/{pid}").exists()}

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    made = Running(tmp_path)
    yield made
    if made.process is not None and made.process.poll() is None:
        made.process.kill()
        made.process.wait()


@pytest.mark.slow
def test_a_reload_brings_new_settings_and_refuses_nobody_meanwhile(running: Running) -> None:
    running.write(signup="closed", workers=2)
    running.start()
    assert running.get("/create")[0] == 403
    stop, answers = threading.Event(), Counter[int]()

    def visit() -> None:
        while not stop.wait(0.01):
            answers[running.get("/healthz")[0]] += 1

    visitors = [threading.Thread(target=visit) for _ in range(3)]
    for visitor in visitors:
        visitor.start()
    before = running.workers
    running.write(signup="open", workers=2)
    running.signal(signal.SIGHUP)
    running.until(lambda: len(running.workers - before) == 2 and not running.workers & before)
    stop.set()
    for visitor in visitors:
        visitor.join()
    assert answers.keys() == {200}, answers
    assert running.get("/create")[0] == 200
    running.write(signup="whoever")  # no such setting: the next reload keeps what there is
    running.signal(signal.SIGHUP)
    running.until(lambda: "settings stay as they are" in running.log)
    running.until(lambda: running.get("/create")[0] == 200)


@pytest.mark.slow
def test_code_that_does_not_fit_the_data_replaces_nobody(running: Running) -> None:
    running.start(VRM_WORKERS="1")
    before = running.workers
    with sqlite3.connect(running.data / "vrm.db") as raw:  # as if what is installed were of another version
        raw.execute("UPDATE schemas SET version = version + 1 WHERE name = 'consent'")
    raw.close()
    running.signal(signal.SIGHUP)
    running.until(lambda: "nothing is replaced: the version that is installed lifts the data" in running.log)
    assert running.workers == before
    assert running.get("/healthz")[0] == 200


@pytest.mark.slow
def test_who_is_told_to_stop_says_so_serves_a_while_and_leaves_nothing_behind(running: Running) -> None:
    running.start(VRM_DRAIN="3", VRM_WORKERS="1")
    running.signal(signal.SIGTERM)
    running.until(lambda: running.get("/readyz")[0] == 503)
    assert "draining" in running.get("/readyz")[1]
    assert running.get("/healthz")[0] == 200
    assert running.process is not None
    assert running.process.wait(PATIENCE) == 0
    assert not list(running.data.glob("serve-*"))


@pytest.mark.slow
def test_who_is_told_to_stop_while_workers_start_stops_soon(running: Running) -> None:
    running.write(workers=6)
    running.launch()
    assert running.process is not None
    running.until(lambda: len(running.workers) >= 1)  # the others hardly
    running.process.terminate()
    assert running.process.wait(10) == 0  # seconds; one that is waited for in vain gets 30


@pytest.mark.slow
def test_a_worker_that_is_told_twice_answers_what_it_began(running: Running) -> None:
    """Whoever stops a group of processes tells a worker beside its parent, which tells it again."""
    running.start(VRM_WORKERS="1")
    body = b"grant_type=refresh_token&refresh_token=gone&client_id=nobody"
    head = "POST /oauth/token HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nConnection: close\r\n"
    head += "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n"
    with socket.create_connection(("127.0.0.1", running.port), PATIENCE) as asking:
        asking.sendall((head % (running.port, len(body))).encode() + body[:5])
        time.sleep(0.2)
        for worker in running.workers:
            os.kill(worker, signal.SIGTERM)
        time.sleep(0.2)
        running.signal(signal.SIGTERM)
        time.sleep(0.2)
        asking.sendall(body[5:])
        assert asking.makefile("rb").read().startswith(b"HTTP/1.1 401 ")
    assert running.process is not None
    assert running.process.wait(10) == 0


@pytest.mark.parametrize("reloaded", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_workers_end_with_a_server_that_is_killed_without_a_word(running: Running, reloaded: bool) -> None:
    running.start(VRM_WORKERS="2")
    running.until(lambda: len(running.workers) == 2)
    if reloaded:  # begun in a fresh interpreter, not forked
        before = running.workers
        running.signal(signal.SIGHUP)
        running.until(lambda: len(running.workers - before) == 2 and not running.workers & before)
    workers = running.workers
    running.signal(signal.SIGKILL)
    assert running.process is not None
    assert running.process.wait() == -signal.SIGKILL
    running.until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers))
    assert running.get("/healthz")[0] == 0
    running.start(VRM_WORKERS="2")


def test_numbers_are_those_of_all_workers_and_outlive_them(running: Running) -> None:
    running.start(VRM_METRICS=f"127.0.0.1:{running.watch}", VRM_WORKERS="2")
    before = running.numbers()
    for _ in range(20):
        assert running.get("/healthz")[0] == 200
        running.get("/nowhere-canary")
    series = 'vrm_requests_total{method="GET",rule="/healthz",status="2xx"}'
    found = running.numbers()
    assert found[series] - before.get(series, 0) == 20
    assert found['vrm_requests_total{method="-",rule="-",status="4xx"}'] == 20
    assert found['vrm_request_seconds_count{method="GET",rule="/healthz"}'] == found[series]
    assert found["vrm_database_bytes"] > 0
    assert found["vrm_events_waiting"] == 0
    assert "canary" not in str(found)
    killed = next(iter(running.workers))
    os.kill(killed, signal.SIGKILL)
    running.until(lambda: len(running.workers - {killed}) == 2)
    running.until(lambda: running.get("/metrics", running.watch)[0] == 200)
    after = running.numbers()
    assert after["vrm_worker_starts_total"] == found["vrm_worker_starts_total"] + 1 == 3
    assert after[series] == found[series]
    assert running.get("/metrics")[0] == 404
    assert running.get("/healthz", running.watch)[0] == 404
    looked = network.numbers(("127.0.0.1", running.watch))
    assert (looked.level, "vrm tells its numbers" in looked.what) == ("ok", True)


def test_every_line_of_a_log_for_programs_is_one_object(running: Running) -> None:
    unpack("0.1.0", running.data)
    (running.data / "server.key").unlink()
    running.start(VRM_LOG_FORMAT="json", VRM_PROT="8600")
    running.until(lambda: " serves " in running.log)
    told = [json.loads(line)["message"] for line in running.log.splitlines()]
    for words in (
        "VRM_PROT is not a setting",
        "was lifted",
        "a new server key was made",
        " serves http://127",
    ):
        assert any(words in message for message in told), told


def test_a_server_with_a_certificate_of_its_own_is_known(running: Running) -> None:
    command = [sys.executable, "-m", "vrm", "serve", "--port", str(running.port), "--tls-self-signed"]
    environ = {**os.environ, "VRM_DATA_DIR": str(running.data), "VRM_WORKERS": "1"}
    with (running.folder / "log").open("wb") as log:
        running.process = subprocess.Popen(command, env=environ, cwd=running.folder, stderr=log)
    running.until(lambda: "serves https://127.0.0.1" in running.log)
    finding, ours = network.port(Settings(data_dir=running.data, port=running.port))
    assert (finding.level, ours) == ("ok", True)
    running.signal(signal.SIGTERM)
    assert running.process.wait() == 0
    environ["VRM_PUBLIC_URL"] = f"http://127.0.0.1:{running.port}"
    refused = subprocess.run(
        command, env=environ, cwd=running.folder, capture_output=True, text=True, timeout=PATIENCE
    )
    assert refused.returncode == 1
    error, hint = refused.stderr.splitlines()
    assert "is plain http, and --tls-self-signed speaks TLS" in error
    assert "https://" in hint


def test_without_an_address_nobody_tells_numbers(running: Running) -> None:
    running.start(VRM_WORKERS="1")
    assert running.get("/metrics")[0] == 404
    ports = subprocess.run(["ss", "-Hltnp"], capture_output=True, text=True).stdout if _has_ss() else ""
    ours = [line for line in ports.splitlines() if any(f"pid={pid}," in line for pid in running.workers)]
    assert all(f":{running.port} " in line for line in ours)


def _has_ss() -> bool:
    return any(Path(folder, "ss").exists() for folder in ("/usr/bin", "/bin", "/usr/sbin", "/sbin"))


def test_a_worker_of_whose_end_another_thread_heard_first_is_no_worker_that_goes_on() -> None:
    worker = multiprocessing.get_context("fork").Process(target=os.getpid)
    worker.start()
    os.waitpid(worker.pid or 0, 0)  # as granian's own thread, which has not said so yet

    def say() -> None:
        time.sleep(0.2)
        worker._popen.returncode = 0  # type: ignore[attr-defined]

    threading.Thread(target=say).start()
    joined(worker, 30)
    assert worker.exitcode == 0


def test_one_that_does_not_end_is_waited_for_no_longer_than_said() -> None:
    worker = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
    worker.start()
    joined(worker, 0.1)
    assert worker.is_alive()
    worker.kill()
    joined(worker)
    assert worker.exitcode == -signal.SIGKILL
