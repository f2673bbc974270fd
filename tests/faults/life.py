"""A customer's life as a program: `python -m tests.faults.life FOLDER SEED COUNT [normal]`.

Before each act it prints what it is about to do, after it what was acknowledged, so that whoever ends it at
any moment knows what must be there (`tests.faults.ledger`). With `normal` the database is told to sync
less: the flipped defence, under which acknowledged acts are lost with the power.
"""

from __future__ import annotations

import json
import os
import random
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

from tests.attacks.actors import Customer, Vendor
from tests.conftest import CHEAP, PASSPHRASE, SettableClock
from tests.vault.importers.samples import retail
from vrm.consent.requests import Choices
from vrm.host import Host, open_host
from vrm.settings import Settings
from vrm.vault import sqlite as engine
from vrm.vault.intake import bring_in

MOST_RECORDS = 25  # so that looking at all of them stays quick
MOST_GRANTS = 3


def opened(folder: Path) -> Host:
    """The data folder as the program opens it, on a clock that stands still."""
    return open_host(Settings(data_dir=folder), clock=SettableClock(), limits=CHEAP)


def tell(**said: Any) -> None:
    """One write, so that nothing is kept back."""
    os.write(1, (json.dumps(said) + "\n").encode())


class Life:
    """Acts drawn at random; each may refuse by doing nothing."""

    def __init__(self, host: Host, seed: int) -> None:
        self.draw = random.Random(seed)
        self.host = host
        self.passphrase = PASSPHRASE
        tell(trying="create")
        self.vault, _ = host.vaults.create("alice", PASSPHRASE)
        tell(done="create", passphrase=PASSPHRASE)
        self.customer = Customer(self.vault, host.consent)
        self.vendor = Vendor.register(host.consent)
        self.records: list[str] = []
        self.grants: dict[str, tuple[str, str]] = {}  # grant → access, refresh
        self.sessions: list[str] = []
        self.turn = 0

    def run(self, count: int) -> None:
        acts = [self.put] * 4 + [self.edit] * 5 + [self.remove] * 3 + [self.read] * 4 + [self.refresh] * 2
        acts += [self.connect] * 2 + [self.revoke, self.narrow, self.log_in, self.log_out, self.bring]
        while self.turn < count:
            self.draw.choice([*acts, self.change] if self.turn % 20 == 19 else acts)()

    def done(self, act: str, **said: Any) -> None:
        self.turn += 1
        tell(done=act, **said)

    def put(self) -> None:
        if len(self.records) < MOST_RECORDS:
            title = f"title {self.turn}"
            tell(trying="put")
            self.records.append(self.customer.buy(title))
            self.done("put", record=self.records[-1], title=title)

    def edit(self) -> None:
        if self.records:
            record, title = self.draw.choice(self.records), f"title {self.turn}"
            tell(trying="edit", about=record)
            self.customer.change(record, "item", title=title)
            self.done("edit", record=record, title=title)

    def remove(self) -> None:
        if len(self.records) > 5:
            record = self.records.pop(self.draw.randrange(len(self.records)))
            tell(trying="remove", about=record)
            self.vault.records("purchases").remove(record)
            self.done("remove", record=record)

    def bring(self) -> None:
        if len(self.records) < MOST_RECORDS:
            title = f"title {self.turn}"
            content = retail({"ASIN": f"B{self.turn}", "Product Name": title})
            tell(trying="put")
            bring_in(self.vault, [("Retail.OrderHistory.1.csv", BytesIO(content))])
            held = self.vault.records("purchases").scan()
            self.records.append(next(record for record, one in held if one["item"].get("title") == title))
            self.done("put", record=self.records[-1], title=title)

    def connect(self) -> None:
        if len(self.grants) < MOST_GRANTS:
            request = self.vendor.ask()
            digest = self.customer.preview(request).digest
            tell(trying="grant")
            decision = self.host.consent.requests.approve(self.vault, request.handle, Choices(), digest)
            self.done("grant", grant=decision.grant_id, code=decision.code)
            tell(trying="redeem", about=decision.grant_id)
            given = self.vendor.redeem(decision.code or "")
            self.grants[given.grant_id] = (given.access_token, given.refresh_token)
            self.done("redeem", grant=given.grant_id, access=given.access_token, refresh=given.refresh_token)

    def read(self) -> None:
        if self.grants:
            access, _ = self.grants[self.draw.choice(list(self.grants))]
            tell(trying="read")
            self.vendor.read(access)
            self.done("read")

    def refresh(self) -> None:
        if self.grants:
            grant = self.draw.choice(list(self.grants))
            tell(trying="refresh", about=grant)
            given = self.vendor.refresh(self.grants[grant][1])
            self.grants[grant] = (given.access_token, given.refresh_token)
            self.done("refresh", grant=grant, access=given.access_token, refresh=given.refresh_token)

    def narrow(self) -> None:
        if self.grants and self.records:
            grant, record = self.draw.choice(list(self.grants)), self.draw.choice(self.records)
            tell(trying="narrow", about=grant)
            self.host.consent.grants.narrow(self.vault, grant, exclude=frozenset({record}))
            self.done("narrow", grant=grant, record=record)

    def revoke(self) -> None:
        if self.grants:
            grant = self.draw.choice(list(self.grants))
            del self.grants[grant]
            tell(trying="revoke", about=grant)
            self.host.consent.grants.revoke(self.vault, grant)
            self.done("revoke", grant=grant)

    def log_in(self) -> None:
        if len(self.sessions) < MOST_GRANTS:
            tell(trying="log in")
            self.sessions.append(self.vault.open_session())
            self.done("log in", session=self.sessions[-1])

    def log_out(self) -> None:
        if self.sessions:
            secret = self.sessions.pop()
            tell(trying="log out", about=secret)
            self.vault.close_session(secret)
            self.done("log out", session=secret)

    def change(self) -> None:
        new = f"a passphrase of turn {self.turn}"
        tell(trying="change", about=new)
        self.vault.change_passphrase(self.passphrase, new)
        self.passphrase = new
        self.sessions.clear()
        self.done("change", passphrase=new)


if __name__ == "__main__":
    if sys.argv[4:] == ["normal"]:
        flipped = [one.replace("synchronous=FULL", "synchronous=NORMAL") for one in engine._PRAGMAS]
        assert tuple(flipped) != engine._PRAGMAS
        engine._PRAGMAS = tuple(flipped)
    Life(opened(Path(sys.argv[1])), int(sys.argv[2])).run(int(sys.argv[3]))
