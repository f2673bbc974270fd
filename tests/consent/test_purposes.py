"""Purposes are a fixed list; none is taken at a vendor's word."""

from __future__ import annotations

import pytest

from vrm.consent.purposes import DPV, PURPOSES, purpose
from vrm.errors import ScopeError


@pytest.mark.parametrize("name", PURPOSES)
def test_a_purpose_is_known_with_and_without_prefix(name: str) -> None:
    assert purpose(name) is purpose(DPV + name) is purpose(f"dpv:{name}") is PURPOSES[name]
    assert PURPOSES[name].label
    assert PURPOSES[name].explain


@pytest.mark.parametrize(
    "name", ["", "providing", "dpv:", "DPV:Personalisation", "Personalisation ", "x" * 1000]
)
def test_anything_else_is_refused(name: str) -> None:
    with pytest.raises(ScopeError) as caught:
        purpose(name)
    assert len(str(caught.value)) < 120
