"""Recommendations are explainable, varied and the same every time."""

from collections import Counter
from datetime import date, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bookshop.catalogue import load
from bookshop.recommender import Owned, Recommender

TODAY = date(2026, 11, 21)
CATALOGUE = load()
RECOMMENDER = Recommender(CATALOGUE)
BOOKS = {book.title: book for book in CATALOGUE}


def own(title, days=10, rating=None):
    return Owned(BOOKS[title], TODAY - timedelta(days=days), rating)


def titles(found):
    return [one.book.title for one in found]


def test_one_book_leads_to_books_like_it():
    found = RECOMMENDER.recommend([own("A Wizard of Earthsea")], today=TODAY)
    assert {"The Tombs of Atuan", "The Farthest Shore", "Tehanu"} & set(titles(found))
    assert {one.because.title for one in found} == {"A Wizard of Earthsea"}
    assert all(set(one.shared) <= set(one.book.themes) & set(one.because.themes) for one in found)


def test_nothing_owned_leads_to_nothing():
    assert RECOMMENDER.recommend([], today=TODAY) == []


def test_what_was_bought_lately_counts_more():
    crime, bread = own("The Big Sleep", days=5), own("Tartine Bread", days=1500)
    assert RECOMMENDER.recommend([crime, bread], today=TODAY)[0].because.title == "The Big Sleep"
    crime, bread = own("The Big Sleep", days=1500), own("Tartine Bread", days=5)
    assert RECOMMENDER.recommend([crime, bread], today=TODAY)[0].because.title == "Tartine Bread"


def test_a_book_that_was_not_liked_leads_nowhere():
    assert RECOMMENDER.recommend([own("The Big Sleep", rating=1)], today=TODAY) == []
    assert RECOMMENDER.recommend([own("The Big Sleep", rating=5)], today=TODAY)


def test_a_purchase_without_a_date_counts_too():
    assert RECOMMENDER.recommend([Owned(BOOKS["The Big Sleep"])], today=TODAY)


def test_a_rare_theme_says_more_than_a_common_one():
    dragons = RECOMMENDER.likeness(BOOKS["The Hobbit"], BOOKS["His Majesty's Dragon"])
    classic = RECOMMENDER.likeness(BOOKS["The Hobbit"], BOOKS["Walden"])
    assert dragons > classic > 0


owned_lists = st.lists(
    st.builds(
        Owned,
        st.sampled_from(list(CATALOGUE)),
        st.none() | st.dates(date(2022, 1, 1), TODAY),
        st.none() | st.integers(1, 5),
    ),
    max_size=30,
)


@settings(deadline=None, max_examples=25)
@given(owned_lists)
def test_no_list_holds_what_is_owned_or_stems_from_elsewhere_or_is_all_of_one_kind(owned):
    found = RECOMMENDER.recommend(owned, today=TODAY)
    have = {entry.book.sku for entry in owned}
    assert not have & {one.book.sku for one in found}
    assert {one.because.sku for one in found} <= have
    assert len({one.book.sku for one in found}) == len(found) <= 10
    for most, kinds in ((2, [one.because.sku for one in found]), (3, [one.book.shelf for one in found])):
        assert max(Counter(kinds).values(), default=0) <= most


@settings(deadline=None, max_examples=25)
@given(owned_lists, st.randoms(use_true_random=False))
def test_the_order_in_which_books_are_told_changes_nothing(owned, random):
    shuffled = list(owned)
    random.shuffle(shuffled)
    assert RECOMMENDER.recommend(shuffled, today=TODAY) == RECOMMENDER.recommend(owned, today=TODAY)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_no_more_than_asked_for(count):
    assert len(RECOMMENDER.recommend([own("The Hobbit")], today=TODAY, count=count)) <= count


def test_what_is_left_out_is_neither_offered_nor_a_reason():
    shelf = [own("A Wizard of Earthsea")]
    found = RECOMMENDER.recommend(shelf, today=TODAY, leave_out=[BOOKS["Tehanu"], BOOKS["The Big Sleep"]])
    assert "Tehanu" not in titles(found)
    assert {one.because.title for one in found} == {"A Wizard of Earthsea"}
