"""Alice's history has the shop's real layout, and what she knows changes what is recommended."""

import csv
import io
import re
from collections import Counter
from datetime import date, timedelta
from importlib import import_module

import pytest

from bookshop.catalogue import load
from bookshop.recommender import Owned, Recommender
from bookshop.sold import read_orders
from vrm import samples

A1 = (
    "Website,Order ID,Order Date,Purchase Order Number,Currency,Unit Price,Unit Price Tax,"
    "Shipping Charge,Total Discounts,Total Owed,Shipment Item Subtotal,Shipment Item Subtotal Tax,ASIN,"
    "Product Condition,Quantity,Payment Instrument Type,Order Status,Shipment Status,Ship Date,"
    "Shipping Option,Shipping Address,Billing Address,Carrier Name & Tracking Number,Product Name,"
    "Gift Message,Gift Sender Name,Gift Recipient Contact Details,Item Serial Number"
)
CATALOGUE = load()
TRUTH = samples.truth()
WHOM = {(line["order"], line["asin"]): line["for"] for line in TRUTH["lines"]}
DAYS = [date(2026, 11, 16), date(2026, 11, 21), date(2027, 3, 1), date(2028, 2, 29), date(2030, 12, 31)]


def table(content):
    return list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"))))


def retail(folder):
    files = sorted(folder.glob("Retail.OrderHistory.*.csv"))
    return [row for file in files for row in table(file.read_bytes())]


def two_years_before(day):
    try:
        return day.replace(year=day.year - 2)
    except ValueError:
        return day.replace(year=day.year - 2, day=28)


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    folder = tmp_path_factory.mktemp("export")
    samples.write(folder, samples.DRAWN_UP)
    return retail(folder)


def test_the_layout_is_a1_to_the_letter_with_its_byte_order_mark():
    for number in (1, 2):
        content = samples.path().joinpath(f"Retail.OrderHistory.{number}.csv").read_bytes()
        assert content.startswith(b"\xef\xbb\xbf")
        assert b"\r" not in content
        header = content.decode("utf-8-sig").partition("\n")[0]
        assert header.replace('"', "") == A1
    digital = samples.path().joinpath("Digital Items.csv").read_bytes().partition(b"\n")[0]
    assert len(digital.split(b",")) == 48


def test_the_quirks_of_real_exports_are_there(rows):
    assert any(re.fullmatch(r"'-\d+\.\d\d'", row["Total Discounts"]) for row in rows)
    assert any("," in row["Unit Price"] for row in rows)
    assert any(" and " in row["Payment Instrument Type"] for row in rows)
    assert any(re.search(r"\.\d{3}Z$", row["Order Date"]) for row in rows)
    cancelled = [row for row in rows if row["Order Status"] == "Cancelled"]
    assert 5 <= len(cancelled) <= 15
    assert {(row["Ship Date"], row["Unit Price"]) for row in cancelled} == {("Not Available", "0")}
    repeated = [row for row, count in Counter(tuple(row.values()) for row in rows).items() if count > 1]
    assert repeated
    assert max(Counter(row["Order ID"] for row in rows).values()) >= 3


def test_the_numbers_are_those_that_are_told(rows):
    expect = TRUTH["expect"]
    books = [row for row in rows if CATALOGUE.by_isbn(row["ASIN"])]
    gifts = [row for row in books if WHOM[row["Order ID"], row["ASIN"]] == "gift"]
    assert len(rows) == expect["retail_lines"] >= 400
    assert len(books) == expect["books"] >= 64
    assert len(gifts) == expect["gift_books"] >= 20
    assert len(table(samples.path().joinpath("Digital Items.csv").read_bytes())) == expect["digital_lines"]


def test_presents_went_to_others_and_home_and_few_are_marked(rows):
    gifts = [row for row in rows if WHOM[row["Order ID"], row["ASIN"]] == "gift"]
    home = TRUTH["addresses"]["home"]
    assert 10 <= sum(row["Shipping Address"] == home for row in gifts) <= len(gifts) - 10
    marked = [row for row in rows if row["Gift Message"] != "Not Available"]
    assert 0 < len(marked) < 0.04 * len(rows)
    assert all(row in gifts for row in marked)
    assert len({row["Shipping Address"] for row in rows}) == 4


def test_every_line_is_known_to_alice(rows):
    assert {(row["Order ID"], row["ASIN"]) for row in rows} <= set(WHOM)


