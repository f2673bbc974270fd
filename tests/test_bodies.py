"""Places for those whose bodies are waited for."""

import threading
import time

import pytest

from vrm import bodies
from vrm.bodies import TURN, Places


def test_whoever_comes_with_many_waits_until_one_of_them_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "STALLED", 60.0)
    places, had = Places(2), []
    assert (places.take(), places.take()) == (True, True)
    waiting = threading.Thread(target=lambda: had.append(places.take()))
    waiting.start()
    time.sleep(4 * TURN)
    assert had == []
    places.give_back()
    waiting.join(30)
    assert had == [True]


def test_those_who_stall_are_waited_for_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "STALLED", 0.0)
    places = Places(1)
    assert places.take()
    begun = time.monotonic()
    assert not places.take()
    assert time.monotonic() - begun < 30
    places.give_back()
    assert places.take()
