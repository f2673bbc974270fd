"""Limits hold for all workers together, and cost the usual case nothing."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.conftest import SettableClock
from vrm.consent import counting as counting_module
from vrm.consent.counting import Counting, Permits, Rates, network
from vrm.errors import RateLimitedError
from vrm.vault.engine import Engine
from vrm.vault.vault import Vaults

SHOP, OTHER = "vrm_client_a", "vrm_client_b"


def worker(vaults: Vaults, clock: SettableClock, rates: Rates) -> Permits:
    """The limits as one more process has them."""
    return Permits(Counting(vaults.engine, vaults.server_key, clock), clock, rates)


def passed(permits: Permits, times: int) -> int:
    done = 0
    for _ in range(times):
        try:
            permits.reading(SHOP)
        except RateLimitedError:
            continue
        done += 1
    return done


@contextmanager
def writes_counted(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    seen: list[str] = []
    write = type(engine).write

    def counted(self: Engine, of: str = "") -> object:
        seen.append(of)
        return write(self, of)

    with monkeypatch.context() as patch:
        patch.setattr(type(engine), "write", counted)
        yield seen


def test_no_more_pass_than_may_however_many_workers_there_are(vaults: Vaults, clock: SettableClock) -> None:
    rates = Rates(readings=100)
    workers = [worker(vaults, clock, rates) for _ in range(4)]
    assert sum(passed(one, 10) for _ in range(10) for one in workers) == 100


def test_threads_of_one_worker_hand_out_no_permit_twice(vaults: Vaults, clock: SettableClock) -> None:
    permits, done = worker(vaults, clock, Rates(readings=200)), []
    threads = [threading.Thread(target=lambda: done.append(passed(permits, 100))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(done) == 200


def test_an_idle_worker_keeps_back_a_sixteenth_at_most(vaults: Vaults, clock: SettableClock) -> None:
    rates = Rates(readings=160)
    assert passed(worker(vaults, clock, rates), 1) == 1
    assert passed(worker(vaults, clock, rates), 500) == 150


def test_who_has_had_enough_hears_when_to_come_again_and_then_may(
    vaults: Vaults, clock: SettableClock
) -> None:
    permits = worker(vaults, clock, Rates(readings=3))
    assert passed(permits, 10) == 3
    with pytest.raises(RateLimitedError) as refused:
        permits.reading(SHOP)
    assert 0 < refused.value.retry_after <= 60
    clock.forward(refused.value.retry_after)
    assert passed(permits, 10) == 3


def test_a_clock_that_is_put_back_keeps_nobody_out_for_longer_than_a_minute(
    vaults: Vaults, clock: SettableClock
) -> None:
    permits = worker(vaults, clock, Rates(readings=3))
    assert passed(permits, 10) == 3
    clock.forward(-3600)
    assert passed(permits, 10) == 3, "in the minute that it is now"
    with pytest.raises(RateLimitedError) as refused:
        permits.reading(SHOP)
    assert refused.value.retry_after <= 60


def test_one_vendor_takes_nothing_from_another(vaults: Vaults, clock: SettableClock) -> None:
    permits = worker(vaults, clock, Rates(readings=2))
    assert passed(permits, 5) == 2
    permits.reading(OTHER)
    permits.token(SHOP)
    permits.introspection(SHOP)


def test_zero_is_no_limit_and_asks_nobody(
    vaults: Vaults, clock: SettableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    with writes_counted(vaults.engine, monkeypatch) as seen:
        assert passed(worker(vaults, clock, Rates(readings=0)), 1000) == 1000
    assert seen == []


def test_the_database_is_asked_for_few_of_many(
    vaults: Vaults, clock: SettableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    permits = worker(vaults, clock, Rates())
    with writes_counted(vaults.engine, monkeypatch) as seen:
        assert passed(permits, 5000) == 5000
    assert len(seen) < 15


def test_who_is_refused_costs_the_database_nothing(
    vaults: Vaults, clock: SettableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    permits = worker(vaults, clock, Rates(readings=1))
    assert passed(permits, 2) == 1
    with writes_counted(vaults.engine, monkeypatch) as seen:
        assert passed(permits, 1000) == 0
    assert seen == []


def test_a_worker_forgets_whom_it_has_not_seen_this_minute(
    vaults: Vaults, clock: SettableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counting_module, "_KEPT", 3)
    permits = worker(vaults, clock, Rates())
    for number in range(3):
        permits.reading(f"shop {number}")
    clock.forward(60)
    permits.reading(SHOP)
    assert list(permits._shares["readings"]) == [SHOP]


def test_strangers_from_any_number_of_addresses_fill_no_memory(
    vaults: Vaults, clock: SettableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counting_module, "_KEPT", 3)
    permits = worker(vaults, clock, Rates(failures=1))
    permits.reading(SHOP)
    for number in range(10):
        permits.failure(f"192.0.2.{number}")
    assert len(permits._shares["failures"]) <= 3
    assert list(permits._shares["readings"]) == [SHOP]
    for number in range(10):  # who was forgotten is not forgiven
        with pytest.raises(RateLimitedError):
            permits.failure(f"192.0.2.{number}")


def test_neighbours_in_one_ipv6_network_share_their_log_ins(vaults: Vaults, clock: SettableClock) -> None:
    permits = worker(vaults, clock, Rates(logins=2))
    permits.login("2001:db8::1")
    permits.login("2001:db8::2")
    with pytest.raises(RateLimitedError):
        permits.login("2001:db8:0:0:ffff::3")
    permits.login("192.0.2.1")
    assert network("::ffff:192.0.2.1") == "192.0.2.1"


def test_what_is_over_is_deleted_and_names_nobody(vaults: Vaults, clock: SettableClock) -> None:
    counting = Counting(vaults.engine, vaults.server_key, clock)
    permits = Permits(counting, clock, Rates())
    permits.login("192.0.2.77")
    permits.reading(SHOP)
    rows = vaults.engine.all("SELECT tag, ends, count FROM counts")
    assert len(rows) == 2
    assert b"192.0.2" not in repr(rows).encode()
    assert SHOP not in repr(rows)
    clock.forward(61)
    counting.sweep()
    assert vaults.engine.all("SELECT tag FROM counts") == []
