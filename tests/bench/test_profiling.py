"""The profiler shows where time goes; what it says adds up, and names whom it belongs to."""

from __future__ import annotations

import sqlite3
import sysconfig
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

import vrm
from bench import profiling, rows, servers
from bench.world import World


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr(rows, "RECORDS", 20)
    made = World(tmp_path / "vault", servers.free_port())
    yield made
    made.close()


@pytest.mark.parametrize("name", ["read-one", "create-0", "refresh", "introspection"])
def test_a_row_is_asked_in_process_and_leaves_its_marks(world: World, name: str) -> None:
    prepared = profiling.requests_of(world, name)
    before = (
        world.host.engine.one("SELECT count(*) FROM log_entries"),
        world.host.engine.one("SELECT count(*) FROM records"),
    )
    prepared()()
    prepared()()
    after = (
        world.host.engine.one("SELECT count(*) FROM log_entries"),
        world.host.engine.one("SELECT count(*) FROM records"),
    )
    assert (after != before) is (name != "introspection")


def test_statements_are_counted_with_their_time_and_nobody_elses(world: World) -> None:
    told = profiling.statements(profiling.requests_of(world, "create-0"), 2)
    inserted = [sql for sql in told.calls if sql.startswith("INSERT INTO records ")]
    assert [told.calls[sql] for sql in inserted] == [2]
    assert all(seconds >= 0 for seconds in told.spent.values())
    with closing(sqlite3.connect(":memory:")) as stranger:
        assert stranger.execute("SELECT 1").fetchone() == (1,)
    assert "SELECT 1" not in told.calls


def test_all_that_was_profiled_belongs_to_some_room(world: World) -> None:
    stats = profiling.profile(profiling.requests_of(world, "read-one"), 2)
    found = dict(profiling.rooms(stats))
    assert {"vrm.vault", "vrm.consent", "sqlite"} <= found.keys()
    assert sum(found.values()) == pytest.approx(stats.total_tt)


@pytest.mark.parametrize(
    ("path", "name", "whose"),
    [
        (str(Path(vrm.__file__).parent / "vault" / "records.py"), "put", "vrm.vault"),
        (str(Path(vrm.__file__).parent / "app.py"), "create_app", "vrm.app"),
        ("/x/.venv/lib/python3.11/site-packages/flask/app.py", "wsgi_app", "flask"),
        ("~", "<method 'execute' of 'sqlite3.Connection' objects>", "sqlite"),
        ("~", "<built-in method builtins.len>", "built-ins"),
        (f"{sysconfig.get_path('stdlib')}/json/encoder.py", "iterencode", "python"),
    ],
)
def test_a_function_belongs_to_the_room_that_holds_it(path: str, name: str, whose: str) -> None:
    assert profiling.room(path, name) == whose


def test_what_is_said_of_a_row_ends_with_its_functions(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    profiling.show(profiling.requests_of(world, "read-one"), 5, 3)
    told = capsys.readouterr().out
    assert "µs of CPU time each" in told
    assert "COMMIT" in told
    assert "by room" in told
    assert len(told[told.index("by function") :].splitlines()) == 5


def test_an_import_is_profiled_into_a_vault_of_its_own_each_time(world: World, tmp_path: Path) -> None:
    prepared = profiling.importing(world, tmp_path, lines=30)
    prepared()()
    prepared()()
    assert world.host.engine.one("SELECT count(*) FROM records") == (60,)
