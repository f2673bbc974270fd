from __future__ import annotations

from itertools import permutations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import CHEAP, PASSPHRASE, SettableClock
from tests.vault.importers import samples
from tests.vault.importers.samples import (
    Endless,
    digital,
    published,
    refunds_new,
    refunds_old,
    report,
    retail,
    zipped,
)
from tests.vault.importing import DIGITAL, ITEMS, REFUNDS, RETAIL, bring, counts, kept
from vrm.errors import FormatError, ImportLimitError
from vrm.vault import intake, serverkey
from vrm.vault.importers import hints, reading, rows
from vrm.vault.importers.limits import Limits
from vrm.vault.importers.rows import Rejection
from vrm.vault.intake import bring_in
from vrm.vault.layout import SCHEMA
from vrm.vault.sqlite import SqliteEngine
from vrm.vault.vault import Vaults


def test_a_line_becomes_a_purchase(vault):
    (said,) = bring(vault, (RETAIL, retail({"Product Name": "A Long Walk: A Novel", "ASIN": "0140449132"})))
    assert counts(said) == (1, 1, 0, 0, 0)
    ((_, document),) = vault.records("purchases").scan()
    assert document["item"] == {
        "title": "A Long Walk: A Novel",
        "isbn": "9780140449136",
        "asin": "0140449132",
        "category": "books",
        "category_basis": "guessed",
    }
    assert document["order"] == {
        "seller": "amazon.com",
        "order_number": "111-1111111-1111111",
        "line": 1,
        "ordered": "2025-03-04",
        "status": "shipped",
        "learned_from": "export: Request my data",
    }
    assert document["price"] == {
        "unit_price": "12.50",
        "quantity": 1,
        "total": "13.50",
        "tax": "1.00",
        "currency": "USD",
    }
    assert document["payment"] == {"method": "Visa", "last4": "1234"}
    assert document["recipient"] == {"address": samples.HOME}
    assert (document["context"], document["experience"], document["notes"]) == ({}, {}, {})


def test_the_report_has_the_shape_that_scripts_rely_on(vault):
    (said,) = bring(vault, (RETAIL, retail({}, {"Total Owed": "x"})))
    assert said.as_json() == {
        "file": RETAIL,
        "format": "Request my data",
        "read": 2,
        "imported": 1,
        "updated": 0,
        "duplicates": 0,
        "rejected": [{"line": 3, "column": "Total Owed", "reason": "not an amount of money"}],
        "suggestions": 0,
    }


def test_a_second_import_adds_nothing(vault):
    files = [
        (RETAIL, retail({}, {}, {"ASIN": "B2"}, {"Gift Message": "Hi", "ASIN": "B3"})),
        (DIGITAL, digital({})),
        (REFUNDS, refunds_new(("D01-1111111-1111111", "1.00"))),
        (ITEMS, report({}, {"Title": "", "Category": ""})),
    ]
    first = bring(vault, *files)
    before = dict(vault.records("purchases").scan())
    second = bring(vault, *files)
    assert [one.imported for one in first] == [4, 1, 0, 2]
    assert [(one.imported, one.updated, one.suggestions) for one in second] == [(0, 0, 0)] * 4
    assert [one.duplicates for one in second] == [4, 1, 1, 2]
    assert dict(vault.records("purchases").scan()) == before


def test_the_same_order_in_another_layout_is_known(vault):
    bring(vault, ("a.csv", retail({}, variant="A1")))
    for variant in ("A2", "A3", "A4"):
        (said,) = bring(vault, ("b.csv", retail({}, variant=variant, bom=True)))
        assert (said.imported, said.duplicates) == (0, 1)


def test_a_line_that_two_files_of_one_import_repeat_is_stored_once(vault):
    said = bring(vault, ("a.csv", retail({}, {})), ("b.csv", retail({}, {"ASIN": "B2"})))
    assert [(one.imported, one.duplicates) for one in said] == [(2, 0), (1, 1)]
    assert vault.records("purchases").count() == 3


