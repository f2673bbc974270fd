"""Purchases: find them, page through them.

A search is posted, so that what somebody looks for stands in no address, history or log; the list that it
finds has an address of its own (`vrm.web.searches`), to which the browser's Back leads.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from dataclasses import astuple, dataclass, fields
from typing import Any, Final

from flask import redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from vrm.posted import whole_number
from vrm.vault.catalog import collection
from vrm.web import forms, searches
from vrm.web.desk import readable, web
from vrm.web.pages.records import PAGE_DIGITS

PAGE: Final = 50  # purchases on a page
MENU_MOST: Final = 60  # choices in a filter's menu
UNSORTED: Final = "unsorted"
_MARKS: Final = re.compile("[\u0300-\u036f\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]+")  # accents
# Fields that hold what no page shows: of choices a code, of boxes whether they are ticked.
_CODES: Final = {
    facet.name: frozenset(field.name for field in facet.fields if field.kind in {"choice", "boolean"})
    for facet in collection("purchases").facets
}
LISTED: Final = ("item", "order", "context")  # facets of the list and its menus; words may stand in any


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the search form asks for; empty means all."""

    words: str = ""
    category: str = ""
    for_whom: str = ""
    seller: str = ""
    year: str = ""

    @property
    def anything(self) -> bool:
        """Whether this narrows the list at all."""
        return any((self.words, self.category, self.for_whom, self.seller, self.year))

    def fits(self, document: dict[str, Any]) -> bool:
        """Whether a purchase is wanted."""
        item, order = document["item"], document["order"]
        if self.category and item.get("category", "-") != self.category:
            return False
        if self.for_whom and document["context"].get("for", UNSORTED) != self.for_whom:
            return False
        if self.seller and order.get("seller") != self.seller:
            return False
        if self.year and not order.get("ordered", "").startswith(self.year):
            return False
        return not self.words or self._says_all_words(document)

    def _says_all_words(self, document: dict[str, Any]) -> bool:
        texts = [
            str(value)
            for facet, values in document.items()
            for name, value in values.items()
            if name not in _CODES[facet]
        ]
        haystack = "\n".join(texts)
        haystack = haystack.lower() if haystack.isascii() else "\n".join(map(folded, texts))
        return all(word in haystack for word in folded(self.words).split())


def folded(text: str) -> str:
    """The text as searches compare it: without capitals, accents and compatible forms of letters."""
    if text.isascii():  # as most are: the rest costs more
        return text.lower()
    return _MARKS.sub("", unicodedata.normalize("NFKD", text.casefold())).casefold()


@dataclass(slots=True)
class Menus:
    """What the filters offer: only what there is."""

    categories: Counter[str]
    sellers: Counter[str]
    years: Counter[str]
    unsorted: int = 0

    def add(self, document: dict[str, Any]) -> None:
        """Count one purchase in."""
        self.categories[document["item"].get("category", "-")] += 1
        if seller := document["order"].get("seller"):
            self.sellers[seller] += 1
        if ordered := document["order"].get("ordered"):
            self.years[ordered[:4]] += 1
        if "for" not in document["context"]:
            self.unsorted += 1


@web.get("/things")
def things() -> str:
    """The purchases, newest first; of a search, those that are wanted."""
    name = request.args.get("search", "")
    wanted = Wanted(*searches.find(name))
    return _listed(wanted, request.args.get("page", ""), name if wanted.anything else "")


@web.post("/things")
def search() -> Response | str:
    """Keep what is wanted, and go to the list of it."""
    wanted = Wanted(*(forms.one_line(request.form.get(field.name, "")) for field in fields(Wanted)))
    page = request.form.get("page", "")
    name = searches.keep(astuple(wanted)) if wanted.anything else ""
    if wanted.anything and not name:
        return _listed(wanted, page)
    at = whole_number(page, PAGE_DIGITS)
    return redirect(url_for("web.things", search=name or None, page=at), 303)


def _listed(wanted: Wanted, at: str, name: str = "") -> str:
    menus = Menus(Counter(), Counter(), Counter())
    found, total = [], 0
    for record, document in readable("purchases", () if wanted.words else LISTED):
        total += 1
        menus.add(document)
        if wanted.fits(document):
            found.append((document["order"].get("ordered", ""), record, document))
    found.sort(key=lambda entry: (entry[0], entry[1]), reverse=True)
    page = page_number(at, len(found), PAGE)
    return render_template(
        "things.html",
        rows=found[(page - 1) * PAGE : page * PAGE],
        found=len(found),
        total=total,
        page=page,
        pages=max(1, -(-len(found) // PAGE)),
        wanted=wanted,
        menus=menus,
        most=MENU_MOST,
        here_again={"search": name or None, "page": page if page > 1 else None},
    )


def page_number(text: str, count: int, size: int) -> int:
    """A page that exists, whatever was asked for."""
    last = max(1, -(-count // size))
    return min(max(1, whole_number(text, PAGE_DIGITS) or 1), last)
