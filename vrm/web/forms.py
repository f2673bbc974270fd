"""Forms made from the catalog: a document becomes inputs, posted inputs become a document.

One rule for all collections: an input is named `facet.field`; what the vault itself writes is never
an input; an empty input removes the value. What was typed is kept when something in it is wrong.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from vrm.errors import ValidationError
from vrm.vault.catalog import CATALOG_BY_NAME, Collection, Facet, Field
from vrm.vault.importers.categories import CATEGORIES

Document = dict[str, dict[str, Any]]

CONTROLS: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
DECIMAL_COMMA: Final = re.compile(r"[+-]?\d+,\d{1,2}")
YES_NO: Final = {"yes": True, "no": False}
NEEDED: Final = {"item.title": "needs a title", "statement.topic": "needs a topic"}
EMPTY: Final = "needs something in it"


@dataclass(frozen=True, slots=True)
class Input:
    """One field as the page shows it."""

    field: Field
    name: str  # facet.field
    value: str
    wrong: tuple[str, ...] = ()
    needed: bool = False  # the page asks not to leave it empty

    @property
    def choices(self) -> tuple[tuple[str, str], ...]:
        """(value, label) to choose from; empty for a field that is typed."""
        if self.field.name != "category":
            return self.field.choices
        known = not self.value or self.value in dict(CATEGORIES)
        return CATEGORIES if known else ((self.value, self.value), *CATEGORIES)

    @property
    def key(self) -> str:
        """An id for the page's labels."""
        return self.name.replace(".", "-").replace("_", "-")


@dataclass(frozen=True, slots=True)
class Group:
    """The inputs of one facet."""

    facet: Facet
    inputs: tuple[Input, ...]
    fresh: bool = False  # a record that is being added

    @property
    def hers(self) -> bool:
        """Whether the group is about what only the customer can say."""
        return any(item.field.by == "customer" for item in self.inputs)

    @property
    def open(self) -> bool:
        """Whether the group deserves to be open at once."""
        return self.hers or self.fresh or any(item.wrong for item in self.inputs)

    @property
    def brief(self) -> str:
        """What stands in a closed group."""
        return " · ".join(item.value for item in self.inputs if item.value and not item.choices)


def clean(text: str) -> str:
    """What was typed, with one kind of line end, no control characters, no spaces around it."""
    if text.isprintable():  # most is: then there is nothing to take out
        return text.strip()
    return CONTROLS.sub("", text.replace("\r\n", "\n").replace("\r", "\n")).strip()


def one_line(text: str, most: int = 200) -> str:
    """A search word or short answer from a form."""
    return " ".join(clean(text).split())[:most]


def editable(facet: Facet) -> tuple[Field, ...]:
    """The fields of `facet` that a customer may write."""
    return tuple(field for field in facet.fields if field.by != "vault")


def groups(
    collection: Collection,
    document: Mapping[str, Mapping[str, Any]],
    typed: Mapping[str, str] | None = None,
    wrong: Mapping[str, Iterable[str]] | None = None,
) -> list[Group]:
    """The form for `document`; where `typed` is given, it shows what was typed instead.

    What only the customer can say comes first, except on a form for something new.
    """
    made = []
    fresh = not any(document.values())
    for facet in collection.facets:
        stored = document.get(facet.name, {})
        inputs = []
        for field in editable(facet):
            name = f"{facet.name}.{field.name}"
            value = shown(field, stored.get(field.name)) if typed is None else typed.get(name, "")
            # Where an import knows no title, its other fields can still be changed.
            needed = name in NEEDED and (fresh or field.name in stored)
            inputs.append(Input(field, name, value, tuple((wrong or {}).get(name, ())), needed))
        if inputs:
            made.append(Group(facet, tuple(inputs), fresh and (facet is collection.facets[0] or bool(typed))))
    return made if fresh else sorted(made, key=lambda group: not group.hers)


def shown(field: Field, value: Any) -> str:
    """A stored value as the text of its input."""
    if value is None:
        return ""
    if field.kind == "list":
        return "\n".join(str(item) for item in value)
    if field.kind == "boolean":
        return "yes" if value else "no"
    return str(value)


def read(
    collection: Collection, form: Mapping[str, str], document: Mapping[str, Mapping[str, Any]] | None = None
) -> Document:
    """`document` with the posted inputs written over it, not yet validated."""
    made: Document = {facet.name: {} for facet in collection.facets}
    if document:
        made |= {name: dict(fields) for name, fields in deepcopy(dict(document)).items()}
    for facet_name, field, name in _inputs(collection.name):
        text = form.get(name)
        if text is None:
            continue
        value = _value(field, clean(text)) if text else None
        if value is None:
            made[facet_name].pop(field.name, None)
        else:
            made[facet_name][field.name] = value
    return made


@cache
def _inputs(collection: str) -> tuple[tuple[str, Field, str], ...]:
    """(facet, field, name of the input) of everything that a customer may write."""
    return tuple(
        (facet.name, field, f"{facet.name}.{field.name}")
        for facet in CATALOG_BY_NAME[collection].facets
        for field in editable(facet)
    )


def checked(
    collection: Collection, document: Document, before: Document | None = None
) -> tuple[Document, dict[str, list[str]]]:
    """The validated document, and the reasons why it is not valid beside `before`, by `facet.field`."""
    from vrm.vault import schemas

    try:
        valid = schemas.validate(collection.name, document)
    except ValidationError as refused:
        return document, refused.fields
    return valid, schemas.strange(collection.name, valid, before)


def typed(form: Mapping[str, str]) -> dict[str, str]:
    """What was typed, by input name."""
    return {name: value for name, value in form.items() if "." in name}


def differences(
    collection: Collection, mine: Mapping[str, Any], theirs: Mapping[str, Any]
) -> list[tuple[Field, str, str]]:
    """The fields in which two versions of a record differ, with both values as text."""
    found = []
    for facet in collection.facets:
        for field in editable(facet):
            one = shown(field, mine.get(facet.name, {}).get(field.name))
            two = shown(field, theirs.get(facet.name, {}).get(field.name))
            if one != two:
                found.append((field, one, two))
    return found


def _value(field: Field, text: str) -> Any:
    if not text:
        return None
    match field.kind:
        case "integer":
            return int(text) if re.fullmatch(r"-?\d{1,18}", text) else text
        case "money":
            return text.replace(",", ".") if DECIMAL_COMMA.fullmatch(text) else text
        case "boolean":
            return YES_NO.get(text, text)
        case "list":
            return [line for line in (item.strip() for item in text.split("\n")) if line]
        case _:
            return text