def test_newer_facts_change_what_the_seller_says_and_nothing_of_hers(vault):
    bring(
        vault, (RETAIL, retail({"Shipment Status": "Not Available", "Ship Date": "", "Order Status": "New"}))
    )
    records = vault.records("purchases")
    ((record, document),) = records.scan()
    hers = {
        "context": {"for": "gift", "use_for_taste": False},
        "experience": {"rating": 5},
        "notes": {"text": "for Sami"},
    }
    records.put({**document, **hers}, record)
    (said,) = bring(vault, (RETAIL, retail({"Product Name": "Walking boots, size 40", "Gift Message": "Hi"})))
    assert counts(said) == (1, 0, 1, 0, 0)
    assert said.suggestions == 0
    after = records.get(record)
    assert after["item"]["title"] == "Walking boots, size 40"
    assert after["order"]["status"] == "shipped"
    assert {name: after[name] for name in hers} == hers


def test_an_older_report_fills_gaps_of_the_same_lines(vault):
    same = {"Order ID": "113-1111111-1111111", "ASIN": "B01LFFGW5K"}
    bring(vault, (RETAIL, retail({**same, "Product Name": "Paper towels"})))
    (said,) = bring(vault, (ITEMS, report({"Title": "Old name"})))
    assert counts(said) == (1, 0, 1, 0, 0)
    (document,) = kept(vault).values()
    assert document["item"]["title"] == "Paper towels"
    assert (document["item"]["category"], document["item"]["category_basis"]) == ("cleaning", "said")
    assert document["recipient"]["name"] == "Alice Example"
    assert bring(vault, (RETAIL, retail({**same, "Product Name": "Paper towels"})))[0].updated == 0


def test_files_in_any_order_make_the_same_vault(vaults):
    files = [
        (
            RETAIL,
            retail({"Order ID": "111"}, {"Order ID": "222", "ASIN": "B2"}, {"Order ID": "222", "ASIN": "B3"}),
        ),
        (REFUNDS, refunds_new(("111", "13.50"), ("222", "1.00"), ("D01-1111111-1111111", "9.99"))),
        (DIGITAL, digital({})),
    ]
    seen = []
    for at, order in enumerate(permutations(files)):
        loose = vaults.create(f"loose{at}", PASSPHRASE)[0]
        bring(loose, *order)
        packed = vaults.create(f"packed{at}", PASSPHRASE)[0]
        bring(packed, ("Your Orders.zip", zipped({f"x/{name}": content for name, content in order})))
        seen += [kept(loose), kept(packed)]
    assert all(one == seen[0] for one in seen)
    statuses = {key: document["order"]["status"] for key, document in seen[0].items()}
    assert statuses == {
        "B000000001/1": "returned",
        "B2/1": "partly-refunded",
        "B3/1": "partly-refunded",
        "B0DIGITAL1/1": "returned",
    }


def test_refunds_that_come_years_later_find_their_lines(vault):
    bring(vault, (RETAIL, retail({"Order ID": "111"}, {"Order ID": "222", "ASIN": "B2"})))
    (said,) = bring(vault, (REFUNDS, refunds_old(("111", "13.50"), ("999", "1.00"))))
    assert counts(said) == (2, 0, 1, 0, 1)
    assert said.rejected == [Rejection(3, "Order ID", rows.NO_PURCHASE)]
    assert {key: one["order"]["status"] for key, one in kept(vault).items()} == {
        "B000000001/1": "returned",
        "B2/1": "shipped",
    }
    (again,) = bring(vault, (REFUNDS, refunds_old(("111", "13.50"))))
    assert counts(again) == (1, 0, 0, 1, 0)


def test_a_newer_export_without_refunds_does_not_unreturn(vault):
    bring(vault, (RETAIL, retail({})), (REFUNDS, refunds_new(("111-1111111-1111111", "13.50"))))
    (said,) = bring(vault, (RETAIL, retail({})))
    assert said.duplicates == 1
    assert kept(vault)["B000000001/1"]["order"]["status"] == "returned"


def test_returns_of_the_older_report_mark_lines(vault):
    back = {"Order ID": "113-1111111-1111111", "ASIN/ISBN": "B01LFFGW5K", "Return Date": "02/01/18"}
    returns = samples.csv_bytes(samples.RETURNS, [back])
    said = bring(vault, ("Returns.csv", returns), (ITEMS, report({}, {"ASIN/ISBN": "B2"})))
    assert [one.format for one in said] == ["Order History Report: returns", "Order History Report"]
    assert {key: one["order"]["status"] for key, one in kept(vault).items()} == {
        "B01LFFGW5K/1": "returned",
        "B2/1": "shipped",
    }


