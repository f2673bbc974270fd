"""What a document may be: clean text, one spelling of days and amounts, nothing that the catalog lacks."""

import unicodedata
from types import MappingProxyType
from typing import Any

import pytest

from vrm.errors import ValidationError
from vrm.vault.catalog import CATALOG
from vrm.vault.schemas import facet_schema, schema, strange, validate


def reasons(collection: str, document: Any) -> dict[str, list[str]]:
    with pytest.raises(ValidationError) as caught:
        validate(collection, document)
    return caught.value.fields


def kept(facet: str, field: str, value: Any, collection: str = "purchases") -> Any:
    return validate(collection, {facet: {field: value}})[facet].get(field)


@pytest.mark.parametrize("collection", CATALOG, ids=lambda item: item.name)
def test_an_empty_document_has_every_facet(collection: Any) -> None:
    for empty in ({}, {facet.name: {} for facet in collection.facets}, {collection.facets[0].name: None}):
        assert validate(collection.name, empty) == {facet.name: {} for facet in collection.facets}


@pytest.mark.parametrize("empty", [None, "", "   ", "\n"])
def test_empty_values_are_left_out(empty: Any) -> None:
    assert validate("purchases", {"item": {"title": empty, "brand": "x"}})["item"] == {"brand": "x"}


def test_empty_lists_are_left_out_and_false_and_zero_are_not() -> None:
    assert validate("profile", {"diet": {"kinds": []}})["diet"] == {}
    assert validate("profile", {"diet": {"kinds": ["", " "]}})["diet"] == {}
    assert kept("experience", "again", False) is False
    assert kept("order", "line", 0) == 0


@pytest.mark.parametrize(
    "bad",
    [chr(code) for code in (0, 1, 7, 8, 0x0B, 0x0C, 0x1B, 0x7F, 0x80, 0x9F)]
    + [chr(code) for code in (0x202A, 0x202B, 0x202D, 0x202E, 0x2066, 0x2067, 0x2068, 0x2069)]
    + ["\ud800", "\udfff", "\ufffe", "\uffff"],
    ids=lambda text: f"U+{ord(text):04X}",
)
def test_controls_direction_changes_and_what_is_no_character_are_refused(bad: str) -> None:
    assert "item.title" in reasons("purchases", {"item": {"title": f"Du{bad}ne"}})
    assert "notes.text" in reasons("purchases", {"notes": {"text": f"Du{bad}ne"}})
    assert "diet.kinds" in reasons("profile", {"diet": {"kinds": [f"ve{bad}gan"]}})


@pytest.mark.parametrize("bad", ["\t", "\n", "\r", "\r\n"])
def test_lines_are_for_long_text_only(bad: str) -> None:
    assert "item.title" in reasons("purchases", {"item": {"title": f"Du{bad}ne"}})
    assert kept("notes", "text", f"Du{bad}ne") == f"Du{bad}ne".replace("\r\n", "\n").replace("\r", "\n")


@pytest.mark.parametrize("text", ["سلام عليكم", "שלום", "Ștefan", "日本語", "🎁 for you", "a\u200fb"])
def test_every_script_is_welcome(text: str) -> None:
    assert kept("item", "title", text) == text


def test_text_is_stored_in_one_normal_form_and_trimmed() -> None:
    assert kept("item", "title", "  Cafe\u0301 ") == "Caf\u00e9"
    assert unicodedata.is_normalized("NFC", kept("item", "title", "A\u030a\u0327"))


@pytest.mark.parametrize("value", [1, 1.5, True, b"text", ["text"], {"a": "b"}])
def test_text_is_text(value: Any) -> None:
    assert reasons("purchases", {"item": {"title": value}}) == {"item.title": ["must be text"]}


def test_text_ends_at_its_greatest_length() -> None:
    assert len(kept("item", "title", "x" * 1000)) == 1000
    assert reasons("purchases", {"item": {"title": "x" * 1001}}) == {
        "item.title": ["is longer than 1000 characters"]
    }
    assert "item.url" in reasons("purchases", {"item": {"url": "https://x/" + "x" * 2_000_000}})


@pytest.mark.parametrize("value", ["2026-11-21", "0001-01-01", "2024-02-29", "9999-12-31"])
def test_days(value: str) -> None:
    assert kept("order", "ordered", value) == value


