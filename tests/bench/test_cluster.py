"""What the trials of several machines rest on, without starting any."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bench import sizing
from bench.cluster import shards, stage
from bench.cluster.ledger import Answers
from bench.sizing import Bytes, Life, Measured

SIZE = Bytes(vault=1000, record=100, grant=500, row=10, reading=50, log=70)
FOUND = Measured(
    "2026-11-22", {"sqlite": SIZE, "postgresql": SIZE}, 1000, 2000, 3000, 4000, 500, 100_000, 64, 40
)


def test_the_longest_time_without_an_answer_is_found_wherever_it_lies() -> None:
    answers = Answers([1.0, 2.0, 7.0, 8.0])
    assert answers.away(0.5) == 5.0
    assert answers.away(7.5) == 0.5
    assert answers.away(9.0) == float("inf"), "nothing was answered any more"


def test_every_table_is_of_a_vault_or_a_grant_or_known_to_be_of_neither() -> None:
    neither = {table for table, made in shards.tables().items() if not shards.key_of(made)}
    assert neither == {
        "invitations", "vendors", "key_sets", "counts", "documents", "registrations", "requests", "polls",
        "once", "event_queues", "sweeps",
    }  # fmt: skip


def test_a_hundred_times_the_vaults_need_a_hundred_times_as_much() -> None:
    one, many = (sizing.needs(count, Life(), FOUND) for count in (10**6, 10**8))
    assert (one["stored at first"], many["stored at first"]) == ("111.5 GB", "11.2 TB")
    assert one.keys() == many.keys()
    assert all(one[name] != many[name] for name in one)


def test_what_one_vault_takes_is_the_sum_of_what_is_in_it() -> None:
    life = Life(records=2, grants=1, rows=3)  # 1000 + 2·100 + 500 + 3·10 bytes
    assert (
        sizing.needs(1000, life, FOUND)["stored at first"] == "1.7 MB"
    )  # 1000 + 2·100 + 500 + 3·10 bytes each


def test_the_template_of_a_member_names_what_the_stage_fills_in() -> None:
    words = set(re.findall(r"\b[A-Z]+_?[A-Z]+\b", stage.TEMPLATE.read_text()))
    assert {"SUPERUSER_PASSWORD", "REST_PORT", "ETCD_HOSTS", "FOLDER", "PORT", "NAME"} <= words
    assert "synchronous_mode_strict: true" in stage.TEMPLATE.read_text()


def test_what_a_trial_lacks_is_named_by_its_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert stage.missing("etcd", "patroni") == ["etcd-server", "patroni"]
