"""The machine: each thing that can be wrong is said, with what to do."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.doctor.conftest import said
from vrm.doctor import Machine, machine
from vrm.settings import Settings


def test_a_good_machine_gets_no_advice(here: Machine, settings: Settings) -> None:
    checks = [machine.software(here), machine.names(here), machine.memory(settings, here)]
    checks += [machine.workers(settings, here), machine.swap(here), machine.core_dumps(here)]
    checks.append(machine.clock(here, here.now))
    assert {said(one)[0] for one in checks} == {"ok"}


@pytest.mark.parametrize(
    ("check", "worse", "level", "words"),
    [
        ("software", {"python": (3, 10, 9)}, "FAIL", "install Python 3.11"),
        ("software", {"python": (3, 15, 0)}, "FAIL", "install Python 3.11"),
        ("software", {"sqlite": (3, 31, 0)}, "FAIL", "SQLite 3.37.0 or newer"),
        ("names", {"environ": {"VRM_PROXIES": "1"}}, "warn", "VRM_PROXIES"),
        ("names", {"environ": {"VRM_TRUSTED_PROXY": "1"}}, "warn", "meant: VRM_TRUSTED_PROXIES?"),
        ("swap", {"swaps": ("/swapfile",)}, "warn", "encrypt it or turn it off"),
        ("core_dumps", {"core_size": -1}, "warn", "ulimit -c 0"),
    ],
)
def test_what_is_wrong_with_the_machine_is_said(
    here: Machine, check: str, worse: dict[str, Any], level: str, words: str
) -> None:
    found, text = said(getattr(machine, check)(replace(here, **worse)))
    assert found == level
    assert words in text


def test_too_little_memory_for_two_passphrases_at_once_fails(here: Machine, settings: Settings) -> None:
    level, text = said(machine.memory(settings, replace(here, memory=200 * 2**20)))
    assert level == "FAIL"
    assert "200 MiB can be had, 308 MiB are needed" in text
    assert said(machine.memory(settings, replace(here, memory=None)))[0] == "ok"


@pytest.mark.parametrize(("workers", "words"), [(9, "gain nothing"), (1, "keeps everybody waiting")])
def test_too_many_and_too_few_workers_are_said(
    here: Machine, settings: Settings, workers: int, words: str
) -> None:
    level, text = said(machine.workers(replace(settings, workers=workers), here))
    assert level == "warn"
    assert words in text


def test_a_clock_behind_the_data_or_the_release_fails(here: Machine) -> None:
    assert said(machine.clock(replace(here, now=1_500_000_000), 0))[0] == "FAIL"
    level, text = said(machine.clock(here, here.now + 3600))
    assert level == "FAIL"
    assert "60 minutes behind" in text
    assert said(machine.clock(here, here.now + 299))[0] == "ok"


def test_memory_is_the_lesser_of_what_is_free_and_what_is_allowed() -> None:
    free = "MemTotal: 8000 kB\nMemAvailable:    2048 kB\n"
    assert machine.available(free, "max\n") == 2048 * 1024
    assert machine.available(free, "1000000\n") == 1_000_000
    assert machine.available("", "") is None


def test_swap_that_forgets_is_no_matter() -> None:
    head = "Filename Type Size Used Priority\n"
    assert machine.plain_swaps(head + "/dev/zram0 partition 1 0 5\n/dev/dm-1 partition 1 0 5\n") == ()
    assert machine.plain_swaps(head + "/swapfile file 1 0 -2\n") == ("/swapfile",)
    assert machine.plain_swaps("") == ()


def test_facts_of_this_machine_can_be_had() -> None:
    facts = Machine.here()
    assert facts.python >= (3, 11)
    assert facts.cores >= 1