def test_digital_payments_price_their_items(vault):
    charges = samples.csv_bytes(
        samples.CHARGES,
        [
            {"Order ID": "D01-1111111-1111111", "Transaction Amount": "4.00", "Base Currency Code": "USD"},
            {"Order ID": "D01-1111111-1111111", "Transaction Amount": "0.50", "Base Currency Code": "USD"},
        ],
    )
    said = bring(
        vault,
        ("Digital Content Orders.csv", charges),
        (DIGITAL, digital({"OurPrice": "Not Applicable", "OurPriceCurrencyCode": "Not Applicable"})),
    )
    assert counts(said[0]) == (2, 0, 2, 0, 0)
    assert kept(vault)["B0DIGITAL1/1"]["price"] == {"total": "4.50", "quantity": 1, "currency": "USD"}


def test_a_digital_payment_without_a_currency_is_a_total_without_one(vault):
    payment = {"Order ID": "D01-1111111-1111111", "Transaction Amount": "4.00", "Base Currency Code": ""}
    unpriced = digital({"OurPrice": "Not Applicable", "OurPriceCurrencyCode": "Not Applicable"})
    bring(
        vault,
        ("Digital Content Orders.csv", samples.csv_bytes(samples.CHARGES, [payment])),
        (DIGITAL, unpriced),
    )
    assert kept(vault)["B0DIGITAL1/1"]["price"] == {"total": "4.00", "quantity": 1}


def test_suggestions_stand_in_the_notes_and_never_in_the_context(vault):
    home = [{"ASIN": f"H{at}"} for at in range(6)]
    away = {"ASIN": "AWAY", "Shipping Address": "Sami Example 9 Oak Road Elsewhere"}
    message = {"ASIN": "MESSAGE", "Gift Message": "Happy birthday"}
    named = {"ASIN": "NAMED", "Gift Recipient Contact Details": "Sami"}
    cancelled = {"ASIN": "CANCELLED", "Gift Message": "No", "Order Status": "Cancelled"}
    mine = [{"ASIN": f"N{at}", "Gift Recipient Contact Details": "Alice"} for at in range(3)]
    (said,) = bring(vault, (RETAIL, retail(*home, away, message, named, cancelled, *mine)))
    (marked,) = bring(vault, (DIGITAL, digital({"GiftItem": "Yes"})))
    suggested = {
        key.partition("/")[0]: document["notes"]["suggested_because"]
        for key, document in kept(vault).items()
        if document["notes"]
    }
    assert suggested == {
        "AWAY": hints.OTHER_PLACE,
        "MESSAGE": hints.MESSAGE,
        "NAMED": hints.OTHER_NAME,
        "B0DIGITAL1": hints.MARKED,
    }
    assert (said.suggestions, marked.suggestions) == (3, 1)
    assert all(document["context"] == {} for document in kept(vault).values())


def test_what_is_usual_counts_earlier_imports_too(vault):
    bring(vault, ("a.csv", retail(*[{"ASIN": f"H{at}"} for at in range(6)])))
    (said,) = bring(vault, ("b.csv", retail({"ASIN": "AWAY", "Shipping Address": "9 Oak Road"})))
    assert said.suggestions == 1


def test_a_message_that_a_newer_export_tells_is_suggested_once(vault):
    bring(vault, (RETAIL, retail({})))
    (said,) = bring(vault, (RETAIL, retail({"Gift Message": "Hi"})))
    assert (said.updated, said.suggestions) == (1, 1)
    (again,) = bring(vault, (RETAIL, retail({"Gift Message": "Hi"})))
    assert (again.updated, again.suggestions) == (0, 0)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("bank.csv", b"Date,Amount\n2025-01-02,3\n"),
        ("empty.csv", b""),
        ("photo.png", b"\x89PNG\r\n\x1a\n"),
        ("other.zip", zipped({"a/bank.csv": b"Date,Amount\n", "b.bin.csv": b"\x89PNG"})),
        ("empty.zip", zipped({})),
        ("cut.zip", zipped({"a.csv": retail({})})[:60]),
    ],
    ids=["bank", "empty", "photo", "other-zip", "empty-zip", "cut-zip"],  # the bytes of a ZIP hold the time
)
def test_an_unknown_file_refuses_the_whole_import(vault, name, content):
    if name == "photo.png":
        name = "photo"
    with pytest.raises(FormatError):
        bring(vault, (RETAIL, retail({})), (name, content))
    assert vault.records("purchases").count() == 0


