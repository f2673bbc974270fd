"""A server key that is not found: refused by everything but `vrm serve`, and by that while others have it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests import postgres
from tests.attacks.actors import CALLBACK, Customer, Vendor
from tests.conftest import CHEAP, PASSPHRASE
from tests.faults.household import ROOT, free_port
from vrm import serve
from vrm.app import create_app
from vrm.cli import main
from vrm.doctor import storage
from vrm.doctor.machine import Machine
from vrm.errors import SettingsError
from vrm.host import Host, open_engine, open_host
from vrm.settings import Settings

server = postgres.server


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A host with alice's vault, its key apart from the data."""
    (tmp_path / "kept").mkdir()
    made = Settings(data_dir=tmp_path / "data", server_key_file=str(tmp_path / "kept" / "server.key"))
    inhabit(made)
    return made


def inhabit(settings: Settings) -> None:
    host = open_host(settings, limits=CHEAP)
    host.vaults.create("alice", PASSPHRASE)
    host.engine.close()


def written(settings: Settings) -> list[object]:
    """What a new key would change, whoever made it."""
    engine = open_engine(settings)
    try:
        return [
            engine.all(f"SELECT * FROM {table} ORDER BY 1") for table in ("vaults", "keyslots", "adoptions")
        ]
    finally:
        engine.close()


def elsewhere(settings: Settings) -> Settings:
    """The same data, by somebody who does not say where the key is."""
    return replace(settings, server_key_file="")


def run(settings: Settings, *arguments: str) -> subprocess.CompletedProcess[str]:
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": str(settings.data_dir.parent)}
    environ |= {
        "VRM_DATA_DIR": str(settings.data_dir),
        "VRM_DATABASE_URL": settings.database_url,
        "VRM_SERVER_KEY_FILE": settings.server_key_file,
    }
    command = [sys.executable, "-m", "vrm", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=60)


def refused(settings: Settings, *arguments: str) -> str:
    """What a command says that changes nothing: its hint."""
    before = written(settings)
    done = run(elsewhere(settings), *arguments)
    assert (done.returncode, done.stdout) == (1, "")
    error, hint = done.stderr.splitlines()
    assert error.startswith(f"error: {settings.data_dir / 'server.key'} is missing, and this database was")
    assert not (settings.data_dir / "server.key").exists()
    assert written(settings) == before
    return hint


@pytest.mark.parametrize(
    "command",
    [
        ["check"],
        ["vault", "list"],
        ["vault", "vouch"],
        ["vault", "create", "bob"],
        ["backup", "out.backup"],
        ["vendor", "add", "Corner Books", "--redirect-uri", "https://books.example/cb"],
        ["worker", "--once"],
    ],
)
def test_no_command_makes_a_key_for_data_that_has_one(
    command: list[str],
    settings: Settings,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "said").write_text(PASSPHRASE)
    before = written(settings)
    if command[:2] == ["vault", "create"]:
        command = [*command, "--passphrase-file", str(tmp_path / "said")]
    assert main([*command, "--data-dir", str(settings.data_dir)]) == 1
    error, hint = capsys.readouterr().err.splitlines()
    assert "server.key is missing" in error
    assert "VRM_SERVER_KEY_FILE names the file" in hint
    assert "vrm serve makes a new one" in hint
    assert not (settings.data_dir / "server.key").exists()
    assert not (tmp_path / "out.backup").exists()
    assert written(settings) == before


def test_vendors_without_a_vault_have_a_key_too(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "data")
    host = open_host(settings, limits=CHEAP)
    host.consent.vendors.add("Corner Books", ["https://books.example/cb"])
    host.engine.close()
    settings.server_key_path.unlink()
    with pytest.raises(SettingsError, match="is missing"):
        open_host(settings, limits=CHEAP)


