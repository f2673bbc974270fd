"""Writes the pages of docs/ that list what the code says: scopes, errors, settings, routes, commands.

`--check` writes nothing and fails, naming them, when pages are out of step with the code. The text depends
on the code alone: not on the Python that runs it, the width of a terminal, the environment or the day.
"""

from __future__ import annotations

import argparse
import dataclasses
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import conformance
from flask import Flask

from vrm import cli, errors
from vrm.api import problems
from vrm.app import create_app
from vrm.consent import purposes, scopes
from vrm.settings import Settings, load
from vrm.vault.catalog import CATALOG, Collection, Facet, Field

DOCS = Path(__file__).resolve().parents[1] / "docs"
MADE = "<!-- Made by `make docs`; change the code and run it again. -->\n"

ERRORS = """\
Every refusal has a stable slug. The vendor API answers `application/problem+json` (RFC 9457) with the slug at
the end of `type`; the command line prints `error:` and `hint:` lines; pages show the text. `/oauth/…` answers
with the error codes of the OAuth RFCs instead.
"""
SETTINGS = """\
A flag wins over the environment, which wins over `vrm.toml`, which wins over the default. A value that cannot
be used stops the start with an `error:` and a `hint:` line. One secret may stand here, a database's
password: keep the file or the environment private then, or leave it to `~/.pgpass`. The server key is named
by its path.
"""
COMMANDS = """\
Passphrases come from a prompt or `--passphrase-file PATH` (`-` = standard input), never from an argument.
Results go to standard output, with `--json` as one JSON document; progress goes to standard error, only on a
terminal. A failure is an exit code other than 0, an `error:` line and often a `hint:` line.
"""
ROUTES = """\
Which of these names are fixed says [contract.md](contract.md). The address of a page is not, unless it is
named there.
"""
SCOPES = """\
A scope is a datatype and a verb. `COLLECTION:read` stands for the facets that are shareable on the day it is
approved; facets that come later never join. What is unknown or not built is `invalid_scope`.
"""


CONFORMANCE = """\
What strict judges of OAuth servers ask, and where each line of it is shown. **met** names the tests, which
carry the line's name as a mark; **not applicable** says why; **open** is what is missing. No MUST is open: a
test holds that. Clients written by others judge the same server in `tests/judges`.
"""


