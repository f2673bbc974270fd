"""Purchases: find them, page through them.

A search is posted, so that what somebody looks for stands in no address, history or log.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any, Final

from flask import render_template, request

from vrm.web import forms
from vrm.web.desk import readable, web

PAGE: Final = 50  # purchases on a page
MENU_MOST: Final = 60  # choices in a filter's menu
UNSORTED: Final = "unsorted"
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
        texts = [str(value) for facet in document.values() for value in facet.values()]
        haystack = "\n".join(texts).casefold()
        return all(word in haystack for word in self.words.casefold().split())


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


@web.route("/things", methods=["GET", "POST"])
def things() -> str:
    """The purchases, newest first; posted: those that are wanted."""
    posted = request.form if request.method == "POST" else {}
    wanted = Wanted(
        words=forms.one_line(posted.get("words", "")),
        category=forms.one_line(posted.get("category", "")),
        for_whom=forms.one_line(posted.get("for_whom", "")),
        seller=forms.one_line(posted.get("seller", "")),
        year=forms.one_line(posted.get("year", "")),
    )
    menus = Menus(Counter(), Counter(), Counter())
    found, total = [], 0
    for record, document in readable("purchases", () if wanted.words else LISTED):
        total += 1
        menus.add(document)
        if wanted.fits(document):
            found.append((document["order"].get("ordered", ""), record, document))
    found.sort(key=lambda entry: (entry[0], entry[1]), reverse=True)
    page = page_number(posted.get("page") or request.args.get("page", ""), len(found), PAGE)
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
    )


def page_number(text: str, count: int, size: int) -> int:
    """A page that exists, whatever was asked for."""
    last = max(1, -(-count // size))
    return min(max(1, int(text)), last) if text.isdecimal() and len(text) < 8 else 1
