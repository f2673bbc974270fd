"""An act at which the disk fails once: `python -m tests.faults.failing ACT CALL FOLDER`, under strace.

FOLDER is the data folder of a `World`, pickled beside it by who made it, without strace.

strace fails the call number `WHEN` of each process (`pwrite64` or `fdatasync`). For each write of the act in
turn, a fork on a copy of the folder makes as many idle calls beforehand as it takes to let that one fail. It
prints what was answered, what was left, and what a second try was answered; idle calls afterwards tell
whether the failure was still to come: then every write has had its turn.
"""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
import sys
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from tests import compiled
from tests.attacks.actors import CALLBACK, Customer, Vendor
from tests.conftest import PASSPHRASE
from tests.faults.life import opened
from tests.vault.importers.samples import retail
from vrm.app import create_app
from vrm.host import Host

WHEN = 300


class World:
    """A folder in which every act can happen, and what the act needs."""

    def __init__(self, folder: Path) -> None:
        host = opened(folder)
        vault, code = host.vaults.create("alice", PASSPHRASE)
        vault.confirm_recovery_code(code)
        customer, vendor = Customer(vault, host.consent), Vendor.register(host.consent)
        vendor.registered, secret = host.consent.vendors.add("Corner Books", [CALLBACK])
        self.pair, self.verifier = (vendor.registered.client_id, secret or ""), vendor.verifier
        self.record = customer.buy("Dune")
        self.tokens = vendor.connect(customer)
        self.code = customer.approve(vendor.ask())
        self.handle = vendor.ask().handle
        self.session = vault.open_session()
        host.engine.close()
        folder.with_suffix(".world").write_bytes(pickle.dumps(self))


class Act:
    """One request and how its effect shows."""

    def __init__(self, world: World, host: Host) -> None:
        self.world, self.host = world, host
        self.vault = host.vaults.resume(world.session)
        self.client: FlaskClient = create_app(host.settings, host=host).test_client()
        self.client.set_cookie("vrm", world.session)
        found = re.search(r'name="csrf_token" value="([^"]+)"', self.page("/things/new"))
        assert found
        self.form = {"csrf_token": found[1]}
        self.digest = ""

    def page(self, path: str) -> str:
        return self.client.get(path).get_data(as_text=True)

    def state(self) -> Any:
        """What any of the acts would change."""
        records = [one["item"]["title"] for _, one in self.vault.records("purchases").scan()]
        grants = [(one.id, one.state, one.reads) for one in self.host.consent.grants.listing(self.vault)]
        tokens = self.host.engine.all("SELECT lookup, wrapped IS NULL, spent FROM tokens ORDER BY lookup")
        told = self.host.consent.log.count(self.vault)
        return repr([sorted(records), sorted(grants), tokens, told])

    def problems(self) -> list[str]:
        consent = self.host.consent
        found = [*self.vault.check(), *consent.problems(self.vault), *self.host.engine.integrity()]
        return found + consent.grants.differences(self.vault)

    def read(self) -> TestResponse:
        bearer = {"Authorization": f"Bearer {self.world.tokens.access_token}"}
        return self.client.get("/api/v1/purchases", headers=bearer)

    def edit(self) -> TestResponse:
        _, revision = self.vault.records("purchases").read(self.world.record)
        fields = {**self.form, "revision": str(revision), "item.title": "Dune Messiah"}
        return self.client.post(f"/things/{self.world.record}", data=fields)

    def bring(self) -> TestResponse:
        lines = [{"ASIN": f"B{at}", "Product Name": f"brought {at}"} for at in range(3)]
        upload = (BytesIO(retail(*lines)), "Retail.OrderHistory.1.csv")
        return self.client.post("/import", data={**self.form, "files": upload})

    def approve(self) -> TestResponse:
        path = f"/requests/{self.world.handle}"
        found = re.search(r'name="digest" value="([^"]+)"', self.page(path))
        digest = {"digest": found[1]} if found else {}
        return self.client.post(path, data={**self.form, **digest, "decision": "approve"})

    def redeem(self) -> TestResponse:
        fields = {
            "grant_type": "authorization_code",
            "code": self.world.code,
            "redirect_uri": CALLBACK,
            "code_verifier": self.world.verifier,
        }
        return self.client.post("/oauth/token", data=fields, auth=self.world.pair)

    def refresh(self) -> TestResponse:
        fields = {"grant_type": "refresh_token", "refresh_token": self.world.tokens.refresh_token}
        return self.client.post("/oauth/token", data=fields, auth=self.world.pair)

    def revoke(self) -> TestResponse:
        return self.client.post(f"/companies/{self.world.tokens.grant_id}/stop", data=self.form)


def idle(call: str, times: int) -> int:
    """So many calls that do nothing; the number of that which failed as injected, or 0."""
    with Path("/dev/null").open("wb") as nothing:
        for turn in range(1, times + 1):
            try:
                if call == "pwrite64":
                    os.pwrite(nothing.fileno(), b"x", 0)
                else:
                    os.fdatasync(nothing.fileno())
            except OSError as error:
                if error.errno != 22:  # EINVAL: what a sync of nothing says
                    return turn
    return 0


def child(world: World, folder: Path, name: str, call: str, number: int, room: int) -> None:
    """Let the write of this number fail, and tell; `room`: idle calls after which the next would fail."""
    act = Act(world, opened(folder))
    run: Callable[[], TestResponse] = getattr(act, name)
    before = act.state()
    if not room:
        print(json.dumps({"room": idle(call, WHEN) - 1}), flush=True)
        return
    assert not idle(call, room - number + 1)
    answer = run()
    body = answer.get_data(as_text=True)
    over = bool(idle(call, WHEN))
    after, found = act.state(), act.problems()
    second = run()
    said = {
        "number": number,
        "over": over,
        "status": answer.status_code,
        "body": body,
        "changed": before != after,
        "problems": found + act.problems(),
        "second": second.status_code,
        "last": before != act.state(),
    }
    print(json.dumps(said), flush=True)


def main(name: str, call: str, folder: Path) -> None:
    """Fork for each write until none is left."""
    world, trial, room = pickle.loads(folder.with_suffix(".world").read_bytes()), folder.with_name("trial"), 0
    shutil.copytree(folder, trial)
    rehearsal = Act(world, opened(trial))  # so that no fork has to compile what it runs
    getattr(rehearsal, name)()
    rehearsal.host.engine.close()
    for number in range(WHEN):
        shutil.rmtree(trial, ignore_errors=True)
        shutil.copytree(folder, trial)
        reads, writes = os.pipe()
        pid = os.fork()
        if not pid:
            os.dup2(writes, 1)
            try:
                child(world, trial, name, call, number, room)
            except BaseException:  # noqa: BLE001 - a fork must not run what its parent does next
                sys.excepthook(*sys.exc_info())
            finally:
                os._exit(0)
        os.close(writes)
        with os.fdopen(reads) as told:
            line = told.read()
        os.waitpid(pid, 0)
        said = json.loads(line)  # there is none where the fork failed, which says why on standard error
        room = said.get("room", room)
        if number:
            print(line, end="", flush=True)
        if said.get("over"):
            return


if __name__ == "__main__":
    with compiled.once():
        main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