def test_a_key_that_another_first_start_has_just_made_is_read(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That one wrote key and vault between this one's two looks."""
    asked: list[Path] = []
    exists = Path.exists

    def late(path: Path) -> bool:
        if path.name == "server.key":
            asked.append(path)
            return len(asked) > 2 and exists(path)  # the first look is for a place to put it
        return exists(path)

    monkeypatch.setattr(Path, "exists", late)
    host = open_host(settings, limits=CHEAP)
    assert host.vaults.unlock("alice", PASSPHRASE).problems() == []
    host.engine.close()


@pytest.fixture
def serving(settings: Settings) -> Iterator[Settings]:
    """A server that runs with the key, as a process of its own."""
    environ = {**os.environ, "VRM_SERVER_KEY_FILE": settings.server_key_file, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "vrm", "serve", "--port", str(free_port()), "--workers", "1"]
    process = subprocess.Popen(
        [*command, "--data-dir", str(settings.data_dir)], cwd=ROOT, env=environ, stderr=subprocess.PIPE
    )
    try:
        assert process.stderr is not None
        assert b"serves" in process.stderr.readline()
        yield settings
    finally:
        process.terminate()
        process.communicate(timeout=60)


def test_beside_a_server_that_has_the_key_none_is_made(serving: Settings) -> None:
    for arguments in (["vault", "list"], ["check"]):
        assert "vrm serve makes a new one" in refused(serving, *arguments)
    hint = refused(serving, "serve", "--port", str(free_port()))
    assert "works with this data" in hint
    host = open_host(serving, limits=CHEAP)  # the server's vaults are as they were
    [alice] = host.vaults.listing()
    host.vaults.log_public(alice.id)
    host.engine.close()


def test_a_start_of_the_server_makes_a_new_key_where_nobody_else_has_one(settings: Settings) -> None:
    Path(settings.server_key_file).unlink()
    serve.prepare(replace(settings, port=free_port()))
    host = open_host(settings, limits=CHEAP)
    assert host.vaults.unlock("alice", PASSPHRASE).problems() == []
    host.engine.close()


@pytest.mark.parametrize("url", ["", "sqlite:///{folder}/live.db"])
@pytest.mark.parametrize("act", ["serve", "vault create"])
def test_where_no_key_can_be_put_nothing_is_begun(url: str, act: str, tmp_path: Path) -> None:
    settings = Settings(
        data_dir=tmp_path / "data",
        database_url=url.format(folder=tmp_path / "data"),
        server_key_file=str(tmp_path / "usb" / "server.key"),
    )
    (tmp_path / "said").write_text(PASSPHRASE)
    more = ["bob", "--passphrase-file", str(tmp_path / "said")] if act == "vault create" else []
    done = run(settings, *act.split(), *more)
    error, hint = done.stderr.splitlines()
    assert error == f"error: {settings.server_key_file}: No such file or directory"
    assert "VRM_SERVER_KEY_FILE" in hint
    assert [one.name for one in tmp_path.iterdir()] == ["said"]


def test_where_no_key_may_be_put_nothing_is_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "usb").mkdir()
    settings = Settings(data_dir=tmp_path / "data", server_key_file=str(tmp_path / "usb" / "server.key"))
    monkeypatch.setattr(os, "access", lambda *_: False)  # as for any account but root
    with pytest.raises(SettingsError, match="Permission denied"):
        open_host(settings)
    assert not settings.data_dir.exists()


@pytest.fixture
def nodes(server: str, tmp_path: Path) -> Iterator[Host]:
    """A node on PostgreSQL that serves alice."""
    settings = Settings(data_dir=tmp_path / "one", database_url=postgres.make(tmp_path))
    inhabit(settings)
    host = open_host(settings, limits=CHEAP)
    host.vaults.listing()
    yield host
    host.engine.close()
    postgres.drop(tmp_path)


def test_a_second_machine_without_the_key_makes_none(nodes: Host, tmp_path: Path) -> None:
    second = replace(nodes.settings, data_dir=tmp_path / "two", port=free_port())
    before = written(second)
    with pytest.raises(SettingsError, match="is missing"):
        open_host(second)
    with pytest.raises(SettingsError, match="is missing") as caught:
        serve.prepare(second)
    assert "works with this data" in caught.value.hint
    assert not second.server_key_path.exists()
    assert written(second) == before


# ---- put back ----------------------------------------------------------------------------------------------


