"""The law of deposits: after any acts of vendor, customer and unlocks, the records are those of a model.

The model is plain Python and knows nothing of keys: a dictionary of records, one of deposits, a list of
words that wait. Every field remembers who spoke last; her own words are never overwritten.
"""

from __future__ import annotations

import copy
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.attacks.actors import Customer, Vendor, writing
from tests.conftest import CHEAP, PASSPHRASE, SettableClock
from vrm.consent.service import SCHEMA as CONSENT_SCHEMA
from vrm.consent.service import Consent
from vrm.vault import serverkey
from vrm.vault.layout import SCHEMA
from vrm.vault.sqlite import SqliteEngine
from vrm.vault.vault import Vaults

Document = dict[str, dict[str, Any]]
RANKS = ["unknown", "ordered", "shipped", "delivered", "cancelled", "partly-refunded", "returned"]
HERS = ("context", "experience")

said = st.fixed_dictionaries(
    {
        "item": st.fixed_dictionaries(
            {"asin": st.sampled_from(["A1", "A2"]), "category": st.sampled_from(["books", "toys"])},
            optional={"title": st.sampled_from(["Kindred", "Emma"]), "brand": st.just("B")},
        ),
        "order": st.fixed_dictionaries(
            {"seller": st.just("shop.example")},
            optional={
                "order_number": st.sampled_from(["1", "2"]),
                "status": st.sampled_from(["ordered", "delivered", "returned"]),
                "delivered": st.just("2026-11-01"),
            },
        ),
        "price": st.fixed_dictionaries({}, optional={"total": st.sampled_from(["1.00", "2.00"])}),
    }
)
edits = st.sampled_from(
    [
        ("context", "for", "self"),
        ("context", "occasion", "birthday"),
        ("experience", "rating", 5),
        ("item", "title", "My name for it"),
        ("item", "brand", None),
        ("price", "total", "7.00"),
        ("order", "status", "returned"),
    ]
)
pick = st.integers(0, 1000)


def filled(document: Document) -> Document:
    return {facet: dict(values) for facet, values in document.items() if values}


def as_told(document: Document) -> Document:
    """What the vault makes of a deposit, without its own remarks."""
    return filled(document)


class Model:
    """Records, and what each deposit may still change of them."""

    def __init__(self) -> None:
        self.records: dict[int, Document] = {}
        self.lines: dict[tuple[str, str], int] = {}  # order and item → record
        self.mine: dict[int, tuple[int, dict[tuple[str, str], Any]]] = {}  # deposit → record, what it said
        self.brought: dict[int, int] = {}  # record → the deposit that brought it
        self.next = 0

    def file(self, deposit: int, document: Document | None) -> None:
        if document is None and deposit not in self.mine:
            return
        record, before = self.mine.get(deposit, (-1, {}))
        words = self._words(before, document)
        if deposit not in self.mine:
            record = self._place(document or {})
        if record not in self.records:  # she removed it
            return
        if self.brought.setdefault(record, deposit) == deposit:
            words = self._speak(self.records[record], before, words)
        self.mine[deposit] = (record, words)

    def _words(self, before: dict[tuple[str, str], Any], document: Document | None) -> dict[Any, Any]:
        if document is None:
            return {**before, ("order", "status"): "cancelled"}
        return {(facet, name): value for facet, values in document.items() for name, value in values.items()}

    def _place(self, document: Document) -> int:
        number = document.get("order", {}).get("order_number")
        line = (number, document["item"]["asin"]) if number else None
        if line in self.lines and self.lines[line] in self.records:
            return self.lines[line]
        self.next += 1
        self.records[self.next] = {}
        if line:
            self.lines[line] = self.next
        return self.next

    @staticmethod
    def _speak(record: Document, before: dict[Any, Any], words: dict[Any, Any]) -> dict[Any, Any]:
        known = {}
        for facet, name in before.keys() | words.keys():
            here = record.get(facet, {}).get(name)
            was, new = before.get((facet, name)), words.get((facet, name))
            moves = name == "status" and new and RANKS.index(new) > (RANKS.index(here) if here else -1)
            if here == was or moves:
                record.setdefault(facet, {})[name] = new
                known[facet, name] = new
            else:
                known[facet, name] = (new and "said before") if was is None else was
        for facet in record:
            record[facet] = {name: value for name, value in record[facet].items() if value is not None}
        return {place: value for place, value in known.items() if value is not None}


