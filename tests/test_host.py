"""What stands with every host: a word about a lost server key, a sweep that goes on whatever happens."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.conftest import CHEAP, PASSPHRASE
from tests.descriptors import held_below
from vrm import cli
from vrm import host as hosts
from vrm.clock import SystemClock
from vrm.errors import DataNewerError, StorageError
from vrm.settings import Settings
from vrm.vault import serverkey
from vrm.vault.engine import Schema
from vrm.vault.sqlite import SqliteEngine


@pytest.fixture
def sweep(tmp_path: Path) -> Iterator[Callable[..., None]]:
    """Start a sweeper of these parts; it is gone when the test is."""
    ended, started = threading.Event(), list[threading.Thread]()

    def start(consent: Callable[[], object], vaults: Callable[[], object], *, believes: bool = True) -> None:
        host: Any = SimpleNamespace(
            consent=SimpleNamespace(sweep=consent, sweeping=SimpleNamespace(believes=believes)),
            vaults=SimpleNamespace(sweep=vaults),
            settings=Settings(data_dir=tmp_path),
            clock=SystemClock(),
        )
        started.append(hosts.start_sweeper(cast(hosts.Host, host), ended))

    yield start
    ended.set()
    for thread in started:
        thread.join(10)
        assert not thread.is_alive()


def test_the_first_sweep_comes_at_once(sweep: Callable[..., None], caplog: pytest.LogCaptureFixture) -> None:
    """What a server deleted before it was killed may still stand in the write-ahead log."""
    swept, whole = threading.Event(), threading.Event()
    sweep(swept.set, whole.set)
    assert swept.wait(hosts.SWEEP_EVERY / 2)
    assert whole.wait(hosts.SWEEP_EVERY / 2)
    assert not caplog.records


def test_no_session_is_deleted_by_a_clock_that_jumped(
    sweep: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hosts, "SWEEP_EVERY", 0.001)
    sweeps, again, sessions = list[int](), threading.Event(), list[int]()

    def consent_sweep() -> None:
        sweeps.append(1)
        if len(sweeps) > 3:
            again.set()

    sweep(consent_sweep, lambda: sessions.append(1), believes=False)
    assert again.wait(10)
    assert not sessions


@pytest.mark.parametrize("trouble", [StorageError(), RuntimeError("our own mistake")])
def test_the_sweep_goes_on_after_any_trouble(
    sweep: Callable[..., None], trouble: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hosts, "SWEEP_EVERY", 0.001)
    sessions: list[int] = []
    again = threading.Event()

    def consent_sweep() -> None:
        if len(sessions) > 1:
            again.set()
        raise trouble

    sweep(consent_sweep, lambda: sessions.append(1))
    assert again.wait(10)


def test_a_lost_server_key_is_said_and_records_still_open(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = Settings(data_dir=tmp_path / "data", public_url="http://127.0.0.1:8600")
    host = hosts.open_host(settings, limits=CHEAP)
    vault, _ = host.vaults.create("alice", PASSPHRASE)
    record = vault.records("purchases").put({"item": {"title": "Kindred"}})
    host.engine.close()
    assert not [told for told in caplog.records if told.name == "vrm.host"]
    settings.server_key_path.unlink()
    with caplog.at_level(logging.WARNING):
        host = hosts.open_host(settings, limits=CHEAP, replace_key=True)
    assert "a new server key was made" in caplog.text
    opened = host.vaults.unlock("alice", PASSPHRASE)
    assert opened.records("purchases").get(record)["item"] == {"title": "Kindred"}
    assert opened.problems() == []  # the start took the vaults over: she logs in and goes on
    host.engine.close()


def test_a_vault_with_two_ways_in_of_a_kind_is_named_and_not_taken_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = Settings(data_dir=tmp_path / "data", public_url="http://127.0.0.1:8600")
    host = hosts.open_host(settings, limits=CHEAP)
    host.vaults.create("alice", PASSPHRASE)
    host.vaults.create("bob", PASSPHRASE)
    with host.engine.write() as transaction:
        transaction.execute(
            "INSERT INTO keyslots SELECT k.vault, 'planted0planted0', kind, params, checked, public,"
            " public_mac, wrapped, k.generation, k.created, handed FROM keyslots k"
            " JOIN vaults v ON v.vault = k.vault"
            " WHERE v.username = 'alice' AND kind = 'passphrase'"
        )
    host.engine.close()
    settings.server_key_path.unlink()
    serverkey.load(settings.server_key_path)  # another is put there by hand
    assert cli.main(["vault", "vouch", "--json", "--data-dir", str(settings.data_dir)]) == 1
    assert json.loads(capsys.readouterr().out) == {"left_out": ["alice"]}
    assert "alice has two ways in" in caplog.text
    assert "bob has two ways in" not in caplog.text


def test_data_that_cannot_be_opened_is_let_go_of_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not when somebody collects it: the next start, or a restore, wants the file."""
    closed: list[bool] = []

    class Newer(SqliteEngine):
        def install(self, schemas: Sequence[Schema]) -> Path | None:
            super().install(schemas)
            raise DataNewerError()

        def close(self) -> None:
            super().close()
            closed.append(True)

    monkeypatch.setattr(hosts, "SqliteEngine", Newer)
    with pytest.raises(DataNewerError):
        hosts.open_host(Settings(data_dir=tmp_path), limits=CHEAP)
    assert closed == [True]
    assert held_below(tmp_path) == []
