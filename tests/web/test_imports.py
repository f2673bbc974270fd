"""Uploading histories: kept in memory, reported file by file, refused whole where something is wrong."""

import io
import tempfile
import zipfile
from pathlib import Path

import pytest

from tests.web.actors import Customer, Page
from vrm.vault import intake
from vrm.vault.importers.limits import Limits
from vrm.vault.vault import Vault

HEADER = """\
Website,Order ID,Order Date,Purchase Order Number,Currency,Unit Price,Unit Price Tax,Shipping Charge,\
Total Discounts,Total Owed,Shipment Item Subtotal,Shipment Item Subtotal Tax,ASIN,Product Condition,\
Quantity,Payment Instrument Type,Order Status,Shipment Status,Ship Date,Shipping Option,Shipping Address,\
Billing Address,Carrier Name & Tracking Number,Product Name,Gift Message,Gift Sender Name,\
Gift Recipient Contact Details,Item Serial Number
"""


def line(order: str, title: str, date: str = "2026-02-03T04:05:06Z", asin: str = "0131103628") -> str:
    return (
        f"Amazon.com,{order},{date},Not Applicable,USD,10.00,0,0,0,10.00,10.00,0,{asin},New,1,Visa - 1234,"
        "Closed,Shipped,2026-02-04T04:05:06Z,std,Alice 1 Main St,Alice 1 Main St,UPS(1),"
        f"{title},Not Available,Not Available,Not Available,Not Available\n"
    )


def history(*lines: str) -> bytes:
    return (HEADER + "".join(lines)).encode()


class Unread(io.RawIOBase):
    """A body that nobody may read."""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        raise AssertionError(f"read into {buffer!r}")


def send(alice: Customer, *files: tuple[str, bytes]) -> Page:
    form = alice.get("/import").form("/import")
    uploads = [(io.BytesIO(content), name) for name, content in files]
    fields = {"csrf_token": form.value("csrf_token"), "files": uploads}
    return alice.post("/import", fields, content_type="multipart/form-data")


def test_a_history_is_imported_and_reported_and_leads_to_sorting(alice: Customer, opened: Vault) -> None:
    content = history(line("111-1", "The C Book"), line("111-2", "Lamp", asin="B000000001"))
    page = send(alice, ("Retail.OrderHistory.1.csv", content))
    assert page.status == 200
    assert "2 new things came in" in page.text
    assert "/sort" in page.links()
    assert opened.records("purchases").count() == 2


def test_the_same_file_twice_adds_nothing_twice(alice: Customer, opened: Vault) -> None:
    content = history(line("111-1", "The C Book"))
    send(alice, ("Retail.OrderHistory.1.csv", content))
    page = send(alice, ("Retail.OrderHistory.1.csv", content))
    assert "Nothing new in there" in page.text
    assert "Known already 1" in page.text
    assert opened.records("purchases").count() == 1


def test_several_files_and_a_zip_come_in_together(alice: Customer, opened: Vault) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(
            "Retail.OrderHistory.2/Retail.OrderHistory.2.csv", history(line("111-3", "In the ZIP"))
        )
    page = send(
        alice,
        ("Retail.OrderHistory.1.csv", history(line("111-1", "Loose"))),
        ("Your Orders.zip", packed.getvalue()),
    )
    assert "2 new things came in" in page.text
    assert opened.records("purchases").count() == 2


def test_rejected_lines_are_listed_with_their_reason(alice: Customer, opened: Vault) -> None:
    page = send(alice, ("h.csv", history(line("111-1", "Good"), line("111-2", "Bad", date="yesterday"))))
    assert "Not understood 1" in page.text
    assert "Line 3" in page.text
    assert opened.records("purchases").count() == 1


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("zero.csv", b"\x00" * 5000),
        ("empty.csv", b""),
        ("words.csv", b"some,other,columns\n1,2,3\n"),
        ("broken.zip", b"PK\x03\x04" + b"junk" * 50),
    ],
)
def test_a_file_of_another_kind_is_refused_and_stores_nothing(
    alice: Customer, opened: Vault, name: str, content: bytes
) -> None:
    page = send(alice, ("h.csv", history(line("111-1", "Good"))), (name, content))
    assert page.status == 400
    assert "not a file that the vault can read" in page.text
    assert f"Nothing was brought in. It stopped at this file: {name}" in page.text
    assert opened.records("purchases").count() == 0


