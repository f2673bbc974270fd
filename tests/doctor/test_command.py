"""The command: one line for each check, JSON for scripts, exit code 1 where something fails, no secrets."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

from tests.doctor.test_network import free_port
from tests.small_disk import on_small_disk
from vrm.cli import main
from vrm.settings import Settings


@pytest.fixture(autouse=True)
def here(tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VRM_DATA_DIR", str(settings.data_dir))
    monkeypatch.setenv("VRM_PORT", str(free_port()))


def test_every_line_says_how_it_stands(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert all(re.fullmatch(r"(ok  |warn)  [a-zA-Z -]+: .+", line) for line in out.splitlines())
    assert len(out.splitlines()) >= 15
    secret = settings.server_key_path.read_text().split()[1]
    assert secret not in out


def test_json_and_exit_code_tell_a_failure(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    settings.data_dir.chmod(0o755)
    assert main(["doctor", "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert not told["ok"]
    (bad,) = [one for one in told["checks"] if one["level"] == "FAIL"]
    assert bad["check"] == "data folder"
    assert bad["do"] == f"chmod 700 {settings.data_dir}"


def test_a_read_only_disk_fails(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "vrm", "doctor", "--data-dir", tmp_path / "small"]
    looked = on_small_disk(tmp_path / "small", "1m,ro,mode=700", *command)
    assert looked.returncode == 1
    assert "FAIL  data folder" in looked.stdout
    assert "Traceback" not in looked.stderr


def test_a_full_disk_is_to_be_emptied_and_nothing_restored(settings: Settings, tmp_path: Path) -> None:
    small = tmp_path / "small"
    filled = 'umask 077; cp -r "$1"/. "$2" && chmod 700 "$2"; cat /dev/zero > "$2"/much 2>/dev/null; shift 2'
    doctor = [sys.executable, "-m", "vrm", "doctor", "--data-dir", small]
    shell = ["sh", "-c", f'{filled}; exec "$@"', "sh", settings.data_dir, small, *doctor]
    looked = on_small_disk(small, "2m", *shell)
    assert looked.returncode == 1
    (line,) = [line for line in looked.stdout.splitlines() if line.startswith("FAIL  database")]
    assert "make room first" in line
    assert "restore" not in line


def test_wrong_settings_are_told_as_json(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("VRM_PORT", "80x")
    assert main(["doctor", "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    what = "VRM_PORT: '80x' is not a whole number"
    check = {"check": "settings", "level": "FAIL", "what": what, "do": "digits only, such as 8600"}
    assert told == {"ok": False, "checks": [check]}
    assert main(["doctor"]) == 1
    assert capsys.readouterr().err.splitlines()[0] == f"error: {what}"
