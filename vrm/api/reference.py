"""`/docs`: the OpenAPI document as a page for people, rendered here and from nothing else.

Promises: no script, nothing fetched from elsewhere; what the page says is what the document says.
"""

from __future__ import annotations

from typing import Any

from markupsafe import Markup, escape

from vrm.api.problems import explanations

Node = dict[str, Any]
_JOIN = Markup("")


def page_body(document: Node) -> Markup:
    """The whole reference as escaped markup."""
    operations = [
        _operation(method, path, found)
        for path, methods in document["paths"].items()
        for method, found in methods.items()
    ]
    shapes = [_shape(name, found) for name, found in document["components"]["schemas"].items()]
    return _JOIN.join(
        [
            Markup(
                '<p>{} The same as a document for programs: <a href="/openapi.json">openapi.json</a>.</p>'
            ).format(document["info"]["description"]),
            Markup("<h2>Addresses</h2>"),
            *operations,
            Markup("<h2>Scopes</h2>"),
            _scopes(document),
            Markup("<h2>Shapes</h2>"),
            *shapes,
            Markup("<h2>Problems</h2>"),
            _problems(),
        ]
    )


def _table(head: tuple[str, ...], rows: list[tuple[object, ...]]) -> Markup:
    def line(tag: str, cells: tuple[object, ...]) -> Markup:
        made = (Markup("<{0}>{1}</{0}>").format(Markup(tag), escape(cell)) for cell in cells)  # noqa: S704
        return Markup("<tr>{}</tr>").format(_JOIN.join(made))

    return Markup("<table>{}{}</table>").format(line("th", head), _JOIN.join(line("td", row) for row in rows))


def _code(text: object) -> Markup:
    return Markup("<code>{}</code>").format(text)


def _operation(method: str, path: str, found: Node) -> Markup:
    parts = [
        Markup("<h3>{} — {}</h3>").format(_code(f"{method.upper()} {path}"), found["summary"]),
    ]
    needs = sorted({scope for option in found.get("security", []) for scope in option.get("grant", [])})
    if needs:
        parts.append(Markup("<p>Any of: {}</p>").format(Markup(", ").join(_code(name) for name in needs)))
    if parameters := found.get("parameters"):
        rows = [(_code(item["name"]), item["in"], item["description"]) for item in parameters]
        parts.append(_table(("parameter", "in", "meaning"), [tuple(row) for row in rows]))
    answers = [
        (code, answer.get("description") or answer["$ref"].rpartition("/")[2])
        for code, answer in sorted(found["responses"].items())
    ]
    parts.append(_table(("answer", "meaning"), list(answers)))
    return _JOIN.join(parts)


def _scopes(document: Node) -> Markup:
    flow = document["components"]["securitySchemes"]["grant"]["flows"]["authorizationCode"]
    return _table(("scope", "opens"), [(_code(name), text) for name, text in flow["scopes"].items()])


def _shape(name: str, found: Node) -> Markup:
    rows: list[tuple[object, ...]] = [
        (_code(field), _kind(shape), shape.get("title") or shape.get("description", ""))
        for field, shape in found.get("properties", {}).items()
    ]
    return Markup("<h3>{}</h3>").format(name) + _table(("field", "kind", "meaning"), rows)


def _kind(shape: Node) -> str:
    if "$ref" in shape:
        return str(shape["$ref"].rpartition("/")[2])
    if "enum" in shape:
        return " | ".join(map(str, shape["enum"]))
    kind = shape.get("type", "any")
    named = " or ".join(kind) if isinstance(kind, list) else str(kind)
    return f"{named} ({shape['format']})" if "format" in shape else named


def _problems() -> Markup:
    rows = [
        (Markup('<a href="/problems/{0}"><code>{0}</code></a>').format(slug), status, meaning)
        for slug, (status, _, meaning) in sorted(explanations().items())
    ]
    return _table(("slug", "status", "meaning"), list(rows))