@pytest.mark.parametrize(
    "value",
    [
        "2026-13-01",
        "2026-02-30",
        "2023-02-29",
        "2026-W47-6",
        "20261121",
        "21.11.2026",
        "2026-1-1",
        "２０２６-11-21",
        "2026-11-21T00:00:00Z",
        " 2026-11-21",
        20261121,
        True,
        "0000-01-01",
        "x" * 10,
    ],
)
def test_what_is_no_day(value: Any) -> None:
    assert "order.ordered" in reasons("purchases", {"order": {"ordered": value}})


@pytest.mark.parametrize(
    ("typed", "stored"),
    [
        ("12.99", "12.99"),
        (" 12.90 ", "12.90"),
        ("007", "7"),
        ("-5.00", "-5.00"),
        ("0", "0"),
        ("0.0001", "0.0001"),
    ],
)
def test_amounts_are_decimal_text(typed: str, stored: str) -> None:
    assert kept("price", "total", typed) == stored
    assert kept("price", "total", stored) == stored


@pytest.mark.parametrize(
    "value",
    [
        12.99,
        12,
        True,
        "NaN",
        "nan",
        "Infinity",
        "-inf",
        "1e3",
        "1E+3",
        "1,299.00",
        "12,99",
        "12.",
        ".99",
        "$12",
        "1" * 13,
        "1.00000",
        "--1",
        "١٢",
        "0x10",
        "1_000",
        float("nan"),
        float("inf"),
        [],
        {},
    ],
)
def test_what_is_no_amount(value: Any) -> None:
    assert "price.total" in reasons("purchases", {"price": {"total": value}})


@pytest.mark.parametrize(("typed", "stored"), [(3, 3), ("3", 3), (" 3 ", 3), (1, 1), (5, 5)])
def test_whole_numbers(typed: Any, stored: int) -> None:
    assert kept("experience", "rating", typed) == stored


@pytest.mark.parametrize(
    "value",
    [0, 6, -1, 3.5, 6.0, True, "three", "3.0", "-3", "٣", 10**30, "9" * 400, float("nan"), float("inf"), []],
)
def test_what_is_no_number_of_stars(value: Any) -> None:
    assert "experience.rating" in reasons("purchases", {"experience": {"rating": value}})


@pytest.mark.parametrize("year", [1879, 2101])
def test_a_year_of_birth_is_one_of_somebody_alive(year: int) -> None:
    assert "demographics.birth_year" in reasons("profile", {"demographics": {"birth_year": year}})


@pytest.mark.parametrize("value", ["nobody", "Gift", 1, True, ["gift"], {"a": 1}])
def test_what_is_none_of_the_choices(value: Any) -> None:
    (said,) = reasons("purchases", {"context": {"for": value}})["context.for"]
    assert said == "must be one of self, gift, household, work, other"


@pytest.mark.parametrize("value", ["true", "yes", 1, 0, "on", []])
def test_what_is_neither_true_nor_false(value: Any) -> None:
    assert "context.use_for_taste" in reasons("purchases", {"context": {"use_for_taste": value}})


@pytest.mark.parametrize("value", ["https://shop.test/x", "http://localhost:1/", "https://ü.test"])
def test_addresses(value: str) -> None:
    assert kept("item", "url", value) == value


@pytest.mark.parametrize(
    "value",
    ["javascript:alert(1)", "ftp://x", "//shop.test", "shop.test", "https://", "https:///x", 5, "data:,x"],
)
def test_what_is_no_address(value: Any) -> None:
    assert "item.url" in reasons("purchases", {"item": {"url": value}})


@pytest.mark.parametrize(
    ("facet", "field", "given", "stored"),
    [
        ("price", "currency", "EUR", "EUR"),
        ("price", "currency", " eur ", "EUR"),
        ("item", "isbn", "9780140449136", "9780140449136"),
        ("item", "isbn", "978-0-14-044913-6", "9780140449136"),
        ("item", "isbn", "0 14 044913 2", "9780140449136"),
        ("item", "isbn", "026253892x", "9780262538923"),
        ("item", "gtin", "4 006381 333931", "4006381333931"),
        ("item", "gtin", "036000291452", "036000291452"),
        ("item", "gtin", "9638-5074", "96385074"),
        ("item", "gtin", "10614141000415", "10614141000415"),
    ],
)
def test_codes_of_others_have_one_spelling(facet: str, field: str, given: str, stored: str) -> None:
    assert kept(facet, field, given) == kept(facet, field, stored) == stored
    assert strange("purchases", validate("purchases", {facet: {field: given}})) == {}


