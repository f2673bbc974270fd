"""What tokens carry stays readable: wraps that were written once open, and say whose key they need."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from vrm.consent.credentials import carried_keys, made_and_bound, split, wrap_cipher
from vrm.errors import TamperedError
from vrm.vault.crypto import Cipher
from vrm.vault.envelope import unpack

VECTORS = json.loads((Path(__file__).parent / "tokens.json").read_text(encoding="utf-8"))


def cipher(kind: str, grant: str = VECTORS["grant"], expires: int = VECTORS["expires"]) -> Cipher:
    lookup, wrapping = split(kind, bytes.fromhex(VECTORS["raw"]), bytes.fromhex(VECTORS["pepper"]))
    return wrap_cipher(wrapping, kind, lookup, grant, expires)


@pytest.mark.parametrize("case", VECTORS["cases"], ids=lambda case: case["name"])
def test_a_wrap_that_was_written_once_is_read(case: dict[str, Any]) -> None:
    kind, wrapped = case["kind"], bytes.fromhex(case["wrapped"])
    opened = cipher(kind).unseal(wrapped)
    assert opened.hex() == case["carries"]
    carried = unpack(opened)
    assert made_and_bound(kind, carried) == (case["made"], case["jkt"])
    if kind == "access":
        assert list(carried_keys(carried)) == ["purchases.item:read"]


@pytest.mark.parametrize("case", VECTORS["cases"], ids=lambda case: case["name"])
def test_a_wrap_is_bound_to_its_row(case: dict[str, Any]) -> None:
    wrapped = bytes.fromhex(case["wrapped"])
    others = [cipher("code"), cipher(case["kind"], grant="h" * 32), cipher(case["kind"], expires=1)]
    for other in others:
        with pytest.raises(TamperedError):
            other.unseal(wrapped)