def test_the_refusal_says_what_is_read(vault):
    with pytest.raises(FormatError, match=r"^not a format I know: bank\.csv") as caught:
        bring(vault, ("bank.csv", b"Date,Amount\n"))
    assert "Request my data" in caught.value.hint


def test_other_parts_of_an_export_are_handed_in_without_harm(vault):
    said = bring(
        vault,
        ("Digital Orders.csv", b"OrderId,DeliveryStatus\n1,x\n"),
        ("invoice.pdf", b"%PDF-1.7"),
        (RETAIL, retail({})),
    )
    assert [(one.format, one.imported) for one in said] == [
        (intake.NOTHING_HERE, 0),
        (intake.NOTHING_HERE, 0),
        ("Request my data", 1),
    ]


@pytest.mark.parametrize("name", ["scan.pdf", "order.html", "photo.JPG", "page.json"])
def test_a_file_that_only_lies_beside_exports_is_refused_where_there_is_none(vault, name):
    with pytest.raises(FormatError, match=f"^not a format I know: {name}") as caught:
        bring(vault, (name, b"anything"), ("Digital Orders.csv", b"OrderId,DeliveryStatus\n1,x\n"))
    assert "Request my data" in caught.value.hint


def test_text_in_utf_16_is_refused_with_the_way_out(vault):
    for letters in ("utf-16-le", "utf-16-be"):
        with pytest.raises(FormatError) as caught:
            bring(vault, ("history.csv", ("\ufeff" + retail({}).decode()).encode(letters)))
        assert caught.value.hint == reading.UTF_16


def test_a_zip_of_zips_is_refused_with_the_way_out(vault):
    inner = zipped({RETAIL: retail({})})
    with pytest.raises(FormatError) as caught:
        bring(vault, ("all.zip", zipped({"Your Orders.ZIP": inner, "read me.txt": b"x"})))
    assert caught.value.hint == reading.ZIP_IN_ZIP
    assert bring(vault, ("all.zip", zipped({RETAIL: retail({}), "photos.zip": inner})))[0].imported == 1


def test_a_damaged_part_of_a_zip_is_not_passed_over_in_silence(vault):
    said = bring(
        vault,
        (
            "Your Orders.zip",
            zipped({RETAIL: retail({}), "Retail.OrderHistory.2.csv": b"\x89PNG", "x.csv": b"a,b\n"}),
        ),
    )
    assert [(one.file, one.imported) for one in said] == [(RETAIL, 1), ("Retail.OrderHistory.2.csv", 0)]
    assert said[1].rejected == [Rejection(1, "", rows.UNREADABLE)]


def test_the_orders_report_alone_says_which_report_is_needed(vault):
    content = samples.csv_bytes(samples.ORDERS, [{"Order ID": "113", "Total Charged": "$9.00"}])
    (said,) = bring(vault, ("Orders.csv", content))
    assert said.rejected == [Rejection(1, "", rows.ITEMS_NEEDED)]
    assert said.imported == 0


def test_every_reason_is_provoked_by_a_file(vault):
    broken = retail({"Order Date": "x"}, {"Total Owed": "x"}, {"Quantity": "x"}, {"Order ID": ""})
    broken += retail({"Product Name": "", "ASIN": ""}).split(b"\n", 1)[1]
    broken += b"too,few\n" + b"," * 40 + b"x\n" + b"a\xe9\n" + b"a\0\n" + b'x,"y\nz\n'
    orders = samples.csv_bytes(samples.ORDERS, [{"Order ID": "113"}])
    said = bring(
        vault,
        (RETAIL, broken),
        (REFUNDS, refunds_new(("nowhere", "1.00"))),
        ("Orders.csv", orders),
        ("Your Orders.zip", zipped({"Order History.csv": b"a,b\n", DIGITAL: digital({})})),
    )
    assert {one.reason for report in said for one in report.rejected} == set(rows.REASONS)


def test_too_many_rows_are_refused_and_nothing_is_stored(vault):
    with pytest.raises(ImportLimitError, match="more than 5 rows"):
        bring(vault, (RETAIL, retail({}, {}, {})), ("b.csv", retail({}, {}, {})), limits=Limits(lines=5))
    assert vault.records("purchases").count() == 0


