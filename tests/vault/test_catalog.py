"""The literal table holds together: unique names, labels, choices, and buckets that fit usual contents."""

import re

import pytest

from vrm.vault import catalog
from vrm.vault.catalog import CATALOG, Collection, Facet, Field

FACETS = [(item, facet) for item in CATALOG for facet in item.facets]
FIELDS = [(item, facet, field) for item, facet in FACETS for field in facet.fields]


def test_names_are_plain_and_unique_where_they_stand() -> None:
    for names in (
        [item.name for item in CATALOG],
        *([facet.name for facet in item.facets] for item in CATALOG),
        *([field.name for field in facet.fields] for _, facet in FACETS),
    ):
        assert len(set(names)) == len(names)
        assert [name for name in names if not re.fullmatch(r"[a-z][a-z0-9_]*", name)] == []


def test_everything_has_a_label() -> None:
    assert all(thing.label for thing in [*CATALOG, *(facet for _, facet in FACETS)])
    assert all(field.label for _, _, field in FIELDS)


@pytest.mark.parametrize(("item", "facet", "field"), FIELDS, ids=lambda thing: thing.name)
def test_a_choice_has_choices_and_nothing_else_has(item: Collection, facet: Facet, field: Field) -> None:
    assert bool(field.choices) == (field.kind == "choice")
    values = [value for value, _ in field.choices]
    assert len(set(values)) == len(values)
    assert field.max > 0
    assert field.by in {"customer", "seller", "vault"}


def test_what_concerns_others_and_what_the_vault_alone_needs_is_marked() -> None:
    assert catalog.facet("purchases", "recipient").about_others
    assert catalog.facet("purchases", "context").sensitive
    kept = {(item.name, facet.name) for item, facet in FACETS if not facet.shareable}
    assert kept == {("purchases", "payment"), ("purchases", "notes"), ("inbox", "message")}


def test_whom_it_was_for_is_the_customers_word_only() -> None:
    assert {field.by for field in catalog.facet("purchases", "context").fields} == {"customer"}


def test_buckets_hold_what_the_customer_says_of_a_gift() -> None:
    context = catalog.facet("purchases", "context")
    longest = sum(
        len(field.name) + 6 + (field.max if field.kind == "text" else 9) for field in context.fields
    )
    assert longest <= context.bucket


def test_things_are_found_by_name_or_not_at_all() -> None:
    assert catalog.collection("profile").singleton
    assert catalog.facet("purchases", "item").field("isbn").max == 17
    for act in (
        lambda: catalog.collection("grants"),
        lambda: catalog.facet("purchases", "weather"),
        lambda: catalog.facet("grants", "item"),
        lambda: catalog.facet("purchases", "item").field("weather"),
    ):
        with pytest.raises(KeyError):
            act()
