"""The law of the copy: after any acts of the customer and any deaths of the shop, copy = what can be read.

A row that merely grew older than a moving period leaves the feed at the customer's next log-in; until then
only the list withholds it, for the vault cannot name a row's last day without telling its date.
"""
# ruff: noqa: F811 - fixtures are named by their parameters

from __future__ import annotations

import random

import pytest

from tests.clients.test_with_the_vault import address, connect, decide, few, vendor  # noqa: F401 - fixtures
from vrm.clock import today
from vrm.consent import policy
from vrm.errors import GrantNotFoundError, ValidationError
from vrm_client import Copy, Part, RevokedError

PARTS = [
    Part(["purchases.item", "purchases.order"], "ProvideProductRecommendations", period="P1Y"),
    Part(["purchases.price"], "ProvideProductRecommendations"),
]
DAY = 86_400


class Shop:
    """Holds a copy in a file, and dies now and then."""

    def __init__(self, file, clock):
        self.file, self.clock = file, clock
        self.copy = Copy("purchases", file, clock=clock.now)

    def dies(self, chance):
        """In the middle of writing, or between reading and writing: the memory is gone, the file is whole."""
        if chance.random() < 0.5:
            self.file.with_name(self.file.name + ".new").write_text('{"version": 1, "rows": {"torn')
        self.copy = Copy("purchases", self.file, clock=self.clock.now)

    def reads_and_dies(self, connection):
        self.copy._catch_up(connection)  # and nothing of it was stored
        self.copy = Copy("purchases", self.file, clock=self.clock.now)

    def rows(self):
        return {record.id: record for record in self.copy}


class Life:
    """Random acts of one customer."""

    def __init__(self, vault, consent, clock, chance):
        self.vault, self.consent, self.clock, self.chance = vault, consent, clock, chance
        self.records = vault.records("purchases")

    def act(self):
        self.chance.choice((self.buy, self.edit, self.edit, self.remove, self.narrow, self.wait))()

    def document(self):
        ordered = (
            f"{today(self.clock).year - self.chance.choice((0, 0, 1))}-{self.chance.randrange(1, 12):02}-01"
        )
        return {
            "item": {"title": f"Book {self.chance.randrange(1000)}", "category": "books"},
            "order": {"seller": "books.example", "ordered": ordered},
            "price": {"total": f"{self.chance.randrange(99)}.00", "currency": "EUR"},
            "context": {"for": self.chance.choice(["self", "self", "gift"])},
        }

    def some(self):
        return self.chance.choice(self.records.ids() or [""])

    def buy(self):
        self.records.put(self.document())

    def edit(self):
        if record := self.some():
            self.records.put(self.document(), record)

    def remove(self):
        if record := self.some():
            self.records.remove(record)

    def wait(self):
        self.clock.forward(self.chance.choice((60, 3600, 40 * DAY)))
        assert self.consent.at_unlock(self.vault) == []

    def narrow(self):
        less = self.chance.choice(
            [
                {"exclude": frozenset({self.some()})},
                {"period": "P6M"},
                {"drop": frozenset({"purchases.price:read"})},
            ]
        )
        for grant in self.consent.grants.listing(self.vault):
            try:
                self.consent.grants.narrow(self.vault, grant.id, **less)
            except (ValidationError, GrantNotFoundError):
                continue


@pytest.mark.parametrize("seed", range(3))
def test_after_any_acts_and_deaths_the_copy_is_what_can_be_read(few, connect, consent, clock, tmp_path, seed):
    chance = random.Random(seed)
    shop, life = Shop(tmp_path / "copy.json", clock), Life(few, consent, clock, chance)
    connection = connect(few, PARTS, period="", days=365, fresh=policy.AT_ONCE)
    for _ in range(40):
        for _ in range(chance.randrange(3)):
            life.act()
        if chance.random() < 0.3:
            chance.choice((lambda: shop.dies(chance), lambda: shop.reads_and_dies(connection)))()
        synced = shop.copy.sync(connection)
        if synced.ended:
            break
        assert shop.rows() == {record.id: record for record in connection.records("purchases")}
        assert shop.copy.age == 0
    else:
        consent.grants.revoke(few, consent.grants.listing(few)[0].id)
        assert shop.copy.sync(connection).ended
    assert not shop.file.exists()
    assert shop.rows() == {}
    with pytest.raises(RevokedError):
        connection.grant()
