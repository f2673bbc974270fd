"""Scopes and request parts: everything that is not exactly known is refused by name."""

from __future__ import annotations

from typing import Any

import pytest

from tests.attacks.actors import part
from vrm.consent import scopes
from vrm.consent.scopes import (
    check_details,
    check_period,
    expand,
    is_stored_part,
    parts_from_scope,
    require_channels,
    scope_string,
)
from vrm.consent.terms import TERMS
from vrm.errors import ScopeError
from vrm.vault.catalog import CATALOG

PURPOSE = "ProvideProductRecommendations"
HERE = "https://vault.example"


def test_there_is_a_scope_for_every_shareable_facet_and_answer_and_no_other() -> None:
    shareable = {
        f"{item.name}.{facet.name}:read" for item in CATALOG for facet in item.facets if facet.shareable
    }
    writing = {"purchases:write", "inbox:write"}
    assert set(scopes.SCOPES) == shareable | {"answers.corrections:read"} | writing
    assert not [scope for scope in scopes.SCOPES if scope.startswith("inbox") and scope.endswith(":read")]
    assert "purchases.payment:read" not in scopes.SCOPES
    assert "purchases.notes:read" not in scopes.SCOPES


def test_a_collections_scope_is_todays_shareable_facets() -> None:
    assert expand("purchases") == [
        f"purchases.{name}" for name in ("item", "order", "price", "context", "recipient", "experience")
    ]
    [found] = parts_from_scope("purchases:read", PURPOSE)
    assert found["datatypes"] == expand("purchases")


def test_a_scope_string_becomes_one_required_part_per_collection() -> None:
    found = parts_from_scope(
        "purchases.item:read profile.name:read purchases.price:read purchases.item:read", PURPOSE
    )
    assert [one["datatypes"] for one in found] == [["purchases.item", "purchases.price"], ["profile.name"]]
    assert {one["necessity"] for one in found} == {"required"}
    assert scope_string(found) == "purchases.item:read purchases.price:read profile.name:read"


@pytest.mark.parametrize(
    "scope",
    [
        "",
        "  ",
        "purchases.item",
        "purchases.item:write",
        "profile:write",
        "inbox:read",
        "inbox.message:read",
        "purchases.item:read inbox:read",
        "purchases.payment:read",
        "purchases.notes:read",
        "purchases.nothing:read",
        "nothing:read",
        ":read",
        "read",
        "answers:read",
        "answers.other:read",
        "vault:manage",
        "intents:read",
        "purchases.item:read vault:manage",
        "PURCHASES.ITEM:read",
    ],
)
def test_unknown_and_unbuilt_scopes_are_refused(scope: str) -> None:
    with pytest.raises(ScopeError):
        parts_from_scope(scope, PURPOSE)


@pytest.mark.parametrize(
    ("scope", "said"),
    [
        ("inbox:read", "scope 'inbox:read' can only be written"),
        ("inbox.message:read", "scope 'inbox.message:read' is never shared"),
        ("purchases.payment:read", "scope 'purchases.payment:read' is never shared"),
        ("purchases.nothing:read", "scope 'purchases.nothing:read' is unknown"),
        ("purchases.:read", "scope 'purchases.:read' is unknown"),
        ("nothing:read", "scope 'nothing:read' is unknown"),
        ("purchases.item:write", "scope 'purchases.item:write' is unknown"),
    ],
)
def test_a_refused_scope_is_named_as_it_was_sent_with_what_is_true_of_it(scope: str, said: str) -> None:
    with pytest.raises(ScopeError) as refused:
        parts_from_scope(scope, PURPOSE)
    assert str(refused.value) == said


def test_a_write_scope_becomes_a_part_of_its_own_and_reads_nothing() -> None:
    found = parts_from_scope("purchases:write purchases.item:read inbox:write", PURPOSE)
    assert [(one["datatypes"], one["actions"]) for one in found] == [
        (["purchases.item"], ["read"]),
        (["purchases"], ["write"]),
        (["inbox"], ["write"]),
    ]
    assert scope_string(found) == "purchases.item:read purchases:write inbox:write"
    assert [scopes.writes(one) for one in found] == [False, True, True]
    assert not scopes.is_reading("purchases:write")


def test_a_part_that_writes_is_kept() -> None:
    [found] = check_details([part("inbox", actions=["write"])])
    assert (found["datatypes"], found["actions"]) == (["inbox"], ["write"])
    assert scopes.scopes_of(found) == ["inbox:write"]


def test_an_unknown_purpose_is_refused() -> None:
    with pytest.raises(ScopeError, match="purpose"):
        parts_from_scope("purchases.item:read", "SellEverything")