@pytest.mark.parametrize(
    ("facet", "field", "value"),
    [
        ("price", "currency", "€"),
        ("price", "currency", "EU"),
        ("price", "currency", "U5D"),
        ("price", "currency", "ſek"),
        ("item", "isbn", "9780140449137"),
        ("item", "isbn", "0140449133"),
        ("item", "isbn", "140449132"),
        ("item", "isbn", "9790001138895"),
        ("item", "isbn", "hello"),
        ("item", "gtin", "4006381333932"),
        ("item", "gtin", "400638133393"),
        ("item", "gtin", "00000000"),
        ("item", "gtin", "٤٠٠٦٣٨١٣٣٣٩٣١"),
        ("item", "gtin", "SKU-1"),
    ],
)
def test_what_is_no_such_code_is_named_and_what_stands_already_stays(
    facet: str, field: str, value: str
) -> None:
    given = {facet: {field: value}}
    (reason,) = strange("purchases", given)[f"{facet}.{field}"]
    assert reason.startswith("must be ")
    stored = validate("purchases", given)
    assert stored[facet] == {field: value}, "stored by an older version, it can be stored again"
    assert strange("purchases", given, stored) == {}
    assert strange("purchases", given, {facet: {field: "other"}}) != {}


def test_lists_are_short_texts() -> None:
    assert kept("diet", "kinds", [" vegan ", "", "halal"], "profile") == ["vegan", "halal"]
    for value in ("vegan", {"0": "vegan"}, ["x"] * 21, ["x" * 121], [1], [None], [["x"]], 5):
        assert any(name.startswith("diet.kinds") for name in reasons("profile", {"diet": {"kinds": value}}))


def test_every_reason_of_every_field_comes_at_once() -> None:
    found = reasons(
        "purchases", {"item": {"title": 5, "colour": "red"}, "weather": {}, "price": "free", "context": []}
    )
    assert set(found) >= {"item.title", "item.colour", "weather"}
    assert any(name.startswith("price") for name in found)
    assert any(name.startswith("context") for name in found)


def test_a_name_from_outside_is_shown_cut() -> None:
    (name,) = reasons("purchases", {"w" * 500: {}})
    assert len(name) <= 60


def test_schemas_are_made_once() -> None:
    assert schema("purchases") is schema("purchases")
    assert facet_schema("purchases", "item") is facet_schema("purchases", "item")
    assert facet_schema("purchases", "item").load({"title": "x", "unknown": 1}) == {"title": "x"}


@pytest.mark.parametrize(
    "item", [{"title": "Dune", "no such field": ""}, MappingProxyType({"title": "Dune", "brand": None})]
)
def test_what_is_usual_and_what_is_not_give_the_same_document(item: Any) -> None:
    """Nothing stands in a field that there is not; and what is given need not be a dictionary."""
    usual = validate("purchases", {"item": {"title": "Dune"}})
    assert validate("purchases", {"item": item}) == usual
    assert usual["item"] == {"title": "Dune"}


@pytest.mark.parametrize(
    ("document", "told"),
    [
        ({"price": [1]}, {"price": "must be an object of fields"}),
        ({"price": {"worth": 1}}, {"price.worth": "is not known here"}),
        ({"prize": {}}, {"prize": "is not known here"}),
        ({"_schema": {}}, {"_schema": "is not known here"}),
        (
            {"price": {"_schema": 1, "quantity": "x"}},
            {"price._schema": "is not known here", "price.quantity": "must be a whole number"},
        ),
    ],
    ids=str,
)
def test_what_does_not_fit_is_named_as_it_was_sent_and_in_our_words(
    document: dict[str, Any], told: dict[str, str]
) -> None:
    assert reasons("purchases", document) == {name: [reason] for name, reason in told.items()}
