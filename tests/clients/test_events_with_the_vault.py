"""From her word to the shop's copy: real vault, real worker, real shop, over real HTTP."""

import json
from threading import Thread
from urllib.parse import urlsplit

import pytest
from urllib3 import request as http
from werkzeug.serving import make_server

from bookshop.app import create_app as open_shop
from bookshop.catalogue import load
from bookshop.desk import ENDED, Desk
from bookshop.told import Seen
from bookshop.vaults import Vaults
from bookshop.visitors import Visitors
from tests.clients.test_with_the_vault import WHY, Quiet, few
from vrm.app import create_app
from vrm.consent import events
from vrm.consent.notices import Signer
from vrm.consent.requests import Choices
from vrm.host import Host
from vrm.settings import Settings
from vrm.vault import serverkey
from vrm.worker import Worker
from vrm_client import Transport, Vendor

__all__ = ["few"]


@pytest.fixture
def served():
    """Starts a server for an app that is named when its address is known."""
    running = []

    def start():
        server = make_server("127.0.0.1", 0, None, threaded=True, request_handler=Quiet)
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        running.append((server, thread))
        return server, f"http://127.0.0.1:{server.port}"

    yield start
    for server, thread in running:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def host(served, engine, vaults, consent, folder, clock):
    server, address = served()
    settings = Settings(data_dir=folder, public_url=address, outbound_allow="127.0.0.1")
    made = Host(settings, engine, vaults, consent, clock)
    server.app = create_app(settings, host=made)
    return made


@pytest.fixture
def seen_file(tmp_path):
    return tmp_path / "visitors.json.events"


@pytest.fixture
def shop(served, host, consent, clock, tmp_path, seen_file):
    """The bookshop, registered with its address for events; returns (desk, address)."""
    server, address = served()
    registered, secret = consent.vendors.add(
        "Corner Books", (address + "/callback",), purpose=WHY, events_uri=address + "/vrm/events"
    )
    vendor = Vendor(
        host.settings.issuer,
        client_id=registered.client_id,
        client_secret=secret,
        redirect_uri=address + "/callback",
        transport=Transport(timeout=10),
        clock=clock.now,
    )
    desk = Desk(Vaults(host.settings.issuer, vendor), load(), Visitors(tmp_path / "visitors.json"), [])
    server.app = open_shop(desk, seen=Seen(seen_file, clock=clock.now))
    return desk, address


@pytest.fixture
def connected(shop, few, consent):
    """She shares two of her three books; returns (grant id, key of the visitor)."""
    desk, _ = shop
    key = desk.visitors.key("a cookie")
    answer = http("GET", desk.ask(key), redirect=False)
    handle = urlsplit(answer.headers["Location"]).path.removeprefix("/requests/")
    preview = consent.requests.preview(few, handle, Choices())
    decision = consent.requests.approve(few, handle, Choices(), preview.digest)
    issuer = answer.headers["Location"].partition("/requests/")[0]
    desk.finish(key, f"{decision.redirect_uri}?code={decision.code}&state={decision.state}&iss={issuer}")
    assert titles(desk, key) == ["Piranesi", "Plenty"]
    return decision.grant_id, key


def titles(desk, key):
    return sorted(record["item"]["title"] for record in desk.visitors.get(key).records)


def tell(host, clock):
    clock.forward(events.APART)
    return dict(Worker(host).work())


@pytest.mark.parametrize("how", ["revoked", "erased", "blocked", "expired"])
def test_what_the_shop_holds_is_gone_though_nobody_looks_there(
    host, shop, connected, few, consent, clock, seen_file, how
):
    desk, _ = shop
    grant_id, key = connected
    if how == "blocked":
        [vendor] = consent.vendors.listing()
        consent.sweeping.block(vendor.client_id)
    elif how == "expired":
        for seconds in (0, 91 * 86_400, 3601):  # a clock that goes ahead by so much is believed after an hour
            clock.forward(seconds)
            consent.sweep()
    else:
        consent.grants.revoke(few, grant_id, erase=how == "erased")
    assert tell(host, clock) == {"acknowledged": 2 if how == "erased" else 1}
    visitor = desk.visitors.get(key)
    assert (visitor.records, visitor.saved, visitor.notice) == ((), None, ENDED)
    assert "Piranesi" not in (seen_file.parent / "visitors.json").read_text()
    assert len(json.loads(seen_file.read_text())) == (2 if how == "erased" else 1)
    assert seen_file.stat().st_mode & 0o777 == 0o600


