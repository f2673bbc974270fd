import pytest
from hypothesis import given
from hypothesis import strategies as st

from vrm.vault.catalog import PURCHASES
from vrm.vault.importers import categories
from vrm.vault.importers.categories import (
    TITLE_PAIRS,
    TITLE_WORDS,
    by_path,
    by_title,
    by_unspsc,
    derive,
    isbn,
    item_number,
    spellings,
)

ASCII = st.characters(codec="ascii")
PENGUIN = "0140449132"  # check digit 2
WITH_X = "026253892X"


@pytest.mark.parametrize(
    ("identifier", "thirteen"),
    [
        (PENGUIN, "9780140449136"),
        ("140449132", "9780140449136"),  # a spreadsheet ate the zero
        (WITH_X, "9780262538923"),
        ("26253892X", "9780262538923"),
        ("26253892x", "9780262538923"),
        ("0-14-044913-2", "9780140449136"),
        ("978-0-14-044913-6", "9780140449136"),
        ("0007119313", "9780007119318"),
        ("7119313", "9780007119318"),  # three zeros lost
    ],
)
def test_an_isbn_is_found_in_any_of_its_forms(identifier, thirteen):
    assert isbn(identifier) == thirteen


@pytest.mark.parametrize(
    "identifier",
    [
        "B012YT2F6Q",  # the seller's own number
        "B000000000",
        "0140449133",  # wrong check digit
        "9780140449137",
        "9790001138895",  # sheet music
        "0000000000",
        "000000000X",
        "119313",  # too short for three lost zeros
        "01404491320",
        "X140449132",
        "",
    ],
)
def test_what_is_no_isbn_is_none(identifier):
    assert isbn(identifier) == ""


@given(st.from_regex(r"B0[0-9A-Z]{8}", fullmatch=True))
def test_the_sellers_own_number_is_never_an_isbn(number):
    assert isbn(number) == ""
    assert item_number(number) == number


@given(st.from_regex(r"[0-9]{9}", fullmatch=True).filter(lambda nine: nine.strip("0")))
def test_lost_zeros_come_back(nine):
    total = sum(weight * int(digit) for weight, digit in zip(range(10, 1, -1), nine, strict=True))
    check = -total % 11
    ten = nine + ("X" if check == 10 else str(check))
    short = ten.lstrip("0")
    if len(short) >= 7:
        assert isbn(short) == isbn(ten) != ""
        assert item_number(short) == ten


@given(st.from_regex(r"[0-9]{9}", fullmatch=True).filter(lambda nine: nine.strip("0")))
def test_a_book_has_two_numbers_that_lead_to_each_other(nine):
    whole = next(one for digit in "0123456789" if (one := isbn(f"978{nine}{digit}")))
    short, same = spellings(whole)
    assert (same, isbn(short), spellings(short)) == (whole, whole, (short, whole))


def test_what_has_one_number_has_one_spelling():
    assert spellings("979-10-90636-07-1") == ("9791090636071",)
    assert spellings("B012YT2F6Q") == ("B012YT2F6Q",)
    assert spellings("a title") == ("a title",)


def test_every_table_leads_to_our_categories():
    known = set(categories.LABELS)
    for table in (
        categories.UNSPSC,
        categories.NAMED,
        categories.DEPARTMENT_WORDS,
        categories.TITLE_PAIRS,
        categories.TITLE_WORDS,
    ):
        assert set(table.values()) <= known


def test_ids_fit_the_catalog_and_are_unique():
    ids = [category for category, _ in categories.CATEGORIES]
    assert len(set(ids)) == len(ids)
    assert max(map(len, ids)) <= PURCHASES.facet("item").field("category").max


@pytest.mark.parametrize(
    ("path", "category"),
    [
        ("ABIS_BOOK", "books"),
        ("BLANK_BOOK", "office"),
        ("TOILET_PAPER", "cleaning"),
        ("Livres", "books"),
        ("Jeux et Jouets", "games"),
        ("Bébé & Puériculture", "baby"),
        ("Home & Kitchen", "home"),
        ("gl_book", "books"),
        ("GIFT_CARD", "gift-cards"),
        ("Chèques-cadeaux", ""),
        ("ZZZ_9", ""),
    ],
)
def test_the_exports_own_words_lead_to_ours(path, category):
    assert by_path(path) == category


@pytest.mark.parametrize(
    ("code", "category"),
    [
        ("55101500", "books"),
        ("60141102", "games"),
        ("60140000", "toys"),
        ("53131500", "beauty"),
        ("9", ""),
        ("99", ""),
    ],
)
def test_the_longest_known_beginning_of_a_code_counts(code, category):
    assert by_unspsc(code) == category


def test_a_title_is_the_last_resort():
    assert by_title("The Long Road: A Novel") == "books"
    assert by_title("Stanley Vacuum Insulated Bottle") == "kitchen"
    assert by_title("Gizmo 3000") == ""


@given(st.text(ASCII), st.sampled_from(["", *TITLE_PAIRS, *TITLE_WORDS]), st.text(ASCII))
def test_a_title_of_ascii_is_read_like_any_other(before, telling, after):
    title = f"{before} {telling.title()}{after}"
    assert by_title(title) == by_title(title + " \u00e9")


def test_basis_says_whose_word_it_is():
    assert derive("x", path="ABIS_BOOK") == ("books", "said")
    assert derive("x", book=True) == ("books", "guessed")
    assert derive("x", book=True, unspsc="55101500") == ("books", "said")
    assert derive("x", book=True, unspsc="60120000") == ("books", "guessed")
    assert derive("x", unspsc="50000000") == ("groceries", "said")
    assert derive("Wool socks") == ("clothing", "guessed")
    assert derive("Gizmo 3000") == ("other", "guessed")
    # the export's category beats its often coarser code
    assert derive("Oats", path="BREAKFAST_CEREAL", unspsc="52161500") == ("groceries", "said")
