"""deploy/: what is there fits the commands and settings that there are."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from vrm import cli
from vrm import settings as settings_module
from vrm.settings import Settings

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
UNITS = sorted((DEPLOY / "systemd").iterdir())
SERVICES = [unit for unit in UNITS if unit.suffix == ".service"]
KNOWN = {item.metadata["env"] for item in fields(Settings)}
MOST_EXPOSED = 2.0  # of 10, by systemd-analyze security


@pytest.fixture(scope="module")
def analyze() -> str:
    found = shutil.which("systemd-analyze")
    if found is None:
        pytest.skip("systemd-analyze is not here; Debian's package systemd has it")
    return found


def test_the_units_are_units(analyze: str, tmp_path: Path) -> None:
    for unit in UNITS:
        text = unit.read_text().replace("/opt/vrm/bin/vrm", sys.executable)  # that there is such a program
        (tmp_path / unit.name).write_text(text)
    command = [analyze, "verify", "--man=no", *[str(tmp_path / unit.name) for unit in UNITS]]
    verified = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "LANG": "C"})
    about_ours = [line for line in verified.stderr.splitlines() if "vrm" in line]
    assert (verified.returncode, about_ours) == (0, []), verified.stderr


@pytest.mark.parametrize("unit", SERVICES, ids=lambda unit: unit.name)
def test_a_service_may_do_little(analyze: str, unit: Path) -> None:
    command = [analyze, "security", "--no-pager", "--offline=true", str(unit)]
    said = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "LANG": "C"})
    if "unrecognized option" in said.stderr:
        pytest.skip("this systemd-analyze is older than 250")
    exposed = re.search(r"Overall exposure level for \S+: ([0-9.]+)", said.stdout)
    assert exposed, said.stderr
    assert float(exposed[1]) <= MOST_EXPOSED


@pytest.mark.parametrize("unit", SERVICES, ids=lambda unit: unit.name)
def test_a_service_runs_a_command_that_there_is(unit: Path) -> None:
    (typed,) = re.findall(r"^ExecStart=.*?/opt/vrm/bin/vrm (.*)$", unit.read_text(), re.MULTILINE)
    words = typed.split('"')[0].split()
    chosen = cli.parser().parse_args([*words, "x"] if words[0] == "backup" else words)
    assert str(chosen.config) == "/etc/vrm/vrm.toml"


def test_only_the_server_itself_is_told_to_stop() -> None:
    text = (DEPLOY / "systemd" / "vrm.service").read_text()
    assert "KillMode=mixed" in text  # else the workers would go while it still drains
    assert "ExecReload=/bin/kill -HUP $MAINPID" in text


def test_the_example_of_an_environment_can_be_used() -> None:
    lines = (DEPLOY / "vrm.env.example").read_text().splitlines()
    environ = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    assert environ.keys() <= KNOWN
    chosen = settings_module.load(environ=environ)
    assert chosen.signup_mode == "invite"
    assert chosen.metrics_address == ("127.0.0.1", 9600)


@pytest.mark.parametrize("name", ["Containerfile", "compose.yaml", "Caddyfile"])
def test_what_containers_are_made_of_names_what_there_is(name: str) -> None:
    text = (DEPLOY / name).read_text()
    assert set(re.findall(r"\bVRM_[A-Z_]+[A-Z]\b", text)) <= KNOWN
    for copied in re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.MULTILINE):
        assert all((ROOT / path).exists() for path in copied.split()), copied


def test_the_image_serves() -> None:
    text = (DEPLOY / "Containerfile").read_text()
    (typed,) = re.findall(r"^CMD \[(.*)\]$", text, re.MULTILINE)
    assert cli.parser().parse_args([word.strip(' "') for word in typed.split(",")])
    told = re.findall(r"\b(VRM_\w+)=(\S+)", text)
    chosen = settings_module.load(environ={"VRM_PUBLIC_URL": "https://vault.example", **dict(told)})
    assert chosen.host == "0.0.0.0"  # what is run beside the server knows it, too


def test_caddy_is_told_what_the_page_for_hosts_says() -> None:
    page = (ROOT / "docs" / "self-hosting.md").read_text()
    (told,) = re.findall(r"```caddy\n(.*?)```", page, re.DOTALL)
    own = (DEPLOY / "Caddyfile").read_text().partition("\n")[2]
    there = {"{$VRM_PUBLIC_URL}": "vault.example", "vrm:8600": "127.0.0.1:8600"}
    for ours, theirs in there.items():
        own = own.replace(ours, theirs)
    assert own == told
