"""Purchases that come in after an approval wait: for the customer's word, or for two weeks."""

from __future__ import annotations

import multiprocessing
import os
import random
import threading
from typing import Any

import pytest

from tests.attacks.actors import Customer, Vendor
from tests.conftest import SettableClock
from vrm.clock import day_of
from vrm.consent import policy
from vrm.consent.grants import DAY
from vrm.errors import ConflictError, GrantNotFoundError, ValidationError
from vrm.vault.envelope import pack_named, unpack_named
from vrm.vault.sqlite import SqliteEngine

LONG = os.environ.get("VRM_TEST_LONG") == "1"
STRICT = os.environ.get("VRM_TEST_STRICT") == "1"
DAYS = 360 if LONG or STRICT else 120  # of the simulated year
OLD = ["Beloved", "Emma", "Kindred"]


def waiting(customer: Customer) -> dict[str, list[str]]:
    found = customer.consent.arrivals.waiting(customer.vault)
    return {grant: sorted(one.document["item"]["title"] for one in rows) for grant, rows in found.items()}


def unlock(customer: Customer) -> None:
    assert customer.consent.at_unlock(customer.vault) == []


def in_step(customer: Customer) -> bool:
    return not customer.consent.grants.differences(customer.vault)


def test_what_comes_in_later_waits_for_her_word(
    customer: Customer, vendor: Vendor, books: list[str], clock: SettableClock
) -> None:
    tokens = vendor.connect(customer, days=365)
    new = customer.buy("Middlemarch")
    for days in (0, 1, 14, 200):
        clock.forward(days * DAY)
        unlock(customer)
        assert waiting(customer) == {tokens.grant_id: ["Middlemarch"]}
    assert customer.consent.arrivals.admit(customer.vault, tokens.grant_id, frozenset({new, "unknown"})) == 1
    assert waiting(customer) == {}
    assert customer.events()[0] == "admitted"
    assert in_step(customer)


def test_what_she_let_in_is_read_and_what_waits_is_not(
    customer: Customer, vendor: Vendor, books: list[str]
) -> None:
    tokens = vendor.connect(customer)
    customer.buy("Middlemarch")
    wanted = customer.buy("Villette")
    assert vendor.titles(tokens.access_token) == OLD
    customer.consent.arrivals.admit(customer.vault, tokens.grant_id, frozenset({wanted}))
    assert vendor.titles(tokens.access_token) == [*OLD, "Villette"]
    assert waiting(customer) == {tokens.grant_id: ["Middlemarch"]}


def test_two_weeks_pass_before_it_leaves_and_not_a_day_less(
    customer: Customer, vendor: Vendor, books: list[str], clock: SettableClock
) -> None:
    tokens = vendor.connect(customer, fresh=policy.LATER)
    customer.buy("Middlemarch")
    [one] = customer.consent.arrivals.waiting(customer.vault)[tokens.grant_id]
    assert one.leaves == day_of(clock.now() + 14 * DAY).isoformat()
    clock.forward(13 * DAY)
    unlock(customer)
    count = customer.consent.views.count(tokens.grant_id)
    assert count == len(OLD)
    clock.forward(DAY)
    assert in_step(customer)  # it may be missing until she comes, and is not called a fault
    assert customer.consent.views.count(tokens.grant_id) == count
    unlock(customer)
    assert customer.consent.views.count(tokens.grant_id) == count + 1
    assert waiting(customer) == {}
    assert in_step(customer)


def test_what_she_keeps_back_within_the_two_weeks_never_leaves(
    customer: Customer, vendor: Vendor, books: list[str], clock: SettableClock
) -> None:
    tokens = vendor.connect(customer, fresh=policy.LATER)
    new = customer.buy("Middlemarch")
    customer.consent.grants.narrow(customer.vault, tokens.grant_id, exclude=frozenset({new}))
    assert waiting(customer) == {}
    clock.forward(20 * DAY)
    unlock(customer)
    assert customer.consent.views.count(tokens.grant_id) == len(OLD)


