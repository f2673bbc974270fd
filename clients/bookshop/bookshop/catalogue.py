"""What the shop sells: about 350 well-known books with their themes.

Titles, authors and years are real. The ISBNs are **demo numbers** with valid check digits in 978-69, a
range that the International ISBN Agency has not assigned to anybody, so that none of them is a real
edition's.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files


@dataclass(frozen=True, slots=True)
class Book:
    """One title on the shelves."""

    sku: str
    isbn13: str
    title: str
    author: str
    year: int
    themes: tuple[str, ...]

    @property
    def shelf(self) -> str:
        """The theme under which it stands."""
        return self.themes[0]


class Catalogue:
    """All books, found by number or by what another shop calls them."""

    def __init__(self, books: Sequence[Book]) -> None:
        self._books = tuple(books)
        self._by_sku = {book.sku: book for book in books}
        self._by_isbn = {book.isbn13: book for book in books}

    def __iter__(self) -> Iterator[Book]:
        return iter(self._books)

    def __len__(self) -> int:
        return len(self._books)

    def get(self, sku: str) -> Book | None:
        """The book with the shop's own number."""
        return self._by_sku.get(sku)

    def by_isbn(self, number: str) -> Book | None:
        """The book with this ISBN, in either length, with or without hyphens; None for anything else."""
        return self._by_isbn.get(isbn13(number) or "")

    def shelves(self) -> dict[str, list[Book]]:
        """Shelf → its books, fullest first; what fits no shelf of three stands on the last one."""
        shelves: dict[str, list[Book]] = {}
        for book in self._books:
            shelves.setdefault(book.shelf, []).append(book)
        full = {name: books for name, books in shelves.items() if len(books) > 2}
        rest = [book for name, books in shelves.items() if name not in full for book in books]
        ordered = dict(sorted(full.items(), key=lambda shelf: -len(shelf[1])))
        return {**ordered, "and more": rest} if rest else ordered


def isbn13(number: str) -> str | None:
    """The 13-digit form of an ISBN, or None when it is none (wrong length, check digit, a product code)."""
    compact = number.replace("-", "").replace(" ", "").upper()
    if not compact.isascii():
        return None
    if len(compact) == 13 and compact.isdigit():
        return compact if compact == _with_check_digit(compact[:12]) else None
    if len(compact) == 10 and compact[:9].isdigit() and compact[9] == check_digit_10(compact[:9]):
        return _with_check_digit("978" + compact[:9])
    return None


def check_digit_10(core: str) -> str:
    """The last sign of an ISBN-10 from its first nine digits."""
    rest = -sum(int(digit) * weight for digit, weight in zip(core, range(10, 1, -1), strict=True)) % 11
    return "X" if rest == 10 else str(rest)


def isbn10(number13: str) -> str:
    """The 10-digit form of a 978 ISBN."""
    return number13[3:12] + check_digit_10(number13[3:12])


def _with_check_digit(core: str) -> str:
    total = sum(int(digit) * (3 if place % 2 else 1) for place, digit in enumerate(core))
    return core + str(-total % 10)


def load() -> Catalogue:
    """The shipped catalogue."""
    text = files("bookshop").joinpath("books.csv").read_text(encoding="utf-8")
    return Catalogue(
        [
            Book(
                sku=row["sku"],
                isbn13=row["isbn13"],
                title=row["title"],
                author=row["author"],
                year=int(row["year"]),
                themes=tuple(row["themes"].split("; ")),
            )
            for row in csv.DictReader(text.splitlines())
        ]
    )
