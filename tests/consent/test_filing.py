"""Filing: what vendors left becomes records, each thing once, and only what is theirs to say changes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.attacks.actors import Customer, Vendor, part, writing
from tests.beside import only_sqlite
from tests.conftest import SettableClock
from tests.consent.test_deposits import MESSAGE, RECEIPT
from tests.postgres import traced
from vrm.consent.filing import Filing
from vrm.consent.service import Consent
from vrm.consent.tokens import TokenSet
from vrm.consent.writers import State
from vrm.errors import NotInViewError
from vrm.vault.engine import Engine
from vrm.vault.importers.documents import document as from_export
from vrm.vault.importers.rows import Line
from vrm.vault.mailbox import Item
from vrm.vault.sqlite import SqliteEngine
from vrm.vault.vault import Vault


@pytest.fixture
def tokens(customer: Customer, vendor: Vendor) -> TokenSet:
    return vendor.connect(customer, writing(), writing("inbox"))


def file(customer: Customer) -> int:
    return customer.consent.filing.run(customer.vault)


def only(customer: Customer, collection: str = "purchases") -> tuple[str, dict[str, Any]]:
    [found] = customer.vault.records(collection).scan()
    return found


def replace(vendor: Vendor, tokens: TokenSet, item: bytes, body: Any, collection: str = "purchases") -> None:
    access = vendor.consent.reader.authenticate(tokens.access_token)
    vendor.consent.deposits.replace(access, collection, item.hex(), body, ["*"])


def withdraw(vendor: Vendor, tokens: TokenSet, item: bytes, collection: str = "purchases") -> None:
    access = vendor.consent.reader.authenticate(tokens.access_token)
    vendor.consent.deposits.withdraw(access, collection, item.hex(), ["*"])


def test_a_receipt_becomes_a_purchase_that_says_who_told_of_it(
    vendor: Vendor, tokens: TokenSet, customer: Customer
) -> None:
    vendor.leave(tokens.access_token, RECEIPT)
    assert file(customer) == 1
    _, document = only(customer)
    assert document["item"] == {
        "title": "Kindred",
        "asin": "0807083690",
        "isbn": "9780807083697",
        "category": "books",
        "category_basis": "said",
    }
    assert document["order"] == {
        "seller": "Corner Books",
        "order_number": "R-1",
        "ordered": "2026-11-01",
        "status": "ordered",
        "line": 1,
        "learned_from": "Corner Books: left in this vault",
    }
    assert document["notes"]["left_by"] == "Corner Books"
    assert document["context"] == document["experience"] == {}


def test_a_category_that_was_not_said_is_guessed(
    vendor: Vendor, tokens: TokenSet, customer: Customer
) -> None:
    vendor.leave(tokens.access_token, {"item": {"title": "Kindred", "isbn": "9780807083697"}})
    file(customer)
    item = only(customer)[1]["item"]
    assert (item["category"], item["category_basis"]) == ("books", "guessed")


def test_a_message_is_from_whom_she_knows_on_the_day_it_was_left(
    vendor: Vendor, tokens: TokenSet, customer: Customer, clock: SettableClock
) -> None:
    vendor.leave(tokens.access_token, MESSAGE, collection="inbox")
    clock.forward(5 * 86_400)
    file(customer)
    assert only(customer, "inbox")[1]["message"] == {
        "from": "Corner Books",
        "subject": "Your order",
        "text": "It is on its way.",
        "order_number": "R-1",
        "received": "2026-11-18",
    }


def test_what_was_left_is_in_no_view_before_she_sorted_it(
    vendor: Vendor, tokens: TokenSet, customer: Customer, clock: SettableClock
) -> None:
    reader = Vendor.register(customer.consent, "Reader")
    everything = reader.connect(
        customer, part("purchases.item"), unsorted=True, for_whom=frozenset({"self"}), fresh=""
    )
    vendor.leave(tokens.access_token, RECEIPT)
    file(customer)
    assert reader.titles(everything.access_token) == []
    record, _ = only(customer)
    customer.change(record, "context", **{"for": "self"})
    assert reader.titles(everything.access_token) == ["Kindred"]
    assert customer.consent.grants.differences(customer.vault) == []


def imported(customer: Customer, **told: Any) -> str:
    """A line of an export, as an import leaves it and she sorts it."""
    line = Line(1, "corner.example", "R-1", "0807083690", 1, **told)
    records = customer.vault.records("purchases")
    with records.staging() as staging:
        print_ = customer.vault.keyring.fingerprint(*line.fingerprint)
        [record] = staging.add([(print_, from_export(line, "export: Test"))])
        staging.publish(lambda current, newer: newer)
    customer.change(record, "context", **{"for": "self", "use_for_taste": False})
    return record


def receipt(**order: Any) -> dict[str, Any]:
    return {**RECEIPT, "order": {"order_number": "R-1", "seller": "corner.example", **order}}


def test_a_line_that_an_import_brought_is_neither_stored_twice_nor_changed(
    vendor: Vendor, tokens: TokenSet, customer: Customer
) -> None:
    record = imported(customer, title="Kindred (1979)")
    before = only(customer)
    state, _ = vendor.leave(tokens.access_token, receipt(ordered="2026-11-01", status="delivered"))
    file(customer)
    replace(vendor, tokens, state.item, receipt(ordered="2026-11-02", status="returned"))
    file(customer)
    withdraw(vendor, tokens, state.item)
    file(customer)
    assert only(customer) == before
    assert before[0] == record
    assert customer.vault.check() == []


def test_only_the_shop_itself_moves_the_status_of_what_an_import_brought(
    customer: Customer, consent: Consent
) -> None:
    shop = Vendor.register(consent, sells_as=("corner.example",))
    tokens = shop.connect(customer, writing())
    _, before = imported(customer, title="Kindred (1979)"), only(customer)[1]
    state, _ = shop.leave(tokens.access_token, receipt(ordered="2026-11-01", status="delivered"))
    file(customer)
    assert only(customer)[1] == {**before, "order": {**before["order"], "status": "delivered"}}
    replace(shop, tokens, state.item, receipt(status="shipped"))
    file(customer)
    assert only(customer)[1]["order"]["status"] == "delivered"  # never back
    withdraw(shop, tokens, state.item)
    file(customer)
    assert only(customer)[1] == {**before, "order": {**before["order"], "status": "cancelled"}}


def test_who_the_shop_is_was_her_word_where_she_was_asked(customer: Customer, consent: Consent) -> None:
    shop = Vendor.register(consent, sells_as=("corner.example",))
    parts = (writing(), part("answers.corrections"))
    imported(customer)
    none, hers = (
        shop.connect(customer, *parts, sellers=()),
        shop.connect(customer, *parts, sellers=("corner.example",)),
    )
    shop.leave(none.access_token, receipt(status="delivered"))
    file(customer)
    assert only(customer)[1]["order"]["status"] == "unknown"
    shop.leave(hers.access_token, receipt(status="delivered"))
    file(customer)
    assert only(customer)[1]["order"]["status"] == "delivered"


def test_a_word_that_was_hers_before_does_not_become_the_senders_by_saying_the_same(
    vendor: Vendor, tokens: TokenSet, customer: Customer
) -> None:
    state, _ = vendor.leave(tokens.access_token, receipt())
    file(customer)
    customer.change(only(customer)[0], "order", ordered="2026-11-02")
    for day in ("2026-11-02", "2020-01-01"):
        replace(vendor, tokens, state.item, receipt(ordered=day))
        file(customer)
    assert only(customer)[1]["order"]["ordered"] == "2026-11-02"
    customer.change(only(customer)[0], "order", ordered=None)
    replace(vendor, tokens, state.item, receipt(ordered="2026-11-02"))
    file(customer)
    assert "ordered" not in only(customer)[1]["order"]  # what she emptied is no gap


def test_an_import_knows_again_what_was_left(vendor: Vendor, tokens: TokenSet, customer: Customer) -> None:
    vendor.leave(tokens.access_token, {**RECEIPT, "order": {**RECEIPT["order"], "seller": "corner.example"}})
    file(customer)
    line = Line(1, "corner.example", "R-1", "0807083690", 1)
    with customer.vault.records("purchases").staging() as staging:
        known = staging.known()
    assert known == {customer.vault.keyring.fingerprint(*line.fingerprint): only(customer)[0]}


@pytest.mark.parametrize("number", ["9780807083697", "978-0-8070-8369-7", "0807083690"])
def test_a_book_is_the_same_line_by_either_of_its_numbers(
    vendor: Vendor, tokens: TokenSet, customer: Customer, number: str
) -> None:
    item = {"title": "Kindred", "isbn": number}
    record = imported(customer, title="Kindred (1979)")
    vendor.leave(tokens.access_token, {"item": item, "order": receipt()["order"]})
    vendor.leave(tokens.access_token, {"item": item, "order": receipt(order_number="R-2")["order"]})
    file(customer)
    line = Line(1, "corner.example", "R-2", "0807083690", 1)
    with customer.vault.records("purchases").staging() as staging:
        known = staging.known()
    assert len(known) == 2
    assert known.pop(customer.vault.keyring.fingerprint(*line.fingerprint)) != record, "an import knows it"
    assert set(known.values()) == {record}, "what an import brought is not there twice"


def test_the_same_order_line_left_twice_is_one_purchase(
    vendor: Vendor, tokens: TokenSet, customer: Customer
) -> None:
    vendor.leave(tokens.access_token, RECEIPT)
    vendor.leave(tokens.access_token, {**RECEIPT, "price": {"total": "13.99", "currency": "EUR"}})
    file(customer)
    assert only(customer)[1]["price"]["total"] == "12.99"  # the second brought nothing
    vendor.leave(tokens.access_token, {"item": {"title": "Without a number"}})
    vendor.leave(tokens.access_token, {"item": {"title": "Without a number"}})
    file(customer)
    assert customer.vault.records("purchases").count() == 3


def test_a_later_word_changes_only_what_was_the_senders(
    vendor: Vendor, tokens: TokenSet, customer: Customer
) -> None:
    state, _ = vendor.leave(tokens.access_token, RECEIPT)
    file(customer)
    record, _ = only(customer)
    customer.change(record, "context", **{"for": "self", "occasion": "mine"})
    customer.change(record, "experience", rating=5)
    customer.change(record, "notes", text="lovely")
    customer.change(record, "item", title="My name for it", category="toys")
    newer = {
        "item": {"title": "Kindred, 2nd", "asin": "0807083690", "category": "music"},
        "order": {"order_number": "R-1", "status": "delivered", "delivered": "2026-11-20"},
    }
    replace(vendor, tokens, state.item, newer)
    file(customer)
    _, document = only(customer)
    assert document["item"]["title"] == "My name for it"
    assert document["item"]["category"] == "toys"
    assert document["order"]["status"] == "delivered"
    assert document["order"]["delivered"] == "2026-11-20"
    assert "ordered" not in document["order"]  # not said any more
    assert document["price"] == {}
    assert document["context"] == {"for": "self", "occasion": "mine"}
    assert document["experience"] == {"rating": 5}
    assert document["notes"]["text"] == "lovely"
    assert vendor.state(tokens.access_token, state.item).status == "filed"


def test_what_is_taken_back_after_filing_is_a_cancelled_order(
    vendor: Vendor, tokens: TokenSet, customer: Customer
) -> None:
    state, _ = vendor.leave(tokens.access_token, RECEIPT)
    file(customer)
    customer.change(only(customer)[0], "context", **{"for": "gift"})
    withdraw(vendor, tokens, state.item)
    file(customer)
    _, document = only(customer)
    assert document["order"]["status"] == "cancelled"
    assert document["item"]["title"] == "Kindred"
    assert document["context"] == {"for": "gift"}
    assert vendor.consent.deposits.page(
        vendor.consent.reader.authenticate(tokens.access_token), "purchases", limit=9, cursor=None
    ) == ([], None)


def test_what_is_taken_back_after_filing_is_gone_for_its_writer_at_once_and_stays_so(
    vendor: Vendor, tokens: TokenSet, customer: Customer
) -> None:
    deposits = vendor.consent.deposits
    access = vendor.consent.reader.authenticate(tokens.access_token)
    state, _ = vendor.leave(tokens.access_token, RECEIPT)
    file(customer)
    withdraw(vendor, tokens, state.item)
    for _ in range(2):  # before she opens her vault, and after
        with pytest.raises(NotInViewError):
            vendor.state(tokens.access_token, state.item)
        with pytest.raises(NotInViewError):
            replace(vendor, tokens, state.item, RECEIPT)
        with pytest.raises(NotInViewError):
            withdraw(vendor, tokens, state.item)
        assert deposits.page(access, "purchases", limit=9, cursor=None) == ([], None)
        file(customer)
        assert only(customer)[1]["order"]["status"] == "cancelled"


def test_a_taking_back_that_an_earlier_version_left_pending_is_filed(
    vendor: Vendor, tokens: TokenSet, customer: Customer, engine: Engine
) -> None:
    access = vendor.consent.reader.authenticate(tokens.access_token)
    state, _ = vendor.leave(tokens.access_token, RECEIPT)
    file(customer)
    withdraw(vendor, tokens, state.item)
    pen = vendor.consent.deposits._pen(access, "purchases")
    stored = State(state.item, 2, state.updated, "pending", ever_filed=True)
    with engine.write() as transaction:
        transaction.execute("UPDATE deposits SET updated = ?, sealed = ?", (stored.updated, pen.seal(stored)))
    assert vendor.state(tokens.access_token, state.item).status == "pending"
    file(customer)
    assert only(customer)[1]["order"]["status"] == "cancelled"
    with pytest.raises(NotInViewError):
        vendor.state(tokens.access_token, state.item)


def test_a_message_that_was_read_can_be_changed_and_taken_back_but_says_so(
    vendor: Vendor, tokens: TokenSet, customer: Customer, clock: SettableClock
) -> None:
    state, _ = vendor.leave(tokens.access_token, MESSAGE, collection="inbox")
    file(customer)
    clock.forward(86_400)
    tokens = vendor.refresh(tokens.refresh_token)
    replace(vendor, tokens, state.item, {"message": {"subject": "Your order", "text": "Late."}}, "inbox")
    file(customer)
    message = only(customer, "inbox")[1]["message"]
    assert (message["text"], message["received"], message["revised"]) == ("Late.", "2026-11-18", "2026-11-19")
    clock.forward(86_400)
    tokens = vendor.refresh(tokens.refresh_token)
    withdraw(vendor, tokens, state.item, "inbox")
    file(customer)
    message = only(customer, "inbox")[1]["message"]
    assert (message["text"], message["withdrawn"], message["revised"]) == ("Late.", True, "2026-11-20")


def test_what_she_removed_does_not_come_back(vendor: Vendor, tokens: TokenSet, customer: Customer) -> None:
    state, _ = vendor.leave(tokens.access_token, RECEIPT)
    file(customer)
    customer.vault.records("purchases").remove(only(customer)[0])
    replace(vendor, tokens, state.item, RECEIPT)
    file(customer)
    withdraw(vendor, tokens, state.item)
    file(customer)
    assert customer.vault.records("purchases").count() == 0


def test_what_was_accepted_before_the_end_is_filed_after_it(
    vendor: Vendor, tokens: TokenSet, customer: Customer, engine: SqliteEngine
) -> None:
    vendor.leave(tokens.access_token, RECEIPT)
    customer.consent.grants.revoke(customer.vault, tokens.grant_id)
    assert customer.consent.at_unlock(customer.vault) == []
    assert only(customer)[1]["item"]["title"] == "Kindred"
    assert engine.all("SELECT 1 FROM mailbox_notes") == []  # nobody can follow it any more


def test_what_is_left_while_an_import_runs_waits_for_its_end(
    vendor: Vendor, tokens: TokenSet, customer: Customer
) -> None:
    vendor.leave(tokens.access_token, RECEIPT)
    with customer.vault.records("purchases").staging():
        assert file(customer) == 0
    assert file(customer) == 1


class _Killed(Filing):
    """Dies after two batches."""

    batches = 0

    def _file(self, vault: Vault, items: list[Item]) -> tuple[int, int]:
        if self.batches == 2:
            raise KeyboardInterrupt
        self.batches += 1
        return super()._file(vault, items)


def test_many_items_are_filed_in_batches_that_stay_filed(
    vendor: Vendor, tokens: TokenSet, customer: Customer, engine: SqliteEngine, clock: SettableClock
) -> None:
    for number in range(20):
        vendor.leave(tokens.access_token, {"item": {"title": f"Book {number}"}})
    with pytest.raises(KeyboardInterrupt):
        _Killed(engine, clock, batch=7).run(customer.vault)
    assert customer.vault.records("purchases").count() == 14
    assert file(customer) == 6
    titles = {document["item"]["title"] for _, document in customer.vault.records("purchases").scan()}
    assert titles == {f"Book {number}" for number in range(20)}


@only_sqlite
def test_an_altered_record_stops_only_the_item_that_belongs_to_it(
    vendor: Vendor, tokens: TokenSet, customer: Customer, engine: SqliteEngine
) -> None:
    state, _ = vendor.leave(tokens.access_token, RECEIPT)
    file(customer)
    with engine.write() as transaction:
        transaction.execute(
            "UPDATE records SET body = CAST(substr(body, 1, length(body) - 1) || x'00' AS BLOB)"
        )
    replace(vendor, tokens, state.item, {"item": {"title": "Other"}})
    vendor.leave(tokens.access_token, {"item": {"title": "Next"}})
    assert file(customer) >= 1
    assert [one.reason for one in customer.consent.filing.put_aside(customer.vault)] == ["invalid"]
    assert customer.vault.records("purchases").count() == 2


def test_filing_twice_changes_nothing(vendor: Vendor, tokens: TokenSet, customer: Customer) -> None:
    vendor.leave(tokens.access_token, RECEIPT)
    assert [file(customer), file(customer)] == [1, 0]
    before = only(customer)
    assert customer.consent.at_unlock(customer.vault) == []
    assert only(customer) == before
    assert customer.vault.check() == []


def test_two_vendors_of_one_shop_name_are_told_apart(customer: Customer, consent: Consent) -> None:
    one, other = Vendor.register(consent, "Corner Books"), Vendor.register(consent, "Corner Books")
    first, second = one.connect(customer, writing()), other.connect(customer, writing())
    left, _ = one.leave(first.access_token, RECEIPT)
    access = consent.reader.authenticate(second.access_token)
    assert not consent.deposits.owns(access, "purchases", left.item.hex())
    assert consent.deposits.page(access, "purchases", limit=9, cursor=None) == ([], None)


def test_a_filing_that_comes_too_late_puts_nothing_back(
    vendor: Vendor, tokens: TokenSet, customer: Customer, engine: SqliteEngine
) -> None:
    """Between judging and storing, another session files the item, and what the vendor said after it."""
    state, _ = vendor.leave(tokens.access_token, RECEIPT)
    met: list[str] = []

    def overtake() -> None:
        file(customer)
        replace(
            vendor, tokens, state.item, {**RECEIPT, "item": {**RECEIPT["item"], "title": "Kindred, again"}}
        )
        file(customer)

    def meanwhile(statement: str) -> None:
        if not met and "FROM grants" in statement:
            met.append(statement)
            with ThreadPoolExecutor() as pool:
                pool.submit(overtake).result()

    with traced(engine, meanwhile):
        file(customer)
    assert met
    assert only(customer)[1]["item"]["title"] == "Kindred, again"
    assert customer.consent.filing.left(customer.vault) == 0
    assert customer.consent.at_unlock(customer.vault) == []
    assert customer.vault.check() == []


def test_what_follows_an_altered_note_comes_as_something_new(
    vendor: Vendor, tokens: TokenSet, customer: Customer, engine: SqliteEngine
) -> None:
    receipt, _ = vendor.leave(tokens.access_token, RECEIPT)
    message, _ = vendor.leave(tokens.access_token, MESSAGE, collection="inbox")
    file(customer)
    with engine.write() as transaction:
        transaction.execute("UPDATE mailbox_notes SET sealed = zeroblob(600)")
    replace(vendor, tokens, receipt.item, {**RECEIPT, "price": {"total": "11.99", "currency": "EUR"}})
    replace(vendor, tokens, message.item, {"message": {"subject": "Your order", "text": "Late."}}, "inbox")
    assert file(customer) == 2
    assert customer.consent.filing.put_aside(customer.vault) == []
    assert only(customer)[1]["price"]["total"] == "12.99", (
        "the line is known, and is not this sender's any more"
    )
    texts = [document["message"]["text"] for _, document in customer.vault.records("inbox").scan()]
    assert sorted(texts) == ["It is on its way.", "Late."]


def test_of_several_that_were_put_aside_the_one_that_she_names_is_thrown_away(
    vendor: Vendor, tokens: TokenSet, customer: Customer, engine: SqliteEngine
) -> None:
    for number in range(3):
        vendor.leave(tokens.access_token, {"item": {"title": f"Book {number}"}})
    with engine.write() as transaction:
        transaction.execute("UPDATE mailbox SET sealed = zeroblob(100)")
    filing = customer.consent.filing
    filing.run(customer.vault)
    assert [one.number for one in filing.put_aside(customer.vault)] == [1, 2, 3]
    assert filing.discard(customer.vault, tokens.grant_id, 2)
    assert not filing.discard(customer.vault, "another grant", 3)
    assert [one.number for one in filing.put_aside(customer.vault)] == [1, 3]


def test_a_look_through_the_mailbox_without_marks_names_what_was_met_and_judges_nothing(
    vendor: Vendor, tokens: TokenSet, customer: Customer, engine: SqliteEngine
) -> None:
    vendor.leave(tokens.access_token, RECEIPT)
    with engine.write() as transaction:
        transaction.execute("UPDATE mailbox SET sealed = zeroblob(100)")
    filing, vault = customer.consent.filing, customer.vault
    vendor.leave(tokens.access_token, {"item": {"title": "Next"}})
    planted = ["an item of the mailbox was planted or altered (number 1)"]
    assert (filing.problems(vault), filing.check(vault)) == ([], planted)
    filing.run(vault)
    with engine.write() as transaction:
        transaction.execute("UPDATE mailbox_marks SET sealed = x'00'")
    vendor.leave(tokens.access_token, {"item": {"title": "Last"}})
    assert filing.check(vault) == planted
    assert "the marks of the mailbox were altered or taken away" in vault.problems()


@pytest.mark.parametrize("sql", ["DELETE FROM mailbox_notes", "UPDATE mailbox_notes SET sealed = x'00'"])
def test_a_taking_back_of_what_nothing_is_noted_of_changes_nothing(
    sql: str, vendor: Vendor, tokens: TokenSet, customer: Customer, engine: SqliteEngine
) -> None:
    state, _ = vendor.leave(tokens.access_token, RECEIPT)
    file(customer)
    before = only(customer)
    with engine.write() as transaction:
        transaction.execute(sql)
    withdraw(vendor, tokens, state.item)
    assert file(customer) == 1
    assert only(customer) == before
    assert customer.consent.filing.put_aside(customer.vault) == []
