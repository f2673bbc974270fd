"""Counts of several processes are one, and no end of a process takes any away."""

from __future__ import annotations

import multiprocessing
import threading
from pathlib import Path

import pytest

from vrm.meters import BOUNDS, Board

SPAWN = multiprocessing.get_context("spawn")
NAMES = ("a", "b")


def board(stem: Path, names: tuple[str, ...] = NAMES) -> Board:
    made = Board()
    for name in names:
        made.place(name)
    made.share(stem)
    return made


def count(stem: Path, times: int, counted: object) -> None:
    """What one worker does, until it is killed; in a process of its own."""
    mine = board(stem)
    place = mine.place("a")
    for _ in range(times):
        mine.add(place)
    counted.release()  # type: ignore[attr-defined]
    threading.Event().wait()


def test_processes_count_together_and_what_a_killed_one_counted_stays(tmp_path: Path) -> None:
    stem, counted = tmp_path / "serve-1", SPAWN.Semaphore(0)
    workers = [SPAWN.Process(target=count, args=(stem, 1000, counted)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for _ in workers:
        assert counted.acquire(timeout=60)
    here = board(stem)
    assert here.total("a") == [3000]
    workers[0].kill()
    workers[0].join()
    assert here.total("a") == [3000]
    successor = SPAWN.Process(target=count, args=(stem, 10, counted))
    successor.start()
    assert counted.acquire(timeout=60)
    assert (here.total("a"), here.total("b"), here.total("worker_starts")) == ([3010], [0], [5])
    for worker in (*workers[1:], successor):
        worker.kill()
        worker.join()
    assert here.total("a") == [3010]
    (kept,) = tmp_path.iterdir()
    assert kept.stat().st_mode & 0o777 == 0o600


def test_what_was_counted_before_it_was_shared_is_kept(tmp_path: Path) -> None:
    made = Board()
    made.add(made.place("a"), 5)
    made.share(tmp_path / "serve-1")
    made.add(made.place("a"))
    assert made.total("a") == [6]


def test_code_that_counts_other_things_counts_elsewhere(tmp_path: Path) -> None:
    stem = tmp_path / "serve-1"
    before, after = board(stem), Board()
    before.add(before.place("a"), 7)
    after.place("b")
    after.share(stem)
    assert after.total("b") == [0]
    assert len(list(tmp_path.iterdir())) == 2
    with pytest.raises(RuntimeError):
        after.place("c")


def test_threads_lose_no_count() -> None:
    made = Board()
    place = made.place("a")
    threads = [threading.Thread(target=lambda: [made.add(place) for _ in range(5000)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made.total("a") == [20_000]


@pytest.mark.parametrize(
    ("status", "kind"), [(100, 1), (204, 2), (303, 3), (404, 4), (503, 5), (0, 0), (999, 0)]
)
def test_a_request_is_counted_by_its_class_and_its_time(status: int, kind: int) -> None:
    made = Board()
    place = made.place("x", 6 + len(BOUNDS) + 2)
    made.request(place, status, 0.002)
    made.request(place, status, 60.0)
    cells = made.total("x", 6 + len(BOUNDS) + 2)
    assert cells[kind] == 2
    assert (cells[6 + 1], cells[6 + len(BOUNDS)]) == (1, 1)
    assert cells[-1] == 60_002_000
