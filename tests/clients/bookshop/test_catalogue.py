"""The shelves hold real titles under numbers that are nobody's."""

import pytest

from bookshop.catalogue import check_digit_10, isbn10, isbn13, load


@pytest.fixture(scope="module")
def catalogue():
    return load()


def test_there_are_some_three_hundred_books_each_with_themes(catalogue):
    assert 300 <= len(catalogue) <= 400
    assert all(2 <= len(book.themes) <= 5 for book in catalogue)
    assert all(book.title and book.author and 1800 < book.year < 2026 for book in catalogue)


def test_numbers_and_titles_stand_for_one_book_each(catalogue):
    for attribute in ("sku", "isbn13", "title"):
        assert len({getattr(book, attribute) for book in catalogue}) == len(catalogue)


def test_every_isbn_is_valid_and_in_the_range_of_nobody(catalogue):
    for book in catalogue:
        assert isbn13(book.isbn13) == book.isbn13
        assert book.isbn13.startswith("97869")


def test_a_book_is_found_by_either_length_of_its_number(catalogue):
    for book in catalogue:
        assert catalogue.by_isbn(book.isbn13) is book
        assert catalogue.by_isbn(isbn10(book.isbn13)) is book


@pytest.mark.parametrize(
    ("written", "number"),
    [
        ("0-306-40615-2", "9780306406157"),
        ("978-0-306-40615-7", "9780306406157"),
        ("080442957x", "9780804429573"),
        ("0306406153", None),
        ("9780306406158", None),
        ("B0DEMO0001", None),
        ("", None),
        ("٠٣٠٦٤٠٦١٥٢", None),
    ],
)
def test_isbns_are_told_from_other_numbers(written, number):
    assert isbn13(written) == number


def test_the_check_digit_of_ten_may_be_a_letter():
    assert check_digit_10("080442957") == "X"


def test_every_book_stands_on_one_shelf(catalogue):
    shelved = [book.sku for books in catalogue.shelves().values() for book in books]
    assert sorted(shelved) == sorted(book.sku for book in catalogue)
