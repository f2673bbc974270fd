import pytest

from vrm.vault.importers import rows, values
from vrm.vault.importers.values import CellError


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("0", "0.00"),
        ("9", "9.00"),
        ("9.9", "9.90"),
        ("99.99", "99.99"),
        ("1,234.56", "1234.56"),
        ("12,345,678.90", "12345678.90"),
        ("1.234,56", "1234.56"),
        ("12,99", "12.99"),
        ("1,234", "1234.00"),
        ("'-5.00'", "-5.00"),
        ("$17.52", "17.52"),
        ("-$3.10", "-3.10"),
        ("€ 12,50", "12.50"),
        ("1\u202f234,56 €", "1234.56"),
        ("0.123456", "0.1235"),
        ("-0.00", "0.00"),
        ("unknown", ""),
        ("Not Available", ""),
        ("", ""),
    ],
)
def test_money_has_one_spelling(text, amount):
    assert values.parse_money(text) == amount


@pytest.mark.parametrize(
    "text", ["abc", "1,23,4", "12.34.56", "1e5", "NaN", "Infinity", "--5", "١٢", "0.12345678", "9" * 40]
)
def test_what_is_no_amount_is_refused(text):
    with pytest.raises(CellError, match=rows.NOT_MONEY):
        values.parse_money(text)


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("2023-01-02T03:04:05Z", "2023-01-02"),
        ("2023-01-02T03:04:05.123Z", "2023-01-02"),
        ("2023-01-02", "2023-01-02"),
        ("2023-01-02 03:04:05 UTC", "2023-01-02"),
        ("2023-01-02T03:04:05+01:00", "2023-01-02"),
        ("01/21/18", "2018-01-21"),
        ("1/2/2020", "2020-01-02"),
        ("2023-01-02T03:04:05Z and 2023-01-09T03:04:05Z", "2023-01-02"),
        ("Not Available and 2023-01-09T03:04:05Z", "2023-01-09"),
        ("Not Applicable", ""),
        ("unknown", ""),
        ("", ""),
    ],
)
def test_days_have_one_spelling(text, day):
    assert values.parse_date(text) == day


@pytest.mark.parametrize(
    "text",
    ["2025-02-29T09:30:00Z", "13/45/20", "yesterday", "2023-1-2", "20230102", "0000-00-00", "٢٠٢٣-٠١-٠٢"],
)
def test_what_is_no_day_is_refused(text):
    with pytest.raises(CellError, match=rows.NOT_A_DATE):
        values.parse_date(text)


@pytest.mark.parametrize(
    ("text", "count"), [("1", 1), ("0", 0), ("2.0", 2), ("", None), ("Not Available", None)]
)
def test_quantities_are_whole(text, count):
    assert values.parse_quantity(text) == count


@pytest.mark.parametrize("text", ["1.5", "-1", "two", "9999999"])
def test_what_is_no_quantity_is_refused(text):
    with pytest.raises(CellError, match=rows.NOT_A_NUMBER):
        values.parse_quantity(text)


@pytest.mark.parametrize(
    ("text", "method", "last4"),
    [
        ("Visa - 1234", "Visa", "1234"),
        ("Visa - 2512 and Gift Certificate/Card", "Visa and Gift Certificate/Card", "2512"),
        ("Gift Certificate/Card and Visa - 2512", "Gift Certificate/Card and Visa", "2512"),
        ("Visa - 1111 and Visa - 2222", "Visa", "1111"),
        ("Not Available", "", ""),
    ],
)
def test_several_means_of_payment_in_one_cell(text, method, last4):
    assert values.parse_payment(text) == (method, last4)


@pytest.mark.parametrize(
    ("text", "seller"),
    [
        ("Amazon.com", "amazon.com"),
        ("www.amazon.com", "amazon.com"),
        ("Amazon.co.uk", "amazon.co.uk"),
        ("", "amazon"),
    ],
)
def test_a_seller_has_one_spelling_in_all_files_of_an_export(text, seller):
    assert values.parse_seller(text) == seller


def test_text_keeps_its_letters_and_loses_controls():
    assert values.clean(" Cafe\u0301 \u202eevil\x00\n roast ") == "Caf\u00e9 evil roast"
    assert values.clean("می\u200cخواهم") == "می\u200cخواهم"


def test_an_absurd_total_is_dropped_instead_of_overflowing():
    assert values.times("999999999999.00", 1000) == ""
    assert values.times("2.50", 3) == "7.50"