def test_a_full_part_is_kept_and_completed() -> None:
    asked = part(
        "purchases.item",
        "purchases.price",
        "purchases.item",
        actions=["read"],
        fields=["title", "total", "title"],
        filter={"category": ["toys", "books", "toys"]},
        period="P2Y",
        retention="P90D",
        necessity="required",
        purpose="https://w3id.org/dpv#DirectMarketing",
    )
    assert check_details([asked]) == [
        {
            "type": "vrm_access",
            "datatypes": ["purchases.item", "purchases.price"],
            "actions": ["read"],
            "purpose": "DirectMarketing",
            "necessity": "required",
            "fields": ["title", "total"],
            "filter": {"category": ["books", "toys"]},
            "period": "P2Y",
            "retention": "P90D",
        }
    ]


def _without(name: str) -> dict[str, Any]:
    found = part("purchases.item")
    del found[name]
    return found


RAR: dict[str, list[Any]] = {
    "type must be vrm_access": [
        "text",
        7,
        None,
        [],
        {},
        part("purchases.item", type="other"),
        _without("type"),
    ],
    "unknown member": [
        part("purchases.item", identifier="x"),
        part("purchases.item", privileges=["x"]),
        part("purchases.item", **{"x" * 100: 1}),
    ],
    "must be a list of texts": [
        part("purchases.item", actions="read"),
        part("purchases.item", fields=[]),
        part("purchases.item", fields=[1]),
        {**part("purchases.item"), "datatypes": "purchases.item"},
        part(),
    ],
    "must be a text": [
        part("purchases.item", purpose=1),
        part("purchases.item", period=["P1Y"]),
        part("purchases.item", necessity=None),
        part("purchases.item", retention=7),
    ],
    "is missing": [_without("datatypes"), _without("purpose")],
    "a part has one action, read or write": [
        part("purchases.item", actions=["delete"]),
        part("purchases.item", actions=["read"] * 2),
        part("purchases", actions=["read", "write"]),
    ],
    "a part that writes has no": [
        part("purchases", actions=["write"], fields=["title"]),
        part("purchases", actions=["write"], filter={"category": ["books"]}),
        part("purchases", actions=["write"], period="P1Y"),
        part("inbox", actions=["write"], retention="P1Y"),
    ],
    "necessity is required or optional": [part("purchases.item", necessity="nice")],
    "unknown datatype": [
        part("purchases.payment"),
        part("purchases"),
        part("nothing.item"),
        part("answers.other"),
        part("inbox"),
        part("inbox.message"),
        part("purchases.item", actions=["write"]),
        part("profile", actions=["write"]),
        part("answers.corrections", actions=["write"]),
    ],
    "belong to one collection": [
        part("purchases.item", "profile.name"),
        part("purchases.item", "answers.corrections"),
        part("purchases", "inbox", actions=["write"]),
    ],
    "only purchases have a period": [
        part("profile.name", period="P1Y"),
        part("answers.corrections", period="P1Y"),
    ],
    "only purchases have a filter": [part("profile.name", filter={"category": ["books"]})],
    "filter knows category only": [
        part("purchases.item", filter=[]),
        part("purchases.item", filter={}),
        part("purchases.item", filter={"brand": ["x"]}),
        part("purchases.item", filter={"category": ["x"], "brand": ["x"]}),
    ],
    "filter.category must be a list of texts": [
        part("purchases.item", filter={"category": "books"}),
        part("purchases.item", filter={"category": []}),
        part("purchases.item", filter={"category": [1]}),
        part("purchases.item", filter={"category": ["a"] * 51}),
    ],
    "holds a name that is no category": [
        part("purchases.item", filter={"category": ["Books"]}),
        part("purchases.item", filter={"category": [""]}),
        part("purchases.item", filter={"category": ["a\n"]}),
    ],
    "an answer has no fields": [part("answers.corrections", fields=["order"])],
    "fields names nothing of": [part("purchases.item", "purchases.price", fields=["title"])],
    "unknown field": [part("purchases.item", fields=["title", "secret"])],
    "is no period": [
        part("purchases.item", period=text)
        for text in ("", "2Y", "P2", "P0Y", "P1Y6M", "P2Y\n", "P99999D", "P٢Y", "p2y")
    ],
    "is not one this vault knows": [part("purchases.item", purpose="dpv:Nothing")],
    "are not in the roster": [
        part("purchases.item", terms=text) for text in ("", "sd-base", "SD-BASE ", "TPR", "x" * 500)
    ],
    "terms must be a text": [part("purchases.item", terms=["SD-BASE"]), part("purchases.item", terms=None)],
    "response_channel is none or inbox": [
        part("purchases.item", response_channel=text) for text in ("", "email", "Inbox")
    ],
    "locations must be a list of texts": [
        part("purchases.item", locations="https://vault.example"),
        part("purchases.item", locations=[]),
        part("purchases.item", locations=[1]),
    ],
    "names another place": [
        part("purchases.item", locations=["https://other.example"]),
        part("purchases.item", locations=["https://vault.example", "https://other.example"]),
        part("inbox", actions=["write"], locations=["https://vault.example/oauth"]),
    ],
    "a part that writes has no (terms|response_channel)": [
        part("inbox", actions=["write"], terms="SD-BASE"),
        part("inbox", actions=["write"], response_channel="inbox"),
    ],
}


