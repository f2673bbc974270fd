"""Books like those somebody bought: content-based, deterministic, and able to say why.

Two books are alike when they share themes; a rare theme says more than a common one, and the same
author adds to it. What was bought lately counts more; a rating, where there is one, lifts or silences
its book. A recommendation names the one book from which most of it stems.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date

from bookshop.catalogue import Book, Catalogue

HALF_LIFE = 730  # days after which a purchase counts half
UNDATED = 0.5  # the weight of a purchase without a date
SAME_AUTHOR = 0.25  # beside themes, which give 1 at most
PER_SOURCE, PER_AUTHOR, PER_SHELF = (
    2,
    2,
    3,
)  # of one list: stemming from one book, by one author, on one shelf
RATING = {1: 0.0, 2: 0.0, 3: 0.6, 4: 1.0, 5: 1.3}


@dataclass(frozen=True, slots=True)
class Owned:
    """A book somebody has."""

    book: Book
    bought: date | None = None
    rating: int | None = None


@dataclass(frozen=True, slots=True)
class Recommendation:
    """A book, and the owned one it stems from."""

    book: Book
    because: Book
    score: float
    shared: tuple[str, ...]  # themes the two have in common


class Recommender:
    """Knows a catalogue; keeps nothing about anybody."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        counts = Counter(theme for book in catalogue for theme in book.themes)
        self._worth = {theme: math.log(len(catalogue) / count) for theme, count in counts.items()}

    def recommend(
        self, owned: Iterable[Owned], *, today: date, count: int = 10, leave_out: Iterable[Book] = ()
    ) -> list[Recommendation]:
        """The best `count` books that are not owned, varied: few from one source, author or shelf.

        `leave_out` are never offered, and say nothing about taste.
        """
        shelf = list(owned)
        have = {entry.book.sku for entry in shelf} | {book.sku for book in leave_out}
        weighed = [(entry.book, _weight(entry, today)) for entry in shelf]
        candidates = [self._judge(book, weighed) for book in self._catalogue if book.sku not in have]
        found = [candidate for candidate in candidates if candidate is not None]
        found.sort(key=lambda candidate: (-candidate.score, candidate.book.sku))
        return _varied(found, count)

    def likeness(self, one: Book, other: Book) -> float:
        """0 for nothing in common, 1 for the same themes, a little more for the same author."""
        common = self._worth_of(set(one.themes) & set(other.themes))
        everything = self._worth_of(set(one.themes) | set(other.themes))
        themes = common / everything if everything else 0.0
        return themes + (SAME_AUTHOR if one.author == other.author else 0.0)

    def _worth_of(self, themes: set[str]) -> float:
        # Sorted, because sums of floats depend on their order and sets have none.
        return math.fsum(self._worth[theme] for theme in sorted(themes))

    def _judge(self, book: Book, weighed: Sequence[tuple[Book, float]]) -> Recommendation | None:
        """The strongest source counts in full, each further one a quarter of the one before."""
        sources = sorted(
            ((self.likeness(book, source) * weight, source) for source, weight in weighed),
            key=lambda pair: (-pair[0], pair[1].sku),
        )[:5]
        if not sources or sources[0][0] <= 0:
            return None
        score = math.fsum(value / 4**rank for rank, (value, _) in enumerate(sources))
        because = sources[0][1]
        shared = tuple(theme for theme in book.themes if theme in because.themes)
        return Recommendation(book, because, score, shared)


def _weight(entry: Owned, today: date) -> float:
    # Without a date nothing says that it is old, nor that it is new.
    recency = UNDATED if entry.bought is None else 0.5 ** (max((today - entry.bought).days, 0) / HALF_LIFE)
    return recency * (1.0 if entry.rating is None else RATING[entry.rating])


def _varied(ranked: Iterable[Recommendation], count: int) -> list[Recommendation]:
    """The best, while no source, author or shelf has had its share."""
    used: Counter[tuple[str, str]] = Counter()
    chosen: list[Recommendation] = []
    for candidate in ranked:
        if len(chosen) == count:
            break
        shares = {
            ("source", candidate.because.sku): PER_SOURCE,
            ("author", candidate.book.author): PER_AUTHOR,
            ("shelf", candidate.book.shelf): PER_SHELF,
        }
        if all(used[share] < most for share, most in shares.items()):
            used.update(shares.keys())
            chosen.append(candidate)
    return chosen