def test_an_import_of_too_many_lines_names_the_file_and_stores_nothing(
    alice: Customer, opened: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "Limits", lambda: Limits(lines=2))
    good, more = history(line("1", "Good")), history(line("2", "More"), line("3", "Most"))
    page = send(alice, ("a.csv", good), ("b.csv", more), ("c.csv", good))
    assert page.status == 413
    assert "It stopped at this file: b.csv" in page.text
    assert opened.records("purchases").count() == 0


def test_more_files_than_one_import_takes_are_refused_and_none_is_passed_over(
    alice: Customer, opened: Vault
) -> None:
    files = [(f"{number}.csv", history(line(f"1-{number}", "Good"))) for number in range(51)]
    page = send(alice, *files)
    assert page.status == 400
    assert "Nothing was brought in." in page.text
    assert "at most 50 files" in page.text
    assert opened.records("purchases").count() == 0
    assert "50 new things came in" in send(alice, *files[1:]).text


def test_a_file_that_holds_no_orders_is_named_as_such(alice: Customer, opened: Vault) -> None:
    picture = b"\x89PNG\r\n\x1a\n" + bytes(100)
    page = send(alice, ("h.csv", history(line("111-1", "Good"))), ("cat.png", picture))
    assert "cat.png Nothing to bring in" in page.text
    assert opened.records("purchases").count() == 1


def test_no_file_is_asked_for_again(alice: Customer) -> None:
    page = send(alice)
    assert page.status == 400
    assert "Choose a file first" in page.text


def test_an_upload_beyond_the_limit_is_refused_before_it_is_read(alice: Customer, opened: Vault) -> None:
    token = alice.get("/import").form("/import").value("csrf_token")
    page = alice.post(
        "/import",
        {"csrf_token": token},
        content_type="multipart/form-data",
        environ_overrides={"CONTENT_LENGTH": str(64 * 2**20 + 1)},
    )
    assert page.status == 413
    assert "too much at once" in page.text
    assert "Nothing was brought in. Send fewer files" in page.text
    assert "/import" in page.links(), "the way back to the form"
    assert opened.records("purchases").count() == 0


def test_an_upload_of_a_stranger_is_refused_before_it_is_read(customer: Customer) -> None:
    page = customer.post(
        "/import",
        {},
        content_type="multipart/form-data; boundary=x",
        environ_overrides={"CONTENT_LENGTH": str(32 * 2**20), "wsgi.input": Unread()},
    )
    assert page.status == 403


def test_an_upload_never_touches_the_temp_folder(
    alice: Customer, opened: Vault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere = tmp_path / "no-such-folder"
    monkeypatch.setattr(tempfile, "tempdir", str(nowhere))  # a spooled file would fail to open
    lines = [line(f"111-{n}", f"Thing {n} " + "x" * 300, asin=f"B{n:09}") for n in range(3000)]
    token = alice.get("/import").form("/import").value("csrf_token")
    body = (
        f'--cut\r\nContent-Disposition: form-data; name="csrf_token"\r\n\r\n{token}\r\n--cut\r\n'
        'Content-Disposition: form-data; name="files"; filename="h.csv"\r\nContent-Type: text/csv\r\n\r\n'
    )
    whole = body.encode() + history(*lines) + b"\r\n--cut--\r\n"
    assert len(whole) > 1_000_000
    response = alice.client.post("/import", data=whole, content_type="multipart/form-data; boundary=cut")
    page = Page(response, "/import")
    assert "3000 new things came in" in page.text
    assert not nowhere.exists()


def test_a_file_name_is_shown_as_text(alice: Customer) -> None:
    page = send(alice, ("<script>alert(1)</script>.csv", history(line("111-1", "Good"))))
    assert page.status == 200
    assert "<script" not in page.html


@pytest.mark.parametrize("name", ["scan.pdf", "order.html", "photo.jpg"])
def test_a_file_that_is_no_export_is_refused(alice: Customer, name: str) -> None:
    page = send(alice, (name, b"nothing of an export"))
    assert page.status == 400
    assert f"Nothing was brought in. It stopped at this file: {name}" in page.text
    assert "It reads order histories as CSV or ZIP." in page.text


def test_a_refused_file_has_its_way_out_where_that_is_known(alice: Customer) -> None:
    assert "save it as CSV in UTF-8" in send(alice, ("a.csv", history().decode().encode("utf-16"))).text
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("inner.zip", b"")
    assert "unpack it, and hand in those" in send(alice, ("all.zip", packed.getvalue())).text
