"""The suite's pieces do what the figures claim; how fast anything is, no test asks."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import baseline, goods, importing, load, machine, measure, report, rows, servers
from bench.baseline import Answer
from bench.measure import Figure, Window
from bench.plans import Plan
from bench.world import World, filled_in
from vrm.vault import schemas

TOOLS = [
    pytest.param(
        "wrk", marks=pytest.mark.skipif(not shutil.which("wrk"), reason="no wrk: make system installs it")
    ),
    "asyncio",
]
PLAIN = Answer("/here/<id>", "GET", 200, "text/plain", "hello")
CHAIN = Answer("/token", "POST", 200, "application/json", '{"refresh_token": "next"}')


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Server]:
    folder = tmp_path_factory.mktemp("bare")
    baseline.write_answers(folder / "answers.json", [PLAIN, CHAIN])
    server = servers.bare(folder, folder / "answers.json")
    yield server
    server.stop()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path / "vault", servers.free_port())
    yield made
    made.close()


def figure(ratio: float, spread: float = 0.0) -> Figure:
    return Figure("one", "a row", 300.0, 100.0, ratio, spread, 1000.0, 4000.0, 0.25)


# the load generators


@pytest.mark.parametrize("tool", TOOLS)
def test_a_generator_counts_what_it_was_answered(tool: str, bare: servers.Server) -> None:
    seen = load.run(Plan("GET", ["/here/a", "/here/b"]), bare.url, 0.3, tool)
    assert seen.requests > 0
    assert seen.wrong == 0
    assert 0 < seen.p50 <= seen.p99


@pytest.mark.parametrize("tool", TOOLS)
def test_a_wrong_answer_is_counted_as_wrong(tool: str, bare: servers.Server) -> None:
    seen = load.run(Plan("GET", ["/nowhere"]), bare.url, 0.2, tool)
    assert seen.wrong == seen.requests > 0


@pytest.mark.parametrize("tool", TOOLS)
def test_a_chain_goes_on_with_the_token_that_was_answered(tool: str, bare: servers.Server) -> None:
    plan = Plan("POST", ["/token"], {}, "t={token}", chain=["first"] * rows.CHAINS)
    seen = load.run(plan, bare.url, 0.2, tool)
    assert seen.wrong == 0
    assert seen.requests > 0


# the machine


def test_cpu_time_of_a_child_is_charged_to_its_server() -> None:
    spin = "import time\nwhile time.process_time() < 0.2: pass\ntime.sleep(60)"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {spin!r}])"
    running = subprocess.Popen([sys.executable, "-c", parent], start_new_session=True)
    try:
        deadline = time.monotonic() + 30
        while machine.cpu_seconds(machine.tree(running.pid)) < 0.2 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert len(machine.tree(running.pid)) == 2
        assert machine.cpu_seconds([running.pid]) < machine.cpu_seconds(machine.tree(running.pid))
    finally:
        os.killpg(running.pid, 9)
        running.wait()


# what is measured


def test_invented_purchases_are_valid_and_half_of_them_gifts() -> None:
    made = [schemas.validate("purchases", document) for document in goods.purchases(10)]
    assert sum(document["context"]["for"] == "gift" for document in made) == 5


def test_an_invented_history_has_the_lines_that_were_asked_for(tmp_path: Path) -> None:
    goods.write_history(tmp_path / "h.csv", 30)
    with (tmp_path / "h.csv").open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    assert len({(line["Order ID"], line["ASIN"]) for line in lines}) == 30


def test_a_form_that_names_no_new_record_is_refused() -> None:
    with pytest.raises(RuntimeError, match="other inputs"):
        filled_in('<form action="/things/new"><input name="item.title"></form>')


def test_every_line_of_the_import_row_arrives(world: World, tmp_path: Path) -> None:
    found = importing.measure(world, tmp_path, lines=40, rounds=2)
    assert found.name == "import"
    assert found.cpu > 0
    assert world.host.engine.one("SELECT count(*) FROM records") == (80,)


def test_rows_are_answered_by_the_real_server_and_leave_their_marks(tmp_path: Path) -> None:
    port = servers.free_port()
    world = World(tmp_path / "vault", port)
    server = servers.vrm(tmp_path, port)
    try:
        for row in rows.rows(world):
            row.prepare()
            before = row.done()
            answer, same = rows.sample(row, server)
            expected = before + (rows.CHAINS + 1 if row.name == "refresh" else 1)
            assert row.done() == expected, row.name
            assert same.expect == answer.status
            if row.name.startswith("list-100"):
                items = json.loads(answer.body)["items"]
                kinds = {item["item"]["category"] for item in items}
                assert len(items) == 100
                assert kinds == ({"music"} if row.name == "list-100-filtered" else {"music", "books"})
    finally:
        server.stop()
        world.close()


# what is said of it


def test_paired_windows_give_the_median_of_their_ratios() -> None:
    ours = [Window(cpu, 100.0, 1.0, 2.0) for cpu in (200.0, 300.0, 900.0)]
    theirs = [Window(100.0, 400.0, 1.0, 2.0)] * 3
    found = measure.figure("one", "a row", ours, theirs)
    assert (found.ratio, found.cpu, found.share) == (3.0, 300.0, 0.25)
    assert found.spread == 3.5


@pytest.mark.parametrize(
    ("now", "word"), [(3.0, "same"), (3.4, "same"), (3.6, "worse"), (2.4, "better"), (2.6, "same")]
)
def test_a_change_within_the_noise_of_either_run_is_no_change(now: float, word: str) -> None:
    assert report.verdict(figure(now, spread=0.1), figure(3.0, spread=0.5).as_json()) == word


def test_a_row_without_a_past_is_new() -> None:
    assert report.verdict(figure(3.0), None) == "new"
    assert " new " in report.table([figure(3.0)], {})


def test_results_hold_machine_run_and_figures() -> None:
    kept = json.loads(report.as_json([figure(3.0)], {"cores": 2}, {"rounds": 5}))
    assert set(kept) == {"date", "machine", "run", "figures"}
    assert kept["figures"][0]["ratio"] == 3.0