def test_the_copy_follows_what_she_changes_and_takes_out(host, shop, connected, few, consent, clock):
    desk, _ = shop
    grant_id, key = connected
    records = few.records("purchases")
    [plenty] = [one for one, document in records.scan() if document["item"]["title"] == "Plenty"]
    consent.grants.narrow(few, grant_id, exclude=frozenset({plenty}))
    assert tell(host, clock) == {"acknowledged": 1}
    assert titles(desk, key) == ["Piranesi"]
    consent.grants.narrow(few, grant_id, drop=frozenset({"purchases.order:read"}))
    assert tell(host, clock) == {"acknowledged": 1}
    assert all("order" not in record for record in desk.visitors.get(key).records)


def test_an_event_that_comes_twice_has_its_effect_once(host, shop, connected, few, consent, clock, engine):
    desk, _ = shop
    grant_id, key = connected
    consent.grants.revoke(few, grant_id)
    assert tell(host, clock) == {"acknowledged": 1}
    desk.visitors.change(key, desk.visitors.get(key).chapter, notice="")
    with engine.write() as transaction:  # as if the answer had been lost
        transaction.execute(
            "UPDATE events SET state = 'waiting', routing = (SELECT routing FROM grants WHERE grant_id = ?)",
            (grant_id,),
        )
    assert tell(host, clock) == {"acknowledged": 1}
    assert desk.visitors.get(key).notice == ""


def test_the_shop_takes_nothing_from_who_is_not_its_vault(host, shop, connected, few, consent, tmp_path):
    desk, address = shop
    grant_id, key = connected
    consent.grants.revoke(few, grant_id)
    stranger = Worker(host)
    stranger._signer = Signer(serverkey.load(tmp_path / "other.key"))
    assert dict(stranger.work()) == {"refused": 1}
    assert titles(desk, key) == ["Piranesi", "Plenty"]
    answer = http("POST", address + "/vrm/events", body=b"rubbish")
    assert (answer.status, answer.json()["err"]) == (400, "invalid_request")
    assert http("GET", address + "/vrm/events").status == 405


def test_while_the_vault_is_silent_the_shop_asks_for_the_event_again(
    host, shop, connected, few, consent, clock, monkeypatch
):
    grant_id, _ = connected
    consent.grants.narrow(few, grant_id, days=1)
    reader = consent.reader.authenticate
    monkeypatch.setattr(consent.reader, "authenticate", lambda *_: 1 / 0)
    assert tell(host, clock) == {"failed": 1}
    monkeypatch.setattr(consent.reader, "authenticate", reader)
    assert tell(host, clock) == {"acknowledged": 1}


def test_a_test_event_is_taken(host, shop, consent):
    [vendor] = consent.vendors.listing()
    assert Worker(host).test(vendor.client_id)[1].outcome == "acknowledged"


def test_old_ones_are_forgotten(seen_file, clock):
    seen = Seen(seen_file, clock=clock.now)
    seen.remember("old")
    clock.forward(9 * 86_400)
    seen.remember("new")
    again = Seen(seen_file, clock=clock.now)
    assert (again.knows("old"), again.knows("new")) == (False, True)
    inside = Seen()
    inside.remember("one")
    assert inside.knows("one")


def test_another_vault_says_nothing_of_what_was_read_here(shop, connected, seen_file):
    desk, _ = shop
    grant_id, key = connected
    here = desk.visitors.get(key).saved["vault"]
    assert desk.visitors.with_grant(here, grant_id) == [key]
    assert desk.visitors.with_grant("https://other.example", grant_id) == []
    assert desk.visitors.with_grant(here, "") == []
