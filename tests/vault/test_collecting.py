"""Work that makes many objects leaves Python's collector as it was."""

from __future__ import annotations

import gc

import pytest

from vrm.vault import collecting


def test_old_cycles_wait_and_the_collector_is_as_before_afterwards() -> None:
    usual = gc.get_threshold()
    with pytest.raises(ValueError, match="wrong"), collecting.seldom():
        assert gc.isenabled()
        assert gc.get_threshold()[2] > 1_000_000
        raise ValueError("wrong")
    assert gc.get_threshold() == usual
