"""marshmallow schemas derived from the catalog: page, API, SDK deposit and command validate alike.

The only module that touches `marshmallow`. A document that passed has every facet present, text in NFC
without control or direction-changing characters, dates, money and codes in one spelling. Whoever validates
loads it then: a server starts a tenth sooner without marshmallow.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from datetime import date
from decimal import Decimal
from functools import cache
from typing import Any

from marshmallow import EXCLUDE, RAISE, Schema, ValidationError, fields
from marshmallow.exceptions import SCHEMA

from vrm import errors
from vrm.vault.catalog import CATALOG_BY_NAME, Facet, Field, Kind
from vrm.vault.importers import categories, values

# C0 and C1 controls, and the direction overrides and isolates that make text look like another
_BAD_TEXT = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")
_BAD_LINE = re.compile(r"[\t\n]")
_MONEY = re.compile(r"-?[0-9]{1,12}(\.[0-9]{1,4})?")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")  # fromisoformat also takes weeks
_NO_OBJECT = "must be an object of fields"
Document = dict[str, dict[str, Any]]


class TextField(fields.Field[str]):
    """Clean text of at most `most` characters."""

    def __init__(self, most: int, *, lines: bool = False, **rest: Any) -> None:
        super().__init__(**rest)
        self.most, self.lines = most, lines

    def _deserialize(self, value: Any, attr: str | None, data: Any, **rest: Any) -> str:
        if not isinstance(value, str):
            raise ValidationError("must be text")
        if value.isascii() and value.isprintable():  # most is: there is nothing to take out or to refuse
            text = value.strip()
        else:
            text = unicodedata.normalize("NFC", value.replace("\r\n", "\n").replace("\r", "\n")).strip()
            if _BAD_TEXT.search(text) or (not self.lines and _BAD_LINE.search(text)):
                raise ValidationError("holds a character that is not allowed")
        if len(text) > self.most:
            raise ValidationError(f"is longer than {self.most} characters")
        return text


class DateField(fields.Field[str]):
    """A day, YYYY-MM-DD."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **rest: Any) -> str:
        try:
            if not isinstance(value, str) or not _DAY.fullmatch(value):
                raise ValueError
            return date.fromisoformat(value).isoformat()
        except ValueError:
            raise ValidationError("must be a day such as 2026-11-21") from None


class MoneyField(fields.Field[str]):
    """A decimal string such as 12.99; never a binary float."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **rest: Any) -> str:
        if not isinstance(value, str) or not _MONEY.fullmatch(value.strip()):
            raise ValidationError("must be an amount such as 12.99")
        return format(Decimal(value.strip()), "f")


class IntegerField(fields.Field[int]):
    """A whole number from `least` to `most`."""

    def __init__(self, most: int, *, least: int = 0, **rest: Any) -> None:
        super().__init__(**rest)
        self.least, self.most = least, most

    def _deserialize(self, value: Any, attr: str | None, data: Any, **rest: Any) -> int:
        if isinstance(value, str) and re.fullmatch(r"[0-9]{1,12}", value.strip()):
            value = int(value)
        if isinstance(value, float) and value.is_integer():  # 2.0 is one to JSON Schema
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool):
            raise ValidationError("must be a whole number")
        if not self.least <= value <= self.most:
            raise ValidationError(f"must be from {self.least} to {self.most}")
        return value


class ChoiceField(fields.Field[str]):
    """One of the values of the catalog."""

    def __init__(self, values: tuple[str, ...], **rest: Any) -> None:
        super().__init__(**rest)
        self.values = values

    def _deserialize(self, value: Any, attr: str | None, data: Any, **rest: Any) -> str:
        if not isinstance(value, str) or value not in self.values:
            raise ValidationError("must be one of " + ", ".join(self.values))
        return value


class FlagField(fields.Field[bool]):
    """true or false, nothing that merely looks like it."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **rest: Any) -> bool:
        if not isinstance(value, bool):
            raise ValidationError("must be true or false")
        return value