def test_too_many_lines_in_several_files_are_refused_and_nothing_is_stored(vault):
    """Blank lines are no rows, and a file with few of them is none too many by itself."""
    blank = retail({}) + b"\n" * 60
    limits = Limits(physical_lines=100)
    bring(vault, (RETAIL, blank), limits=limits)
    with pytest.raises(ImportLimitError, match="more than 100 lines"):
        bring(
            vault, *[(f"{at}.csv", retail({"ASIN": f"B{at}"}) + b"\n" * 60) for at in range(2)], limits=limits
        )
    assert vault.records("purchases").count() == 1


def test_a_file_of_rejections_is_refused(vault):
    stream = Endless(retail({}), b"x,y\n")
    with pytest.raises(ImportLimitError, match="hardly a row"):
        bring_in(vault, [(RETAIL, stream)], limits=Limits(rejections=100))
    assert stream.count < 1024 * 1024


def test_two_vaults_share_no_fingerprint(vaults, engine):
    for name in ("one", "two"):
        bring(vaults.create(name, PASSPHRASE)[0], (RETAIL, retail({})))
    prints = [bytes(row[0]) for row in engine.all("SELECT fingerprint FROM records")]
    assert len(set(prints)) == 2


TITLES = st.sampled_from(["Boots", "Mug", "A Novel: A Novel", "", "Über"])
RANDOM_LINES = st.lists(
    st.fixed_dictionaries(
        {
            "Order ID": st.sampled_from(["111", "222", "333"]),
            "ASIN": st.sampled_from(["B1", "B2", "0140449132", "140449132", ""]),
            "Product Name": TITLES,
            "Order Status": st.sampled_from(["Closed", "Cancelled", "New", "x"]),
            "Total Owed": st.sampled_from(["1", "2.5", "1,000.10", "'-5.00'", "Not Available", "bad"]),
            "Gift Message": st.sampled_from(["", "Not Available", "Hi"]),
            "Shipping Address": st.sampled_from([samples.HOME, "9 Oak Road", ""]),
        }
    ),
    max_size=8,
)
RANDOM_REFUNDS = st.lists(
    st.tuples(st.sampled_from(["111", "222", "444"]), st.sampled_from(["1", "2.5", "9"])), max_size=4
)


@pytest.fixture(scope="module")
def many(tmp_path_factory) -> Vaults:
    """Vaults for laws that need a fresh one for every example."""
    folder = tmp_path_factory.mktemp("many")
    engine = SqliteEngine(folder / "vrm.db")
    engine.install([SCHEMA])
    yield Vaults(engine, serverkey.load(folder / "server.key"), clock=SettableClock(), limits=CHEAP)
    engine.close()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(lines=RANDOM_LINES, refunded=RANDOM_REFUNDS, variant=st.sampled_from(sorted(samples.VARIANTS)))
def test_importing_again_adds_and_changes_nothing(many, lines, refunded, variant):
    vault = many.create(f"v{len(many.listing())}", PASSPHRASE)[0]
    files = [(RETAIL, retail(*lines, variant=variant)), (REFUNDS, refunds_new(*refunded))]
    first = bring(vault, *files)
    before = dict(vault.records("purchases").scan())
    second = bring(vault, *reversed(files))
    assert sum(said.imported for said in first) == len(before)
    assert [(said.imported, said.updated, said.suggestions) for said in second] == [(0, 0, 0)] * 2
    assert dict(vault.records("purchases").scan()) == before
    for said in [*first, *second]:
        assert said.read == said.imported + said.updated + said.duplicates + len(said.rejected)


@pytest.mark.parametrize("export", ["amazon-request-my-data", "amazon-order-history-report"])
def test_published_exports_come_in_once(vault, export):
    paths = published(export)
    rejected = []
    for turn in range(2):
        streams = [path.open("rb") for path in paths]
        try:
            said = bring_in(vault, [(path.name, stream) for path, stream in zip(paths, streams, strict=True)])
        finally:
            for stream in streams:
                stream.close()
        rejected.append([one for report in said for one in report.rejected])
        assert all(one.reason in rows.REASONS for one in rejected[-1])
        if turn:
            assert sum(report.imported + report.updated for report in said) == 0
    expected = {"amazon-request-my-data": (276, 2), "amazon-order-history-report": (228, 0)}[export]
    assert (vault.records("purchases").count(), len(rejected[0])) == expected
    assert rejected[0] == rejected[1]
