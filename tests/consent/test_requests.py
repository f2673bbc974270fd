"""Requests: what is approved is what was shown, once, before its end, by who holds the handle."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.attacks.actors import Customer, Vendor, part
from tests.conftest import PASSPHRASE, SettableClock
from vrm.consent.credentials import read_token
from vrm.consent.requests import Choices
from vrm.consent.service import Consent
from vrm.errors import (
    RequestChangedError,
    RequestNotFoundError,
    TokenError,
    ValidationError,
    VendorNotFoundError,
)
from vrm.vault.sqlite import SqliteEngine
from vrm.vault.vault import Vaults


def test_a_request_is_stored_so_that_only_its_handle_shows_it(vendor: Vendor, engine: SqliteEngine) -> None:
    request = vendor.ask(part("purchases.context", retention="P30D"))
    [row] = engine.all("SELECT * FROM requests")
    stored = b"".join(value if isinstance(value, bytes) else str(value).encode() for value in row)
    for word in (request.handle, "purchases", "st4te", vendor.registered.client_id, request.redirect_uri):
        assert word.encode() not in stored
    assert request.handle not in repr(request)
    assert request.code_challenge not in repr(request)


@pytest.mark.parametrize(
    "handle", ["", "vrm_rq_", "vrm_rq_" + "A" * 48, "x" * 55, "vrm_at_" + "A" * 48, "vrm_rq_ü"]
)
def test_an_unknown_handle_shows_nothing(handle: str, consent: Consent) -> None:
    with pytest.raises(RequestNotFoundError):
        consent.requests.open(handle)


def test_looking_does_not_spend_a_request(customer: Customer, vendor: Vendor, books: list[str]) -> None:
    request = vendor.ask()
    assert customer.preview(request) == customer.preview(request)
    assert customer.approve(request)


@pytest.mark.meets("oauch-AuthEndpoint/RequireUserConsentTest")
def test_a_request_is_decided_once(customer: Customer, vendor: Vendor, books: list[str]) -> None:
    request = vendor.ask()
    digest = customer.preview(request).digest
    customer.approve(request)
    for act in (
        lambda: customer.approve(request),
        lambda: customer.consent.requests.approve(customer.vault, request.handle, Choices(), digest),
        lambda: customer.consent.requests.decline(customer.vault, request.handle),
    ):
        with pytest.raises(RequestNotFoundError):
            act()
    assert len(customer.consent.grants.listing(customer.vault)) == 1


def test_two_decisions_at_once_make_one_grant(
    customer: Customer, vendor: Vendor, books: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both have opened the request; the first one to write wins."""
    request = vendor.ask()
    requests = customer.consent.requests
    monkeypatch.setattr(requests, "open", lambda handle: request)
    preview = customer.preview(request)
    assert requests.approve(customer.vault, request.handle, Choices(), preview.digest).code
    with pytest.raises(RequestNotFoundError):
        requests.approve(customer.vault, request.handle, Choices(), preview.digest)
    assert len(customer.consent.grants.listing(customer.vault)) == 1


def test_an_expired_request_is_gone(customer: Customer, vendor: Vendor, clock: SettableClock) -> None:
    request = vendor.ask()
    assert request.expires == clock.now() + 3600
    clock.forward(3600)
    with pytest.raises(RequestNotFoundError):
        customer.preview(request)


def test_the_request_of_a_blocked_vendor_is_gone(
    customer: Customer, vendor: Vendor, consent: Consent
) -> None:
    request = vendor.ask()
    consent.sweeping.block(vendor.registered.client_id)
    with pytest.raises(RequestNotFoundError):
        customer.preview(request)


