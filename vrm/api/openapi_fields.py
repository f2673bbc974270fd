"""What the catalog's fields look like in the OpenAPI document: as they leave, and as vendors may send them.

Promises: what is described for sending is what the schemas take, but for three things that no pattern says:
days that are none, check digits, and characters that are not allowed in a text.
"""

from __future__ import annotations

from typing import Any

from vrm.vault import schemas

Node = dict[str, Any]
_MONEY = r"-?[0-9]{1,12}(\.[0-9]{1,4})?"
_SENT = {  # by kind: what the schemas bring into one spelling
    "money": rf"^\s*{_MONEY}\s*$",
    "currency": r"^\s*[A-Za-z]{3}\s*$",
    "isbn": r"^\s*([0-9][ -]*){9}([0-9Xx]|([0-9][ -]*){4})[ -]*$",
    "gtin": r"^\s*([0-9][ -]*){8}(([0-9][ -]*){4,6})?\s*$",
    "url": r"^\s*https?://[^\s/]",
}
_UNSAID: Node = {"enum": ["", None]}  # nothing is said of it, as if its name were not there


def field_shape(converter: object, field: Any, ret: Node) -> Node:  # noqa: ARG001 - apispec's signature
    """What one of our marshmallow fields looks like on the wire; empty for the rest."""
    match field:
        case schemas.UrlField():
            return {"type": "string", "format": "uri", "maxLength": field.most}
        case schemas.CodeField():
            return {"type": "string", "maxLength": field.most, "description": field.reason}
        case schemas.TextField():
            return {"type": "string", "maxLength": field.most}
        case schemas.DateField():
            return {"type": "string", "format": "date"}
        case schemas.MoneyField():
            return {"type": "string", "pattern": f"^{_MONEY}$"}
        case schemas.IntegerField():
            return {"type": "integer", "minimum": field.least, "maximum": field.most}
        case schemas.ChoiceField():
            return {"type": "string", "enum": list(field.values)}
        case schemas.FlagField():
            return {"type": "boolean"}
        case schemas.TextsField():
            return {"type": "array", "items": {"type": "string", "maxLength": 120}, "maxItems": field.most}
        case _:
            return {}


def sent_shape(kind: str, field: Any) -> Node:
    """What a vendor may send for such a field, of this kind of the catalog."""
    shape = field_shape(None, field, {})
    titled = {"title": field.metadata["title"]}
    if kind in _SENT:
        shape.pop("format", None)  # the pattern says it as the schemas do
        shape["pattern"] = _SENT[kind]
    choices = [shape, _UNSAID]
    if kind == "integer":
        digits = {"type": "string", "pattern": _up_to(field.most)}
        choices = [shape, digits, _UNSAID]
    return {**titled, "anyOf": choices}


def _up_to(most: int) -> str:
    """Texts of whole numbers from 0 to a power of ten, or less where `most` is none."""
    return rf"^\s*([0-9]{{1,{len(str(most)) - 1}}}|{most})\s*$"
