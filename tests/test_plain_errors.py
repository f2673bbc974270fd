"""What goes wrong in a host's first hour ends in `error:` and `hint:`, by the real command, no traceback."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.conftest import CHEAP, PASSPHRASE
from tests.hostile.serving import free_port
from tests.small_disk import on_small_disk
from vrm.cli import main
from vrm.cli.saying import of_the_system
from vrm.host import open_host
from vrm.settings import Settings

ROOT = Path(__file__).parents[1]
VRM = [sys.executable, "-m", "vrm"]
Run = Callable[..., list[str]]


@pytest.fixture
def made(folder: Path) -> Settings:
    """A data folder as the first start makes it."""
    settings = Settings(data_dir=folder)
    open_host(settings).engine.close()
    return settings


@pytest.fixture
def complain(tmp_path: Path, folder: Path) -> Run:
    """Run a command that must fail; the lines that it says, the last two being error and hint."""

    def run(*arguments: object, environ: dict[str, str] | None = None) -> list[str]:
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": str(tmp_path)}
        environment |= {"VRM_DATA_DIR": str(folder), **(environ or {})}
        command = [*VRM, *map(str, arguments)]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        return told(done)

    return run


def told(done: subprocess.CompletedProcess[str]) -> list[str]:
    """What a failed command said: one error, one hint, nothing on standard output."""
    assert done.returncode == 1, done
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert [line.split(":")[0] for line in lines] == ["error", "hint"], done.stderr
    return lines


# ---- the port --------------------------------------------------------------------------------------------


def test_a_taken_port(complain: Run) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        error, hint = complain("serve", "--port", port)
    assert error == f"error: cannot listen on 127.0.0.1:{port}: Address already in use"
    assert "--port" in hint


def test_a_port_of_the_system(tmp_path: Path) -> None:
    if Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text().strip() == "0":
        pytest.skip("every port is open to everybody here")
    command = [*VRM, "serve", "--port", "80", "--data-dir", tmp_path / "small"]
    error, hint = told(on_small_disk(tmp_path / "small", "8m", *command))  # there nobody is the real root
    assert error == "error: cannot listen on 127.0.0.1:80: Permission denied"
    assert "below 1024" in hint


def test_an_address_that_is_not_here(complain: Run) -> None:
    error, hint = complain(
        "serve", "--host", "192.0.2.1", environ={"VRM_PUBLIC_URL": "https://vault.example"}
    )
    assert "cannot listen on 192.0.2.1" in error
    assert "VRM_HOST" in hint


def test_a_taken_port_for_the_numbers(complain: Run) -> None:
    """Also by another vrm, whose workers let each other listen there too."""
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        error, hint = complain("serve", "--port", free_port(), environ={"VRM_METRICS": f"127.0.0.1:{port}"})
    assert error == f"error: cannot listen on 127.0.0.1:{port}: Address already in use"
    assert "VRM_METRICS" in hint


def test_an_address_for_the_numbers_that_is_not_here(complain: Run) -> None:
    error, hint = complain("serve", "--port", free_port(), environ={"VRM_METRICS": "192.0.2.1:9600"})
    assert "cannot listen on 192.0.2.1:9600" in error
    assert hint == "hint: VRM_METRICS names an address of this machine"


# ---- what is shown once ----------------------------------------------------------------------------------


@pytest.mark.parametrize("end", [">/dev/full", ">&-"])
@pytest.mark.parametrize(
    ("arguments", "error", "hint"),
    [
        (["vault", "create", "alice"], "vault alice was made, but its recovery code", "under Me"),
        (
            ["vendor", "add", "X", "--redirect-uri", "https://x.example"],
            "but its secret could",
            "vendor block",
        ),
        (["vendor", "add", "X", "--redirect-uri", "https://x.example", "--public"], "but that could", "list"),
        (["vault", "invite"], "invitations were made: 1, but their links could", "--revoke"),
    ],
)
def test_what_is_shown_once_and_was_not(
    tmp_path: Path, folder: Path, end: str, arguments: list[str], error: str, hint: str
) -> None:
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    environ |= {"VRM_DATA_DIR": str(folder), "VRM_SIGNUP": "invite"}
    (tmp_path / "passphrase").write_text(PASSPHRASE)
    more = ["--passphrase-file", "passphrase"] if "create" in arguments else []
    shell = ["sh", "-c", f'exec "$@" {end}', "sh", *VRM, *arguments, *more]
    environ["PYTHONPATH"] = str(ROOT)
    lines = told(subprocess.run(shell, cwd=tmp_path, env=environ, capture_output=True, text=True))
    assert error in lines[0]
    assert hint in lines[1]
    if "create" in arguments:
        host = open_host(Settings(data_dir=folder))
        assert [one.username for one in host.vaults.listing()] == ["alice"]
        host.engine.close()


def test_a_full_disk_is_told_once_of_what_can_be_shown_again(tmp_path: Path, made: Settings) -> None:
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    shell = [
        "sh",
        "-c",
        'exec "$@" >/dev/full',
        "sh",
        *VRM,
        "vault",
        "list",
        "--data-dir",
        str(made.data_dir),
    ]
    done = subprocess.run(shell, cwd=ROOT, env=environ, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, "error: No space left on device\n")


# ---- what the environment lacks --------------------------------------------------------------------------


def test_a_home_that_nobody_has(complain: Run, tmp_path: Path) -> None:
    for command in (("vault", "list"), ("doctor",)):
        error, hint = complain(*command, "--data-dir", "~nosuchuser/x")
        assert error == "error: VRM_DATA_DIR: there is no folder that ~ stands for"
        assert hint == "hint: write it whole, such as /var/lib/vrm"


def test_an_account_without_a_home() -> None:
    code = "import os, sys; os.setuid(54321); from vrm.cli import main; sys.exit(main(['vault', 'list']))"
    if os.geteuid() != 0:
        pytest.skip("only root can become nobody in particular")
    code = f"import sys; import vrm.cli.vaults; {code}"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd="/", env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert told(done)[0] == "error: VRM_DATA_DIR: there is no folder that ~ stands for"


@pytest.mark.parametrize(
    ("arguments", "way"),
    [
        ("vault create alice", "--passphrase-file"),
        ("vault create alice --passphrase-file -", "--passphrase-file PATH"),
        ("check --vault alice", "--passphrase-file"),
        ("vault delete alice", "--passphrase-file"),
        ("vault delete alice --passphrase-file passphrase", "--yes alice"),
    ],
)
def test_standard_input_that_is_closed(folder: Path, tmp_path: Path, arguments: str, way: str) -> None:
    (tmp_path / "passphrase").write_text(PASSPHRASE)
    host = open_host(Settings(data_dir=folder), limits=CHEAP)
    host.vaults.create("alice", PASSPHRASE)
    host.engine.close()
    shell = ["sh", "-c", 'exec "$@" <&-', "sh", *VRM, *arguments.split(), "--data-dir", str(folder)]
    done = subprocess.run(shell, cwd=tmp_path, capture_output=True, text=True)
    assert way in told(done)[1]


# ---- the data folder -------------------------------------------------------------------------------------


def test_a_file_where_the_folder_should_be(complain: Run, folder: Path) -> None:
    folder.write_text("")
    error, hint = complain("vault", "invite")
    assert error == f"error: {folder} is no folder"
    assert "VRM_DATA_DIR" in hint


def test_a_folder_below_a_file(complain: Run, folder: Path) -> None:
    folder.write_text("")
    error, hint = complain("vault", "invite", "--data-dir", folder / "vrm")
    assert "leads through something that is no folder" in error
    assert "VRM_DATA_DIR" in hint


def test_a_disk_that_can_only_be_read(tmp_path: Path) -> None:
    small = tmp_path / "small"
    error, hint = told(on_small_disk(small, "1m,ro", *VRM, "vault", "invite", "--data-dir", small))
    assert "can only be read" in error
    assert "mount it for writing" in hint


def test_a_full_disk(tmp_path: Path) -> None:
    small = tmp_path / "small"
    error, hint = told(on_small_disk(small, "64k", *VRM, "vault", "invite", "--data-dir", small))
    assert error == "error: the disk is full; nothing was changed"
    assert "make room" in hint


@pytest.mark.parametrize("left", [0, 8, 32, 48, 64, 80, 112])  # KiB
def test_a_disk_that_is_full_beside_a_database(left: int, tmp_path: Path, made: Settings) -> None:
    """Whatever SQLite makes of it: it may not get as far as to a file that it could call full."""
    small, size = tmp_path / "small", (made.database_path.stat().st_size >> 10) + 16 + left
    filling = small / "filling"
    add = [*VRM, "vendor", "add", "Books", "--redirect-uri", "https://b.example/cb", "--data-dir", str(small)]
    shell = (
        f"cp -p {made.data_dir}/server.key {made.data_dir}/vrm.db {small} && "
        f"{{ head -c 9M /dev/zero > {filling}; test {left} -eq 0 || truncate -s -{left}K {filling}; }}"
        f" 2>/dev/null; exec {shlex.join(add)}"
    )
    done = on_small_disk(small, f"{size}k", "sh", "-c", shell)
    if done.returncode == 0:
        return  # there was room enough
    error, hint = told(done)
    assert error == "error: the disk is full; nothing was changed"
    assert "make room" in hint


def test_a_folder_of_somebody_else(tmp_path: Path, made: Settings) -> None:
    small = tmp_path / "small"
    if os.geteuid() != 0:
        made.data_dir.chmod(0o500)
        made.database_path.chmod(0o400)
    else:  # in its own namespace root is nobody to the files of others
        pytest.importorskip("os").chown(made.database_path, 4321, 4321)
    error, hint = told(on_small_disk(small, "1m", *VRM, "vault", "list", "--data-dir", made.data_dir))
    assert "cannot be opened for writing" in error
    assert "vrm doctor" in hint


# ---- the database ----------------------------------------------------------------------------------------


def test_a_folder_where_the_database_should_be(complain: Run, folder: Path) -> None:
    (folder / "vrm.db").mkdir(parents=True)
    error, hint = complain("vault", "list")
    assert error == f"error: {folder / 'vrm.db'} is a folder, not a file"
    assert "VRM_DATABASE_URL" in hint


def test_something_else_than_a_database(complain: Run, folder: Path) -> None:
    folder.mkdir()
    (folder / "vrm.db").write_bytes(b"this is no database\n" * 1000)
    error, hint = complain("serve")
    assert error == f"error: {folder / 'vrm.db'} is not a database"
    assert "restore" in hint


def test_a_damaged_database(complain: Run, made: Settings) -> None:
    whole = made.database_path.read_bytes()
    made.database_path.write_bytes(whole[:4096] + b"\xff" * (len(whole) - 4096))
    error, hint = complain("vault", "list")
    assert error == "error: the database is damaged"
    assert "restore" in hint


@pytest.mark.slow
def test_a_database_that_another_program_keeps_to_itself(complain: Run, made: Settings) -> None:
    with closing(sqlite3.connect(made.database_path)) as other:
        other.execute("PRAGMA locking_mode=EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        other.execute("CREATE TABLE held (id INTEGER)")
        error, hint = complain("vault", "list")
    assert "another program keeps the database to itself" in error
    assert "try again" in hint


def test_data_of_a_newer_version(complain: Run, made: Settings) -> None:
    with closing(sqlite3.connect(made.database_path)) as raw:
        raw.execute("UPDATE schemas SET version = 99 WHERE name = 'consent'")
        raw.commit()
    error, hint = complain("serve")
    assert error == "error: The data was written by a newer version of vrm"
    assert "docs/self-hosting.md" in hint
    assert "consent: data 99" in hint


# ---- the server key --------------------------------------------------------------------------------------


def test_a_server_key_that_is_none(complain: Run, made: Settings) -> None:
    made.server_key_path.write_text("-----BEGIN SOMETHING ELSE-----")
    error, hint = complain("vault", "list")
    assert error == f"error: {made.server_key_path} is not a server key"
    assert "restore it from your copy" in hint


def test_a_server_key_in_a_folder_that_is_not_there(complain: Run, tmp_path: Path) -> None:
    nowhere = str(tmp_path / "usb" / "server.key")
    error, hint = complain("serve", environ={"VRM_SERVER_KEY_FILE": nowhere})
    assert error == f"error: {nowhere}: No such file or directory"
    assert "VRM_SERVER_KEY_FILE" in hint


# ---- settings --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("port = ", "vrm.toml: Invalid value"),
        ("prot = 8600", "unknown setting 'prot'"),
        ("port = '80x'", "is not a whole number"),
        ("port = 70000", "VRM_PORT: 70000"),
        ("signup = 'all'", "VRM_SIGNUP: 'all'"),
        ("public_url = 'http://vault.example'", "neither https nor http on this machine"),
    ],
)
def test_a_settings_file_with_a_mistake(
    folder: Path,
    tmp_path: Path,
    text: str,
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "vrm.toml").write_text(text)
    monkeypatch.chdir(tmp_path)
    assert main(["serve", "--data-dir", str(folder)]) == 1
    error, hint = capsys.readouterr().err.splitlines()
    assert words in error
    assert hint.startswith("hint: ")
    assert not folder.exists()


def test_a_settings_file_that_is_not_there(complain: Run) -> None:
    error, hint = complain("serve", "--config", "/etc/vrm/vrm.toml")
    assert error == "error: /etc/vrm/vrm.toml: no such file"
    assert "--config" in hint


# ---- words that are no text, and terminals that lack letters ---------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ("vendor", "block", b"a\xff"),
        ("worker", "--test", b"a\xff"),
        ("copy", b"postgresql+psycopg://a\xff/x"),
        ("thief", "{data}", "--look-for", b"ab\xffcdefgh"),
    ],
)
def test_an_argument_that_is_no_text(arguments: tuple[str | bytes, ...], made: Settings) -> None:
    data = str(made.data_dir)
    words = [data if word == "{data}" else word for word in arguments]
    environ = {**os.environ, "VRM_DATA_DIR": data}
    done = subprocess.run([*VRM, *words], cwd=ROOT, env=environ, capture_output=True, text=True)
    said = "error: an argument or a setting is not UTF-8 text\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", said)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_a_terminal_that_lacks_a_letter_gets_its_number(encoding: str, made: Settings) -> None:
    environ = {**os.environ, "VRM_DATA_DIR": str(made.data_dir), "PYTHONIOENCODING": encoding}

    def vendor(*arguments: str) -> str:
        command = [*VRM, "vendor", *arguments]
        done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, check=True)
        return done.stdout.decode(encoding)

    vendor("add", "Bücher \N{SNOWMAN}", "--redirect-uri", "https://x.example/cb")
    written = "Bücher \N{SNOWMAN}".encode(encoding, "backslashreplace").decode(encoding)
    assert vendor("list").startswith(written)
    assert json.loads(vendor("list", "--json"))[0]["name"] == "Bücher \N{SNOWMAN}"


# ---- what the system refuses -----------------------------------------------------------------------------


def test_a_robbery_without_room_for_its_copy(tmp_path: Path, made: Settings) -> None:
    (made.data_dir / "much").write_bytes(bytes(3 << 20))
    (small := tmp_path / "small").mkdir()
    command = ["env", f"TMPDIR={small}", *VRM, "thief", made.data_dir]
    done = on_small_disk(small, "1m", *command)
    assert done.returncode == 1
    assert re.fullmatch(r"error: /.*No space left on device.*\n", done.stderr)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(28, "No space left on device"), "No space left on device"),
        (OSError(2, "No such file or directory", "x"), "x: No such file or directory"),
        (OSError("cannot read from timed out object"), "cannot read from timed out object"),
        (TimeoutError(), "TimeoutError"),
        (shutil.Error([("a", "b", "is a named pipe")]), "a: is a named pipe"),
        (shutil.Error("no such thing"), "no such thing"),
    ],
)
def test_what_an_error_of_the_system_lacks_is_left_out(error: OSError, words: str) -> None:
    assert of_the_system(error) == words


# ---- the first moments -----------------------------------------------------------------------------------

STOPPED = """
import os, signal, sys
class Watch:
    def find_spec(self, name, *_):
        if name == sys.argv[1]:
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Watch())
signal.signal(signal.SIGINT, signal.default_int_handler)  # who runs the tests may have it ignored
from vrm.cli import main
from vrm.cli.saying import of_the_system
raise SystemExit(main(["vault", "list"]))
"""


@pytest.mark.parametrize("loading", ["vrm.cli.vaults", "vrm.cli.frame", "vrm.host", "cryptography"])
def test_who_stops_a_command_while_it_is_loaded_is_understood(loading: str, folder: Path) -> None:
    environ = {**os.environ, "VRM_DATA_DIR": str(folder)}
    command = [sys.executable, "-c", STOPPED, loading]
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "\nstopped\n")
