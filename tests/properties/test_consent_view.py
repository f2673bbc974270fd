"""The law of the project: after any sequence of acts, what a vendor reads is what the policy says, no more.

And narrowing never widens; revoking is final. What is read by a filter is what a plain one would leave of it.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.attacks import posted
from tests.attacks.actors import Customer, Vendor, part
from tests.conftest import CHEAP, PASSPHRASE, SettableClock
from vrm.clock import today
from vrm.consent import policy
from vrm.consent.filters import Wanted
from vrm.consent.grants import DAY, arrived_since
from vrm.consent.scopes import CORRECTIONS, source_of
from vrm.consent.service import SCHEMA as CONSENT_SCHEMA
from vrm.consent.service import Consent
from vrm.errors import CodeError, GrantNotFoundError, TokenError, ValidationError
from vrm.vault import serverkey
from vrm.vault.layout import SCHEMA
from vrm.vault.sqlite import SqliteEngine
from vrm.vault.vault import Vaults

WORDS = ("self", "gift", "household", "work", "other")
documents = st.fixed_dictionaries(
    {
        "item": st.fixed_dictionaries(
            {"title": st.sampled_from(["Kindred", "Emma", "Übung", "Blocks"])},
            optional={"category": st.sampled_from(["books", "toys"]), "asin": st.sampled_from(["A1", "A2"])},
        ),
        "order": st.fixed_dictionaries(
            {},
            optional={
                "ordered": st.sampled_from(
                    ["2023-02-28", "2024-02-29", "2025-11-20", "2026-10-01", "2026-11-17"]
                ),
                "seller": st.sampled_from(["books.example", "toys.example"]),
                "order_number": st.sampled_from(["1", "2"]),
            },
        ),
        "price": st.fixed_dictionaries({}, optional={"total": st.sampled_from(["1.00", "2.00"])}),
        "context": st.fixed_dictionaries(
            {}, optional={"for": st.sampled_from(WORDS), "use_for_taste": st.booleans()}
        ),
    }
)
parts = st.lists(
    st.sampled_from(
        [
            part("purchases.item"),
            part("purchases.item", period="P1Y", filter={"category": ["books"]}, fields=["title"]),
            part("purchases.item", "purchases.price", period="P2Y"),
            part("purchases.price", period="P3M"),
            part("purchases.order", fields=["ordered"], filter={"category": ["toys"]}),
            part("purchases.item", "purchases.order"),
            part("purchases.item", "purchases.order", period="P1Y", fields=["title", "seller", "ordered"]),
            part("answers.corrections"),
        ]
    ),
    min_size=1,
    max_size=3,
)
words = st.frozensets(st.sampled_from(WORDS))
pick = st.integers(0, 1000)
days = st.none() | st.sampled_from(["2023-02-28", "2024-01-01", "2025-11-20", "2026-10-15", "2026-11-17"])
asked_for = st.builds(
    Wanted,
    category=st.sampled_from([None, None, "books", "toys", "garden"]),
    seller=st.sampled_from([None, None, "books.example", "toys.example"]),
    ordered_from=days,
    ordered_to=days,
)


class Law(RuleBasedStateMachine):
    """One customer, a few vendors, any acts in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.clock = SettableClock()
        path = Path(self.folder.name) / "vrm.db"
        self.engine = SqliteEngine(path)
        self.engine.install([SCHEMA, CONSENT_SCHEMA])
        vaults = Vaults(
            self.engine, serverkey.load(path.parent / "server.key"), clock=self.clock, limits=CHEAP
        )
        consent = Consent(self.engine, vaults, self.clock)
        self.customer = Customer(vaults.create("alice", PASSPHRASE)[0], consent)
        self.consent = consent
        self.records: list[str] = []
        self.tokens: dict[str, Any] = {}  # grant → its newest tokens
        self.vendors: dict[str, Vendor] = {}
        self.revoked: dict[str, Any] = {}

    def teardown(self) -> None:
        self.engine.close()
        self.folder.cleanup()

    def _record(self, number: int) -> str | None:
        return self.records[number % len(self.records)] if self.records else None

    def _grant(self, number: int) -> str | None:
        return list(self.tokens)[number % len(self.tokens)] if self.tokens else None

    @initialize(first=st.lists(documents, max_size=4))
    def begin(self, first: list[Any]) -> None:
        self.records += [self.customer.put(document) for document in first]

    @rule(document=documents)
    def insert(self, document: Any) -> None:
        self.records.append(self.customer.put(document))

    @precondition(lambda self: self.records)
    @rule(number=pick, document=documents)
    def edit(self, number: int, document: Any) -> None:
        self.customer.put(document, record=self._record(number))

    @precondition(lambda self: self.records)
    @rule(number=pick)
    def remove(self, number: int) -> None:
        record = self.records.pop(number % len(self.records))
        self.customer.vault.records("purchases").remove(record)

    @rule(new=st.lists(documents, max_size=3), number=pick, newer=documents)
    def bring_in(self, new: list[Any], number: int, newer: Any) -> None:
        """An import: hidden rows, a replaced one, all shown at once."""
        records = self.customer.vault.records("purchases")
        with records.staging() as staging:
            self.records += staging.add(
                [(bytes([at]) * 16, records.check(document)) for at, document in enumerate(new)]
            )
            known = self._record(number)
            if known and records.contains(known):
                staging.replace([(known, records.read(known)[1], records.check(newer))])
            staging.publish(lambda current, newer: newer)

    @precondition(lambda self: len(self.tokens) < 3)
    @rule(
        asked=parts,
        for_whom=words,
        unsorted=st.booleans(),
        number=pick,
        period=st.sampled_from(["", "P1Y"]),
        fresh=st.sampled_from(policy.FRESH),
    )
    def grant(
        self,
        asked: list[Any],
        for_whom: frozenset[str],
        unsorted: bool,
        number: int,
        period: str,
        fresh: str,
    ) -> None:
        vendor = Vendor.register(self.consent, sells_as=("books.example",))
        record = self._record(number)
        exclude = frozenset({record} if record and number % 3 == 0 else ())
        tokens = vendor.connect(
            self.customer,
            *asked,
            for_whom=for_whom,
            unsorted=unsorted,
            exclude=exclude,
            period=period,
            fresh=fresh,
            days=300,
        )
        self.tokens[tokens.grant_id] = tokens
        self.vendors[tokens.grant_id] = vendor

    @precondition(lambda self: self.tokens)
    @rule(
        number=pick,
        row=pick,
        for_whom=words,
        period=st.sampled_from([None, "P1Y", "P1M"]),
        drop=st.sampled_from([(), ("purchases.price:read",), ("purchases.item:read",)]),
        fresh=st.sampled_from([None, None, *policy.FRESH]),
    )
    def narrow(
        self,
        number: int,
        row: int,
        for_whom: frozenset[str],
        period: str | None,
        drop: tuple[str, ...],
        fresh: str | None,
    ) -> None:
        grant_id = self._grant(number)
        assert grant_id
        self.unlock()  # what has waited long enough enters now, not by narrowing
        before, record = self._shared(grant_id), self._record(row)
        try:
            self.consent.grants.narrow(
                self.customer.vault,
                grant_id,
                exclude=frozenset({record} if record else ()),
                for_whom=for_whom or None,
                period=period,
                drop=frozenset(drop),
                fresh=fresh,
            )
        except (ValidationError, GrantNotFoundError):
            assert self._shared(grant_id) == before
            return
        if self.consent.grants.get(self.customer.vault, grant_id).state != "live":
            self.revoked[grant_id] = self.tokens.pop(grant_id)
            return
        told = posted.told(self.engine, self.consent.grants.open(self.customer.vault, grant_id))
        assert told <= posted.in_view(self.engine, grant_id), "a posting tells of more"
        after = self._shared(grant_id)
        for item, document in after.items():
            assert item in before, "narrowing showed a row"
            assert document.items() <= before[item].items(), "narrowing showed more of a row"

    @precondition(lambda self: self.tokens)
    @rule(number=pick, row=pick)
    def let_in(self, number: int, row: int) -> None:
        """She shares something that came in later: a waiting one enters, any other stays as it was."""
        grant_id, record = self._grant(number), self._record(row)
        assert grant_id
        waiting = {one.record for one in self._waiting(grant_id)}
        before = self._shared(grant_id)
        chosen = frozenset({record} if record else ())
        try:
            count = self.consent.arrivals.admit(self.customer.vault, grant_id, chosen)
        except GrantNotFoundError:  # a grant without a rule
            count = 0
        assert count == len(waiting & chosen)
        assert len(self._shared(grant_id)) == len(before) + count

    def _waiting(self, grant_id: str) -> list[Any]:
        return self.consent.arrivals.waiting(self.customer.vault).get(grant_id, [])

    @precondition(lambda self: self.tokens)
    @rule(number=pick)
    def revoke(self, number: int) -> None:
        grant_id = self._grant(number)
        assert grant_id
        self.consent.grants.revoke(self.customer.vault, grant_id)
        self.revoked[grant_id] = self.tokens.pop(grant_id)

    @rule(days=st.sampled_from([1, 20, 40]))
    def time_passes(self, days: int) -> None:
        for _ in range(days):
            self.clock.forward(DAY)
            self.consent.sweep()
        self._refresh_all()

    def _refresh_all(self) -> None:
        for grant_id in list(self.tokens):
            try:
                fresh = self.vendors[grant_id].refresh(self.tokens[grant_id].refresh_token)
                self.tokens[grant_id] = fresh
            except CodeError:
                self.revoked[grant_id] = self.tokens.pop(grant_id)

    @rule()
    def unlock(self) -> None:
        assert self.consent.at_unlock(self.customer.vault) == []
        for grant_id in self.tokens:
            assert self._shared(grant_id) == self._decided(grant_id)

    @precondition(lambda self: self.tokens)
    @rule(number=pick, asked=asked_for, limit=st.sampled_from([1, 2, 500]))
    def filter(self, number: int, asked: Wanted, limit: int) -> None:
        grant_id = self._grant(number)
        assert grant_id
        token = self.tokens[grant_id].access_token
        access = self.consent.reader.authenticate(token)
        names = self.consent.reader.filters(access, "purchases")
        wanted = Wanted(**{name: getattr(asked, name) for name in names})
        if wanted:
            rows = posted.plainly(self.vendors[grant_id].read(token), wanted)
            assert posted.filtered(self.consent.reader, access, wanted, limit) == rows

    def _shared(self, grant_id: str) -> dict[str, Any]:
        """What the vendor reads: (stream, id) → facets, corrections as they are."""
        access = self.consent.reader.authenticate(self.tokens[grant_id].access_token)
        found: dict[str, Any] = {}
        for stream in dict.fromkeys(scope.partition(".")[0] for scope in access.scopes):
            if stream == "answers":
                answers = json.loads(self.consent.reader.answer(access, "corrections"))
                found |= {f"{answer['order']} {answer['item']}": answer for answer in answers}
                continue
            for row in self.vendors[grant_id].read(self.tokens[grant_id].access_token, stream):
                facets = {name: json.dumps(value) for name, value in row.items()}
                found[row["id"]] = {name: facets[name] for name in facets if name not in ("id", "updated_at")}
        return found

    def _decided(self, grant_id: str) -> dict[str, Any]:
        grant, found = self.consent.grants.open(self.customer.vault, grant_id), {}
        keyring = self.customer.vault.keyring
        for stream in grant.agreement.streams:
            for record, document in self.customer.vault.records(source_of(stream)).scan():
                verdict = policy.decide(
                    stream, record, document, grant.agreement, grant.reserve, today(self.clock)
                )
                if stream == CORRECTIONS:
                    answers = [json.loads(text) for text in verdict.scopes.values()]
                    found |= {f"{answer['order']} {answer['item']}": answer for answer in answers}
                elif verdict.scopes:
                    item = keyring.pairwise(grant.agreement.vendor, stream, record).hex()
                    found[item] = {
                        scope.removesuffix(":read").partition(".")[2]: json.dumps(json.loads(text))
                        for scope, text in verdict.scopes.items()
                    }
        return found

    @invariant()
    def what_is_read_is_what_the_policy_says(self) -> None:
        """Only what has waited long enough may be missing, until she comes."""
        for grant_id in self.tokens:
            shared, decided = self._shared(grant_id), self._decided(grant_id)
            missing = decided.keys() - shared.keys()
            assert missing <= self._ripe(grant_id)
            assert shared == {item: facets for item, facets in decided.items() if item not in missing}

    def _ripe(self, grant_id: str) -> set[str]:
        grant = self.consent.grants.open(self.customer.vault, grant_id)
        if grant.reserve.fresh != policy.LATER:
            return set()
        return {
            grant.item_id(self.customer.vault.keyring, "purchases", record).hex()
            for record, arrived in arrived_since(self.customer.vault, grant.agreement)
            if policy.leaves_on(arrived) <= today(self.clock)
        }

    @invariant()
    def what_left_is_not_posted(self) -> None:
        for grant_id in self.tokens:
            told = posted.told(self.engine, self.consent.grants.open(self.customer.vault, grant_id))
            assert told <= posted.in_view(self.engine, grant_id)

    @invariant()
    def nothing_of_what_ended_is_posted(self) -> None:
        for grant_id in self.revoked:
            assert posted.stored(self.engine, grant_id) == {}

    @invariant()
    def revoking_is_final(self) -> None:
        for tokens in self.revoked.values():
            with pytest.raises(TokenError):
                self.consent.reader.authenticate(tokens.access_token)


TestLaw = Law.TestCase
TestLaw.settings = settings(
    max_examples=30,
    stateful_step_count=16,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def test_the_law_breaks_where_a_change_does_not_reach_the_views(monkeypatch: pytest.MonkeyPatch) -> None:
    """The check itself: it fails where views are not kept."""
    law = Law()
    try:
        law.begin([{"item": {"title": "Kindred"}, "context": {"for": "self"}}])
        law.grant([part("purchases.item")], frozenset({"self"}), False, 1, "", policy.ASK)
        law.what_is_read_is_what_the_policy_says()
        monkeypatch.setattr(law.consent.views, "changed", lambda *given: None)
        law.edit(0, {"item": {"title": "Kindred"}, "context": {"for": "gift"}})
        with pytest.raises(AssertionError):
            law.what_is_read_is_what_the_policy_says()
    finally:
        law.teardown()
