"""Whoever reads the same text understands the same, or nothing."""

from __future__ import annotations

import pytest

from vrm import strict_json


@pytest.mark.parametrize(
    "text", ['{"a": [1, 2.5, null, true, "é"]}', '{"a": [1, 2.5, null, true, "é"]}'.encode("utf-16")]
)
def test_what_is_json_is_read(text: str | bytes) -> None:
    assert strict_json.loads(text) == {"a": [1, 2.5, None, True, "é"]}


@pytest.mark.parametrize(
    "text",
    [
        "",
        b"",
        "{",
        "[1] 2",
        '{"a": 1, "a": 1}',
        '[{"b": {"a": 1, "a": 2}}]',
        "NaN",
        "[Infinity]",
        '{"a": -Infinity}',
        "[" * 100_000,
        '{"a":' * 100_000,
        b"\xff\xff\xff",
        "\ufeff{}",
    ],
)
def test_everything_else_is_a_value_error(text: str | bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - whatever kind json itself raises
        strict_json.loads(text)
