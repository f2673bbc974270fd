"""The suite's pieces do what the figures claim; how fast anything is, no test asks."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from bench import (
    aims,
    baseline,
    core,
    entering,
    goods,
    importing,
    load,
    machine,
    measure,
    neighbours,
    report,
    rows,
    servers,
    stage,
)
from bench.aims import Aim
from bench.baseline import Answer
from bench.comparing import Place, compared
from bench.groups import GROUPS
from bench.measure import Figure, Finding, Outcome, Window
from bench.plans import ALSO, ONCE, Plan, pieces
from bench.rows import Row
from bench.stage import Run
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
def test_an_answer_that_does_not_hold_what_it_must_is_wrong(tool: str, bare: servers.Server) -> None:
    seen = load.run(Plan("GET", ["/here/a"], holds="good bye"), bare.url, 0.2, tool)
    assert seen.wrong == seen.requests > 0
    assert seen.status == 200


@pytest.mark.parametrize("tool", TOOLS)
def test_values_go_into_headers_and_bodies_in_the_turns_of_the_paths(tool: str, tmp_path: Path) -> None:
    plan = Plan("POST", ["/a", "/b"], {"X": f"is {ONCE}"}, f"{ALSO}!", once=["a", "b"], also=["va", "vb"])
    with echoing() as (url, seen):
        load.run(plan, url, 0.3, tool)
    assert {("/a", "is a", "va!"), ("/b", "is b", "vb!")} == set(seen)


def test_text_without_marks_is_one_piece() -> None:
    assert pieces("no {mark}") == ["no {mark}"]
    assert pieces("a{fresh}{once}") == ["a", "{fresh}", "{once}"]


@pytest.mark.parametrize("tool", TOOLS)
def test_a_chain_goes_on_with_the_token_that_was_answered(tool: str, bare: servers.Server) -> None:
    plan = Plan("POST", ["/token"], {}, "t={token}", chain=["first"] * rows.CHAINS)
    seen = load.run(plan, bare.url, 0.2, tool)
    assert seen.wrong == 0
    assert seen.requests > 0


@contextmanager
def echoing() -> Iterator[tuple[str, list[tuple[str, str, str]]]]:
    """A server that remembers (path, header X, body) of every request."""
    seen: list[tuple[str, str, str]] = []

    class Remembering(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            seen.append((self.path, self.headers["X"], body.decode()))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *told: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Remembering)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", seen
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


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


def test_memory_counts_what_others_map_too_only_in_part() -> None:
    share, whole = machine.memory_mib(os.getpid())
    assert 1 < share <= whole


def test_open_connections_are_waited_for(bare: servers.Server) -> None:
    with ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(socket.create_connection(("127.0.0.1", bare.port)))
        assert bare.await_connections(3)


# what is measured


def test_a_crowd_gets_in_from_many_places_and_is_counted(tmp_path: Path) -> None:
    run = Run(tmp_path)
    with stage.served(run) as (world, server):
        world.vault("ana", 0)
        crowd = entering.Crowd(server.port, ["ana"])
        with crowd.coming():
            deadline = time.monotonic() + 60
            while crowd.told().startswith("0 ") and time.monotonic() < deadline:
                time.sleep(0.05)
    got_in, _, otherwise = [int(number) for number in re.findall(r"\d+", crowd.told())]
    assert got_in > 0
    assert otherwise == 0


def test_places_are_compared_row_by_row(bare: servers.Server, tmp_path: Path) -> None:
    row = Row("here", "somebody asks", "/here/<id>", lambda: Plan("GET", ["/here/a"]), None)
    run = Run(tmp_path, rounds=2, seconds=0.2)
    outcome = compared(run, "records", [Place("small", bare, [row]), Place("large", bare, [row])])
    assert [one.name for one in outcome.figures] == ["here, small", "here, large"]
    assert [one.name for one in outcome.findings] == ["records-here"]


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


def test_valid_purchases_are_those_that_the_catalog_takes() -> None:
    slowly = [schemas.validate("purchases", document) for document in goods.purchases(20)]
    assert list(goods.valid(20, lambda document: schemas.validate("purchases", document))) == slowly


def test_neighbours_fill_every_table_and_touch_nobody(world: World) -> None:
    vault = world.vault("template", 3)
    world.connect(vault)
    engine = world.host.engine
    tables = ("vaults", "keyslots", "records", "journal", "grants", "views", "tokens", "log_entries")
    before = {table: engine.one(f"SELECT count(*) FROM {table}") for table in tables}
    neighbours.settle(engine, vault.id, 4)
    for table in tables:
        assert engine.one(f"SELECT count(*) FROM {table}") == (5 * (before[table] or (0,))[0],), table
    assert vault.records("purchases").count() == 3
    assert len(world.host.vaults.listing()) == 5


def test_rows_are_answered_by_the_real_server_and_leave_their_marks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "PROOFS", 20)
    monkeypatch.setattr(rows, "RECORDS", 100)
    port = servers.free_port()
    world = World(tmp_path / "vault", port)
    server = servers.vrm(tmp_path, port)
    try:
        for row in rows.rows(world):
            row.prepare()
            before = row.done() if row.done else 0
            answer, same = rows.sample(row, server)
            connected = rows.CHAINS if row.name == "refresh" else 0
            refreshed = 1 if row.rule.startswith(rows.PAGE) else 0  # `prepare` notes it in the log
            if row.done:
                assert row.done() == before + connected + refreshed + 1, row.name
            assert same.expect == answer.status
            if row.name.startswith("list"):
                kinds = {item["item"]["category"] for item in json.loads(answer.body)["items"]}
                assert kinds == ({"music"} if row.name == "list-filtered" else {"music", "books"})
    finally:
        server.stop()
        world.close()


def test_rows_that_nobody_asked_for_are_not_made(world: World) -> None:
    (row,) = rows.rows(world, "refresh".__eq__)
    assert row.name == "refresh"
    assert [entry.username for entry in world.host.vaults.listing()] == ["chains"]


# what is said of it


def test_paired_windows_give_the_median_of_their_ratios() -> None:
    ours = [Window(cpu, 100.0, 1.0, 2.0) for cpu in (200.0, 300.0, 900.0)]
    theirs = [Window(100.0, 400.0, 1.0, 2.0)] * 3
    found = measure.figure("one", "a row", ours, theirs)
    assert (found.ratio, found.cpu, found.share) == (3.0, 300.0, 0.25)
    assert found.spread == 3.5


def test_every_other_round_goes_backwards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "stolen_seconds", lambda: 0.0)
    went = []

    def turn(name: str) -> measure.Turn:
        def window() -> Window:
            went.append(name)
            return Window(1.0, 1.0, 1.0, 1.0)

        return name, window

    found = measure.in_turn([turn("one"), turn("other")], 3)
    assert went == ["one", "other", "other", "one", "one", "other"]
    assert {name: len(windows) for name, windows in found.items()} == {"one": 3, "other": 3}


@pytest.mark.parametrize(
    ("lost", "windows", "taken"), [([0.0], 1, 0.0), ([0.5, 0.04], 2, 0.04), ([0.4, 0.2, 0.3, 0.0], 3, 0.2)]
)
def test_a_window_that_others_disturb_is_measured_anew(
    monkeypatch: pytest.MonkeyPatch, lost: list[float], windows: int, taken: float
) -> None:
    """By the share of all processors that it lost; of three, the one that lost least counts."""
    now, stolen, went = [100.0], [7.0], list[float]()
    monkeypatch.setattr(machine, "stolen_seconds", lambda: stolen[0])
    monkeypatch.setattr(measure.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(measure.os, "cpu_count", lambda: 4)

    def window() -> Window:
        went.append(lost[len(went)])
        now[0] += 2.0
        stolen[0] += went[-1] * 2.0 * 4
        return Window(float(len(went)), 1.0, 1.0, 1.0)

    found = measure.undisturbed(window)
    assert len(went) == windows
    assert found.stolen == pytest.approx(taken)
    assert found.cpu == went.index(taken) + 1


def test_what_others_took_is_told_of_a_row() -> None:
    calm, less = Window(1.0, 1.0, 1.0, 1.0), Window(1.0, 1.0, 1.0, 1.0, stolen=0.31)
    disturbed = measure.figure("one", "a row", [calm, calm], [less, calm])
    assert disturbed.as_json()["stolen"] == 0.31
    assert "others took 31% of the machine" in report.table([disturbed], {})
    assert "others took" not in report.table([measure.figure("one", "a row", [calm], [calm])], {})


def test_what_others_took_of_this_machine_only_grows() -> None:
    before = machine.stolen_seconds()
    assert 0.0 <= before <= machine.stolen_seconds()


def test_what_a_grant_adds_is_taken_round_by_round() -> None:
    def windows(*cpu: float) -> list[Window]:
        return [Window(one, 1.0, 1.0, 1.0) for one in cpu]

    found = {
        "create-0": windows(400, 800),
        "bare create-0": windows(100, 200),
        "create-10": windows(700, 1400),
        "bare create-10": windows(100, 200),
    }
    (grant,) = core.differences(found)
    assert (grant.name, grant.value, grant.spread) == ("create-per-grant", pytest.approx(0.3), 0.0)


@pytest.mark.parametrize(
    ("now", "word"), [(3.0, "same"), (3.4, "same"), (3.6, "more"), (2.4, "less"), (2.6, "same")]
)
def test_a_change_within_the_noise_of_either_run_is_no_change(now: float, word: str) -> None:
    assert report.verdict(now, 0.1, 3.0, 0.5) == word


def test_a_row_without_a_past_is_new() -> None:
    assert report.verdict(3.0, 0.0, None) == "new"
    assert " new " in report.table([figure(3.0)], {})
    assert " new " in report.found([Finding("one", "a finding", 2.0)], {})


def test_results_are_read_back_as_they_were_kept() -> None:
    outcome = Outcome([figure(3.0)], [Finding("two", "a finding", 2.0, "s")])
    group = report.kept(outcome, {"cores": 2}, {"rounds": 5})
    assert set(group) == {"date", "machine", "run", "figures", "findings"}
    groups = report.read(report.as_json({"core": group}))
    assert report.by_name(groups, "figures")["one"]["ratio"] == 3.0
    assert report.by_name(groups, "findings")["two"]["value"] == 2.0


def test_the_committed_results_can_be_compared_with() -> None:
    groups = report.read(report.RESULTS.read_text(encoding="utf-8"))
    assert set(groups) <= {group.name for group in GROUPS}
    assert report.table([figure(3.0)], groups)


# what we aim at


@pytest.mark.parametrize(
    ("aim", "value", "met"),
    [
        (Aim("of one", "one", "ratio", 2.5), 2.5, True),
        (Aim("of one", "one", "ratio", 2.5), 2.6, False),
        (Aim("of one", "one", "share", 0.4, at_least=True), 0.4, True),
        (Aim("of one", "one", "share", 0.4, at_least=True), 0.3, False),
    ],
)
def test_an_aim_is_met_at_its_limit(aim: Aim, value: float, met: bool) -> None:
    assert aim.met(value) is met


def test_aims_are_judged_by_figures_and_findings_and_by_what_there_is() -> None:
    one = Figure("read-one", "a row", 300.0, 100.0, 3.0, 0.0, 1000.0, 4000.0, 0.5, 10.0, 40.0)
    outcome = Outcome([one], [Finding("cold-start", "to the first answer", 0.5, "s")])
    found = {
        (judged.aim.name, judged.aim.measure): judged
        for judged in aims.judged([report.kept(outcome, {}, {})])
    }
    assert found["read-one", "ratio"].verdict == "not met"
    assert found["read-one", "share"].verdict == "met"
    assert found["read-one", "tail"].value == 4.0
    assert found["cold-start", "value"].verdict == "met"
    assert found["nodes", "value"].verdict == "not measured"


def test_every_aim_is_of_something_that_the_suite_measures() -> None:
    grown = {f"{group}-{name}" for group in ("records", "vaults", "postgres") for name in rows.NAMES}
    told = "".join(path.read_text(encoding="utf-8") for path in Path(report.__file__).parent.glob("*.py"))
    for aim in aims.AIMS:
        known = aim.name in rows.NAMES or aim.name in grown or aim.name == "vaults-read-many"
        assert known or f'"{aim.name}"' in told or aim.name == "approve-20000", aim  # made of a number


def test_every_aim_has_a_line_that_says_from_when_it_is() -> None:
    old = report.kept(Outcome([figure(3.0)]), {}, {}) | {"date": "2026-01-02"}
    old["figures"][0]["name"] = "read-one"
    lines = aims.table(aims.judged([old]), "2026-01-03").splitlines()
    assert len(lines) == len(aims.AIMS) + 1
    assert "(2026-01-02)" in lines[1]