def table(titles: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table; a bar inside a cell does not end it."""
    titles = list(titles)
    lines = [titles, ["---"] * len(titles), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def code(text: object) -> str:
    """`text` in code marks; nothing for nothing."""
    return f"`{text}`" if str(text) else ""


def summary(documented: object) -> str:
    """The first line of a docstring."""
    return (documented.__doc__ or "").strip().partition("\n")[0]


# --- errors ---------------------------------------------------------------------------------------


def families() -> Iterator[tuple[type[errors.VrmError], list[type[errors.VrmError]]]]:
    """Each base in the tree of errors with every class below it, in the order of the source."""
    bases = [cls for cls in errors.VrmError.__subclasses__() if cls.__subclasses__()]
    alone = [cls for cls in errors.VrmError.__subclasses__() if not cls.__subclasses__()]
    yield errors.VrmError, alone
    for base in bases:
        yield base, list(below(base))


def below(base: type[errors.VrmError]) -> Iterator[type[errors.VrmError]]:
    """Every class below `base`, parents before children."""
    for cls in base.__subclasses__():
        yield cls
        yield from below(cls)


def error_row(cls: type[errors.VrmError]) -> list[str]:
    """Slug, class, HTTP status and meaning."""
    return [code(cls.slug), code(cls.__name__), str(problems.TABLE[cls].status), summary(cls)]


def heading(base: type[errors.VrmError]) -> str:
    """What a family of errors is about: "Base of what the vault refuses." without its first words."""
    text = summary(base).removeprefix("Base of ").rstrip(".")
    return text[:1].upper() + text[1:]


def errors_page() -> str:
    """docs/errors.md."""
    parts = ["# Errors\n", MADE, ERRORS]
    own: set[str] = set()
    for base, members in families():
        title = "The host itself" if base is errors.VrmError else heading(base)
        parts += [f"## {title}\n", table(("slug", "class", "HTTP", "meaning"), map(error_row, members))]
        own |= {base.slug, *(cls.slug for cls in members)}
    others = [
        [code(slug), str(status), title]
        for slug, (status, title, _) in sorted(problems.explanations().items())
        if slug not in own
    ]
    parts += ["## What the server itself refuses\n", table(("slug", "HTTP", "meaning"), others)]
    return "\n".join(parts)


# --- settings -------------------------------------------------------------------------------------


def default_of(item: dataclasses.Field[object]) -> str:
    """What a setting is when nobody sets it."""
    if item.default_factory is not dataclasses.MISSING:
        return item.default_factory.__doc__ or ""
    if item.default == "":
        return "(empty)"
    return f"{item.default} {item.metadata['unit']}".strip()


def flags() -> dict[str, str]:
    """Setting name → the flag of `vrm serve` that sets it."""
    serve = next(parser for parser in commands(cli.parser()) if parser.prog == "vrm serve")
    return {action.dest: action.option_strings[-1] for action in options(serve)}


def settings_page() -> str:
    """docs/settings.md."""
    known = flags()
    rows = []
    for item in dataclasses.fields(Settings):
        names = [code(item.metadata["env"]), code(item.name), code(known.get(item.name, ""))]
        rows.append([*names, default_of(item), item.metadata["help"]])
    titles = ("environment", "in vrm.toml", "flag", "default", "meaning")
    return "\n".join(["# Settings\n", MADE, SETTINGS, table(titles, rows)])


# --- routes -------------------------------------------------------------------------------------------


def built_app(folder: str) -> Flask:
    """The application as it is served, with its data in `folder`."""
    return create_app(load({"data_dir": folder}, environ={}))


def contracted() -> dict[str, str]:
    """What the contract says of each path, with the names of variables left out."""
    text = (DOCS / "contract.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(/[^`]*)` \| built \| (.*) \|$", text, re.MULTILINE)
    return {re.sub(r"\{\w+\}", "{}", path): said for path, said in rows}


def meaning(view: Callable[..., object], path: str) -> str:
    """A route in one line: its view's own words, else the contract's."""
    if not view.__module__.startswith("vrm."):
        return "A file that pages use."
    return summary(view) or contracted().get(re.sub(r"<[^>]+>", "{}", path), "")


def routes_page() -> str:
    """docs/routes.md."""
    rows = []
    with TemporaryDirectory() as folder:
        app = built_app(folder)
        for rule in sorted(
            app.url_map.iter_rules(), key=lambda rule: (rule.rule, sorted(rule.methods or ()))
        ):
            methods = ", ".join(sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}))
            rows.append([code(rule.rule), methods, meaning(app.view_functions[rule.endpoint], rule.rule)])
    return "\n".join(["# Routes\n", MADE, ROUTES, table(("path", "methods", ""), sorted(rows))])


# --- commands -------------------------------------------------------------------------------------


def commands(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """`parser` and every parser of a command below it, each once."""
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            seen: set[int] = set()
            for child in action.choices.values():
                if id(child) not in seen:
                    seen.add(id(child))
                    yield from commands(child)


def leaf(parser: argparse.ArgumentParser) -> bool:
    """Whether this is a command and not a group of them."""
    return not any(isinstance(action, argparse._SubParsersAction) for action in parser._actions)


def options(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """The flags of a command, without --help."""
    return [
        action
        for action in parser._actions
        if action.option_strings and action.dest != "help" and action.help != argparse.SUPPRESS
    ]


def arguments(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """The positional arguments of a command."""
    return [action for action in parser._actions if not action.option_strings]


def placeholder(action: argparse.Action) -> str:
    """What stands for the value in a synopsis."""
    if action.nargs == 0:
        return ""
    if action.metavar:
        return action.metavar if isinstance(action.metavar, str) else " ".join(action.metavar)
    if action.choices:
        return "{" + ",".join(map(str, action.choices)) + "}"
    return action.dest.upper()


def synopsis(parser: argparse.ArgumentParser) -> str:
    """One line: the command, its flags, its arguments; flags that exclude each other, together."""
    words, told = [parser.prog], set()
    for action in options(parser):
        if action in told:
            continue
        among = next((one for one in parser._mutually_exclusive_groups if action in one._group_actions), None)
        together = among._group_actions if among else [action]
        told.update(together)
        flags = " | ".join(f"{one.option_strings[-1]} {placeholder(one)}".strip() for one in together)
        if not (among or action).required:
            words.append(f"[{flags}]")
        else:
            words.append(f"({flags})" if len(together) > 1 else flags)
    for action in arguments(parser):
        word = placeholder(action)
        words.append({"+": f"{word}…", "*": f"[{word}…]", "?": f"[{word}]"}.get(str(action.nargs), word))
    return " ".join(words)


def said(action: argparse.Action, parser: argparse.ArgumentParser) -> str:
    """An action's help with its %-fields filled in, as argparse would."""
    known = {**vars(action), "prog": parser.prog}
    return action.help % known if action.help else ""


def command_part(parser: argparse.ArgumentParser) -> str:
    """The part of docs/commands.md about one command."""
    told = (parser.description or "").strip()
    parts = [f"## {parser.prog}\n", f"{told}\n", f"```\n{synopsis(parser)}\n```\n"]
    rows = []
    for action in [*arguments(parser), *options(parser)]:
        name = ", ".join(action.option_strings) or placeholder(action)
        rows.append([code(name), code(placeholder(action)), said(action, parser)])
    if rows:
        parts.append(table(("argument", "value", "meaning"), rows))
    if parser.epilog:
        parts.append(f"```\n{parser.epilog.strip() % {'prog': parser.prog}}\n```\n")
    return "\n".join(parts)


def commands_page() -> str:
    """docs/commands.md."""
    parts = (command_part(parser) for parser in commands(cli.parser()) if leaf(parser))
    return "\n".join(["# Commands\n", MADE, COMMANDS, *parts])


# --- scopes ---------------------------------------------------------------------------------------


def field_text(field: Field) -> str:
    """A field's name, with its kind and what it may be."""
    choices = ": " + ", ".join(value for value, _ in field.choices) if field.choices else ""
    return f"`{field.name}` ({field.kind}{choices})"


def facet_row(kind: Collection, facet: Facet) -> list[str]:
    """Scope, label, fields and what a person should know about one facet."""
    scope = f"{kind.name}.{facet.name}:read"
    marks = [
        *([] if facet.shareable else ["never shareable"]),
        *(["sensitive"] if facet.sensitive else []),
        *(["about other people"] if facet.about_others else []),
    ]
    return [
        code(scope) if facet.shareable else f"none ({code(facet.name)})",
        facet.label,
        ", ".join(map(field_text, facet.fields)),
        ", ".join(marks),
    ]


def scopes_page() -> str:
    """docs/scopes.md."""
    parts = ["# Scopes\n", MADE, SCOPES]
    named: set[str] = set()
    for kind in CATALOG:
        rows = [facet_row(kind, facet) for facet in kind.facets]
        parts += [f"## {kind.label}: `{kind.name}:read`\n", table(("scope", "label", "fields", ""), rows)]
        named |= {f"{kind.name}:read", *(f"{kind.name}.{facet.name}:read" for facet in kind.facets)}
    others = [[code(scope), label] for scope, label in scopes.SCOPES.items() if scope not in named]
    managing = [[code(scope), label] for scope, label in scopes.MANAGEMENT.items()]
    parts += ["## Grant management\n", "Beside others only; they open no row.\n"]
    parts += [table(("scope", "label"), managing)]
    meant = [[code(item.id), item.label, item.explain] for item in purposes.PURPOSES.values()]
    parts += ["## Answers\n", table(("scope", "label"), others)]
    parts += ["## Purposes\n", "A request names one of these, from the W3C Data Privacy Vocabulary.\n"]
    parts += [table(("purpose", "label", "told to the customer"), meant)]
    return "\n".join(parts)


# --- conformance ----------------------------------------------------------------------------------


def conformance_part(checklist: conformance.Checklist, met: dict[str, list[conformance.Proof]]) -> str:
    """The part of docs/conformance.md about one list of lines."""
    by_section = any(line.section for line in checklist.lines)
    titles = ["line", *(["section", "level"] if by_section else []), "what is asked", "state"]
    rows = []
    for line in checklist.lines:
        place = [line.section, line.level] if by_section else []
        rows.append([code(line.id.removeprefix(f"{checklist.name}-")), *place, line.says])
        rows[-1].append(conformance.state(line, met))
    told = f"{checklist.about}\n\n{conformance.summary(checklist)}\n"
    return "\n".join([f"## {checklist.title}\n", told, table(titles, rows)])


def conformance_page() -> str:
    """docs/conformance.md."""
    met = conformance.marks()
    parts = (conformance_part(checklist, met) for checklist in conformance.checklists())
    return "\n".join(["# Conformance\n", MADE, CONFORMANCE, *parts])


PAGES: dict[str, Callable[[], str]] = {
    "scopes.md": scopes_page,
    "errors.md": errors_page,
    "settings.md": settings_page,
    "routes.md": routes_page,
    "commands.md": commands_page,
    "conformance.md": conformance_page,
}


def out_of_step(folder: Path = DOCS) -> list[str]:
    """The pages in `folder` that are missing or differ from what the code says."""
    return [
        name
        for name, page in PAGES.items()
        if not (folder / name).is_file() or (folder / name).read_text(encoding="utf-8") != page()
    ]


def main(arguments: list[str] | None = None) -> int:
    """Write the pages, or check them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail when a page is out of step")
    if parser.parse_args(arguments).check:
        for name in (stale := out_of_step()):
            print(f"error: docs/{name} is out of step with the code\nhint: make docs", file=sys.stderr)
        return 1 if stale else 0
    DOCS.mkdir(exist_ok=True)
    for name, page in PAGES.items():
        (DOCS / name).write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