@pytest.mark.parametrize("act", ["keep back", "stop", "remove"])
def test_what_she_does_in_another_window_while_she_logs_in_counts(
    customer: Customer,
    vendor: Vendor,
    books: list[str],
    clock: SettableClock,
    engine: SqliteEngine,
    act: str,
) -> None:
    """The log-in has found what is ripe and waits for its turn to write; her other window was first."""
    tokens = vendor.connect(customer, fresh=policy.LATER)
    new = customer.buy("Middlemarch")
    clock.forward(15 * DAY)
    grants, records = customer.consent.grants, customer.vault.records("purchases")
    with engine.write():
        login = threading.Thread(target=customer.consent.arrivals.ripen, args=(customer.vault,))
        login.start()
        login.join(0.3)
        assert login.is_alive(), "it waits for its turn"
        if act == "keep back":
            grants.narrow(customer.vault, tokens.grant_id, exclude=frozenset({new}))
        elif act == "stop":
            grants.revoke(customer.vault, tokens.grant_id)
        else:
            records.remove(new)
    login.join()
    assert customer.consent.views.count(tokens.grant_id) == (0 if act == "stop" else len(OLD))
    assert in_step(customer)


@pytest.mark.parametrize("rule", [policy.ASK, policy.LATER])
@pytest.mark.parametrize("facet", ["notes", "item"])  # with the day on which it came in, and without
def test_one_that_was_altered_keeps_no_other_from_its_day(
    customer: Customer,
    vendor: Vendor,
    books: list[str],
    clock: SettableClock,
    engine: SqliteEngine,
    rule: str,
    facet: str,
) -> None:
    tokens = vendor.connect(customer, fresh=rule)
    altered = customer.buy("Middlemarch")
    customer.buy("Villette")
    row = engine.one("SELECT body FROM records WHERE record = ?", (altered,))
    assert row is not None
    parts = unpack_named(row[0])
    parts[facet] = bytes(len(parts[facet]))
    with engine.write() as transaction:
        transaction.execute("UPDATE records SET body = ? WHERE record = ?", (pack_named(parts), altered))
    assert waiting(customer) == {tokens.grant_id: ["Villette"]}
    clock.forward(14 * DAY)
    unlock(customer)
    let_in = [*OLD, "Villette"] if rule == policy.LATER else OLD
    assert vendor.titles(vendor.refresh(tokens.refresh_token).access_token) == let_in
    admitted = customer.consent.arrivals.admit(customer.vault, tokens.grant_id, frozenset({altered}))
    assert admitted == 0


def test_an_unsorted_or_given_purchase_does_not_even_wait(
    customer: Customer, vendor: Vendor, books: list[str], clock: SettableClock
) -> None:
    tokens = vendor.connect(customer, fresh=policy.LATER)
    present, unsorted = customer.buy("Lego", "gift"), customer.buy("Unknown", None)
    assert waiting(customer) == {}
    assert (
        customer.consent.arrivals.admit(customer.vault, tokens.grant_id, frozenset({present, unsorted})) == 0
    )
    clock.forward(30 * DAY)
    unlock(customer)
    assert customer.consent.views.count(tokens.grant_id) == len(OLD)
    customer.change(unsorted, "context", **{"for": "self"})  # sorted late: its two weeks are over
    assert customer.consent.views.count(tokens.grant_id) == len(OLD) + 1


def test_an_edit_does_not_make_it_older_or_newer(
    customer: Customer, vendor: Vendor, books: list[str], clock: SettableClock
) -> None:
    tokens = vendor.connect(customer)
    new = customer.buy("Middlemarch")
    stored = customer.vault.records("purchases").get(new)
    forged = {**stored, "notes": {"text": "mine", "arrived": 1}}
    customer.put(forged, record=new)
    known = customer.vault.records("purchases").get(books[0])
    customer.put({**known, "notes": {"arrived": clock.now() + DAY}}, record=books[0])
    assert customer.vault.records("purchases").get(new)["notes"] == {
        "text": "mine",
        "arrived": stored["notes"]["arrived"],
    }
    assert vendor.titles(tokens.access_token) == OLD