def decided(row, category):
    """What her decisions, in their order, say about a line; the later, narrower one wins."""
    answer = None
    for decision in TRUTH["decisions"]:
        match decision["by"]:
            case "destination":
                fits = row["Shipping Address"] == decision["address"]
            case "theme":
                fits = (row["Shipping Address"], category) == (decision["address"], decision["category"])
            case "line":
                fits = (row["Order ID"], row["ASIN"]) == (decision["order"], decision["asin"])
            case rest:
                assert rest == "rest"
                fits = answer is None
        answer = decision["for"] if fits else answer
    return answer


def test_under_thirty_decisions_sort_everything_as_she_would(rows):
    assert len(TRUTH["decisions"]) < 30
    for row in rows:
        category = "books" if CATALOGUE.by_isbn(row["ASIN"]) else ""
        assert decided(row, category) == WHOM[row["Order ID"], row["ASIN"]]


@pytest.mark.parametrize("today", DAYS)
def test_two_years_back_from_any_day_hold_her_forty_one_and_the_one_she_keeps(tmp_path, today):
    written = samples.write(tmp_path / "deep" / "Your Orders", today)
    assert len(written) == 4
    found = retail(tmp_path / "deep" / "Your Orders")
    edge = two_years_before(today)
    hers = [
        row
        for row in found
        if CATALOGUE.by_isbn(row["ASIN"])
        and WHOM[row["Order ID"], row["ASIN"]] == "self"
        and row["Order Status"] != "Cancelled"
        and edge <= date.fromisoformat(row["Order Date"][:10]) <= today
    ]
    assert len(hers) == TRUTH["expect"]["own_books_of_two_years"] == 42
    assert TRUTH["expect"]["shared"] == 41
    out = TRUTH["taken_out"]
    assert [row["Product Name"] for row in hers if row["ASIN"] == out["asin"]] == [out["title"]]
    dates = [date.fromisoformat(row["Order Date"][:10]) for row in found]
    assert max(dates) <= today < max(dates) + timedelta(days=10)
    assert all(row["Ship Date"][:10] <= today.isoformat() for row in found if row["Ship Date"][0] == "2")


def test_nothing_but_dates_moves(tmp_path):
    samples.write(tmp_path, samples.DRAWN_UP + timedelta(days=100))
    for file in samples.path().iterdir():
        moved = (tmp_path / file.name).read_bytes()
        still = file.read_bytes()
        assert moved != still
        assert re.sub(rb"\d{4}-\d\d-\d\dT", b"", moved) == re.sub(rb"\d{4}-\d\d-\d\dT", b"", still)


def test_what_is_shipped_is_what_the_generator_makes(tmp_path, monkeypatch):
    make = import_module("scripts.make_sample")
    monkeypatch.setattr(make, "TARGET", tmp_path)
    make.main()
    for file in [*samples.path().iterdir(), samples.path().parent.joinpath("alice.json")]:
        made = tmp_path / ("Your Orders" if file.name.endswith(".csv") else ".") / file.name
        assert made.read_bytes() == file.read_bytes(), f"run scripts/make_sample.py: {file.name}"


def test_leaving_presents_out_changes_what_is_recommended(tmp_path, rows):
    today = samples.DRAWN_UP
    samples.write(tmp_path, today)
    unfiltered = Recommender(CATALOGUE).recommend(read_orders(tmp_path, CATALOGUE), today=today)
    sorted_books = [
        (CATALOGUE.by_isbn(row["ASIN"]), row) for row in rows if row["Order Status"] != "Cancelled"
    ]
    gifts = {book.sku for book, row in sorted_books if book and WHOM[row["Order ID"], row["ASIN"]] == "gift"}
    hers = [
        Owned(book, date.fromisoformat(row["Order Date"][:10]))
        for book, row in sorted_books
        if book and WHOM[row["Order ID"], row["ASIN"]] == "self" and book.title != TRUTH["taken_out"]["title"]
    ]
    filtered = Recommender(CATALOGUE).recommend(hers, today=today)
    assert len(filtered) == len(unfiltered) == 10
    assert sum(found.because.sku in gifts for found in unfiltered) >= 3
    assert not [found for found in filtered if found.because.sku in gifts]
    assert len({found.book.sku for found in unfiltered} - {found.book.sku for found in filtered}) >= 3
    assert not {found.book.shelf for found in filtered} & {"children", "crime", "gardening"}
