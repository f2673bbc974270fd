"""Every page that a customer can reach by links, parsed so that text knows what it stands in."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from html.parser import HTMLParser

from tests.web.actors import Customer, Page

PAGES_MOST = 120
VOID = {"base", "br", "circle", "hr", "img", "input", "link", "meta", "path"}


@dataclass
class Texts(HTMLParser):
    """Each text with the elements around it, and every tag with its attributes."""

    found: list[tuple[tuple[str, ...], str]] = field(default_factory=list)
    tags: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    open: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        while tag in self.open and self.open.pop() != tag:
            continue

    def handle_data(self, data: str) -> None:
        self.found.append((tuple(self.open), data))


def texts(page: Page) -> Texts:
    read = Texts()
    read.feed(page.html)
    read.close()
    return read


def crawl(customer: Customer, *starts: str) -> dict[str, Page]:
    """Path → page, from these on, by every link that stays inside."""
    seen: dict[str, Page] = {}
    ahead = deque(starts)
    while ahead and len(seen) < PAGES_MOST:
        path = ahead.popleft()
        if path in seen or not path.startswith("/") or path.startswith("/assets"):
            continue
        seen[path] = page = customer.get(path)
        ahead += [link.partition("#")[0] for link in page.links()]
    return seen