class UrlField(TextField):
    """An http or https address."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **rest: Any) -> str:
        text = super()._deserialize(value, attr, data, **rest)
        if text and not re.match(r"https?://[^\s/]+", text):
            raise ValidationError("must start with http:// or https://")
        return text


class CodeField(TextField):
    """A code of others as importers spell it; what is none stays as it is, for `strange` to name."""

    def __init__(self, most: int, spelt: Callable[[str], str], reason: str, **rest: Any) -> None:
        super().__init__(most, **rest)
        self.spelt, self.reason = spelt, reason

    def _deserialize(self, value: Any, attr: str | None, data: Any, **rest: Any) -> str:
        text = super()._deserialize(value, attr, data, **rest)
        return self.spelt(text) or text


def _whole_isbn(text: str) -> str:
    """Thirteen digits; typed by hand, no ISBN lost zeros to a spreadsheet."""
    return categories.isbn(text) if len(re.sub("[ -]", "", text)) in (10, 13) else ""


def _gtin(text: str) -> str:
    """The digits under a barcode, the last of which fits the others (GS1 General Specifications, 7.9)."""
    bare = re.sub("[ -]", "", text)
    if len(bare) not in (8, 12, 13, 14) or not (bare.isascii() and bare.isdecimal()):
        return ""
    total = sum(int(digit) * (3 if at % 2 else 1) for at, digit in enumerate(reversed(bare)))
    return "" if total % 10 or not total else bare


class TextsField(fields.Field[list[str]]):
    """Short texts, at most `most` of them."""

    def __init__(self, most: int, **rest: Any) -> None:
        super().__init__(**rest)
        self.most = most
        self.item = TextField(120)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **rest: Any) -> list[str]:
        if not isinstance(value, list):
            raise ValidationError("must be a list of texts")
        if len(value) > self.most:
            raise ValidationError(f"has more than {self.most} entries")
        return [text for text in (self.item.deserialize(item) for item in value) if text]


class _Named(Schema):
    """One that says in our words what is wrong with itself."""

    error_messages = {"type": _NO_OBJECT, "unknown": "is not known here"}  # noqa: RUF012


_LEAST = {"rating": 1, "birth_year": 1880}


_MADE: dict[Kind, Callable[[Field, dict[str, str]], fields.Field[Any]]] = {
    "text": lambda spec, title: TextField(spec.max, metadata=title),
    "longtext": lambda spec, title: TextField(spec.max, lines=True, metadata=title),
    "url": lambda spec, title: UrlField(spec.max, metadata=title),
    "date": lambda _, title: DateField(metadata=title),
    "money": lambda _, title: MoneyField(metadata=title),
    "integer": lambda spec, title: IntegerField(spec.max, least=_LEAST.get(spec.name, 0), metadata=title),
    "choice": lambda spec, title: ChoiceField(tuple(value for value, _ in spec.choices), metadata=title),
    "boolean": lambda _, title: FlagField(metadata=title),
    "list": lambda spec, title: TextsField(spec.max, metadata=title),
    "currency": lambda spec, title: CodeField(
        spec.max, values.parse_currency, "must be a currency of three letters such as EUR", metadata=title
    ),
    "isbn": lambda spec, title: CodeField(
        spec.max, _whole_isbn, "must be an ISBN of 10 or 13 digits, the last of which fits", metadata=title
    ),
    "gtin": lambda spec, title: CodeField(
        spec.max,
        _gtin,
        "must be a barcode number of 8, 12, 13 or 14 digits, the last of which fits",
        metadata=title,
    ),
}


def _field(spec: Field) -> fields.Field[Any]:
    return _MADE[spec.kind](spec, {"title": spec.label})


def _facet_schema(collection: str, facet: Facet) -> type[Schema]:
    name = f"{collection.title()}{facet.name.title()}"
    return _Named.from_dict({spec.name: _field(spec) for spec in facet.fields}, name=name)


@cache
def schema(collection: str) -> Schema:
    """The schema of a collection's documents; facets may be missing, unknown names are refused."""
    nested = {
        facet.name: fields.Nested(
            _facet_schema(collection, facet)(unknown=RAISE), metadata={"title": facet.label}
        )
        for facet in CATALOG_BY_NAME[collection].facets
    }
    return _Named.from_dict(nested, name=collection.title())(unknown=RAISE)  # type: ignore[arg-type]


