import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.vault.importers.samples import refunds_new, refunds_old, rows_of
from vrm.vault.importers import refunds, rows
from vrm.vault.importers.rows import Charge, Refund, Rejection, Return
from vrm.vault.importers.settling import Aftermath, Known, Verdict, settle

S = "shipped"


def test_both_layouts_tell_the_same():
    assert (
        rows_of(refunds_old(("111", "13.50")))
        == rows_of(refunds_new(("111", "13.50")))
        == [Refund(2, "111", "13.50")]
    )


@pytest.mark.parametrize("status", ["Pending", "Failed", "", "Not Available"])
def test_in_the_current_layout_only_completed_refunds_count(status):
    assert rows_of(refunds_new(("111", "13.50"), status=status)) == []


def test_in_the_old_layout_a_refund_that_failed_does_not_count():
    assert rows_of(refunds_old(("111", "13.50"), status="Failed")) == []
    assert rows_of(refunds_old(("111", "13.50"), status="")) == [Refund(2, "111", "13.50")]


def test_rows_that_lack_what_matters_are_rejected():
    assert rows_of(refunds_new(("", "13.50"), ("111", "some"))) == [
        Rejection(2, "Order ID", rows.NO_ORDER),
        Rejection(3, "Refund Amount", rows.NOT_MONEY),
    ]


@pytest.mark.parametrize(
    ("lines", "amounts", "expected"),
    [
        ([("10.00", S)], ["10.00"], ["returned"]),
        ([("10.00", S)], ["3.00"], ["returned"]),
        ([("10.00", S), ("20.00", S)], ["20.00"], ["", "returned"]),
        ([("10.00", S), ("20.00", S)], ["-20.00"], ["", "returned"]),
        ([("10.00", S), ("20.00", S)], ["5.00"], ["partly-refunded", "partly-refunded"]),
        ([("10.00", S), ("20.00", S)], ["30.00"], ["returned", "returned"]),
        ([("10.00", S), ("20.00", S)], ["20.00", "10.00"], ["returned", "returned"]),
        (
            [("10.00", S), ("20.00", S), ("7.00", S)],
            ["20.00", "1.00"],
            ["partly-refunded", "returned", "partly-refunded"],
        ),
        ([("10.00", S), ("10.00", S)], ["10.00"], ["partly-refunded", "partly-refunded"]),
        ([("0.00", "cancelled"), ("20.00", S)], ["5.00"], ["", "returned"]),
        ([("", S), ("20.00", S)], ["20.00"], ["", "returned"]),
        ([("10.00", S)], [], [""]),
        ([("0.00", "cancelled")], ["5.00"], [""]),
    ],
)
def test_refunds_settle_on_the_line_they_fit(lines, amounts, expected):
    assert refunds.settle(lines, amounts) == expected


LINES = st.lists(
    st.tuples(st.sampled_from(["", "5.00", "10.00", "20.00"]), st.sampled_from([S, "cancelled"])), max_size=4
)
AMOUNTS = st.lists(st.sampled_from(["5.00", "10.00", "15.00", "20.00"]), max_size=3)


@given(LINES, AMOUNTS)
def test_saying_the_same_again_changes_nothing(lines, amounts):
    once = refunds.settle(lines, amounts)
    after = [(total, new or status) for (total, status), new in zip(lines, once, strict=True)]
    twice = refunds.settle(after, amounts)
    assert [new or status for (_, status), new in zip(after, twice, strict=True)] == [
        status for _, status in after
    ]


@given(LINES, AMOUNTS)
def test_a_cancelled_line_is_never_refunded(lines, amounts):
    for (_, status), new in zip(lines, refunds.settle(lines, amounts), strict=True):
        assert status != "cancelled" or new == ""


def test_the_second_return_of_an_item_means_the_second_line():
    lines = [Known("A", "1.00", S), Known("B", "1.00", S), Known("A", "1.00", S)]
    twice = Aftermath(returns=[Return(2, "111", "A"), Return(3, "111", "A"), Return(4, "111", "Z")])
    assert [verdict.status for verdict in settle(lines, twice)] == ["returned", "", "returned"]


def test_charges_price_an_order_of_one_line_only():
    charges = Aftermath(charges=[Charge(2, "D1", "4.00", "EUR"), Charge(3, "D1", "0.99", "EUR")])
    assert settle([Known("A", "", S)], charges) == [Verdict("", "4.99", "EUR")]
    assert settle([Known("A", "3.00", S)], charges) == [Verdict()]
    assert settle([Known("A", "", S), Known("B", "", S)], charges) == [Verdict(), Verdict()]
