"""The pages that list what the code says are in step with it, and leave nothing out."""

import argparse
import importlib.util
import re
import sys
from dataclasses import fields
from pathlib import Path
from types import ModuleType

import pytest
from flask import Flask

from vrm import errors
from vrm.consent.purposes import PURPOSES
from vrm.consent.scopes import SCOPES
from vrm.settings import Settings

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


def read(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    """scripts/docs.py as a module."""
    spec = importlib.util.spec_from_file_location("generated_docs", ROOT / "scripts" / "docs.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "scripts")  # as for a script that is run: it finds those beside it
        spec.loader.exec_module(module)
    return module


def test_generated_pages_are_in_step_with_the_code(generator: ModuleType) -> None:
    assert generator.out_of_step() == []


def test_a_page_out_of_step_is_named(generator: ModuleType, tmp_path: Path) -> None:
    for name, page in generator.PAGES.items():
        (tmp_path / name).write_text(page(), encoding="utf-8")
    (tmp_path / "errors.md").write_text("stale", encoding="utf-8")
    (tmp_path / "scopes.md").unlink()
    assert sorted(generator.out_of_step(tmp_path)) == ["errors.md", "scopes.md"]


def test_a_synopsis_says_which_flags_exclude_each_other(generator: ModuleType) -> None:
    parser = argparse.ArgumentParser(prog="do")
    one, other = (parser.add_mutually_exclusive_group(required=needed) for needed in (True, False))
    one.add_argument("--vault", metavar="NAME")
    parser.add_argument("--need", required=True)
    other.add_argument("--list", action="store_true")
    one.add_argument("--at", metavar="URL")
    other.add_argument("--revoke", metavar="ID")
    assert generator.synopsis(parser) == "do (--vault NAME | --at URL) --need NEED [--list | --revoke ID]"


def test_every_error_slug_is_documented() -> None:
    page = read("errors.md")
    slugs = {
        cls.slug
        for cls in vars(errors).values()
        if isinstance(cls, type) and issubclass(cls, errors.VrmError)
    }
    families = {errors.VrmError.slug, errors.VaultError.slug, errors.ConsentError.slug}
    assert [slug for slug in sorted(slugs - families) if f"| `{slug}` |" not in page] == []


def test_every_setting_is_documented_with_its_meaning() -> None:
    page = read("settings.md")
    for item in fields(Settings):
        assert f"| `{item.metadata['env']}` | `{item.name}` |" in page
        assert item.metadata["help"] in page


def test_every_scope_and_purpose_is_documented() -> None:
    page = read("scopes.md")
    assert [name for name in [*SCOPES, *PURPOSES] if f"`{name}`" not in page] == []


def test_every_command_is_documented_with_an_example(generator: ModuleType) -> None:
    page = read("commands.md")
    for parser in generator.commands(generator.cli.parser()):
        if generator.leaf(parser):
            (part,) = [part for part in page.split("\n## ") if part.startswith(f"{parser.prog}\n")]
            assert parser.description, parser.prog
            assert parser.epilog, f"{parser.prog}: no example"
            assert parser.prog in parser.epilog % {"prog": parser.prog}
            assert part.count("```") == 4


def test_every_route_is_documented(app: Flask) -> None:
    page = read("routes.md")
    assert [rule.rule for rule in app.url_map.iter_rules() if f"| `{rule.rule}` |" not in page] == []


def test_links_between_pages_lead_somewhere() -> None:
    pages = [*DOCS.rglob("*.md"), *ROOT.glob("*.md")]
    for page in pages:
        for target in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.relative_to(ROOT)} → {target}"
