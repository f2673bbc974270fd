"""A browser without a window: cookies, redirects, forms. What the demo's people click with."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from email.message import Message
from html.parser import HTMLParser
from http.cookiejar import CookieJar
from urllib.error import HTTPError
from urllib.parse import urlencode, urljoin
from urllib.request import HTTPCookieProcessor, HTTPRedirectHandler, Request, build_opener

TIMEOUT = 60  # seconds
Pairs = list[tuple[str, str]]


@dataclass
class Form:
    """A form as it stands on the page: where it goes and what is filled in."""

    action: str
    method: str
    fields: Pairs = field(default_factory=list)
    buttons: list[tuple[str, str, str]] = field(default_factory=list)  # name, value, text

    def value(self, name: str) -> str:
        """The first value filled in under that name, or an empty string."""
        return next((value for key, value in self.fields if key == name), "")

    def button_text(self, name: str, value: str) -> str:
        """What a button says; LookupError where there is none."""
        for key, own, text in self.buttons:
            if (key, own) == (name, value):
                return " ".join(text.split())
        raise LookupError(f"no button {name}={value}")


class _Forms(HTMLParser):
    """Collects forms the way a browser would submit them."""

    def __init__(self) -> None:
        super().__init__()
        self.forms: list[Form] = []
        self._by_id: dict[str, Form] = {}
        self._open: Form | None = None
        self._button: tuple[str, str] | None = None
        self._text = ""
        self._select = ""
        self._area = ""

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attributes}
        if tag == "form":
            self._open = Form(values.get("action", ""), values.get("method", "get").lower())
            self.forms.append(self._open)
            if "id" in values:
                self._by_id[values["id"]] = self._open
        form = self._by_id.get(values["form"]) if "form" in values else self._open
        if form is None:
            return
        name, value = values.get("name", ""), values.get("value", "")
        if tag == "input" and values.get("type", "text") not in ("checkbox", "radio", "submit", "file"):
            form.fields.append((name, value))
        elif tag == "input" and values.get("type") in ("checkbox", "radio") and "checked" in values:
            form.fields.append((name, values.get("value", "on")))
        elif tag == "select":
            self._select = name
        elif tag == "option" and self._select and "selected" in values:
            form.fields.append((self._select, value))
        elif tag in ("button", "textarea"):
            self._button = (name, value) if tag == "button" else None
            self._area = name if tag == "textarea" else ""
            self._text = ""

    def handle_data(self, data: str) -> None:
        self._text += data

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._open = None
        elif tag == "select":
            self._select = ""
        elif tag == "button" and self._button and self._open:
            self._open.buttons.append((*self._button, self._text))
        elif tag == "textarea" and self._area and self._open:
            self._open.fields.append((self._area, self._text.removeprefix("\n")))
            self._area = ""


@dataclass(frozen=True)
class Page:
    """An answer: status, where it came from, text."""

    status: int
    url: str
    text: str
    headers: Message

    @property
    def forms(self) -> list[Form]:
        """Every form on the page."""
        parser = _Forms()
        parser.feed(self.text)
        return parser.forms

    def form(self, *, action: str = "", field: str = "") -> Form:
        """The first form whose action ends so and that has such a field; LookupError."""
        for form in self.forms:
            names = {name for name, _ in form.fields} | {name for name, _, _ in form.buttons}
            if form.action.endswith(action) and (not field or field in names):
                return form
        raise LookupError(f"no form {action} {field} on {self.url.partition('?')[0]} ({self.status})")


class _Stay(HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:  # the story follows by itself, to see every answer
        return None


class Browser:
    """One person's browser."""

    def __init__(self) -> None:
        self.cookies = CookieJar()
        self._opener = build_opener(HTTPCookieProcessor(self.cookies), _Stay())

    def get(self, url: str, *, follow: bool = True) -> Page:
        """Open an address."""
        return self._send(Request(url), follow)

    def post(self, url: str, fields: Pairs, *, follow: bool = True) -> Page:
        """Send a form."""
        return self._send(Request(url, urlencode(fields).encode(), _same_origin(url)), follow)

    def submit(self, page: Page, form: Form, changes: Pairs = (), *, follow: bool = True) -> Page:  # type: ignore[assignment]
        """Fill in a form of a page (a change replaces all values of its name) and send it."""
        changed = {name for name, _ in changes}
        fields = [(name, value) for name, value in form.fields if name and name not in changed] + list(
            changes
        )
        return self.post(urljoin(page.url, form.action or page.url), fields, follow=follow)

    def upload(self, page: Page, form: Form, files: list[tuple[str, bytes]]) -> Page:
        """Send a form with files under the name `files`."""
        boundary = secrets.token_hex(16)
        chunks = [
            f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
            for name, value in form.fields
        ]
        for name, content in files:
            head = f'--{boundary}\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n'
            chunks += [head.encode(), b"Content-Type: application/octet-stream\r\n\r\n", content, b"\r\n"]
        chunks.append(f"--{boundary}--\r\n".encode())
        url = urljoin(page.url, form.action)
        headers = {"Content-Type": f"multipart/form-data; boundary={boundary}", **_same_origin(url)}
        return self._send(Request(url, b"".join(chunks), headers), True)

    def _send(self, request: Request, follow: bool) -> Page:
        for _ in range(10):
            try:
                answer = self._opener.open(request, timeout=TIMEOUT)
            except HTTPError as error:
                answer = error
            with answer:
                page = Page(
                    answer.status or 0,
                    request.full_url,
                    answer.read().decode("utf-8", "replace"),
                    answer.headers,
                )
            location = page.headers.get("Location")
            if not follow or page.status not in (301, 302, 303, 307, 308) or not location:
                return page
            request = Request(urljoin(page.url, location))
        raise RuntimeError("too many redirects")


def _same_origin(url: str) -> dict[str, str]:
    scheme, _, rest = url.partition("://")
    return {"Origin": f"{scheme}://{rest.partition('/')[0]}"}