class Law(RuleBasedStateMachine):
    """One customer, one vendor that writes, any acts in any order."""

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
        self.consent = Consent(self.engine, vaults, self.clock)
        self.customer = Customer(vaults.create("alice", PASSPHRASE)[0], self.consent)
        self.vendor = Vendor.register(self.consent)
        token = self.vendor.connect(self.customer, writing()).access_token
        self.access = self.consent.reader.authenticate(token)
        self.model = Model()
        self.items: list[str] = []
        self.live: list[int] = []  # deposits that were not taken back
        self.filed: set[int] = set()
        self.waiting: list[tuple[int, Document | None]] = []
        self.hers: dict[int, Document] = {}  # record of the model → what she said
        self.ids: dict[int, str] = {}  # record of the model → record of the vault

    def teardown(self) -> None:
        self.engine.close()
        self.folder.cleanup()

    @rule(document=said)
    def leave(self, document: Document) -> None:
        state, _ = self.consent.deposits.submit(self.access, "purchases", document, f"key-{len(self.items)}")
        again, _ = self.consent.deposits.submit(self.access, "purchases", document, f"key-{len(self.items)}")
        assert again == state
        self.live.append(len(self.items))
        self.waiting.append((len(self.items), as_told(document)))
        self.items.append(state.item.hex())

    @precondition(lambda self: self.live)
    @rule(number=pick, document=said)
    def replace(self, number: int, document: Document) -> None:
        deposit = self.live[number % len(self.live)]
        self.consent.deposits.replace(self.access, "purchases", self.items[deposit], document, ["*"])
        self.waiting = [word for word in self.waiting if word[0] != deposit] + [(deposit, as_told(document))]

    @precondition(lambda self: self.live)
    @rule(number=pick)
    def withdraw(self, number: int) -> None:
        deposit = self.live.pop(number % len(self.live))
        self.consent.deposits.withdraw(self.access, "purchases", self.items[deposit], ["*"])
        self.waiting = [word for word in self.waiting if word[0] != deposit]
        if deposit in self.filed:
            self.waiting.append((deposit, None))

    @rule()
    def unlock(self) -> None:
        assert self.consent.at_unlock(self.customer.vault) == []
        for deposit, document in self.waiting:
            self.model.file(deposit, copy.deepcopy(document))
            self.filed.add(deposit)
        self.waiting = []
        self._learn_ids()

    def _learn_ids(self) -> None:
        """Which of the vault's records is which of the model's: by the notes of the filing."""
        grant = self.access.grant_id
        for deposit, (record, _) in self.model.mine.items():
            note = self.consent.filing._mailbox.note(
                self.customer.vault.keyring, grant, bytes.fromhex(self.items[deposit])
            )
            assert note
            assert self.ids.setdefault(record, note["record"]) == note["record"]

    @precondition(lambda self: self.model.records)
    @rule(number=pick, edit=edits)
    def edit(self, number: int, edit: tuple[str, str, Any]) -> None:
        record = list(self.model.records)[number % len(self.model.records)]
        facet, name, value = edit
        document = self.customer.vault.records("purchases").get(self.ids[record])
        for place in (document, self.model.records[record]):
            place.setdefault(facet, {})
            place[facet] = {k: v for k, v in {**place[facet], name: value}.items() if v is not None}
        self.customer.put(document, record=self.ids[record])
        if facet in HERS:
            self.hers.setdefault(record, {}).setdefault(facet, {})[name] = value

    @precondition(lambda self: self.model.records)
    @rule(number=pick)
    def remove(self, number: int) -> None:
        record = list(self.model.records)[number % len(self.model.records)]
        self.customer.vault.records("purchases").remove(self.ids[record])
        del self.model.records[record]
        self.hers.pop(record, None)

    @invariant()
    def the_records_are_those_of_the_model(self) -> None:
        stored = dict(self.customer.vault.records("purchases").scan())
        assert {self.ids[record] for record in self.model.records} == set(stored)
        for record, expected in self.model.records.items():
            found = filled(stored[self.ids[record]])
            found.pop("notes", None)
            for facet, name in (("item", "category_basis"), ("order", "line"), ("order", "learned_from")):
                found.get(facet, {}).pop(name, None)
            assert filled(found) == filled(expected)

    @invariant()
    def her_own_words_stay(self) -> None:
        for record, words in self.hers.items():
            document = self.customer.vault.records("purchases").get(self.ids[record])
            for facet, values in words.items():
                assert document[facet].items() >= values.items()

    @invariant()
    def the_writer_follows_what_is_its_own(self) -> None:
        states, _ = self.consent.deposits.page(self.access, "purchases", limit=500, cursor=None)
        told = {state.item.hex(): state.status for state in states}
        waiting = {deposit for deposit, _ in self.waiting}
        expected = {
            self.items[deposit]: "pending" if deposit in waiting else "filed" for deposit in self.live
        }
        assert told == expected


TestLaw = Law.TestCase
TestLaw.settings = settings(
    max_examples=25,
    stateful_step_count=18,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