def test_before_any_grant_nothing_notes_when_it_came_in(customer: Customer) -> None:
    assert customer.vault.records("purchases").get(customer.buy("Emma"))["notes"] == {}


def test_what_came_in_within_the_second_of_the_approval_was_shown_and_leaves(
    customer: Customer, vendor: Vendor, books: list[str]
) -> None:
    vendor.connect(customer)
    customer.buy("Middlemarch")  # stamped, since a grant is live
    request = vendor.ask()
    assert customer.preview(request).count == len(OLD) + 1
    tokens = vendor.redeem(customer.approve(request))
    assert vendor.titles(tokens.access_token) == sorted([*OLD, "Middlemarch"])
    assert in_step(customer)


def test_the_rule_can_only_become_stricter_and_keeps_what_they_see(
    customer: Customer, vendor: Vendor, books: list[str], clock: SettableClock
) -> None:
    tokens = vendor.connect(customer, fresh=policy.LATER)
    customer.buy("Middlemarch")
    clock.forward(15 * DAY)
    unlock(customer)
    customer.buy("Villette")
    narrowed = customer.consent.grants.narrow(customer.vault, tokens.grant_id, fresh=policy.ASK)
    assert (narrowed.rows, narrowed.reserve.fresh) == (len(OLD) + 1, policy.ASK)
    assert waiting(customer) == {tokens.grant_id: ["Villette"]}
    for wider in (policy.LATER, policy.AT_ONCE, "never"):
        with pytest.raises(ValidationError) as refused:
            customer.consent.grants.narrow(customer.vault, tokens.grant_id, fresh=wider)
        assert "fresh" in refused.value.fields
    assert in_step(customer)


def test_an_unknown_rule_is_refused(customer: Customer, vendor: Vendor, books: list[str]) -> None:
    with pytest.raises(ValidationError) as refused:
        customer.preview(vendor.ask(), fresh="sometimes")
    assert "fresh" in refused.value.fields


def test_nothing_is_let_into_a_grant_that_ended(
    customer: Customer, vendor: Vendor, books: list[str], clock: SettableClock
) -> None:
    tokens = vendor.connect(customer, days=1)
    new = customer.buy("Middlemarch")
    clock.forward(DAY)
    with pytest.raises(GrantNotFoundError):
        customer.consent.arrivals.admit(customer.vault, tokens.grant_id, frozenset({new}))
    with pytest.raises(GrantNotFoundError):
        customer.consent.arrivals.admit(customer.vault, "another", frozenset({new}))


def test_an_import_that_runs_meanwhile_holds_the_approval_back(
    customer: Customer, vendor: Vendor, books: list[str]
) -> None:
    """What it would show afterwards was shown in no preview, and would not count as new."""
    request, records = vendor.ask(), customer.vault.records("purchases")
    with records.staging() as staging:
        staging.add([(b"1" * 16, records.check({"item": {"title": "Hidden"}, "context": {"for": "self"}}))])
        with pytest.raises(ConflictError, match="an import is running"):
            customer.approve(request)
        staging.publish(lambda current, newer: newer)
    assert customer.consent.grants.listing(customer.vault) == []
    customer.approve(request)


def _stage_and_die(folder: str) -> None:
    from pathlib import Path

    from tests.conftest import CHEAP, PASSPHRASE
    from tests.postgres import engine_of
    from vrm.vault import serverkey
    from vrm.vault.vault import Vaults

    engine = engine_of(Path(folder))
    vaults = Vaults(engine, serverkey.load(Path(folder) / "server.key"), clock=SettableClock(), limits=CHEAP)
    with vaults.unlock("alice", PASSPHRASE).records("purchases").staging():
        os._exit(9)


