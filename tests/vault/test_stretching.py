"""Passphrases are stretched behind everybody else's back, a few at a time."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator

import pytest

from tests.conftest import CHEAP
from vrm.errors import BusyError
from vrm.vault import crypto
from vrm.vault.crypto import KdfCost
from vrm.vault.engine import Engine
from vrm.vault.serverkey import ServerKey
from vrm.vault.stretching import Stretching

PLACES = 2


@pytest.fixture
def stretching(engine: Engine, server_key: ServerKey) -> Stretching:
    return Stretching(engine, server_key, CHEAP, 5.0, PLACES)


@pytest.fixture
def held(stretching: Stretching, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """All places are taken; the niceness of the threads that stretch."""
    go, begun, nice = threading.Event(), threading.Semaphore(0), []

    def slow(raw: bytes, cost: KdfCost) -> bytes:
        nice.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
        begun.release()
        go.wait(20)
        return raw

    with monkeypatch.context() as patch:
        patch.setattr(crypto, "stretch", slow)
        threads = [threading.Thread(target=stretching.run, args=(b"x", CHEAP.fresh())) for _ in range(PLACES)]
        for thread in threads:
            thread.start()
        for _ in threads:
            assert begun.acquire(timeout=20)
        yield nice
        go.set()
        for thread in threads:
            thread.join()


def test_who_comes_when_all_places_are_taken_is_sent_away_at_once(
    stretching: Stretching, held: list[int]
) -> None:
    with pytest.raises(BusyError):
        stretching.require_place()
    with pytest.raises(BusyError):
        stretching.run(b"y", CHEAP.fresh())


def test_places_are_given_back(stretching: Stretching) -> None:
    cost = CHEAP.fresh()
    assert len({stretching.run(b"y", cost) for _ in range(3 * PLACES)}) == 1
    stretching.require_place()


def test_it_steps_back_behind_who_reads_and_nobody_else_does(held: list[int]) -> None:
    here = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    assert all(nice > here or nice == 19 for nice in held)
