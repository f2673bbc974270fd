"""docs/contract.md says what others rely on; here it is held against the code, in both directions."""

import argparse
import re
from dataclasses import fields
from pathlib import Path

import pytest
from flask import Flask

from vrm import cli
from vrm.consent.scopes import MANAGEMENT, SCOPES, parts_from_scope
from vrm.errors import ScopeError
from vrm.settings import Settings
from vrm.vault.catalog import CATALOG

CONTRACT = (Path(__file__).parents[2] / "docs" / "contract.md").read_text(encoding="utf-8")


def stated(section: str, state: str) -> set[str]:
    """The names in the first column of a section's table whose second column is `state`."""
    body = re.split(r"^## ", CONTRACT, flags=re.MULTILINE)
    (table,) = [part for part in body if part.startswith(f"{section}\n")]
    return {
        name
        for name, found in re.findall(r"^\| `([^`]+)` \| (\w+) \|", table, re.MULTILINE)
        if found == state
    }


def leaves(parser: argparse.ArgumentParser) -> set[str]:
    """Every command below `parser`, as it is typed."""
    groups = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not groups:
        return {parser.prog}
    return {name for group in groups for child in group.choices.values() for name in leaves(child)}


def paths(app: Flask) -> set[str]:
    """Every route, with the names of its variables left out."""
    return {re.sub(r"<[^>]+>", "{}", rule.rule) for rule in app.url_map.iter_rules()}


def unnamed(path: str) -> str:
    return re.sub(r"\{[^}]+\}", "{}", path)


@pytest.mark.parametrize("section", ["Make", "Commands", "Settings", "HTTP", "Scopes", "Collections"])
def test_every_name_is_either_built_or_reserved(section: str) -> None:
    assert stated(section, "built")
    assert not stated(section, "built") & stated(section, "reserved")


def test_the_commands_are_exactly_the_built_ones() -> None:
    assert leaves(cli.parser()) == stated("Commands", "built")


def test_built_settings_exist_and_reserved_ones_do_not() -> None:
    known = {item.metadata["env"] for item in fields(Settings)}
    assert stated("Settings", "built") <= known
    assert not stated("Settings", "reserved") & known


def test_built_paths_answer_and_reserved_ones_do_not(app: Flask) -> None:
    known = paths(app)
    assert {unnamed(path) for path in stated("HTTP", "built")} <= known
    assert not {unnamed(path) for path in stated("HTTP", "reserved")} & known


def test_nothing_is_offered_to_vendors_that_the_contract_does_not_name(app: Flask) -> None:
    offered = {path for path in paths(app) if re.match(r"/(api|oauth|\.well-known)/", path)}
    assert offered <= {unnamed(path) for path in stated("HTTP", "built")}


def named_scopes() -> set[str]:
    """Every scope that the contract calls built, with its variables filled in."""
    named = {scope for scope in stated("Scopes", "built") if "<" not in scope}
    for kind in CATALOG:
        if any(facet.shareable for facet in kind.facets):
            named |= {f"{kind.name}:read"}
        named |= {f"{kind.name}.{facet.name}:read" for facet in kind.facets if facet.shareable}
    return named


def test_every_built_scope_can_be_asked_for() -> None:
    assert {*SCOPES, *MANAGEMENT} <= named_scopes()
    for scope in named_scopes() - MANAGEMENT.keys():
        assert parts_from_scope(scope, "ProvideProductRecommendations")


def test_reserved_and_unshareable_scopes_are_refused() -> None:
    reserved = {scope.replace("<collection>", "profile") for scope in stated("Scopes", "reserved")}
    unshareable = {
        f"{kind.name}.{facet.name}:read" for kind in CATALOG for facet in kind.facets if not facet.shareable
    }
    assert unshareable
    for scope in reserved | unshareable:
        with pytest.raises(ScopeError):
            parts_from_scope(scope, "ProvideProductRecommendations")


def test_collections_and_facets_are_those_of_the_catalog() -> None:
    assert {kind.name for kind in CATALOG} == stated("Collections", "built")
    for kind in CATALOG:
        (row,) = re.findall(rf"^\| `{kind.name}` \| built \| (.*) \|$", CONTRACT, re.MULTILINE)
        assert row.replace("`", "").split() == [facet.name for facet in kind.facets]


def test_make_has_every_built_target() -> None:
    makefile = (Path(__file__).parents[2] / "Makefile").read_text(encoding="utf-8")
    for target in stated("Make", "built") - {".ci/run"}:
        assert re.search(rf"^{target.removeprefix('make ')}:", makefile, re.MULTILINE), target