def test_a_vendor_blocked_during_the_decision_gets_nothing(
    customer: Customer, vendor: Vendor, consent: Consent, books: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    request = vendor.ask()
    digest = customer.preview(request).digest
    monkeypatch.setattr(consent.requests, "open", lambda handle: request)
    consent.sweeping.block(vendor.registered.client_id)
    with pytest.raises(RequestNotFoundError):
        consent.requests.approve(customer.vault, request.handle, Choices(), digest)
    assert consent.grants.listing(customer.vault) == []


def test_a_request_of_a_vendor_that_is_gone_is_gone(
    customer: Customer, vendor: Vendor, engine: SqliteEngine
) -> None:
    request = vendor.ask()
    with engine.write() as transaction:
        transaction.execute("DELETE FROM vendors")
    with pytest.raises(VendorNotFoundError):
        customer.consent.vendors.get(vendor.registered.client_id)
    with pytest.raises(RequestNotFoundError):
        customer.preview(request)


CHANGES: dict[str, Callable[[Customer, list[str], SettableClock], object]] = {
    "a record changed": lambda customer, books, clock: customer.change(books[0], "item", title="Other"),
    "a record came": lambda customer, books, clock: customer.buy("Another"),
    "a withheld record came": lambda customer, books, clock: customer.buy("Another", "gift"),
    "a record went": lambda customer, books, clock: customer.vault.records("purchases").remove(books[0]),
    "a day passed": lambda customer, books, clock: setattr(
        clock, "at", clock.at // 86400 * 86400 + 86400 - 3000
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_changed_since_the_preview_is_shown_again(
    change: str, customer: Customer, vendor: Vendor, books: list[str], clock: SettableClock
) -> None:
    clock.at = clock.at // 86400 * 86400 + 86400 - 60 if change == "a day passed" else clock.at
    request = vendor.ask()
    digest = customer.preview(request).digest
    if change == "a day passed":
        clock.forward(61)
    else:
        CHANGES[change](customer, books, clock)
    with pytest.raises(RequestChangedError):
        customer.consent.requests.approve(customer.vault, request.handle, Choices(), digest)
    assert customer.consent.grants.listing(customer.vault) == []
    assert customer.approve(request)


@pytest.mark.parametrize(
    "choices",
    [
        {"for_whom": frozenset({"self", "gift"})},
        {"unsorted": True},
        {"period": "P1Y"},
        {"sellers": ("x.example",)},
    ],
)
def test_other_rules_than_those_shown_are_refused(
    choices: dict[str, Any], customer: Customer, vendor: Vendor, books: list[str]
) -> None:
    request = vendor.ask(part("purchases.item"), part("answers.corrections"))
    digest = customer.preview(request).digest
    with pytest.raises(RequestChangedError):
        customer.consent.requests.approve(customer.vault, request.handle, Choices(**choices), digest)


@pytest.mark.parametrize("digest", ["", "0" * 32, "ü", "\udcff"])
def test_a_wrong_digest_is_refused(digest: str, customer: Customer, vendor: Vendor) -> None:
    with pytest.raises(RequestChangedError):
        customer.consent.requests.approve(customer.vault, vendor.ask().handle, Choices(), digest)


def test_the_digest_is_of_one_vault_and_one_request(
    customer: Customer, vendor: Vendor, vaults: Vaults, books: list[str]
) -> None:
    one, other = vendor.ask(), vendor.ask()
    bob = Customer(vaults.create("bob", PASSPHRASE)[0], customer.consent)
    digests = {customer.preview(one).digest, customer.preview(other).digest, bob.preview(one).digest}
    assert len(digests) == 3


def test_a_record_that_changes_while_approving_is_noticed(
    customer: Customer, vendor: Vendor, books: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    request = vendor.ask()
    requests = customer.consent.requests
    digest, plan = customer.preview(request).digest, requests._plan

    def plan_then_change(*given: Any, **rest: Any) -> Any:
        made = plan(*given, **rest)
        customer.change(books[0], "context", **{"for": "gift"})
        return made

    monkeypatch.setattr(requests, "_plan", plan_then_change)
    with pytest.raises(RequestChangedError):
        requests.approve(customer.vault, request.handle, Choices(), digest)
    assert customer.consent.grants.listing(customer.vault) == []


@pytest.mark.parametrize(
    ("choices", "name"),
    [
        ({"for_whom": frozenset({"everybody"})}, "for_whom"),
        ({"days": 0}, "days"),
        ({"days": 366}, "days"),
        ({"days": -1}, "days"),
        ({"period": "2Y"}, "period"),
        ({"period": "P0D"}, "period"),
    ],
)
def test_choices_that_cannot_be_are_refused_by_name(
    choices: dict[str, Any], name: str, customer: Customer, vendor: Vendor
) -> None:
    with pytest.raises(ValidationError) as caught:
        customer.preview(vendor.ask(), **choices)
    assert set(caught.value.fields) == {name}


def test_optional_parts_are_off_until_ticked(customer: Customer, vendor: Vendor, books: list[str]) -> None:
    request = vendor.ask(part("purchases.item"), part("purchases.price", necessity="optional"))
    plain, ticked = customer.preview(request), customer.preview(request, optional=frozenset({"1"}))
    assert [view.ticked for view in plain.parts] == [True, False]
    assert [view.ticked for view in ticked.parts] == [True, True]
    assert set(plain.rows[0].document) == {"item"}
    assert set(ticked.rows[0].document) == {"item", "price"}


def test_the_shorter_period_counts(customer: Customer, vendor: Vendor) -> None:
    for day in ("2026-10-01", "2025-12-01", "2020-01-01"):
        customer.buy(day, order={"ordered": day})
    asked = vendor.ask(part("purchases.item", period="P2Y"))
    assert [row.title for row in customer.preview(asked).rows] == ["2026-10-01", "2025-12-01"]
    assert customer.preview(asked).withheld == {"period": 1}
    assert [row.title for row in customer.preview(asked, period="P3M").rows] == ["2026-10-01"]
    assert customer.preview(asked, period="P9Y").rows == customer.preview(asked).rows
    unlimited = vendor.ask(part("purchases.item"), part("preferences.statement"))
    assert customer.preview(unlimited).count == 3
    assert customer.preview(unlimited, period="P3M").count == 1


def test_what_stays_is_counted_by_reason(customer: Customer, vendor: Vendor, books: list[str]) -> None:
    for word in ("gift", "household", "work", "other", None):
        customer.buy("x", word)
    customer.buy("toy", item={"category": "toys"})
    preview = customer.preview(
        vendor.ask(part("purchases.item", filter={"category": ["books"]})), exclude=frozenset({books[0]})
    )
    counts = {"gift": 1, "household": 1, "work": 1, "other": 1, "unsorted": 1, "filter": 1, "excluded": 1}
    assert preview.withheld == counts
    assert preview.count == 2


def test_purchases_are_shown_newest_first_after_all_that_is_none(customer: Customer, vendor: Vendor) -> None:
    for title, day in (("B", "2026-01-01"), ("A", "2026-03-01"), ("C", "2026-03-01")):
        customer.buy(title, order={"ordered": day})
    customer.put({"statement": {"topic": "tea", "strength": "like"}}, "preferences")
    customer.put({"evidence": {"text": "nothing more"}}, "preferences")
    rows = customer.preview(vendor.ask(part("purchases.item"), part("preferences.statement"))).rows
    assert [(row.title, row.ordered) for row in rows] == [
        ("tea", ""),
        ("", ""),
        ("A", "2026-03-01"),
        ("C", "2026-03-01"),
        ("B", "2026-01-01"),
    ]


def test_declining_shares_nothing_and_is_logged(customer: Customer, vendor: Vendor, books: list[str]) -> None:
    decision = customer.consent.requests.decline(customer.vault, vendor.ask().handle)
    assert (decision.code, decision.grant_id, decision.state) == (None, None, "st4te")
    assert customer.events() == ["declined"]
    assert customer.consent.grants.listing(customer.vault) == []


def test_corrections_need_her_word_or_the_hosts_about_the_shop(customer: Customer, consent: Consent) -> None:
    customer.buy("Gift", "gift", order={"order_number": "7"}, item={"asin": "A1"})
    customer.change(customer.vault.records("purchases").ids()[0], "context", use_for_taste=False)
    asked = part("answers.corrections", purpose="Personalisation")
    unknown, known = Vendor.register(consent, "A"), Vendor.register(consent, "B", sells_as=("books.example",))
    answer = {"order": "7", "item": "A1", "use_for_taste": False}
    preview = customer.preview(unknown.ask(asked))
    assert (preview.answers, preview.sellers, preview.withheld) == ([], {"books.example": 1}, {})
    assert customer.preview(unknown.ask(asked), sellers=("books.example",)).answers == [answer]
    assert customer.preview(known.ask(asked)).answers == [answer]
    assert customer.preview(known.ask(asked), sellers=("other.example",)).answers == []
    assert customer.preview(known.ask(asked), sellers=()).answers == [], "she unticked the host's word"
    tokens = known.connect(customer, asked)
    reader = consent.reader
    assert json.loads(reader.answer(reader.authenticate(tokens.access_token), "corrections")) == [answer]
    with pytest.raises(TokenError):
        reader.authenticate(tokens.refresh_token)


def test_a_request_that_0_1_0_stored_is_decided_as_before(
    customer: Customer, vendor: Vendor, engine: SqliteEngine, books: list[str]
) -> None:
    request = vendor.ask()
    requests = customer.consent.requests
    raw = read_token("request", request.handle)
    assert raw is not None
    lookup, key = requests._split(raw)
    row = requests._row(raw)
    with engine.write() as transaction:
        sealed = requests._seal(key, lookup, request.expires, row.values[:7])
        transaction.execute("UPDATE requests SET sealed = ?", (sealed,))
    found = requests.open(request.handle)
    assert (found.extras, found.poll, found.parts) == ({}, None, request.parts)
    assert customer.approve(request)