@pytest.mark.parametrize(("reason", "bad"), [(reason, bad) for reason, many in RAR.items() for bad in many])
def test_a_malformed_part_is_refused_with_its_reason(reason: str, bad: Any) -> None:
    with pytest.raises(ScopeError, match=reason):
        check_details([bad], here=HERE)


def test_what_is_only_said_is_kept_as_it_was_said() -> None:
    said = {"terms": "SD-BASE-DP", "response_channel": "inbox", "retention": "P30D"}
    asked = [
        part("purchases.item", **said, locations=[HERE + "/"]),
        part("inbox", actions=["write"], locations=[HERE]),
    ]
    first, second = require_channels(check_details(asked, here=HERE))
    assert {name: first[name] for name in said} == said
    assert first["locations"] == second["locations"] == [HERE]
    assert is_stored_part(first)
    assert is_stored_part(second)


def test_every_id_of_the_roster_may_be_named_and_says_something() -> None:
    for name, terms in TERMS.items():
        [clean] = check_details([part("purchases.item", terms=name)])
        assert clean["terms"] == terms.id == name
        assert terms.says
    assert len(TERMS) == 13
    assert [name for name in TERMS if TERMS[name].portable] == [
        *(name for name in TERMS if name.endswith("-DP")),
        "PDC-INTENT",
        "PDC-AI",
        "PDC-GOOD",
    ]


def test_no_place_is_ours_where_none_is_said() -> None:
    with pytest.raises(ScopeError, match="another place"):
        check_details([part("purchases.item", locations=[HERE])])


@pytest.mark.parametrize(
    "beside",
    [
        [],
        [part("purchases", actions=["write"], necessity="required")],
        [part("purchases.price", response_channel="none")],
    ],
)
def test_who_means_to_answer_by_the_inbox_asks_to_write_there(beside: list[Any]) -> None:
    asked = check_details([part("purchases.item", response_channel="inbox"), *beside])
    with pytest.raises(ScopeError, match="needs a part that writes to inbox"):
        require_channels(asked)


@pytest.mark.parametrize("details", [None, {}, "[]", [], [part("purchases.item")] * 21, 3])
def test_only_a_list_of_one_to_twenty_parts_is_read(details: Any) -> None:
    with pytest.raises(ScopeError, match="list of 1 to 20"):
        check_details(details)


def test_something_must_be_required_unless_a_scope_stands_beside() -> None:
    optional = [part("purchases.price", necessity="optional")]
    with pytest.raises(ScopeError, match="at least one part must be required"):
        check_details(optional)
    assert check_details(optional, beside_scope=True)[0]["necessity"] == "optional"


def test_periods_of_one_unit_are_read() -> None:
    assert [check_period(text) for text in ("P1D", "P6M", "P2Y", "P52W", "P9999D")]


def test_a_refusal_never_repeats_more_than_a_little_of_what_was_sent() -> None:
    with pytest.raises(ScopeError) as caught:
        parts_from_scope("x" * 5000 + ":read", PURPOSE)
    assert len(str(caught.value)) < 120


SOUND = check_details(
    [part("purchases.item", fields=["title"], filter={"category": ["books"]}, period="P2Y")]
)[0]


@pytest.mark.parametrize(
    "stored",
    [
        None,
        7,
        "purchases.item",
        {},
        {**SOUND, "datatypes": []},
        {**SOUND, "datatypes": 7},
        {**SOUND, "datatypes": ["purchases.secret"]},
        {**SOUND, "purpose": "Nothing"},
        {**SOUND, "purpose": 7},
        {**SOUND, "fields": 7},
        {**SOUND, "fields": ["title", 7]},
        {**SOUND, "filter": ["books"]},
        {**SOUND, "filter": {"category": [7]}},
        {**SOUND, "period": "always"},
        {**SOUND, "retention": 7},
        {**SOUND, "terms": "TPR"},
        {**SOUND, "terms": 7},
        {**SOUND, "terms": ["SD-BASE"]},
        {**SOUND, "response_channel": "email"},
        {**SOUND, "response_channel": 7},
        {**SOUND, "locations": 7},
        {**SOUND, "locations": [7]},
    ],
)
def test_what_is_stored_in_another_shape_is_no_part(stored: Any) -> None:
    assert is_stored_part(SOUND)
    assert not is_stored_part(stored)
