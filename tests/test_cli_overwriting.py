"""`--force` replaces a file that was written before: never the database, the server key, or a device."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from tests.conftest import CHEAP, PASSPHRASE
from vrm.cli import main
from vrm.host import open_host
from vrm.settings import Settings

OWN = ["vrm.db", "vrm.db-wal", "vrm.db-shm", "vrm.db.open.lock", "vrm.db.write.lock", "server.key"]


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A host with a vault, whose commands find it."""
    made = Settings(data_dir=tmp_path / "data")
    host = open_host(made, limits=CHEAP)
    host.vaults.create("alice", PASSPHRASE)
    host.engine.close()
    monkeypatch.setenv("VRM_DATA_DIR", str(made.data_dir))
    (tmp_path / "passphrase").write_text(PASSPHRASE)
    return made


def commands(target: Path, passphrase: Path) -> list[list[str]]:
    secret = ["--passphrase-file", str(passphrase)]
    return [
        ["backup", "--force", str(target)],
        ["vault", "export", "alice", "--force", "-o", str(target), *secret],
    ]


def refusal(capsys: pytest.CaptureFixture[str], target: Path, passphrase: Path) -> set[str]:
    """What each command says that would write to `target`."""
    said = set()
    for command in commands(target, passphrase):
        assert main(command) == 1
        error, hint = capsys.readouterr().err.splitlines()
        assert hint.startswith("hint: name a")
        said.add(error)
    assert not target.with_name(f"{target.name}.part").exists()
    return said


@pytest.mark.parametrize("name", OWN)
@pytest.mark.parametrize("way", ["itself", "link", "second name", "roundabout"])
def test_what_the_host_lives_by_is_never_written_over(
    way: str, name: str, settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = target = settings.data_dir / name
    if way == "link":
        (target := tmp_path / "out").symlink_to(own)
    elif way == "roundabout":
        target = settings.data_dir / ".." / "data" / name
    elif way == "second name":
        own.touch()  # SQLite puts some away
        (target := tmp_path / "out").hardlink_to(own)
    before = own.read_bytes() if own.exists() else None
    [said] = refusal(capsys, target, tmp_path / "passphrase")
    assert said.startswith(f"error: {target}: that is ")
    assert (own.read_bytes() if own.exists() else None) == before
    assert main(["vault", "list"]) == 0


def test_a_device_or_a_pipe_is_never_replaced(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    os.mkfifo(pipe := tmp_path / "pipe")
    (link := tmp_path / "null").symlink_to("/dev/null")
    for target in (pipe, link, Path("/dev/stdout")):
        assert refusal(capsys, target, tmp_path / "passphrase") == {f"error: {target} is no regular file"}
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert link.is_symlink()


def test_what_was_written_before_is_replaced(settings: Settings, tmp_path: Path) -> None:
    (settings.data_dir / "vrm.db.backup").write_text("older")  # a name that only looks like the host's own
    for target in (settings.data_dir / "vrm.db.backup", tmp_path / "out"):
        for command in commands(target, tmp_path / "passphrase"):
            assert main(command) == 0


def test_no_copy_goes_over_the_server_key(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["copy", f"sqlite:///{settings.server_key_path}"]) == 1
    assert "that is the server key itself" in capsys.readouterr().err


def test_where_the_database_is_no_file_the_key_is_still_ours(tmp_path: Path) -> None:
    url = "postgresql+psycopg://vrm@/vrm"
    assert Settings(data_dir=tmp_path, database_url=url).own_files == {
        tmp_path / "server.key": "the server key"
    }


# ---- which database ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command", [["restore", "--force", "{out}"], ["check"], ["vault", "list"], ["serve"], ["doctor"]]
)
def test_a_folder_that_leads_to_no_database_is_refused(
    command: list[str],
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["backup", str(tmp_path / "out")]) == 0
    before = settings.database_path.read_bytes()
    monkeypatch.setenv("VRM_DATABASE_URL", f"sqlite:///{settings.database_path}")
    capsys.readouterr()
    chosen = [part.format(out=tmp_path / "out") for part in command]
    code = main([*chosen, "--data-dir", str(tmp_path / "drill")])
    told = capsys.readouterr()
    assert code == 1
    said = told.out + told.err
    assert f"VRM_DATABASE_URL names {settings.database_path}" in said
    assert "leave out --data-dir" in said
    assert settings.database_path.read_bytes() == before
    assert not (tmp_path / "drill").exists()


def test_a_folder_in_which_the_named_database_lies_is_taken(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VRM_DATABASE_URL", f"sqlite:///{settings.database_path}")
    assert main(["vault", "list", "--data-dir", str(settings.data_dir)]) == 0
    assert main(["vault", "list"]) == 0


def test_a_named_database_that_is_not_there_is_called_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("VRM_DATABASE_URL", f"sqlite:///{tmp_path / 'typo.db'}")
    assert main(["check"]) == 1
    error, hint = capsys.readouterr().err.splitlines()
    assert error == f"error: there is no database at {tmp_path / 'typo.db'}"
    assert hint.startswith("hint: VRM_DATABASE_URL names the file")
    assert list(tmp_path.iterdir()) == []
