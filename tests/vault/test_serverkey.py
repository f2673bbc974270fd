"""The server key's file: private, whole, made once."""

import base64
import multiprocessing
import os
import stat
from pathlib import Path

import pytest

from vrm.errors import SettingsError
from vrm.vault import serverkey

SPAWN = multiprocessing.get_context("spawn")


def first_start(path: Path) -> str:
    return serverkey.load(path).pepper.hex()


def test_it_is_made_private_at_the_first_start_and_read_at_the_next(tmp_path: Path) -> None:
    path = tmp_path / "server.key"
    before = os.umask(0)
    try:
        made = serverkey.load(path)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert serverkey.load(path).pepper == made.pepper
    assert [one.name for one in tmp_path.iterdir()] == ["server.key"]


def test_a_place_is_a_folder_that_is_there_or_a_key(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="No such file or directory"):
        serverkey.require_place(tmp_path / "nowhere" / "server.key")
    serverkey.require_place(tmp_path / "server.key")
    serverkey.load(tmp_path / "server.key")
    serverkey.require_place(tmp_path / "server.key")


def test_two_hosts_have_two_keys(tmp_path: Path) -> None:
    assert serverkey.load(tmp_path / "one").pepper != serverkey.load(tmp_path / "two").pepper


def test_of_many_first_starts_at_once_one_key_remains(tmp_path: Path) -> None:
    path = tmp_path / "server.key"
    with SPAWN.Pool(4) as pool:
        assert len(set(pool.map(first_start, [path] * 16))) == 1
    assert [one.name for one in tmp_path.iterdir()] == ["server.key"]


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660, 0o610, 0o666])
def test_a_key_that_others_can_touch_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "server.key"
    serverkey.load(path)
    path.chmod(mode)
    with pytest.raises(SettingsError, match="can be read by others") as caught:
        serverkey.load(path)
    assert f"chmod 600 {path}" in caught.value.hint
    path.chmod(0o600)
    serverkey.load(path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        b"vrm-server-key-1 ",
        b"vrm-server-key-2 " + base64.b64encode(bytes(32)),
        b"vrm-server-key-1 " + base64.b64encode(bytes(31)),
        b"vrm-server-key-1 " + base64.b64encode(bytes(33)),
        b"vrm-server-key-1 not base64!",
        base64.b64encode(bytes(32)),
        bytes(range(256)),
    ],
)
def test_a_malformed_key_is_refused_and_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "server.key"
    path.touch(0o600)
    path.write_bytes(content)
    with pytest.raises(SettingsError, match="is not a server key") as caught:
        serverkey.load(path)
    assert "restore it" in caught.value.hint
    assert caught.value.__suppress_context__
    assert path.read_bytes() == content


@pytest.mark.parametrize("name", ["no/such/folder/server.key", "folder"])
def test_a_place_that_is_no_file_is_refused_with_a_hint(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir(mode=0o700)
    with pytest.raises(SettingsError) as caught:
        serverkey.load(tmp_path / name)
    assert "VRM_SERVER_KEY_FILE" in caught.value.hint


def test_what_it_makes_depends_on_every_argument(tmp_path: Path) -> None:
    own = serverkey.load(tmp_path / "server.key")
    made = [
        own.vouch("a" * 32, "log", b"key"),
        own.vouch("b" * 32, "log", b"key"),
        own.vouch("a" * 32, "slot", b"key"),
        own.vouch("a" * 32, "log", b"another"),
        own.hash_secret("client", "secret"),
        own.hash_secret("client", "Secret"),
        own.hash_secret("another", "secret"),
        own.vendor_tag("v", "client"),
        own.vendor_tag("w", "client"),
        own.vendor_tag("v", "another"),
        own.limit_key("log-in", "alice"),
        own.limit_key("log-in", "bob"),
        own.limit_key("sign-up", "alice"),
    ]
    assert len(set(made)) == len(made)
    assert "alice" not in repr(made)
