import copy

from hypothesis import given
from hypothesis import strategies as st

from vrm.vault import schemas
from vrm.vault.importers import documents
from vrm.vault.importers.documents import document, merge, with_facts_of
from vrm.vault.importers.rows import Line
from vrm.vault.importers.values import clean

TEXT = st.text(max_size=2000).map(clean)
MONEY = st.sampled_from(["", "0.00", "12.50", "-3.1234", "999999999999.00"])
LINES = st.builds(
    Line,
    line_no=st.just(2),
    seller=TEXT,
    order_number=TEXT,
    item_key=TEXT,
    nth=st.integers(1, 1_000_000),
    title=TEXT,
    isbn=st.sampled_from(["", "9780140449136"]),
    asin=TEXT,
    brand=TEXT,
    category=st.sampled_from(["books", "other"]),
    category_path=TEXT,
    category_basis=st.sampled_from(["said", "guessed"]),
    ordered=st.sampled_from(["", "2025-03-04"]),
    delivered=st.sampled_from(["", "2025-03-04"]),
    status=st.sampled_from(sorted(documents.STATUS_RANK)),
    unit_price=MONEY,
    quantity=st.none() | st.integers(0, 999_999),
    total=MONEY,
    tax=MONEY,
    currency=st.sampled_from(["", "USD"]),
    payment_method=TEXT,
    last4=st.sampled_from(["", "1234"]),
    recipient_name=TEXT,
    recipient_address=TEXT,
    gift_message=TEXT,
    sender_name=TEXT,
)
HERS = {
    "context": {"for": "gift", "use_for_taste": False},
    "experience": {"rating": 4},
    "notes": {"text": "for Sami", "suggested_for": "gift"},
}


def known(**facets) -> documents.Document:
    empty = {
        name: {}
        for name in ("item", "order", "price", "payment", "context", "recipient", "experience", "notes")
    }
    return {**empty, **copy.deepcopy(facets)}


@given(LINES)
def test_every_line_makes_a_document_that_is_valid_as_it_is(line):
    made = document(line, documents.source("x"))
    assert schemas.validate("purchases", made) == made


@given(LINES, LINES, st.booleans())
def test_facts_never_touch_what_is_hers(first, second, newest):
    before = {**document(first, "a"), **copy.deepcopy(HERS)}
    after = merge(before, document(second, "b"), newest=newest)
    assert {name: after[name] for name in HERS} == HERS
    assert schemas.validate("purchases", after) == after


@given(LINES, LINES, st.booleans())
def test_the_same_facts_again_change_nothing(first, second, newest):
    facts = document(second, "b")
    once = merge(document(first, "a"), facts, newest=newest)
    assert merge(once, facts, newest=newest) == once


def test_what_an_export_does_not_say_stays():
    before = known(item={"title": "Boots", "brand": "X"}, price={"total": "3.00"})
    after = merge(before, known(item={"title": "Boots, size 40"}))
    assert after["item"] == {"title": "Boots, size 40", "brand": "X"}
    assert after["price"] == {"total": "3.00"}


def test_a_retired_export_only_fills_gaps():
    before = known(item={"title": "Boots"}, order={"status": "shipped"})
    facts = known(item={"title": "Old", "brand": "X"}, order={"status": "returned", "ordered": "2018-01-02"})
    after = merge(before, facts, newest=False)
    assert after["item"] == {"title": "Boots", "brand": "X"}
    assert after["order"] == {"status": "returned", "ordered": "2018-01-02"}


def test_a_status_never_goes_back():
    before = known(order={"status": "returned"})
    assert merge(before, known(order={"status": "shipped"}))["order"] == {"status": "returned"}
    assert merge(known(order={"status": "shipped"}), before)["order"] == {"status": "returned"}


def test_a_guess_never_replaces_a_said_category():
    said = {"category": "books", "category_path": "ABIS_BOOK", "category_basis": "said"}
    guess = {"category": "toys", "category_basis": "guessed"}
    assert merge(known(item=said), known(item=guess))["item"] == said
    assert merge(known(item=guess), known(item=said))["item"] == said
    assert (
        merge(known(item=guess), known(item={"category": "other", "category_basis": "guessed"}))["item"]
        == guess
    )


def test_an_edit_made_while_an_import_ran_is_kept():
    mine = known(item={"title": "Boots"}, **HERS)
    newer = known(item={"title": "Boots, size 40"}, context={"for": "self"})
    both = with_facts_of(mine, newer)
    assert both["item"] == {"title": "Boots, size 40"}
    assert both["context"] == HERS["context"]
    assert both["notes"] == HERS["notes"]