@cache
def facet_schema(collection: str, facet: str) -> Schema:
    """The schema of one facet, as it leaves to a vendor."""
    return _facet_schema(collection, CATALOG_BY_NAME[collection].facet(facet))(unknown=EXCLUDE)


def clean(collection: str, facet: str, name: str, value: Any) -> Any:
    """One value as the schemas take it; ValidationError with the reason under the field's name."""
    try:
        return facet_schema(collection, facet).fields[name].deserialize(value, name, {})
    except ValidationError as error:
        raise errors.ValidationError(fields={name: [str(text) for text in error.messages]}) from None


def strange(
    collection: str,
    document: Mapping[str, Mapping[str, Any]],
    known: Mapping[str, Mapping[str, Any]] | None = None,
) -> dict[str, list[str]]:
    """Codes of a valid document that are none and do not stand in `known`; {"facet.field": [reason]}."""
    return {
        f"{facet}.{name}": [field.reason]
        for facet, name, field in _codes(collection)
        if (value := document.get(facet, {}).get(name))
        and not field.spelt(value)
        and value != (known or {}).get(facet, {}).get(name)
    }


@cache
def _codes(collection: str) -> tuple[tuple[str, str, CodeField], ...]:
    return tuple(
        (facet.name, name, field)
        for facet in CATALOG_BY_NAME[collection].facets
        for name, field in facet_schema(collection, facet.name).fields.items()
        if isinstance(field, CodeField)
    )


def _flatten(messages: Any, path: str = "") -> dict[str, list[str]]:
    if isinstance(messages, dict):
        if path and messages.get(SCHEMA) == [_NO_OBJECT]:  # where marshmallow puts what it says of all
            return {path: [_NO_OBJECT]}
        found: dict[str, list[str]] = {}
        for name, inner in messages.items():
            part = str(name)[:60]
            found.update(_flatten(inner, f"{path}.{part}" if path else part))
        return found
    return {path: [str(text) for text in messages]}


def _without_empty(values: Any) -> Any:
    if values is None:
        return {}
    if not isinstance(values, Mapping):
        return values  # the schema refuses it by name
    return {name: value for name, value in values.items() if value is not None and value != ""}


@cache
def _readers(collection: str) -> dict[str, dict[str, Callable[[Any, str, Any], Any]]]:
    """Facet → field → what judges and cleans a value that is there. No field has validators beside."""
    return {
        facet.name: {
            name: field._deserialize  # noqa: SLF001 - where marshmallow has a field's own work done
            for name, field in facet_schema(collection, facet.name).fields.items()
        }
        for facet in CATALOG_BY_NAME[collection].facets
    }


def _without_fault(collection: str, document: Mapping[str, Any]) -> Document | None:
    """What `validate` gives for a document without fault; None where it must say what is wrong.

    The fields of the schema judge, asked for what is there only: most of a record's fields are empty.
    """
    loaded: Document = {}
    known = _readers(collection)
    if not document.keys() <= known.keys():
        return None
    for facet, readers in known.items():
        values = document.get(facet)
        found = loaded[facet] = {}
        if values is None or values == {}:
            continue
        if not isinstance(values, dict) or not values.keys() <= readers.keys():
            return None
        for name, read in readers.items():
            value = values.get(name)
            if value is None or value == "":
                continue
            try:
                cleaned = read(value, name, values)
            except ValidationError:
                return None
            if cleaned not in ("", []):
                found[name] = cleaned
    return loaded


def validate(collection: str, document: Mapping[str, Any]) -> Document:
    """A clean document with every facet present and no empty value.

    Raises ValidationError with `fields` as {"facet.field": [reason]}.
    """
    loaded = _without_fault(collection, document)
    if loaded is not None:
        return loaded
    try:
        given = {facet: _without_empty(values) for facet, values in document.items()}
        whole: Document = schema(collection).load(given)
    except ValidationError as error:
        raise errors.ValidationError(fields=_flatten(error.messages)) from None
    return {
        facet.name: {
            name: value for name, value in whole.get(facet.name, {}).items() if value not in ("", [])
        }
        for facet in CATALOG_BY_NAME[collection].facets
    }
