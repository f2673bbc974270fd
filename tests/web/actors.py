"""A customer with a browser that has no JavaScript: pages are parsed, forms are filled in and sent."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any

from flask.testing import FlaskClient
from werkzeug.test import TestResponse

PASSPHRASE = "four unconnected words here"
Pairs = list[tuple[str, str]]


@dataclass
class Form:
    """A form as it stands on a page; `fields` is what would be sent as it is."""

    action: str
    method: str
    id: str = ""
    enctype: str = ""
    fields: Pairs = field(default_factory=list)
    offered: list[tuple[str, str, str]] = field(
        default_factory=list
    )  # (type, name, value) of boxes and radios
    buttons: Pairs = field(default_factory=list)

    def names(self) -> set[str]:
        return {name for name, _ in self.fields} | {name for _, name, _ in self.offered}

    def value(self, name: str) -> str:
        return dict(self.fields)[name]

    def values(self, name: str) -> list[str]:
        return [value for known, value in self.fields if known == name]

    def offers(self, name: str) -> list[str]:
        return [value for _, known, value in self.offered if known == name]


class _Parser(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.forms: list[Form] = []
        self.text: list[str] = []
        self.tags: list[tuple[str, dict[str, str]]] = []
        self._form: Form | None = None
        self._select = self._textarea = ""
        self._chosen: str | None = None
        self._first: str | None = None
        self._typed: list[str] = []
        self._elsewhere: list[tuple[str, str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.tags.append((tag, given))
        if tag == "form":
            self._form = Form(
                given.get("action", ""),
                given.get("method", "get"),
                given.get("id", ""),
                given.get("enctype", ""),
            )
            self.forms.append(self._form)
        elif tag == "button" and "form" in given:
            self._elsewhere.append((given["form"], given.get("name", ""), given.get("value", "")))
        elif self._form is not None:
            self._control(self._form, tag, given)

    def _control(self, form: Form, tag: str, given: dict[str, str]) -> None:
        name, value = given.get("name", ""), given.get("value", "")
        if tag == "button":
            form.buttons.append((name, value))
        elif tag == "select":
            self._select, self._chosen, self._first = name, None, None
        elif tag == "option" and self._select:
            self._first = value if self._first is None else self._first
            form.offered.append(("option", self._select, value))
            if "selected" in given:
                self._chosen = value
        elif tag == "textarea":
            self._textarea, self._typed = name, []
        elif tag == "input" and given.get("type") in {"checkbox", "radio"}:
            form.offered.append((given["type"], name, value))
            if "checked" in given:
                form.fields.append((name, value))
        elif tag == "input" and name and given.get("type") != "file":
            form.fields.append((name, value))

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._form = None
        elif self._form is not None and tag == "select":
            chosen = self._first if self._chosen is None else self._chosen
            self._form.fields.append((self._select, chosen or ""))
            self._select = ""
        elif self._form is not None and tag == "textarea":
            self._form.fields.append((self._textarea, "".join(self._typed).removeprefix("\n")))
            self._textarea = ""

    def handle_data(self, data: str) -> None:
        if self._textarea:
            self._typed.append(data)
        self.text.append(data)

    def close(self) -> None:
        super().close()
        for form in self.forms:
            form.buttons += [
                (name, value) for at, name, value in self._elsewhere if at == form.id and form.id
            ]


class Page:
    """One answer, parsed."""

    def __init__(self, response: TestResponse, path: str) -> None:
        self.response = response
        self.path = path
        self.status = response.status_code
        self.html = response.get_data(as_text=True)
        parser = _Parser()
        parser.feed(self.html)
        parser.close()
        self.forms = parser.forms
        self.tags = parser.tags
        self.text = " ".join(" ".join(parser.text).split())

    def form(self, ending: str) -> Form:
        """The first form whose action ends so (the page itself for "")."""
        for found in self.forms:
            if found.action.endswith(ending):
                return found
        raise AssertionError(f"no form to …{ending} on {self.path}: {[form.action for form in self.forms]}")

    def links(self) -> list[str]:
        return [given["href"] for tag, given in self.tags if tag == "a" and "href" in given]

    @property
    def location(self) -> str:
        return self.response.headers.get("Location", "")


class Customer:
    """Opens pages and presses buttons; follows redirects inside the vault only."""

    def __init__(self, client: FlaskClient) -> None:
        self.client = client
        self.recovery_code = ""

    def get(self, path: str, **rest: Any) -> Page:
        return self._follow(Page(self.client.get(path, **rest), path))

    def post(self, path: str, fields: Iterable[tuple[str, str]] | dict[str, Any], **rest: Any) -> Page:
        """A raw POST, for what no browser would send."""
        return Page(self.client.post(path, data=_multi(fields), **rest), path)

    def submit(
        self,
        form: Form,
        button: tuple[str, str] | None = None,
        tick: Iterable[tuple[str, str]] = (),
        untick: Iterable[tuple[str, str]] = (),
        follow: bool = True,
        **values: str,
    ) -> Page:
        """Send a form as a browser would, with these values typed and boxes ticked."""
        left = set(untick)
        radios = {name for kind, name, _ in form.offered if kind == "radio"}
        ticked = list(tick)
        chosen = {name for name, _ in ticked if name in radios}
        fields = [pair for pair in form.fields if pair not in left and pair[0] not in chosen]
        fields = [(name, values.pop(name, value)) for name, value in fields]
        fields += [*values.items(), *ticked, *([button] if button else [])]
        extra = {"content_type": "multipart/form-data"} if form.enctype else {}
        page = self.post(form.action, fields, **extra)
        return self._follow(page) if follow else page

    def create(self, name: str = "alice", passphrase: str = PASSPHRASE) -> Page:
        """A vault with its recovery code confirmed."""
        form = self.get("/create").form("/create")
        page = self.submit(form, username=name, passphrase=passphrase, again=passphrase)
        self.recovery_code = shown_code(page)
        return self.submit(page.form("/recovery-code"), code=self.recovery_code)

    def log_in(self, name: str = "alice", passphrase: str = PASSPHRASE) -> Page:
        return self.submit(self.get("/login").form("/login"), username=name, passphrase=passphrase)

    def _follow(self, page: Page) -> Page:
        turns = 0
        while page.status in {302, 303} and page.location.startswith("/"):
            turns += 1
            assert turns < 6, f"redirects without end at {page.location}"
            page = Page(self.client.get(page.location), page.location)
        return page


def shown_code(page: Page) -> str:
    """The recovery code on a page."""
    html = page.html.partition('id="recovery-code">')[2].partition("</p>")[0]
    parser = _Parser()
    parser.feed(html)
    return "".join("".join(parser.text).split())


def _multi(fields: Iterable[tuple[str, str]] | dict[str, Any]) -> dict[str, Any]:
    if isinstance(fields, dict):
        return fields
    made: dict[str, Any] = {}
    for name, value in fields:
        made.setdefault(name, []).append(value)
    return made
