"""The command line: what goes wrong is said in `error:` and `hint:` lines, early."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import PASSPHRASE
from vrm import cli
from vrm.cli import main
from vrm.vault import serverkey
from vrm.vault.sqlite import SqliteEngine
from vrm.vault.vault import Vaults

ROOT = Path(__file__).parents[1]
STARTING = """
import sys
from vrm import app, cli, settings
cli.parser("serve")
print(app.create_app(settings.load()).test_client().get("/").status_code, *sys.modules)
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VRM_DATA_DIR", str(folder))


@pytest.fixture
def passphrase(tmp_path: Path) -> str:
    path = tmp_path / "passphrase.txt"
    path.write_text(PASSPHRASE + "\n")
    return str(path)


def complaint(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    assert main(arguments) == 1
    told = capsys.readouterr()
    assert not told.out
    return told.err.splitlines()


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        ([], "vrm --help"),
        (["nonsense"], "vrm --help"),
        (["vault"], "vrm vault --help"),
        (["import", "file.csv"], "vrm import --help"),
        (["serve", "--port", "80x"], "vrm serve --help"),
        (["serve", "--nonsense"], "vrm serve --help"),
        (["vault", "list", "--nonsense"], "vrm vault list --help"),
    ],
)
def test_wrong_usage_is_an_error_and_a_hint(
    arguments: list[str], hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    usage, error, last = capsys.readouterr().err.rsplit("\n", 3)[:3]
    assert usage.startswith("usage: ")
    assert error.startswith("error: ")
    assert last == f"hint: {hint}"


def test_every_command_is_in_the_file_that_is_loaded_for_it() -> None:
    for own in cli._GROUPS.values():
        for command in own:
            (commands,) = (one for one in cli.parser(command)._actions if one.choices)
            assert tuple(commands.choices or ()) == own


def test_what_the_first_answer_does_not_need_is_not_loaded_before_it() -> None:
    late = {"marshmallow", "joserfc", "cryptography.x509", "apispec", "segno", "vrm.vault.intake"}
    found = subprocess.run([sys.executable, "-c", STARTING], capture_output=True, check=True, cwd=ROOT)
    status, *loaded = found.stdout.decode().split()
    assert status == "200"
    assert not late & set(loaded)


@pytest.mark.parametrize("command", ["--version", "vault", "import", "vendor", "worker", "backup", "copy"])
def test_a_command_that_serves_nothing_waits_for_nothing_of_the_web(command: str) -> None:
    asked = f"import sys\nfrom vrm import cli\ncli.parser({command!r})\nprint(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", asked], capture_output=True, check=True, cwd=ROOT).stdout
    assert not {"flask", "werkzeug", "authlib", "granian", "jinja2"} & set(loaded.decode().split())


def test_a_field_is_complained_of_once(
    passphrase: str, vaults: Vaults, capsys: pytest.CaptureFixture[str]
) -> None:
    vaults.create("alice", PASSPHRASE)
    lines = complaint(capsys, "vault", "create", "alice", "--passphrase-file", passphrase)
    assert lines == ["error: username is taken"]


def test_a_bad_name_is_refused_before_a_passphrase_is_typed(capsys: pytest.CaptureFixture[str]) -> None:
    assert "username" in complaint(capsys, "vault", "create", "a b")[0]


def test_input_that_ends_at_the_prompt_is_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def ended(prompt: str) -> str:
        raise EOFError

    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("getpass.getpass", ended)
    assert complaint(capsys, "vault", "create", "alice")[-1].startswith("error: the input ended")


def test_a_missing_file_is_named_before_a_passphrase_is_typed(capsys: pytest.CaptureFixture[str]) -> None:
    assert complaint(capsys, "import", "--vault", "alice", "no.zip") == [
        "error: no.zip: No such file or directory"
    ]


def test_a_folder_to_import_is_told_what_to_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "Your Orders").mkdir()
    lines = complaint(capsys, "import", "--vault", "alice", "Your Orders")
    assert lines == ["error: Your Orders is a folder", "hint: name the files in it, or the ZIP"]


def test_a_check_of_a_folder_without_a_database_makes_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = complaint(capsys, "check", "--data-dir", str(tmp_path / "typo"))
    assert lines[0].startswith("error: there is no database in ")
    assert not (tmp_path / "typo").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ("vault", "list"),
        ("vault", "vouch"),
        ("vault", "invite", "--list"),
        ("vault", "invite", "--revoke", "5b0c"),
        ("vault", "export", "alice", "-o", "alice.vrm"),
        ("vault", "rotate", "alice"),
        ("vault", "delete", "alice"),
        ("vendor", "list"),
        ("vendor", "block", "vrm_client_1"),
        ("worker",),
        ("worker", "--once"),
        ("worker", "--test", "vrm_client_1"),
        ("backup", "there"),
        ("copy", "sqlite:///there.db"),
        ("import", "--vault", "alice", "orders.csv"),
    ],
)
def test_a_folder_that_was_mistyped_becomes_no_host(
    arguments: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "orders.csv").write_text("x")
    lines = complaint(capsys, *arguments, "--data-dir", "typo")
    assert lines[0] == "error: there is no database in typo"
    assert lines[1].startswith("hint: --data-dir names the folder")
    assert [path.name for path in tmp_path.iterdir()] == ["orders.csv"]


def test_a_check_with_a_passphrase_and_no_vault_is_refused(
    passphrase: str, engine: SqliteEngine, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = complaint(capsys, "check", "--passphrase-file", passphrase)
    assert lines[-1] == "hint: add --vault NAME"


def test_a_check_names_vendors_of_another_server_key(
    folder: Path, vaults: Vaults, engine: SqliteEngine, capsys: pytest.CaptureFixture[str]
) -> None:
    server_key = folder / "server.key"
    assert main(["vendor", "add", "Corner Books", "--redirect-uri", "https://x.example/cb", "--json"]) == 0
    client = json.loads(capsys.readouterr().out)["client_id"]
    assert main(["check"]) == 0
    server_key.unlink()
    serverkey.load(server_key)  # another is put there
    capsys.readouterr()
    assert main(["check", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["problems"] == [
        f"vendor {client}: not as this server key vouched for it"
    ]
    assert main(["vendor", "block", client]) == 0  # which is the way to be rid of that
    assert main(["check"]) == 0
    capsys.readouterr()
    assert main(["vendor", "list"]) == 0
    assert capsys.readouterr().out.strip().endswith("BLOCKED")