def test_an_import_that_was_killed_holds_nothing_back(
    customer: Customer, vendor: Vendor, books: list[str], folder: Any
) -> None:
    child = multiprocessing.get_context("spawn").Process(target=_stage_and_die, args=(str(folder),))
    child.start()
    child.join()
    assert child.exitcode == 9
    assert vendor.titles(vendor.connect(customer).access_token) == OLD


def test_what_an_import_brings_later_waits_too(customer: Customer, vendor: Vendor, books: list[str]) -> None:
    tokens = vendor.connect(customer)
    records = customer.vault.records("purchases")
    with records.staging() as staging:
        bought = {"item": {"title": "Villette"}, "context": {"for": "self"}}
        staging.add([(b"1" * 16, records.check(bought))])
        staging.publish(lambda current, newer: newer)
    assert vendor.titles(tokens.access_token) == OLD
    assert waiting(customer) == {tokens.grant_id: ["Villette"]}


class Year:
    """Purchases come in, are sorted late or never or wrongly first; she looks in now and then."""

    def __init__(self, customer: Customer, grants: dict[str, str], clock: SettableClock, seed: int) -> None:
        self.customer = customer
        self.consent = customer.consent
        self.grants = grants  # rule → grant
        self.clock = clock
        self.chance = random.Random(seed)
        self.arrived: dict[str, int] = {}
        self.admitted: set[str] = set()
        self.kept_back: set[tuple[str, str]] = set()

    def day(self) -> None:
        self.clock.forward(DAY)
        for likely, act in ((0.4, self.buy), (0.3, self.sort), (0.2, self.look_in), (0.2, self.check)):
            if self.chance.random() < likely:
                act()

    def buy(self) -> None:
        first = self.chance.choice([None, None, "self", "gift"])
        self.arrived[self.customer.buy(f"Book {len(self.arrived)}", first)] = self.clock.now()

    def sort(self) -> None:
        if self.arrived:
            word = self.chance.choice(["self", "gift"])
            self.customer.change(self.chance.choice(list(self.arrived)), "context", **{"for": word})

    def look_in(self) -> None:
        unlock(self.customer)
        for grant_id, rows in self.consent.arrivals.waiting(self.customer.vault).items():
            record = self.chance.choice(rows).record
            if self.chance.random() < 0.2:
                self.consent.grants.narrow(self.customer.vault, grant_id, exclude=frozenset({record}))
                self.kept_back.add((grant_id, record))
            elif grant_id == self.grants[policy.ASK] and self.chance.random() < 0.5:
                self.consent.arrivals.admit(self.customer.vault, grant_id, frozenset({record}))
                self.admitted.add(record)

    def check(self) -> None:
        for rule, grant_id in self.grants.items():
            for _, record, _ in self.consent.grants.leaving(self.customer.vault, grant_id):
                document = self.customer.vault.records("purchases").get(record)
                assert document["context"].get("for") == "self"
                assert (grant_id, record) not in self.kept_back
                assert record not in self.arrived or self.may_leave(rule, record)

    def may_leave(self, rule: str, record: str) -> bool:
        if rule == policy.ASK:
            return record in self.admitted
        return (day_of(self.clock.now()) - day_of(self.arrived[record])).days >= policy.WAITING_DAYS


@pytest.mark.parametrize("seed", [1, 2, 3] if LONG else [1])
def test_in_a_simulated_year_nothing_unsorted_and_nothing_early_leaves(
    customer: Customer, vendor: Vendor, books: list[str], clock: SettableClock, seed: int
) -> None:
    rules = (policy.ASK, policy.LATER)
    grants = {rule: vendor.connect(customer, days=365, fresh=rule).grant_id for rule in rules}
    year = Year(customer, grants, clock, seed)
    for _ in range(DAYS):
        year.day()
    unlock(customer)
    year.check()
    assert in_step(customer)
    shared = {rule: customer.consent.views.count(grant_id) for rule, grant_id in grants.items()}
    assert len(OLD) < shared[policy.ASK] < shared[policy.LATER]  # both rules do let something through