class Swapped:
    """Alice, a vendor and what it reads with, under key A; then key B came."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        host = self.opened()
        customer = Customer(host.vaults.unlock("alice", PASSPHRASE), host.consent)
        customer.buy("Dune")
        vendor, secret = host.consent.vendors.add("Corner Books", [CALLBACK])
        self.client, self.tokens = (vendor.client_id, secret), Vendor(host.consent, vendor).connect(customer)
        host.consent.at_unlock(customer.vault)
        host.engine.close()
        self.key = Path(settings.server_key_file)
        self.aside = self.key.rename(self.key.with_name("kept.key"))
        serve.prepare(replace(settings, port=free_port()))

    def opened(self) -> Host:
        return open_host(self.settings, limits=CHEAP)

    def log_in(self) -> list[str]:
        host = self.opened()
        vault = host.vaults.unlock("alice", PASSPHRASE)
        host.consent.at_unlock(vault)
        found = vault.problems()
        host.engine.close()
        return found

    def put_back(self) -> None:
        self.aside.rename(self.key)

    def refresh(self) -> tuple[int, dict[str, object]]:
        """What the token endpoint answers to what the vendor has since key A."""
        host = self.opened()
        try:
            client = create_app(self.settings, host=host).test_client()
            answer = client.post(
                "/oauth/token",
                data={"grant_type": "refresh_token", "refresh_token": self.tokens.refresh_token},
                auth=self.client,
            )
            return answer.status_code, answer.json or {}
        finally:
            host.engine.close()

    def check(self, capsys: pytest.CaptureFixture[str], *deeper: str) -> tuple[int, str]:
        capsys.readouterr()
        code = main(["check", "--data-dir", str(self.settings.data_dir), *deeper])
        return code, capsys.readouterr().out

    def examined(self) -> tuple[str, str]:
        found = list(storage.examine(self.settings, Machine.here()))
        [one] = [one for one in found if one.check == "server key" and "private" not in one.what]
        return one.level, f"{one.what} {one.do}"


@pytest.fixture
def swapped(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Swapped:
    monkeypatch.setenv("VRM_SERVER_KEY_FILE", settings.server_key_file)
    return Swapped(settings)


def test_a_key_put_back_after_a_log_in_is_said_and_the_way_out_works(
    swapped: Swapped, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert swapped.log_in() == []
    swapped.put_back()
    code, said = swapped.check(capsys)
    assert code == 1
    assert "vault alice: written under another server key" in said
    assert "vrm vault vouch" in said
    level, told = swapped.examined()
    assert level == "FAIL"
    assert "vrm vault vouch" in told
    assert swapped.refresh() == (503, {"error": "temporarily_unavailable"})
    assert swapped.log_in() != []  # nobody can tell it from a planted way in
    assert swapped.check(capsys)[0] == 1

    assert main(["vault", "vouch", "--data-dir", str(swapped.settings.data_dir)]) == 0
    code, said = swapped.check(capsys)
    assert (code, "1 vaults wait for a log-in" in said) == (0, True)
    level, told = swapped.examined()
    assert level == "warn"
    assert "let their customers log in" in told
    assert swapped.log_in() == []
    assert swapped.check(capsys)[0] == 0
    assert swapped.examined() == ("ok", "fits the database ")
    (tmp_path / "said").write_text(PASSPHRASE)
    assert swapped.check(capsys, "--vault", "alice", "--passphrase-file", str(tmp_path / "said"))[0] == 0
    assert swapped.refresh()[0] == 200


def test_a_key_put_back_before_any_log_in_costs_nothing(
    swapped: Swapped, capsys: pytest.CaptureFixture[str]
) -> None:
    swapped.put_back()
    assert swapped.check(capsys)[0] == 0
    assert swapped.examined()[0] == "ok"
    assert swapped.refresh()[0] == 200


def test_a_key_swapped_in_the_database_is_no_affair_of_another_server_key(
    swapped: Swapped, capsys: pytest.CaptureFixture[str]
) -> None:
    """Her ways in are vouched for: nobody is sent to vouch for what is there now."""
    swapped.put_back()
    host = swapped.opened()
    with host.engine.write() as transaction:
        transaction.execute("UPDATE vaults SET log_public = ?", (bytes(32),))
    host.engine.close()
    code, said = swapped.check(capsys)
    assert code == 1
    assert "vault alice: the log's public key was swapped" in said
    assert "vouch" not in said
