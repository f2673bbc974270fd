"""`vrm copy` between a file and PostgreSQL; `vrm backup`, `restore`, `check` and `doctor` on PostgreSQL."""

from __future__ import annotations

import json
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests import postgres
from tests.attacks.actors import Customer, Vendor, part, writing
from tests.conftest import CHEAP, PASSPHRASE
from vrm.cli import main
from vrm.host import SCHEMAS, Host, open_engine, open_host
from vrm.settings import Settings
from vrm.vault import across
from vrm.vault.engine import Engine
from vrm.vault.sqlite import SqliteEngine

server = postgres.server
PLACE = {"item": {"title": "Piranesi"}}


def opened(folder: Path, url: str = "") -> Host:
    return open_host(Settings(data_dir=folder, database_url=url), limits=CHEAP)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "passphrase").write_text(PASSPHRASE + "\n")
    return tmp_path / "home"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A host with two vaults, records, a log, filed and waiting deposits; what one vendor reads with."""
    folder = tmp_path_factory.mktemp("world")
    host = opened(folder)
    for name in ("alice", "bob"):
        customer = Customer(host.vaults.create(name, PASSPHRASE)[0], host.consent)
        customer.buy("Dune")
        customer.buy("Emma", "gift")
        vendor = Vendor.register(host.consent, f"Shop of {name}")
        reads = vendor.connect(customer, part("purchases.item"))
        writes = vendor.connect(customer, writing())
        vendor.titles(reads.access_token)
        vendor.leave(writes.access_token, PLACE)
        host.consent.at_unlock(customer.vault)
        vendor.leave(writes.access_token, PLACE)
    host.engine.close()
    return folder, reads.access_token


@pytest.fixture
def token(world: tuple[Path, str], home: Path) -> str:
    """That world is at home here."""
    shutil.copytree(world[0], home)
    return world[1]


@pytest.fixture
def url(server: str, home: Path) -> Iterator[str]:
    """An empty database."""
    yield postgres.make(home)
    postgres.drop(home)


@pytest.fixture
def on_server(monkeypatch: pytest.MonkeyPatch, url: str) -> str:
    """Commands work on PostgreSQL from here on."""
    monkeypatch.setenv("VRM_DATABASE_URL", url)
    return url


def rows(engine: Engine) -> dict[str, list[str]]:
    tables = engine.tables().items()
    return {
        table: sorted(map(repr, engine.all(f"SELECT {', '.join(names)} FROM {table}")))
        for table, names in tables
    }


def stored(folder: Path, url: str = "") -> dict[str, list[str]]:
    engine = open_engine(Settings(data_dir=folder, database_url=url))
    try:
        return rows(engine)
    finally:
        engine.close()


class Command:
    """The command line on one data folder."""

    def __init__(self, capsys: pytest.CaptureFixture[str], folder: Path) -> None:
        self._capsys = capsys
        self._folder = folder

    def __call__(self, *arguments: object) -> tuple[int, Any, str]:
        code = main([*map(str, arguments), "--data-dir", str(self._folder), "--json"])
        told = self._capsys.readouterr()
        return code, json.loads(told.out) if told.out else None, told.err


@pytest.fixture
def vrm(capsys: pytest.CaptureFixture[str], home: Path) -> Command:
    return Command(capsys, home)


def test_there_and_back_every_row_is_the_same(token: str, home: Path, url: str, vrm: Command) -> None:
    before = stored(home)
    code, values, _ = vrm("copy", url)
    assert (code, values["to"], values["vaults"]) == (0, url, 2)
    assert values["rows"] == sum(map(len, before.values())) - len(before["schemas"])
    assert stored(home, url) == before
    back = f"sqlite:///{home / 'back.db'}"
    assert main(["copy", back, "--data-dir", str(home), "--config", config(home, url)]) == 0
    assert stored(home, back) == before


def config(home: Path, url: str) -> str:
    file = home / "there.toml"
    file.write_text(f'database_url = "{url}"\n')
    return str(file)


def test_what_was_copied_is_whole_and_goes_on(
    token: str, home: Path, vrm: Command, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert vrm("copy", url)[0] == 0
    monkeypatch.setenv("VRM_DATABASE_URL", url)
    for name in ("alice", "bob"):
        code, values, _ = vrm("check", "--vault", name, "--passphrase-file", "passphrase")
        assert (code, values["problems"]) == (0, [])
    host = opened(home, url)
    vendor = Vendor(host.consent, host.consent.vendors.listing()[0])
    assert vendor.titles(token) == ["Dune"]  # with the token of before
    alice = Customer(host.vaults.unlock("alice", PASSPHRASE), host.consent)
    assert alice.titles() == ["Dune", "Emma", "Piranesi"]
    host.consent.at_unlock(alice.vault)  # what waited in her mailbox is filed
    vendor = Vendor.register(host.consent, "Later Books")
    writes = vendor.connect(alice, writing())
    vendor.leave(writes.access_token, PLACE)  # its place is behind those that came along
    host.consent.at_unlock(alice.vault)
    assert alice.titles() == ["Dune", "Emma", "Piranesi", "Piranesi", "Piranesi"]
    assert alice.vault.check() == []
    host.engine.close()


def test_a_destination_with_anything_in_it_is_refused(token: str, home: Path, url: str, vrm: Command) -> None:
    assert vrm("copy", url)[0] == 0
    there = stored(home, url)
    assert refused(vrm("copy", url), "the destination is not empty")
    other = f"sqlite:///{home / 'other.db'}"
    opened(home, other).engine.close()
    assert refused(vrm("copy", other), "the destination is not empty")
    assert stored(home, url) == there


def refused(told: tuple[int, Any, str], words: str) -> bool:
    code, out, err = told
    return code == 1 and out is None and words in err and "hint: " in err


def test_what_somebody_works_with_is_not_copied(
    token: str, home: Path, url: str, vrm: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    serving = opened(home)
    assert refused(vrm("copy", url), "in use by a server")
    serving.engine.close()
    assert vrm("copy", url)[0] == 0
    serving = opened(home, url)
    monkeypatch.setenv("VRM_DATABASE_URL", url)
    assert refused(vrm("copy", f"sqlite:///{home / 'back.db'}"), "in use by a server")
    serving.engine.close()


def test_nothing_opens_a_database_while_it_is_copied_away(
    token: str, home: Path, url: str, vrm: Command, tmp_path: Path
) -> None:
    engine = SqliteEngine(home / "vrm.db")
    with engine.alone():
        code, _, err = vrm("vault", "list")
        assert (code, "being replaced" in err) == (1, True)
    assert vrm("vault", "list")[0] == 0  # it is free again
    engine.close()


@pytest.mark.parametrize("back", [False, True])
def test_killed_in_the_middle_there_is_nothing_and_it_can_be_run_again(
    token: str, home: Path, url: str, vrm: Command, monkeypatch: pytest.MonkeyPatch, *, back: bool
) -> None:
    target, source = url, ""
    if back:
        assert vrm("copy", url)[0] == 0
        target, source = f"sqlite:///{home / 'back.db'}", url
    before = stored(home, source)
    killed = (
        "import os, signal, sys; from vrm.vault import across; from vrm.cli import main, copying\n"
        "across._EVERY = 1\n"
        "def tell(step, done, total):\n"
        "    if done == 20: os.kill(os.getpid(), signal.SIGKILL)\n"
        "copying.shown_progress = lambda: tell\n"
        "main(sys.argv[1:])\n"
    )
    monkeypatch.setenv("VRM_DATABASE_URL", source)
    command = [sys.executable, "-c", killed, "copy", target, "--data-dir", str(home)]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    assert stored(home, target) == {}
    assert vrm("copy", target)[0] == 0
    assert stored(home, target) == stored(home, source) == before
    code, _, err = vrm("copy", target)  # as after one that was killed once all was there
    assert (code, "if a copy was broken off" in err) == (1, True)
    monkeypatch.setenv("VRM_DATABASE_URL", target)
    assert vrm("check")[0] == 0


def test_a_row_that_is_none_of_ours_is_named_and_nothing_kept(
    token: str, home: Path, url: str, vrm: Command
) -> None:
    with closing(sqlite3.connect(home / "vrm.db")) as raw, raw:
        raw.execute("UPDATE log_heads SET sealed = 'text' WHERE rowid = 1")
    code, _, err = vrm("copy", url)
    assert (code, "log_heads" in err or "sealed" in err) == (1, True)
    assert stored(home, url) == {}


def test_rows_that_arrive_as_others_are_not_kept(token: str, home: Path, url: str, vrm: Command) -> None:
    with psycopg.connect(postgres.libpq(url), autocommit=True) as server:
        server.execute(
            "CREATE FUNCTION later() RETURNS trigger LANGUAGE plpgsql AS"
            " 'BEGIN NEW.created := NEW.created + 1; RETURN NEW; END'"
        )
        server.execute(
            "CREATE FUNCTION plant() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN"
            " IF EXISTS (SELECT FROM pg_event_trigger_ddl_commands()"
            " WHERE object_identity = ''public.vaults'') THEN"
            " CREATE TRIGGER later BEFORE INSERT ON vaults FOR EACH ROW EXECUTE FUNCTION later();"
            " END IF; END'"
        )
        server.execute(
            "CREATE EVENT TRIGGER plant ON ddl_command_end WHEN TAG IN ('CREATE TABLE')"
            " EXECUTE FUNCTION plant()"
        )
    assert refused(vrm("copy", url), "vaults did not arrive as it was")
    assert stored(home, url) == {}


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("postgresql+psycopg://vrm:secret@localhost/vrm", "a password in an argument"),
        ("postgresql+psycopg://vrm@localhost/vrm?password=secret", "a password in an argument"),
        ("sqlite:///{home}/vrm.db", "that is the database itself"),
        ("sqlite:///{home}/../passphrase", "is not a database"),
        ("mysql://localhost/vrm", "not a database I know"),
    ],
)
def test_destinations_that_are_none(token: str, home: Path, vrm: Command, target: str, words: str) -> None:
    told = vrm("copy", target.format(home=home))
    assert refused(told, words)
    assert "secret" not in told[2]


# ---- the other commands on PostgreSQL ---------------------------------------------------------------


def test_a_backup_of_postgresql_fits_either_engine(
    token: str, home: Path, tmp_path: Path, vrm: Command, on_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(home, on_server)
    serving = opened(home, on_server)  # it may be taken while a server runs
    code, values, _ = vrm("backup", "copy")
    assert (code, values["vaults"]) == (0, 2)
    serving.engine.close()
    code, _, err = vrm("restore", "copy")
    assert (code, "there is something in this database already" in err) == (1, True)
    postgres.make(home)
    code, values, _ = vrm("restore", "copy")
    assert (code, values["vaults"], values["server_key"], values["aside"]) == (0, 2, "same", None)
    there = stored(home, on_server)
    assert there["sessions"] == there["tokens"] == []
    assert len(there["restored"]) == 2  # each customer is told
    monkeypatch.delenv("VRM_DATABASE_URL")
    assert main(["restore", "copy", "--data-dir", str(tmp_path / "elsewhere"), "--json"]) == 0
    one, other = stored(home, on_server), stored(tmp_path / "elsewhere")
    del one["restored"], other["restored"]  # each of its own moment
    assert one == other


def filled(home: Path, url: str) -> None:
    """What is in the file, in PostgreSQL; and no file any more."""
    source, target = SqliteEngine(home / "vrm.db"), open_engine(Settings(data_dir=home, database_url=url))
    across.move(source, target, SCHEMAS)
    source.close()
    target.close()
    (home / "vrm.db").unlink()


def test_many_rows_go_in_batches_and_progress_is_told(
    token: str, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(across, "_BATCH", 2)
    monkeypatch.setattr(across, "_EVERY", 1)
    source, target = SqliteEngine(home / "vrm.db"), SqliteEngine(tmp_path / "elsewhere" / "vrm.db")
    told: list[tuple[str, int, int]] = []
    counts = across.move(source, target, SCHEMAS, lambda *one: told.append(one))
    source.close()
    target.close()
    assert [done for _, done, _ in told] == list(range(sum(counts.values())))
    assert {total for _, _, total in told} == {sum(counts.values())}


def test_without_a_backup_nothing_is_put_back(home: Path, vrm: Command, on_server: str) -> None:
    assert refused(vrm("restore", "passphrase"), "is not a backup of vrm")
    assert stored(home, on_server) == {}


def test_the_doctor_looks_at_the_server(home: Path, vrm: Command, on_server: str) -> None:
    opened(home, on_server).engine.close()
    _, values, _ = vrm("doctor")
    levels = {one["check"]: one["level"] for one in values["checks"]}
    assert levels["durable writes"] == "FAIL"  # for tests fsync is off
    assert levels["database role"] == "warn"
    assert {levels[name] for name in ("database", "database server", "database line", "backup")} == {"ok"}


def test_the_doctor_says_that_no_server_answers(
    home: Path, vrm: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VRM_DATABASE_URL", "postgresql+psycopg://vrm@127.0.0.1:1/vrm")
    code, values, _ = vrm("doctor")
    [found] = [one for one in values["checks"] if one["check"] == "database"]
    assert (code, found["level"]) == (1, "FAIL")
    assert "cannot be reached" in found["what"]


def test_one_vault_leaves_and_comes_on_postgresql(
    token: str, home: Path, vrm: Command, on_server: str, capsys: pytest.CaptureFixture[str]
) -> None:
    filled(home, on_server)
    given = ("--passphrase-file", "passphrase")
    told = vrm("vault", "export", "alice", "-o", "alice.vrm", *given)
    assert told[0] == 0, told
    code, values, _ = vrm("vault", "delete", "alice", "--yes", "alice", *given)
    assert (code, values["deleted"]["records"], values["copies"]) == (0, 3, [])
    assert not [row for table in stored(home, on_server).values() for row in table if values["vault"] in row]
    code, values, _ = vrm("vault", "import", "alice.vrm", *given)
    assert (code, values["records"]) == (0, 3)
    assert vrm("vault", "rotate", "alice", *given)[0] == 0
    code, values, _ = vrm("check", "--vault", "alice", *given)
    assert (code, values["problems"]) == (0, [])
