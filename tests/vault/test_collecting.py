"""Work that makes many objects leaves Python's collector as it was."""

from __future__ import annotations

import gc

import pytest

from vrm.vault import collecting


def test_old_cycles_wait_and_the_collector_is_as_before_afterwards() -> None:
    usual = gc.get_threshold()
    gc.set_threshold(12_345, 6, 7)
    with collecting.seldom():
        assert gc.isenabled()
        assert gc.get_threshold()[2] > 1_000_000
    assert gc.get_threshold() == (12_345, 6, 7)
    with pytest.raises(ZeroDivisionError), collecting.seldom():
        _ = 1 / 0
    assert gc.get_threshold() == (12_345, 6, 7)
    gc.set_threshold(*usual)


def test_of_two_at_once_the_last_that_ends_counts() -> None:
    usual = gc.get_threshold()
    one, other = collecting.seldom(), collecting.seldom()
    one.__enter__()
    other.__enter__()
    one.__exit__(None, None, None)
    assert gc.get_threshold()[2] > 1_000_000
    other.__exit__(None, None, None)
    assert gc.get_threshold() == usual
