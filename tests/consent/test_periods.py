"""Parts of one request that look back for different times."""

from __future__ import annotations

from typing import Any

import pytest

from tests.attacks.actors import part
from vrm.consent.periods import at_odds, require_one_end
from vrm.consent.scopes import check_details
from vrm.errors import ScopeError

TITLE = {"fields": ["title"]}
YEAR, YEARS = {"period": "P1Y"}, {"period": "P5Y"}
BOOKS, MUSIC = ({"filter": {"category": [name]}} for name in ("books", "music"))


def items(*limits: dict[str, Any]) -> list[dict[str, Any]]:
    return check_details([part("purchases.item", **one) for one in limits])


@pytest.mark.parametrize(
    "limits",
    [
        (TITLE, YEAR),
        ({**TITLE, **YEARS}, YEAR),
        ({**TITLE, **BOOKS}, YEAR),
        ({**TITLE, **BOOKS}, {**YEAR, **BOOKS}),
        ({**TITLE, **YEAR}, {"fields": ["brand"], "period": "P12M"}),
        (TITLE, {**TITLE, **YEAR}, YEAR),
    ],
)
def test_a_shorter_period_adds_no_fields(limits: tuple[dict[str, Any], ...]) -> None:
    for parts in (items(*limits), items(*reversed(limits))):
        assert at_odds(parts) == "purchases.item"
        with pytest.raises(ScopeError, match=r"purchases\.item, the shorter period with more fields"):
            require_one_end(parts)


@pytest.mark.parametrize(
    "limits",
    [
        (TITLE, {}),
        (YEAR, {}),
        (YEAR, YEARS),
        ({**TITLE, **YEAR}, {}),
        ({**TITLE, **YEAR}, YEAR),
        ({**TITLE, **YEAR}, {**TITLE, "period": "P12M"}),
        ({**TITLE, **MUSIC}, {**YEAR, **BOOKS}),
    ],
)
def test_others_say_together_what_leaves(limits: tuple[dict[str, Any], ...]) -> None:
    for parts in (items(*limits), items(*reversed(limits))):
        assert at_odds(parts) == ""
        assert require_one_end(parts) == parts


def test_only_parts_that_read_the_same_are_looked_at() -> None:
    order = part("purchases.order", fields=["seller"])
    assert at_odds(check_details([order, part("purchases.item", period="P1Y")])) == ""
    assert at_odds(check_details([order, part("purchases.item", "purchases.order", period="P1Y")])) != ""
    assert at_odds(check_details([part("inbox", actions=["write"]), part("inbox", actions=["write"])])) == ""
