"""docs/self-hosting.md: what it tells a host to type is typed, in order, on a host with one vault."""

from __future__ import annotations

import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
import tomllib
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.conftest import CHEAP, PASSPHRASE
from tests.docs.pages import Block, blocks, promised
from tests.releases.conftest import unpack
from vrm import settings as settings_module
from vrm.host import open_host
from vrm.settings import Settings

PAGE = blocks("self-hosting.md")
ROOT = Path(__file__).parents[2]


def of(kind: str) -> list[Block]:
    return [block for block in PAGE if block.kind == kind]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The home of a host with one vault."""
    data = tmp_path / ".local" / "share" / "vrm"
    host = open_host(Settings(data_dir=data), limits=CHEAP)
    host.vaults.create("alice", PASSPHRASE)
    host.engine.close()
    return tmp_path


@pytest.fixture
def environ(home: Path) -> dict[str, str]:
    """What a host's shell has; the port is one that is free here."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    return {"PATH": path, "HOME": str(home), "LANG": "C.UTF-8", "VRM_PORT": port, "PYTHONPATH": str(ROOT)}


@pytest.fixture
def serving(home: Path, environ: dict[str, str]) -> Iterator[None]:
    """`vrm serve` as the page says."""
    server = subprocess.Popen(["vrm", "serve"], cwd=home, env=environ, stderr=subprocess.DEVNULL)
    try:
        for _ in range(600):
            assert server.poll() is None
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{environ['VRM_PORT']}/healthz", timeout=5).close()
                break
            except OSError:
                time.sleep(0.1)
        yield
    finally:
        server.terminate()
        server.wait(timeout=60)


def typed(block: Block, folder: Path, environ: dict[str, str]) -> None:
    """Type a block's commands into one shell; each must succeed and print what is promised."""
    mark = "=-=-= "
    lines = [f"echo '{mark}'\n{command}" for command, _ in block.commands()]
    script = "set -euo pipefail\n" + "\n".join(lines).replace("8600", environ["VRM_PORT"])
    shell = ["bash", "-c", script]
    done = subprocess.run(shell, cwd=folder, env=environ, capture_output=True, text=True)
    assert done.returncode == 0, (block.text, done.stdout, done.stderr)
    printed = done.stdout.split(f"{mark}\n")[1:]
    for (command, promise), text in zip(block.commands(), printed, strict=True):
        if promise:
            whole = "\n".join(promise)
            assert promised(whole).fullmatch(text.strip().replace(environ["VRM_PORT"], "8600")), command


def test_every_block_that_is_not_run_says_why() -> None:
    shown = of("console")
    assert len(shown) >= 10
    assert {block.why_not.split()[0] for block in shown if block.why_not} <= {"needs", "installs", "serves"}
    assert {block.kind for block in PAGE} == {"console", "toml", "sql", "text", "caddy", "nginx"}


@pytest.mark.slow
def test_what_a_host_types_works_in_the_order_of_the_page(
    home: Path, environ: dict[str, str], serving: None
) -> None:
    run = [block for block in of("console") if not block.why_not and block.section != "Going back"]
    assert len(run) >= 5
    for block in run:
        typed(block, home, environ)


def test_going_back_brings_the_older_data_back(home: Path, environ: dict[str, str]) -> None:
    data = home / ".local" / "share" / "vrm"
    shutil.rmtree(data)
    older = unpack("0.1.0", data)
    older.open().engine.close()
    sooner = data / "vrm.db.before-0.0.9"  # of an upgrade before
    sooner.write_bytes(b"")
    os.utime(sooner, (0, 0))
    (block,) = [block for block in of("console") if block.section == "Going back"]
    typed(block, home, environ)
    with closing(sqlite3.connect(older.database)) as raw:
        assert dict(raw.execute("SELECT name, version FROM schemas")) == older.told["schemas"]
    assert (data / "newer" / "vrm.db").exists()


def test_the_settings_that_are_shown_are_settings(tmp_path: Path) -> None:
    (block,) = of("toml")
    (tmp_path / "vrm.toml").write_text(block.text)
    chosen = settings_module.load(environ={}, toml=tmp_path / "vrm.toml")
    assert chosen.signup_mode == "invite"
    assert set(tomllib.loads(block.text)) <= set(Settings.__dataclass_fields__)


def test_the_proxies_let_an_import_through_and_log_no_query() -> None:
    (caddy,), (nginx,) = of("caddy"), of("nginx")
    assert "max_size 70MB" in caddy.text
    assert "log" not in caddy.text
    assert "client_max_body_size 70m" in nginx.text
    assert Settings().max_upload < 70_000_000
    (form,) = [line for line in nginx.text.splitlines() if line.startswith("log_format")]
    assert not {"$request", "$request_uri", "$uri", "$args", "$http_referer"} & set(
        form.replace("'", " ").split()
    )
    assert "X-Forwarded-For $remote_addr;" in nginx.text  # replaced, so that exactly one arrives


def test_nginx_reads_its_example(tmp_path: Path) -> None:
    if shutil.which("nginx") is None:
        pytest.skip("nginx is not here; sudo apt-get install nginx-light")
    from vrm.vault import crypto

    certificate, key = crypto.self_signed("vault.example")
    (tmp_path / "cert.pem").write_bytes(certificate)
    (tmp_path / "key.pem").write_bytes(key)
    (block,) = of("nginx")
    text = block.text.replace("/etc/letsencrypt/live/vault.example/fullchain.pem", f"{tmp_path}/cert.pem")
    text = text.replace("/etc/letsencrypt/live/vault.example/privkey.pem", f"{tmp_path}/key.pem")
    text = text.replace("/var/log/nginx/", f"{tmp_path}/")
    (tmp_path / "nginx.conf").write_text(f"pid {tmp_path}/pid;\nevents {{}}\nhttp {{\n{text}\n}}\n")
    command = ["nginx", "-t", "-p", str(tmp_path), "-c", str(tmp_path / "nginx.conf")]
    tested = subprocess.run(command, capture_output=True, text=True)
    assert tested.returncode == 0, tested.stderr


def test_every_setting_that_the_page_names_exists() -> None:
    import re
    from dataclasses import fields

    text = (ROOT / "docs" / "self-hosting.md").read_text(encoding="utf-8")
    known = {item.metadata["env"] for item in fields(Settings)}
    assert set(re.findall(r"\bVRM_[A-Z_]+[A-Z]\b", text)) <= known
